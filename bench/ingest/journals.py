"""The PostgreSQL journal and the segment file, without receivers: decoded requests in, receipts out, and rows read back.

Everything runs in this process but PostgreSQL, so that its CPU shows what the journal costs us and what the database costs.
"""

import asyncio
import secrets
import tempfile
import time
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from pathlib import Path
from random import Random
from uuid import UUID

import uvloop

from bench.ingest.generator import cpu_s
from bench.ingest.processes import cpu_s as cpu_s_of
from bench.ingest.requests import line
from bench.ingest.segments import SegmentJournal
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.ports import Intake, JournalRow, StreamBatch, Submission
from driftlock.storage.embedded import EmbeddedPostgres
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.migrate import migrate
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.tenants import Tenants

SUBMITTERS, STREAMS, SIZES = 32, 50, (1, 100, 1000)
READ_BYTES = 4 * 1024 * 1024
TAIL = "http.method=GET peer.address=10.0.85.249 pool=work-371 function=Handler.run status=200"


@dataclass(frozen=True)
class Opened:
    """A journal, its reader, the tenant, and the CPU seconds of what runs beside us for it."""

    intake: Intake
    read: Callable[[int, int], Awaitable[Sequence[JournalRow]]]
    tenant_id: UUID
    beside_s: Callable[[], float]


@asynccontextmanager
async def postgres(folder: Path) -> AsyncIterator[Opened]:
    """The journal as it is."""
    async with EmbeddedPostgres(folder, token_bytes=secrets.token_bytes) as embedded:
        await migrate(embedded.owner_dsn, "driftlock_app")
        async with Database(embedded.app_dsn) as database:
            tenant = await Tenants(database).ensure_local()
            shard = Shard(database)
            await shard.acquire()
            cluster = str((folder / "postgres" / "cluster").resolve())
            async with Journal(database, shard, node="bench", on_commit=lambda _: None) as journal:
                yield Opened(journal, JournalRows(database).read, tenant.tenant_id, lambda: _beside_s(cluster))


def _beside_s(cluster: str) -> float:
    found = 0.0
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str((entry / "cwd").readlink()) == cluster:
                found += cpu_s_of(int(entry.name), children=True)
        except OSError:  # gone meanwhile
            continue
    return found


@asynccontextmanager
async def segments(folder: Path) -> AsyncIterator[Opened]:
    """The prototype."""
    async with SegmentJournal(folder / "segments") as journal:
        yield Opened(journal, journal.read, UUID(int=1), lambda: 0.0)


def batches(records: int) -> list[RecordBatch]:
    """Requests' worth of lines as decoding leaves them."""
    made = []
    for number in range(8):
        source = Random(f"{records} {number}")
        lines = [f"INFO {line(source)} {TAIL}".encode() for _ in range(records)]
        times = array("Q", range(1_790_000_000_000_000_000, 1_790_000_000_000_000_000 + records))
        made.append(RecordBatch(b"".join(lines), array("I", map(len, lines)), times))
    return made


async def _load(opened: Opened, records: int, seconds: float, numbers: Iterator[int]) -> list[float]:
    """Closed loop; latencies in seconds."""
    made, latencies = batches(records), array("d")
    end = time.perf_counter() + seconds

    async def submitter() -> None:
        while time.perf_counter() < end:
            number = next(numbers)
            key = StreamKey(Signal.LOGS, f"service-{number % STREAMS}")
            batch = made[number // STREAMS % len(made)]
            digest = blake2b(b"%d" % number, digest_size=16).digest()
            submission = Submission(opened.tenant_id, Signal.LOGS, time.time_ns(), (StreamBatch(key, batch),), digest)
            began = time.perf_counter()
            await opened.intake.submit(submission)
            latencies.append(time.perf_counter() - began)

    await asyncio.gather(*(submitter() for _ in range(SUBMITTERS)))
    return sorted(latencies)


async def _rows(
    name: str, open_journal: Callable[[Path], AbstractAsyncContextManager[Opened]], seconds: float
) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        async with open_journal(Path(folder) / "data") as opened:
            position, numbers = 0, count()
            for records in SIZES:
                await _load(opened, records, 0.5, numbers)
                position = await _read(opened, position)
                cpu, beside, began = cpu_s(), opened.beside_s(), time.perf_counter()
                latencies = await _load(opened, records, seconds, numbers)
                took_s, cpu, beside = time.perf_counter() - began, cpu_s() - cpu, opened.beside_s() - beside
                sent = records * len(latencies)
                began = time.perf_counter()
                read_from, position = position, await _read(opened, position)
                read_s = time.perf_counter() - began
                if position - read_from != len(latencies):
                    raise RuntimeError(f"{len(latencies)} rows were acknowledged and {position - read_from} read")
                found.append(
                    {
                        "journal": name,
                        "records": records,
                        "records/s": round(sent / took_s),
                        "requests/s": round(len(latencies) / took_s),
                        "p50 ms": 1e3 * latencies[len(latencies) // 2],
                        "p99 ms": 1e3 * latencies[len(latencies) * 99 // 100],
                        "our us a request": 1e6 * cpu / len(latencies),
                        "database us a request": 1e6 * beside / len(latencies),
                        "both us a record": 1e6 * (cpu + beside) / sent,
                        "read rows/s": round(len(latencies) / read_s),
                    }
                )
    return found


async def _read(opened: Opened, after: int) -> int:
    """Read to the end; the last position."""
    while rows := await opened.read(after, READ_BYTES):
        after = rows[-1].seq
    return after


def rows(seconds: float) -> list[dict[str, object]]:
    """Both journals, one after the other."""
    found: list[dict[str, object]] = []
    for name, open_journal in (("PostgreSQL", postgres), ("segment file", segments)):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found += runner.run(_rows(name, open_journal, seconds))
    return found
