"""`driftlock detect --quick`: inputs too short for calibrated verdicts, each judged by its own beginning."""

from collections.abc import Sequence
from dataclasses import dataclass

from driftlock.engine.canonical import CanonicalLimits, Cuts
from driftlock.engine.detector import finding_id
from driftlock.engine.event import StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.offline import stream_id_of
from driftlock.engine.profile import Profile
from driftlock.engine.quick import QUICK_EVENTS_MAX, QuickResult, quick_detect
from driftlock.errors import PayloadTooLarge
from server.logfile.reader import Line
from server.offline.batches import line_batch
from server.offline.detection import OnFinding, report
from server.offline.incidents import StreamFindings
from server.report.episodes import StreamReport
from server.report.series import ScoreSeries
from server.report.table import counted


@dataclass(slots=True)
class _Judged:
    name: str
    events: int
    found: StreamFindings
    result: QuickResult


class ShortDetection:
    """Collects each stream up to `QUICK_EVENTS_MAX` events, and judges it when the input has ended.

    `take` and `finish` raise `InvalidArgument` for a stream with more events, or with too few to compare.
    """

    def __init__(self, profile: Profile, *, seed: int, incidents_max: int, on_finding: OnFinding) -> None:
        self._profile, self._seed, self._limits = profile, seed, Limits()
        self._incidents_max, self._on_finding = incidents_max, on_finding
        self._lines: dict[StreamKey, list[Line]] = {}
        self._judged: list[_Judged] = []

    def take(self, key: StreamKey, lines: Sequence[Line]) -> None:
        """See `Detection`."""
        held = self._lines.setdefault(key, [])
        held.extend(lines)
        if len(held) > QUICK_EVENTS_MAX:
            told = f"{key.service} has more than {QUICK_EVENTS_MAX:,} events (events_max), enough to judge it without --quick"
            raise PayloadTooLarge(told)

    def finish(self) -> None:
        """See `Detection`."""
        for key, lines in self._lines.items():
            batch = line_batch(lines, CanonicalLimits(), Cuts())
            result = quick_detect(key, batch, self._profile, seed=self._seed, limits=self._limits)
            found = StreamFindings(self._limits.incident_gap_windows, self._incidents_max)
            for finding in result.findings:
                found.add(finding_id(stream_id_of(key), finding.window, finding.interaction), finding)
                self._on_finding(finding)
            found.end()
            self._judged.append(_Judged(key.service, len(lines), found, result))
        self._lines.clear()

    def reports(self) -> list[StreamReport]:
        """See `Detection`."""
        return [report(judged.name, judged.found) for judged in self._judged]

    def notes(self) -> list[str]:
        """See `Detection`."""
        told = []
        for judged in self._judged:
            used = judged.result.profile
            sizes = f"the first {used.baseline_size} are the past, {judged.result.windows} windows of {used.window_size} follow"
            told.append(
                f"{judged.name} has {counted(judged.events, 'event')}: {sizes}; p-values are of a permutation test, which on "
                "bursty logs alarms too often"
            )
        return told

    def series(self) -> list[tuple[str, ScoreSeries]]:
        """See `Detection`."""
        return []
