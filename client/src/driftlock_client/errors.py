"""What a client raises: one class for each kind of answer, made of `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any

TEXT_CHARS_MAX = 500
"""Of an answer that is no problem document, such as a proxy's page."""


class DriftlockError(Exception):
    """Base of all errors of a client."""


class ConnectionFailed(DriftlockError):
    """No answer came: the server could not be reached, or the connection broke."""


class UnexpectedAnswer(DriftlockError):
    """An answer that the API does not have: another version, or something else at that address."""


class OperationPending(DriftlockError):
    """The events are journaled, and not scored in the time that was given. `operation_id` finds their result later."""

    def __init__(self, operation_id: str, wait_s: float) -> None:
        super().__init__(f"operation {operation_id} is not done after {wait_s:g} s; ask get_operation() for it later")
        self.operation_id = operation_id


@dataclass(frozen=True, slots=True)
class ProblemMember:
    """One wrong member of a request: a JSON pointer into its body, or the name of a parameter or header."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class ApiError(DriftlockError):
    """The server answered with a problem.

    `code` is stable across versions; `detail` says what happened and what to do; `request_id` finds the server's line of
    it. `retry_after_s` is how long to wait before asking again, None where the server did not say.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        title: str = "",
        request_id: str | None = None,
        errors: tuple[ProblemMember, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}" + (f" (request {request_id})" if request_id else ""))
        self.status = status
        self.code = code
        self.detail = detail
        self.title = title
        self.request_id = request_id
        self.errors = errors
        self.retry_after_s = retry_after_s


class BadRequest(ApiError):
    """400, 413, 415: the request is wrong; `errors` says where."""


class Unauthorized(ApiError):
    """401: a valid credential is needed."""


class Forbidden(ApiError):
    """403: the credential, the plan or the sign-in does not allow this; `code` says which."""


class NotFound(ApiError):
    """404: there is no such resource, or it is somebody else's."""


class Conflict(ApiError):
    """409 and 422: the request contradicts the present state, or an earlier one with its Idempotency-Key."""


class PreconditionFailed(ApiError):
    """412: the resource was changed since it was read; read it again."""


class RateLimited(ApiError):
    """429: too many requests."""


class ServerError(ApiError):
    """5xx: the server failed, or can not answer now."""


_CLASSES: Mapping[int, type[ApiError]] = MappingProxyType(
    {401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict, 412: PreconditionFailed, 422: Conflict, 429: RateLimited}
)


def error_of(status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> ApiError:
    """The error of an answer of 400 and more, whether or not it is a problem document. Names of `headers` are in lower case."""
    problem = _problem(body)
    code, detail = problem.get("code"), problem.get("detail")
    members = problem.get("errors")
    made = _CLASSES.get(status, ServerError if status >= 500 else BadRequest)
    return made(
        status,
        code if isinstance(code, str) else f"http_{status}",
        detail if isinstance(detail, str) else body[:TEXT_CHARS_MAX].decode(errors="replace") or "no explanation came with it",
        title=str(problem.get("title", "")),
        request_id=headers.get("x-request-id"),
        errors=tuple(_member(member) for member in members if isinstance(member, dict)) if isinstance(members, list) else (),
        retry_after_s=retry_after_s(headers.get("retry-after"), now),
    )


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """The header Retry-After in seconds from `now` on (RFC 9110, 10.2.3); None for none and for nonsense."""
    if value is None:
        return None
    if value.isascii() and value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())


def _problem(body: bytes) -> dict[str, Any]:
    try:
        problem = json.loads(body)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _member(member: Mapping[str, Any]) -> ProblemMember:
    pointer, parameter = member.get("pointer"), member.get("parameter")
    return ProblemMember(
        str(member.get("detail", "")),
        pointer if isinstance(pointer, str) else None,
        parameter if isinstance(parameter, str) else None,
    )
