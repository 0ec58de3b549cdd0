"""Anchors: a frozen baseline of a stream of lines, and how far the stream is from it."""

import asyncio
from collections.abc import Mapping
from uuid import UUID

from pydantic import Field

from api import anchor_views as views
from api.anchor_models import AnchorPage, AnchorReset, AnchorSettings, DriftPage, StreamAnchor
from api.anchor_ports import AnchorView, StoredAnchor
from api.body import Body
from api.cursors import Position
from api.endpoint import Call, Endpoint, Reply, off_loop
from api.etag import ETAG_HEADER, IF_MATCH_HEADER, check_if_match, etag_of
from api.events import decode
from api.headers import ETAG, LOCATION
from api.paging import PageQuery, Pager
from api.ports import StreamRow
from api.problems import BadMembers, ProblemMember
from api.redacting import redact_events
from api.rfc3339 import parse_rfc3339
from api.routes.streams import find_stream, is_of_traces
from api.times import Time
from api.views import stream_ref
from driftlock.accounts.keys import Role, Scope
from driftlock.engine.anchor import ANCHOR_LINES_MAX, AnchorChange, AnchorStanding, Freeze
from driftlock.engine.anchor import AnchorSettings as Settings
from driftlock.engine.drift import DriftHour
from driftlock.engine.event import Signal
from driftlock.engine.profile import DEFAULT_CODEC, level_range
from driftlock.errors import Code, Conflict, NotFound, PayloadTooLarge, Unavailable

PATH = "/v1/streams/{stream}/anchor"
PATH_PARAMETERS = {"stream": "Id or slug of a stream of lines (logs, or the spans of a service)."}
OF_LINES = "anchors are for streams of lines; this one is of {}, which have no lines to freeze"
ANCHOR_TEXT_BYTES_MAX = 2 * 1024 * 1024
_EVENT_BYTES_GUESS = 128  # decides only whether a thread is worth it


class DriftQuery(PageQuery):
    """Filters of the hours of a stream."""

    since: Time | None = Field(default=None, description="Only hours that begin at this time or later (event time).")
    until: Time | None = Field(default=None, description="Only hours that begin before this time (event time).")
    anchor: UUID | None = Field(default=None, description="Only hours that were compared with this anchor.")


class _Changed(Body):
    """What a change of an anchor is based on; `position` is where the newest one stands in the journal."""

    settings: AnchorSettings
    position: int


async def get_anchor(call: Call) -> Reply:
    """The anchor of a stream, the settings, and how far the stream is from it."""
    stream = await _stream(call, NotFound)
    view = await call.deps.anchors.get(call.principal.tenant_id, stream.stream_id)
    return Reply(views.stream_anchor(stream, view), headers=_tagged(view))


async def set_anchor(call: Call) -> Reply:
    """Set when a stream has drifted; freeze its baseline if it has no anchor. What is so already changes nothing."""
    stream, body = await _stream(call, Conflict), call.body(AnchorSettings)
    view = await call.deps.anchors.get(call.principal.tenant_id, stream.stream_id)
    check_if_match(call, _etag(view))
    wanted = Settings(body.drift_ncd_threshold, body.reset_on_drift)
    if view.applied and view.anchor is not None and wanted == view.settings:
        return Reply(views.stream_anchor(stream, view), headers=_tagged(view))
    # While a change has yet to take hold nobody knows whether there will be an anchor: a freeze is not asked for twice.
    freeze = Freeze() if view.applied and view.anchor is None else None
    detail = {"drift_ncd_threshold": wanted.drift_ncd_threshold, "reset_on_drift": wanted.reset_on_drift}
    return await _changed(call, stream, view, AnchorChange(wanted, freeze=freeze), "anchor.set", detail)


async def drop_anchor(call: Call) -> Reply:
    """Compare a stream with its anchor no more. It stays in the history, and the settings stay."""
    stream = await _stream(call, Conflict)
    view = await call.deps.anchors.get(call.principal.tenant_id, stream.stream_id)
    check_if_match(call, _etag(view))
    if view.applied and view.anchor is None:
        raise NotFound("this stream has no anchor; POST .../reset-anchor freezes one")
    dropped = view.anchor.note.anchor_id if view.anchor is not None else None
    change = AnchorChange(drop=True)
    reply = await _changed(call, stream, view, change, "anchor.dropped", {"anchor": None if dropped is None else str(dropped)})
    return Reply(None, 204) if reply.status == 200 else reply


async def reset_anchor(call: Call) -> Reply:
    """Freeze the accepted baseline, or the events given, in place of the anchor in force."""
    stream, body = await _stream(call, Conflict), call.body(AnchorReset)
    freeze = await _freeze(call, stream, body)
    view = await call.deps.anchors.get(call.principal.tenant_id, stream.stream_id)
    check_if_match(call, _etag(view))
    detail = {"source": "baseline" if freeze.text is None else "events", "events": len(freeze.lengths), "codec": freeze.codec}
    return await _changed(call, stream, view, AnchorChange(freeze=freeze), "anchor.reset", detail)


async def list_anchors(call: Call) -> Reply:
    """One page of the anchors that a stream has and had."""
    deps, tenant_id = call.deps, call.principal.tenant_id
    stream = await _stream(call, NotFound)
    rows, next_cursor = await Pager(call, call.query(PageQuery), f"streams/{stream.stream_id}/anchors").page(
        lambda limit, after: deps.anchors.list(tenant_id, stream.stream_id, limit=limit, after=after), _position, _key
    )
    return Reply(AnchorPage(stream=stream_ref(stream), anchors=tuple(map(views.anchor, rows)), next_cursor=next_cursor))


async def list_drift(call: Call) -> Reply:
    """One page of the hours in which a stream was compared with its anchor."""
    deps, tenant_id, query = call.deps, call.principal.tenant_id, call.query(DriftQuery)
    stream = await _stream(call, NotFound)
    since_ns, until_ns = (None if text is None else parse_rfc3339(text) for text in (query.since, query.until))
    rows, next_cursor = await Pager(call, query, f"streams/{stream.stream_id}/drift").page(
        lambda limit, after: deps.drift.list(
            tenant_id,
            stream.stream_id,
            limit=limit,
            since_ns=since_ns,
            until_ns=until_ns,
            anchor_id=query.anchor,
            after=after,
        ),
        _hour_position,
        _hour_key,
    )
    view = await deps.anchors.get(tenant_id, stream.stream_id)
    return Reply(
        DriftPage(
            stream=stream_ref(stream),
            drift_ncd_threshold=view.settings.drift_ncd_threshold,
            recovery_ncd_threshold=views.recovery(view.settings),
            hours=tuple(map(views.drift_hour, rows)),
            next_cursor=next_cursor,
        )
    )


async def _stream(call: Call, error: type[NotFound] | type[Conflict]) -> StreamRow:
    """The stream of the path; raise `error` for one that has no lines."""
    stream = await find_stream(call.deps, call.principal.tenant_id, call.path("stream"))
    if stream.key.signal is Signal.METRICS:
        raise error(OF_LINES.format("numbers"))
    if is_of_traces(stream):
        raise error(OF_LINES.format("whole traces"))
    return stream


async def _freeze(call: Call, stream: StreamRow, body: AnchorReset) -> Freeze:
    """What a request wants frozen; raise `BadMembers`, `PayloadTooLarge`."""
    codec, level = _codec(call, body)
    if "events" not in body.model_fields_set:
        return Freeze(codec=codec, codec_level=level)
    window, count = stream.profile.window_size, len(body.events)
    if count > ANCHOR_LINES_MAX:
        text = (
            f"the request holds {count} events, an anchor at most {ANCHOR_LINES_MAX} (anchor_lines_max); send the newest ones"
        )
        raise PayloadTooLarge(text, pointer="/events")
    if count < max(2, window):
        detail = f"are {count}; a window of this stream alone has {window}, so give at least {max(2, window)}, better 400"
        raise BadMembers([ProblemMember(detail=detail, pointer="/events")])
    limits = call.deps.record_limits
    work = await off_loop(count * _EVENT_BYTES_GUESS, lambda: decode(body.events, historical=True, limits=limits))
    await redact_events(call.deps, call.principal.tenant_id, stream.key, work)
    if len(work.batch.text) > ANCHOR_TEXT_BYTES_MAX:
        limit = f"at most {ANCHOR_TEXT_BYTES_MAX} bytes of text are taken (anchor_text_bytes_max)"
        raise PayloadTooLarge(f"the events hold {len(work.batch.text)} bytes, {limit}; send fewer", pointer="/events")
    return Freeze(text=work.batch.text, lengths=work.batch.lengths, codec=codec, codec_level=level)


def _codec(call: Call, body: AnchorReset) -> tuple[str, int]:
    known = {codec.name for codec in call.deps.detector.codecs}
    codec = body.codec if "codec" in body.model_fields_set else DEFAULT_CODEC
    level = body.codec_level if "codec_level" in body.model_fields_set else 0
    if "codec" in body.model_fields_set and codec not in known:
        detail = f"must be one of {', '.join(sorted(known))}"
        raise BadMembers([ProblemMember(detail=detail, pointer="/codec")])
    low, high = level_range(codec)
    if level and not low <= level <= high:
        detail = f"must be from {low} to {high} for {codec}, or 0 for its default"
        raise BadMembers([ProblemMember(detail=detail, pointer="/codec_level")])
    return codec, level


async def _changed(
    call: Call, stream: StreamRow, before: AnchorView, change: AnchorChange, action: str, detail: Mapping[str, object]
) -> Reply:
    """Journal a change and wait for it to take hold: 200 with what is in force then, 202 where that takes too long.

    Raise `Conflict` where nothing could be frozen: the change is journaled, and the settings of it hold.
    """
    deps, tenant_id = call.deps, call.principal.tenant_id
    bound = IF_MATCH_HEADER.lower() in call.request.headers
    seq = await deps.anchors.change(
        tenant_id,
        stream.stream_id,
        change,
        actor=call.actor,
        action=action,
        detail=detail,
        expected_seq=before.seq if bound else None,
    )
    applied = await _applied(call, stream.stream_id, seq)
    if applied and change.freeze is not None:
        found = await deps.anchors.of_row(tenant_id, stream.stream_id, seq)
        if found is not None and found.note.standing is AnchorStanding.REFUSED:
            raise Conflict(f"no anchor was frozen: {found.note.reason}; wait for more events of the stream, or give some")
    view = await deps.anchors.get(tenant_id, stream.stream_id)
    headers = _tagged(view)
    if applied:
        return Reply(views.stream_anchor(stream, view), headers=headers)
    headers[LOCATION.name] = f"/v1/streams/{stream.stream_id}/anchor"
    return Reply(views.stream_anchor(stream, view), 202, headers)


async def _applied(call: Call, stream_id: UUID, seq: int) -> bool:
    """Whether a position is applied by now. It is journaled in any case: "do it again" would be the wrong answer."""
    try:
        async with asyncio.timeout(call.deps.limits.detect_wait_ms_max / 1000):
            await call.deps.scored(stream_id, seq)
    except (TimeoutError, Unavailable):
        return False
    return True


def _etag(view: AnchorView) -> str:
    """Of the newest change, too: an anchor that somebody has frozen or dropped leaves the settings as they are."""
    return etag_of(_Changed(settings=views.settings(view.settings), position=view.seq))


def _tagged(view: AnchorView) -> dict[str, str]:
    return {ETAG_HEADER: _etag(view)}


def _position(row: StoredAnchor) -> Position:
    return (row.note.seq,)


def _key(position: Position) -> int:
    (seq,) = position
    return int(seq)


def _hour_position(hour: DriftHour) -> Position:
    return hour.hour_ns, str(hour.anchor_id)


def _hour_key(position: Position) -> tuple[int, UUID]:
    hour_ns, anchor_id = position
    return int(hour_ns), UUID(str(anchor_id))


PENDING = {202: (LOCATION, ETAG)}
"""Headers of an answer that a change has yet to take hold."""

ENDPOINTS = (
    Endpoint(
        "GET",
        PATH,
        "getStreamAnchor",
        "anchors",
        "The anchor of a stream, and how far the stream is from it",
        get_anchor,
        {200: StreamAnchor},
        scope=Scope.READ,
        path_parameters=PATH_PARAMETERS,
        etag=True,
    ),
    Endpoint(
        "PUT",
        PATH,
        "setStreamAnchor",
        "anchors",
        "Set when a stream has drifted, and freeze its baseline if it has no anchor",
        set_anchor,
        {200: StreamAnchor, 202: StreamAnchor},
        scope=Scope.ADMIN,
        role=Role.MEMBER,
        request=AnchorSettings,
        path_parameters=PATH_PARAMETERS,
        problems=(Code.CONFLICT,),
        etag=True,
        reply_headers=PENDING,
    ),
    Endpoint(
        "DELETE",
        PATH,
        "dropStreamAnchor",
        "anchors",
        "Compare a stream with its anchor no more",
        drop_anchor,
        {204: None, 202: StreamAnchor},
        scope=Scope.ADMIN,
        role=Role.MEMBER,
        path_parameters=PATH_PARAMETERS,
        problems=(Code.CONFLICT,),
        etag=True,
        reply_headers=PENDING,
    ),
    Endpoint(
        "POST",
        "/v1/streams/{stream}/reset-anchor",
        "resetStreamAnchor",
        "anchors",
        "Freeze the baseline of a stream, or events, in place of its anchor",
        reset_anchor,
        {200: StreamAnchor, 202: StreamAnchor},
        scope=Scope.ADMIN,
        role=Role.MEMBER,
        request=AnchorReset,
        path_parameters=PATH_PARAMETERS,
        problems=(Code.CONFLICT,),
        idempotent=True,
        etag=True,
        reply_headers=PENDING,
    ),
    Endpoint(
        "GET",
        "/v1/streams/{stream}/anchors",
        "listStreamAnchors",
        "anchors",
        "The anchors that a stream has and had, the newest first",
        list_anchors,
        {200: AnchorPage},
        scope=Scope.READ,
        query=PageQuery,
        path_parameters=PATH_PARAMETERS,
    ),
    Endpoint(
        "GET",
        "/v1/streams/{stream}/drift",
        "listStreamDrift",
        "anchors",
        "How far a stream was from its anchor, hour by hour, the newest first",
        list_drift,
        {200: DriftPage},
        scope=Scope.READ,
        query=DriftQuery,
        path_parameters=PATH_PARAMETERS,
    ),
)
