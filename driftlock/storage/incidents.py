"""Incidents as they are stored."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from driftlock.engine.verdict import Incident, IncidentState
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Database

SELECT = """
select i.id, i.stream_ids, i.state, i.start_ns, i.end_ns, i.findings, i.ncd_max, i.p_value_min, i.title, i.surprise_max,
       i.alerted, i.alerted_ns, i.updated_at,
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
    )
    return IncidentRow(incident, tuple(row["slugs"]), row["updated_at"], row["alerted_ns"])
