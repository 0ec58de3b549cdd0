"""How many events a stream has in each minute of its event time: a series of numbers like any other."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from cbad_cy.series import LEARNING_POINTS, SERIES_VERSION, Alarm, SeriesTable
from driftlock.engine.limits import MINUTE_NS
from driftlock.engine.numbers.finding import LATER_MAX

RATE_ID = 1
"""The number of the only series in the table of a stream's rate."""

LEVEL_ABOVE = 1.0
"""How much more it takes than of other numbers: events come in bursts, and nobody asked to be told of each."""

TIMES_MIN = 2.0
"""A single minute has to have so many times more events than expected, or fewer."""

USUAL_AFTER = 2
"""After so many odd minutes that were as strong, or nearly (`NEARLY`), one is usual for a `MEMORY_NS`."""

NEARLY = 1.5
MEMORY_NS = 14 * 24 * 60 * MINUTE_NS

ODD_MINUTES_MAX = 16
"""So many of the newest odd minutes are remembered."""


@dataclass(frozen=True, slots=True)
class OddMinute:
    """A minute that alarmed, told or not: when it began, its events, and whether they were more than expected."""

    time_ns: int
    events: float
    more: bool


class Rate:
    """The code of one stream's events per minute.

    A minute stands at its beginning. Minutes without events are learned like all others and never told: they are silence. Nor
    is anything told of the first `LEARNING_POINTS` minutes, of a rate that stands still, of a minute by its rank alone (single
    bursts are usual), and of what came `USUAL_AFTER` times within weeks.
    """

    def __init__(self) -> None:
        self.table = SeriesTable(series_max=1)
        self.odd: list[OddMinute] = []

    @property
    def minutes(self) -> int:
        """Minutes learned."""
        return self.table.points(RATE_ID) if RATE_ID in self.table else 0

    def feed(self, ends_ns: "array[int]", counts: "array[float]", alarm_level: float) -> Iterator[tuple[int, Alarm]]:
        """Learn closed minutes that follow those before; the alarms, each with the index of its minute, one after another.

        The iterator has to be used up. When an alarm comes, at most `LATER_MAX` minutes after it are learned, so that its chart
        can be asked for. `alarm_level` is that of other numbers under the stream's profile.
        """
        self.table.alarm_level = alarm_level + LEVEL_ABOVE
        for first in range(0, len(ends_ns), LATER_MAX):
            piece = slice(first, min(first + LATER_MAX, len(ends_ns)))
            learned = self.minutes
            times = array("Q", (end - MINUTE_NS for end in ends_ns[piece]))
            fed = self.table.feed(array("Q", [RATE_ID]) * len(times), times, counts[piece])
            for alarm in fed.alarms:
                if learned + alarm.index >= LEARNING_POINTS and self._told(alarm):
                    yield first + alarm.index, alarm

    def _told(self, alarm: Alarm) -> bool:
        """Whether it is worth telling; from here on it is remembered."""
        if alarm.value <= 0 or alarm.cause in {"flatline", "point"}:
            return False
        expected = max(alarm.expected, 0.0)
        less, more = sorted((alarm.value, expected))
        if alarm.cause in {"value", "range"} and more < TIMES_MIN * less:
            return False
        odd = OddMinute(alarm.time_ns, alarm.value, alarm.value > expected)
        self.odd = [other for other in self.odd if other.time_ns + MEMORY_NS > odd.time_ns]
        usual = sum(_as_strong(other, odd) for other in self.odd) >= USUAL_AFTER
        self.odd = [*self.odd, odd][-ODD_MINUTES_MAX:]
        return not usual

    def parts(self) -> bytes:
        """What the series learned, b"" when nothing; equal pasts give equal bytes. The odd minutes are stored beside it."""
        return self.table.parts(RATE_ID) if RATE_ID in self.table else b""

    def restore(self, parts: bytes, odd: list[OddMinute]) -> None:
        """Continue from `parts` and the odd minutes. ValueError for bytes that are damaged.

        Parts of another version of the code of numbers are left: the rate is learned anew, and nothing else is lost by that.
        """
        if parts and parts[0] == SERIES_VERSION:
            self.table.restore(RATE_ID, parts)
        self.odd = odd[-ODD_MINUTES_MAX:]


def _as_strong(other: OddMinute, odd: OddMinute) -> bool:
    if other.more != odd.more:
        return False
    return NEARLY * other.events >= odd.events if odd.more else other.events <= NEARLY * odd.events
