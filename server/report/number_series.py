"""Numbers of many series beside what was expected of them, thinned to what a picture can show. Peaks and alarms are kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from server.report.thinned import Thinned

POINTS_MAX = 400
SERIES_KEPT_MAX = 200
SERIES_DRAWN_MAX = 20


class Span(NamedTuple):
    """One or more consecutive points of a series.

    The time of the first in ns; the smallest and the largest of their values; what was expected of the first; the range in
    which they were expected; the value that alarmed first, None if none did.
    """

    time_ns: int
    least: float
    most: float
    expected: float
    low: float
    high: float
    alarm: float | None


def merged(first: Span, second: Span) -> Span:
    """Two neighbours as one.

    >>> merged(Span(1, 5.0, 5.0, 5.5, 4.0, 7.0, None), Span(2, 9.0, 9.0, 5.0, 3.0, 6.0, 9.0))
    Span(time_ns=1, least=5.0, most=9.0, expected=5.5, low=3.0, high=7.0, alarm=9.0)
    """
    return Span(
        first.time_ns,
        min(first.least, second.least),
        max(first.most, second.most),
        first.expected,
        min(first.low, second.low),
        max(first.high, second.high),
        second.alarm if first.alarm is None else first.alarm,
    )


@dataclass(slots=True)
class NumberSeries:
    """A series: its name, its points in at most 2 `points_max` spans, its alarms, and the surprise of the strongest in bits."""

    name: str
    points_max: int = POINTS_MAX
    alarms: int = 0
    surprise: float = 0.0
    _thinned: Thinned[Span] = field(init=False)

    def __post_init__(self) -> None:
        self._thinned = Thinned(self.points_max, merged)

    @property
    def spans(self) -> list[Span]:
        """What is shown, in the order of the points."""
        return self._thinned.items

    def add(self, time_ns: int, value: float, expected: float, low: float, high: float, surprise: float | None) -> None:
        """Add a point; `surprise` is that of its alarm, None if it did not alarm."""
        self._thinned.add(Span(time_ns, value, value, expected, low, high, None if surprise is None else value))
        if surprise is not None:
            self.alarms += 1
            self.surprise = max(self.surprise, surprise)


class NumberCharts:
    """The series of a run: the first `kept_max` that come, of which `drawn_max` are drawn. Others are only counted."""

    def __init__(self, kept_max: int = SERIES_KEPT_MAX, drawn_max: int = SERIES_DRAWN_MAX) -> None:
        self._kept: list[NumberSeries] = []
        self._kept_max, self._drawn_max = kept_max, drawn_max
        self._series = 0

    def next(self, name: str) -> NumberSeries | None:
        """The place for the points of one more series; None when it will not be drawn."""
        self._series += 1
        if len(self._kept) == self._kept_max:
            return None
        self._kept.append(NumberSeries(name))
        return self._kept[-1]

    @property
    def drawn(self) -> list[NumberSeries]:
        """Those with the strongest alarms, of equal ones the first, in the order in which they came."""
        ranked = sorted(range(len(self._kept)), key=lambda place: (-self._kept[place].surprise, place))
        return [self._kept[place] for place in sorted(ranked[: self._drawn_max])]

    @property
    def note(self) -> str:
        """What is not drawn, in words; empty when all is."""
        drawn = min(self._drawn_max, len(self._kept))
        if self._series <= drawn:
            return ""
        those = "those with the strongest alarms"
        if self._series > len(self._kept):
            those += f" among the first {len(self._kept):,}"
        return f"{drawn:,} of {self._series:,} series are drawn, {those}; give fewer series to see others"


def extremes(spans: Sequence[Span]) -> tuple[float, float, float, float]:
    """The smallest and the largest value, and the ends of what was expected less the widest 2 % (at first all is expected)."""
    lows, highs = sorted(span.low for span in spans), sorted(span.high for span in spans)
    widest = len(spans) // 50
    return min(span.least for span in spans), max(span.most for span in spans), lows[widest], highs[-1 - widest]
