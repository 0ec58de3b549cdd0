"""Incidents: anomalies that belong together."""

from uuid import UUID

from api import incident_models, incident_views
from api.cursors import Position
from api.endpoint import Call, Endpoint, Reply
from api.paging import PageQuery, Pager
from api.ports import AnomalyFilter, IncidentRow
from api.routes.streams import parse_uuid
from driftlock.accounts.keys import Scope
from driftlock.errors import NotFound


async def list_incidents(call: Call) -> Reply:
    """One page of incidents, the newest first."""
    repository, tenant_id = call.deps.incidents, call.principal.tenant_id
    rows, next_cursor = await Pager(call, call.query(PageQuery), "incidents").page(
        lambda limit, after: repository.list(tenant_id, limit=limit, after=after), _position, _key
    )
    return Reply(
        incident_models.IncidentPage(incidents=tuple(incident_views.incident(row) for row in rows), next_cursor=next_cursor)
    )


async def get_incident(call: Call) -> Reply:
    """One incident with its newest anomalies."""
    deps, tenant_id = call.deps, call.principal.tenant_id
    incident_id = parse_uuid(call.path("incident_id"))
    row = None if incident_id is None else await deps.incidents.get(tenant_id, incident_id)
    if row is None:
        raise NotFound("there is no incident with this id; GET /v1/incidents lists yours")
    filters = AnomalyFilter(incident_id=incident_id)
    anomalies = await deps.anomalies.list(tenant_id, filters, limit=deps.limits.incident_anomalies_max, after=None)
    return Reply(incident_views.incident_detail(row, anomalies))


def _position(row: IncidentRow) -> Position:
    return row.incident.start_ns, str(row.incident.incident_id)


def _key(position: Position) -> tuple[int, UUID]:
    start_ns, incident_id = position
    return int(start_ns), UUID(str(incident_id))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/incidents",
        "listIncidents",
        "incidents",
        "Incidents, the newest first",
        list_incidents,
        {200: incident_models.IncidentPage},
        scope=Scope.READ,
        query=PageQuery,
    ),
    Endpoint(
        "GET",
        "/v1/incidents/{incident_id}",
        "getIncident",
        "incidents",
        "One incident with its newest anomalies",
        get_incident,
        {200: incident_models.IncidentDetail},
        scope=Scope.READ,
        path_parameters={"incident_id": "Id of the incident."},
    ),
)
