"""What came in and what became of it, as Prometheus counters."""

from uuid import UUID

from prometheus_client import CollectorRegistry, Counter

from driftlock.engine.event import Signal

UNKNOWN_SIGNAL = "unknown"


class IngestCounters:
    """The counters of one process. Implements `driftlock.accounts.metering.IngestMeter`.

    Once no request is under way, records received == accepted + rejected + refused + duplicate. A request that is refused
    before it is decoded holds nobody knows how many records, and counts in requests only.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._received = Counter(
            "driftlock_received_records", "Records of requests that were decoded.", ["signal"], registry=registry
        )
        self._accepted = Counter("driftlock_accepted_records", "Records journaled.", ["signal"], registry=registry)
        self._accepted_bytes = Counter(
            "driftlock_accepted_bytes", "Bytes of journaled requests, uncompressed.", ["signal"], registry=registry
        )
        self._rejected = Counter(
            "driftlock_rejected_records",
            "Records answered as rejected in a partial success.",
            ["signal", "reason"],
            registry=registry,
        )
        self._refused = Counter(
            "driftlock_refused_requests", "Requests answered with an error.", ["signal", "reason"], registry=registry
        )
        self._refused_records = Counter(
            "driftlock_refused_records",
            "Records of requests that were decoded and then answered with an error.",
            ["signal", "reason"],
            registry=registry,
        )
        self._duplicate = Counter(
            "driftlock_duplicate_records", "Records of requests that had been journaled before.", ["signal"], registry=registry
        )
        self._altered = Counter(
            "driftlock_altered",
            "Parts cut, dropped, replaced or diverted.",
            ["signal", "what"],
            registry=registry,
        )
        for signal in Signal:  # series exist from the start, so that rates and absences can be told apart
            for counter in (self._received, self._accepted, self._accepted_bytes, self._duplicate):
                counter.labels(signal.value)

    def received(self, tenant_id: UUID, signal: str, records: int) -> None:  # noqa: ARG002
        """A request was decoded."""
        self._received.labels(signal).inc(records)

    def accepted(self, signal: str, records: int, request_bytes: int) -> None:
        """A request was journaled."""
        self._accepted.labels(signal).inc(records)
        self._accepted_bytes.labels(signal).inc(request_bytes)

    def rejected(self, tenant_id: UUID, signal: str, reason: str, records: int, *, journaled: bool = True) -> None:  # noqa: ARG002
        """Records that will never be accepted."""
        self._rejected.labels(signal, reason).inc(records)

    def refused(self, tenant_id: UUID | None, signal: str | None, reason: str, records: int = 0) -> None:  # noqa: ARG002
        """A whole request was answered with an error."""
        self._refused.labels(signal or UNKNOWN_SIGNAL, reason).inc()
        if records:
            self._refused_records.labels(signal or UNKNOWN_SIGNAL, reason).inc(records)

    def duplicate(self, signal: str, records: int) -> None:
        """A resend that journaled nothing."""
        self._duplicate.labels(signal).inc(records)

    def altered(self, signal: str, what: str, count: int) -> None:
        """Accepted with a loss."""
        self._altered.labels(signal, what).inc(count)
