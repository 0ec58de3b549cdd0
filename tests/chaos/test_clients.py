"""A client tells apart what it sends again, what it may drop, and what is acknowledged with something rejected."""

from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from tests.chaos.clients import PARTIAL, RETRY_INFO, STATUS_DETAILS, Clients, failure_of, status_of


class Failure(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, trailing: tuple[tuple[str, bytes], ...] = ()) -> None:
        self._code, self._trailing = code, trailing

    def code(self) -> grpc.StatusCode:
        return self._code

    def trailing_metadata(self) -> Any:
        return self._trailing


RETRY = ((STATUS_DETAILS, b"type.googleapis.com/" + RETRY_INFO),)
FAILURES = {
    "unavailable": (Failure(grpc.StatusCode.UNAVAILABLE), False),
    "deadline": (Failure(grpc.StatusCode.DEADLINE_EXCEEDED), False),
    "exhausted": (Failure(grpc.StatusCode.RESOURCE_EXHAUSTED), True),
    "exhausted-with-other-details": (Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, ((STATUS_DETAILS, b"x"),)), True),
    "exhausted-with-retry-info": (Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, RETRY), False),
    "retry-info-does-not-help": (Failure(grpc.StatusCode.INVALID_ARGUMENT, RETRY), True),
    "internal": (Failure(grpc.StatusCode.INTERNAL), True),
    "failed-precondition": (Failure(grpc.StatusCode.FAILED_PRECONDITION), True),
    "already-exists": (Failure(grpc.StatusCode.ALREADY_EXISTS), True),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures(name: str) -> None:
    error, bad = FAILURES[name]
    clients = Clients([1], "key", count=1)
    clients.statuses[failure_of(error)] += 1
    assert bool(clients.not_retryable) is bad


def test_rejected_records_are_an_answer_that_drops_data() -> None:
    answer = ExportLogsServiceResponse()
    assert status_of(answer.SerializeToString()) == "OK"
    answer.partial_success.error_message = "a warning"
    assert status_of(answer.SerializeToString()) == "OK"
    answer.partial_success.rejected_log_records = 1
    assert status_of(answer.SerializeToString()) == PARTIAL
    clients = Clients([1], "key", count=1)
    clients.statuses[PARTIAL] += 1
    assert clients.not_retryable == {PARTIAL: 1}
