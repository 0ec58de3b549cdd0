"""Tenants that move from one shard of the journal to another: each with everything that is its own, in one transaction.

    shard 0: rows of all, applied ──> shard p + 1: rows of the tenant, at the same positions or all a constant further on

What ends in the middle has moved some tenants whole and others not at all, and is begun again: those that have moved stay. The
migration `moves` says what becomes of positions.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from driftlock.engine.records import encode_clock
from driftlock.storage.faults import sqlstate_of, translate
from driftlock.storage.pool import Connection, Database
from driftlock.storage.shard import Shard

MOVE_TIMEOUT_S = 3600.0
"""All rows of a tenant are copied, and nobody else works on the two shards meanwhile."""
GRACE_S = 5.0  # the server is the first to give up
SET_TIMEOUT = "select set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, true)"
OF_SHARDS = """
select t.id, t.name, t.shard from driftlock.tenants t
 where t.shard = any ($1) and t.closed_at is null order by t.shard, t.name
"""
MOVE = "select driftlock.tenant_move($1, $2, $3, $4, $5, $6, $7)"
SEAM = encode_clock(0)
"""The row behind what has come, and behind what has stayed: a clock that moves nothing."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A tenant that belongs to a shard."""

    tenant_id: UUID
    name: str
    shard: int


class Unsettled(Exception):
    """Rows have come to one of the shards that are not applied: they are to be scored first, and the move tried again."""


class TenantMoves:
    """Raises `Unavailable` when the database is away, or slower than `timeout_s`."""

    def __init__(self, database: Database, *, timeout_s: float = MOVE_TIMEOUT_S) -> None:
        """`database` must be entered before use."""
        self._database, self._timeout_s = database, timeout_s

    async def of_shards(self, shards: Sequence[int]) -> list[Settled]:
        """The tenants that belong to these shards, without those that are being deleted, by shard and name."""
        rows = await self._database.node(lambda connection: connection.fetch(OF_SHARDS, list(shards)))
        return [Settled(row["id"], row["name"], row["shard"]) for row in rows]

    async def move(self, tenant_id: UUID, source: Shard, target: Shard) -> int:
        """Move a tenant of `source` to `target`, both acquired; how many rows of the journal went with it.

        Nothing happens where it is no tenant of `source` (any more). Raises `Unsettled`, `Conflict` when another process owns
        one of the shards by now, when streams of it lie before an era of which `target` could not tell them, or where tenants
        lie in several shards.
        """
        owners = (source.number, source.epoch, target.number, target.epoch)

        async def work(connection: Connection) -> int:
            async with connection.transaction():
                await connection.execute(SET_TIMEOUT, str(round(self._timeout_s * 1000)))
                moved: int = await connection.fetchval(
                    MOVE, tenant_id, *owners, zlib.crc32(SEAM), SEAM, timeout=self._timeout_s + GRACE_S
                )
                return moved

        async def told(connection: Connection) -> int:
            try:
                return await work(connection)
            except asyncpg.PostgresError as error:
                if sqlstate_of(error) == "ZD413":
                    raise Unsettled from error
                raise translate(error) or error from error

        return await self._database.node(told)
