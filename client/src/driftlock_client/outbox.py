"""A bounded queue with a thread that sends what is in it: nobody who puts something in ever waits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Event: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """Bounds of what waits, and of what is sent at once. Bytes are estimates: characters of texts, and some for the rest."""

    queue_records_max: int = 10_000
    queue_bytes_max: int = 16 << 20
    batch_records_max: int = 500
    batch_bytes_max: int = 1 << 20
    interval_s: float = 1.0


class Outbox:
    """Events on their way. `send` gets at most a batch of them, in order; what it raises costs that batch.

    `lost` is told how many events were lost, each time that some are, and why.
    """

    def __init__(
        self, send: Callable[[Sequence[Event]], None], lost: Callable[[int, str], None], limits: OutboxLimits, name: str
    ) -> None:
        self._send, self._lost, self._limits = send, lost, limits
        self._waiting: deque[tuple[Event, int]] = deque()
        self._bytes = 0
        self._in_flight = self._put = self._done = 0
        self._closing = self._hurry = False
        self._changed = threading.Condition()  # reentrant: a signal's handler may log while its thread is in here
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = False

    @property
    def thread_id(self) -> int | None:
        """Of the thread that sends."""
        return self._thread.ident

    def put(self, event: Event, size: int) -> bool:
        """Add an event; False when it is full, or closed."""
        limits = self._limits
        with self._changed:
            full = len(self._waiting) >= limits.queue_records_max or self._bytes + size > limits.queue_bytes_max
            if self._closing or full:
                return False
            if not self._started:
                self._thread.start()
                self._started = True
            self._waiting.append((event, size))
            self._bytes += size
            self._put += 1
            if len(self._waiting) == 1 or self._enough():
                self._changed.notify_all()
            return True

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything that is in it now was sent, or lost; False when that takes longer than `timeout_s`."""
        with self._changed:
            if not self._started or threading.get_ident() == self._thread.ident:
                return not self._waiting
            until = self._put
            self._hurry = bool(self._waiting)
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._done >= until, timeout_s)

    def close(self, timeout_s: float) -> int:
        """Send what is there, for so long at most, and take no more. Returns how many events stay behind unsent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._started and threading.get_ident() != self._thread.ident:
            self._thread.join(timeout_s)
        with self._changed:
            left = len(self._waiting) + self._in_flight
            self._waiting.clear()
            self._bytes = self._in_flight = 0
            return left

    def _enough(self) -> bool:
        return len(self._waiting) >= self._limits.batch_records_max or self._bytes >= self._limits.batch_bytes_max

    def _run(self) -> None:
        while batch := self._take():
            try:
                self._send(batch)
            except Exception as error:
                lost, why = len(batch), f"{type(error).__name__}: {error}"
            else:
                lost, why = 0, ""
            with self._changed:
                counted = self._in_flight  # 0 when close() has given it up, and counted it, already
                self._in_flight = 0
                self._done += len(batch)
                self._changed.notify_all()
            if lost and counted:
                self._lost(lost, why)

    def _take(self) -> list[Event]:
        """The next batch, when it is full, a moment old, or asked for; [] at the end."""
        limits = self._limits
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            self._changed.wait_for(lambda: self._enough() or self._closing or self._hurry, limits.interval_s)
            batch: list[Event] = []
            size = 0
            while self._waiting and len(batch) < limits.batch_records_max:
                event, more = self._waiting[0]
                if batch and size + more > limits.batch_bytes_max:
                    break
                self._waiting.popleft()
                batch.append(event)
                size += more
            self._bytes -= size
            self._in_flight = len(batch)
            self._hurry = self._hurry and bool(self._waiting)
            return batch
