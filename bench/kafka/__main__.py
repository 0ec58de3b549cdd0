"""`make bench-kafka`: what the way over Kafka costs, and how fast workers are, on a broker and a database of its own.

Everything shares one machine. CPU per record is what to compare by; rates in wall time are those of this machine as busy as it
was. `--quick`: less of everything, two minutes, nothing is kept. `--only PART`, repeatable: nothing is kept.
"""

import argparse
import io
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import redirect_stdout
from pathlib import Path

import uvloop

from bench.ingest.__main__ import show
from bench.kafka import beyond, client, entrance, moves, stages, states, whole
from bench.kafka.site import Rows, Site, opened
from bench.report import report

PARTS: dict[str, tuple[str, Callable[[Site, bool], Awaitable[Rows]]]] = {
    "client": (
        "the Kafka client, messages of one record",
        lambda site, quick: client.rows(site, 50_000 if quick else 500_000),
    ),
    "stages": (
        "stages of a worker, one shard, one after the other",
        lambda site, quick: stages.rows(site, 100_000 if quick else 400_000, (1000,) if quick else (1000, 100, 10)),
    ),
    "whole": (
        "workers end to end, a full topic of 4 partitions, 8 tenants, 40 streams, requests of 1,000 records",
        lambda site, quick: whole.rows(site, 400_000 if quick else 4_000_000, 1000),
    ),
    "small": (
        "the same, requests of 10 records",
        lambda site, _: whole.rows(site, 400_000, 10),
    ),
    "gateway": (
        "a gateway, OTLP/gRPC in, acknowledged by the broker",
        lambda site, quick: entrance.rows(site, 1.5 if quick else 15.0),
    ),
    "moves": ("partitions that move", lambda site, quick: moves.rows(site, (6,) if quick else (6, 10))),
    "states": (
        "a stream's state, taken over by another worker",
        lambda site, quick: states.rows(site, (1, 10) if quick else (1, 10, 100, 500)),
    ),
}
QUICK = ("client", "stages", "whole", "states", "gateway", "moves")
"""What a quick run shows."""


async def measured(only: list[str], *, quick: bool) -> Rows:
    """All parts, each shown as soon as it is done."""
    kept: Rows = []
    with tempfile.TemporaryDirectory() as home:
        async with opened(Path(home)) as site:
            for part in only:
                title, rows_of = PARTS[part]
                began_s = time.perf_counter()
                rows = await rows_of(site, quick)
                show(title, rows)
                print(
                    f"{part}: {time.perf_counter() - began_s:.0f} s, load of the machine {os.getloadavg()[0]:.1f}\n", flush=True
                )
                kept += [{"part": part, **row} for row in rows]
    if units := [row for row in kept if row["part"] == "whole"]:
        rows = beyond.rows(units[-1])
        show("beyond this machine: CALCULATED from the last row of `whole`, not measured", rows)
        kept += [{"part": "beyond (calculated)", **row} for row in rows]
    return kept


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench.kafka", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes, some parts; nothing is kept")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="only this part; may be repeated; nothing is kept")
    asked = parser.parse_args()
    kept = uvloop.run(measured(asked.only or list(QUICK if asked.quick else PARTS), quick=asked.quick))
    if not asked.quick and asked.only is None:
        with redirect_stdout(io.StringIO()):  # shown already, in tables that fit
            report("kafka", f"the way over Kafka; load of the machine {os.getloadavg()[0]:.1f}", kept)


if __name__ == "__main__":
    main()
