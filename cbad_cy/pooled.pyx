# cython: autotestdict=False
"""Weak evidence of many series, added up by resource and minute: what one series alone does not prove.

Each series has a level and a spread in the long run, learned from the means of its minutes. The mean of a minute that lies z
spreads off the level weighs 4 log10(1 + z/3) digits: -log10 of the tail of a density that falls off like z^-5, as errors of
forecasts do. A sum over the series of a resource takes of each what exceeds half a digit, so that usual noise adds nothing,
and three digits at most, so that one series that breaks loose does not drown the rest (a truncated and winsorised sum of
-log10 p; truncation as in Zaykin et al., "Truncated product method for combining P-values", Genetic Epidemiology 22, 2002).
What such a sum means for a resource is for its own past to say, for its series depend on one another.

A level that follows slowly, and not the newest values, because a fault that lasts is still news in its second minute.
Correctly rounded operations and integers only: the same numbers on every machine. Sums are integers, so no order changes them.
"""

from typing import Final, NamedTuple

cimport cython
from cpython cimport array
from libc.math cimport frexp, ldexp
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

import math
import struct
import zlib

cdef enum:
    STRONGEST = 5
    UNIT = 1024                # of a digit
    ODD = 512                  # from one digit on, half of which counts
    SAID_MOST = 3072           # digits that one series may add, with which it is named
    NAMED = 3072               # a sum from which on it says of whom
    LEARNED = 3                # minutes before a series says anything
    CALM = 8                   # minutes from which on what it learns is bounded
    SERIES_MOST = 1048576
    MINUTES_MOST = 400000000  # later than any time in ns of 64 bits

cdef extern from *:
    """
    static const double FOLLOW = 0.02, CLIP = 4.0, SPREADS = 3.0, SAYS_FROM = 1.0, LARGEST = 1e150,
                        LOG10_2 = 0.301029995663981195213739, LOG2_10 = 3.321928094887362347870319, LN_2 = 0.693147180559945309417;
    """
    const double FOLLOW   # share of the newest minute in level and spread, once they are learned
    const double CLIP     # spreads that a minute can move them by
    const double SPREADS  # around the level are where a series usually is
    const double SAYS_FROM, LARGEST, LOG10_2, LOG2_10, LN_2

include "hash.pxi"
include "logarithm.pxi"
include "pooled_table.pxi"
include "pooled_state.pxi"

STRONGEST_MAX: Final = STRONGEST
"""So many of the series that were unusual are named."""

SERIES_BYTES: Final[int] = sizeof(Series)
"""Memory of one series, in a table that is at most half full."""

PARTS_BYTES: Final[int] = 45
"""Bytes in which a series is kept."""

SERIES_MAX_MOST: Final = SERIES_MOST
"""Largest `series_max`."""

PARTS = struct.Struct("<BdddIIIi")
OPEN = struct.Struct("<BQII")
CELL = struct.Struct("<QIIIIIBqB")
STRONG = struct.Struct("<Qiddd")
VERSION: Final = 1
"""Of the parts of a series; others can not be read."""


class Strong(NamedTuple):
    """One of the series that were the most unusual in a minute.

    `value`: mean of its points in the minute; `expected`: its level in the long run; `low`, `high`: where it usually is;
    `digits`: -log10 of how improbable the value is, from 1 up to 3.5, higher = stranger.
    """

    series: int
    value: float
    expected: float
    low: float
    high: float
    digits: float


class Gathered(NamedTuple):
    """What the series of a resource said in a minute (counted since 1970), once the minute is over.

    `points` were taken from `series` series, of which `odd` were unusual (one in ten by themselves, or rarer). `digits`: the
    sum over the series of their -log10 p beyond half a digit, three digits each at most: weak evidence in many adds up,
    strong evidence in one does not drown the others. `strongest`: the unusual ones, the strongest first, at most STRONGEST_MAX,
    where `digits` is 3 or more, else none.
    """

    minute: int
    resource: int
    points: int
    series: int
    odd: int
    digits: float
    strongest: tuple


cdef tuple strongest_of(const Resource* r):
    cdef int k
    cdef const Strongest* s
    if r.total < NAMED:
        return ()
    named = []
    for k in range(STRONGEST):
        s = &r.strongest[k]
        if s.said:
            room = SPREADS * s.spread
            named.append(Strong(s.id, s.value, s.centre, s.centre - room, s.centre + room, s.said / <double>UNIT + 0.5))
    named.sort(key=lambda it: (-it.digits, it.series))
    return tuple(named)


cdef bytes packed(const Resource* r):
    """A minute of a resource, its strongest series in the order of their numbers."""
    cdef int k
    named = sorted(
        [(r.strongest[k].id, r.strongest[k].said, r.strongest[k].value, r.strongest[k].centre, r.strongest[k].spread)
         for k in range(STRONGEST) if r.strongest[k].said]
    )
    head = CELL.pack(r.head.id, r.minute, r.points, r.series, r.odd, r.usual, r.given, r.total, len(named))
    return head + b"".join(STRONG.pack(*it) for it in named)


cdef size_t unpacked(Resource* r, bytes parts, size_t at) except 0:
    """The other way; -> where the next one begins. ValueError when it can not be one."""
    memset(r, 0, sizeof(Resource))
    r.head.id, r.minute, r.points, r.series, r.odd, r.usual, r.given, r.total, count = CELL.unpack_from(parts, at)
    if count > STRONGEST or r.total < 0 or r.odd > r.series or r.given > 1:
        raise ValueError("open minutes are damaged: a count is impossible")
    at += CELL.size
    for k in range(count):
        s = STRONG.unpack_from(parts, at)
        if not 0 < s[1] <= SAID_MOST or not all(map(math.isfinite, s[2:])):
            raise ValueError("open minutes are damaged: a number is impossible")
        r.strongest[k].id, r.strongest[k].said, r.strongest[k].value, r.strongest[k].centre, r.strongest[k].spread = s
        at += STRONG.size
    return at


cdef bytes sealed(bytes body):
    return body + zlib.crc32(body).to_bytes(4, "little")


cdef bytes opened(bytes parts, size_t least, str what):
    cdef Py_ssize_t n = len(parts) - 4
    if n < <Py_ssize_t>least or zlib.crc32(parts[:n]) != int.from_bytes(parts[n:], "little"):
        raise ValueError(f"{what} are damaged: restore them from a backup, or begin anew")
    if parts[0] != VERSION:
        raise ValueError(f"{what} are of version {parts[0]}, this is {VERSION}: begin anew")
    return parts[:n]


@cython.final
@cython.auto_pickle(False)
cdef class Gatherer:
    """Where each series usually is, `SERIES_BYTES` each, and the open minute of each resource. Not thread safe.

    At most `series_max` resources have an open minute; what further ones say is learned but not gathered. Raises ValueError
    for a `series_max` outside 1..SERIES_MAX_MOST.

    >>> from array import array
    >>> gatherer = Gatherer(series_max=10)
    >>> gatherer.take(array("Q", [7]), array("Q", [1]), array("Q", [60 * 10**9]), array("d", [0.5]))
    >>> len(gatherer), 7 in gatherer
    (1, True)
    """

    cdef Pool p
    cdef readonly int series_max

    def __cinit__(self, *, int series_max):
        if not 1 <= series_max <= SERIES_MOST:
            raise ValueError(f"series_max must be from 1 to {SERIES_MOST}, not {series_max}")
        self.series_max = series_max
        if pool_begin(&self.p, series_max):
            raise MemoryError

    def __dealloc__(self):
        pool_end(&self.p)

    def __len__(self):
        return self.p.series.count

    def __contains__(self, uint64_t series):
        return series != 0 and table_find(&self.p.series, series) != NULL

    def take(self, array.array series, array.array resources, array.array times_ns, array.array values, bytes status=b""):
        """Points in their order of arrival: arrays of type 'Q', 'Q', 'Q', 'd' and equal length.

        `resources` has a number for the resource of each point, any 64 bits (0 is one of them); a series stays with its resource.
        `status` is that of `cbad_cy.series.Feed`: only points with 0 are taken ("" = all), and of those only finite ones.
        A minute of a resource is over when it has as many points as the one before (so that it need not be waited for), when one
        of its points is of a later one, or any point is two minutes ahead. Points that are late count in the resource's open
        minute; those that come when it is over are learned only. How points are cut into batches changes nothing, as long as `closed` is
        asked for afterwards. ValueError, before anything is learned, for series 0, and when the new series would be more than
        `series_max` in all: drop others first.
        """
        cdef Py_ssize_t n = len(series)
        cdef const unsigned char* skip = NULL
        cdef int failed
        if (series.typecode, resources.typecode, times_ns.typecode, values.typecode) != ("Q", "Q", "Q", "d"):
            raise ValueError("arrays of type 'Q', 'Q', 'Q', 'd' are needed")
        if len(resources) != n or len(times_ns) != n or len(values) != n or (status and len(status) != n):
            raise ValueError("columns must have equal lengths")
        if status:
            skip = <const unsigned char*>status
        with nogil:
            failed = pool_take(
                &self.p, n, <const uint64_t*>series.data.as_voidptr, <const uint64_t*>resources.data.as_voidptr,
                <const uint64_t*>times_ns.data.as_voidptr, <const double*>values.data.as_voidptr, skip
            )
        if failed == NO_MEMORY:
            raise MemoryError
        if failed == NO_ID:
            raise ValueError("series 0 is none")
        if failed == NO_ROOM:
            raise ValueError(f"more than {self.series_max} series: drop others first")

    def closed(self):
        """The minutes that are over and were not given yet, by minute, then resource. Each pair comes once."""
        cdef size_t i
        cdef Resource* r
        over = []
        for i in range(self.p.over_count):
            r = &self.p.over[i]
            over.append(
                Gathered(r.minute, r.head.id, r.points, r.series, r.odd, r.total / <double>UNIT, strongest_of(r))
            )
        self.p.over_count = 0
        over.sort(key=lambda it: (it.minute, it.resource))
        return over

    cdef Series* _series(self, uint64_t series) except NULL:
        cdef Series* s = <Series*>table_find(&self.p.series, series)
        if series == 0 or s == NULL:
            raise KeyError(series)
        return s

    def parts(self, uint64_t series):
        """All that is known of a series, PARTS_BYTES: equal pasts give equal bytes. KeyError: unknown."""
        cdef Series* s = self._series(series)
        return sealed(PARTS.pack(VERSION, s.centre, s.spread, s.sum, s.count, s.learned, s.minute, s.said))

    def restore(self, uint64_t series, bytes parts):
        """Put back what `parts` gave, in place of what is known of this series.

        ValueError for bytes that are damaged or of another version, for series 0 and beyond `series_max`; nothing changes.
        """
        cdef Series* s
        if series == 0:
            raise ValueError("series 0 is none")
        body = opened(parts, PARTS.size, "parts of a series")
        if len(body) != PARTS.size:
            raise ValueError("parts of a series are damaged: restore them from a backup, or begin anew")
        _, centre, spread, total, count, learned, minute, said = PARTS.unpack(body)
        if not (all(map(math.isfinite, (centre, spread, total))) and spread >= 0 and 0 <= said <= SAID_MOST):
            raise ValueError("parts of a series are damaged: a number is impossible")
        s = <Series*>table_find(&self.p.series, series)
        if s == NULL:
            if self.p.series.count >= <size_t>self.series_max:
                raise ValueError(f"more than {self.series_max} series: drop others first")
            s = <Series*>table_add(&self.p.series, series)
            if s == NULL:
                raise MemoryError
        s.centre, s.spread, s.sum, s.count, s.learned, s.minute, s.said = centre, spread, total, count, learned, minute, said

    def drop(self, uint64_t series):
        """Forget it; what it said in the open minute stays said. KeyError: unknown."""
        self._series(series)
        table_drop(&self.p.series, series)

    def open_parts(self):
        """The open minutes of all resources, and those that are over and not yet given."""
        cdef size_t i
        cdef Resource* r
        now, over = [], []
        for i in range(self.p.resources.mask + 1):
            r = <Resource*>table_at(&self.p.resources, i)
            if r.head.used:
                now.append((r.head.id, packed(r)))
        for i in range(self.p.over_count):
            over.append(((self.p.over[i].minute, self.p.over[i].head.id), packed(&self.p.over[i])))
        body = b"".join(it for _, it in sorted(now)) + b"".join(it for _, it in sorted(over))
        return sealed(OPEN.pack(VERSION, self.p.newest, len(now), len(over)) + body)

    def open_restore(self, bytes parts):
        """Continue with what `open_parts` gave. ValueError for bytes that are damaged or of another version."""
        cdef Pool fresh
        cdef Resource r
        cdef Resource* cell
        cdef size_t at = OPEN.size
        body = opened(parts, OPEN.size, "open minutes")
        _, newest, now, over = OPEN.unpack_from(body)
        if now > self.series_max or newest > MINUTES_MOST or OPEN.size + (now + over) * CELL.size > len(body):
            raise ValueError("open minutes are damaged: there are too many")
        if pool_begin(&fresh, self.series_max):
            raise MemoryError
        try:
            for k in range(now + over):
                at = unpacked(&r, body, at)
                if k >= now:
                    if pool_over(&fresh, &r):
                        raise MemoryError
                    continue
                if table_find(&fresh.resources, r.head.id) != NULL:
                    raise ValueError("open minutes are damaged: a resource comes twice")
                cell = <Resource*>table_add(&fresh.resources, r.head.id)
                if cell == NULL:
                    raise MemoryError
                r.head.used = 1
                cell[0] = r
            if at != <size_t>len(body):
                raise ValueError("open minutes are damaged: something is left over")
        except struct.error:
            pool_end(&fresh)
            raise ValueError("open minutes are damaged: they end too early") from None
        except BaseException:
            pool_end(&fresh)
            raise
        fresh.newest = newest
        fresh.series, self.p.series = self.p.series, fresh.series
        pool_end(&self.p)
        self.p = fresh


def digits_of(double p):
    """-log10 p for p in (0, 1], the same on every machine. ValueError outside."""
    if not 0.0 < p <= 1.0:
        raise ValueError(f"p must be above 0 and at most 1, not {p}")
    return LOG10_2 * bits_of(p)


def share_of(double digits):
    """10 to the power -digits, at least 1e-300, the same on every machine. ValueError below 0."""
    if not digits >= 0.0:
        raise ValueError(f"digits must be 0 or more, not {digits}")
    if digits >= 300.0:
        return 1e-300
    cdef double x = LOG2_10 * digits, y, total = 1.0
    cdef int whole = <int>x, k
    y = (whole - x) * LN_2
    for k in range(15, 0, -1):
        total = 1.0 + y * total * (1.0 / k)
    return ldexp(total, -whole)
