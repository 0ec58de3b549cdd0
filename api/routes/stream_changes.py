"""Streams as people make, set and delete them."""

from api import models, views
from api.deps import ApiDeps
from api.endpoint import Call, Endpoint, Reply
from api.etag import ETAG_HEADER, check_if_match, names_a_state
from api.overrides import given, overridden
from api.ports import StreamRow
from api.problems import BadMembers, ProblemMember
from api.redaction_ports import SettingsSeen, settings_of
from api.routes.streams import find_stream, stream_etag
from api.stream_models import StreamChange, StreamCreation, StreamDeletion
from driftlock.accounts.keys import Role, Scope
from driftlock.engine.canonical import LABEL_BYTES_MAX, label
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.profile import PROFILES, Profile
from driftlock.errors import Code, Conflict, QuotaExhausted
from driftlock.storage.slugs import slug, unique_slug

PATH = "/v1/streams"
STREAM_PATH = "/v1/streams/{stream}"
PATH_PARAMETERS = {"stream": "Id or slug of the stream."}
DISPLAY_NAME_BYTES_MAX = 256
ATTEMPTS_MAX = 5
OURS = "_"
"""Names of streams that begin so are ours: what is over a limit, and where traces are put together."""


async def create_stream(call: Call) -> Reply:
    """A stream with its profile and settings in force before its first record."""
    deps, tenant_id, wanted = call.deps, call.principal.tenant_id, call.body(StreamCreation)
    key = _key(wanted)
    profile = overridden(_base(deps.detector.profile, wanted), given(wanted))
    settings = await _settings(call, wanted)
    if not await deps.configurator.create_stream(tenant_id, key, profile):
        if await find_by_key(deps, call, key) is None:
            raise QuotaExhausted("this account has as many streams as it may have; delete one, or take a larger plan")
        raise Conflict("there is a stream of this signal, service, namespace and environment; change it with PATCH")
    row = await find_by_key(deps, call, key)
    if row is None:
        raise Conflict("the stream was deleted as it was made; create it again")
    await deps.stream_settings.note_created(tenant_id, row.stream_id, call.actor)
    await deps.stream_settings.change(tenant_id, row.stream_id, settings, call.actor)
    row = await find_stream(deps, tenant_id, str(row.stream_id))
    return Reply(views.stream(row), 201, {"Location": f"{PATH}/{row.stream_id}"})


async def change_stream(call: Call) -> Reply:
    """Other settings for a stream, all of them or none."""
    deps, tenant_id, wanted = call.deps, call.principal.tenant_id, call.body(StreamChange)
    changes = await _settings(call, wanted)
    budget = {"alerts_per_day_max": wanted.alerts_per_day_max} if "alerts_per_day_max" in wanted.model_fields_set else {}
    for attempt in range(1, ATTEMPTS_MAX + 1):  # a budget is laid over the profile in force, so that has to be still in force
        row = await find_stream(deps, tenant_id, call.path("stream"))
        check_if_match(call, stream_etag(row))
        seen, profile = _seen(call, row), overridden(row.profile, budget)
        who = (tenant_id, row.stream_id)
        try:
            if profile == row.profile:
                await deps.stream_settings.change(*who, changes, call.actor, seen)
            else:
                await deps.stream_settings.configure(*who, profile, row.profile, call.actor, changes=changes, seen=seen)
            break
        except Conflict:
            if attempt == ATTEMPTS_MAX:
                raise
    row = await find_stream(deps, tenant_id, str(row.stream_id))
    return Reply(views.stream(row), headers={ETAG_HEADER: stream_etag(row)})


async def delete_stream(call: Call) -> Reply:
    """Delete a stream: it is gone at once, and what it holds within seconds."""
    row = await find_stream(call.deps, call.principal.tenant_id, call.path("stream"))
    check_if_match(call, stream_etag(row))
    await call.deps.stream_settings.delete(call.principal.tenant_id, row.stream_id, call.actor, _seen(call, row))
    return Reply(StreamDeletion(id=row.stream_id, slug=row.slug, status="deleting"), 202)


def _seen(call: Call, row: StreamRow) -> SettingsSeen | None:
    """What has to be still so when the change is made; None where the client does not bind it to anything."""
    return settings_of(row) if names_a_state(call) else None


async def find_by_key(deps: ApiDeps, call: Call, key: StreamKey) -> StreamRow | None:
    """The stream of a key; its slug is one of two."""
    for name in (slug(key), unique_slug(key)):
        row = await deps.streams.get(call.principal.tenant_id, name)
        if row is not None and row.key == key:
            return row
    return None


def _base(default: Profile, wanted: StreamCreation) -> Profile:
    """What the profile of a new stream starts from; raise `BadMembers` for a name that is no built-in profile's."""
    if "profile" not in wanted.model_fields_set:
        return default
    if wanted.profile not in PROFILES:
        detail = f"must be one of {', '.join(PROFILES)}; a custom profile is made by setting its values"
        raise BadMembers([ProblemMember(detail=detail, pointer="/profile")])
    return PROFILES[wanted.profile]


async def _settings(call: Call, wanted: StreamCreation | StreamChange) -> dict[str, str | int | None]:
    """The settings that a body has; raise `BadMembers` for those that are not possible."""
    found: dict[str, str | int | None] = {}
    wrong = []
    if "display_name" in wanted.model_fields_set:
        name = found["display_name"] = wanted.display_name
        if not (name.isprintable() or not name) or len(name.encode("utf-8", "replace")) > DISPLAY_NAME_BYTES_MAX:
            detail = f"must be printable, of at most {DISPLAY_NAME_BYTES_MAX} bytes (display_name_bytes_max)"
            wrong.append(ProblemMember(detail=detail, pointer="/display_name"))
    if "retention_days" in wanted.model_fields_set:
        days = found["retention_days"] = wanted.retention_days
        days_max = await call.deps.stream_settings.retention_days_max(call.principal.tenant_id)
        if days is not None and not 1 <= days <= days_max:
            detail = f"must be 1 to {days_max}, as long as the plan keeps findings, or null for just that"
            wrong.append(ProblemMember(detail=detail, pointer="/retention_days"))
    if wrong:
        raise BadMembers(wrong)
    return found


def _key(wanted: StreamCreation) -> StreamKey:
    """The key of a new stream, in the normal form that all doors use; raise `BadMembers`."""
    wrong = []
    if wanted.signal not in list(Signal):
        wrong.append(ProblemMember(detail=f"must be one of {', '.join(Signal)}", pointer="/signal"))
    for name in ("service", "namespace", "environment"):
        value = getattr(wanted, name)
        if label(value) != value or (name == "service" and not value):
            detail = f"must be printable text without spaces around it, of at most {LABEL_BYTES_MAX} bytes (label_bytes_max)"
            wrong.append(ProblemMember(detail=detail, pointer=f"/{name}"))
    if wanted.service.startswith(OURS):
        detail = f"begins with {OURS}, as the names of streams that Driftlock makes; choose another"
        wrong.append(ProblemMember(detail=detail, pointer="/service"))
    if wrong:
        raise BadMembers(wrong)
    return StreamKey(Signal(wanted.signal), wanted.service, wanted.namespace, wanted.environment)


ENDPOINTS = (
    Endpoint(
        "POST",
        PATH,
        "createStream",
        "streams",
        "Create a stream with its profile before its first record",
        create_stream,
        {201: models.Stream},
        scope=Scope.ADMIN,
        role=Role.MEMBER,
        request=StreamCreation,
        idempotent=True,
        problems=(Code.CONFLICT, Code.QUOTA_EXHAUSTED),
    ),
    Endpoint(
        "PATCH",
        STREAM_PATH,
        "changeStream",
        "streams",
        "Change the settings of a stream",
        change_stream,
        {200: models.Stream},
        scope=Scope.ADMIN,
        role=Role.MEMBER,
        request=StreamChange,
        path_parameters=PATH_PARAMETERS,
        etag=True,
        problems=(Code.CONFLICT,),
    ),
    Endpoint(
        "DELETE",
        STREAM_PATH,
        "deleteStream",
        "streams",
        "Delete a stream with all that it holds",
        delete_stream,
        {202: StreamDeletion},
        scope=Scope.ADMIN,
        path_parameters=PATH_PARAMETERS,
        etag=True,
    ),
)
