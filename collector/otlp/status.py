"""Errors to what OTLP clients understand: gRPC status codes, HTTP status codes and `google.rpc.Status`.

OTLP clients retry by status (OTLP specification, "Failures", "Failures 1"): a wrong answer here either loses data
or is hammered for ever. Retryable errors carry `RetryInfo`, final ones never do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

from driftlock.accounts.metering import Refusal
from driftlock.errors import Code, DriftlockError, Internal, Unavailable

STATUS_DETAILS = "grpc-status-details-bin"
RETRY_AFTER_MS = 1000


@dataclass(frozen=True, slots=True)
class Answer:
    """How an error is answered on each transport, and whether the sender should try again."""

    grpc: grpc.StatusCode
    http: HTTPStatus
    retryable: bool = False


ANSWERS: Mapping[Code, Answer] = {
    Code.INVALID_ARGUMENT: Answer(grpc.StatusCode.INVALID_ARGUMENT, HTTPStatus.BAD_REQUEST),
    Code.PAYLOAD_TOO_LARGE: Answer(grpc.StatusCode.RESOURCE_EXHAUSTED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    Code.UNSUPPORTED_ENCODING: Answer(grpc.StatusCode.UNIMPLEMENTED, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    Code.IDEMPOTENCY_KEY_REUSED: Answer(grpc.StatusCode.INVALID_ARGUMENT, HTTPStatus.UNPROCESSABLE_ENTITY),
    Code.UNAUTHORIZED: Answer(grpc.StatusCode.UNAUTHENTICATED, HTTPStatus.UNAUTHORIZED),
    Code.FORBIDDEN: Answer(grpc.StatusCode.PERMISSION_DENIED, HTTPStatus.FORBIDDEN),
    Code.EMAIL_UNVERIFIED: Answer(grpc.StatusCode.PERMISSION_DENIED, HTTPStatus.FORBIDDEN),
    Code.SIGN_IN_AGAIN: Answer(grpc.StatusCode.PERMISSION_DENIED, HTTPStatus.FORBIDDEN),
    Code.ORIGIN_NOT_ALLOWED: Answer(grpc.StatusCode.PERMISSION_DENIED, HTTPStatus.FORBIDDEN),
    Code.NOT_FOUND: Answer(grpc.StatusCode.NOT_FOUND, HTTPStatus.NOT_FOUND),
    Code.EVIDENCE_EXPIRED: Answer(grpc.StatusCode.NOT_FOUND, HTTPStatus.NOT_FOUND),
    # A receiver meets this when another process has taken over the journal: the data are good, this server is not.
    Code.CONFLICT: Answer(grpc.StatusCode.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE, retryable=True),
    Code.PRECONDITION_FAILED: Answer(grpc.StatusCode.FAILED_PRECONDITION, HTTPStatus.PRECONDITION_FAILED),
    Code.RATE_LIMITED: Answer(grpc.StatusCode.UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS, retryable=True),
    Code.QUOTA_EXHAUSTED: Answer(grpc.StatusCode.RESOURCE_EXHAUSTED, HTTPStatus.FORBIDDEN),
    Code.UNAVAILABLE: Answer(grpc.StatusCode.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE, retryable=True),
    Code.INTERNAL: Answer(grpc.StatusCode.INTERNAL, HTTPStatus.INTERNAL_SERVER_ERROR),
}


def safe(error: Exception) -> DriftlockError:
    """The error itself if its text is made for clients, else `Internal` without a word of it.

    Without memory for this request there may be some for the next one, so it is to be sent again.
    """
    if isinstance(error, DriftlockError):
        return error
    if isinstance(error, MemoryError):
        return Unavailable("there is no memory for this request now; send it again", reason=Refusal.OVERLOADED)
    return Internal("internal error; the data were not accepted")


def retry_after_ms(error: DriftlockError) -> int | None:
    """How long the sender should wait; None for errors that waiting does not cure."""
    if not ANSWERS[error.code].retryable:
        return None
    return RETRY_AFTER_MS if error.retry_after_ms is None else max(1, error.retry_after_ms)


def rpc_status(error: DriftlockError) -> Status:
    """`google.rpc.Status` with `RetryInfo` for retryable errors and `BadRequest` where the offending field is known."""
    status = Status(code=ANSWERS[error.code].grpc.value[0], message=error.message)
    wait_ms = retry_after_ms(error)
    if wait_ms is not None:
        delay = Duration(seconds=wait_ms // 1000, nanos=wait_ms % 1000 * 1_000_000)
        _attach(status, RetryInfo(retry_delay=delay))
    if error.pointer is not None:
        violation = BadRequest.FieldViolation(field=error.pointer, description=error.message)
        _attach(status, BadRequest(field_violations=[violation]))
    return status


def _attach(status: Status, detail: RetryInfo | BadRequest) -> None:
    packed = Any()
    packed.Pack(detail)
    status.details.append(packed)


def grpc_trailers(error: DriftlockError) -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata of a failed call: the status with its details, if it has any."""
    status = rpc_status(error)
    return ((STATUS_DETAILS, status.SerializeToString()),) if status.details else ()
