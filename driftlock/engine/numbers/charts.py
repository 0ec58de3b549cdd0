"""The series of a metrics stream for people: which there are, and what some of them said, beside what was expected of it.

Charts are made anew of the points that the journal still holds: the same kernels read them as in detection, with no past before
the first of them, so what is expected of the first `LEARNING_POINTS` is wide.
"""

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from cbad_cy.points import ROLES, Points, Taken
from cbad_cy.series import LEARNING_POINTS, SeriesTable
from driftlock.engine.canonical import shown_name
from driftlock.engine.event import RecordBatch, StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.numbers.columns import series_named, series_number
from driftlock.engine.numbers.level import alarm_level
from driftlock.engine.numbers.state import restore_numbers
from driftlock.engine.profile import Profile

OMITTED_MAX = 1000
"""So many series that are not charted are counted."""


class SeriesId(NamedTuple):
    """What tells a series from others of its stream: the name as it is shown, the instance, and the number of both."""

    name: str
    instance: str
    number: int


@dataclass(frozen=True, slots=True)
class KnownSeries:
    """A series. `last_ns` is the event time of its newest point, 0 = none; `learned`: new points are comparable by now."""

    of: SeriesId
    points: int
    last_ns: int

    @property
    def learned(self) -> bool:
        """Whether enough points have come."""
        return self.points >= LEARNING_POINTS


class Latest(NamedTuple):
    """The newest point of a series that was read: event time in ns, and its number as sent (None: it is no single one)."""

    of: SeriesId
    time_ns: int
    value: float | None


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """One or more consecutive points; `time_ns` and `expected` are those of the first, `least` to `most` holds their values.

    `low` to `high` holds what was expected of all; the three are None where nothing was expected. `alarm`: one of them alarmed.
    """

    time_ns: int
    points: int
    least: float
    most: float
    last: float
    expected: float | None
    low: float | None
    high: float | None
    alarm: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """What a series says: `role` "" its values, else "rate", "mean", a quantile .. (see `cbad_cy.points`)."""

    of: SeriesId
    role: str
    points: int
    learning_points: int
    spans: tuple[ChartPoint, ...]


def series_id(instance: str, identity: str) -> SeriesId:
    """The series that an identity of a record names."""
    return SeriesId(shown_name(identity), instance, series_number(instance, identity))


def known_series(state: bytes, key: StreamKey, limits: Limits) -> dict[int, KnownSeries]:
    """The series in the stored state of a metrics stream, by number; raises as `restore_numbers` does."""
    entries = restore_numbers(state, key, 0, limits).memory.directory.entries
    found = {}
    for number, entry in entries.items():
        of = SeriesId(shown_name(entry.name), entry.instance, number)
        found[number] = KnownSeries(of, max(entry.points, entry.left.points), max(entry.looked_ns, entry.left.last_ns))
    return found


class Newest:
    """The newest point of each series, from rows that come newest first, and how many were read; of `series_max` series."""

    def __init__(self, series_max: int) -> None:
        self._series_max = series_max
        self.found: dict[int, Latest] = {}
        self.points: Counter[int] = Counter()

    def take(self, batch: RecordBatch, received_ns: int) -> None:
        """Take a row that came before all that were taken."""
        seen: dict[tuple[int, int], int] = {}
        for record in range(len(batch) - 1, -1, -1):
            pair = _pair(batch, record)
            number = seen.get(pair)
            if number is None:
                number = seen[pair] = self._newest(batch, record, received_ns)
            if number:
                self.points[number] += 1

    def _newest(self, batch: RecordBatch, record: int, received_ns: int) -> int:
        """The number of the series of a row's newest point of it; 0 where there is no room."""
        of = series_id(*series_named(batch, record))
        if of.number not in self.found:
            if len(self.found) >= self._series_max:
                return 0
            value = batch.values[record] if batch.values else math.nan
            latest = value if math.isfinite(value) else None
            self.found[of.number] = Latest(of, batch.times_ns[record] or received_ns, latest)
        return of.number


@dataclass(slots=True)
class _Part:
    """Points of one row as `cbad_cy.points.Points.take` reads them."""

    series: "array[int]" = field(default_factory=lambda: array("Q"))
    times_ns: "array[int]" = field(default_factory=lambda: array("Q"))
    starts_ns: "array[int]" = field(default_factory=lambda: array("Q"))
    kinds: bytearray = field(default_factory=bytearray)
    values: "array[float]" = field(default_factory=lambda: array("d"))
    counts: "array[float]" = field(default_factory=lambda: array("d"))
    sums: "array[float]" = field(default_factory=lambda: array("d"))
    shape_sizes: "array[int]" = field(default_factory=lambda: array("I"))
    shape_at: "array[float]" = field(default_factory=lambda: array("d"))
    shape: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, batch: RecordBatch, record: int, number: int, received_ns: int, shape_start: int) -> None:
        """Add a point."""
        self.series.append(number)
        self.times_ns.append(batch.times_ns[record] or received_ns)
        self.starts_ns.append(batch.starts_ns[record] if batch.starts_ns else 0)
        self.kinds.append(batch.point_kinds[record] if batch.point_kinds else 0)
        self.values.append(batch.values[record] if batch.values else math.nan)
        self.counts.append(batch.counts[record] if batch.counts else math.nan)
        self.sums.append(batch.sums[record] if batch.sums else math.nan)
        size = batch.shape_sizes[record] if batch.shape_sizes else 0
        self.shape_sizes.append(size)
        self.shape_at.extend(batch.shape_at[shape_start : shape_start + size])
        self.shape.extend(batch.shape[shape_start : shape_start + size])

    def fed(self, points: Points) -> Taken:
        """What the points say as plain numbers."""
        return points.take(
            self.series,
            self.times_ns,
            self.starts_ns,
            bytes(self.kinds),
            self.values,
            self.counts,
            self.sums,
            self.shape_sizes,
            self.shape_at,
            self.shape,
        )


class ChartPoints:
    """The points of the series that are called `name`, from rows in any one order; at most `series_max` series and so on.

    `instance` None: of all instances. `omitted_series`: there are more of that name.
    """

    def __init__(self, name: str, instance: str | None, *, series_max: int, points_max: int) -> None:
        self._name, self._instance = name, instance
        self._series_max, self._points_max = series_max, points_max
        self._parts: list[_Part] = []
        self._points = 0
        self.series: dict[int, SeriesId] = {}
        self.omitted: set[SeriesId] = set()

    def take(self, batch: RecordBatch, received_ns: int) -> bool:
        """Take a row; -> whether there is room for more."""
        wanted = {number for number, identity in enumerate(batch.series, 1) if shown_name(identity) == self._name}
        if not wanted:
            return True
        part, numbers = _Part(), dict[tuple[int, int], int]()
        starts = [0, *accumulate(batch.shape_sizes)] if batch.shape_sizes else []
        for record, name in enumerate(batch.series_index):
            if name not in wanted:
                continue
            pair = _pair(batch, record)
            if pair not in numbers:
                numbers[pair] = self._number(series_id(*series_named(batch, record)))
            if numbers[pair]:
                part.add(batch, record, numbers[pair], received_ns, starts[record] if starts else 0)
        self._parts.append(part)
        self._points += len(part.series)
        return self._points < self._points_max

    def _number(self, of: SeriesId) -> int:
        """The number of a series that is charted; 0 for one that is not."""
        if self._instance is not None and of.instance != self._instance:
            return 0
        if of.number not in self.series and len(self.series) >= self._series_max:
            if len(self.omitted) < OMITTED_MAX:
                self.omitted.add(of)
            return 0
        self.series[of.number] = of
        return of.number

    def charts(
        self, profile: Profile, *, newest_first: bool, since_ns: int, until_ns: int, spans_max: int
    ) -> tuple[Chart, ...]:
        """The charts of points from `since_ns` on and before `until_ns` (event times), by name, instance and role.

        `newest_first` says how rows were taken. All points are learned from, also those that are not shown. Of more than
        `spans_max` points of a chart, so many consecutive ones are told as one that at most `spans_max` are left.
        """
        points = Points(series_max=max(1, len(self.series)))
        table = SeriesTable(
            series_max=max(1, len(self.series) * len(ROLES)), alarm_level=alarm_level(profile.p_value_threshold)
        )
        seen: dict[tuple[SeriesId, int], list[ChartPoint]] = {}
        counts: dict[tuple[SeriesId, int], int] = {}
        for part in reversed(self._parts) if newest_first else self._parts:
            taken = part.fed(points)
            fed = table.feed(taken.series, taken.times_ns, taken.values, watch=True)
            alarmed = {alarm.index for alarm in fed.alarms}
            for at, record in enumerate(taken.record):
                if fed.status[at]:
                    continue
                of = self.series[part.series[record]], taken.part[at]
                counts[of] = counts.get(of, 0) + 1
                if since_ns <= taken.times_ns[at] < until_ns:
                    value = taken.values[at]
                    expected = _finite(fed.expected[at]), _finite(fed.low[at]), _finite(fed.high[at])
                    point = ChartPoint(taken.times_ns[at], 1, value, value, value, *expected, at in alarmed)
                    seen.setdefault(of, []).append(point)
        return tuple(
            Chart(of, ROLES[role], counts[of, role], LEARNING_POINTS, thinned(found, spans_max))
            for (of, role), found in sorted(seen.items(), key=lambda it: it[0])
        )


def thinned(points: Sequence[ChartPoint], spans_max: int) -> tuple[ChartPoint, ...]:
    """At most `spans_max`: so many consecutive points become one as that takes; extremes and alarms are kept."""
    each = -(-len(points) // spans_max)
    if each <= 1:
        return tuple(points)
    return tuple(_merged(points[at : at + each]) for at in range(0, len(points), each))


def _merged(points: Sequence[ChartPoint]) -> ChartPoint:
    first = points[0]
    return ChartPoint(
        first.time_ns,
        len(points),
        min(point.least for point in points),
        max(point.most for point in points),
        points[-1].last,
        first.expected,
        min((point.low for point in points if point.low is not None), default=None),
        max((point.high for point in points if point.high is not None), default=None),
        any(point.alarm for point in points),
    )


def listed(known: Mapping[int, KnownSeries], newest: Newest) -> list[tuple[KnownSeries, Latest | None]]:
    """All series by name, instance and number, with their newest points where they were read.

    Of a series that is not known yet those points are counted that were read.
    """
    found = []
    for number in known.keys() | newest.found.keys():
        latest, series = newest.found.get(number), known.get(number)
        if latest is not None and (series is None or latest.time_ns > series.last_ns):
            of, points = (latest.of, newest.points[number]) if series is None else (series.of, series.points)
            series = KnownSeries(of, points, latest.time_ns)
        if series is not None:
            found.append((series, latest))
    return sorted(found, key=lambda it: it[0].of)


def _pair(batch: RecordBatch, record: int) -> tuple[int, int]:
    instance = batch.instance_index[record] if batch.instance_index else 0
    return instance, batch.series_index[record] if batch.series_index else 0


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
