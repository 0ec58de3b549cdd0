# cython: autotestdict=False
"""What a stream has said: its last lines as distinct forms with counts, and for longer the forms that came more than once.

Two memories: the last `lines_max` lines, and every form that was seen twice in the last `memory_lines`, as far as `bytes_max`
allows; what has not been seen for longest is forgotten first. A line that comes once in a thousand is then known,
although the last few hundred lines do not hold it.

`dictionary` chooses what a compressor is given. It gains nothing from the second copy of a line, so the choice is one of
distinct lines: the most frequent first, until `COVERAGE_MIN` of the lines are covered; beyond that forms of at least
`SUPPORT_MIN` of the lines and those seen more than once. What was seen once is then known where most lines are unique
(free text), and is no precedent where lines repeat. Forms keep the order in which they first came, so a dictionary changes
only where the stream did. (Maximum coverage by the greedy rule: Nemhauser, Wolsey and Fisher, 1978; with disjoint sets it
is exact.)
"""

from typing import Final

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy, memmove

COVERAGE_MIN: Final = 0.95
"""Share of the lines that a dictionary covers at least, if there is room."""

SUPPORT_MIN: Final = 0.01
"""Share of the lines from which on a form is always taken, if there is room."""

LINES_MAX: Final = 10_000
"""Most lines that a pool remembers one by one."""

RECURRING_MIN: Final = 2
"""Times that a form must have been seen to be remembered beyond the last lines."""

LINE_BYTES_MAX: Final = 1 << 20
"""Longest line, bytes."""

BYTES_MAX: Final = 1 << 30
"""Most bytes of distinct lines that a pool can be asked to hold."""

cdef enum:
    ARENA_BYTES_MIN = 64
    ARENA_SPARE = 12       # one part in so many of `bytes_max` is room for forms that are gone
    SLOTS_STEP_MIN = 32
    BUCKETS_MIN = 16
    RECURRING = 2
    SEEN_MAX = 65535
    NONE = -1

# ---- kernels -------------------------------------------------------------------------------------------------------


cdef uint32_t hash_of(const unsigned char* s, size_t n) noexcept nogil:
    """32 bits of the line; equality is decided by its bytes, so this only has to be fast and well spread."""
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
    return <uint32_t>(h ^ (h >> 29))


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
    """The last `lines_max` lines, and recurring forms of the last `memory_lines`; at most `bytes_max` bytes of distinct lines
    (separators included), older ones make room.

    Raises ValueError for limits out of range. Not thread safe.

    >>> pool = Pool(lines_max=3, memory_lines=100, bytes_max=1000)
    >>> for line in (b"a", b"a", b"b", b"c", b"c", b"d"):
    ...     pool.accept(line)
    >>> pool.distinct(), pool.dictionary(1000)
    ([(b'a', 0), (b'c', 2), (b'd', 1)], b'a\\nc\\nd')
    """

    def __cinit__(self, *, int lines_max, uint64_t memory_lines, size_t bytes_max):
        if not 1 <= lines_max <= LINES_MAX:
            raise ValueError(f"a pool of {lines_max} lines is not possible; choose 1 to LINES_MAX = {LINES_MAX}")
        if bytes_max > BYTES_MAX:
            raise ValueError(f"a pool of {bytes_max} bytes is not possible; choose at most BYTES_MAX = {BYTES_MAX}")
        self.lines_max = lines_max
        self.memory_lines = memory_lines
        self.bytes_max = bytes_max
        self.ring = <int*>malloc(lines_max * sizeof(int))
        self.arena = <unsigned char*>malloc(ARENA_BYTES_MIN)
        self.arena_room = ARENA_BYTES_MIN
        if self.ring == NULL or self.arena == NULL:
            raise MemoryError(f"no room for a pool of {lines_max} lines")
        self.oldest = self.newest = self.stalest = self.freshest = self.free_slot = NONE

    def __dealloc__(self):
        free(self.forms)
        free(self.buckets)
        free(self.ring)
        free(self.arena)

    def __reduce__(self):
        raise TypeError("a Pool can not be pickled; keep its parts and restore them")

    def __len__(self):
        return self.lines

    cdef int find(self, uint32_t hash, const unsigned char* line, unsigned int size) noexcept nogil:
        cdef int slot = self.buckets[hash & <uint32_t>self.bucket_mask] if self.distinct_count else NONE
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
        cdef size_t used = 0, wanted, run_start = 0, run = 0  # `bytes_max` and a line are far below 1 << 32
        cdef int slot = self.oldest
        cdef Form* form
        cdef unsigned char* larger
        if self.arena_used + size <= self.arena_room:
            return 0
        while slot != NONE:  # forms lie in order of creation: those that are left move down over those that are gone
            form = &self.forms[slot]
            if form.start != run_start + run:  # one that is gone stood before it: what stands together moves together
                memmove(self.arena + used - run, self.arena + run_start, run)
                run_start = form.start
                run = 0
            form.start = <unsigned int>used
            used += form.size
            run += form.size
            slot = form.newer
        memmove(self.arena + used - run, self.arena + run_start, run)
        self.arena_used = used
        # A small arena doubles; a full one has a little to spare, so that it is not tidied up for every new form.
        wanted = used + size + min(used + size, self.bytes_max // ARENA_SPARE)
        if wanted > self.arena_room:
            larger = <unsigned char*>realloc(self.arena, wanted)
            if larger == NULL:
                return -1
            self.arena = larger
            self.arena_room = wanted
        return 0

    cdef int more_slots(self) noexcept nogil:
        """More slots; `bytes_max` bounds them, because every form takes a byte. -> 0, or -1 when memory is short."""
        cdef int slots = self.slots + max(SLOTS_STEP_MIN, self.slots // 4), i
        cdef void* forms = realloc(self.forms, slots * sizeof(Form))
        if forms == NULL:
            return -1
        self.forms = <Form*>forms
        if (self.buckets == NULL or slots > self.bucket_mask + 1) and self.more_buckets(slots) != 0:
            return -1
        for i in range(slots - 1, self.slots - 1, -1):
            self.forms[i].chained = self.free_slot
            self.free_slot = i
        self.slots = slots
        return 0

    cdef int more_buckets(self, int slots) noexcept nogil:
        """At least as many buckets as slots, and every form in its own; -> 0, or -1 when memory is short."""
        cdef int count = BUCKETS_MIN, i, bucket, slot = self.oldest
        cdef int* buckets
        while count < slots:
            count *= 2
        buckets = <int*>malloc(count * sizeof(int))
        if buckets == NULL:
            return -1
        free(self.buckets)
        self.buckets = buckets
        self.bucket_mask = count - 1
        for i in range(count):
            buckets[i] = NONE
        while slot != NONE:
            bucket = <int>(self.forms[slot].hash & <uint32_t>self.bucket_mask)
            self.forms[slot].chained = buckets[bucket]
            buckets[bucket] = slot
            slot = self.forms[slot].newer
        return 0

    cdef int create(self, uint32_t hash, const unsigned char* line, unsigned int size) noexcept nogil:
        """A new form of no line yet, the freshest; NONE when memory is short."""
        cdef int slot, bucket
        if self.make_room(size) != 0 or (self.free_slot == NONE and self.more_slots() != 0):
            return NONE
        bucket = <int>(hash & <uint32_t>self.bucket_mask)
        slot = self.free_slot
        self.free_slot = self.forms[slot].chained
        self.forms[slot].hash = hash
        self.forms[slot].size = size
        self.forms[slot].count = 0
        self.forms[slot].seen = 0
        self.forms[slot].later = self.forms[slot].earlier = NONE
        self.forms[slot].start = <unsigned int>self.arena_used
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
        self.forms[slot].earlier = self.freshest
        if self.freshest == NONE:
            self.stalest = slot
        else:
            self.forms[self.freshest].later = slot
        self.freshest = slot
        self.distinct_count += 1
        return slot

    cdef void detach(self, int slot) noexcept nogil:
        """Take a form out of the order of freshness."""
        cdef int earlier = self.forms[slot].earlier, later = self.forms[slot].later
        if earlier == NONE:
            self.stalest = later
        else:
            self.forms[earlier].later = later
        if later == NONE:
            self.freshest = earlier
        else:
            self.forms[later].earlier = earlier

    cdef void refresh(self, int slot) noexcept nogil:
        """A line had this form: it is the freshest."""
        if self.freshest == slot:
            return
        self.detach(slot)
        self.forms[slot].earlier = self.freshest
        self.forms[slot].later = NONE
        self.forms[self.freshest].later = slot
        self.freshest = slot

    cdef void remove(self, int slot) noexcept nogil:
        cdef int bucket = <int>(self.forms[slot].hash & <uint32_t>self.bucket_mask)
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
        self.detach(slot)
        self.text_bytes -= self.forms[slot].size + 1
        self.forms[slot].chained = self.free_slot
        self.free_slot = slot
        self.distinct_count -= 1

    cdef void drop_oldest(self) noexcept nogil:
        cdef int slot = self.ring[self.head]
        self.head = self.head + 1 if self.head + 1 < self.lines_max else 0
        self.lines -= 1
        self.forms[slot].count -= 1
        if self.forms[slot].count == 0 and self.forms[slot].seen < RECURRING:
            self.remove(slot)

    cdef bint forget(self) noexcept nogil:
        """Make room by what matters least: the stalest form that no remembered line has, else the oldest line."""
        if self.stalest != NONE and self.forms[self.stalest].count == 0:
            self.remove(self.stalest)
        elif self.lines:
            self.drop_oldest()
        else:
            return False
        return True

    cdef int take(self, const unsigned char* line, unsigned int size) noexcept nogil:
        """Remember a line; -> 0, or -1 when memory is short."""
        cdef uint32_t hash = hash_of(line, size)
        cdef int slot = self.find(hash, line, size), at
        if slot != NONE:
            self.forms[slot].count += 1  # first, so that dropping the oldest line can not remove this form
            self.refresh(slot)
            if self.lines == self.lines_max:
                self.drop_oldest()
        else:
            if self.lines == self.lines_max:
                self.drop_oldest()
            while self.text_bytes + size + 1 > self.bytes_max and self.forget():
                pass
            slot = self.create(hash, line, size)
            if slot == NONE:
                return -1
            self.forms[slot].count = 1
        at = self.head + self.lines
        self.ring[at if at < self.lines_max else at - self.lines_max] = slot
        self.lines += 1
        if self.forms[slot].seen < SEEN_MAX:
            self.forms[slot].seen += 1
        self.forms[slot].last = self.lines_ever
        self.lines_ever += 1
        while self.forms[self.stalest].count == 0 and self.forms[self.stalest].last + self.memory_lines < self.lines_ever:
            self.remove(self.stalest)
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
            if (
                self.forms[slot].seen < RECURRING
                and 100 * <long>ranks[i].count < self.lines
                and 100 * covered >= 95 * <long>self.lines
            ):
                continue
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
        """Forms with their counts among the last lines, 0 for what is only remembered, in the order in which they first came."""
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
        """What `restore` puts back: forms in order of creation, the form of each remembered line, oldest first, and of each form
        how often it was seen and how many lines ago last."""
        cdef int slot = self.oldest, i
        cdef dict number = {}
        forms, seen, ages = [], [], []
        while slot != NONE:
            number[slot] = len(forms)
            forms.append(PyBytes_FromStringAndSize(<char*>self.arena + self.forms[slot].start, self.forms[slot].size))
            seen.append(self.forms[slot].seen)
            ages.append(self.lines_ever - self.forms[slot].last)
            slot = self.forms[slot].newer
        return forms, [number[self.ring[(self.head + i) % self.lines_max]] for i in range(self.lines)], seen, ages

    def restore(self, forms, ring, seen, ages):
        """Put back what `parts` gave, into an empty pool of the same limits; ValueError for parts that do not fit."""
        cdef int slot, index
        cdef const unsigned char[::1] line
        if self.distinct_count or not len(forms) == len(seen) == len(ages) == len(set(forms)) == len(set(ages)):
            raise ValueError("these parts belong to another pool, or this one is not empty; make one with the same limits")
        if (
            len(ring) > self.lines_max or not all(0 <= index < len(forms) for index in ring) or min(ages, default=1) < 1
            or max(seen, default=0) > SEEN_MAX
        ):
            raise ValueError("these parts belong to a pool of other limits; make one with the limits they had")
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
        self.lines_ever = max(ages, default=0)
        for index in sorted(range(len(forms)), key=ages.__getitem__, reverse=True):
            self.refresh(slots[index])
            self.forms[slots[index]].seen = seen[index]
            self.forms[slots[index]].last = self.lines_ever - ages[index]
        for index in ring:
            self.ring[self.lines] = slots[index]
            self.lines += 1
            self.forms[slots[index]].count += 1
