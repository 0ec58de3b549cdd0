"""Single requests at both OTLP doors, again and again: what is answered, how soon, and with which hint when to come again."""

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
import httpx
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
DETAILS = "grpc-status-details-bin"
GRPC, HTTP = "grpc", "http"
CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 300),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """`sent_s` in monotonic seconds, how long it took, the status as the door words it, and whether it hints when to retry."""

    door: str
    sent_s: float
    seconds: float
    status: str
    hint: bool


def log_request(service: str, *lines: str) -> bytes:
    """An Export request of a service with these log lines, at the time of now."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.add(key="service.name").value.string_value = service
    scope = group.scope_logs.add()
    now_ns = time.time_ns()
    for number, line in enumerate(lines):
        record = scope.log_records.add(time_unix_nano=now_ns + number)
        record.body.string_value = line
    return request.SerializeToString()


def grpc_hint(error: grpc.RpcError) -> bool:
    """Whether a failed call carries RetryInfo."""
    trailers: Any = error.trailing_metadata() or ()
    for name, value in trailers:
        if name == DETAILS:
            return any(detail.Is(RetryInfo.DESCRIPTOR) for detail in Status.FromString(value).details)
    return False


class Probes:
    """One sender a door while entered; each sends its next request `pause_s` after the answer to the last."""

    def __init__(
        self, grpc_port: int, http_port: int | None, key: str | None, *, pause_s: float = 0.05, timeout_s: float = 30.0
    ) -> None:
        self._grpc_port, self._http_port, self._pause_s, self._timeout_s = grpc_port, http_port, pause_s, timeout_s
        self._headers = {} if key is None else {"x-api-key": key}
        self._ended = threading.Event()
        doors = [self._grpc] if http_port is None else [self._grpc, self._http]
        self._threads = [threading.Thread(target=door, daemon=True) for door in doors]
        self.answers: list[Answer] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def between(self, from_s: float, until_s: float, door: str | None = None) -> list[Answer]:
        """Answers to what was sent in a time, in monotonic seconds."""
        return [each for each in list(self.answers) if from_s <= each.sent_s <= until_s and door in (None, each.door)]

    def first_ok_s(self, after_s: float) -> float | None:
        """When the first request was acknowledged after a moment, counted from it in seconds; None: none was yet."""
        good = [
            each.sent_s + each.seconds
            for each in list(self.answers)
            if each.status in ("OK", "200") and each.sent_s + each.seconds > after_s
        ]
        return min(good) - after_s if good else None

    def _grpc(self) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{self._grpc_port}", options=CHANNEL_OPTIONS) as channel:
            export = channel.unary_unary(EXPORT, None, None)
            for number in itertools.count():
                if self._ended.wait(self._pause_s):
                    return
                request = log_request("probe", f"probe grpc {number}")
                began = time.monotonic()
                try:
                    export(request, timeout=self._timeout_s, metadata=tuple(self._headers.items()))
                    status, hint = "OK", False
                except grpc.RpcError as error:
                    status, hint = error.code().name, grpc_hint(error)
                self.answers.append(Answer(GRPC, began, time.monotonic() - began, status, hint))

    def _http(self) -> None:
        url = f"http://127.0.0.1:{self._http_port}/v1/logs"
        headers = {"content-type": "application/x-protobuf", **self._headers}
        with httpx.Client(timeout=self._timeout_s, trust_env=False) as client:
            for number in itertools.count():
                if self._ended.wait(self._pause_s):
                    return
                request = log_request("probe", f"probe http {number}")
                began = time.monotonic()
                try:
                    response = client.post(url, content=request, headers=headers)
                    status, hint = str(response.status_code), "retry-after" in response.headers
                except httpx.HTTPError as error:
                    status, hint = type(error).__name__, False
                self.answers.append(Answer(HTTP, began, time.monotonic() - began, status, hint))


def statuses(answers: list[Answer]) -> str:
    """How often which status, for people."""
    counted = Counter(f"{each.door} {each.status}" for each in answers)
    return ", ".join(f"{count} {status}" for status, count in sorted(counted.items()))
