"""How findings leave that are older than their stream, or the plan of their tenant, keeps them."""

import itertools
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from driftlock.accounts.plans import plan_of
from driftlock.storage.pool import Connection, Database

TENANTS = """
select id, plan from driftlock.tenants where closed_at is null and ($2::uuid is null or id > $2) order by id limit $1
"""
EXPIRE = "select driftlock.findings_expire($1, $2, $3)"
TENANTS_MAX = 500


@dataclass(frozen=True, slots=True)
class ExpiryLimits:
    """`bite_rows_max` findings go in one transaction, `bites_max` of them of one tenant in a round."""

    bite_rows_max: int = 500
    bites_max: int = 200


class FindingExpiry:
    """Deletes findings that are older than their stream, or the plan, keeps them."""

    def __init__(self, database: Database, limits: ExpiryLimits | None = None) -> None:
        """`database` must be entered before use."""
        self._database = database
        self._limits = limits or ExpiryLimits()

    async def expire(self) -> int:
        """One round over all tenants; returns the rows that went. Raises `Unavailable`."""
        gone, after = 0, None
        while True:
            rows = await self._tenants(after)
            for row in rows:
                gone += await self._expire(row["id"], plan_of(row["plan"]).retention_days)
            if len(rows) < TENANTS_MAX:
                return gone
            after = rows[-1]["id"]

    async def _tenants(self, after: UUID | None) -> list[asyncpg.Record]:
        async def work(connection: Connection) -> list[asyncpg.Record]:
            return await connection.fetch(TENANTS, TENANTS_MAX, after)

        return await self._database.node(work)

    async def _expire(self, tenant_id: UUID, days: int | None) -> int:
        rows_max, gone = self._limits.bite_rows_max, 0

        async def work(connection: Connection) -> int:
            rows: int = await connection.fetchval(EXPIRE, tenant_id, days, rows_max)
            return rows

        for _ in itertools.repeat(None, self._limits.bites_max):
            gone += (bite := await self._database.node(work))
            if bite < rows_max:
                break
        return gone
