"""Closed-loop OTLP/gRPC senders that never give up: the same bytes again and again, until they are acknowledged."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from tests.chaos.workload import ENOUGH_RECORDS, request

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
DEADLINE_S, BACKOFF_S, JOIN_S = 3.0, 0.05, 60.0
RECORD_NS, PAST_NS = 4_000_000_000, 30 * 24 * 3600 * 1_000_000_000
"""A client's records are so far apart, from so long ago on: a short run is of many minutes of event time, with incidents."""
RETRYABLE = {"OK", "UNAVAILABLE", "CANCELLED", "ABORTED", "OUT_OF_RANGE", "DATA_LOSS", "DEADLINE_EXCEEDED"}
"""What a client sends again; for any other answer it may drop its data. OTLP specification, "Failures"."""
EXHAUSTED, STATUS_DETAILS, RETRY_INFO = "RESOURCE_EXHAUSTED", "grpc-status-details-bin", b"google.rpc.RetryInfo"
"""This one is sent again only if it says when (same place), with the message of google/rpc/error_details.proto."""
PARTIAL = "OK with rejected records"


class Clients:
    """`count` senders in threads, client n as `<prefix><n>` to the service `chaos-<n mod services>`.

    Each has one request on its way. `ports` of servers are tried in turn after a failure; assign them to send elsewhere. A
    record's id is `<client>-<number>`, numbers from 1, `records` of them in a request, `rest_s` between an answer and the next
    request. A context manager.
    """

    def __init__(
        self,
        ports: Sequence[int],
        key: str,
        *,
        count: int = 16,
        services: int = 4,
        records: int = 10,
        rest_s: float = 0.02,
        seed: int = 0,
        deadline_s: float = DEADLINE_S,
        prefix: str = "c",
    ) -> None:
        self.ports = tuple(ports)
        self.acked: dict[str, int] = {f"{prefix}{number}": 0 for number in range(count)}
        self.statuses: Counter[str] = Counter()
        self.acknowledgements = 0
        self.last_ack_s = 0.0
        self.service = {f"{prefix}{number}": f"chaos-{number % services}" for number in range(count)}
        self.records = records
        self.rest_s = rest_s
        self.began_ns = time.time_ns() - PAST_NS
        self._key = key
        self._seed = seed
        self._deadline_s = deadline_s
        self._abandoned = False
        self._stop = threading.Event()
        self._go = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._abandoned = True
        self._stop.set()
        self._go.set()
        for thread in self._threads:
            thread.join(JOIN_S)

    def start(self) -> None:
        """Begin to send."""
        self._go.set()
        self._threads = [
            threading.Thread(target=self._send_for_ever, args=(name,), name=name, daemon=True) for name in self.acked
        ]
        for thread in self._threads:
            thread.start()

    def pause(self) -> None:
        """Begin no further request, until `resume`."""
        self._go.clear()

    def resume(self) -> None:
        """Undo `pause`."""
        self._go.set()

    def stop(self, timeout_s: float = JOIN_S) -> None:
        """Begin no further request, and return when those on their way are acknowledged: then all that was sent is."""
        self._stop.set()
        self._go.set()
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
            assert not thread.is_alive(), f"{thread.name} is not acknowledged after {timeout_s} s: {dict(self.statuses)}"

    def wait_for_acks(self, more: int = 1, timeout_s: float = JOIN_S) -> float:
        """Return when `more` requests are acknowledged from now on; the seconds that this took."""
        began, aim = time.monotonic(), self.acknowledgements + more
        while self.acknowledgements < aim:
            waited = time.monotonic() - began
            assert waited < timeout_s, f"nothing is acknowledged for {timeout_s} s: {dict(self.statuses)}"
            time.sleep(0.005)
        return time.monotonic() - began

    def wait_for_findings(self, timeout_s: float = 2 * JOIN_S) -> None:
        """Return when each has sent so much that there is something to find."""
        end = time.monotonic() + timeout_s
        while min(self.acked.values()) < ENOUGH_RECORDS:
            assert time.monotonic() < end, f"too little is acknowledged after {timeout_s} s: {dict(self.statuses)}"
            time.sleep(0.05)

    @property
    def not_retryable(self) -> dict[str, int]:
        """Answers that let a client drop its data, by status."""
        return {status: count for status, count in self.statuses.items() if status not in RETRYABLE}

    def _send_for_ever(self, name: str) -> None:
        number, place, channel = 1, 0, None
        while True:
            self._go.wait()
            if self._stop.is_set():
                break
            time_ns = self.began_ns + number * RECORD_NS
            body = request(name, number, self.records, service=self.service[name], time_ns=time_ns, seed=self._seed)
            while True:
                ports = self.ports
                port = ports[place % len(ports)]
                if channel is None or channel[0] != port:
                    if channel is not None:
                        channel[1].close()
                    channel = (port, _channel(port))
                if self._send(channel[1], body):
                    break
                if self._abandoned:
                    channel[1].close()
                    return
                place += 1
                time.sleep(BACKOFF_S)
            number += self.records
            with self._lock:
                self.acked[name] = number - 1
                self.acknowledgements += 1
                self.last_ack_s = time.monotonic()
            self._stop.wait(self.rest_s)
        if channel is not None:
            channel[1].close()

    def _send(self, channel: grpc.Channel, body: bytes) -> bool:
        """Is it acknowledged? A partial success is: its rejected records are counted as an answer of its own kind."""
        export = channel.unary_unary(EXPORT, None, None)
        try:
            status = status_of(export(body, timeout=self._deadline_s, metadata=(("x-api-key", self._key),)))
        except grpc.RpcError as error:
            status = failure_of(error)
        with self._lock:
            self.statuses[status] += 1
        return status in ("OK", PARTIAL)


def status_of(answer: bytes) -> str:
    """A partial success is one: a client may not send again what was rejected, so that is a loss."""
    rejected = ExportLogsServiceResponse.FromString(answer).partial_success.rejected_log_records
    return PARTIAL if rejected else "OK"


def failure_of(error: grpc.RpcError) -> str:
    """Its status; UNAVAILABLE for one that is as good, RESOURCE_EXHAUSTED that says when to try again."""
    status = str(error.code().name)
    trailing: Any = error.trailing_metadata() or ()
    details = b"".join(value for name, value in trailing if name == STATUS_DETAILS)
    return "UNAVAILABLE" if status == EXHAUSTED and RETRY_INFO in details else status


def _channel(port: int) -> grpc.Channel:
    """A connection of its own that is tried again at once when its server is back."""
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 100),
    ]
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
