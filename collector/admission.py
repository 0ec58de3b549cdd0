"""Admission control: how many requests, and how many of their bytes, may be under way at once.

What is over the limit is told to come back later, before any work is done for it. gRPC's own limit on concurrent calls
is not used: it answers RESOURCE_EXHAUSTED without a retry hint, upon which a Collector drops the data.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from driftlock.accounts.metering import Refusal
from driftlock.errors import Unavailable

MIB = 1024 * 1024
DRAINING_RETRY_AFTER_MS = 100  # where there is a next server, it answers already


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """`requests_max` and `bytes_max` bound what is in flight.

    One tenant has at most `tenant_share_max` of each, so that the others always find room. Its only request is not measured
    by that: it may grow to whatever a request may.
    `retry_after_ms` is the least hint to those who must wait; up to `retry_jitter_ms` is added, so that those who were turned
    away together do not come back together.
    """

    requests_max: int = 256
    bytes_max: int = 128 * MIB
    tenant_share_max: float = 0.75
    retry_after_ms: int = 1000
    retry_jitter_ms: int = 1000

    def __post_init__(self) -> None:
        """Refuse limits that admit nothing or hint at nothing."""
        for name in ("requests_max", "bytes_max", "retry_after_ms"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.retry_jitter_ms < 0:
            raise ValueError("retry_jitter_ms must not be negative")
        if not 0 < self.tenant_share_max <= 1:
            raise ValueError("tenant_share_max must be above 0 and at most 1")


@dataclass(slots=True)
class _Held:
    """What is in flight, of all or of one tenant."""

    requests: int = 0
    bytes: int = 0


class Admission:
    """Counts what is in flight over all OTLP receivers of a process. Not thread-safe: event loop only.

    `jitter` gives numbers from 0 up to 1, exclusive; without it the hint is always the least one.
    """

    def __init__(self, limits: AdmissionLimits, jitter: Callable[[], float] = lambda: 0.0) -> None:
        self._limits = limits
        self._jitter = jitter
        self._all = _Held()
        self._tenants: dict[Hashable, _Held] = {}
        self._draining = False

    @property
    def limits(self) -> AdmissionLimits:
        """The limits in force."""
        return self._limits

    @property
    def requests(self) -> int:
        """Requests in flight."""
        return self._all.requests

    @property
    def bytes(self) -> int:
        """Bytes in flight."""
        return self._all.bytes

    @property
    def tenants(self) -> int:
        """Tenants with requests in flight."""
        return len(self._tenants)

    @property
    def draining(self) -> bool:
        """Whether new requests are turned away because the process is about to stop."""
        return self._draining

    def drain(self) -> None:
        """Turn away all new requests from now on; those in flight end as they would have."""
        self._draining = True

    def admit(self, request_bytes: int, tenant: Hashable = None) -> "Slot":
        """A slot for a request of so many bytes, to be closed at its end; raises `Unavailable`."""
        if self._draining:
            raise Unavailable(
                "the server is shutting down; send again to the next one",
                retry_after_ms=DRAINING_RETRY_AFTER_MS,
                reason=Refusal.DRAINING,
            )
        if self._all.requests >= self._limits.requests_max:
            raise Unavailable("too many requests in flight; send again later", reason=Refusal.OVERLOADED)
        own = self._tenants.get(tenant, _Held())
        if own.requests and own.requests >= self._limits.requests_max * self._limits.tenant_share_max:
            raise Unavailable(
                "too many requests of this account in flight; send again later", reason=Refusal.ACCOUNT_OVERLOADED
            )
        own.requests += 1
        try:
            self._reserve(own, request_bytes)
        except Unavailable:
            own.requests -= 1
            raise
        self._tenants[tenant] = own
        self._all.requests += 1
        return Slot(self, tenant, own, request_bytes)

    def retry_hint_ms(self, least_ms: int | None = None) -> int:
        """How long a sender that is turned away now should wait, at least `least_ms` or what the limits say."""
        least = self._limits.retry_after_ms if least_ms is None else least_ms
        return least + int(self._jitter() * self._limits.retry_jitter_ms)

    def _reserve(self, own: _Held, count: int) -> None:
        if self._all.bytes + count > self._limits.bytes_max:
            raise Unavailable("too many bytes in flight; send again later", reason=Refusal.OVERLOADED)
        if own.requests > 1 and own.bytes + count > self._limits.bytes_max * self._limits.tenant_share_max:
            raise Unavailable("too many bytes of this account in flight; send again later", reason=Refusal.ACCOUNT_OVERLOADED)
        own.bytes += count
        self._all.bytes += count

    def _release(self, tenant: Hashable, own: _Held, count: int) -> None:
        own.requests -= 1
        own.bytes -= count
        self._all.requests -= 1
        self._all.bytes -= count
        if not own.requests:
            del self._tenants[tenant]


class Slot:
    """The place of one admitted request; `grow` as it turns out to be larger. Closing twice is harmless."""

    def __init__(self, admission: Admission, tenant: Hashable, own: _Held, count: int) -> None:
        self._admission = admission
        self._tenant = tenant
        self._own = own
        self._bytes = count
        self._open = True

    def grow(self, count: int) -> None:
        """Reserve `count` more bytes; raises `Unavailable` and reserves nothing when they are not to be had."""
        self._admission._reserve(self._own, count)  # noqa: SLF001
        self._bytes += count

    def close(self) -> None:
        """Give everything back."""
        if self._open:
            self._open = False
            self._admission._release(self._tenant, self._own, self._bytes)  # noqa: SLF001

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
