"""Incidents of one stream while it goes by: findings of neighbouring windows, joined as a server joins them.

A server's second fold puts the findings of a tenant's streams into one order first, and waits for the slowest stream to
do so. What belongs together is decided stream by stream, so here nothing waits.
"""

from dataclasses import dataclass
from heapq import heappush, heappushpop
from uuid import UUID

from driftlock.engine.correlation.budget import Strength
from driftlock.engine.offline import TENANT_ID
from driftlock.engine.verdict import Finding, content_id


@dataclass(slots=True)
class StreamIncident:
    """Findings at most `incident_gap_windows` windows apart. Members as in `Incident`; `strangest` is its worst window."""

    incident_id: UUID
    first_window: int
    last_window: int
    first_event: int
    last_event: int
    start_ns: int
    end_ns: int
    findings: int
    ncd_max: float
    p_value_min: float
    surprise_max: float
    title: str
    strangest: Finding

    def join(self, finding: Finding) -> None:
        """Take one more finding, later than all before it."""
        self.last_window, self.last_event = finding.window, finding.last_event
        self.start_ns, self.end_ns = min(self.start_ns, finding.start_ns), max(self.end_ns, finding.end_ns)
        self.findings += 1
        self.ncd_max = max(self.ncd_max, finding.ncd)
        self.p_value_min = min(self.p_value_min, finding.p_value)
        self.surprise_max = max(self.surprise_max, finding.surprise)
        if strangeness(finding) > strangeness(self.strangest):
            self.strangest, self.title = finding, finding.explanation


def strangeness(finding: Finding) -> tuple[Strength, int]:
    """What findings are compared by: surprise, then rarity, then distance, then the earlier one. Higher = stranger."""
    return Strength(finding.surprise, -finding.p_value, finding.ncd), -finding.window


def opened(finding_id: UUID, finding: Finding) -> StreamIncident:
    """An incident of one finding."""
    return StreamIncident(
        incident_id=content_id(TENANT_ID.bytes + finding_id.bytes),
        first_window=finding.window,
        last_window=finding.window,
        first_event=finding.first_event,
        last_event=finding.last_event,
        start_ns=finding.start_ns,
        end_ns=finding.end_ns,
        findings=1,
        ncd_max=finding.ncd,
        p_value_min=finding.p_value,
        surprise_max=finding.surprise,
        title=finding.explanation,
        strangest=finding,
    )


class Joining:
    """The incident of a stream that is open, if there is one."""

    def __init__(self, gap_windows: int) -> None:
        self._gap_windows = gap_windows
        self.open: StreamIncident | None = None

    def passed(self, window: int) -> StreamIncident | None:
        """The incident that ends because the stream has come to `window` without a finding for too long."""
        if self.open is None or window - self.open.last_window <= self._gap_windows:
            return None
        return self.end()

    def join(self, finding_id: UUID, finding: Finding) -> StreamIncident:
        """The incident that a finding belongs to; `passed` has been told its window."""
        if self.open is None:
            self.open = opened(finding_id, finding)
        else:
            self.open.join(finding)
        return self.open

    def end(self) -> StreamIncident | None:
        """The open incident, which is open no more: the input has ended."""
        ended, self.open = self.open, None
        return ended


class StreamFindings:
    """All findings of one stream in bounded memory: the `incidents_max` strangest incidents; of others only the number."""

    def __init__(self, gap_windows: int, incidents_max: int) -> None:
        self._joining = Joining(gap_windows)
        self._incidents_max = incidents_max
        self._heap: list[tuple[tuple[Strength, int], StreamIncident]] = []  # windows differ: no two keys are equal
        self._ended = 0
        self.findings = 0

    def add(self, finding_id: UUID, finding: Finding) -> None:
        """Take the stream's next finding."""
        ended = self._joining.passed(finding.window)
        if ended is not None:
            self._keep(ended)
        self._joining.join(finding_id, finding)
        self.findings += 1

    def end(self) -> None:
        """The input has ended, and with it the open incident; idempotent."""
        ended = self._joining.end()
        if ended is not None:
            self._keep(ended)

    @property
    def incidents(self) -> int:
        """Ended incidents."""
        return self._ended

    @property
    def kept(self) -> list[StreamIncident]:
        """Ended incidents that are kept, oldest first."""
        return sorted((incident for _, incident in self._heap), key=lambda incident: incident.first_window)

    def _keep(self, incident: StreamIncident) -> None:
        self._ended += 1
        entry = (strangeness(incident.strangest), incident)
        if len(self._heap) < self._incidents_max:
            heappush(self._heap, entry)
        else:
            heappushpop(self._heap, entry)
