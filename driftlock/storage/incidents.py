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
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Connection, Database

# Rows of a tenant that was deleted while they were computed fall away in the join.
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
       array(select coalesce(s.slug, '') from unnest(i.stream_ids) with ordinality as n (id, position)
               left join driftlock.streams s on s.id = n.id order by n.position) as slugs
  from driftlock.incidents i
"""


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An incident as it is stored, with the slugs of its streams in their order ("" = the stream is gone).

    `alerted_ns` is the event time at which the budget allowed its alert; None when it did not, or nobody asked it yet.
    """

    incident: Incident
    slugs: tuple[str, ...]
    updated_at: datetime
    alerted_ns: int | None = None


class Incidents:
    """Incidents of one tenant at a time, by (start of the incident, id). Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def list(self, tenant_id: UUID, *, limit: int, after: tuple[int, UUID] | None = None) -> list[IncidentRow]:
        """One page, descending; `after` is the position (start in ns, id) of the last incident of the page before."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(
                f"{SELECT} where $2::bigint is null or (i.start_ns, i.id) < ($2, $3::uuid) "
                "order by i.start_ns desc, i.id desc limit $1",
                check_limit(limit),
                *(after or (None, None)),
            )
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
    return IncidentRow(incident, tuple(row["slugs"]), row["updated_at"], row["alerted_ns"])


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
