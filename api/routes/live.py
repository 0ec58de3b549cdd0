"""`GET /v1/events/live`: findings and incidents as they come, as server-sent events that can be resumed without a gap."""

import contextlib

from pydantic import Field, FiniteFloat

from api.credentials import authenticate
from api.endpoint import Call, Endpoint, Query, Reply
from api.live_session import LiveFilter, LiveSession
from api.problems import BadMembers, ProblemMember
from api.rfc3339 import datetime_of_ns
from api.routes.streams import find_stream
from driftlock.accounts.keys import Scope
from driftlock.errors import Code, PermissionDenied

EVENT_STREAM = "text/event-stream"
LAST_EVENT_ID_HEADER = "Last-Event-ID"
NUMBER_MAX = 2**63 - 1
HEADERS = {"X-Accel-Buffering": "no"}
"""A proxy that gathers answers before it passes them on would hold events back."""


class LiveQuery(Query):
    """Where to go on, and what is wanted."""

    after: int | None = Field(
        default=None,
        ge=0,
        le=NUMBER_MAX,
        description="Id of the last event that was seen; Last-Event-ID stands for it, and wins.",
    )
    stream: str | None = Field(default=None, max_length=300, description="Only events of this stream, by id or slug.")
    min_surprise: FiniteFloat | None = Field(default=None, ge=0, description="Only what surprises by at least so many bits.")


async def live_events(call: Call) -> Reply:
    """Open a connection to the feed."""
    deps, tenant_id, query = call.deps, call.principal.tenant_id, call.query(LiveQuery)
    stream = None if query.stream is None else await find_stream(deps, tenant_id, query.stream)
    hub = deps.views.live
    hub.check_room(tenant_id)
    after = _last_event_id(call)

    async def still_allowed() -> None:
        now = datetime_of_ns(deps.now_ns())
        who = await authenticate(call.request, deps.access, Scope.READ, now, None, people=deps.people)
        if who.tenant_id != tenant_id:
            raise PermissionDenied("what opened this connection belongs to another account by now")

    session = LiveSession(
        hub=hub,
        anomalies=deps.anomalies,
        incidents=deps.incidents,
        tenant_id=tenant_id,
        wanted=LiveFilter(None if stream is None else stream.stream_id, query.min_surprise),
        after=query.after if after is None else after,
        still_allowed=still_allowed,
    )
    return Reply(session.pieces(), headers=HEADERS)


def _last_event_id(call: Call) -> int | None:
    """The header of a client that comes again; an empty one is that of a client that has seen nothing yet."""
    values = call.request.headers.getlist(LAST_EVENT_ID_HEADER)
    if not any(values):
        return None
    with contextlib.suppress(ValueError):
        if len(values) == 1 and values[0].isascii() and values[0].isdecimal() and 0 <= (number := int(values[0])) <= NUMBER_MAX:
            return number
    detail = "must be the id of an event of this feed, given once; leave it out to begin with what comes next"
    raise BadMembers([ProblemMember(detail=detail, parameter=LAST_EVENT_ID_HEADER)])


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/events/live",
        "streamEvents",
        "events",
        "Findings and incidents as they come, as server-sent events",
        live_events,
        {200: EVENT_STREAM},
        scope=Scope.READ,
        query=LiveQuery,
        header_parameters={
            LAST_EVENT_ID_HEADER: "Id of the last event that was seen. What came since is sent first, each event once."
        },
        problems=(Code.RATE_LIMITED,),
    ),
)
