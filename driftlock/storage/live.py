"""The feed of what happens to a tenant, in the order in which it was committed: findings, incidents, what people say of them.

Events of a tenant are counted. Whoever adds some first moves the tenant's head, whose row then stays locked until the commit:
the next one's numbers begin where these end, and can be seen only after these can. So a reader that goes on after the last
number it has seen misses nothing, whoever wrote, and however long a transaction took.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import asyncpg

from driftlock.engine.ports import FindingRow, IncidentRow
from driftlock.engine.verdict import IncidentState
from driftlock.storage.columns import columns
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Connection, Database

EVENTS_KEPT_MAX = 10_000
"""Events of a tenant that can still be read; they leave earlier when they are older than `EVENTS_KEPT_S`."""
EVENTS_KEPT_S = 24 * 3600
FORGOTTEN_AT_ONCE_MAX = 2_000

# Tenants are taken in one order, so that steps never wait for each other both ways. Rows of a tenant that was deleted while
# they were computed fall away in the joins.
APPEND = """
with new as (
  select n.tenant_id, n.kind, a.id as anomaly_id, i.id as incident_id,
         row_number() over (partition by n.tenant_id order by n.place) as place
    from unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[]) with ordinality
      as n (tenant_id, kind, anomaly_id, incident_id, place)
    left join driftlock.anomalies a on a.id = n.anomaly_id and a.tenant_id = n.tenant_id
    left join driftlock.incidents i on i.id = n.incident_id and i.tenant_id = n.tenant_id
   where a.id is not null or i.id is not null
), head as (
  insert into driftlock.live_heads as h (tenant_id, seq)
  select new.tenant_id, count(*) from new group by new.tenant_id order by new.tenant_id
  on conflict (tenant_id) do update set seq = h.seq + excluded.seq
  returning h.tenant_id, h.seq
)
insert into driftlock.live_events (tenant_id, seq, kind, anomaly_id, incident_id)
select new.tenant_id, head.seq - (select count(*) from new o where o.tenant_id = new.tenant_id) + new.place,
       new.kind, new.anomaly_id, new.incident_id
  from new join head on head.tenant_id = new.tenant_id
on conflict (anomaly_id) where anomaly_id is not null do nothing
"""
RANGE = """
select coalesce((select h.seq from driftlock.live_heads h), 0) as head,
       (select min(e.seq) from driftlock.live_events e) as oldest
"""
AFTER = """
select e.seq, e.at, e.kind, e.anomaly_id, e.incident_id from driftlock.live_events e where e.seq > $1 order by e.seq limit $2
"""
HEADS = "select h.tenant_id, h.seq from driftlock.live_heads h where h.tenant_id = any ($1)"
FORGET_MANY = """
with due as (
  select e.tenant_id, e.seq from driftlock.live_heads h
   cross join lateral (
     select o.tenant_id, o.seq from driftlock.live_events o
      where o.tenant_id = h.tenant_id and o.seq <= h.seq - $1::bigint order by o.seq limit $2) e
   limit $2
), gone as (
  delete from driftlock.live_events e using due where e.tenant_id = due.tenant_id and e.seq = due.seq returning 1
)
select count(*) from gone
"""
FORGET_OLD = """
with due as (select e.ctid from driftlock.live_events e where e.at < $1 order by e.at limit $2),
gone as (delete from driftlock.live_events e using due where e.ctid = due.ctid returning 1)
select count(*) from gone
"""


class LiveKind(StrEnum):
    """What happened. An incident is `changed` by findings that join it."""

    ANOMALY = "anomaly"
    OPENED = "incident.opened"
    CHANGED = "incident.changed"
    CLOSED = "incident.closed"
    ACKNOWLEDGED = "incident.acknowledged"
    RESOLVED = "incident.resolved"
    REOPENED = "incident.reopened"


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """Something that happened, the tenant's `seq`-th; of an anomaly or of an incident."""

    seq: int
    at: datetime
    kind: LiveKind
    anomaly_id: UUID | None
    incident_id: UUID | None


@dataclass(frozen=True, slots=True)
class LiveRange:
    """What can be read: events from `oldest` to `head`, the newest there ever was; `oldest` is `head` + 1 when none is left."""

    oldest: int
    head: int


class Live:
    """The feed of one tenant at a time. Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def range(self, tenant_id: UUID) -> LiveRange:
        """Which events can be read."""
        async with self._database.tenant(tenant_id) as connection:
            [row] = await connection.fetch(RANGE)
        head: int = row["head"]
        return LiveRange(head + 1 if row["oldest"] is None else row["oldest"], head)

    async def after(self, tenant_id: UUID, seq: int, *, limit: int) -> list[LiveEvent]:
        """The events after one, the oldest first."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(AFTER, seq, check_limit(limit))
        return [_event(row) for row in rows]

    async def heads(self, tenant_ids: Sequence[UUID]) -> Mapping[UUID, int]:
        """The newest event of each of these tenants, by its number; tenants without events are left out."""

        async def work(connection: Connection) -> list[asyncpg.Record]:
            return await connection.fetch(HEADS, list(tenant_ids))

        return {row["tenant_id"]: row["seq"] for row in await self._database.node(work)}

    async def forget(self, before: datetime) -> int:
        """Delete events of before that moment, and those that are too many; returns how many. A bite at a time."""

        async def many(connection: Connection) -> int:
            return int(await connection.fetchval(FORGET_MANY, EVENTS_KEPT_MAX, FORGOTTEN_AT_ONCE_MAX))

        async def old(connection: Connection) -> int:
            return int(await connection.fetchval(FORGET_OLD, before, FORGOTTEN_AT_ONCE_MAX))

        forgotten = 0
        for work in (many, old):
            bite = FORGOTTEN_AT_ONCE_MAX
            while bite == FORGOTTEN_AT_ONCE_MAX:
                bite = await self._database.node(work)
                forgotten += bite
        return forgotten


def _event(row: asyncpg.Record) -> LiveEvent:
    return LiveEvent(row["seq"], row["at"], LiveKind(row["kind"]), row["anomaly_id"], row["incident_id"])


async def save_live(connection: Connection, findings: Sequence[FindingRow], incidents: Sequence[IncidentRow]) -> None:
    """Tell what a step brings, in the transaction that has written it; the last thing it does, for others wait meanwhile.

    Nothing is told of findings that people have silenced.
    """
    told: list[tuple[object, ...]] = [
        (row.tenant_id, LiveKind.ANOMALY.value, row.finding_id, None) for row in findings if row.silenced_by is None
    ]
    told += [(row.tenant_id, kind.value, None, row.incident.incident_id) for row in incidents for kind in _kinds_of(row)]
    if told:
        await connection.execute(APPEND, *columns(told))


async def tell_incident(connection: Connection, tenant_id: UUID, kind: LiveKind, incident_id: UUID) -> None:
    """Tell what somebody said of an incident, in the transaction of it."""
    await connection.execute(APPEND, [tenant_id], [kind.value], [None], [incident_id])


def _kinds_of(row: IncidentRow) -> list[LiveKind]:
    """An incident is new when all that is in it has joined it in this step."""
    opened = len(row.joined) == row.incident.findings
    closed = row.incident.state is IncidentState.CLOSED
    if not opened and not closed:
        return [LiveKind.CHANGED]
    return [LiveKind.OPENED] * opened + [LiveKind.CLOSED] * closed
