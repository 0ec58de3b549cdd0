"""Anomalies: the windows that a detector flagged, with their evidence."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, FiniteFloat

from api import models, views
from api.cursors import Position
from api.endpoint import Call, Endpoint, Reply
from api.paging import PageQuery, Pager
from api.ports import AnomalyFilter, AnomalyRow
from api.rfc3339 import datetime_of_ns, ns_of_datetime, parse_rfc3339
from api.routes.streams import find_stream, parse_uuid
from driftlock.accounts.keys import Scope
from driftlock.engine.correlation.flag import TRACE_ID
from driftlock.engine.verdict import Question
from driftlock.errors import NotFound


def _checked_time(text: str) -> str:
    parse_rfc3339(text)
    return text


Time = Annotated[str, AfterValidator(_checked_time), Field(json_schema_extra={"format": "date-time"})]


def _checked_question(text: str) -> str:
    if text not in set(Question):
        raise ValueError(f"choose one of {', '.join(Question)}")
    return text


Asked = Annotated[
    str, AfterValidator(_checked_question), Field(json_schema_extra={"enum": [question.value for question in Question]})
]


def _checked_trace(text: str) -> str:
    if not TRACE_ID.fullmatch(text.lower()):
        raise ValueError("a trace id has 32 hexadecimal digits")
    return text.lower()


Trace = Annotated[str, AfterValidator(_checked_trace), Field(json_schema_extra={"pattern": "^[0-9A-Fa-f]{32}$"})]


class AnomalyQuery(PageQuery):
    """Filters of the list of anomalies."""

    stream: str | None = Field(default=None, max_length=300, description="Id or slug of a stream.")
    incident: UUID | None = Field(default=None, description="Id of an incident.")
    min_ncd: FiniteFloat | None = Field(default=None, ge=0, le=1, description="Only distances of at least this.")
    max_p_value: FiniteFloat | None = Field(default=None, ge=0, le=1, description="Only p-values of at most this.")
    question: Asked | None = Field(default=None, description="Only those that are about this.")
    trace_id: Trace | None = Field(default=None, description="Only those that name this trace, as an example or with a line.")
    since: Time | None = Field(default=None, description="Only those whose window ends at this time or later (event time).")
    until: Time | None = Field(default=None, description="Only those whose window begins before this time (event time).")


async def list_anomalies(call: Call) -> Reply:
    """One page of anomalies, the newest first."""
    query = call.query(AnomalyQuery)
    repository, tenant_id = call.deps.anomalies, call.principal.tenant_id
    pager = Pager(call, query, "anomalies")
    stream = None if query.stream is None else await find_stream(call.deps, tenant_id, query.stream)
    filters = AnomalyFilter(
        stream_id=None if stream is None else stream.stream_id,
        incident_id=query.incident,
        ncd_min=query.min_ncd,
        p_value_max=query.max_p_value,
        since=_moment(query.since),
        until=_moment(query.until),
        question=None if query.question is None else Question(query.question),
        trace_id=query.trace_id,
    )
    rows, next_cursor = await pager.page(
        lambda limit, after: repository.list(tenant_id, filters, limit=limit, after=after), _position, _key
    )
    return Reply(models.AnomalyPage(anomalies=tuple(views.anomaly_summary(row) for row in rows), next_cursor=next_cursor))


async def get_anomaly(call: Call) -> Reply:
    """One anomaly with its evidence."""
    anomaly_id = parse_uuid(call.path("anomaly_id"))
    row = None if anomaly_id is None else await call.deps.anomalies.get(call.principal.tenant_id, anomaly_id)
    if row is None:
        raise NotFound("there is no anomaly with this id; GET /v1/anomalies lists yours")
    return Reply(views.anomaly(row))


def _moment(text: str | None) -> int | None:
    return None if text is None else parse_rfc3339(text)


def _position(row: AnomalyRow) -> Position:
    return ns_of_datetime(row.detected_at), row.finding.end_ns, str(row.anomaly_id)


def _key(position: Position) -> tuple[datetime, int, UUID]:
    detected_ns, end_ns, anomaly_id = position
    return datetime_of_ns(int(detected_ns)), int(end_ns), UUID(str(anomaly_id))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/anomalies",
        "listAnomalies",
        "anomalies",
        "Anomalies, the newest first",
        list_anomalies,
        {200: models.AnomalyPage},
        scope=Scope.READ,
        query=AnomalyQuery,
    ),
    Endpoint(
        "GET",
        "/v1/anomalies/{anomaly_id}",
        "getAnomaly",
        "anomalies",
        "One anomaly with the very bytes that are new",
        get_anomaly,
        {200: models.Anomaly},
        scope=Scope.READ,
        path_parameters={"anomaly_id": "Id of the anomaly."},
    ),
)
