"""Anomalies: the windows that a detector flagged, with their evidence."""

from datetime import datetime
from uuid import UUID

from api import models, views
from api.anomaly_filters import AnomalyFilters, filter_of
from api.cursors import Position
from api.endpoint import Call, Endpoint, Reply
from api.paging import PageQuery, Pager
from api.ports import AnomalyRow
from api.rfc3339 import datetime_of_ns, ns_of_datetime
from api.routes.evidence import evidence_ref
from api.routes.streams import parse_uuid
from driftlock.accounts.keys import Scope
from driftlock.errors import NotFound


class AnomalyQuery(PageQuery, AnomalyFilters):
    """Filters of the list of anomalies."""


async def list_anomalies(call: Call) -> Reply:
    """One page of anomalies, the newest first."""
    query = call.query(AnomalyQuery)
    repository, tenant_id = call.deps.anomalies, call.principal.tenant_id
    pager = Pager(call, query, "anomalies")
    filters = await filter_of(call.deps, tenant_id, query)
    rows, next_cursor = await pager.page(
        lambda limit, after: repository.list(tenant_id, filters, limit=limit, after=after), position, key
    )
    return Reply(models.AnomalyPage(anomalies=tuple(views.anomaly_summary(row) for row in rows), next_cursor=next_cursor))


async def get_anomaly(call: Call) -> Reply:
    """One anomaly with its evidence."""
    anomaly_id = parse_uuid(call.path("anomaly_id"))
    row = None if anomaly_id is None else await call.deps.anomalies.get(call.principal.tenant_id, anomaly_id)
    if row is None:
        raise NotFound("there is no anomaly with this id; GET /v1/anomalies lists yours")
    return Reply(views.anomaly(row, await evidence_ref(call, row.anomaly_id)))


def position(row: AnomalyRow) -> Position:
    """Where an anomaly stands in lists."""
    return ns_of_datetime(row.detected_at), row.finding.end_ns, str(row.anomaly_id)


def key(position: Position) -> tuple[datetime, int, UUID]:
    """The same as the repository takes it."""
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
