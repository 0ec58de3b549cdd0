"""Lists and details with a million findings: page 1 beside page 10,000, turn by turn, and the plans of their statements."""

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from urllib.parse import urlencode
from uuid import UUID

import asyncpg

from api.cursors import Cursors, Position
from bench.rest.client import Client, Timed, repeated
from bench.rest.fill import DAYS, SCORED_STREAMS
from bench.rest.plans import ExplainedDatabase
from driftlock.engine.verdict import IncidentState, Question
from driftlock.storage.anomalies import Anomalies, AnomalyFilter
from driftlock.storage.audit import AuditLog
from driftlock.storage.incident_actions import IncidentStatus
from driftlock.storage.incidents import IncidentFilter, Incidents
from driftlock.storage.live import Live
from driftlock.storage.scores import Scores
from driftlock.storage.streams import Streams

PAGE, DEEP_PAGE = 50, 10_000
COUNT = "select count(*) from driftlock.{} where tenant_id = $1 and {} and {}"
SHOWN = {"anomalies": "silenced_by is null"}
"""What of a table is in its list without filters; all of it where nothing is said."""
FLAT_MAX = 2.0
DAY_S = 86_400
PLACES = {
    "anomalies": "select detected_at, end_ns, id from driftlock.anomalies where tenant_id = $1 and silenced_by is null and {} "
    "order by detected_at desc, end_ns desc, id desc offset {} limit 1",
    "incidents": "select start_ns, id from driftlock.incidents where tenant_id = $1 and {} "
    "order by start_ns desc, id desc offset {} limit 1",
    "audit": "select at, id from driftlock.audit where tenant_id = $1 and {} order by at desc, id desc offset {} limit 1",
}
"""The row at an offset of each list, by the owner of the tables: so that a bench need not turn 10,000 pages to be there."""
Fetch = Callable[[ExplainedDatabase, UUID], Awaitable[object]]


@dataclass(frozen=True)
class Case:
    """A list or a detail: what is asked, the statement behind it, and, for a list, which rows its filter leaves."""

    name: str
    path: str
    fetch: Fetch
    rows: str = ""
    where: str = "true"
    query: tuple[tuple[str, str], ...] = ()

    def address(self, cursor: str = "") -> str:
        """What is requested; of lists, a page."""
        query = {**dict(self.query), **({"limit": str(PAGE)} if self.rows else {}), **({"cursor": cursor} if cursor else {})}
        return self.path + ("?" + urlencode(query) if query else "")

    def scope(self) -> tuple[str, ...]:
        """What a cursor of the list is bound to (`api.paging.Pager`)."""
        filters = {**({"silenced": "False"} if self.rows == "anomalies" else {}), **dict(self.query)}
        return (self.rows, *(f"{name}={filters[name]}" for name in sorted(filters)))


@dataclass(frozen=True)
class Subjects:
    """Things of the asked tenant that the cases are about."""

    tenant: UUID
    stream: UUID
    scored: UUID
    anomaly: UUID
    incident: UUID
    trace: str
    minute: int

    @classmethod
    async def found(cls, owner: "asyncpg.Connection[asyncpg.Record]", tenant: UUID) -> "Subjects":
        """The ones in the middle of the tables."""

        async def one(statement: str) -> UUID:
            return UUID(str(await owner.fetchval(statement, tenant)))

        return cls(
            tenant,
            await one("select id from driftlock.streams where tenant_id = $1 and slug = 'service-7'"),
            await one("select min(stream_id::text) from driftlock.stream_scores where tenant_id = $1"),
            await one("select id from driftlock.anomalies where tenant_id = $1 order by detected_at offset 5000 limit 1"),
            await one("select id from driftlock.incidents where tenant_id = $1 order by start_ns offset 500 limit 1"),
            str(await owner.fetchval("select max(trace_id) from driftlock.anomaly_traces where tenant_id = $1", tenant)),
            int(time.time()) // 60,
        )


def cases(on: Subjects) -> tuple[Case, ...]:
    """Every list, with each filter, and the details."""
    return (*_anomalies(on), *_incidents(on), *_others(on))


def _anomalies(on: Subjects) -> tuple[Case, ...]:
    def case(name: str, filters: AnomalyFilter, where: str = "", **query: str) -> Case:
        """Without `where` the list is too short to have a page far away."""

        async def fetch(database: ExplainedDatabase, tenant: UUID) -> object:
            return await Anomalies(database).list(tenant, filters, limit=PAGE + 1)

        rows = "anomalies" if where else ""
        return Case(f"anomalies, {name}", "/v1/anomalies", fetch, rows, where, tuple(query.items()))

    now = time.time_ns() // 10**9
    week, month = now - 7 * DAY_S, now - (DAYS - 1) * DAY_S
    hour = (now - 20 * DAY_S, now - 20 * DAY_S + 3600)

    def at(second: int) -> str:
        return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def ns(second: int) -> int:
        return second * 10**9

    return (
        case("all", AnomalyFilter(), "true"),
        case("of a stream", AnomalyFilter(stream_id=on.stream), f"stream_id = '{on.stream}'", stream="service-7"),
        case("of an incident", AnomalyFilter(incident_id=on.incident), incident=str(on.incident)),
        case("min_ncd 0.9", AnomalyFilter(ncd_min=0.9), "ncd >= 0.9", min_ncd="0.9"),
        case("min_ncd 0.999, 1 in 700", AnomalyFilter(ncd_min=0.999), "ncd >= 0.999", min_ncd="0.999"),
        case("min_ncd 1, nearly none", AnomalyFilter(ncd_min=1.0), min_ncd="1.0"),
        case("max_p_value 0.001", AnomalyFilter(p_value_max=0.001), "p_value <= 0.001", max_p_value="0.001"),
        case("max_p_value 0, none", AnomalyFilter(p_value_max=0.0), max_p_value="0.0"),
        case("question order", AnomalyFilter(question=Question.ORDER), "question = 'order'", question="order"),
        case("since a week ago", AnomalyFilter(since=ns(week)), f"end_ns >= {ns(week)}", since=at(week)),
        case("until a week ago", AnomalyFilter(until=ns(week)), f"start_ns < {ns(week)}", until=at(week)),
        case("until long ago, the backfill", AnomalyFilter(until=ns(month)), f"start_ns < {ns(month)}", until=at(month)),
        case("until before all", AnomalyFilter(until=1), until="1970-01-01T00:00:01Z"),
        case(
            "one hour 20 days ago",
            AnomalyFilter(since=ns(hour[0]), until=ns(hour[1])),
            since=at(hour[0]),
            until=at(hour[1]),
        ),
        case("of a trace", AnomalyFilter(trace_id=on.trace), trace_id=on.trace),
        case("silenced", AnomalyFilter(silenced=True), silenced="true"),
    )


def _incidents(on: Subjects) -> tuple[Case, ...]:
    def case(name: str, filters: IncidentFilter, where: str = "", **query: str) -> Case:
        async def fetch(database: ExplainedDatabase, tenant: UUID) -> object:
            return await Incidents(database).list(tenant, filters, limit=PAGE + 1)

        rows = "incidents" if where else ""
        return Case(f"incidents, {name}", "/v1/incidents", fetch, rows, where, tuple(query.items()))

    return (
        case("all", IncidentFilter(), "true"),
        case("open", IncidentFilter(state=IncidentState.OPEN), state="open"),
        case("status open", IncidentFilter(status=IncidentStatus.OPEN), status="open"),
        case("status resolved, none", IncidentFilter(status=IncidentStatus.RESOLVED), status="resolved"),
        case("of a stream", IncidentFilter(stream_id=on.stream), f"began_in = '{on.stream}'", stream="service-7"),
        case("alerted", IncidentFilter(alerted=True), "alerted", alerted="True"),
    )


def _others(on: Subjects) -> tuple[Case, ...]:
    async def audit(database: ExplainedDatabase, tenant: UUID) -> object:
        return await AuditLog(database).list(tenant, limit=PAGE + 1)

    async def audit_action(database: ExplainedDatabase, tenant: UUID) -> object:
        return await AuditLog(database).list(tenant, limit=PAGE + 1, action="profile.changed")

    async def scores(database: ExplainedDatabase, tenant: UUID) -> object:
        since = on.minute - 1440
        return await Scores(database).list(tenant, on.scored, since_minute=since, until_minute=on.minute, step_minutes=5)

    return (
        Case("one anomaly", f"/v1/anomalies/{on.anomaly}", lambda db, tenant: Anomalies(db).get(tenant, on.anomaly)),
        Case("one incident", f"/v1/incidents/{on.incident}", lambda db, tenant: Incidents(db).get(tenant, on.incident)),
        Case("streams", "/v1/streams", lambda db, tenant: Streams(db).list(tenant, limit=PAGE + 1)),
        Case("one stream", "/v1/streams/service-7", lambda db, tenant: Streams(db).get(tenant, "service-7")),
        Case(f"scores of a day, of {SCORED_STREAMS} streams' weeks", f"/v1/streams/{on.scored}/scores", scores),
        Case("audit log", "/v1/account/audit", audit, "audit"),
        Case("audit log, one action", "/v1/account/audit", audit_action, query=(("action", "profile.changed"),)),
        Case("live feed, where it begins", "", lambda db, tenant: Live(db).range(tenant)),
        Case("live feed, 100 events", "", lambda db, tenant: Live(db).after(tenant, 100, limit=100)),
    )


async def deep_cursor(
    case: Case, owner: "asyncpg.Connection[asyncpg.Record]", tenant: UUID, cursors: Cursors
) -> tuple[int, str]:
    """A page far away, and the cursor that leads there: page 10,000, or the last full one but one."""
    table = case.rows
    fits = await owner.fetchval(COUNT.format(table, SHOWN.get(table, "true"), case.where), tenant)
    page = min(DEEP_PAGE, fits // PAGE - 1)  # which is full, as is the one before
    if page < 2:
        return 0, ""
    row = await owner.fetchrow(PLACES[table].format(case.where, (page - 1) * PAGE - 1), tenant)
    if row is None:
        raise RuntimeError(f"{case.name}: {fits} rows, but page {page} is not there")
    position: Position = (row["at"].isoformat(), str(row["id"])) if table == "audit" else tuple(map(_sortable, row))
    return page, cursors.encode(position, tenant_id=tenant, scope=case.scope())


def _sortable(value: object) -> int | str:
    if isinstance(value, datetime):
        whole = value - datetime(1970, 1, 1, tzinfo=UTC)
        return ((whole.days * DAY_S + whole.seconds) * 10**6 + whole.microseconds) * 1000
    return value if isinstance(value, int) else str(value)


async def rows(port: int, key: str, data_dir: Path, urls: tuple[str, str], tenant: UUID, times: int) -> list[dict[str, object]]:
    """One row a case. `urls`: of the owner and of the application."""
    owner = await asyncpg.connect(urls[0], command_timeout=300)
    cursors = Cursors(bytes.fromhex((data_dir / "cursor-key").read_text("ascii")))
    found = []
    try:
        async with ExplainedDatabase(urls[1]) as database, Client(port, {"X-Api-Key": key}) as client:
            for case in cases(await Subjects.found(owner, tenant)):
                page, cursor = await deep_cursor(case, owner, tenant, cursors) if case.rows else (0, "")
                found.append(await _row(case, client, (page, cursor), (database, tenant), times))
    finally:
        await owner.close()
    return found


async def _row(
    case: Case, client: Client, deep: tuple[int, str], explained: tuple[ExplainedDatabase, UUID], times: int
) -> dict[str, object]:
    database, tenant = explained
    await case.fetch(database, tenant)  # what is measured is not what a cold cache costs
    database.plans.clear()
    await case.fetch(database, tenant)
    row: dict[str, object] = {
        "part": "lists",
        "what": case.name,
        "statement ms": sum(plan.ms for plan in database.plans),
        "blocks": sum(plan.blocks for plan in database.plans),
        "dropped": sum(plan.rows_dropped for plan in database.plans),
        "whole tables": ", ".join(sorted({scan for plan in database.plans for scan in plan.whole_tables})) or "-",
    }
    if not case.path:
        return row
    near = client.encoded("GET", case.address())
    await _checked(client, near, case, full=bool(deep[1]))
    if not deep[1]:
        return row | _latency(await repeated(client, near, times))
    far = client.encoded("GET", case.address(deep[1]))
    await _checked(client, far, case, full=True)
    pairs = [(await repeated(client, near, 1), await repeated(client, far, 1)) for _ in range(times)]
    first = Timed(tuple(one.ms[0] for one, _ in pairs), sum(one.seconds for one, _ in pairs))
    last = Timed(tuple(two.ms[0] for _, two in pairs), sum(two.seconds for _, two in pairs))
    ratio = median(last.ms) / median(first.ms)
    return row | _latency(first) | {"deep page": deep[0], "deep p50 ms": last.quantile(0.5), "deep / first": ratio}


def _latency(timed: Timed) -> dict[str, object]:
    return {"requests/s": timed.per_s, "p50 ms": timed.quantile(0.5), "p99 ms": timed.quantile(0.99)}


async def _checked(client: Client, request: bytes, case: Case, *, full: bool) -> None:
    """It answers, with as many items as fit a page where that is to be."""
    body = (await client.send(request)).json()
    items = next((value for value in body.values() if isinstance(value, list)), [])
    if full and len(items) != PAGE:
        raise RuntimeError(f"{case.name}: a page that is not full: {json.dumps(body)[:300]}")
