"""Streams: what shares one past, and how far its detector is."""

from uuid import UUID

from api import graph_models, models, trace_views, views
from api.cursors import Position
from api.deps import ApiDeps
from api.endpoint import Call, Endpoint, Reply
from api.etag import ETAG_HEADER, etag_of
from api.paging import PageQuery, Pager
from api.ports import ServiceGraphRow, StoredStreamEvent, StreamRow
from api.stream_models import StreamChange
from driftlock.accounts.keys import Scope
from driftlock.engine.event import TRACES_SERVICE, Signal
from driftlock.engine.ports import ServiceGraph
from driftlock.errors import NotFound

UUID_CHARS = 36
SLUG_CHARS_MAX = 256
NO_GRAPH = ServiceGraphRow(ServiceGraph(seq=0, as_of_ns=0, edges=()), edges_known=0)
"""The service graph of a stream of traces that has not been stored yet."""


async def list_streams(call: Call) -> Reply:
    """One page of streams."""
    repository, tenant_id = call.deps.streams, call.principal.tenant_id
    rows, next_cursor = await Pager(call, call.query(PageQuery), "streams").page(
        lambda limit, after: repository.list(tenant_id, limit=limit, after=after), stream_position, stream_key
    )
    return Reply(models.StreamPage(streams=tuple(views.stream(row) for row in rows), next_cursor=next_cursor))


async def get_stream(call: Call) -> Reply:
    """One stream."""
    row = await find_stream(call.deps, call.principal.tenant_id, call.path("stream"))
    return Reply(views.stream(row), headers={ETAG_HEADER: stream_etag(row)})


def stream_etag(row: StreamRow) -> str:
    """The entity tag of what a client can change of a stream."""
    budget = row.profile.alerts_per_day_max
    settings = StreamChange(display_name=row.display_name, retention_days=row.retention_days, alerts_per_day_max=budget)
    return etag_of(settings)


async def find_stream(deps: ApiDeps, tenant_id: UUID, text: str) -> StreamRow:
    """The stream that an id or a slug names; raise `NotFound`, also for another tenant's."""
    sayable = len(text) <= SLUG_CHARS_MAX and text.isprintable()  # no slug has a NUL, which the database refuses to compare
    row = await deps.streams.get(tenant_id, parse_uuid(text) or text) if sayable else None
    if row is None:
        raise NotFound("there is no stream with this id or slug; GET /v1/streams lists yours")
    return row


def parse_uuid(text: str) -> UUID | None:
    """A UUID in its usual form of 36 characters; None for anything else."""
    try:
        return UUID(text) if len(text) == UUID_CHARS else None
    except ValueError:
        return None


async def list_stream_events(call: Call) -> Reply:
    """One page of what happened to a stream's baseline and calibration."""
    deps, tenant_id = call.deps, call.principal.tenant_id
    stream = await find_stream(deps, tenant_id, call.path("stream"))
    rows, next_cursor = await Pager(call, call.query(PageQuery), f"streams/{stream.stream_id}/events").page(
        lambda limit, after: deps.stream_events.list(tenant_id, stream.stream_id, limit=limit, after=after),
        _event_position,
        _event_key,
    )
    events = tuple(views.stream_event(row) for row in rows)
    return Reply(models.StreamEventPage(stream=views.stream_ref(stream), events=events, next_cursor=next_cursor))


async def get_service_graph(call: Call) -> Reply:
    """Which services call which, of a stream of traces."""
    deps, tenant_id = call.deps, call.principal.tenant_id
    stream = await find_stream(deps, tenant_id, call.path("stream"))
    if not is_of_traces(stream):
        raise NotFound("this stream has no service graph; streams of traces, whose slugs begin with _traces, have one")
    row = await deps.service_graphs.get(tenant_id, stream.stream_id)
    return Reply(trace_views.service_graph(stream, row or NO_GRAPH))


def is_of_traces(stream: StreamRow) -> bool:
    """Whether traces are put together in a stream; those of what services' spans say are of lines."""
    return stream.key.signal is Signal.TRACES and stream.key.service == TRACES_SERVICE


def _event_position(row: StoredStreamEvent) -> Position:
    return row.event.time_ns, row.event.event, str(row.event_id)


def _event_key(position: Position) -> tuple[int, int, UUID]:
    time_ns, event, event_id = position
    return int(time_ns), int(event), UUID(str(event_id))


def stream_position(row: StreamRow) -> Position:
    """Where a stream stands in a list by slug."""
    return row.slug, str(row.stream_id)


def stream_key(position: Position) -> tuple[str, UUID]:
    """The same as the repository takes it."""
    slug, stream_id = position
    return str(slug), UUID(str(stream_id))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/streams",
        "listStreams",
        "streams",
        "Streams by slug",
        list_streams,
        {200: models.StreamPage},
        scope=Scope.READ,
        query=PageQuery,
    ),
    Endpoint(
        "GET",
        "/v1/streams/{stream}",
        "getStream",
        "streams",
        "One stream with its calibration",
        get_stream,
        {200: models.Stream},
        scope=Scope.READ,
        path_parameters={"stream": "Id or slug of the stream."},
        etag=True,
    ),
    Endpoint(
        "GET",
        "/v1/streams/{stream}/events",
        "listStreamEvents",
        "streams",
        "What happened to the baseline and the calibration of a stream, the newest first",
        list_stream_events,
        {200: models.StreamEventPage},
        scope=Scope.READ,
        query=PageQuery,
        path_parameters={"stream": "Id or slug of the stream."},
    ),
    Endpoint(
        "GET",
        "/v1/streams/{stream}/service-graph",
        "getServiceGraph",
        "streams",
        "Which services call which, as the spans of a stream of traces told it",
        get_service_graph,
        {200: graph_models.ServiceGraph},
        scope=Scope.READ,
        path_parameters={"stream": "Id or slug of a stream of traces."},
    ),
)
