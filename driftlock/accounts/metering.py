"""What every door counts of the records that come in, and what of it the journal can not count itself.

    door ── received, then exactly one of accepted | duplicate | refused, and what was rejected ──> IngestMeter

Per tenant and signal, for ever: received == journaled + rejected + refused + deduplicated. The journal counts what passes it
in its own transactions; what never got there is added up in `UnjournaledTally`, to be written down now and then. A request
that is refused before it is decoded holds nobody knows how many records: it is counted as a request, and in none of these.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

from driftlock.errors import Code, DriftlockError

Unjournaled = dict[tuple[UUID, str], tuple[int, int]]
"""Records that never reached the journal, by tenant and signal: those that were rejected, and those that were refused."""


class Refusal(StrEnum):
    """Why whole requests are refused: labels of metrics, so the set is bounded, and words of log lines."""

    TOO_LARGE = "too_large"
    BOMB = "bomb"
    DAMAGED = "damaged"
    MALFORMED = "malformed"
    TOO_MANY_RECORDS = "too_many_records"
    BAD_RECORDS = "bad_records"
    NOT_STORABLE = "not_storable"
    KEY_REUSED = "key_reused"
    INVALID = "invalid"
    BAD_LENGTH = "bad_length"
    UNSUPPORTED_TYPE = "unsupported_type"
    UNSUPPORTED_CODING = "unsupported_coding"
    WRONG_METHOD = "wrong_method"
    UNKNOWN_PATH = "unknown_path"
    TRANSPORT = "transport"
    DISCONNECTED = "disconnected"
    TOO_SLOW = "too_slow"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NO_TENANT = "no_tenant"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    OVERLOADED = "overloaded"
    ACCOUNT_OVERLOADED = "account_overloaded"
    DRAINING = "draining"
    UNAVAILABLE = "unavailable"
    CONFLICT = "conflict"
    INTERNAL = "internal"


REFUSALS: Mapping[Code, Refusal] = {
    Code.INVALID_ARGUMENT: Refusal.INVALID,
    Code.PAYLOAD_TOO_LARGE: Refusal.TOO_LARGE,
    Code.UNSUPPORTED_ENCODING: Refusal.UNSUPPORTED_CODING,
    Code.IDEMPOTENCY_KEY_REUSED: Refusal.KEY_REUSED,
    Code.UNAUTHORIZED: Refusal.UNAUTHENTICATED,
    Code.FORBIDDEN: Refusal.FORBIDDEN,
    Code.EMAIL_UNVERIFIED: Refusal.FORBIDDEN,
    Code.SIGN_IN_AGAIN: Refusal.FORBIDDEN,
    Code.ORIGIN_NOT_ALLOWED: Refusal.FORBIDDEN,
    Code.NOT_FOUND: Refusal.NO_TENANT,
    Code.EVIDENCE_EXPIRED: Refusal.NO_TENANT,
    Code.CONFLICT: Refusal.CONFLICT,
    Code.PRECONDITION_FAILED: Refusal.CONFLICT,
    Code.RATE_LIMITED: Refusal.RATE_LIMITED,
    Code.QUOTA_EXHAUSTED: Refusal.QUOTA_EXHAUSTED,
    Code.UNAVAILABLE: Refusal.UNAVAILABLE,
    Code.INTERNAL: Refusal.INTERNAL,
}
"""The reason of an error that carries none of its own."""


def refusal_of(error: BaseException) -> Refusal:
    """Why a request that ends with `error` was refused: the error's own `reason`, else that of its code.

    >>> from driftlock.errors import Unavailable
    >>> refusal_of(Unavailable("later")), refusal_of(Unavailable("later", reason=Refusal.DRAINING)), refusal_of(KeyError())
    (<Refusal.UNAVAILABLE: 'unavailable'>, <Refusal.DRAINING: 'draining'>, <Refusal.INTERNAL: 'internal'>)
    """
    if not isinstance(error, DriftlockError):
        return Refusal.INTERNAL
    return REFUSALS[error.code] if error.reason is None else Refusal(error.reason)


class Because:
    """Gives a reason to the errors that pass, by their code, unless they have one already. A context manager."""

    __slots__ = ("_reasons",)

    def __init__(self, reasons: Mapping[Code, Refusal]) -> None:
        self._reasons = reasons

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, DriftlockError) and error.reason is None:
            error.reason = self._reasons.get(error.code)


class IngestMeter(Protocol):
    """Counts what came in and what became of it; a `signal` is `logs`, `metrics` or `traces`.

    A request that was decoded is `received`, and then `accepted`, `duplicate` or `refused` with all of its records but those
    that were `rejected` one by one; a refused one rejects none. Reasons are bounded sets of short words, fit for labels.
    """

    def received(self, tenant_id: UUID, signal: str, records: int) -> None:
        """A request was decoded that held so many records, bad ones included."""
        ...

    def accepted(self, signal: str, records: int, request_bytes: int) -> None:
        """A request was journaled with so many records; `request_bytes` after decompression."""
        ...

    def rejected(self, tenant_id: UUID, signal: str, reason: str, records: int, *, journaled: bool = True) -> None:
        """Records of a successful request that will never be accepted (partial success).

        `journaled`: other records of the request went to the journal, which has counted these in the same transaction.
        """
        ...

    def refused(self, tenant_id: UUID | None, signal: str | None, reason: str, records: int = 0) -> None:
        """A whole request was answered with an error; `reason` is a `Refusal`.

        `tenant_id` None: nobody knows whose it was; `signal` None: nor what it was to be. `records` 0: it was not decoded.
        """
        ...

    def duplicate(self, signal: str, records: int) -> None:
        """A resend of a journaled request was answered with success and journaled nothing."""
        ...

    def altered(self, signal: str, what: str, count: int) -> None:
        """Accepted, but `truncated`, with `attributes_dropped` or `replaced` (not Unicode), `overflowed`, or `nameless`."""
        ...


class NullIngestMeter:
    """Counts nothing; base of those who count only some of it."""

    def received(self, tenant_id: UUID, signal: str, records: int) -> None:
        """Do nothing."""

    def accepted(self, signal: str, records: int, request_bytes: int) -> None:
        """Do nothing."""

    def rejected(self, tenant_id: UUID, signal: str, reason: str, records: int, *, journaled: bool = True) -> None:
        """Do nothing."""

    def refused(self, tenant_id: UUID | None, signal: str | None, reason: str, records: int = 0) -> None:
        """Do nothing."""

    def duplicate(self, signal: str, records: int) -> None:
        """Do nothing."""

    def altered(self, signal: str, what: str, count: int) -> None:
        """Do nothing."""


class IngestMeters:
    """Several meters that are told the same, in their order."""

    def __init__(self, *meters: IngestMeter) -> None:
        self._meters = meters

    def received(self, tenant_id: UUID, signal: str, records: int) -> None:
        """See `IngestMeter`."""
        for meter in self._meters:
            meter.received(tenant_id, signal, records)

    def accepted(self, signal: str, records: int, request_bytes: int) -> None:
        """See `IngestMeter`."""
        for meter in self._meters:
            meter.accepted(signal, records, request_bytes)

    def rejected(self, tenant_id: UUID, signal: str, reason: str, records: int, *, journaled: bool = True) -> None:
        """See `IngestMeter`."""
        for meter in self._meters:
            meter.rejected(tenant_id, signal, reason, records, journaled=journaled)

    def refused(self, tenant_id: UUID | None, signal: str | None, reason: str, records: int = 0) -> None:
        """See `IngestMeter`."""
        for meter in self._meters:
            meter.refused(tenant_id, signal, reason, records)

    def duplicate(self, signal: str, records: int) -> None:
        """See `IngestMeter`."""
        for meter in self._meters:
            meter.duplicate(signal, records)

    def altered(self, signal: str, what: str, count: int) -> None:
        """See `IngestMeter`."""
        for meter in self._meters:
            meter.altered(signal, what, count)


class UnjournaledTally(NullIngestMeter):
    """Adds up what never reached the journal until it is `taken` to be written down.

    Not thread-safe: event loop only. At most `tenants_max` tenants are kept apart; `on_full` is called once they are so many,
    to take them early. Where that does not help, because the database is away, further tenants count in `dropped_records`
    only: their counts are missing on both sides of the law then.
    """

    def __init__(self, *, tenants_max: int = 1000, on_full: Callable[[], None] = lambda: None) -> None:
        if tenants_max < 1:
            raise ValueError("tenants_max must be at least 1")
        self._tenants_max = tenants_max
        self._on_full = on_full
        self._counts: Unjournaled = {}
        self._tenants: set[UUID] = set()
        self.dropped_records = 0

    def rejected(self, tenant_id: UUID, signal: str, reason: str, records: int, *, journaled: bool = True) -> None:  # noqa: ARG002
        """See `IngestMeter`."""
        if not journaled:
            self._add(tenant_id, signal, records, 0)

    def refused(self, tenant_id: UUID | None, signal: str | None, reason: str, records: int = 0) -> None:  # noqa: ARG002
        """See `IngestMeter`."""
        if tenant_id is not None and signal is not None and records:
            self._add(tenant_id, signal, 0, records)

    def take(self) -> Unjournaled:
        """All that was added up; it is forgotten here, so `put_back` what could not be written down."""
        counts, self._counts = self._counts, {}
        self._tenants.clear()
        return counts

    def put_back(self, counts: Unjournaled) -> None:
        """Add `counts` again."""
        for (tenant_id, signal), (rejected, refused) in counts.items():
            self._add(tenant_id, signal, rejected, refused)

    def _add(self, tenant_id: UUID, signal: str, rejected: int, refused: int) -> None:
        if tenant_id not in self._tenants:
            if len(self._tenants) >= self._tenants_max:
                self.dropped_records += rejected + refused
                return
            self._tenants.add(tenant_id)
            if len(self._tenants) == self._tenants_max:
                self._on_full()
        before = self._counts.get((tenant_id, signal), (0, 0))
        self._counts[tenant_id, signal] = (before[0] + rejected, before[1] + refused)
