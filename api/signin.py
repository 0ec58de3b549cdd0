"""From the credentials of a request to a person: their ID token, and the account that they ask for."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from starlette.requests import Request

from api.people import PeopleDeps
from api.problems import BadMembers, ProblemMember
from driftlock.accounts.id_tokens import REFUSED, looks_like_token
from driftlock.accounts.keys import Principal
from driftlock.accounts.people import TENANT_HEADER, Identity, principal_of
from driftlock.errors import InvalidArgument, NotFound, Unauthenticated

UUID_CHARS = 36
NOBODY_SIGNS_IN = (
    "people do not sign in here, keys alone are known: to let them, start the server with DRIFTLOCK_FIREBASE_PROJECT_ID"
)


def token_of(presented: Sequence[str]) -> str | None:
    """The one credential of a request if it is an ID token; None for keys, for nothing, and for several."""
    distinct = set(presented)
    token = next(iter(distinct)) if len(distinct) == 1 else ""
    return token if looks_like_token(token) else None


async def identity_of(
    presented: Sequence[str], people: PeopleDeps | None, now: datetime, *, fresh: bool
) -> tuple[Identity, PeopleDeps]:
    """Who has signed in, and where people are known.

    Raises `NotFound` where nobody can sign in, `Unauthenticated` for anything but one good token, and as `SignIns.verify`.
    """
    if people is None:
        raise NotFound(NOBODY_SIGNS_IN)
    token = token_of(presented)
    if token is None:
        raise Unauthenticated(REFUSED)
    return await people.sign_ins.verify(token, now_s=int(now.timestamp()), fresh=fresh), people


async def person_principal(request: Request, identity: Identity, people: PeopleDeps, now: datetime) -> Principal:
    """A person's principal in the account that the request asks for; see `driftlock.accounts.people.principal_of`."""
    person = await people.directory.lookup(identity.key, now)
    try:
        return principal_of(identity, person, _asked(request))
    except InvalidArgument as error:
        raise BadMembers([ProblemMember(detail=error.message, parameter=TENANT_HEADER)]) from None


def _asked(request: Request) -> UUID | None:
    """The account that the request names."""
    distinct = {value.strip() for value in request.headers.getlist(TENANT_HEADER)}
    if not distinct:
        return None
    try:
        (text,) = distinct
        if len(text) != UUID_CHARS:
            raise ValueError
        return UUID(text)
    except ValueError:
        detail = "is not one id of an account; GET /v1/auth/me lists yours"
        raise BadMembers([ProblemMember(detail=detail, parameter=TENANT_HEADER)]) from None
