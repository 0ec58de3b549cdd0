"""Three times what the server can take, from senders that come again as told and from senders that come again at once."""

import asyncio
import sys

import asyncpg

from bench.ingest.figures import generate, warm_up
from bench.ingest.generator import Load
from bench.ingest.processes import Ours, ours
from driftlock.storage.datafolder import running

BATCH = 1000
CONNECTIONS = 32
FACTOR = 3


async def _count(dsn: str) -> tuple[int, int]:
    connection = await asyncpg.connect(dsn)
    try:
        journaled = await connection.fetchval("select coalesce(sum(records), 0)::bigint from driftlock.meter")
        scored = await connection.fetchval("select coalesce(sum(events), 0)::bigint from driftlock.stream_status")
    finally:
        await connection.close()
    return journaled, scored


def counts(target: Ours) -> tuple[int, int]:
    """Records that the database has journaled, and those that are folded, counted in its tables."""
    found = running(target.server.data_dir)
    if found is None:
        sys.exit("the server's database is gone")
    return asyncio.run(_count(found.owner_dsn))


def rows(seconds: float) -> list[dict[str, object]]:
    """Capacity in a closed loop, then each kind of sender; goodput in shares of the capacity."""
    found: list[dict[str, object]] = []
    with ours("serve") as target:
        closed = Load(target.port, seconds, BATCH, CONNECTIONS)
        warm_up(target, closed)
        capacity = generate(closed).records_per_s
        target.settle()
        rate = FACTOR * capacity / BATCH
        for honour in (True, False):
            target.peak_mib()
            before, _ = counts(target)
            sent = generate(Load(target.port, seconds, BATCH, CONNECTIONS, rate=rate, honour=honour))
            peak = round(target.peak_mib())
            target.settle()
            journaled, scored = counts(target)
            found.append(
                {
                    "senders": "honour RetryInfo" if honour else "come again after 50 ms",
                    "capacity/s": round(capacity),
                    "offered/s": round(rate * BATCH),
                    "goodput/s": round(sent.records_per_s),
                    "of capacity": sent.records_per_s / capacity,
                    "acknowledged": sent.records,
                    "journaled": journaled - before,
                    "scored in all": scored,
                    "journaled in all": journaled,
                    "lost": "no" if journaled - before >= sent.records and scored == journaled else "YES",
                    "answers": " ".join(f"{count} {status}" for status, count in sorted(sent.statuses.items())),
                    "skipped by senders": sent.skipped,
                    "p99 ms": sent.p99_ms,
                    "peak MiB": peak,
                }
            )
    return found
