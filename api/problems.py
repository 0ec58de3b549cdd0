"""Errors as `application/problem+json` (RFC 9457): one table from `errors.Code` to a status and a title.

`type` is a stable name, not an address: nothing has to be fetched to understand a problem. `code` repeats its last part,
`request_id` finds the server's log line, and `errors` points at the offending members (RFC 6901 pointers into the body, or
`parameter` for the query string and headers).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api import headers
from driftlock.errors import Code, DriftlockError

PROBLEM_MEDIA_TYPE = "application/problem+json"
ERRORS_MAX = 20
"""Members listed in one problem; a body may be wrong in ten thousand places."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a code is shown: its HTTP status and a title that never varies."""

    status: int
    title: str


KINDS: Mapping[Code, Kind] = MappingProxyType(
    {
        Code.INVALID_ARGUMENT: Kind(400, "The request is not valid"),
        Code.PAYLOAD_TOO_LARGE: Kind(413, "The request is too large"),
        Code.UNSUPPORTED_ENCODING: Kind(415, "The request's encoding is not supported"),
        Code.IDEMPOTENCY_KEY_REUSED: Kind(422, "The Idempotency-Key belongs to another request"),
        Code.UNAUTHORIZED: Kind(401, "A valid credential is needed"),
        Code.FORBIDDEN: Kind(403, "The credential does not allow this"),
        Code.EMAIL_UNVERIFIED: Kind(403, "The e-mail address is not verified"),
        Code.SIGN_IN_AGAIN: Kind(403, "A recent sign-in is needed"),
        Code.ORIGIN_NOT_ALLOWED: Kind(403, "Pages of this origin may not call the API"),
        Code.NOT_FOUND: Kind(404, "There is no such resource"),
        Code.EVIDENCE_EXPIRED: Kind(404, "There is no evidence of this finding"),
        Code.CONFLICT: Kind(409, "The request contradicts the present state"),
        Code.PRECONDITION_FAILED: Kind(412, "The resource was changed since it was read"),
        Code.RATE_LIMITED: Kind(429, "Too many requests"),
        Code.QUOTA_EXHAUSTED: Kind(403, "The plan's quota is used up"),
        Code.UNAVAILABLE: Kind(503, "The service can not answer now"),
        Code.INTERNAL: Kind(500, "The server failed"),
    }
)

RETRY_AFTER_MS_DEFAULT = 1000
"""What a retryable problem suggests when the error itself has no better idea."""

RETRYABLE = frozenset({Code.RATE_LIMITED, Code.UNAVAILABLE})
"""Problems that say after how long to ask again."""
_CODE_OF_STATUS: Mapping[int, Code] = MappingProxyType(
    {404: Code.NOT_FOUND, 405: Code.INVALID_ARGUMENT, 408: Code.INVALID_ARGUMENT}
)


class ProblemMember(BaseModel):
    """One wrong member of a request."""

    model_config = ConfigDict(frozen=True)

    detail: str = Field(description="What is wrong with it.")
    pointer: str | None = Field(default=None, description="JSON pointer into the request's body.")
    parameter: str | None = Field(default=None, description="Name of the query parameter or header.")


class Problem(BaseModel):
    """A problem as RFC 9457 defines it, with the members that we add."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="Stable name of the kind of problem.")
    title: str = Field(description="Short summary of the kind; it never varies.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened this time and what to do.")
    instance: str = Field(description="Path of the request.")
    code: Code = Field(description="Machine-readable code.")
    request_id: str = Field(description="Id of the request, as in the header X-Request-ID.")
    errors: tuple[ProblemMember, ...] = Field(default=(), description="The wrong members, as far as they are known.")


class BadMembers(DriftlockError):
    """A request that is wrong in places that can be named; always `invalid_argument`."""

    code = Code.INVALID_ARGUMENT

    def __init__(self, members: Sequence[ProblemMember]) -> None:
        """`members` has at least one entry; the first one is the detail."""
        first = members[0]
        where = first.pointer if first.pointer is not None else first.parameter
        super().__init__(f"{where}: {first.detail}" if where else first.detail)
        self.members = tuple(members[:ERRORS_MAX])


def problem_of(error: Exception, *, instance: str, request_id: str) -> tuple[Problem, dict[str, str]]:
    """The problem and its headers for any exception; what we do not know is `internal` and tells nothing of itself."""
    status: int | None = None
    told: dict[str, str] = {}
    if isinstance(error, HTTPException):
        status = error.status_code
        code = _CODE_OF_STATUS.get(status, Code.INTERNAL if status >= 500 else Code.INVALID_ARGUMENT)
        title = HTTPStatus(status).phrase
        detail = _router_detail(error)
        told.update(error.headers or {})
    elif isinstance(error, DriftlockError) and error.code is not Code.INTERNAL:
        code, title, detail = error.code, KINDS[error.code].title, error.message
    else:
        code, title = Code.INTERNAL, KINDS[Code.INTERNAL].title
        detail = "an unexpected error; it has been logged under this request id"
    status = KINDS[code].status if status is None else status
    wait_ms = getattr(error, "retry_after_ms", None)
    if code in RETRYABLE or wait_ms is not None:
        told[headers.RETRY_AFTER.name] = str(_seconds_up(RETRY_AFTER_MS_DEFAULT if wait_ms is None else wait_ms))
    if status == HTTPStatus.UNAUTHORIZED:
        told[headers.CHALLENGE.name] = 'Bearer realm="driftlock"'
    if status == HTTPStatus.REQUEST_TIMEOUT:  # not after 413: closing on a client that still writes loses it the answer
        told["Connection"] = "close"
    problem = Problem(
        type=f"urn:driftlock:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        instance=instance,
        code=code,
        request_id=request_id,
        errors=_members(error),
    )
    return problem, told


def problem_response(error: Exception, *, instance: str, request_id: str) -> Response:
    """The HTTP response for an exception."""
    problem, told = problem_of(error, instance=instance, request_id=request_id)
    return Response(
        problem.model_dump_json(exclude_none=True), status_code=problem.status, headers=told, media_type=PROBLEM_MEDIA_TYPE
    )


def _router_detail(error: HTTPException) -> str:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return "there is nothing at this path; GET /v1/openapi.json lists what there is"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"this path answers {(error.headers or {}).get('Allow', 'other methods')} only"
    return error.detail


def _members(error: Exception) -> tuple[ProblemMember, ...]:
    if isinstance(error, BadMembers):
        return error.members
    if isinstance(error, DriftlockError) and error.pointer is not None and error.code is not Code.INTERNAL:
        return (ProblemMember(detail=error.message, pointer=error.pointer),)
    return ()


def _seconds_up(milliseconds: int) -> int:
    """Whole seconds, never fewer than asked and never zero: Retry-After has no fractions."""
    return max(1, -(-milliseconds // 1000))
