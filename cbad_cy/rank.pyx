# cython: autotestdict=False
"""Where a number stands among a stream's own past: moving samples, conformal ranks, block maxima and an exponential tail.

Lines of a bursty log are not exchangeable, so a permutation of lines rejects far too often on perfectly normal streams.
Windows of the same size keep the burstiness inside; the maximum over blocks of neighbouring windows keeps what bursts
longer than a window does. Rank: conformal prediction (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World",
2005). Beyond the 90 % quantile of the block maxima an exponential tail through their 50 % and 90 % quantiles.
Correctly rounded operations only: the same double on every machine.
"""

from typing import Final

cimport cython
from cpython cimport array
from libc.math cimport ceil, frexp, ldexp
from libc.stdint cimport int32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memmove

import array

SAMPLE_MAX: Final = 100_000
"""Largest sample that is kept, numbers."""

BLOCKS_MIN: Final = 20
"""Fewer block maxima than this say nothing about rarity: every p-value is 1 until then."""

cdef enum:
    BLOCKS_NEEDED = 20
    ROOM_MIN = 16
    NARROW_MAX = 0x7FFFFFFF

include "logarithm.pxi"

# ---- moving samples ------------------------------------------------------------------------------------------------


cdef inline int grown(int capacity, int room, int count, int more) noexcept nogil:
    """The room that a sample of `count` numbers takes when so many more come: `room` while that is enough."""
    cdef int wanted = capacity if more >= capacity - count else count + more
    return room if wanted <= room else min(capacity, max(wanted, ROOM_MIN, room + room // 4))


cdef int resized(void** numbers, size_t size) noexcept nogil:
    cdef void* larger = realloc(numbers[0], size)
    if larger == NULL:
        return -1
    numbers[0] = larger
    return 0


cdef int check_size(int capacity) except -1:
    if not 1 <= capacity <= SAMPLE_MAX:
        raise ValueError(f"a sample of {capacity} numbers is not possible; choose 1 to SAMPLE_MAX = {SAMPLE_MAX}")
    return 0


cdef inline int below(const Moving* m, double value) noexcept nogil:
    """How many of the sample are smaller."""
    cdef int low = 0, high = m.count, middle
    while low < high:
        middle = (low + high) >> 1
        if m.ordered[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


cdef int moving_reserve(Moving* m, int more) noexcept nogil:
    """Room for so many more numbers; -> 0, or -1 when memory is short."""
    cdef int room = grown(m.capacity, m.room, m.count, more)
    if room == m.room:
        return 0
    if resized(<void**>&m.ring, room * sizeof(double)) != 0 or resized(<void**>&m.ordered, room * sizeof(double)) != 0:
        return -1
    m.room = room
    return 0


cdef void moving_push(Moving* m, double value) noexcept nogil:
    """Take a number in, for which there is room; when there are `capacity` of them the oldest goes."""
    cdef int at, gone
    if m.count == m.capacity:
        gone = below(m, m.ring[m.head])
        m.count -= 1
        memmove(&m.ordered[gone], &m.ordered[gone + 1], (m.count - gone) * sizeof(double))
        m.ring[m.head] = value
        m.head = m.head + 1 if m.head + 1 < m.capacity else 0
    else:
        m.ring[m.count] = value  # the oldest stands at 0 until all room is taken
    at = below(m, value)
    memmove(&m.ordered[at + 1], &m.ordered[at], (m.count - at) * sizeof(double))
    m.ordered[at] = value
    m.count += 1


cdef void moving_close(Moving* m) noexcept:
    free(m.ring)
    free(m.ordered)


cdef list moving_list(const Moving* m):
    """The sample, oldest first."""
    cdef int i
    return [m.ring[(m.head + i) % m.capacity] for i in range(m.count)]


# ---- samples that are only counted: a thousand numbers are counted as soon as kept in order, in a quarter of the memory ------


cdef int crowd_below(const Crowd* c, double value) noexcept nogil:
    """How many of the sample are smaller."""
    cdef int i, found = 0
    cdef int32_t limit
    if c.wide != NULL:
        for i in range(c.count):
            found += c.wide[i] < value
        return found
    if value > NARROW_MAX:
        return c.count
    if not value > 0.0:
        return 0
    limit = <int32_t>ceil(value)
    for i in range(c.count):
        found += c.narrow[i] < limit
    return found


cdef int crowd_reserve(Crowd* c, int more) noexcept nogil:
    """Room for so many more numbers; -> 0, or -1 when memory is short, or was so when one came."""
    cdef int room = grown(c.capacity, c.room, c.count, more)
    if c.failed:
        return -1
    if room == c.room:
        return 0
    if c.wide != NULL and resized(<void**>&c.wide, room * sizeof(double)) != 0:
        return -1
    if c.wide == NULL and resized(<void**>&c.narrow, room * sizeof(int32_t)) != 0:
        return -1
    c.room = room
    return 0


cdef int crowd_widen(Crowd* c) noexcept nogil:
    """From now on any number; -> 0, or -1 when memory is short."""
    cdef int i
    c.wide = <double*>malloc(c.room * sizeof(double))
    if c.wide == NULL:
        return -1
    for i in range(c.count):
        c.wide[i] = c.narrow[i]
    free(c.narrow)
    c.narrow = NULL
    return 0


cdef void crowd_push(Crowd* c, double value) noexcept nogil:
    """Take a number in, for which there is room; when there are `capacity` of them the oldest goes."""
    cdef int at = c.head if c.count == c.capacity else c.count  # the oldest stands at 0 until all room is taken
    if c.wide == NULL and not (0.0 <= value <= NARROW_MAX and <double><int32_t>value == value) and crowd_widen(c) != 0:
        c.failed = True
        return
    if c.wide != NULL:
        c.wide[at] = value
    else:
        c.narrow[at] = <int32_t>value
    if c.count < c.capacity:
        c.count += 1
    else:
        c.head = at + 1 if at + 1 < c.capacity else 0


cdef list crowd_list(const Crowd* c):
    """The sample, oldest first."""
    cdef int i, at
    found = []
    for i in range(c.count):
        at = (c.head + i) % c.capacity
        found.append(c.wide[at] if c.wide != NULL else <double>c.narrow[at])
    return found


# ---- numbers -------------------------------------------------------------------------------------------------------


cdef double exp_of_minus(double x) noexcept nogil:
    """e to the power -x for x >= 0, within a few units in the last place."""
    cdef double scaled, rest, term = 1.0, total = 1.0
    cdef int whole, n
    if x > 700.0:
        x = 700.0
    scaled = x * 1.4426950408889634  # 1 / ln 2
    whole = <int>scaled
    rest = (scaled - whole) * 0.6931471805599453
    for n in range(1, 20):
        term *= -rest / n
        total += term
    return ldexp(total, -whole)


# ---- border --------------------------------------------------------------------------------------------------------

@cython.final
cdef class Sample:
    """The last `size` numbers: what is usual for a stream. Slow on purpose, and deaf to single outliers.

    >>> sample = Sample(3)
    >>> for value in (5.0, 1.0, 2.0, 3.0):
    ...     sample.add(value)
    >>> sample.median(0.0), sample.values()
    (2.0, [1.0, 2.0, 3.0])
    """

    def __cinit__(self, int size):
        check_size(size)
        self.moving.capacity = size

    def __dealloc__(self):
        moving_close(&self.moving)

    def __reduce__(self):
        raise TypeError("a Sample can not be pickled; keep its values and add them again")

    def __len__(self):
        return self.moving.count

    cdef int reserve(self, int numbers) noexcept nogil:
        return moving_reserve(&self.moving, numbers)

    cdef void push(self, double value) noexcept nogil:
        moving_push(&self.moving, value)

    cdef double middle(self, double otherwise) noexcept nogil:
        return self.moving.ordered[self.moving.count // 2] if self.moving.count else otherwise

    def add(self, double value):
        """Take a finite number in, forget the oldest; ValueError for NaN, which has no rank, and for infinities; MemoryError."""
        if value - value != 0.0:
            raise ValueError(f"{value} has no rank, or hides those of others; leave it out")
        if self.reserve(1) != 0:
            raise MemoryError(f"no room for a sample of {self.moving.count + 1} numbers")
        self.push(value)

    def median(self, double otherwise):
        """The upper median, or `otherwise` before the first number."""
        return self.middle(otherwise)

    def two_sided(self, double value):
        """p in (0, 1]: twice the rank towards the nearer end, so that unusually low and unusually high are both small.

        With n numbers the smallest is 2/(n + 1); 1.0 before the first number.

        >>> sample = Sample(99)
        >>> for value in range(99):
        ...     sample.add(value)
        >>> sample.two_sided(200.0), sample.two_sided(-1.0), sample.two_sided(49.0)
        (0.02, 0.02, 1.0)
        """
        cdef int n = self.moving.count, low = below(&self.moving, value), i = low
        while i < n and self.moving.ordered[i] == value:
            i += 1
        return min(1.0, 2.0 * min(1 + n - low, 1 + i) / (1 + n))

    def values(self):
        """The sample as a list, oldest first."""
        return moving_list(&self.moving)


@cython.final
cdef class Reference:
    """Past window statistics of a stream (higher = less explained), the newest `lag` left out.

    `size` values are kept, and the maxima of `size // block` blocks of `block` neighbours. Leaving the newest out avoids a
    comparison with windows that share events with the one under test. Raises ValueError for sizes that make no block.

    >>> reference = Reference(size=1000, block=5, lag=5)
    >>> for number in range(205):
    ...     reference.add(100 + number % 7)
    >>> reference.surprise(500) < reference.surprise(103) <= (1.0, 1.0)
    True
    """

    def __cinit__(self, *, int size, int block, int lag):
        if not 1 <= block <= size or not 0 <= lag <= size:
            raise ValueError(f"blocks of {block} and a lag of {lag} do not fit a size of {size}; keep both within it")
        check_size(size)
        self.values.capacity = size
        self.maxima.capacity = size // block
        self.block = block
        self.lag = lag
        self.waiting = <double*>malloc((lag + 1) * sizeof(double))
        self.open_block = <double*>malloc(block * sizeof(double))
        if self.waiting == NULL or self.open_block == NULL:
            raise MemoryError("no room for a reference")

    def __dealloc__(self):
        free(self.values.narrow)
        free(self.values.wide)
        moving_close(&self.maxima)
        free(self.waiting)
        free(self.open_block)

    def __reduce__(self):
        raise TypeError("a Reference can not be pickled; keep its parts and restore them")

    cdef int reserve(self, int windows) noexcept nogil:
        if crowd_reserve(&self.values, windows) != 0:
            return -1
        return moving_reserve(&self.maxima, windows // self.block + 1)

    cdef double tail(self, double statistic) noexcept nogil:
        """p of what lies beyond the 90 % quantile of the maxima; 0 inside, where rank and block say all there is to say."""
        cdef int blocks = self.maxima.count, ninth = blocks * 9 // 10
        cdef double high = self.maxima.ordered[ninth if ninth < blocks else blocks - 1]
        if statistic <= high:
            return 0.0
        return 0.1 * exp_of_minus((statistic - high) / self.scale(high))

    cdef Rarity judge(self, double statistic) noexcept nogil:
        cdef Rarity found
        cdef int count = self.values.count, blocks = self.maxima.count, under = crowd_below(&self.values, statistic)
        cdef int beaten = below(&self.maxima, statistic)
        cdef double other
        found.confidence = <double>under / count if count else 0.0
        found.p_value = 1.0
        found.surprise = 0.0
        if blocks < BLOCKS_NEEDED:
            return found
        found.p_value = <double>(1 + count - under) / (1 + count)
        found.surprise = self.surprise_of(statistic, found.p_value)
        other = <double>(1 + blocks - beaten) / (1 + blocks)
        if other > found.p_value and beaten < blocks:
            found.p_value = other
        other = self.tail(statistic)
        if other > found.p_value:
            found.p_value = other
        return found

    cdef double surprise_of(self, double statistic, double rank) noexcept nogil:
        """Bits: -log2 of the rank up to the 90 % quantile of the maxima; beyond it of its rank times the exponential tail."""
        cdef int blocks = self.maxima.count, ninth = blocks * 9 // 10, count = self.values.count
        cdef double high = self.maxima.ordered[ninth if ninth < blocks else blocks - 1]
        if statistic <= high:
            return bits_of(rank)
        rank = <double>(1 + count - crowd_below(&self.values, high)) / (1 + count)
        return bits_of(rank) + 1.4426950408889634 * (statistic - high) / self.scale(high)  # log2 e

    cdef double scale(self, double high) noexcept nogil:
        """Of the tail: through the median and the 90 % quantile of the maxima, and never so small that a step is a wonder."""
        cdef double median = self.maxima.ordered[self.maxima.count // 2]
        cdef double found = (high - median) / 1.6094379124341003  # ln 5
        if found < 0.02 * median:
            found = 0.02 * median
        return found if found > 1e-9 else 1e-9

    cdef void push(self, double statistic) noexcept nogil:
        cdef double value
        if self.lag == 0:
            self.enter(statistic)
            return
        if self.waits < self.lag:
            self.waiting[(self.waiting_head + self.waits) % self.lag] = statistic
            self.waits += 1
            return
        value = self.waiting[self.waiting_head]
        self.waiting[self.waiting_head] = statistic
        self.waiting_head = (self.waiting_head + 1) % self.lag
        self.enter(value)

    cdef void soften(self) noexcept nogil:
        """The newest statistic, which still waits, counts as no more than the 90 % quantile of the block maxima."""
        cdef int blocks = self.maxima.count, at
        cdef double high
        if self.waits == 0 or blocks < BLOCKS_NEEDED:
            return
        at = (self.waiting_head + self.waits - 1) % self.lag
        high = self.maxima.ordered[blocks * 9 // 10]
        if self.waiting[at] > high:
            self.waiting[at] = high

    cdef void enter(self, double value) noexcept nogil:
        cdef double maximum
        cdef int i
        crowd_push(&self.values, value)
        self.open_block[self.block_fill] = value
        self.block_fill += 1
        if self.block_fill < self.block:
            return
        maximum = self.open_block[0]
        for i in range(1, self.block):
            if self.open_block[i] > maximum:
                maximum = self.open_block[i]
        moving_push(&self.maxima, maximum)
        self.block_fill = 0

    cdef int check(self) except -1:
        if self.values.failed:
            raise MemoryError(f"no room for {self.values.count + 1} statistics")
        return 0

    def surprise(self, double statistic):
        """(p-value, confidence) of a statistic: the largest of the rank, block and tail p-values, because a window is rare
        only if it is rare in each sense (in (0, 1], lower = rarer), and the share of the past below it.

        What is above every block maximum is out of the blocks' sight: there the tail takes their place, and the rank among
        all past values is the floor."""
        cdef Rarity found = self.judge(statistic)
        return found.p_value, found.confidence

    def bits(self, double statistic):
        """How surprising a statistic is, bits: -log2 of its rank, continued by the tail beyond the 90 % quantile of the block
        maxima. Unbounded and never falling: it tells apart what is at the floor of the p-value. 0 while nothing can be said."""
        return self.judge(statistic).surprise

    def add(self, double statistic):
        """Remember the statistic of an evaluated window; it counts `lag` windows later. ValueError for NaN, MemoryError."""
        if statistic != statistic:
            raise ValueError("NaN has no rank; leave it out")
        if self.reserve(1) != 0:
            raise MemoryError(f"no room for {self.values.count + 1} statistics")
        self.push(statistic)
        self.check()

    def soften_newest(self):
        """Let the newest statistic count as no more than the 90 % quantile of the block maxima: for an incident's windows."""
        self.soften()

    def parts(self):
        """(waiting, values, open block, block maxima) as lists, oldest first: what `restore` puts back."""
        cdef int i
        waiting = [self.waiting[(self.waiting_head + i) % self.lag] for i in range(self.waits)]
        opened = [self.open_block[i] for i in range(self.block_fill)]
        return waiting, crowd_list(&self.values), opened, moving_list(&self.maxima)

    def restore(self, waiting, values, opened, maxima):
        """Put back what `parts` of a reference of the same sizes gave; ValueError for parts that do not fit, MemoryError."""
        if len(waiting) > self.lag or len(opened) >= self.block:
            raise ValueError("these parts belong to a reference of other sizes; make one with the same size, block and lag")
        cdef double value
        self.values.count = self.values.head = self.maxima.count = self.maxima.head = 0
        self.waits = self.waiting_head = self.block_fill = 0
        if crowd_reserve(&self.values, len(values)) != 0 or moving_reserve(&self.maxima, len(maxima)) != 0:
            raise MemoryError(f"no room for {len(values)} statistics")
        for value in values:
            crowd_push(&self.values, value)
        self.check()
        for value in maxima:
            moving_push(&self.maxima, value)
        for value in waiting:
            self.waiting[self.waits] = value
            self.waits += 1
        for value in opened:
            self.open_block[self.block_fill] = value
            self.block_fill += 1
