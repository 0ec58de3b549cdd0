"""The newest events of a stream: texts for the eye, masked forms for the codec, and the event time of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from driftlock.engine.event import RecordBatch
from driftlock.engine.limits import Limits


@dataclass(slots=True)
class Event:
    """One event while it is in the window.

    `late`: its own time was not believed. `receive_timed`: it stands at its receive time, which another run would not
    repeat. `flagged`: a window that held it was flagged, so it never joins the baseline.
    """

    text: bytes
    masked: bytes
    time_ns: int
    late: bool = False
    receive_timed: bool = False
    flagged: bool = False
    instance: str = ""
    trace_id: bytes = b""


def cut_lengths(lengths: Sequence[int], held: Sequence[int], size: int, limits: Limits) -> list[int] | None:
    """How many bytes of each new event to keep, or None when none has to be cut.

    An event may use what the window has left, and always its fair share of `window_bytes_max`. `held` are the kept bytes of
    the events now in the window, oldest first; the rule depends on nothing else, so batch sizes do not change it.
    """
    share = limits.window_bytes_max // size
    if not lengths or max(lengths) <= min(share, limits.event_bytes_max):
        return None
    kept = list(held)
    used = sum(kept)
    cut = []
    for length in lengths:
        if len(kept) >= size:
            used -= kept[len(kept) - size]
        allowed = min(limits.event_bytes_max, max(share, limits.window_bytes_max - used))
        cut.append(min(length, allowed))
        kept.append(cut[-1])
        used += cut[-1]
    return cut


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an event stands in time, in ns, and how it came there; see `Event`."""

    time_ns: int
    late: bool
    receive_timed: bool


class EventClock:
    """The monotone watermark of a stream, and the rule for times that can not be believed.

    A record's own time counts when it lies in [watermark - lateness, receive time + future]; else it is scored at the
    watermark and counted as late. A record without a time is scored at its receive time, in a replay at the watermark.
    """

    def __init__(self, limits: Limits) -> None:
        self._lateness_ns = limits.lateness_ns
        self._future_ns = limits.future_ns
        self.watermark_ns = 0
        self.first_event_ns = 0
        self.late_events = 0

    def place(self, batch: RecordBatch, received_ns: int) -> Sequence[int | Placed]:
        """Event times of the records in ns; as `Placed` when any of them is not simply its own, credible time."""
        times = batch.times_ns.tolist()
        if not times:
            return times
        earliest = max(1, self.watermark_ns - self._lateness_ns)
        if times[0] >= earliest and times[-1] <= received_ns + self._future_ns and times == sorted(times):
            self.watermark_ns = max(self.watermark_ns, times[-1])
            self.first_event_ns = self.first_event_ns or times[0]
            return times
        placed = [self._place(time_ns, received_ns, batch.historical) for time_ns in times]
        self.first_event_ns = self.first_event_ns or placed[0].time_ns
        return placed

    def _place(self, time_ns: int, received_ns: int, historical: bool) -> Placed:
        late = receive_timed = False
        if time_ns == 0 and historical:
            time_ns = max(self.watermark_ns, 1)
        elif time_ns == 0:
            time_ns, receive_timed = max(self.watermark_ns, received_ns), True
        elif not self.watermark_ns - self._lateness_ns <= time_ns <= received_ns + self._future_ns:
            self.late_events += 1
            late, receive_timed = True, self.watermark_ns == 0
            time_ns = self.watermark_ns or received_ns
        self.watermark_ns = max(self.watermark_ns, time_ns)
        return Placed(time_ns, late, receive_timed)
