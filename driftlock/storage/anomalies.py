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
from driftlock.storage.paging import IN_ORDER, PLAN_ANEW, check_limit
from driftlock.storage.pool import Connection, Database

SELECT = """
select a.id, a.stream_id, s.slug, a.incident_id, a.detected_at, a.silenced_by, a.body
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
   and (a.silenced_by is not null) = $12
   and ($9::timestamptz is null or (a.detected_at, a.end_ns, a.id) < ($9, $10::bigint, $11::uuid))
 order by a.detected_at desc, a.end_ns desc, a.id desc limit $1
"""
OF_ROW = SELECT + "where a.stream_id = $1 and a.journal_seq = $2 and a.silenced_by is null order by a.last_event, a.id limit $3"
BY_IDS = SELECT + "where a.id = any ($1::uuid[])"
OF_TRACE = "join driftlock.anomaly_traces t on t.anomaly_id = a.id and t.trace_id = $13"
# What is filtered and passed over is looked for in indexes alone: of these columns, not of the findings themselves.
PLACES = "select a.detected_at, a.end_ns, a.id from driftlock.anomalies a "
LISTED = SELECT + "join ({}) p on p.id = a.id order by p.detected_at desc, p.end_ns desc, p.id desc"
LIST = LISTED.format(PLACES + PAGE)
LIST_OF_TRACE = LISTED.format(PLACES + OF_TRACE + PAGE)
# Of the first $1 anomalies the last but one.
PLACE = "select p.*, count(*) over () as rows from ({}) p order by p.detected_at, p.end_ns, p.id offset 1 limit 1"
TRACES = """
insert into driftlock.anomaly_traces (anomaly_id, trace_id, tenant_id)
select n.* from unnest($1::uuid[], $2::text[], $3::uuid[]) as n (anomaly_id, trace_id, tenant_id)
  join driftlock.anomalies a on a.id = n.anomaly_id and a.tenant_id = n.tenant_id
on conflict do nothing
"""


@dataclass(frozen=True, slots=True)
class AnomalyRow:
    """A finding as it is stored; `silenced_by` is the one whose feedback keeps it quiet."""

    anomaly_id: UUID
    stream_id: UUID
    slug: str
    incident_id: UUID | None
    detected_at: datetime
    finding: Finding
    silenced_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class AnomalyFilter:
    """Which anomalies to list; None = all. `since` and `until` are event times in ns, the former inclusive.

    `trace_id`, hexadecimal in lower case, is one that they name. `silenced`: those that feedback keeps quiet, and
    none of the others.
    """

    stream_id: UUID | None = None
    incident_id: UUID | None = None
    ncd_min: float | None = None
    p_value_max: float | None = None
    since: int | None = None
    until: int | None = None
    question: Question | None = None
    trace_id: str | None = None
    silenced: bool = False


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
            await connection.execute(_planning(filters))
            arguments = _arguments(check_limit(limit), filters, after)
            rows = await connection.fetch(LIST if filters.trace_id is None else LIST_OF_TRACE, *arguments)
        return [anomaly_row(row) for row in rows]

    async def place(
        self, tenant_id: UUID, filters: AnomalyFilter, *, rows: int, after: tuple[datetime, int, UUID] | None = None
    ) -> tuple[datetime, int, UUID] | None:
        """Where a list of the first `rows` anomalies ends; None when there are no more than these."""
        listed = PLACES + PAGE if filters.trace_id is None else PLACES + OF_TRACE + PAGE
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(_planning(filters))
            row = await connection.fetchrow(PLACE.format(listed), *_arguments(rows + 1, filters, after))
        return None if row is None or row["rows"] <= rows else (row["detected_at"], row["end_ns"], row["id"])

    async def of_row(self, tenant_id: UUID, stream_id: UUID, journal_seq: int, *, limit: int) -> Sequence[AnomalyRow]:
        """What a row of the journal brought to its stream, in the order of the events."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(OF_ROW, stream_id, journal_seq, check_limit(limit))
        return [anomaly_row(row) for row in rows]

    async def by_ids(self, tenant_id: UUID, anomaly_ids: Sequence[UUID]) -> Sequence[AnomalyRow]:
        """Those of these that there are, in any order."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(BY_IDS, list(anomaly_ids))
        return [anomaly_row(row) for row in rows]

    async def get(self, tenant_id: UUID, anomaly_id: UUID) -> AnomalyRow | None:
        """One anomaly."""
        async with self._database.tenant(tenant_id) as connection:
            row = await connection.fetchrow(f"{SELECT} where a.id = $1", anomaly_id)
        return None if row is None else anomaly_row(row)


def _planning(filters: AnomalyFilter) -> str:
    """Few findings name a trace: they are found by it, and put in order then."""
    return IN_ORDER if filters.trace_id is None else PLAN_ANEW


def _arguments(limit: int, filters: AnomalyFilter, after: tuple[datetime, int, UUID] | None) -> tuple[object, ...]:
    """What `PAGE` takes."""
    return (
        limit,
        filters.stream_id,
        filters.incident_id,
        filters.ncd_min,
        filters.p_value_max,
        _bigint(filters.since),
        _bigint(filters.until),
        None if filters.question is None else filters.question.value,
        *(after or (None, None, None)),
        filters.silenced,
        *(() if filters.trace_id is None else (text(filters.trace_id),)),
    )


def _bigint(time_ns: int | None) -> int | None:
    return None if time_ns is None else max(0, min(time_ns, NS_MAX))


def anomaly_row(row: asyncpg.Record) -> AnomalyRow:
    """A row of `SELECT`."""
    return AnomalyRow(
        row["id"],
        row["stream_id"],
        row["slug"],
        row["incident_id"],
        row["detected_at"],
        Finding.from_json(row["body"]),
        row["silenced_by"],
    )


async def save_traces(connection: Connection, rows: Sequence[FindingRow]) -> None:
    """Write which traces findings name, in the transaction that has written the findings."""
    named = [(row.finding_id, text(trace_id), row.tenant_id) for row in rows for trace_id in traces_of(row.finding)]
    if named:
        await connection.execute(TRACES, *columns(named))
