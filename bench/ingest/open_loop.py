"""Requests at a given rate over a few connections, with senders that come again as they were told, or as they please."""

import heapq
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from google.rpc import error_details_pb2, status_pb2

RETRYABLE = {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}  # OTLP, "Failures"
IMPATIENT_S = 0.05
SETTLE_S = 20.0


class OpenLoop:
    """A request is due every 1/rate seconds. Over `in_flight_max` it is skipped, as an exporter's full queue drops it.

    A refused one is sent again: after the server's hint (`honour`), or always after 50 ms. What is not answered by OK before
    the end is not counted as acknowledged.
    """

    def __init__(
        self, calls: Sequence[Any], make: Callable[[], bytes], *, honour: bool, in_flight_max: int, timeout_s: float
    ) -> None:
        """Nothing is sent before `run`."""
        self._calls, self._make, self._honour = calls, make, honour
        self._in_flight_max, self._timeout_s = in_flight_max, timeout_s
        self._changed = threading.Condition()
        self._again: list[tuple[float, int, float, bytes]] = []
        self._in_flight = 0
        self._number = 0
        self.acknowledged = self.skipped = self.given_up = 0
        self.statuses: Counter[str] = Counter()
        self.latencies = array("d")
        self.seconds = 0.0

    def run(self, rate: float, seconds: float) -> None:
        """Send for so long; then what is on its way may end, but nothing is sent again. `seconds` counts both."""
        began = time.perf_counter()
        end, due, step = began + seconds, began, 1 / rate
        while (now := time.perf_counter()) < end:
            while due <= now:
                if self._in_flight < self._in_flight_max:
                    self._in_flight += 1
                    self._send(self._make(), due)
                else:
                    self.skipped += 1
                due += step
            for request, first_due in self._ripe(now):
                self._send(request, first_due)
            with self._changed:
                wake = min([due, end, *(entry[0] for entry in self._again[:1])])
            time.sleep(max(0.0, min(0.002, wake - time.perf_counter())))
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight <= len(self._again), SETTLE_S)
            self.seconds = time.perf_counter() - began

    def _ripe(self, now: float) -> list[tuple[bytes, float]]:
        found = []
        with self._changed:
            while self._again and self._again[0][0] <= now:
                _, _, first_due, request = heapq.heappop(self._again)
                found.append((request, first_due))
        return found

    def _send(self, request: bytes, due: float) -> None:
        self._number += 1
        call = self._calls[self._number % len(self._calls)].future(request, timeout=self._timeout_s)
        call.add_done_callback(lambda done: self._done(done, request, due))

    def _done(self, call: Any, request: bytes, due: float) -> None:
        status = call.code().name
        now = time.perf_counter()
        with self._changed:
            self.statuses[status] += 1
            if status == "OK":
                self._in_flight -= 1
                self.acknowledged += 1
                self.latencies.append(now - due)
            elif status in RETRYABLE or _hint_s(call) is not None:
                hint = _hint_s(call) if self._honour else None
                heapq.heappush(self._again, (now + (IMPATIENT_S if hint is None else hint), len(self.latencies), due, request))
            else:
                self._in_flight -= 1
                self.given_up += 1
            self._changed.notify()


def _hint_s(call: Any) -> float | None:
    """The delay of the RetryInfo in the status details, if there is one."""
    for key, value in call.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.RetryInfo()
                if detail.Unpack(info):
                    return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    return None
