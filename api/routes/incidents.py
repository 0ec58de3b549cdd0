"""Incidents: anomalies that belong together, and what people say of them."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, WithJsonSchema

from api import incident_models, incident_views
from api.choices import schema_of
from api.cursors import Position
from api.endpoint import Call, Endpoint, Reply
from api.etag import ETAG_HEADER, check_if_match, etag_of
from api.paging import PageQuery, Pager
from api.ports import AnomalyFilter, IncidentFilter, IncidentRow
from api.problems import BadMembers, ProblemMember
from api.routes.streams import find_stream, parse_uuid
from api.times import Time, moment
from driftlock.accounts.keys import Role, Scope
from driftlock.engine.verdict import IncidentState
from driftlock.errors import Code, Conflict, NotFound, PreconditionFailed
from driftlock.storage.incident_actions import NOTE_BYTES_MAX, IncidentStatus, Said

State = Annotated[IncidentState, WithJsonSchema(schema_of(IncidentState))]
Status = Annotated[IncidentStatus, WithJsonSchema(schema_of(IncidentStatus))]


class IncidentQuery(PageQuery):
    """Filters of the list of incidents."""

    state: State | None = Field(default=None, description="Only those that the detector still adds to, or no more.")
    status: Status | None = Field(default=None, description="Only those of which people say this.")
    stream: str | None = Field(default=None, max_length=300, description="Only those that this stream is in, by id or slug.")
    alerted: bool | None = Field(default=None, description="Only those that alerted, or that the budget kept quiet.")
    since: Time | None = Field(default=None, description="Only those that end at this time or later (event time).")
    until: Time | None = Field(default=None, description="Only those that begin before this time (event time).")


async def list_incidents(call: Call) -> Reply:
    """One page of incidents, the newest first."""
    repository, tenant_id, query = call.deps.incidents, call.principal.tenant_id, call.query(IncidentQuery)
    pager = Pager(call, query, "incidents")
    stream = None if query.stream is None else await find_stream(call.deps, tenant_id, query.stream)
    filters = IncidentFilter(
        state=query.state,
        status=query.status,
        stream_id=None if stream is None else stream.stream_id,
        alerted=query.alerted,
        since=moment(query.since),
        until=moment(query.until),
    )
    rows, next_cursor = await pager.page(
        lambda limit, after: repository.list(tenant_id, filters, limit=limit, after=after), _position, _key
    )
    return Reply(
        incident_models.IncidentPage(incidents=tuple(incident_views.incident(row) for row in rows), next_cursor=next_cursor)
    )


async def get_incident(call: Call) -> Reply:
    """One incident with its newest anomalies."""
    return await _shown(call, await _incident(call))


async def change_incident(call: Call) -> Reply:
    """Say what becomes of an incident."""
    row, change = await _incident(call), call.body(incident_models.IncidentChange)
    check_if_match(call, _tag(row))
    said = _said(change)
    version = 0 if row.action is None else row.action.version
    try:
        await call.deps.views.incident_actions.act(
            call.principal.tenant_id, row.incident.incident_id, said, call.actor, version=version
        )
    except Conflict as error:
        if "If-Match" in call.request.headers:
            raise PreconditionFailed(error.message) from error
        raise
    call.deps.views.live.wake([call.principal.tenant_id])
    return await _shown(call, await _incident(call))


def _said(change: incident_models.IncidentChange) -> Said:
    given = change.model_fields_set
    if not given:
        raise BadMembers([ProblemMember(detail="name a status, a note, or both", pointer="")])
    note = None
    if "note" in given:
        note = change.note or ""
        if len(note.encode("utf-8", "surrogatepass")) > NOTE_BYTES_MAX:
            detail = f"has at most {NOTE_BYTES_MAX} bytes of UTF-8 (note_bytes_max)"
            raise BadMembers([ProblemMember(detail=detail, pointer="/note")])
    return Said(change.status if "status" in given else None, note)


async def _incident(call: Call) -> IncidentRow:
    incident_id = parse_uuid(call.path("incident_id"))
    row = None if incident_id is None else await call.deps.incidents.get(call.principal.tenant_id, incident_id)
    if row is None:
        raise NotFound("there is no incident with this id; GET /v1/incidents lists yours")
    return row


async def _shown(call: Call, row: IncidentRow) -> Reply:
    deps, filters = call.deps, AnomalyFilter(incident_id=row.incident.incident_id)
    anomalies = await deps.anomalies.list(
        call.principal.tenant_id, filters, limit=deps.limits.incident_anomalies_max, after=None
    )
    return Reply(incident_views.incident_detail(row, anomalies), headers={ETAG_HEADER: _tag(row)})


def _tag(row: IncidentRow) -> str:
    """Of what people can change: what they said, and whether it still holds."""
    version = 0 if row.action is None else row.action.version
    return etag_of(incident_models.IncidentVersion(id=row.incident.incident_id, version=version, status=row.status))


def _position(row: IncidentRow) -> Position:
    return row.incident.start_ns, str(row.incident.incident_id)


def _key(position: Position) -> tuple[int, UUID]:
    start_ns, incident_id = position
    return int(start_ns), UUID(str(incident_id))


INCIDENT_ID = {"incident_id": "Id of the incident."}
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
        query=IncidentQuery,
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
        path_parameters=INCIDENT_ID,
        etag=True,
    ),
    Endpoint(
        "PATCH",
        "/v1/incidents/{incident_id}",
        "changeIncident",
        "incidents",
        "Acknowledge, resolve or reopen an incident",
        change_incident,
        {200: incident_models.IncidentDetail},
        scope=Scope.ADMIN,
        role=Role.MEMBER,
        request=incident_models.IncidentChange,
        path_parameters=INCIDENT_ID,
        etag=True,
        problems=(Code.CONFLICT,),
    ),
)
