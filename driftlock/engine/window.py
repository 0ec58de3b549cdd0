"""The newest events of a stream: texts for the eye, masked forms for the codec, and the event time of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from driftlock.engine.event import RecordBatch
from driftlock.engine.limits import Limits


@dataclass(slots=True)
class Event:
    """One event while it is in the window. `flagged`: a window that held it was flagged, so it never joins the baseline."""

    text: bytes
    masked: bytes
    time_ns: int
    late: bool = False
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
        self.receive_timed = False

    def place(self, batch: RecordBatch, received_ns: int) -> tuple[Sequence[int], Sequence[bool] | None]:
        """Event time of each record in ns, and which were late (None = none of them)."""
        times = batch.times_ns
        if not times:
            return times, None
        ordered = times.tolist()
        earliest = max(1, self.watermark_ns - self._lateness_ns)
        if ordered[0] >= earliest and ordered[-1] <= received_ns + self._future_ns and ordered == sorted(ordered):
            placed, late = ordered, None
            self.watermark_ns = max(self.watermark_ns, ordered[-1])
        else:
            placed, late = self._place_each(ordered, received_ns, batch.historical)
        if self.first_event_ns == 0:
            self.first_event_ns = placed[0]
        return placed, late

    def _place_each(self, times: Sequence[int], received_ns: int, historical: bool) -> tuple[list[int], list[bool]]:
        placed, late = [], []
        for time_ns in times:
            timed = time_ns != 0
            believed = self.watermark_ns - self._lateness_ns <= time_ns <= received_ns + self._future_ns
            if not timed:
                self.receive_timed = True
                time_ns = max(self.watermark_ns, 1 if historical else received_ns)
            elif not believed:
                self.late_events += 1
                time_ns = self.watermark_ns or received_ns
            late.append(timed and not believed)
            placed.append(time_ns)
            self.watermark_ns = max(self.watermark_ns, time_ns)
        return placed, late
