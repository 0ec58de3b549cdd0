"""From the headers of a request to its principal: `X-Api-Key`, or `Authorization: Bearer`."""

from datetime import datetime

from starlette.requests import Request

from api.ports import Authenticator
from driftlock.accounts.access import require
from driftlock.accounts.keys import Principal, Scope
from driftlock.errors import PermissionDenied

_BEARER = "bearer "


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


async def authenticate(request: Request, access: Authenticator, scope: Scope, now: datetime) -> Principal:
    """The principal of a request that may do `scope`; raise `Unauthenticated` or `PermissionDenied`.

    A key that is bound to one stream can only write to it: what is read here shows the whole tenant.
    """
    principal = await access.principal(
        presented_keys(request),
        peer=request.client.host if request.client else "",
        host=request.headers.get("Host", ""),
        origin=request.headers.get("Origin", ""),
        now=now,
    )
    require(principal, scope)
    if principal.stream is not None and scope is not Scope.INGEST:
        raise PermissionDenied("this API key is bound to one stream and can only write to it; use one without a binding")
    return principal
