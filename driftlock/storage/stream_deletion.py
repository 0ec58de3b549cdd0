"""How a stream is deleted that was closed: emptied in bites, so that nobody else waits longer than for one of them."""

from datetime import timedelta
from uuid import UUID

from driftlock.storage.deletion import DeletionLimits, bites
from driftlock.storage.pool import Connection, Database

CLOSED = "select id from driftlock.streams where closed_at is not null order by closed_at, id limit $1"
LOOK = """
select j.shard, j.slot, j.seq, octet_length(j.body) as bytes
  from driftlock.streams s join driftlock.journal j on j.shard = s.shard and j.stream_id = s.id where s.id = $1
 order by j.shard, j.slot, j.seq limit $2
"""
PURGE = "select driftlock.stream_purge($1, $2, $3, $4)"
SHED = "select driftlock.stream_shed($1, $2)"
FINISH = "select driftlock.stream_finish($1, $2)"
CLOSED_MAX = 100
GRACE = timedelta(seconds=10)
"""How long a request may take between finding its stream and being journaled; a deleted stream is there for so long."""


class StreamDeletions:
    """Empties closed streams. What one process has begun any other can go on with, also both at once."""

    def __init__(self, database: Database, limits: DeletionLimits | None = None, grace: timedelta = GRACE) -> None:
        """`database` must be entered before use."""
        self._database = database
        self._limits = limits or DeletionLimits()
        self._grace = grace

    async def closed(self) -> list[UUID]:
        """Streams that wait to be emptied, at most `CLOSED_MAX`, those closed first ahead. Raises `Unavailable`."""
        rows = await self._database.node(lambda connection: connection.fetch(CLOSED, CLOSED_MAX))
        return [row["id"] for row in rows]

    async def empty(self, stream_id: UUID) -> bool:
        """Delete all that is a closed stream's, and the stream once its grace is over; False when it has to be called again.

        Every bite is committed by itself; after `Unavailable`, or an end of any kind, another call goes on where it was.
        """
        limits = self._limits
        found = limits.look_rows_max
        while found >= limits.look_rows_max:
            rows = await self._database.node(lambda connection: connection.fetch(LOOK, stream_id, limits.look_rows_max))
            found = len(rows)
            for shard, slot, seqs in bites(rows, limits.bite_rows_max, limits.bite_body_bytes_max):
                await self._value(PURGE, stream_id, shard, slot, seqs)
        while await self._value(SHED, stream_id, limits.bite_rows_max) >= limits.bite_rows_max:
            pass
        return bool(await self._value(FINISH, stream_id, self._grace))

    async def _value(self, sql: str, *arguments: object) -> int:
        async def work(connection: Connection) -> int:
            value: int = await connection.fetchval(sql, *arguments)
            return value

        return await self._database.node(work)
