"""The scorer of the Numenta Anomaly Benchmark, rule for rule (Lavin & Ahmad 2015; NAB 1.1's sweeper, optimizer and runner).

A point counts as detected when its score is at least the threshold. In a labelled window only the earliest detected point
counts, the more the earlier it is; a window without one costs its weight; every detected point outside costs, less just after
a window. The first 15 % of a series, at most 750 points, do not count. One threshold for the whole corpus and profile, the
one that these labels like best: that is NAB's rule (`best`). `at_threshold` scores a threshold that saw no label. 100 is all
windows found at once, 0 is what a detector gets that never alarms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
PROBATION_SHARE = 0.15
PROBATION_POINTS_OF = 5000  # longer series have the probation of this many points
STEEPNESS = 5.0
FAR_BEHIND_WINDOWS = 3.0


@dataclass(frozen=True, slots=True)
class Profile:
    """Weights of a window found at its first point, of a missed window, and of a false point far from any window."""

    found: float
    missed: float
    false: float


PROFILES: Mapping[str, Profile] = {
    "standard": Profile(1.0, 1.0, 0.11),
    "reward_low_FP_rate": Profile(1.0, 1.0, 0.22),
    "reward_low_FN_rate": Profile(1.0, 2.0, 0.11),
}


@dataclass(frozen=True, slots=True)
class Series:
    """One series: times in file order (duplicates allowed), and its windows as (first, last) times that occur among them."""

    name: str
    times: Integers
    windows: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Result:
    """What a threshold is worth: normalised score, its raw value, windows found of all, false points, points inside found."""

    score: float
    raw: float
    threshold: float
    windows_found: int
    windows: int
    false_points: int


def probation(points: int) -> int:
    """How many of the first points do not count.

    >>> probation(1000), probation(20000)
    (150, 750)
    """
    return int(min(np.floor(PROBATION_SHARE * points), PROBATION_SHARE * PROBATION_POINTS_OF))


def position_value(position: Floats) -> Floats:
    """From +.987 at a window's first point (-1) over 0 at its end to -.987 a window later (1), -1 from three windows on."""
    bounded = np.clip(position, -FAR_BEHIND_WINDOWS, FAR_BEHIND_WINDOWS)
    return np.where(position > FAR_BEHIND_WINDOWS, -1.0, 2.0 / (1.0 + np.exp(STEEPNESS * bounded)) - 1.0)


def point_values(series: Series) -> tuple[Floats, Integers]:
    """What each point adds when it is detected, unweighted, and the number of its window (-1 outside).

    In a window values are scaled to 1 at the first point. Windows begin and end at the first point of the time named; distance
    past a window is measured in widths of that window.
    """
    count = len(series.times)
    values, members = np.full(count, -1.0), np.full(count, -1, dtype=np.int64)
    places = np.arange(count)
    for number, (first, last) in enumerate(sorted(series.windows)):
        begin, end = _place(series, first), _place(series, last)
        if begin >= end:
            raise ValueError(f"{series.name}: a window needs two points at least")
        inside = slice(begin, end + 1)
        values[inside] = position_value(-(end - places[inside] + 1) / (end - begin + 1.0)) / position_value(np.array([-1.0]))[0]
        members[inside] = number
        values[end + 1 :] = position_value((places[end + 1 :] - end) / float(end - begin))
        members[end + 1 :] = -1
    return values, members


def _place(series: Series, time: int) -> int:
    found = np.flatnonzero(series.times == time)
    if not len(found):
        raise ValueError(f"{series.name}: a window is bounded by {time}, when there is no point")
    return int(found[0])


class Corpus:
    """All series with their windows: scores of a detector's points in, results out."""

    def __init__(self, series: Sequence[Series]) -> None:
        self._series = tuple(series)
        values, members, counts, windows = [], [], [], 0
        for one in self._series:
            value, member = point_values(one)
            count = np.arange(len(value)) >= probation(len(value))
            values.append(value)
            members.append(np.where(member >= 0, member + windows, -1))
            counts.append(count)
            windows += len(one.windows)
        self._counts = np.concatenate(counts)
        self._values = np.concatenate(values)[self._counts]
        self._members = np.concatenate(members)[self._counts]
        if not windows:
            raise ValueError("a corpus needs a window: without one nothing can be found")
        self._windows = windows
        self._reachable = len(np.unique(self._members[self._members >= 0]))  # windows with a point after the probation

    @property
    def windows(self) -> int:
        """How many windows there are."""
        return self._windows

    def _joined(self, scores: Sequence[Floats]) -> Floats:
        if [len(one) for one in scores] != [len(one.times) for one in self._series]:
            raise ValueError("every series needs one score for each of its points, in the order of the series")
        joined = np.concatenate([np.asarray(one, dtype=np.float64) for one in scores])
        if not np.all(np.isfinite(joined)):
            raise ValueError("scores have to be finite")
        return joined[self._counts]

    def _gains(self, order: Integers, profile: Profile) -> tuple[Floats, NDArray[np.bool_]]:
        """What each point adds when points are detected in this order, and whether it is the first of its window."""
        values, members = self._values[order], self._members[order]
        gains = values * profile.false
        first = np.zeros(len(order), dtype=bool)
        inside = np.flatnonzero(members >= 0)
        inside = inside[np.argsort(members[inside], kind="stable")]  # by window, in this order within
        if not len(inside):
            return gains, first
        for places in np.split(inside, np.flatnonzero(np.diff(members[inside])) + 1):
            best = np.maximum.accumulate(values[places] * profile.found)
            gains[places] = np.diff(best, prepend=-profile.missed)
            first[places[0]] = True
        return gains, first

    def sweep(self, scores: Sequence[Floats], profile: Profile) -> list[Result]:
        """Results at every threshold that makes a difference, from the highest (nothing detected) down."""
        joined = self._joined(scores)
        order = np.argsort(-joined, kind="stable")
        gains, first = self._gains(order, profile)
        ends = np.flatnonzero(np.append(joined[order][1:] != joined[order][:-1], True))
        none = -profile.missed * self._reachable
        raw = none + np.cumsum(gains)[ends]
        found, false = np.cumsum(first)[ends], np.cumsum(self._members[order] < 0)[ends]
        rows = [self._result(none, np.inf, 0, 0, profile)]
        return rows + [
            self._result(*row, profile)
            for row in zip(raw.tolist(), joined[order][ends].tolist(), found.tolist(), false.tolist(), strict=True)
        ]

    def _result(self, raw: float, threshold: float, found: int, false: int, profile: Profile) -> Result:
        none, perfect = -profile.missed * self._reachable, profile.found * self._windows
        return Result(100 * (raw - none) / (perfect - none), raw, threshold, found, self._windows, false)

    def best(self, scores: Sequence[Floats], profile: Profile) -> Result:
        """NAB's own figure: the threshold that these labels like best; of equal ones the highest."""
        return max(self.sweep(scores, profile), key=lambda result: result.score)

    def at_threshold(self, scores: Sequence[Floats], threshold: float, profile: Profile) -> Result:
        """The figure of a threshold given in advance: points with at least this score are detected."""
        joined = self._joined(scores)
        order = np.flatnonzero(joined >= threshold)
        gains, first = self._gains(order, profile)
        none = -profile.missed * self._reachable
        false = int(np.count_nonzero(self._members[order] < 0))
        return self._result(none + float(gains.sum()), threshold, int(first.sum()), false, profile)
