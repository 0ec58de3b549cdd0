"""`make bench-rest`: what REST answers cost, on a server and a database of its own.

Client and server share the machine. `--quick`: 20,000 findings instead of a million, two minutes, nothing is kept.
"""

import argparse
import asyncio
import io
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from uuid import UUID

import asyncpg
from rich.console import Console
from rich.table import Table

from bench.report import report
from bench.rest import guards, lists
from bench.rest.fill import fill
from bench.rest.traffic import detect_rows, export_row, keyed_rows, replay_row
from driftlock.storage.datafolder import running
from tests.e2e.harness import Server

FINDINGS, FINDINGS_QUICK = 1_000_000, 20_000
Rows = list[dict[str, object]]


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    """A server without rate limits, which ends with the bench."""
    started = Server(folder / "data", DRIFTLOCK_RATE_LIMITS="off")
    try:
        started.start()
        yield started
    finally:
        started.close()


async def measured(target: Server, *, quick: bool) -> Rows:
    """All parts, each shown as soon as it is done."""
    key = (target.data_dir / "api-key").read_text().strip()
    found: Rows = []

    def done(title: str, rows: Rows) -> None:
        show(title, rows)
        found.extend(rows)

    done("guards of every request: CPU of the application alone", await guards.rows(quick=quick))
    done("POST /v1/detect, 100 events", await detect_rows(target, key, 2.0 if quick else 10.0))
    done("POST /v1/detect with and without an Idempotency-Key, turn by turn", await keyed_rows(target.http_port, key, 100))
    connection = running(target.data_dir)
    if connection is None:
        sys.exit("the server tells nobody where its database is")
    urls = (connection.owner_dsn, connection.app_dsn)
    tenant, finding = await _real_finding(urls[0])
    filled = await fill(urls[0], tenant, finding, FINDINGS_QUICK if quick else FINDINGS)
    done(
        "what the tables hold",
        [{"part": "fill", "findings": filled.findings, "seconds": filled.seconds, "database MiB": round(filled.database_mib)}],
    )
    rows = await lists.rows(target.http_port, key, target.data_dir, urls, tenant, 20 if quick else 100)
    done("lists and details", rows)
    streamed = [await export_row(target.http_port, key), await replay_row(target.http_port, key)]
    done("10,000 findings at once", streamed)
    done("POST /v1/detect, 100 events, beside these findings", await detect_rows(target, key, 2.0 if quick else 10.0))
    return found


async def _real_finding(owner: str) -> tuple[UUID, UUID]:
    connection = await asyncpg.connect(owner)
    try:
        row = await connection.fetchrow("select tenant_id, id from driftlock.anomalies order by window_no limit 1")
    finally:
        await connection.close()
    if row is None:
        sys.exit("nothing was found in the events of the first part, so there is no finding to multiply")
    return row["tenant_id"], row["id"]


def show(title: str, rows: Sequence[dict[str, object]]) -> None:
    """A table on the terminal."""
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "part"))
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if isinstance(rows[0].get(column), str) else "right")
    for row in rows:
        cells = (row.get(column, "") for column in columns)
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in cells))
    Console(width=180).print(table)


def faults(rows: Sequence[dict[str, object]]) -> list[str]:
    """What is not as it must be: pages that cost more the farther they are, tables read as a whole, refused requests."""
    found = []
    for row in rows:
        ratio, whole, failed = row.get("deep / first", 0.0), row.get("whole tables", "-"), row.get("not 200", 0)
        if isinstance(ratio, float) and ratio > lists.FLAT_MAX:
            found.append(f"{row['what']}: page {row['deep page']} takes {ratio:.1f} times as long as page 1")
        if whole != "-":
            found.append(f"{row['what']}: reads the whole of {whole}")
        if failed:
            found.append(f"{row['what']}: {failed} requests failed")
    return found


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench.rest", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20,000 findings, two minutes; nothing is kept")
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="driftlock-bench-rest-") as folder, server(Path(folder)) as target:
        rows = asyncio.run(measured(target, quick=asked.quick))
    print(f"{time.monotonic() - began:.0f} s")
    if not asked.quick:
        with redirect_stdout(io.StringIO()):  # shown already, in tables that fit
            report("rest", "REST: detect, lists and details with a million findings, guards", rows)
    wrong = [] if asked.quick else faults(rows)
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
