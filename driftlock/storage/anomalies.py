"""Anomalies: the findings of the applier as they are stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from driftlock.engine.correlation.flag import traces_of
from driftlock.engine.ports import FindingRow
from driftlock.engine.verdict import Finding, Question
from driftlock.storage.columns import columns, text
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Connection, Database

SELECT = """
select a.id, a.stream_id, s.slug, a.incident_id, a.detected_at, a.body
  from driftlock.anomalies a join driftlock.streams s on s.id = a.stream_id
"""
NS_MAX = 2**63 - 1
# Every filter is a parameter: the statement is one and the same whatever is asked for, but for traces, which few findings
# name, so that their index is always the way to them.
PAGE = """
 where ($2::uuid is null or a.stream_id = $2)
   and ($3::uuid is null or a.incident_id = $3)
   and ($4::float8 is null or a.ncd >= $4)
   and ($5::float8 is null or a.p_value <= $5)
   and ($6::bigint is null or a.end_ns >= $6)
   and ($7::bigint is null or a.start_ns < $7)
   and ($8::text is null or a.question = $8)
   and ($9::timestamptz is null or (a.detected_at, a.end_ns, a.id) < ($9, $10::bigint, $11::uuid))
 order by a.detected_at desc, a.end_ns desc, a.id desc limit $1
"""
LIST = SELECT + PAGE
LIST_OF_TRACE = SELECT + "join driftlock.anomaly_traces t on t.anomaly_id = a.id and t.trace_id = $12" + PAGE
TRACES = """
insert into driftlock.anomaly_traces (anomaly_id, trace_id, tenant_id)
select n.* from unnest($1::uuid[], $2::text[], $3::uuid[]) as n (anomaly_id, trace_id, tenant_id)
  join driftlock.anomalies a on a.id = n.anomaly_id and a.tenant_id = n.tenant_id
on conflict do nothing
"""


@dataclass(frozen=True, slots=True)
class AnomalyRow:
    """A finding as it is stored."""

    anomaly_id: UUID
    stream_id: UUID
    slug: str
    incident_id: UUID | None
    detected_at: datetime
    finding: Finding


@dataclass(frozen=True, slots=True)
class AnomalyFilter:
    """Which anomalies to list; None = all. `since` and `until` are event times in ns, the former inclusive.

    `trace_id`, hexadecimal in lower case, is one that they name.
    """

    stream_id: UUID | None = None
    incident_id: UUID | None = None
    ncd_min: float | None = None
    p_value_max: float | None = None
    since: int | None = None
    until: int | None = None
    question: Question | None = None
    trace_id: str | None = None


class Anomalies:
    """Anomalies of one tenant at a time, by (detected_at, end of the window, id).

    Raises `Unavailable` when the database is away.
    """

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def list(
        self, tenant_id: UUID, filters: AnomalyFilter, *, limit: int, after: tuple[datetime, int, UUID] | None = None
    ) -> list[AnomalyRow]:
        """One page, descending; `after` is the position of the last anomaly of the page before."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(
                LIST if filters.trace_id is None else LIST_OF_TRACE,
                check_limit(limit),
                filters.stream_id,
                filters.incident_id,
                filters.ncd_min,
                filters.p_value_max,
                _bigint(filters.since),
                _bigint(filters.until),
                None if filters.question is None else filters.question.value,
                *(after or (None, None, None)),
                *(() if filters.trace_id is None else (text(filters.trace_id),)),
            )
        return [_anomaly(row) for row in rows]

    async def get(self, tenant_id: UUID, anomaly_id: UUID) -> AnomalyRow | None:
        """One anomaly."""
        async with self._database.tenant(tenant_id) as connection:
            row = await connection.fetchrow(f"{SELECT} where a.id = $1", anomaly_id)
        return None if row is None else _anomaly(row)


def _bigint(time_ns: int | None) -> int | None:
    return None if time_ns is None else max(0, min(time_ns, NS_MAX))


def _anomaly(row: asyncpg.Record) -> AnomalyRow:
    return AnomalyRow(
        row["id"], row["stream_id"], row["slug"], row["incident_id"], row["detected_at"], Finding.from_json(row["body"])
    )


async def save_traces(connection: Connection, rows: Sequence[FindingRow]) -> None:
    """Write which traces findings name, in the transaction that has written the findings."""
    named = [(row.finding_id, text(trace_id), row.tenant_id) for row in rows for trace_id in traces_of(row.finding)]
    if named:
        await connection.execute(TRACES, *columns(named))
