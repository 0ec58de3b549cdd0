"""The scores of a stream's windows, thinned to what a picture can show. Peaks are kept, however long the stream is."""

from collections.abc import Sequence
from math import log10
from typing import NamedTuple

from driftlock.engine.verdict import WindowScore
from server.report.thinned import Thinned

POINTS_MAX = 2000


class Point(NamedTuple):
    """One or more consecutive windows: the end of the first in ns, the largest distance and -log10 p, any flag."""

    time_ns: int
    ncd: float
    surprise: float
    flagged: bool


class ScoreSeries:
    """At most 2 `points_max` points: when there are more, neighbours become one, and so do all later windows."""

    def __init__(self, points_max: int = POINTS_MAX) -> None:
        self._thinned = Thinned(points_max, merged)

    @property
    def points(self) -> list[Point]:
        """What is shown, in the order of the windows."""
        return self._thinned.items

    def events(self, first_event: int, times_ns: Sequence[int], bits: Sequence[float]) -> None:
        """Events are not shown."""

    def window(self, score: WindowScore) -> None:
        """Add a window."""
        self._thinned.add(Point(score.end_ns, score.ncd, -log10(score.p_value), score.flagged))


def merged(first: Point, second: Point) -> Point:
    """Two neighbours as one.

    >>> merged(Point(1, 0.5, 0.0, False), Point(2, 0.25, 3.0, True))
    Point(time_ns=1, ncd=0.5, surprise=3.0, flagged=True)
    """
    return Point(
        first.time_ns, max(first.ncd, second.ncd), max(first.surprise, second.surprise), first.flagged or second.flagged
    )
