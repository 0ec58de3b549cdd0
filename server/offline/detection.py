"""One run of `driftlock detect`: lines in, findings out as they come, the strangest incidents at the end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from api.rfc3339 import event_time
from driftlock.engine.calibration import events_until_first_alarm
from driftlock.engine.canonical import CanonicalLimits, Cuts
from driftlock.engine.event import StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.offline import Offline
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import Finding
from server.logfile.reader import Line
from server.offline.batches import line_batch
from server.offline.incidents import StreamFindings, StreamIncident
from server.report.episodes import Episode, StreamReport, told_of_finding
from server.report.series import ScoreSeries
from server.report.table import counted

OnFinding = Callable[[Finding], None]


class Detection(Protocol):
    """What the command drives: `take` lines in their order, `finish`, then ask."""

    def take(self, key: StreamKey, lines: Sequence[Line]) -> None:
        """More lines of a stream; how they are portioned changes nothing."""
        ...

    def finish(self) -> None:
        """There are no more lines."""
        ...

    def reports(self) -> list[StreamReport]:
        """What was found in the streams that could be judged, in the order of their first lines."""
        ...

    def notes(self) -> list[str]:
        """What has to be known about the streams besides, in sentences."""
        ...

    def series(self) -> list[tuple[str, ScoreSeries]]:
        """Window scores of each stream by its name, where they are kept."""
        ...


@dataclass(slots=True)
class _Stream:
    key: StreamKey
    found: StreamFindings
    series: ScoreSeries | None


class StreamDetection:
    """Judges each stream by its own past, as a server does.

    `incidents_max`: incidents kept of a stream, the strangest; others are only counted. `on_finding` is told each finding
    at once. `scores`: keep the series of window scores too, for a picture.
    """

    def __init__(self, profile: Profile, *, seed: int, incidents_max: int, scores: bool, on_finding: OnFinding) -> None:
        self._profile, self._limits = profile, Limits()
        self._offline = Offline(profile, seed=seed, limits=self._limits)
        self._text_limits, self._cuts = CanonicalLimits(), Cuts()
        self._incidents_max, self._scores, self._on_finding = incidents_max, scores, on_finding
        self._streams: dict[StreamKey, _Stream] = {}

    def take(self, key: StreamKey, lines: Sequence[Line]) -> None:
        """See `Detection`."""
        stream = self._streams.get(key)
        if stream is None:
            found = StreamFindings(self._limits.incident_gap_windows, self._incidents_max)
            stream = self._streams[key] = _Stream(key, found, ScoreSeries() if self._scores else None)
        batch = line_batch(lines, self._text_limits, self._cuts)
        for number, finding in self._offline.take(key, batch, stream.series):
            stream.found.add(number, finding)
            self._on_finding(finding)

    def finish(self) -> None:
        """See `Detection`."""
        for stream in self._streams.values():
            stream.found.end()

    def reports(self) -> list[StreamReport]:
        """See `Detection`."""
        return [
            report(stream.key.service, stream.found)
            for stream in self._streams.values()
            if self._events(stream) >= self._events_needed
        ]

    def notes(self) -> list[str]:
        """See `Detection`."""
        told = []
        for stream in self._streams.values():
            events, missing = self._events(stream), self._offline.detectors[stream.key].events_until_ready
            if events < self._events_needed:
                told.append(
                    f"{stream.key.service} has {counted(events, 'event')}; verdicts need {self._events_needed:,} "
                    f"(events_until_first_alarm of profile {self._profile.name}): give more lines, smaller sizes "
                    "(--baseline, --window, --hop), or --quick, which judges a short input by itself"
                )
            elif missing:
                told.append(f"{stream.key.service} is provisional: {counted(missing, 'more event')} until it is calibrated")
        return told

    def series(self) -> list[tuple[str, ScoreSeries]]:
        """See `Detection`."""
        return [(stream.key.service, stream.series) for stream in self._streams.values() if stream.series is not None]

    def _events(self, stream: _Stream) -> int:
        return self._offline.detectors[stream.key].events

    @property
    def _events_needed(self) -> int:
        return events_until_first_alarm(self._profile, self._limits)


def report(name: str, found: StreamFindings) -> StreamReport:
    """The incidents of a stream as they are told."""
    return StreamReport(name, [_episode(incident) for incident in found.kept], found.incidents, found.findings)


def _episode(incident: StreamIncident) -> Episode:
    return Episode(
        strangest=told_of_finding(incident.strangest),
        findings=incident.findings,
        start=event_time(incident.start_ns),
        end=event_time(incident.end_ns),
        first_event=incident.first_event,
        last_event=incident.last_event,
    )
