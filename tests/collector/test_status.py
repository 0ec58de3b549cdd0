"""Every error has an answer on every transport."""

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

from collector.otlp.status import ANSWERS, STATUS_DETAILS, grpc_trailers, retry_after_ms, rpc_status, safe
from driftlock import errors
from driftlock.errors import Code, DriftlockError, InvalidArgument, RateLimited, Unavailable

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DriftlockError)]
# OTLP specification, "Failures": what clients send again. RESOURCE_EXHAUSTED only with RetryInfo.
GRPC_RETRYABLE = {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
HTTP_RETRYABLE = {429, 502, 503, 504}


def retry_info(status: Status) -> RetryInfo | None:
    for detail in status.details:
        found = RetryInfo()
        if detail.Unpack(found):
            return found
    return None


def test_every_code_has_an_answer() -> None:
    assert set(ANSWERS) == set(Code)
    assert {kind.code for kind in CLASSES} == set(Code)


@pytest.mark.parametrize("code", list(Code))
def test_transports_agree_on_whether_to_retry(code: Code) -> None:
    answer = ANSWERS[code]
    assert (answer.grpc.name in GRPC_RETRYABLE) is answer.retryable
    assert (answer.http in HTTP_RETRYABLE) is answer.retryable
    assert answer.grpc not in {grpc.StatusCode.UNKNOWN, grpc.StatusCode.OK}


@pytest.mark.parametrize("kind", CLASSES)
def test_retry_info_is_there_exactly_for_retryable_errors(kind: type[DriftlockError]) -> None:
    error = kind("why", retry_after_ms=1500)
    status = rpc_status(error)
    info = retry_info(status)
    assert (status.code, status.message) == (ANSWERS[kind.code].grpc.value[0], "why")
    assert (info is not None) is ANSWERS[kind.code].retryable
    if info is not None:
        assert info.retry_delay.ToMilliseconds() == retry_after_ms(error) == 1500
        assert Status.FromString(dict(grpc_trailers(error))[STATUS_DETAILS]) == status
    else:
        assert grpc_trailers(error) == ()
        assert retry_after_ms(error) is None


def test_retryable_errors_without_a_hint_get_one() -> None:
    assert retry_after_ms(Unavailable("x")) == 1000
    assert retry_after_ms(RateLimited("x", retry_after_ms=0)) == 1


def test_the_offending_field_is_named() -> None:
    found = BadRequest()
    assert rpc_status(InvalidArgument("bad", pointer="/a")).details[0].Unpack(found)
    assert (found.field_violations[0].field, found.field_violations[0].description) == ("/a", "bad")


def test_unexpected_exceptions_tell_nothing() -> None:
    answer = safe(RuntimeError("password=hunter2"))
    assert answer.code is Code.INTERNAL
    assert "hunter2" not in answer.message
    known = Unavailable("x")
    assert safe(known) is known
