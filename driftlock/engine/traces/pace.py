"""What time it is for a stream whose spans stay away: its event time goes on as the wall clock does."""

from dataclasses import dataclass
from typing import NamedTuple


class Where(NamedTuple):
    """How far a stream had come at a time of event time: the newest span by then, the watermark, whether receive times counted.

    `time_ns` is that time, which is ahead of the watermark where the wall clock went on and no span came.
    """

    time_ns: int = 0
    event: int = 0
    watermark_ns: int = 0
    receive_timed: bool = False


@dataclass(slots=True)
class Pace:
    """When the newest row came by the wall clock, and whether the stream is a live one. Times are in ns.

    Clocks of senders may be hours off, so event time is not compared with the wall clock: where nothing comes, it is as much
    later than the stream's watermark as the newest row is old, less the grace that a row may take on its way.
    """

    grace_ns: int
    received_ns: int = 0
    live: bool = False

    def took(self, received_ns: int, *, historical: bool) -> None:
        """A row came; one of a replay says nothing about the wall clock."""
        self.live = not historical
        if not historical:
            self.received_ns = max(self.received_ns, received_ns)

    def event_ns(self, now_ns: int, watermark_ns: int) -> int:
        """Event time when the wall clock says `now_ns`; never before the watermark."""
        if not self.live:
            return watermark_ns
        return watermark_ns + max(0, now_ns - self.received_ns - self.grace_ns)

    def wall_ns(self, event_ns: int, watermark_ns: int) -> int:
        """The wall-clock time at which `event_ns` comes if nothing else does; 0 = never, for `event_ns` 0 and in a replay."""
        if not (self.live and event_ns):
            return 0
        return self.received_ns + self.grace_ns + max(0, event_ns - watermark_ns)
