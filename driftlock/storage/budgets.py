"""How a tenant's alert budget is spent, as its incidents say. The budget itself is kept by the tenant's fold."""

from dataclasses import dataclass
from uuid import UUID

from driftlock.engine.correlation.budget import DAY_NS
from driftlock.storage.pool import Database

SELECT = """
select t.alerts_per_day_max, s.until_ns, coalesce(i.spent, 0)::integer as spent, coalesce(i.muted, 0)::integer as muted
  from driftlock.tenants t
 cross join (select coalesce(max(s.last_event_ns), 0) as until_ns from driftlock.stream_status s where s.tenant_id = $1) s
 cross join lateral (
   select count(*) filter (where i.alerted_ns > s.until_ns - $2::bigint) as spent,
          count(*) filter (where not i.alerted) as muted
     from driftlock.incidents i where i.tenant_id = $1 and i.end_ns > s.until_ns - $2::bigint
 ) i
 where t.id = $1
"""


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """A tenant's budget and its spending in the 24 hours of event time until `until_ns`, its newest event.

    `alerts_per_day_max` is None where nobody has set it: then the default holds. `spent` are incidents that alerted in that
    time, `muted` those of that time that the budget kept quiet so far. `until_ns` is 0 when nothing was scored yet.
    """

    alerts_per_day_max: int | None
    spent: int
    muted: int
    until_ns: int


class Budgets:
    """Alert budgets of one tenant at a time. Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def get(self, tenant_id: UUID) -> BudgetRow | None:
        """The budget of a tenant; None when it is gone."""
        async with self._database.tenant(tenant_id) as connection:
            row = await connection.fetchrow(SELECT, tenant_id, DAY_NS)
        return None if row is None else BudgetRow(row["alerts_per_day_max"], row["spent"], row["muted"], row["until_ns"])
