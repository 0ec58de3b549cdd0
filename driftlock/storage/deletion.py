"""How tenants are deleted: closed at once, then emptied in bites, so that nobody else waits longer than for one of them."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from driftlock.storage.pool import Connection, Database

CLOSE = "select driftlock.tenant_close($1)"
CLOSED = "select id from driftlock.tenants where closed_at is not null order by closed_at, id limit $1"
IS_CLOSED = "select exists (select from driftlock.tenants where id = $1 and closed_at is not null)"
# It locks nothing: rows that leave the journal meanwhile are not found by who empties them. Sizes do not fetch bodies.
LOOK = """
select f.shard, f.slot, f.seq, f.bytes from (
  select j.shard, j.slot, j.seq, octet_length(j.body) as bytes
    from driftlock.streams s join driftlock.journal j on j.shard = s.shard and j.stream_id = s.id
   where s.tenant_id = $1
  union all
  select j.shard, j.slot, j.seq, octet_length(j.body)
    from driftlock.journal j where j.kind = 4 and j.tenant_id = $1
  union all
  select j.shard, j.slot, j.seq, octet_length(j.body)
    from driftlock.journal j where j.kind = 10 and j.tenant_id = $1
  union all
  select j.shard, j.slot, j.seq, octet_length(j.body)
    from driftlock.journal j where j.kind = 9 and j.tenant_id = $1 and j.stream_id is null
  limit $2
) f order by f.shard, f.slot, f.seq
"""
PURGE = "select driftlock.tenant_purge($1, $2, $3, $4)"
SHED = "select driftlock.tenant_shed($1, $2)"
FINISH = "select driftlock.tenant_finish($1, $2)"
CLOSED_MAX = 100
GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class DeletionLimits:
    """Of what happens to a closed tenant.

    A bite, which others wait for, is `bite_rows_max` rows (a large one counts as ten), and of the journal no more than fit
    `bite_body_bytes_max`, but for one; or `bite_streams_max` streams. `look_rows_max` rows of the journal are found at a time,
    which may take `look_timeout_ms`; nobody waits for that.
    """

    bite_rows_max: int = 1_000
    bite_body_bytes_max: int = 8 << 20
    bite_streams_max: int = 100
    look_rows_max: int = 20_000
    look_timeout_ms: int = 60_000


class Deletions:
    """Deletes tenants. What one process has begun any other can go on with, also both at once."""

    def __init__(self, database: Database, limits: DeletionLimits | None = None) -> None:
        """`database` must be entered before use."""
        self._database = database
        self._limits = limits or DeletionLimits()

    async def close(self, tenant_id: UUID) -> bool:
        """Take nothing of the tenant in any more, and free its name; False when there is none. Raises `Unavailable`."""
        return bool(await self._value(CLOSE, tenant_id))

    async def closed(self) -> list[UUID]:
        """Tenants that wait to be emptied, at most `CLOSED_MAX`, those closed first ahead. Raises `Unavailable`."""

        async def work(connection: Connection) -> list[asyncpg.Record]:
            return await connection.fetch(CLOSED, CLOSED_MAX)

        return [row["id"] for row in await self._database.node(work)]

    async def empty(self, tenant_id: UUID) -> None:
        """Delete all that is a closed tenant's, and the tenant; nothing happens to one that is not closed.

        Every bite is committed by itself; after `Unavailable`, or an end of any kind, another call goes on where it was.
        """
        limits = self._limits
        while await self._value(IS_CLOSED, tenant_id):
            await self._purge(tenant_id)
            while await self._value(SHED, tenant_id, limits.bite_rows_max) >= limits.bite_rows_max:
                pass
            while await self._value(FINISH, tenant_id, limits.bite_streams_max):
                pass

    async def _purge(self, tenant_id: UUID) -> None:
        """Empty the tenant's rows of the journal; what comes after the last look is left to the next round."""
        limits, found = self._limits, self._limits.look_rows_max
        while found == limits.look_rows_max:
            rows = await self._look(tenant_id)
            found = len(rows)
            for shard, slot, seqs in bites(rows, limits.bite_rows_max, limits.bite_body_bytes_max):
                await self._value(PURGE, tenant_id, shard, slot, seqs)

    async def _look(self, tenant_id: UUID) -> list[asyncpg.Record]:
        limits = self._limits

        async def work(connection: Connection) -> list[asyncpg.Record]:
            async with connection.transaction(readonly=True):
                await connection.execute(f"set local statement_timeout = {limits.look_timeout_ms}")
                patience_s = limits.look_timeout_ms / 1000 + GRACE_S
                return await connection.fetch(LOOK, tenant_id, limits.look_rows_max, timeout=patience_s)

        return await self._database.node(work)

    async def _value(self, sql: str, *arguments: object) -> int:
        async def work(connection: Connection) -> int:
            value: int = await connection.fetchval(sql, *arguments)
            return value

        return await self._database.node(work)


def bites(rows: Sequence[asyncpg.Record], rows_max: int, bytes_max: int) -> Iterator[tuple[int, int, list[int]]]:
    """Shard, slot and positions of each bite of `rows`, which come in this order; one has at least one row."""
    for (shard, slot), group in itertools.groupby(rows, lambda row: (row["shard"], row["slot"])):
        seqs: list[int] = []
        size = 0
        for row in group:
            if seqs and (len(seqs) == rows_max or size + row["bytes"] > bytes_max):
                yield shard, slot, seqs
                seqs, size = [], 0
            seqs.append(row["seq"])
            size += row["bytes"]
        yield shard, slot, seqs
