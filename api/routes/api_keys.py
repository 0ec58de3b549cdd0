"""API keys: made, shown once, rotated and revoked."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from api.cursors import Position
from api.endpoint import Call, Endpoint, Reply
from api.key_models import ApiKey, ApiKeyPage, CreatedApiKey, NewApiKey, RotatedApiKey, Rotation
from api.paging import PageQuery, Pager
from api.problems import BadMembers, ProblemMember
from api.rfc3339 import datetime_of_ns, ns_of_datetime, parse_rfc3339, rfc3339
from driftlock.accounts.keys import RANDOMNESS_BYTES, KeyKind, Principal, Scope, mint
from driftlock.accounts.roles import SCOPES
from driftlock.engine.canonical import label
from driftlock.errors import Code, InvalidArgument, NotFound, PermissionDenied
from driftlock.storage.keys import StoredKey

PATH = "/v1/api-keys"
PATH_PARAMETERS = {"id": "Id of the key: the part after `dl_live_`."}
NO_SUCH_KEY = "there is no such API key"


async def list_keys(call: Call) -> Reply:
    """One page of keys, the newest first, with those that were revoked or have expired."""
    repository, tenant_id = call.deps.keys, call.principal.tenant_id
    rows, next_cursor = await Pager(call, call.query(PageQuery), "api_keys").page(
        lambda limit, after: repository.list(tenant_id, limit=limit, after=after), _position, _key
    )
    return Reply(ApiKeyPage(api_keys=tuple(_view(call, row) for row in rows), next_cursor=next_cursor))


async def get_key(call: Call) -> Reply:
    """One key."""
    row = await call.deps.keys.get(call.principal.tenant_id, call.path("id"))
    if row is None:
        raise NotFound(NO_SUCH_KEY)
    return Reply(_view(call, row))


async def create_key(call: Call) -> Reply:
    """Make a key and show it; it has no scope that its maker has not."""
    asked = call.body(NewApiKey)
    wanted = frozenset(map(Scope, asked.scopes))
    missing = sorted(wanted - _scopes(call.principal))
    if missing:
        raise PermissionDenied(f"you can not give the scope {missing[0]!r}, which you have not yourself", pointer="/scopes")
    kind = KeyKind(asked.kind)
    minted = mint(kind, call.deps.randomness(RANDOMNESS_BYTES))
    made = await call.deps.keys.insert(
        call.principal.tenant_id,
        minted,
        kind=kind,
        name=asked.name,
        scopes=wanted,
        stream=_stream(asked.stream, wanted),
        expires_at=_expiry(call, asked.expires_at),
        requests_per_minute=asked.requests_per_minute,
        actor=call.actor,
    )
    body = CreatedApiKey(api_key=_view(call, made), key=minted.text)
    return Reply(body, 201, {"Location": f"{PATH}/{made.key_id}"}, kept=body.model_copy(update={"key": None}))


async def rotate_key(call: Call) -> Reply:
    """Make a key with the rights of another one, which goes on working for a while."""
    old_id = call.path("id")
    row = await call.deps.keys.get(call.principal.tenant_id, old_id)
    if row is None:
        raise NotFound(NO_SUCH_KEY)
    minted = mint(row.kind, call.deps.randomness(RANDOMNESS_BYTES))
    made, old = await call.deps.keys.rotate(
        call.principal.tenant_id,
        old_id,
        minted,
        overlap=timedelta(seconds=call.body(Rotation).overlap_seconds),
        at_most=_scopes(call.principal),
        actor=call.actor,
    )
    body = RotatedApiKey(api_key=_view(call, made), key=minted.text, replaced=_view(call, old))
    return Reply(body, 201, {"Location": f"{PATH}/{made.key_id}"}, kept=body.model_copy(update={"key": None}))


async def revoke_key(call: Call) -> Reply:
    """Revoke a key for good. One that was revoked already stays so."""
    if not await call.deps.keys.revoke(call.principal.tenant_id, call.path("id"), call.actor):
        raise NotFound(NO_SUCH_KEY)
    return Reply(None, 204)


def _scopes(who: Principal) -> frozenset[Scope]:
    """What somebody can give."""
    return who.scopes if who.role is None else SCOPES[who.role]


def _stream(name: str | None, scopes: Iterable[Scope]) -> str | None:
    """The name of a stream in the normal form of all doors; raise `BadMembers` for one that can not be."""
    if name is None:
        return None
    bound = label(name)
    if not bound:
        raise BadMembers([ProblemMember(detail="must hold a printable character", pointer="/stream")])
    if set(scopes) != {Scope.INGEST}:
        detail = "is for keys with the scope `ingest` alone: what is read shows the whole account"
        raise BadMembers([ProblemMember(detail=detail, pointer="/stream")])
    return bound


def _expiry(call: Call, text: str | None) -> datetime | None:
    if text is None:
        return None
    at_ns = parse_rfc3339(text)
    if at_ns <= call.deps.now_ns():
        raise InvalidArgument("a key can not expire in the past", pointer="/expires_at")
    return datetime_of_ns(at_ns)


def _view(call: Call, row: StoredKey) -> ApiKey:
    now = datetime_of_ns(call.deps.now_ns())
    status = "active"
    if row.revoked_at is not None:
        status = "revoked"
    elif row.expires_at is not None and row.expires_at <= now:
        status = "expired"
    return ApiKey.model_validate(
        {
            "id": row.key_id,
            "name": row.name,
            "kind": row.kind.value,
            "scopes": tuple(scope.value for scope in Scope if scope in row.scopes),
            "stream": row.stream,
            "status": status,
            "requests_per_minute": row.requests_per_minute,
            "replaces": row.replaces,
            "created_by": row.created_by,
            "created_at": _shown(row.created_at),
            "expires_at": _shown(row.expires_at),
            "revoked_at": _shown(row.revoked_at),
            "last_used_at": _shown(row.last_used_at),
        }
    )


def _shown(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(ns_of_datetime(moment))


def _position(row: StoredKey) -> Position:
    return ns_of_datetime(row.created_at), row.key_id


def _key(position: Position) -> tuple[datetime, str]:
    created_ns, key_id = position
    return datetime_of_ns(int(created_ns)), str(key_id)


ENDPOINTS = (
    Endpoint(
        "GET",
        PATH,
        "listApiKeys",
        "api-keys",
        "API keys of the account",
        list_keys,
        {200: ApiKeyPage},
        scope=Scope.ADMIN,
        query=PageQuery,
    ),
    Endpoint(
        "POST",
        PATH,
        "createApiKey",
        "api-keys",
        "Make an API key, which is shown once",
        create_key,
        {201: CreatedApiKey},
        scope=Scope.ADMIN,
        request=NewApiKey,
        idempotent=True,
        fresh_login=True,
        problems=(Code.CONFLICT,),
    ),
    Endpoint(
        "GET",
        f"{PATH}/{{id}}",
        "getApiKey",
        "api-keys",
        "An API key",
        get_key,
        {200: ApiKey},
        scope=Scope.ADMIN,
        path_parameters=PATH_PARAMETERS,
    ),
    Endpoint(
        "DELETE",
        f"{PATH}/{{id}}",
        "revokeApiKey",
        "api-keys",
        "Revoke an API key for good",
        revoke_key,
        {204: None},
        scope=Scope.ADMIN,
        path_parameters=PATH_PARAMETERS,
    ),
    Endpoint(
        "POST",
        f"{PATH}/{{id}}/rotate",
        "rotateApiKey",
        "api-keys",
        "Make a key that takes the place of another one, which lives on for a while",
        rotate_key,
        {201: RotatedApiKey},
        scope=Scope.ADMIN,
        request=Rotation,
        path_parameters=PATH_PARAMETERS,
        idempotent=True,
        fresh_login=True,
        problems=(Code.CONFLICT,),
    ),
)
