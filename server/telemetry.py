"""Prometheus metrics of a serving process, in a registry of its own: one prefix, base units, bounded labels.

No label holds a tenant, a stream or anything else that clients can invent.
"""

import platform
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from driftlock.engine.event import Signal
from driftlock.engine.ports import Intake, Receipt, Step, Submission
from driftlock.engine.verdict import IncidentState, Question, StreamEventKind
from driftlock.errors import DriftlockError

COMMIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Telemetry:
    """The metrics of one process. Implements `collector.telemetry.IngestMeter`.

    For requests that were journaled: records received == accepted + rejected + duplicate; what was refused as a whole is
    counted in requests, because a refused request may never have been decoded.
    """

    def __init__(self, *, version: str, codec: str, codec_version: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        registry = self.registry
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
        self._duplicate = Counter(
            "driftlock_duplicate_records", "Records of requests that had been journaled before.", ["signal"], registry=registry
        )
        self._altered = Counter(
            "driftlock_altered",
            "Parts cut, dropped, replaced or diverted.",
            ["signal", "what"],
            registry=registry,
        )
        self._commit = Histogram(
            "driftlock_commit_seconds",
            "From handing records over until they are durable, or refused.",
            ["outcome"],
            buckets=COMMIT_SECONDS,
            registry=registry,
        )
        self._findings = Counter("driftlock_findings", "Findings committed.", ["question"], registry=registry)
        self._alerts = Counter("driftlock_alerts", "Incidents that alerted: what alert budgets allowed.", registry=registry)
        self._muted = Counter(
            "driftlock_muted_incidents", "Incidents that ended without an alert: over a budget.", registry=registry
        )
        self._stream_events = Counter(
            "driftlock_stream_events", "What happened to baselines and calibrations of streams.", ["kind"], registry=registry
        )
        self._applied = Gauge("driftlock_applied_position", "Journal position that is folded and committed.", registry=registry)
        build = Gauge(
            "driftlock_build_info",
            "1; the labels are versions that can change a verdict.",
            ["version", "python", "codec", "codec_version"],
            registry=registry,
        )
        build.labels(version, platform.python_version(), codec, codec_version).set(1)
        for question in Question:
            self._findings.labels(question.value)
        for kind in StreamEventKind:
            self._stream_events.labels(kind.value)
        for signal in Signal:  # series exist from the start, so that rates and absences can be told apart
            for counter in (self._accepted, self._accepted_bytes, self._duplicate):
                counter.labels(signal.value)

    def gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Publish `driftlock_<name>`, read from its owner whenever metrics are collected."""
        Gauge(f"driftlock_{name}", description, registry=self.registry).set_function(read)

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)

    def accepted(self, signal: Signal, records: int, request_bytes: int) -> None:
        """A request was journaled."""
        self._accepted.labels(signal.value).inc(records)
        self._accepted_bytes.labels(signal.value).inc(request_bytes)

    def rejected(self, signal: Signal, reason: str, records: int) -> None:
        """Records that will never be accepted."""
        self._rejected.labels(signal.value, reason).inc(records)

    def refused(self, signal: Signal, reason: str) -> None:
        """A whole request was answered with an error."""
        self._refused.labels(signal.value, reason).inc()

    def duplicate(self, signal: Signal, records: int) -> None:
        """A resend that journaled nothing."""
        self._duplicate.labels(signal.value).inc(records)

    def altered(self, signal: Signal, what: str, count: int) -> None:
        """Accepted with a loss."""
        self._altered.labels(signal.value, what).inc(count)

    def committed(self, step: Step) -> None:
        """A step of the applier was committed."""
        for row in step.findings:
            self._findings.labels(row.finding.question.value).inc()
        for event in step.events:
            self._stream_events.labels(event.event.kind.value).inc()
        self._alerts.inc(sum(row.told for row in step.incidents))
        ended = [row.incident for row in step.incidents if row.incident.state is IncidentState.CLOSED]
        self._muted.inc(sum(not incident.alerted for incident in ended))
        self._applied.set(step.to_seq)

    def journaled(self, seconds: float, outcome: str) -> None:
        """A submission took so long; `outcome` is `durable` or an error code."""
        self._commit.labels(outcome).observe(seconds)


class TimedIntake:
    """An intake that reports how long each submission took. `clock_s` is a monotonic clock."""

    def __init__(self, intake: Intake, telemetry: Telemetry, clock_s: Callable[[], float]) -> None:
        self._intake, self._telemetry, self._clock_s = intake, telemetry, clock_s

    async def submit(self, submission: Submission) -> Receipt:
        """Pass the submission on; see `driftlock.engine.ports.Intake`."""
        began_s = self._clock_s()
        try:
            receipt = await self._intake.submit(submission)
        except DriftlockError as error:
            self._telemetry.journaled(self._clock_s() - began_s, error.code.value)
            raise
        self._telemetry.journaled(self._clock_s() - began_s, "durable")
        return receipt
