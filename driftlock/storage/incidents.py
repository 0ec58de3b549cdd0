"""Incidents as they are stored."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from driftlock.engine import ports
from driftlock.engine.evidence import Suspect
from driftlock.engine.verdict import Incident, IncidentState
from driftlock.storage.columns import columns, ns, text
from driftlock.storage.incident_actions import IncidentAction, IncidentStatus
from driftlock.storage.paging import IN_ORDER, PLAN_ANEW, check_limit
from driftlock.storage.pool import Connection, Database

# Rows of a tenant that was deleted while they were computed fall away in the join. The fold still closes incidents that were
# open when all their streams were deleted: that must not bring them back.
SAVE = """
insert into driftlock.incidents as known
  (id, tenant_id, state, start_ns, end_ns, findings, ncd_max, p_value_min, title, surprise_max, alerted, alerted_ns, stream_ids,
   suspects, trace_ids)
select i.id, i.tenant_id, i.state, i.start_ns, i.end_ns, i.findings, i.ncd_max, i.p_value_min, i.title, i.surprise_max,
       i.alerted, i.alerted_ns, string_to_array(i.streams, ' ')::uuid[], i.suspects::jsonb, string_to_array(i.traces, ' ')
  from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::integer[], $7::float8[], $8::float8[],
              $9::text[], $10::float8[], $11::boolean[], $12::bigint[], $13::text[], $14::text[], $15::text[])
    as i (id, tenant_id, state, start_ns, end_ns, findings, ncd_max, p_value_min, title, surprise_max, alerted, alerted_ns,
          streams, suspects, traces)
  join driftlock.tenants t on t.id = i.tenant_id
 where i.state = 'open'
    or exists (select from driftlock.streams s
                where s.id = any (string_to_array(i.streams, ' ')::uuid[]) and s.tenant_id = i.tenant_id)
on conflict (id) do update set
  state = excluded.state, start_ns = excluded.start_ns, end_ns = excluded.end_ns, findings = excluded.findings,
  ncd_max = excluded.ncd_max, p_value_min = excluded.p_value_min, title = excluded.title, stream_ids = excluded.stream_ids,
  surprise_max = excluded.surprise_max, alerted = excluded.alerted, alerted_ns = excluded.alerted_ns,
  suspects = excluded.suspects, trace_ids = excluded.trace_ids, updated_at = now()
where known.tenant_id = excluded.tenant_id
"""
SELECT = """
select i.id, i.stream_ids, i.state, i.start_ns, i.end_ns, i.findings, i.ncd_max, i.p_value_min, i.title, i.surprise_max,
       i.alerted, i.alerted_ns, i.suspects, i.trace_ids, i.updated_at,
       x.version, x.status, x.findings as findings_then, x.note, x.actor_kind, x.actor_id, x.actor_name, x.at,
       array(select coalesce(s.slug, '') from unnest(i.stream_ids) with ordinality as n (id, position)
               left join driftlock.streams s on s.id = n.id order by n.position) as slugs
  from driftlock.incidents i left join driftlock.incident_actions x on x.incident_id = i.id
"""
PLACES = """
select i.start_ns, i.id from driftlock.incidents i left join driftlock.incident_actions x on x.incident_id = i.id
"""
# Every filter is a parameter. One that was resolved is open again when it has more findings by now. Of whatever else is asked
# for people have said something, of few incidents: these are where to look.
PAGE = """
 where ($2::text is null or i.state = $2)
   and ($3::text is null
        or $3 = case when x.status = 'resolved' and i.findings > x.findings then 'open' else coalesce(x.status, 'open') end)
   and ($3::text is null or $3 = 'open' or x.status = $3)
   and ($4::uuid is null or $4 = any (i.stream_ids))
   and ($5::boolean is null or i.alerted = $5)
   and ($6::bigint is null or i.end_ns >= $6)
   and ($7::bigint is null or i.start_ns < $7)
   and ($8::bigint is null or (i.start_ns, i.id) < ($8, $9::uuid))
 order by i.start_ns desc, i.id desc limit $1
"""
LIST = f"{SELECT} join ({PLACES}{PAGE}) p on p.id = i.id order by p.start_ns desc, p.id desc"
BY_IDS = SELECT + "where i.id = any ($1::uuid[])"


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An incident as it is stored, with the slugs of its streams in their order ("" = the stream is gone).

    `alerted_ns` is the event time at which the budget allowed its alert; None when it did not, or nobody asked it yet.
    `action` is the last thing that people said of it.
    """

    incident: Incident
    slugs: tuple[str, ...]
    updated_at: datetime
    alerted_ns: int | None = None
    action: IncidentAction | None = None

    @property
    def reopened(self) -> bool:
        """Whether it got more findings since somebody said that it is resolved."""
        said = self.action
        return said is not None and said.status is IncidentStatus.RESOLVED and self.incident.findings > said.findings

    @property
    def status(self) -> IncidentStatus:
        """What holds of what people said."""
        return IncidentStatus.OPEN if self.action is None or self.reopened else self.action.status


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """Which incidents to list; None = all. `since` and `until` are event times in ns, the former inclusive."""

    state: IncidentState | None = None
    status: IncidentStatus | None = None
    stream_id: UUID | None = None
    alerted: bool | None = None
    since: int | None = None
    until: int | None = None


ALL = IncidentFilter()


class Incidents:
    """Incidents of one tenant at a time, by (start of the incident, id). Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def list(
        self, tenant_id: UUID, filters: IncidentFilter = ALL, *, limit: int, after: tuple[int, UUID] | None = None
    ) -> list[IncidentRow]:
        """One page, descending; `after` is the position (start in ns, id) of the last incident of the page before."""
        async with self._database.tenant(tenant_id) as connection:
            said = filters.status not in (None, IncidentStatus.OPEN)
            await connection.execute(PLAN_ANEW if said else IN_ORDER)
            rows = await connection.fetch(
                LIST,
                check_limit(limit),
                None if filters.state is None else filters.state.value,
                None if filters.status is None else filters.status.value,
                filters.stream_id,
                filters.alerted,
                None if filters.since is None else ns(filters.since),
                None if filters.until is None else ns(filters.until),
                *(after or (None, None)),
            )
        return [_incident(row) for row in rows]

    async def by_ids(self, tenant_id: UUID, incident_ids: Sequence[UUID]) -> Sequence[IncidentRow]:
        """Those of these that there are, in any order."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(BY_IDS, list(incident_ids))
        return [_incident(row) for row in rows]

    async def get(self, tenant_id: UUID, incident_id: UUID) -> IncidentRow | None:
        """One incident."""
        async with self._database.tenant(tenant_id) as connection:
            row = await connection.fetchrow(f"{SELECT} where i.id = $1", incident_id)
        return None if row is None else _incident(row)


def _incident(row: asyncpg.Record) -> IncidentRow:
    incident = Incident(
        row["id"],
        tuple(row["stream_ids"]),
        IncidentState(row["state"]),
        row["start_ns"],
        row["end_ns"],
        row["findings"],
        row["ncd_max"],
        row["p_value_min"],
        row["title"],
        row["surprise_max"],
        row["alerted"],
        tuple(Suspect(**suspect) for suspect in json.loads(row["suspects"])),
        tuple(row["trace_ids"]),
    )
    return IncidentRow(incident, tuple(row["slugs"]), row["updated_at"], row["alerted_ns"], _action(row))


def _action(row: asyncpg.Record) -> IncidentAction | None:
    if row["version"] is None:
        return None
    who = (row["actor_kind"], row["actor_id"], row["actor_name"])
    return IncidentAction(row["version"], IncidentStatus(row["status"]), row["findings_then"], row["note"], *who, row["at"])


async def save_incidents(connection: Connection, rows: Sequence[ports.IncidentRow]) -> None:
    """Write the last form of each incident, in the transaction of the step that brings them."""
    # An upsert takes each row once.
    last_forms = {row.incident.incident_id: row for row in rows}
    if last_forms:
        await connection.execute(SAVE, *columns([_stored(row) for row in last_forms.values()]))


def _stored(row: ports.IncidentRow) -> tuple[object, ...]:
    incident = row.incident
    suspects = [asdict(suspect) | {"service": text(suspect.service)} for suspect in incident.suspects]
    return (
        incident.incident_id,
        row.tenant_id,
        incident.state.value,
        ns(incident.start_ns),
        ns(incident.end_ns),
        incident.findings,
        incident.ncd_max,
        incident.p_value_min,
        text(incident.title),
        incident.surprise_max,
        incident.alerted,
        None if row.alerted_ns is None else ns(row.alerted_ns),
        # Lists as texts: unnest would flatten arrays of arrays.
        " ".join(map(str, incident.stream_ids)),
        json.dumps(suspects, allow_nan=False),
        " ".join(text(trace_id) for trace_id in incident.trace_ids),
    )
