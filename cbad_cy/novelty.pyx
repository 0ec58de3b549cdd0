# cython: autotestdict=False
"""Which bytes of a line never occurred in a reference: exact sets of short substrings (grams) in linear time.

A gram of at most 8 bytes is packed into one 64-bit integer, and the hash table stores the integers themselves: equality
of entries is equality of grams, so nothing is ever called known by a hash collision. The hash is keyed by the content of
the reference; grams that collide can not be chosen before the text that holds them is complete.
"""

from typing import Final

cimport cython
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

GRAM_BYTES_MIN: Final = 2
"""Shortest gram, bytes."""

GRAM_BYTES_MAX: Final = 8
"""Longest gram, bytes: one 64-bit integer."""

LINE_BYTES_MAX: Final = 1 << 20
"""Longest line that is compared, bytes."""

REFERENCE_BYTES_MAX: Final = 4 << 20
"""Longest reference text, bytes."""

cdef struct Set:
    uint64_t* keys    # 0 means empty
    uint32_t* stamps  # one for each key, or NULL when not wanted
    uint64_t mask     # capacity - 1, a power of two less one
    uint64_t seed
    bint zero         # is the gram of zero bytes in the set?
    uint32_t zero_stamp


# ---- kernels -------------------------------------------------------------------------------------------------------

cdef inline uint64_t mixed(uint64_t x) noexcept nogil:
    """A bijection of 64-bit integers that spreads every input bit over all output bits."""
    x ^= x >> 32
    x *= <uint64_t>0x9E3779B97F4A7C15
    x ^= x >> 29
    x *= <uint64_t>0xD6E8FEB86659FD93
    x ^= x >> 32
    return x


cdef uint64_t seed_of(const unsigned char* s, Py_ssize_t n) noexcept nogil:
    """A key that depends on every byte of s[:n]."""
    cdef uint64_t seed = <uint64_t>n
    cdef Py_ssize_t i
    for i in range(n):
        seed = (seed ^ s[i]) * <uint64_t>0x9E3779B97F4A7C15
        seed ^= seed >> 31
    return mixed(seed)


cdef inline uint64_t find(const Set* t, uint64_t key) noexcept nogil:
    """Where the key (not 0) is, or where it would be put."""
    cdef uint64_t at = mixed(key ^ t.seed) & t.mask
    while t.keys[at] != 0 and t.keys[at] != key:
        at = (at + 1) & t.mask
    return at


cdef inline uint64_t gram_mask(int gram) noexcept nogil:
    return <uint64_t>0xFFFFFFFFFFFFFFFF >> (64 - 8 * gram)


cdef Py_ssize_t fill(Set* t, const unsigned char* s, Py_ssize_t n, int gram) noexcept nogil:
    """Put all grams of s[:n] into the set, which has room; -> how many distinct ones came in."""
    cdef uint64_t key = 0, at, keep = gram_mask(gram)
    cdef Py_ssize_t i, distinct = 0
    for i in range(n):
        key = ((key << 8) | s[i]) & keep
        if i < gram - 1:
            continue
        if key == 0:
            distinct += not t.zero
            t.zero = True
            continue
        at = find(t, key)
        if t.keys[at] == 0:
            t.keys[at] = key
            distinct += 1
    return distinct


cdef void move(Set* target, const Set* source) noexcept nogil:
    """Put all keys of one set into another, empty one that has room."""
    cdef uint64_t i
    target.zero = source.zero
    for i in range(source.mask + 1):
        if source.keys[i]:
            target.keys[find(target, source.keys[i])] = source.keys[i]


cdef inline bint holds(const Set* t, uint64_t key) noexcept nogil:
    return t.zero if key == 0 else t.keys[find(t, key)] != 0


cdef bint occurs(const unsigned char* s, Py_ssize_t n, const unsigned char* part, Py_ssize_t m) noexcept nogil:
    """Is part[:m], 1 <= m <= 8 bytes, a substring of s[:n]?"""
    cdef uint64_t wanted = 0, key = 0, keep = gram_mask(<int>m)
    cdef Py_ssize_t i
    for i in range(m):
        wanted = (wanted << 8) | part[i]
    for i in range(n):
        key = ((key << 8) | s[i]) & keep
        if i >= m - 1 and key == wanted:
            return True
    return False


cdef Py_ssize_t spans(
    const Set* t, int gram, const unsigned char* s, Py_ssize_t n, uint32_t* ends, Py_ssize_t* covered
) noexcept nogil:
    """Ranges of s[:n], n >= gram, that no gram of the set covers, as pairs in `ends` (n + 1 of them suffice); -> pairs."""
    cdef uint64_t key = 0, keep = gram_mask(gram)
    cdef Py_ssize_t i, known_until = 0, count = 0
    covered[0] = 0
    for i in range(n):
        key = ((key << 8) | s[i]) & keep
        if i < gram - 1 or not holds(t, key):
            continue
        if i - gram + 1 > known_until:
            ends[2 * count] = <uint32_t>known_until
            ends[2 * count + 1] = <uint32_t>(i - gram + 1)
            count += 1
            covered[0] += gram
        else:
            covered[0] += i + 1 - known_until
        known_until = i + 1
    if known_until < n:
        ends[2 * count] = <uint32_t>known_until
        ends[2 * count + 1] = <uint32_t>n
        count += 1
    return count


cdef Py_ssize_t most_shared(
    Set* t, int gram, const unsigned char* text, const unsigned int* lengths, Py_ssize_t lines
) noexcept nogil:
    """First of the lines in `text` that holds most of the set's grams; -1 when none holds any."""
    cdef uint64_t key, at, keep = gram_mask(gram)
    cdef Py_ssize_t line, best = -1
    cdef uint32_t stamp, shared, most = 0
    cdef unsigned int i
    for line in range(lines):
        key = 0
        shared = 0
        stamp = <uint32_t>(line + 1)
        for i in range(lengths[line]):
            key = ((key << 8) | text[i]) & keep
            if i < <unsigned int>(gram - 1):
                continue
            if key == 0:
                shared += t.zero and t.zero_stamp != stamp
                t.zero_stamp = stamp
                continue
            at = find(t, key)
            if t.keys[at] and t.stamps[at] != stamp:
                t.stamps[at] = stamp
                shared += 1
        if shared > most:
            most = shared
            best = line
        text += lengths[line]
    return best


# ---- border --------------------------------------------------------------------------------------------------------

cdef uint64_t capacity(Py_ssize_t grams) noexcept:
    """A power of two that `grams` keys fill to a half at most."""
    cdef uint64_t slots = 16
    while slots < 2 * <uint64_t>grams:
        slots *= 2
    return slots


cdef int open_set(Set* t, Py_ssize_t grams, uint64_t seed, bint with_stamps) except -1:
    cdef uint64_t slots = capacity(grams)
    t.mask = slots - 1
    t.seed = seed
    t.zero = False
    t.zero_stamp = 0
    t.stamps = NULL
    t.keys = <uint64_t*>calloc(slots, sizeof(uint64_t))
    if with_stamps:
        t.stamps = <uint32_t*>calloc(slots, sizeof(uint32_t))
    if t.keys == NULL or (with_stamps and t.stamps == NULL):
        close_set(t)
        raise MemoryError(f"no room for a set of {grams} grams; use a shorter reference")
    return 0


cdef void close_set(Set* t) noexcept:
    free(t.keys)
    free(t.stamps)
    t.keys = NULL
    t.stamps = NULL


cdef int check_gram(int gram) except -1:
    if not GRAM_BYTES_MIN <= gram <= GRAM_BYTES_MAX:
        raise ValueError(f"gram is {gram} bytes; choose {GRAM_BYTES_MIN} to {GRAM_BYTES_MAX}")
    return 0


cdef int check_bytes(Py_ssize_t size, Py_ssize_t size_max, str what) except -1:
    if size > size_max:
        raise ValueError(f"{what} of {size} bytes is over {what.upper()}_BYTES_MAX = {size_max}; keep its newest part")
    return 0


cdef inline const unsigned char* address(const unsigned char[::1] data) noexcept:
    return &data[0] if data.shape[0] else <const unsigned char*>b""


@cython.final
cdef class Coverage:
    """All `gram`-byte substrings of a reference, to tell which bytes of a line were seen before. Immutable, any thread.

    A byte is covered when it lies in a substring of `gram` bytes that occurs in the reference; a line shorter than that is
    covered as a whole if and only if it occurs in the reference. A longer gram calls more bytes novel. Memory is 16 to 32
    bytes for each distinct gram. Raises ValueError for `gram` out of range or a reference over `REFERENCE_BYTES_MAX`.

    >>> Coverage(b"disk sda is full").novel_spans(b"disk sdb is full")
    [(7, 8)]
    """

    cdef Set grams
    cdef readonly bytes reference
    cdef readonly int gram

    def __cinit__(self, const unsigned char[::1] reference, int gram=6):
        check_gram(gram)
        check_bytes(reference.shape[0], REFERENCE_BYTES_MAX, "reference")
        self.reference = bytes(reference)
        self.gram = gram
        cdef const unsigned char* s = self.reference
        cdef Py_ssize_t n = len(self.reference), distinct
        cdef Set all_
        open_set(&all_, n, seed_of(s, n), False)
        with nogil:
            distinct = fill(&all_, s, n, gram)
        if capacity(distinct) == all_.mask + 1:
            self.grams = all_
            return
        try:
            open_set(&self.grams, distinct, all_.seed, False)
            with nogil:
                move(&self.grams, &all_)
        finally:
            close_set(&all_)

    def __dealloc__(self):
        close_set(&self.grams)

    def __reduce__(self):
        raise TypeError("a Coverage can not be pickled; build it again from its reference")

    cdef tuple compare(self, const unsigned char[::1] line):
        """(novel ranges, covered bytes)"""
        check_bytes(line.shape[0], LINE_BYTES_MAX, "line")
        cdef const unsigned char* s = address(line)
        cdef const unsigned char* reference = self.reference
        cdef Py_ssize_t n = line.shape[0], whole = len(self.reference), count, covered = 0, i
        if n == 0:
            return [], 0
        if n < self.gram:
            return ([], n) if occurs(reference, whole, s, n) else ([(0, n)], 0)
        cdef uint32_t* ends = <uint32_t*>calloc(n + 2, sizeof(uint32_t))
        if ends == NULL:
            raise MemoryError(f"no room to compare {n} bytes; use shorter lines")
        with nogil:
            count = spans(&self.grams, self.gram, s, n, ends, &covered)
        found = [(ends[2 * i], ends[2 * i + 1]) for i in range(count)]
        free(ends)
        return found, covered

    def novel_spans(self, const unsigned char[::1] line):
        """Maximal ranges (start, end) of bytes that are not covered, in order; ValueError over `LINE_BYTES_MAX`."""
        return self.compare(line)[0]

    def shared(self, const unsigned char[::1] line):
        """How many bytes of the line are covered: 0 to its length, more is more familiar."""
        return self.compare(line)[1]


def nearest(
    const unsigned char[::1] line, const unsigned char[::1] reference_text, const unsigned int[::1] lengths, int gram=4
):
    """Index of the reference line that holds most of the distinct `gram`-byte substrings of `line`; -1 when none holds any.

    Reference lines stand one after another in `reference_text`, `lengths` bytes each. Of several, the lowest index wins.
    A line shorter than `gram` shares nothing. Time is linear in all texts. Raises ValueError for limits, as `Coverage`,
    and for lengths that do not add up.

    >>> import array
    >>> nearest(b"sdb is full", b"all is wellsda is full", array.array("I", [11, 11]))
    1
    """
    check_gram(gram)
    check_bytes(line.shape[0], LINE_BYTES_MAX, "line")
    check_bytes(reference_text.shape[0], REFERENCE_BYTES_MAX, "reference")
    cdef Py_ssize_t i, total = 0, best
    for i in range(lengths.shape[0]):
        total += lengths[i]
    if total != reference_text.shape[0]:
        raise ValueError(
            f"lengths add up to {total} bytes but the reference has {reference_text.shape[0]}; give one length for each line"
        )
    if total == 0:
        return -1
    cdef const unsigned char* s = address(line)
    cdef Py_ssize_t n = line.shape[0]
    cdef Set grams
    open_set(&grams, n, seed_of(s, n), True)
    with nogil:
        fill(&grams, s, n, gram)
        best = most_shared(&grams, gram, &reference_text[0], &lengths[0], lengths.shape[0])
    close_set(&grams)
    return best
