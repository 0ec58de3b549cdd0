# cython: autotestdict=False
"""Numbers that are unlike their past: a universal predictive code for metric series.

Nothing is asked of a series: no training, no season, no threshold. Each point is coded, then learned.

- The point code: bits of the value under a mixture of ten predictive densities (the last value, three moving averages, a
  trend, the same quarter of an hour of the day, the same hour of the week, the last value and the day's usual change, momentum,
  the long-run distribution), of which those that were right lately have most weight.
- The window code: bits of the newest 52 points, as a histogram, under the nearest of 32 histograms of earlier stretches.
- The record code: leaving everything that was ever seen, by how much, after how long.
- The slow channel: how far a point, and the mean of many, is from what the long past expects (its level, its daily course).
- The flatline code: bits of a run of equal values, under an adaptive code of repeats.

Surprises are turned into -log10 p by a decaying histogram of their own past with an exponential tail. Point, window and record
code together are the evidence; calibrated once more it is the published p-value, and with the age and the pace of the series
the alarm level. A shift, a spike such as there was none, and a flatline raise that level by themselves. Beside it the rank of a
single point alarms within a budget of its own.

Correctly rounded operations and integers only: the same numbers on every machine.
"""

from typing import Final, NamedTuple

cimport cython
from cpython cimport array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

import array
import math
import struct
import sys
import zlib

cdef extern from *:
    double NAN

cdef enum:
    LEARNING = 300
    GAP_POINTS = 30
    SERIES_MOST = 1048576

include "hash.pxi"
include "series_state.pxi"
include "series_numbers.pxi"
include "series_calibrator.pxi"
include "series_experts.pxi"
include "series_window.pxi"
include "series_past.pxi"
include "series_gaps.pxi"
include "series_point.pxi"
include "series_table.pxi"
include "series_feed.pxi"
include "series_parts.pxi"

ALARM_LEVEL: Final = 2.85
"""Level at which a point alarms unless another is asked for. Chosen for the Numenta Anomaly Benchmark, all series alike."""

RANK_LEVEL: Final[float] = POINT_BAR
"""Rank from which a single point alarms when the alarm level is `ALARM_LEVEL`; with another level, as much higher or lower."""

RANK_ALARMS_DAY: Final[float] = 1440.0 / POINT_MINUTES
"""Alarms of the point channel that a series earns on a day of event time."""

RANK_BURST: Final[int] = POINT_BURST
"""So many of them may come at once."""

SERIES_VERSION: Final[int] = PARTS_VERSION
"""Of the code of numbers: numbers of another version are not comparable, and its `parts` are refused."""

SERIES_BYTES: Final[int] = sizeof(Series)
"""Memory of one series."""

SERIES_MAX_MOST: Final = SERIES_MOST
"""Largest `series_max`: 8 GiB."""

CHART_POINTS: Final = WINDOW
"""Newest points that a chart shows."""

LEARNING_POINTS: Final = LEARNING
"""Points below which a series is still learning: its alarms are provisional."""

MISSING_POINTS_MIN: Final = GAP_POINTS
"""Points from which something can be said about a pause."""

MISSING_P_DAY: Final = 0.001
"""Share of days on which a series whose pauses stay as they are would be called missing."""

EXPERTS: Final[tuple[str, ...]] = ("last", "fast", "level", "slow", "trend", "day", "week", "day_change", "momentum", "range")
"""Who predicts: the last value; moving averages over about 3, 20 and 200 points; level and trend; the mean of the same quarter
of an hour of the day; of the same hour of the week (UTC); the last value and the usual change of the day's mean; the last
change again; the long-run distribution."""

CAUSES: Final[tuple[str, ...]] = ("value", "pattern", "range", "flatline", "shift", "point")
"""Why a point alarms, see `Alarm`."""


class Alarm(NamedTuple):
    """A point that alarms; `index` is its place in the arrays that were fed.

    `bits`: what its value cost under the mixture of experts, given the points before it. `p_value` (0, 1]: how rare what
    raised the alarm is in the series' own past; where the past has nothing as strong it is what the tail of a distribution
    fitted to it says. `score` [0.5, 1): by rank, see `Feed`.
    `surprise`: bits of all evidence together, without a bound: for ranking and for sums over series. `expected`, `low`,
    `high`: what was predicted before the point came, and the range in which about 99 % of points fall.
    `cause`: "value" (unlike what was predicted), "pattern" (the newest points together are unlike any stretch before),
    "range" (beyond all that was ever seen), "flatline" (it stands still for much longer than it ever did), "shift" (many
    points in a row are away from what the long past expects; told only if nothing else alarmed since that began). What the
    slow channel told has the long past's expectation, with the mixture of experts having gone along already. "point" (its
    rank alone is high: the first such point for a while, which the level did not tell, within RANK_ALARMS_DAY and RANK_BURST)
    has that expectation too; its p-value is that of its deviation or of its bits, whichever is rarer.
    `expert`: index into EXPERTS of the heaviest prediction before the point. `since_ns`: time of the first point of the run of
    surprising ones (or of equal ones: "flatline") that this point belongs to; its own time when it is the first. `points`: of the series, with this one.
    """

    index: int
    series: int
    time_ns: int
    value: float
    bits: float
    p_value: float
    score: float
    surprise: float
    expected: float
    low: float
    high: float
    cause: str
    expert: int
    since_ns: int
    points: int


class Feed(NamedTuple):
    """What came of a batch. `status`: a byte for each point: 0 taken, 1 duplicate, 2 late, 3 not finite.

    The arrays have an entry for each point with `watch=True` (NaN where the point was not taken) and are empty without.
    `bits`, `expected`, `low`, `high` as in `Alarm`; `p_value` (0, 1]: how rare as much evidence is in the series' own past (a
    share of it, beyond its tail an extrapolation); `level` is the alarm level that the point reached (0 or more; it alarms at
    `SeriesTable.alarm_level` unless the series alarmed shortly before). `rank` orders single points, also of different
    series: how far the point is from what the long past expects and how costly it was, in doublings, less the pace of the
    series; unbounded, may be below 0. `score` [0, 1) is that order with the decision in it: with d = rank - bar, where the bar
    is as much above RANK_LEVEL as the alarm level is above ALARM_LEVEL, and x = d / (|d| + 3), it is (1 + x) / 4, and 0.5 more
    where the point alarms. So it is at least 0.5 exactly where there is an alarm, for whatever cause.
    """

    alarms: list[Alarm]
    status: bytes
    bits: array.array
    p_value: array.array
    score: array.array
    expected: array.array
    low: array.array
    high: array.array
    level: array.array
    rank: array.array


class Chart(NamedTuple):
    """The newest points of a series (at most CHART_POINTS), oldest first, each with what was predicted before it came."""

    times_ns: array.array
    values: array.array
    expected: array.array
    low: array.array
    high: array.array


cdef array.array DOUBLES = array.array("d")
cdef array.array TIMES = array.array("Q")


cdef int check_batch(array.array series, array.array times_ns, array.array values) except -1:
    """ValueError unless these are points."""
    if series.typecode != "Q" or times_ns.typecode != "Q" or values.typecode != "d":
        raise ValueError(
            f"arrays of type '{series.typecode}', '{times_ns.typecode}', '{values.typecode}' are not points; give 'Q', 'Q', 'd'")
    if not len(series) == len(times_ns) == len(values):
        raise ValueError(f"{len(series)} series, {len(times_ns)} times and {len(values)} values; give one of each for a point")
    return 0


cdef object alarm_of(const Found* found, const Batch* b, double alarm_level):
    cdef const Judged* j = &found.judged
    return Alarm(
        found.index, b.ids[found.index], b.times_ns[found.index], b.values[found.index], j.bits, p_of(j.tail_told),
        score_of(j, alarm_level), LOG2_10 * j.evidence_told, j.expected, j.low, j.high, CAUSES[j.cause], j.expert, j.since_ns, j.points)


@cython.final
cdef class SeriesTable:
    """Numeric pasts of many series, `SERIES_BYTES` each. Ids are 64-bit numbers, never 0. Not thread safe.

    `alarm_level` (> 0, finite) is the level at which a point alarms; it can be set at any time (see `RANK_LEVEL`).
    Raises ValueError for a `series_max` outside 1..SERIES_MAX_MOST.

    >>> from array import array
    >>> table = SeriesTable(series_max=10)
    >>> minutes = array("Q", range(0, 2000 * 60 * 10**9, 60 * 10**9))
    >>> values = array("d", [20 + minute % 7 for minute in range(2000)])
    >>> values[1800] = 90
    >>> fed = table.feed(array("Q", [7]) * 2000, minutes, values)
    >>> [(alarm.index, alarm.series, alarm.cause, alarm.p_value < 0.001) for alarm in fed.alarms]
    [(1800, 7, 'value', True)]
    """

    cdef readonly int series_max
    cdef double level
    cdef Table table

    def __cinit__(self, *, int series_max, double alarm_level=2.85):
        if not 1 <= series_max <= SERIES_MOST:
            raise ValueError(f"{series_max} series do not fit; keep 1 <= series_max <= {SERIES_MOST}")
        self.series_max = series_max
        self.alarm_level = alarm_level
        if table_begin(&self.table, 16):
            raise MemoryError("no room for a table of series")

    def __dealloc__(self):
        table_end(&self.table)

    def __reduce__(self):
        raise TypeError("a SeriesTable can not be pickled; keep the parts of its series and restore them")

    @property
    def alarm_level(self) -> float:
        """Level at which a point alarms."""
        return self.level

    @alarm_level.setter
    def alarm_level(self, double alarm_level):
        if not 0.0 < alarm_level < math.inf:
            raise ValueError(f"alarm level {alarm_level} is not a level; give a finite number above 0")
        self.level = alarm_level

    def __len__(self) -> int:
        return self.table.count

    def __contains__(self, uint64_t series) -> bool:
        return series != 0 and table_cell(&self.table, series).id != 0

    cdef Series* known(self, uint64_t series) except NULL:
        cdef Series* state = table_cell(&self.table, series).state if series != 0 else NULL
        if state == NULL:
            raise KeyError(series)
        return state

    def feed(self, array.array series, array.array times_ns, array.array values, *, bint watch=False) -> Feed:
        """Judge and learn points in their order of arrival; arrays of type 'Q', 'Q', 'd' and equal length.

        How points are cut into batches changes nothing. Of each series only ascending times are learned: an equal time is a
        duplicate, a lower one late. ValueError, before anything is learned, for series 0 and when the new series would be
        more than `series_max` in all: drop others first (see `ids`).
        """
        cdef Batch b
        cdef int refused, k
        cdef Py_ssize_t i
        check_batch(series, times_ns, values)
        memset(&b, 0, sizeof(b))
        b.ids, b.times_ns = <const uint64_t*>series.data.as_ulonglongs, <const uint64_t*>times_ns.data.as_ulonglongs
        b.values = values.data.as_doubles
        b.count = len(series)
        status = PyBytes_FromStringAndSize(NULL, b.count)
        b.status = <unsigned char*>PyBytes_AS_STRING(status)
        watched = [array.clone(DOUBLES, b.count if watch else 0, zero=False) for k in range(WATCHED)]
        if watch:
            for k in range(WATCHED):
                b.watched[k] = (<array.array>watched[k]).data.as_doubles
        try:
            b.states = <Series**>malloc((b.count + 1) * sizeof(Series*))
            b.found = <Found*>malloc(alarms_at_most(b.count, self.series_max) * sizeof(Found))
            if b.states == NULL or b.found == NULL:
                raise MemoryError("no room for a batch of points")
            with nogil:
                refused = make_room(&self.table, &b, self.series_max)
            if refused == NO_SERIES:
                raise ValueError("series 0 is no series; give ids from 1 up")
            if refused == TOO_MANY:
                raise ValueError(f"more than {self.series_max} series; drop those that were longest unseen before new ones")
            if refused:
                raise MemoryError("no room for new series")
            with nogil:
                run(&b, self.level)
            alarms = [alarm_of(&b.found[i], &b, self.level) for i in range(b.found_count)]
        finally:
            free(b.states)
            free(b.found)
        return Feed(alarms, status, *watched)

    def step_ns(self, uint64_t series) -> int:
        """Its usual distance between two points, ns; 0 before the second one. KeyError: unknown."""
        return round(self.known(series).step_s * 1e9)

    def due_ns(self, uint64_t series) -> int:
        """Event time from which it is improbable that no further point came; 0: nothing can be said. KeyError: unknown.

        By the pauses of this series itself: the share of them that last as long falls below MISSING_P_DAY / (its points a
        day, so a series whose pauses stay as they are is called missing on fewer than one day in a thousand. After an outage
        it may pause as long again; that is what up to eight pauses are that the others do not explain. It needs
        MISSING_POINTS_MIN points. The answer holds until its next point.
        """
        cdef Series* s = self.known(series)
        cdef double gap = longest_gap(s, MISSING_P_DAY)
        due = s.last_ns + math.ceil(gap * 1e9)
        return due if gap > 0.0 and due < 1 << 63 else 0

    def gap_p_value(self, uint64_t series, uint64_t gap_ns) -> float:
        """Share of its pauses, outages too, that last at least `gap_ns`, (0, 1]; 1.0 below MISSING_POINTS_MIN points.

        KeyError: unknown.
        """
        return share_of_gaps(self.known(series), gap_ns * 1e-9)

    def ids(self) -> array.array:
        """All series, the one whose last point is oldest first: the order in which to make room."""
        cdef size_t i
        found = []
        for i in range(self.table.mask + 1):
            if self.table.cells[i].id != 0:
                found.append((self.table.cells[i].state.last_ns, self.table.cells[i].id))
        found.sort()
        return array.array("Q", [series for _, series in found])

    def last_ns(self, uint64_t series) -> int:
        """Time of its newest point. KeyError: unknown."""
        return self.known(series).last_ns

    def points(self, uint64_t series) -> int:
        """How many points were learned; below LEARNING_POINTS it is still learning. KeyError: unknown."""
        return self.known(series).points

    cdef object charted(self, const Series* s, int later, time_ns):
        """All points in memory but the newest `later`; the last one shown is at `time_ns`."""
        cdef int fill = fill_of(s) - later, k, place
        cdef double expected, reach
        columns = [array.clone(TIMES, fill, zero=False), *[array.clone(DOUBLES, fill, zero=False) for k in range(4)]]
        times_ns, values, means, lows, highs = columns
        for k in range(fill - 1, -1, -1):
            place = <int>((s.points - later - fill + k) % WINDOW)
            expected = s.values[place] + signed_long_of(s.ahead[place])
            reach = long_of(s.reach[place])
            times_ns[k] = time_ns
            time_ns = max(time_ns - round(s.gaps_s[place] * 1e9), 0)
            values[k] = s.values[place]
            means[k] = expected
            lows[k] = smallest(largest(expected - reach, 0.0), expected) if s.low >= 0.0 else expected - reach
            highs[k] = expected + reach
        return Chart(*columns)

    def chart(self, uint64_t series) -> Chart:
        """Its newest points beside what was predicted. KeyError: unknown."""
        cdef Series* s = self.known(series)
        return self.charted(s, 0, s.last_ns)

    def chart_of(self, alarm: Alarm) -> Chart:
        """The same up to the point that alarmed: of the newest CHART_POINTS those that are not later.

        Times are counted back from that of the alarm, so nothing that was learned since moves them. KeyError: unknown.
        ValueError: CHART_POINTS or more were learned since.
        """
        cdef Series* s = self.known(alarm.series)
        later = s.points - alarm.points
        if not 0 <= later < fill_of(s):
            raise ValueError(f"{later} points were learned after this alarm; ask for its chart before {CHART_POINTS} are")
        return self.charted(s, later, alarm.time_ns)

    def parts(self, uint64_t series) -> bytes:
        """All that is known of it: equal pasts give equal bytes, the first is SERIES_VERSION. KeyError: unknown."""
        return packed(self.known(series))

    def restore(self, uint64_t series, bytes parts) -> None:
        """Put back what `parts` gave, in place of what is known of this series.

        ValueError for bytes that are damaged or of another version, for series 0 and beyond `series_max`; nothing changes.
        """
        cdef Series* state
        cdef Series fresh
        if series == 0:
            raise ValueError("series 0 is no series; give ids from 1 up")
        memset(&fresh, 0, sizeof(fresh))
        unpack(&fresh, parts)
        state = table_cell(&self.table, series).state
        if state == NULL:
            if self.table.count >= <size_t>self.series_max:
                raise ValueError(f"more than {self.series_max} series; drop those that were longest unseen before new ones")
            state = table_add(&self.table, series)
            if state == NULL:
                raise MemoryError("no room for another series")
        fresh.id = series
        state[0] = fresh

    def drop(self, uint64_t series) -> None:
        """Forget it. KeyError: unknown."""
        self.known(series)
        table_drop(&self.table, series)
