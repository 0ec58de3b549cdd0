"""The ledger: what became of every record that was read, by tenant and signal, and whether it adds up.

received = journaled + rejected + refused + deduplicated; journaled = what is metered = what the journal holds and held.
What went through the journal is written in its own transaction, so the laws hold at every moment, after every crash.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from driftlock.storage.pool import Connection, Database

ADD = "select driftlock.ledger_add($1, $2, $3, $4, $5, $6)"
# One statement, so that all sides are of one moment: it locks the partitions of the journal before it takes its snapshot.
READ = """
with counted as (
  select l.tenant_id, l.signal, sum(l.received) as received, sum(l.journaled) as journaled, sum(l.rejected) as rejected,
         sum(l.refused) as refused, sum(l.deduplicated) as deduplicated
    from driftlock.ledger l group by 1, 2
), metered as (
  select m.tenant_id, m.signal, sum(m.records) as records from driftlock.meter m group by 1, 2
), held as (
  select j.tenant_id, s.signal, sum(j.records) as records
    from driftlock.journal j join driftlock.streams s on s.id = j.stream_id where j.stream_id is not null group by 1, 2
)
select t.id as tenant_id, t.name, signal,
       coalesce(c.received, 0)::bigint as received, coalesce(c.journaled, 0)::bigint as journaled,
       coalesce(c.rejected, 0)::bigint as rejected, coalesce(c.refused, 0)::bigint as refused,
       coalesce(c.deduplicated, 0)::bigint as deduplicated, coalesce(m.records, 0)::bigint as metered,
       coalesce(h.records, 0)::bigint as in_journal, coalesce(r.records, 0)::bigint as removed
  from counted c
  full join metered m using (tenant_id, signal)
  full join held h using (tenant_id, signal)
  full join driftlock.journal_removed r using (tenant_id, signal)
  join driftlock.tenants t on t.id = tenant_id and t.closed_at is null
 order by t.name, signal
"""

GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class Unjournaled:
    """Records of one tenant and signal that were read and did not reach the journal: `received` = `rejected` + `refused`."""

    tenant_id: UUID
    signal: str
    received: int
    rejected: int
    refused: int


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What became of the records of a tenant and signal; `in_journal` are in rows that are there, `removed` in those gone."""

    tenant_id: UUID
    name: str
    signal: str
    received: int
    journaled: int
    rejected: int
    refused: int
    deduplicated: int
    metered: int
    in_journal: int
    removed: int

    @property
    def differences(self) -> dict[str, int]:
        """By how many records each law is broken, left side minus right side; empty when all hold."""
        laws = {
            "received": self.received - self.journaled - self.rejected - self.refused - self.deduplicated,
            "metered": self.metered - self.journaled,
            "held": self.in_journal + self.removed - self.journaled,
        }
        return {law: difference for law, difference in laws.items() if difference}


class Ledgers:
    """The ledger of all tenants, as the node sees it. Methods raise `Unavailable` when the database is away."""

    def __init__(self, database: Database, *, read_timeout_ms: int = 60_000) -> None:
        """`database` must be entered before use."""
        self._database = database
        self._read_timeout_ms = read_timeout_ms

    async def add(self, node: str, rows: Sequence[Unjournaled]) -> None:
        """Add what never reached the journal, in one transaction; tenants that are gone are left out."""
        if not rows:
            return

        async def work(connection: Connection) -> None:
            await connection.execute(
                ADD,
                node,
                [row.tenant_id for row in rows],
                [row.signal for row in rows],
                [row.received for row in rows],
                [row.rejected for row in rows],
                [row.refused for row in rows],
            )

        await self._database.node(work)

    async def read(self) -> list[LedgerRow]:
        """All rows by tenant's name and signal, as of one moment.

        It looks at every row of the journal, if not at bodies, so it may take `read_timeout_ms`.
        """

        async def work(connection: Connection) -> list[asyncpg.Record]:
            async with connection.transaction(readonly=True):
                await connection.execute(f"set local statement_timeout = {self._read_timeout_ms}")
                return await connection.fetch(READ, timeout=self._read_timeout_ms / 1000 + GRACE_S)

        return [LedgerRow(**row) for row in await self._database.node(work)]
