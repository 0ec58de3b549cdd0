# cython: autotestdict=False
"""The last lines of a stream as distinct forms with counts, and the choice of those that make a compressor's dictionary.

A compressor gains nothing from the second copy of a line in its dictionary, so the choice is one of distinct lines: the
most frequent first, until `COVERAGE_MIN` of the lines are covered; beyond that only forms of at least `SUPPORT_MIN` of the
lines are taken. What was seen once is then known where most lines are unique (free text), and is no precedent where lines
repeat. Distinct lines keep the order in which they first came, so a dictionary changes only where the stream did.
(Maximum coverage by the greedy rule: Nemhauser, Wolsey and Fisher, 1978; with disjoint sets it is exact.)
"""

from typing import Final

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy, memmove

COVERAGE_MIN: Final = 0.95
"""Share of the lines that a dictionary covers at least, if there is room."""

SUPPORT_MIN: Final = 0.01
"""Share of the lines from which on a form is always taken, if there is room."""

LINES_MAX: Final = 10_000
"""Most lines that a pool remembers."""

LINE_BYTES_MAX: Final = 1 << 20
"""Longest line, bytes."""

cdef enum:
    ARENA_BYTES_MIN = 1024
    SLOTS_MIN = 32
    NONE = -1

# ---- kernels -------------------------------------------------------------------------------------------------------


cdef uint64_t hash_of(const unsigned char* s, size_t n) noexcept nogil:
    """64 bits of the line; equality is decided by its bytes, so this only has to be fast and well spread."""
    cdef uint64_t h = <uint64_t>n * <uint64_t>0x9E3779B97F4A7C15, word
    cdef size_t i = 0
    while i + 8 <= n:
        memcpy(&word, s + i, 8)
        h = (h ^ word) * <uint64_t>0xD6E8FEB86659FD93
        h ^= h >> 32
        i += 8
    word = 0
    memcpy(&word, s + i, n - i)
    h = (h ^ word) * <uint64_t>0xD6E8FEB86659FD93
    h ^= h >> 32
    h *= <uint64_t>0x9E3779B97F4A7C15
    return h ^ (h >> 29)


cdef struct Rank:
    # What the order of choice depends on; a struct of its own, because qsort knows nothing else.
    unsigned int count
    int slot
    uint64_t last


cdef int more_frequent(const void* a, const void* b) noexcept nogil:
    """Most frequent first; of equals the one seen last, which no two share."""
    cdef const Rank* x = <const Rank*>a
    cdef const Rank* y = <const Rank*>b
    if x.count != y.count:
        return -1 if x.count > y.count else 1
    return -1 if x.last > y.last else 1


@cython.final
cdef class Pool:
    """The last `lines_max` lines, at most `bytes_max` bytes of distinct ones (separators included); older lines make room.

    Raises ValueError for limits out of range. Not thread safe.

    >>> pool = Pool(lines_max=4, bytes_max=1000)
    >>> for line in (b"a", b"b", b"b", b"c", b"b"):
    ...     pool.accept(line)
    >>> pool.distinct(), pool.dictionary(1000)
    ([(b'b', 3), (b'c', 1)], b'b\\nc')
    """

    def __cinit__(self, *, int lines_max, size_t bytes_max):
        if not 1 <= lines_max <= LINES_MAX:
            raise ValueError(f"a pool of {lines_max} lines is not possible; choose 1 to LINES_MAX = {LINES_MAX}")
        cdef int buckets = 16, i
        while buckets < 2 * lines_max:
            buckets *= 2
        self.lines_max = lines_max
        self.bytes_max = bytes_max
        self.bucket_mask = buckets - 1
        self.buckets = <int*>malloc(buckets * sizeof(int))
        self.ring = <int*>malloc(lines_max * sizeof(int))
        self.arena = <unsigned char*>malloc(ARENA_BYTES_MIN)
        self.arena_room = ARENA_BYTES_MIN
        if self.buckets == NULL or self.ring == NULL or self.arena == NULL:
            raise MemoryError(f"no room for a pool of {lines_max} lines")
        for i in range(buckets):
            self.buckets[i] = NONE
        self.oldest = self.newest = NONE

    def __dealloc__(self):
        free(self.forms)
        free(self.buckets)
        free(self.free_slots)
        free(self.ring)
        free(self.arena)

    def __reduce__(self):
        raise TypeError("a Pool can not be pickled; keep its parts and restore them")

    def __len__(self):
        return self.lines

    cdef int find(self, uint64_t hash, const unsigned char* line, unsigned int size) noexcept nogil:
        cdef int slot = self.buckets[hash & <uint64_t>self.bucket_mask]
        while slot != NONE:
            if (
                self.forms[slot].hash == hash
                and self.forms[slot].size == size
                and memcmp(self.arena + self.forms[slot].start, line, size) == 0
            ):
                return slot
            slot = self.forms[slot].chained
        return NONE

    cdef int make_room(self, unsigned int size) noexcept nogil:
        """Room for `size` more bytes at the arena's end; -> 0, or -1 when memory is short."""
        cdef size_t used = 0, wanted
        cdef int slot = self.oldest
        cdef unsigned char* larger
        if self.arena_used + size <= self.arena_room:
            return 0
        while slot != NONE:  # forms lie in order of creation: those that are left move down over those that are gone
            memmove(self.arena + used, self.arena + self.forms[slot].start, self.forms[slot].size)
            self.forms[slot].start = used
            used += self.forms[slot].size
            slot = self.forms[slot].newer
        self.arena_used = used
        wanted = 2 * (used + size)
        if wanted > self.arena_room:
            larger = <unsigned char*>realloc(self.arena, wanted)
            if larger == NULL:
                return -1
            self.arena = larger
            self.arena_room = wanted
        return 0

    cdef int more_slots(self) noexcept nogil:
        """Twice as many slots, as there are seldom as many forms as lines; -> 0, or -1 when memory is short."""
        cdef int slots = min(self.lines_max + 1, max(SLOTS_MIN, 2 * self.slots)), i
        cdef void* forms = realloc(self.forms, slots * sizeof(Form))
        cdef void* free_slots
        if forms == NULL:
            return -1
        self.forms = <Form*>forms
        free_slots = realloc(self.free_slots, slots * sizeof(int))
        if free_slots == NULL:
            return -1
        self.free_slots = <int*>free_slots
        for i in range(slots - 1, self.slots - 1, -1):
            self.free_slots[self.free_count] = i
            self.free_count += 1
        self.slots = slots
        return 0

    cdef int create(self, uint64_t hash, const unsigned char* line, unsigned int size) noexcept nogil:
        """A new form of no line yet; NONE when memory is short. Every other form has a line in the ring."""
        cdef int slot, bucket = <int>(hash & <uint64_t>self.bucket_mask)
        if self.make_room(size) != 0 or (self.free_count == 0 and self.more_slots() != 0):
            return NONE
        self.free_count -= 1
        slot = self.free_slots[self.free_count]
        self.forms[slot].hash = hash
        self.forms[slot].size = size
        self.forms[slot].count = 0
        self.forms[slot].start = self.arena_used
        memcpy(self.arena + self.arena_used, line, size)
        self.arena_used += size
        self.text_bytes += size + 1
        self.forms[slot].chained = self.buckets[bucket]
        self.buckets[bucket] = slot
        self.forms[slot].newer = NONE
        self.forms[slot].older = self.newest
        if self.newest == NONE:
            self.oldest = slot
        else:
            self.forms[self.newest].newer = slot
        self.newest = slot
        self.distinct_count += 1
        return slot

    cdef void remove(self, int slot) noexcept nogil:
        cdef int bucket = <int>(self.forms[slot].hash & <uint64_t>self.bucket_mask)
        cdef int at = self.buckets[bucket]
        cdef int older = self.forms[slot].older, newer = self.forms[slot].newer
        if at == slot:
            self.buckets[bucket] = self.forms[slot].chained
        else:
            while self.forms[at].chained != slot:
                at = self.forms[at].chained
            self.forms[at].chained = self.forms[slot].chained
        if older == NONE:
            self.oldest = newer
        else:
            self.forms[older].newer = newer
        if newer == NONE:
            self.newest = older
        else:
            self.forms[newer].older = older
        self.text_bytes -= self.forms[slot].size + 1
        self.free_slots[self.free_count] = slot
        self.free_count += 1
        self.distinct_count -= 1

    cdef void drop_oldest(self) noexcept nogil:
        cdef int slot = self.ring[self.head]
        self.head = self.head + 1 if self.head + 1 < self.lines_max else 0
        self.lines -= 1
        self.forms[slot].count -= 1
        if self.forms[slot].count == 0:
            self.remove(slot)

    cdef int take(self, const unsigned char* line, unsigned int size) noexcept nogil:
        """Remember a line; -> 0, or -1 when memory is short."""
        cdef uint64_t hash = hash_of(line, size)
        cdef int slot = self.find(hash, line, size), at
        if slot != NONE:
            self.forms[slot].count += 1  # first, so that dropping the oldest line can not remove this form
            if self.lines == self.lines_max:
                self.drop_oldest()
        else:
            while self.lines and (self.lines == self.lines_max or self.text_bytes + size + 1 > self.bytes_max):
                self.drop_oldest()
            slot = self.create(hash, line, size)
            if slot == NONE:
                return -1
            self.forms[slot].count = 1
        at = self.head + self.lines
        self.ring[at if at < self.lines_max else at - self.lines_max] = slot
        self.lines += 1
        self.forms[slot].last = self.lines_ever
        self.lines_ever += 1
        return 0

    cdef size_t choose(self, size_t room) noexcept nogil:
        """Mark the forms of a dictionary of at most `room` bytes; -> its bytes, or <size_t>-1 when memory is short."""
        cdef Rank* ranks
        cdef int i, n = 0, slot = self.oldest
        cdef size_t used = 0
        cdef long covered = 0
        if self.distinct_count == 0:
            return 0
        ranks = <Rank*>malloc(self.distinct_count * sizeof(Rank))
        if ranks == NULL:
            return <size_t>-1
        while slot != NONE:
            self.forms[slot].chosen = False
            ranks[n].count = self.forms[slot].count
            ranks[n].last = self.forms[slot].last
            ranks[n].slot = slot
            n += 1
            slot = self.forms[slot].newer
        qsort(ranks, n, sizeof(Rank), more_frequent)
        for i in range(n):
            slot = ranks[i].slot
            # whole numbers: 100 count >= lines is a support of 1 %, 100 covered >= 95 lines a coverage of 95 %
            if 100 * <long>ranks[i].count < self.lines and 100 * covered >= 95 * <long>self.lines:
                break
            if used + self.forms[slot].size + 1 > room + 1:
                continue
            self.forms[slot].chosen = True
            used += self.forms[slot].size + 1
            covered += ranks[i].count
        free(ranks)
        return used - 1 if used else 0

    cdef void write(self, unsigned char* target) noexcept nogil:
        """The chosen forms in order of creation, newlines between them; `target` holds what `choose` said."""
        cdef int slot = self.oldest
        cdef bint first = True
        while slot != NONE:
            if self.forms[slot].chosen:
                if not first:
                    target[0] = 10
                    target += 1
                first = False
                memcpy(target, self.arena + self.forms[slot].start, self.forms[slot].size)
                target += self.forms[slot].size
            slot = self.forms[slot].newer

    def accept(self, const unsigned char[::1] line):
        """Remember a line of at most `LINE_BYTES_MAX` bytes (ValueError beyond); the oldest ones make room."""
        if line.shape[0] > LINE_BYTES_MAX:
            raise ValueError(f"line of {line.shape[0]} bytes is over LINE_BYTES_MAX = {LINE_BYTES_MAX}; cut it first")
        cdef const unsigned char* s = &line[0] if line.shape[0] else <const unsigned char*>b""
        if self.take(s, <unsigned int>line.shape[0]) != 0:
            raise MemoryError(f"no room for a line of {line.shape[0]} bytes")

    def distinct(self):
        """Distinct lines with their counts, in the order in which they first came."""
        cdef int slot = self.oldest
        found = []
        while slot != NONE:
            text = PyBytes_FromStringAndSize(<char*>self.arena + self.forms[slot].start, self.forms[slot].size)
            found.append((text, self.forms[slot].count))
            slot = self.forms[slot].newer
        return found

    def dictionary(self, size_t room):
        """The dictionary of at most `room` bytes: chosen forms in order of creation, newlines between them."""
        cdef size_t size = self.choose(room)
        if size == <size_t>-1:
            raise MemoryError(f"no room to choose among {self.distinct_count} lines")
        cdef bytes text = PyBytes_FromStringAndSize(NULL, size)
        self.write(<unsigned char*><char*>text)
        return text

    def parts(self):
        """(distinct lines in order of creation, index of each remembered line among them, oldest first)."""
        cdef int slot = self.oldest, i
        cdef dict number = {}
        forms = []
        while slot != NONE:
            number[slot] = len(forms)
            forms.append(PyBytes_FromStringAndSize(<char*>self.arena + self.forms[slot].start, self.forms[slot].size))
            slot = self.forms[slot].newer
        return forms, [number[self.ring[(self.head + i) % self.lines_max]] for i in range(self.lines)]

    def restore(self, forms, ring):
        """Put back what `parts` gave, into an empty pool of the same limits; ValueError for parts that do not fit."""
        cdef int slot, index
        cdef const unsigned char[::1] line
        if self.lines or len(ring) > self.lines_max or set(ring) != set(range(len(forms))) or len(set(forms)) != len(forms):
            raise ValueError("these parts belong to another pool, or this one is not empty; make one with the same limits")
        if len(forms) > 1 and <size_t>sum(len(form) + 1 for form in forms) > self.bytes_max:
            raise ValueError(f"these forms are over bytes_max = {self.bytes_max}; make a pool with the limits they had")
        slots = []
        for form in forms:
            line = form
            slot = self.create(
                hash_of(&line[0] if line.shape[0] else <const unsigned char*>b"", line.shape[0]),
                &line[0] if line.shape[0] else <const unsigned char*>b"", <unsigned int>line.shape[0])
            if slot == NONE:
                raise MemoryError(f"no room for a line of {len(form)} bytes")
            slots.append(slot)
        for index in ring:
            slot = slots[index]
            self.ring[self.lines] = slot
            self.lines += 1
            self.forms[slot].count += 1
            self.forms[slot].last = self.lines_ever
            self.lines_ever += 1
