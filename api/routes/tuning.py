"""How the profile of a stream came to be what it is, its undoing, and whether thresholds follow feedback."""

from dataclasses import fields

from api import views
from api.cursors import Position
from api.endpoint import Call, Endpoint, Reply
from api.etag import ETAG_HEADER, check_if_match, etag_of, names_a_state
from api.paging import PageQuery, Pager
from api.rfc3339 import ns_of_datetime, rfc3339
from api.routes.streams import find_stream
from api.tuning_models import TuningChange, TuningEntry, TuningPage, TuningState, TuningSwitch
from api.tuning_ports import TuningRow
from driftlock.accounts.keys import Role, Scope
from driftlock.engine.profile import Profile
from driftlock.engine.tuning import tuned_members
from driftlock.errors import Code, NotFound

PATH = "/v1/streams/{stream}/tuning"
PATH_PARAMETERS = {"stream": "Id or slug of the stream."}
NUMBER_DIGITS_MAX = 9


async def list_tuning(call: Call) -> Reply:
    """One page of the changes of a stream's profile, the newest first."""
    deps, tenant_id = call.deps, call.principal.tenant_id
    stream = await find_stream(deps, tenant_id, call.path("stream"))
    rows, next_cursor = await Pager(call, call.query(PageQuery), f"streams/{stream.stream_id}/tuning").page(
        lambda limit, after: deps.tuning.list(tenant_id, stream.stream_id, limit=limit, after=after), _position, _key
    )
    automatic = await deps.tuning.automatic(tenant_id, stream.stream_id)
    return Reply(
        TuningPage(
            stream=views.stream_ref(stream),
            automatic=automatic,
            members=tuned_members(stream.key),
            entries=tuple(map(_entry, rows)),
            next_cursor=next_cursor,
        ),
        headers={ETAG_HEADER: _etag(automatic=automatic)},
    )


async def switch_tuning(call: Call) -> Reply:
    """Let thresholds follow feedback, or not."""
    deps, tenant_id = call.deps, call.principal.tenant_id
    stream = await find_stream(deps, tenant_id, call.path("stream"))
    automatic = call.body(TuningSwitch).automatic
    before = await deps.tuning.automatic(tenant_id, stream.stream_id)
    check_if_match(call, _etag(automatic=before))
    expected = before if names_a_state(call) else None
    await deps.tuning.switch(tenant_id, stream.stream_id, call.actor, automatic=automatic, expected=expected)
    state = TuningState(stream=views.stream_ref(stream), automatic=automatic)
    return Reply(state, headers={ETAG_HEADER: _etag(automatic=automatic)})


def _etag(*, automatic: bool) -> str:
    """Of the switch alone: changes of the profile are not changed here."""
    return etag_of(TuningSwitch(automatic=automatic))


async def undo_tuning(call: Call) -> Reply:
    """Put the profile back that was there before a change."""
    deps, tenant_id = call.deps, call.principal.tenant_id
    stream = await find_stream(deps, tenant_id, call.path("stream"))
    text = call.path("n")
    if not (text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS_MAX):
        raise NotFound(f"there is no such change; GET {PATH} lists them")
    return Reply(_entry(await deps.tuning.undo(tenant_id, stream.stream_id, int(text), call.actor)))


def _position(row: TuningRow) -> Position:
    return (row.n,)


def _key(position: Position) -> int:
    return int(position[0])


def _entry(row: TuningRow) -> TuningEntry:
    return TuningEntry(
        n=row.n,
        at=rfc3339(ns_of_datetime(row.at)),
        kind=row.kind.value,
        changes=tuple(
            TuningChange(member=it.name, before=getattr(row.before, it.name), after=getattr(row.after, it.name))
            for it in fields(Profile)
            if getattr(row.before, it.name) != getattr(row.after, it.name)
        ),
        reason=row.reason,
        undoes=row.undoes,
        undone_by=row.undone_by,
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        PATH,
        "listTuning",
        "profiles",
        "How the profile of a stream came to be what it is",
        list_tuning,
        {200: TuningPage},
        scope=Scope.READ,
        query=PageQuery,
        path_parameters=PATH_PARAMETERS,
        etag=True,
    ),
    Endpoint(
        "PATCH",
        PATH,
        "switchTuning",
        "profiles",
        "Let the thresholds of a stream follow feedback, or not",
        switch_tuning,
        {200: TuningState},
        scope=Scope.ADMIN,
        role=Role.MEMBER,
        request=TuningSwitch,
        path_parameters=PATH_PARAMETERS,
        etag=True,
    ),
    Endpoint(
        "POST",
        f"{PATH}/{{n}}/undo",
        "undoTuning",
        "profiles",
        "Put the profile back that was there before a change",
        undo_tuning,
        {200: TuningEntry},
        scope=Scope.ADMIN,
        role=Role.MEMBER,
        path_parameters={**PATH_PARAMETERS, "n": "Number of the change."},
        problems=(Code.CONFLICT,),
        idempotent=True,
    ),
)
