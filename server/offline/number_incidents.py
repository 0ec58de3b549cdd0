"""Incidents of many series while they go by: findings near to each other in event time, whichever series they are about.

Files of one series each may stand one behind the other, so event time may step back; then another incident begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from driftlock.engine.limits import Limits
from driftlock.engine.verdict import Finding
from server.offline.incidents import StreamIncident, opened

SERIES_NAMED_MAX = 20


@dataclass(slots=True)
class NumberIncident:
    """Findings about numbers that belong together, with the series that they are about in the order of their findings.

    It is over when event time comes after `until_ns`; a finding that ends before `from_ns` is of another time.
    """

    found: StreamIncident
    series: dict[str, None]
    from_ns: int
    until_ns: int

    @property
    def named(self) -> list[str]:
        """The series that are told, at most `SERIES_NAMED_MAX`."""
        return list(self.series)[:SERIES_NAMED_MAX]


class NumberJoining:
    """The incident that is open, if there is one.

    A finding belongs to it if it is at most `incident_idle_ns`, or `incident_gap_windows` of the usual distances between
    points of its series, away: whichever is longer.
    """

    def __init__(self, limits: Limits) -> None:
        self._idle_ns, self._gap_points = limits.incident_idle_ns, limits.incident_gap_windows
        self.open: NumberIncident | None = None

    def passed(self, times_ns: Sequence[int], first: int, last: int) -> int | None:
        """The first point of `first`..`last` - 1 whose time is after the open incident; None if there is no such point."""
        if self.open is None:
            return None
        until_ns = self.open.until_ns
        return next((index for index in range(first, last) if times_ns[index] > until_ns), None)

    def is_of_another_time(self, finding: Finding) -> bool:
        """Whether an incident is open that began long after this finding."""
        return self.open is not None and finding.end_ns < self.open.from_ns

    def join(self, finding_id: UUID, finding: Finding) -> NumberIncident:
        """The incident that a finding belongs to, when those that are over have been ended."""
        gap_ns = max(self._idle_ns, self._gap_points * usual_step_ns(finding))
        from_ns, until_ns = max(0, finding.end_ns - gap_ns), finding.end_ns + gap_ns
        if self.open is None:
            self.open = NumberIncident(opened(finding_id, finding), {}, from_ns, until_ns)
        else:
            self.open.found.join(finding)
            self.open.from_ns, self.open.until_ns = min(self.open.from_ns, from_ns), max(self.open.until_ns, until_ns)
        for each in finding.series:
            self.open.series[each.series] = None
        return self.open

    def end(self) -> NumberIncident | None:
        """The open incident, which is open no more."""
        ended, self.open = self.open, None
        return ended


def usual_step_ns(finding: Finding) -> int:
    """The middle one of the distances between the points that a finding shows; 0 where it shows none."""
    steps = sorted(later - earlier for each in finding.series[:1] for earlier, later in pairwise(each.chart.times_ns))
    return steps[len(steps) // 2] if steps else 0
