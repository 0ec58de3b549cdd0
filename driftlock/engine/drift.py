"""The drift of a stream from its anchor: a window a minute, a distance an hour, and two thresholds.

    records -> windows to compare (at most one that begins in a minute of event time) -> hours -> drifting or not

Nothing here looks at how records were batched: a window begins with the first record at or after `next_ns` and takes the
records that follow it, and an hour is closed by the first window that is complete after it.
"""

from array import array
from dataclasses import dataclass, field
from statistics import median
from uuid import UUID

from driftlock.engine.limits import MINUTE_NS
from driftlock.engine.window import Incoming, cut_utf8

HOUR_NS = 60 * MINUTE_NS
DRIFT_HOURS = 6
"""So many of the newest hours with windows are looked at, and so many pass before what was said of them changes again."""
RECOVERY_SHARE = 0.8
"""A drift is over below this part of the threshold at which it begins."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """A window to compare: masked lines with their event times in ns; `first_event` is the index of the first one."""

    first_event: int
    lines: tuple[bytes, ...]
    times_ns: tuple[int, ...]


class Gathering:
    """The window that fills, and those that are full. `window` lines of at most `line_bytes_max` bytes each."""

    def __init__(self, window: int, line_bytes_max: int) -> None:
        self.window = window
        self.line_bytes_max = line_bytes_max
        self.next_ns = 0
        self.first_event = 0
        self.lines: list[bytes] = []
        self.times_ns = array("Q")
        self._full: list[Gathered] = []

    def gather(self, incoming: Incoming, first: int) -> None:
        """Take what is needed of the records that come in; the first of them is the stream's `first`."""
        times, at, count = incoming.placed.times_ns, 0, len(incoming)
        while at < count:
            if not self.lines:
                if max(times[at:]) < self.next_ns:
                    return
                at = next(place for place in range(at, count) if times[place] >= self.next_ns)
                self.next_ns = (times[at] // MINUTE_NS + 1) * MINUTE_NS
                self.first_event = first + at
            stop = min(count, at + self.window - len(self.lines))
            for event in incoming.events(at, stop):
                self.lines.append(cut_utf8(event.masked, self.line_bytes_max))
                self.times_ns.append(event.time_ns)
            at = stop
            if len(self.lines) == self.window:
                self._full.append(Gathered(self.first_event, tuple(self.lines), tuple(self.times_ns)))
                self.lines, self.times_ns = [], array("Q")

    def take(self) -> list[Gathered]:
        """The windows that have become full since the last call, in their order."""
        full, self._full = self._full, []
        return full


@dataclass(frozen=True, slots=True)
class FarWindow:
    """The window of an hour that was furthest from the anchor; `ratio` is C(W given A)/C(W)."""

    distance: float
    ratio: float
    window: Gathered


@dataclass(frozen=True, slots=True)
class DriftHour:
    """A closed hour of event time, which begins at `hour_ns`: the median distance of its `windows` compared windows.

    `recent` is the median of the last `DRIFT_HOURS` hours that have windows, None while there are fewer. `drifting` since
    `since_ns`, the end of the hour that showed it; 0 = it is not.
    """

    anchor_id: UUID
    hour_ns: int
    distance: float
    windows: int
    recent: float | None
    since_ns: int

    @property
    def drifting(self) -> bool:
        """Whether the stream had drifted from its anchor by then."""
        return self.since_ns > 0


@dataclass(frozen=True, slots=True)
class Closed:
    """What the end of an hour says: `began` a drift, or `ended` one."""

    hour: DriftHour
    far: FarWindow
    began: bool
    ended: bool


@dataclass(slots=True)
class DriftSeries:
    """The hours of one anchor, as far as they have to be remembered.

    A drift begins when the median of the last hours exceeds the threshold, and ends below `RECOVERY_SHARE` of it. Either is
    said only of hours that all came after the last change, so a drift that begins and one that ends have no hour in common.
    """

    hour_ns: int = 0  # start of the open hour
    distances: list[float] = field(default_factory=list)  # of its windows
    far: FarWindow | None = None  # of its windows
    recent: list[tuple[int, float]] = field(default_factory=list)  # start and distance of the last closed hours
    since_ns: int = 0
    held_hours: int = 0  # closed since the last change

    def add(self, far: FarWindow, anchor_id: UUID, threshold: float) -> Closed | None:
        """Take a compared window; what it closes."""
        hour_ns = max(far.window.times_ns) // HOUR_NS * HOUR_NS
        closed = None
        if hour_ns > self.hour_ns:
            closed = self._close(anchor_id, threshold)
            self.hour_ns, self.distances, self.far = hour_ns, [], None
        self.distances.append(far.distance)
        if self.far is None or far.distance > self.far.distance:
            self.far = far
        return closed

    def _close(self, anchor_id: UUID, threshold: float) -> Closed | None:
        if self.far is None:
            return None
        distance = median(self.distances)
        self.recent = [*self.recent, (self.hour_ns, distance)][-DRIFT_HOURS:]
        self.held_hours = min(self.held_hours + 1, DRIFT_HOURS)
        recent = median(it for _, it in self.recent) if len(self.recent) == DRIFT_HOURS else None
        began = ended = False
        if recent is not None and self.held_hours == DRIFT_HOURS:
            began = not self.since_ns and recent > threshold
            ended = bool(self.since_ns) and recent < RECOVERY_SHARE * threshold
        if began or ended:
            self.since_ns, self.held_hours = (self.hour_ns + HOUR_NS if began else 0), 0
        hour = DriftHour(anchor_id, self.hour_ns, distance, len(self.distances), recent, self.since_ns)
        return Closed(hour, self.far, began, ended)
