"""Admission control: how many requests, and how many of their bytes, may be under way at once.

What is over the limit is told to come back later, before any work is done for it. gRPC's own limit on concurrent calls
is not used: it answers RESOURCE_EXHAUSTED without a retry hint, upon which a Collector drops the data.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from driftlock.errors import Unavailable

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """`requests_max` and `bytes_max` bound what is in flight; `retry_after_ms` is the hint to those who must wait."""

    requests_max: int = 256
    bytes_max: int = 128 * MIB
    retry_after_ms: int = 1000

    def __post_init__(self) -> None:
        """Refuse limits that admit nothing or hint at nothing."""
        for name in ("requests_max", "bytes_max", "retry_after_ms"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")


class Admission:
    """Counts what is in flight over all OTLP receivers of a process. Not thread-safe: event loop only."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._requests = 0
        self._bytes = 0
        self._draining = False

    @property
    def limits(self) -> AdmissionLimits:
        """The limits in force."""
        return self._limits

    @property
    def requests(self) -> int:
        """Requests in flight."""
        return self._requests

    @property
    def bytes(self) -> int:
        """Bytes in flight."""
        return self._bytes

    @property
    def draining(self) -> bool:
        """Whether new requests are turned away because the process is about to stop."""
        return self._draining

    def drain(self) -> None:
        """Turn away all new requests from now on; those in flight end as they would have."""
        self._draining = True

    def admit(self, request_bytes: int) -> "Slot":
        """A slot for a request of so many bytes, to be closed at its end; raises `Unavailable` with a retry hint."""
        if self._draining:
            raise self._later("the server is shutting down; send again to the next one")
        if self._requests >= self._limits.requests_max:
            raise self._later("too many requests in flight; send again later")
        slot = Slot(self)
        slot.grow(request_bytes)
        self._requests += 1
        return slot

    def _reserve(self, count: int) -> None:
        if self._bytes + count > self._limits.bytes_max:
            raise self._later("too many bytes in flight; send again later")
        self._bytes += count

    def _release(self, count: int) -> None:
        self._bytes -= count
        self._requests -= 1

    def _later(self, message: str) -> Unavailable:
        return Unavailable(message, retry_after_ms=self._limits.retry_after_ms)


class Slot:
    """The place of one admitted request; `grow` as it turns out to be larger. Closing twice is harmless."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._bytes = 0
        self._open = True

    def grow(self, count: int) -> None:
        """Reserve `count` more bytes; raises `Unavailable` and reserves nothing when they are not to be had."""
        self._admission._reserve(count)  # noqa: SLF001
        self._bytes += count

    def close(self) -> None:
        """Give everything back."""
        if self._open:
            self._open = False
            self._admission._release(self._bytes)  # noqa: SLF001

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
