"""What time it is for a stream of traces: as its spans say, within what its server's clock allows, and when they stay away."""

from array import array
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import NamedTuple

from driftlock.engine.event import RecordBatch
from driftlock.engine.limits import Limits
from driftlock.engine.window import Placed


class Where(NamedTuple):
    """How far a stream had come at a time of event time: the newest span by then, the watermark, whether receive times counted.

    The watermark is how far spans took the stream; `time_ns` is ahead of it where the wall clock went on and no span came.
    """

    time_ns: int = 0
    event: int = 0
    watermark_ns: int = 0
    receive_timed: bool = False


@dataclass(slots=True)
class Pace:
    """When the newest live row came by the wall clock, and whether the stream ever had one. Times are in ns.

    Clocks of senders may be hours behind, so event time is not compared with the wall clock: where nothing comes, it is as much
    later than by the newest spans as the newest row is old, less the grace that a row may take on its way. A live stream stays
    one when something is replayed into it: traces that came before still have to be closed.
    """

    grace_ns: int
    received_ns: int = 0
    live: bool = False

    def took(self, received_ns: int, *, historical: bool) -> None:
        """A row came; one of a replay says nothing about the wall clock."""
        if not historical:
            self.live = True
            self.received_ns = max(self.received_ns, received_ns)

    def event_ns(self, now_ns: int, mark_ns: int) -> int:
        """Event time when the wall clock says `now_ns`; never before `mark_ns`, the one by the newest spans."""
        if not self.live:
            return mark_ns
        return mark_ns + max(0, now_ns - self.received_ns - self.grace_ns)

    def wall_ns(self, event_ns: int, mark_ns: int) -> int:
        """The wall-clock time at which `event_ns` comes if nothing else does; 0 = never, for `event_ns` 0 and in a replay."""
        if not (self.live and event_ns):
            return 0
        return self.received_ns + self.grace_ns + max(0, event_ns - mark_ns)


class Timed(NamedTuple):
    """Of each span when it started, as far as that is believed, and the time of the stream when it came. Both in ns."""

    starts_ns: "array[int]"
    marks_ns: "array[int]"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which times are believed, in ns. `cap_ns` is how far spans may take the time of the stream.

    A start after `last_ns` is not believed, nor one of a span that was over `patience_ns` before the time of the stream.
    """

    cap_ns: int
    last_ns: int
    patience_ns: int

    @classmethod
    def of(cls, limits: Limits, received_ns: int, *, live: bool) -> "Bounds":
        """Those of a row. The wall clock says nothing about the times of a stream that is nothing but a replay."""
        last_ns = received_ns + limits.future_ns
        cap_ns = received_ns + limits.trace_ahead_ns if live else last_ns
        return cls(cap_ns, last_ns, limits.lateness_ns + limits.trace_idle_ns)


def timed(batch: RecordBatch, placed: Placed, mark_ns: int, bounds: Bounds) -> Timed:
    """Times of spans of a stream whose time was `mark_ns`, placed by the clock of its records.

    The time of the stream is that of its newest span. One sender whose clock is ahead takes it no further than the cap: no
    trace of the others would be over before its time has come. A span that started long ago is believed when it ended not long
    ago: it was long. One that is not believed stands at the time of the stream.
    """
    times_ns = placed.times_ns
    if placed.late or placed.receive_timed or not all(batch.times_ns):
        return _one_by_one(batch, placed, mark_ns, bounds)
    capped = times_ns
    if max(times_ns) > bounds.cap_ns:
        capped = array("Q", [min(time_ns, bounds.cap_ns) for time_ns in times_ns])
    return Timed(times_ns, array("Q", islice(accumulate(capped, max, initial=mark_ns), 1, None)))


def _one_by_one(batch: RecordBatch, placed: Placed, mark_ns: int, bounds: Bounds) -> Timed:
    size = len(batch)
    durations_ns = batch.durations_ns if len(batch.durations_ns) == size else bytes(size)
    starts, marks = array("Q"), array("Q")
    for own, at, late, duration in zip(batch.times_ns, placed.times_ns, placed.late or bytes(size), durations_ns, strict=True):
        start = own
        if not own:
            start = min(at, bounds.cap_ns)
        elif late and own > bounds.last_ns:
            start = mark_ns or at
        mark_ns = max(mark_ns, min(start, bounds.cap_ns))
        marks.append(mark_ns)
        starts.append(mark_ns if late and start + duration < mark_ns - bounds.patience_ns else start)
    return Timed(starts, marks)
