"""Prometheus metrics of a serving process, in a registry of its own: one prefix, base units, bounded labels.

No label holds a stream or anything else that clients can invent. Ids of tenants stand in the ledger's alone, of the largest
ones (`server.ledger`).
"""

import platform
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from driftlock.engine.era import Era
from driftlock.engine.ports import Intake, Receipt, Step, Submission
from driftlock.engine.verdict import IncidentState, Question, StreamEventKind
from driftlock.errors import DriftlockError
from driftlock.storage.breaker import State
from driftlock.storage.lanes import Lane

VERSIONS, DATABASE = "versions", "database"  # what an era may be about
COMMIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Telemetry:
    """The metrics of one process; those of what comes in are `server.ingest_metrics.IngestCounters`, in the same registry."""

    def __init__(self, *, version: str, codec: str, codec_version: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        registry = self.registry
        self._commit = Histogram(
            "driftlock_commit_seconds",
            "From handing records over until they are durable, or refused.",
            ["outcome"],
            buckets=COMMIT_SECONDS,
            registry=registry,
        )
        self._database_up = Gauge(
            "driftlock_database_up",
            "1 while the way to the database is there, 0 while nothing is tried but probes.",
            ["lane"],
            registry=registry,
        )
        self._database_transitions = Counter(
            "driftlock_database_transitions",
            "How often circuit breakers opened and closed.",
            ["lane", "state"],
            registry=registry,
        )
        for lane in Lane:
            self._database_up.labels(lane.value).set(1)
            for state in (State.CLOSED, State.OPEN):
                self._database_transitions.labels(lane.value, state.value)
        self._findings = Counter("driftlock_findings", "Findings committed.", ["question"], registry=registry)
        self._alerts = Counter("driftlock_alerts", "Incidents that alerted: what alert budgets allowed.", registry=registry)
        self._muted = Counter(
            "driftlock_muted_incidents", "Incidents that ended without an alert: over a budget.", registry=registry
        )
        self._stream_events = Counter(
            "driftlock_stream_events", "What happened to baselines and calibrations of streams.", ["kind"], registry=registry
        )
        self._quarantined = Counter(
            "driftlock_quarantined_rows", "Journal rows that were passed although they can not be read.", registry=registry
        )
        self._eras = Counter(
            "driftlock_eras",
            "Starts that found other versions of what judges, or another database.",
            ["what"],
            registry=registry,
        )
        for what in (VERSIONS, DATABASE):
            self._eras.labels(what)
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

    def gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Publish `driftlock_<name>`, read from its owner whenever metrics are collected."""
        Gauge(f"driftlock_{name}", description, registry=self.registry).set_function(read)

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)

    def committed(self, step: Step) -> None:
        """A step of the applier was committed."""
        for row in step.findings:
            self._findings.labels(row.finding.question.value).inc()
        for event in step.events:
            self._stream_events.labels(event.event.kind.value).inc()
        self._quarantined.inc(len(step.quarantined))
        self._alerts.inc(sum(row.told for row in step.incidents))
        ended = [row.incident for row in step.incidents if row.incident.state is IncidentState.CLOSED]
        self._muted.inc(sum(not incident.alerted for incident in ended))
        self._applied.set(step.to_seq)

    def era_began(self, era: Era) -> None:
        """The journal was taken over, and something was not as the process before had left it."""
        if era.changes:
            self._eras.labels(VERSIONS).inc()
        if era.database:
            self._eras.labels(DATABASE).inc()

    def database_changed(self, lane: Lane, *, up: bool) -> None:
        """The circuit breaker of a lane has closed (`up`) or opened."""
        self._database_up.labels(lane.value).set(up)
        self._database_transitions.labels(lane.value, (State.CLOSED if up else State.OPEN).value).inc()

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
