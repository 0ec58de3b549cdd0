"""What the wall clock says, as rows of the journal: of nobody, or of one stream."""

import zlib
from collections.abc import Awaitable, Callable
from uuid import UUID

from driftlock.engine import records
from driftlock.storage.appending import NS_MAX
from driftlock.storage.pool import Connection
from driftlock.storage.shard import Shard

APPEND_CLOCK = "select driftlock.journal_append_control($1, $2, $3, $4, $5)"
APPEND_TIME = "select driftlock.journal_append_time($1, $2, $3, $4, $5, $6, $7)"


def clock_row(shard: Shard, now_ns: int) -> Callable[[Connection], Awaitable[int]]:
    """Appends a clock of nobody; its position."""
    body = records.encode_clock(now_ns)

    async def work(connection: Connection) -> int:
        position: int = await connection.fetchval(
            APPEND_CLOCK, shard.number, shard.epoch, min(now_ns, NS_MAX), zlib.crc32(body), body
        )
        return position

    return work


def time_row(shard: Shard, tenant_id: UUID, stream_id: UUID, now_ns: int) -> Callable[[Connection], Awaitable[int | None]]:
    """Tells a stream the time; the row's position, None when the stream is gone."""
    body = records.encode_clock(now_ns)
    told = (min(now_ns, NS_MAX), zlib.crc32(body), body)

    async def work(connection: Connection) -> int | None:
        position: int | None = await connection.fetchval(APPEND_TIME, shard.number, shard.epoch, tenant_id, stream_id, *told)
        return position

    return work
