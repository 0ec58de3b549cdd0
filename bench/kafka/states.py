"""What it takes to go on with a stream that another worker had: its state from the database, and from bytes to a fold."""

import time
import zlib
from uuid import UUID

from bench.kafka.load import FIRST_NS, Lines, tenants
from bench.kafka.site import Rows, Site, looking, median
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.folding import Folder
from driftlock.engine.limits import Limits
from driftlock.engine.ports import Checkpoint, JournalRow, RowKind
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.pool import Database, Lane
from driftlock.storage.shard import Shard
from driftlock.storage.stream_ids import StreamIds

TENANT, STREAM, KEY = UUID(int=1), UUID(int=2), StreamKey(Signal.LOGS, "service")
SHARD = 1
TIMES, READ_STREAMS, READ_TIMES = 20, 50, 5
SAVE = """
insert into driftlock.stream_checkpoints (tenant_id, stream_id, seq, crc, state) values ($1, $2, 1, $3, $4)
"""


async def rows(site: Site, requests: tuple[int, ...]) -> Rows:
    """By how many requests of a thousand records the stream has had."""
    found: Rows = []
    lines, folder = Lines(), Folder(7, Limits(), print)
    for count in requests:
        resident = folder.load(_row(0, None), None, 0)
        for number in range(count):
            folder.fold(resident, [_row(number + 1, lines.batch(number, 0))])
        state = folder.save(resident, 0).checkpoint.state
        took, beside = [], await _read(site, state)
        for _ in range(TIMES):
            before_s = time.thread_time()
            folder.load(_row(count + 1, None), Checkpoint(count, state), 0)
            took.append(time.thread_time() - before_s)
        found.append(
            {
                "records before": count * 1000,
                "state KiB": len(state) / 1024,
                "from bytes to a fold, ms": 1e3 * median(took),
                "read, 50 streams at once, ms a stream": beside,
                "both, ms": 1e3 * median(took) + beside,
                "target ms": 5.0,
            }
        )
    return found


def _row(seq: int, batch: RecordBatch | None) -> JournalRow:
    return JournalRow(seq, RowKind.RECORDS, FIRST_NS, b"", TENANT, STREAM, KEY, None, None, batch, 0, 0)


async def _read(site: Site, state: bytes) -> float:
    """Ms a stream of reading the states of many at once, in wall time: the best of some, for others use the machine too."""
    urls, (tenant, *_) = await site.database(), tenants()
    async with looking(urls) as looker, Database(urls.app) as database:
        keys = [StreamKey(Signal.LOGS, f"service-{number}") for number in range(READ_STREAMS)]
        made = await StreamIds(database, entries_max=READ_STREAMS, shard=SHARD).resolve(tenant.tenant_id, keys)
        ids = [stream.stream_id for stream in made]
        for stream_id in ids:
            await looker.connection.execute(SAVE, tenant.tenant_id, stream_id, zlib.crc32(state), state)
        checkpoints = Checkpoints(database.reserved(Lane.APPLY), Shard(database, SHARD))
        took = []
        for _ in range(READ_TIMES):
            began_s = time.monotonic()
            if len(await checkpoints.load_streams(ids)) != len(ids):
                raise RuntimeError("states are missing")
            took.append(time.monotonic() - began_s)
    await site.cluster.drop(urls)
    return 1e3 * min(took) / READ_STREAMS
