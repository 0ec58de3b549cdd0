"""`make bench-ingest`: what receiving costs, stage by stage, and beside other collectors, in one run on one machine.

Client and server share the machine. `--quick`: some parts in two minutes, nothing is kept. `--only PART`, repeatable: nothing
is kept.
"""

import argparse
import io
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout

import httpx
from rich.console import Console
from rich.table import Table

from bench.ingest import collectors, decoding, journals, overload
from bench.ingest.figures import measure, warm_up
from bench.ingest.generator import Load
from bench.ingest.processes import Ours, Target, ours, rotel
from bench.report import report

Rows = list[dict[str, object]]
BUDGET_LOADS = ((1, 32), (100, 4), (1000, 4))
SUSTAINED_S = 60.0
CODECS = ("zstd", "lz4")
STAGES = {"receive, decode, route": "route", "+ journal": "journal", "+ score, statistical": None}


def decode_rows(*, quick: bool) -> Rows:
    """Decoding alone."""
    return decoding.rows(quick=quick)


def stage_rows(*, quick: bool) -> Rows:
    """The way of a record, one stage more in each server; and rotel."""
    found: Rows = []
    seconds = 1.0 if quick else 10.0
    for name, stage in STAGES.items():
        with ours(name, stage) as target:
            found += _budget(target, seconds)
    for codec in () if quick else CODECS:
        with ours(f"+ score, {codec}") as target:
            warm_up(target, Load(target.port, 1, 10, 4))
            configure(target, codec)
            found += _budget(target, seconds)
    for peer in (rotel, *collectors.built()):
        with peer() as target:
            found += _budget(target, seconds)
    return found


def _budget(target: Target, seconds: float) -> Rows:
    warm_up(target, Load(target.port, 1, 10, 4))
    return [measure(target, Load(target.port, seconds, records, connections)) for records, connections in BUDGET_LOADS]


def configure(target: Ours, codec: str) -> None:
    """Give all streams a codec over REST."""
    cursor = ""
    while cursor is not None:
        page = target.server.get("/v1/streams", limit="200", **({"cursor": cursor} if cursor else {}))
        for stream in page["streams"]:
            address = f"{target.server.rest}/v1/streams/{stream['id']}/profile"
            httpx.patch(address, json={"codec": codec}, timeout=10).raise_for_status()
        cursor = page["next_cursor"]


def matrix_rows(*, quick: bool) -> Rows:
    """The whole server by size of requests, connections and compression."""
    found: Rows = []
    seconds = 2.0 if quick else 5.0
    with ours("serve") as target:
        warm_up(target, Load(target.port, 1, 10, 4))
        for records in (100,) if quick else (1, 100, 1000, 8000):
            for connections in (4,) if quick else (1, 4, 32):
                for gzip in (False, True):
                    found.append(measure(target, Load(target.port, seconds, records, connections, gzip=gzip)))
        found.append(measure(target, Load(target.port, seconds, 1000, 4, shape="plain logs")))
    return found


def sustained_rows(*, quick: bool) -> Rows:
    """A minute at full speed, then as long at half of it, whose latency is what a user sees."""
    seconds = 3.0 if quick else SUSTAINED_S
    with ours("serve") as target:
        load = Load(target.port, seconds, 1000, 4)
        warm_up(target, load)
        full = measure(target, load, {"load": "full"})
        rate = float(str(full["done/s"])) / load.records / 2
        half = measure(target, Load(target.port, seconds, 1000, 4, rate=rate), {"load": "half"})
    return [full, half]


def stream_rows(*, quick: bool) -> Rows:
    """Few and many streams, in requests of ten services with a hundred records each."""
    found: Rows = []
    for streams in (50, 1000) if quick else (50, 10_000):
        with ours("serve") as target:
            load = Load(target.port, 3.0 if quick else 30.0, 1000, 4, streams=streams, resources=10)
            warm_up(target, load)
            found.append(measure(target, load, {"streams": streams}))
    return found


def journal_rows(*, quick: bool) -> Rows:
    """The PostgreSQL journal against a segment file, without scoring, 32 connections."""
    found: Rows = []
    for name, stage in (("PostgreSQL", "journal"), ("segment file", "segment")):
        with ours(name, stage) as target:
            warm_up(target, Load(target.port, 1, 10, 4))
            found += [measure(target, Load(target.port, 2.0 if quick else 10.0, size, 32)) for size in (1, 100, 1000)]
    return found


def overload_rows(*, quick: bool) -> Rows:
    """Three times what it can take."""
    return overload.rows(6.0 if quick else SUSTAINED_S)


PARTS: dict[str, tuple[str, Callable[..., Rows]]] = {
    "decode": ("decoding alone, one thread", decode_rows),
    "stages": ("cost by stage, 50 streams, logs of 259 bytes with 5 attributes", stage_rows),
    "matrix": ("the whole server", matrix_rows),
    "sustained": ("the whole server, a minute at full and at half load", sustained_rows),
    "streams": ("active streams, ten in a request", stream_rows),
    "journal": ("journals behind the receivers, without scoring", journal_rows),
    "journals": ("journals alone, 32 submitters", lambda *, quick: journals.rows(1.0 if quick else 10.0)),
    "overload": ("three times what it can take", overload_rows),
}


QUICK = ("decode", "stages", "journals", "overload")
"""What a quick run shows."""


def show(title: str, rows: Sequence[dict[str, object]]) -> None:
    """A table on the terminal, columns that say nothing left out."""
    table = Table(title=title)
    columns = [name for name in rows[0] if any(str(row[name]) not in {"-", "0", "0.0"} for row in rows)]
    for column in columns:
        table.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right")
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in map(row.get, columns)))
    Console(width=200).print(table)


def budget(kept: Sequence[dict[str, object]]) -> Rows:
    """CPU microseconds a record that each stage adds, by the size of the request: differences between the servers."""
    found: Rows = []
    for size, _ in BUDGET_LOADS:
        cost = {str(row["what"]): row for row in kept if row["part"] == "stages" and row["records"] == size}
        alone = next(row for row in kept if row["part"] == "decode" and (row["shape"], row["records"]) == ("logs", size))
        route, journal, score = (float(str(cost[what]["server us"])) for what in STAGES)
        found.append(
            {
                "records": size,
                "decode, route": alone["us a record"],
                "transport, admission, answer": route - float(str(alone["us a record"])),
                "journal": journal - route,
                "score": score - journal,
                "all": score,
                "PostgreSQL beside": cost["+ score, statistical"]["database us"],
                "rotel": cost["rotel, blackhole"]["server us"],
                "x rotel, without journal": route / float(str(cost["rotel, blackhole"]["server us"])),
                "x rotel, all": score / float(str(cost["rotel, blackhole"]["server us"])),
            }
        )
    return found


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench.ingest", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes, some parts; nothing is kept")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="only this part; may be repeated; nothing is kept")
    asked = parser.parse_args()
    kept: Rows = []
    for part, (title, rows_of) in PARTS.items():
        if part not in (asked.only or (QUICK if asked.quick else PARTS)):
            continue
        began = time.perf_counter()
        rows = rows_of(quick=asked.quick)
        show(title, rows)
        print(f"{part}: {time.perf_counter() - began:.0f} s\n", flush=True)
        kept += [{"part": part, **row} for row in rows]
    if asked.only is None or {"decode", "stages"} <= set(asked.only):
        rows = budget(kept)
        show("cost budget: CPU microseconds a record of logs", rows)
        kept += [{"part": "budget", **row} for row in rows]
    if not asked.quick and asked.only is None:
        with redirect_stdout(io.StringIO()):  # shown already, in tables that fit
            report("ingest", "receiving OTLP, by stage and beside other collectors", kept)


if __name__ == "__main__":
    main()
