"""From the headers of a request to its principal: `X-Api-Key`, or `Authorization: Bearer` with a key or an ID token."""

from datetime import datetime
from enum import Enum

from starlette.requests import Request

from api.people import PeopleDeps
from api.ports import Authenticator
from api.signin import identity_of, person_principal, token_of
from driftlock.accounts.access import require
from driftlock.accounts.keys import Principal, Role, Scope
from driftlock.errors import PermissionDenied

_BEARER = "bearer "


class Caller(Enum):
    """Who an endpoint is for. ANYBODY: whoever has its scope, keys and people. MEMBER: people alone, in one of their accounts.

    PERSON: people alone, whether they are in an account or not.
    """

    ANYBODY = "anybody"
    MEMBER = "member"
    PERSON = "person"


def presented_keys(request: Request) -> list[str]:
    """Every credential in the request, repeated headers included.

    Another scheme than Bearer is passed on as it stands: it is no key of ours, and a request that shows a wrong credential must
    not be served as one that shows none.
    """
    presented = [value.strip() for value in request.headers.getlist("X-Api-Key")]
    for value in request.headers.getlist("Authorization"):
        value = value.strip()
        presented.append(value[len(_BEARER) :].strip() if value.lower().startswith(_BEARER) else value)
    return presented


async def authenticate(
    request: Request,
    access: Authenticator,
    scope: Scope,
    now: datetime,
    role: Role | None = None,
    *,
    people: PeopleDeps | None = None,
    caller: Caller = Caller.ANYBODY,
    fresh: bool = False,
) -> Principal:
    """The principal of a request that may do `scope`, as a person with `role`; raise `Unauthenticated` or `PermissionDenied`.

    A key that is bound to one stream can only write to it: what is read here shows the whole tenant. People are told from keys
    by their token, where `people` are known; `fresh` asks that their sign-in still stands.
    """
    presented = presented_keys(request)
    if caller is Caller.MEMBER or (people is not None and token_of(presented) is not None):
        identity, people = await identity_of(presented, people, now, fresh=fresh)
        principal = await person_principal(request, identity, people, now)
        require(principal, scope, role)
        return principal
    principal = await access.principal(
        presented,
        peer=request.client.host if request.client else "",
        host=request.headers.get("Host", ""),
        origin=request.headers.get("Origin", ""),
        now=now,
    )
    require(principal, scope, role)
    if principal.stream is not None and scope is not Scope.INGEST:
        raise PermissionDenied("this API key is bound to one stream and can only write to it; use one without a binding")
    return principal
