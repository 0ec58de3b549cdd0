# cython: autotestdict=False
"""What metric points say as plain numbers; see the .pyi for what becomes of each kind, and for the sources.

The state of a series is its newest point. All arithmetic is + - * / on doubles and exact scaling, so equal points give equal
numbers on every machine.
"""

import struct
from typing import NamedTuple, Final

cimport cython
from cpython cimport array
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.float cimport DBL_MAX
from libc.math cimport NAN, frexp
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove, memset

import array

cdef enum:
    KEPT = 140
    QUANTILES = 5
    SHAPE_POINTS = 10
    SLACK = 1000000000
    MOST = 1 << 20
    NONE = 255          # kind of a series without points
    STORED_VERSION = 1
    ROLES_COUNT = 18

cdef enum:              # kinds of points
    GAUGE = 0
    DELTA = 1
    CUMULATIVE = 2
    CHANGE = 3
    HISTOGRAM_DELTA = 4
    HISTOGRAM_CUMULATIVE = 5
    SUMMARY = 6
    ENDS = 7

cdef enum:              # status of a point
    IS_TAKEN = 0
    IS_FIRST = 1
    IS_DUPLICATE = 2
    IS_LATE = 3
    IS_NO_NUMBER = 4
    IS_STALE = 5

cdef enum:              # roles that kernels name
    VALUE = 0
    RATE = 1
    MEAN = 2
    P50 = 3
    P99 = 4
    SHAPE = 5
    NAMED = 6           # p0 ...
    PLACED = 13         # q1 ...

cdef enum:              # what a counter's point is measured from
    FROM_NOWHERE = 0
    FROM_BEFORE = 1
    FROM_START = 2

cdef double DECAY = 0.99
cdef double COUNT_MAX = 18446744073709551616.0  # 2^64
cdef double STORED_MAX = 1e37                 # sums of many such counts

ROLES: Final = (
    "", "rate", "mean", "p50", "p99", "shape", "p0", "p25", "p75", "p90", "p95", "p99.9", "p100", "q1", "q2", "q3", "q4", "q5")
SERIES_MAX_MOST: Final = 1048576
BUCKETS_KEPT: Final = 140
SUMMARY_QUANTILES_MAX: Final = 5
SHAPE_POINTS_MIN: Final = 10
SHAPE_DECAY: Final = 0.99
START_SLACK_NS: Final = 1000000000
TAKEN: Final = 0
FIRST: Final = 1
DUPLICATE: Final = 2
LATE: Final = 3
NOT_A_NUMBER: Final = 4
STALE: Final = 5

HEAD = struct.Struct("<HBBIQQdd")
SIZES = struct.Struct("<HHHH")
CHECK = struct.Struct("<Q")


cdef struct Buckets:
    int32_t size            # buckets of the point before, of a cumulative histogram
    int32_t past            # buckets of the past
    int32_t learned         # intervals that the past holds, at most SHAPE_POINTS - 1
    int32_t unused
    double at[KEPT]
    double counts[KEPT]
    double past_at[KEPT]
    float frequency[KEPT]

cdef struct Number:
    uint64_t series
    uint64_t last_ns        # time of the newest point
    uint64_t start_ns       # its start; 0 = none was ever given
    double value            # of a counter: its number; of histograms and summaries: the count
    double sum
    Buckets* buckets
    uint32_t told           # roles, a bit each
    uint8_t kind
    uint8_t based           # value, sum and buckets are those of the point before
    uint8_t seen            # last_ns is a time

cdef struct Point:
    uint64_t time_ns
    uint64_t start_ns
    double value
    double sum
    const double* at
    const double* shape
    size_t size
    int kind

cdef struct Out:
    uint32_t* record
    uint8_t* part
    uint64_t* series
    uint64_t* times_ns
    double* values
    size_t count
    uint32_t index          # of the point at hand

NUMBER_BYTES: Final = sizeof(Number)
HISTOGRAM_BYTES: Final = sizeof(Buckets)

include "hash.pxi"
include "logarithm.pxi"


class Taken(NamedTuple):
    """See the .pyi."""

    record: array.array
    part: bytes
    series: array.array
    times_ns: array.array
    values: array.array
    status: bytes


cdef inline uint64_t derived_of(uint64_t series, int role) noexcept nogil:
    """Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014: the finalizer of splitmix64."""
    cdef uint64_t z = series ^ (<uint64_t>(role + 1) * <uint64_t>0x9E3779B97F4A7C15)
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    z ^= z >> 31
    return z if z else 1


def derived_number(uint64_t series, int role):
    """See the .pyi.

    >>> derived_number(1, ROLES.index("rate")) != derived_number(1, ROLES.index("p99"))
    True
    """
    if not 0 <= role < ROLES_COUNT:
        raise IndexError(f"there is no role {role}; ROLES has {ROLES_COUNT}")
    return derived_of(series, role)


include "points_shape.pxi"
include "points_take.pxi"


@cython.final
cdef class Points:
    """See the .pyi."""

    cdef readonly uint32_t series_max
    cdef Number* numbers
    cdef uint32_t* table       # place in numbers, + 1; 0 = free
    cdef uint32_t count, room, mask

    def __cinit__(self, *, series_max):
        if not 1 <= series_max <= MOST:
            raise ValueError(f"series_max is {series_max}; choose one from 1 to {MOST}")
        self.series_max = series_max
        self.count = self.room = 0
        self.mask = 15
        self.table = <uint32_t*>calloc(16, sizeof(uint32_t))
        if self.table == NULL:
            raise MemoryError("no room for points")

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.count):
            free(self.numbers[i].buckets)
        free(self.numbers)
        free(self.table)

    def __reduce__(self):
        raise TypeError("Points can not be pickled; keep the parts of its series and restore them")

    def __len__(self):
        return self.count

    def __contains__(self, series):
        return 0 < series < 1 << 64 and self.place(series) >= 0

    # ---- table -----------------------------------------------------------------------------------------------------

    cdef int64_t place(self, uint64_t series) noexcept nogil:
        """Where the series stands in `numbers`; -1 = nowhere."""
        cdef uint32_t at = <uint32_t>stirred(series) & self.mask
        while self.table[at]:
            if self.numbers[self.table[at] - 1].series == series:
                return self.table[at] - 1
            at = (at + 1) & self.mask
        return -1

    cdef void note(self, uint32_t place) noexcept nogil:
        cdef uint32_t at = <uint32_t>stirred(self.numbers[place].series) & self.mask
        while self.table[at]:
            at = (at + 1) & self.mask
        self.table[at] = place + 1

    cdef int64_t add(self, uint64_t series) except -1:
        """A new series at the end of `numbers`. -> its place."""
        cdef uint32_t room, i
        cdef void* more
        if self.count == self.series_max:
            raise ValueError(f"there are {self.count} series already, which is the most; drop some first")
        if self.count == self.room:
            room = self.room * 2 if self.room else 8
            more = realloc(self.numbers, room * sizeof(Number))
            if more == NULL:
                raise MemoryError("no room for points")
            self.numbers = <Number*>more
            self.room = room
        if 2 * (self.count + 1) > self.mask:
            more = calloc(2 * (<size_t>self.mask + 1), sizeof(uint32_t))
            if more == NULL:
                raise MemoryError("no room for points")
            free(self.table)
            self.table = <uint32_t*>more
            self.mask = 2 * self.mask + 1
            for i in range(self.count):
                self.note(i)
        memset(&self.numbers[self.count], 0, sizeof(Number))
        self.numbers[self.count].series = series
        self.numbers[self.count].kind = NONE
        self.note(self.count)
        self.count += 1
        return self.count - 1

    cdef void remove(self, uint32_t place) noexcept nogil:
        """Forget a series; the last one takes its place."""
        cdef uint32_t at = <uint32_t>stirred(self.numbers[place].series) & self.mask, next_at, home
        free(self.numbers[place].buckets)
        while self.table[at] != place + 1:
            at = (at + 1) & self.mask
        next_at = at
        while True:  # close the gap, so that whoever stands behind it is found
            self.table[at] = 0
            while True:
                next_at = (next_at + 1) & self.mask
                if self.table[next_at] == 0:
                    break
                home = <uint32_t>stirred(self.numbers[self.table[next_at] - 1].series) & self.mask
                if ((next_at - home) & self.mask) >= ((next_at - at) & self.mask):
                    break
            if self.table[next_at] == 0:
                break
            self.table[at] = self.table[next_at]
            at = next_at
        self.count -= 1
        if place != self.count:
            at = <uint32_t>stirred(self.numbers[self.count].series) & self.mask
            while self.table[at] != self.count + 1:
                at = (at + 1) & self.mask
            self.table[at] = place + 1
            self.numbers[place] = self.numbers[self.count]

    cdef int admit(self, const uint64_t[::1] series, const uint8_t* kinds, uint32_t* places, size_t* told_most) except -1:
        """Find or begin the series of all points, all or none. Also counts the numbers that they can tell at most."""
        cdef uint32_t before = self.count
        cdef size_t i, most = 0
        cdef int64_t place
        cdef int kind
        try:
            for i in range(<size_t>series.shape[0]):
                place = self.place(series[i])
                if place < 0:
                    place = self.add(series[i])
                kind = kinds[i] if kinds != NULL else GAUGE
                places[i] = <uint32_t>place
                most += 5 if kind == HISTOGRAM_DELTA or kind == HISTOGRAM_CUMULATIVE else 2 + QUANTILES if kind == SUMMARY else 1
                if (kind == HISTOGRAM_DELTA or kind == HISTOGRAM_CUMULATIVE) and self.numbers[place].buckets == NULL:
                    self.numbers[place].buckets = <Buckets*>calloc(1, sizeof(Buckets))
                    if self.numbers[place].buckets == NULL:
                        raise MemoryError("no room for points")
        except BaseException:
            while self.count > before:
                self.remove(self.count - 1)
            raise
        told_most[0] = most
        return 0

    cdef Number* known(self, uint64_t series) except NULL:
        cdef int64_t place = self.place(series)
        if place < 0:
            raise KeyError(series)
        return &self.numbers[place]

    # ---- border ----------------------------------------------------------------------------------------------------

    def take(
        self, const uint64_t[::1] series, const uint64_t[::1] times_ns, const uint64_t[::1] starts_ns,
        const uint8_t[::1] kinds, const double[::1] values, const double[::1] counts, const double[::1] sums,
        const uint32_t[::1] shape_sizes, const double[::1] shape_at, const double[::1] shape,
    ):
        """See the .pyi."""
        cdef size_t points = series.shape[0], most = 0, i, shape_from = 0
        check_columns(points, series, times_ns, starts_ns, kinds, values, counts, sums, shape_sizes, shape_at, shape)
        cdef array.array places = array.array("I", bytes(4 * points))
        self.admit(series, &kinds[0] if kinds.shape[0] else NULL, places.data.as_uints, &most)
        cdef array.array record = array.clone(array.array("I"), most, False)
        cdef array.array part = array.clone(array.array("B"), most, False)
        cdef array.array told = array.clone(array.array("Q"), most, False)
        cdef array.array told_ns = array.clone(array.array("Q"), most, False)
        cdef array.array numbers = array.clone(array.array("d"), most, False)
        cdef array.array status = array.clone(array.array("B"), points, False)
        cdef Out out = Out(
            record.data.as_uints, part.data.as_uchars, <uint64_t*>told.data.as_voidptr, <uint64_t*>told_ns.data.as_voidptr,
            numbers.data.as_doubles, 0, 0)
        cdef Point p
        cdef uint8_t* said = status.data.as_uchars
        cdef uint32_t* place = places.data.as_uints
        with nogil:
            for i in range(points):
                p.kind = kinds[i] if kinds.shape[0] else GAUGE
                p.time_ns = times_ns[i]
                p.start_ns = starts_ns[i] if starts_ns.shape[0] else 0
                p.sum = sums[i] if sums.shape[0] else NAN
                p.value = values[i] if p.kind < HISTOGRAM_DELTA else counts[i] if counts.shape[0] else NAN
                p.size = shape_sizes[i] if shape_sizes.shape[0] else 0
                p.at = &shape_at[shape_from] if p.size else NULL
                p.shape = &shape[shape_from] if p.size else NULL
                shape_from += p.size
                out.index = <uint32_t>i
                said[i] = <uint8_t>take_point(&out, &self.numbers[place[i]], &p)
        array.resize(record, out.count)
        array.resize(part, out.count)
        array.resize(told, out.count)
        array.resize(told_ns, out.count)
        array.resize(numbers, out.count)
        return Taken(record, part.tobytes(), told, told_ns, numbers, status.tobytes())

    def derived(self, uint64_t series):
        """See the .pyi."""
        return tuple([derived_of(series, role) for role in self.roles(series)])

    def roles(self, uint64_t series):
        """See the .pyi."""
        cdef uint32_t told = self.known(series).told
        return tuple([role for role in range(ROLES_COUNT) if told >> role & 1])

    def last_ns(self, uint64_t series):
        """See the .pyi."""
        return self.known(series).last_ns

    def parts(self, uint64_t series):
        """See the .pyi."""
        return stored(self.known(series))

    def restore(self, uint64_t series, const uint8_t[::1] parts):
        """See the .pyi."""
        cdef Number read
        cdef int64_t place
        if not series:
            raise ValueError("0 is not the number of a series")
        memset(&read, 0, sizeof(Number))
        read.series = series
        try:
            parse(&read, parts)
            place = self.place(series)
            if place < 0:
                place = self.add(series)
        except BaseException:
            free(read.buckets)
            raise
        free(self.numbers[place].buckets)
        self.numbers[place] = read

    def drop(self, uint64_t series):
        """See the .pyi."""
        cdef int64_t place = self.place(series)
        if place < 0:
            raise KeyError(series)
        self.remove(<uint32_t>place)


cdef int check_columns(
    size_t points, const uint64_t[::1] series, const uint64_t[::1] times_ns, const uint64_t[::1] starts_ns,
    const uint8_t[::1] kinds, const double[::1] values, const double[::1] counts, const double[::1] sums,
    const uint32_t[::1] shape_sizes, const double[::1] shape_at, const double[::1] shape,
) except -1:
    """Refuse what the kernels would read past."""
    cdef size_t i, entries = 0, size
    if points > 0xFFFFFFFF:
        raise ValueError("a batch has at most 2**32 - 1 points; take it in pieces")
    if <size_t>times_ns.shape[0] != points or <size_t>values.shape[0] != points:
        raise ValueError(f"{points} series, {times_ns.shape[0]} times, {values.shape[0]} values; give one of each")
    for name, size in (
        ("starts_ns", starts_ns.shape[0]), ("kinds", kinds.shape[0]), ("counts", counts.shape[0]), ("sums", sums.shape[0]),
        ("shape_sizes", shape_sizes.shape[0]),
    ):
        if size and size != points:
            raise ValueError(f"{name} has {size} entries for {points} points; give one for each, or none")
    for i in range(<size_t>shape_sizes.shape[0]):
        entries += shape_sizes[i]
    if entries != <size_t>shape_at.shape[0] or entries != <size_t>shape.shape[0]:
        raise ValueError(f"shape_sizes add up to {entries}, but there are {shape_at.shape[0]} places and {shape.shape[0]} counts")
    for i in range(points):
        if not series[i]:
            raise ValueError(f"point {i} has the series 0, which is none")
    for i in range(<size_t>kinds.shape[0]):
        if kinds[i] > ENDS:
            raise ValueError(f"point {i} is of kind {kinds[i]}; the last known one is {ENDS}")
    return 0


include "points_parts.pxi"
