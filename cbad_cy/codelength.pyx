# cython: autotestdict=False
"""Code length of a log event given the stream's own past, in bits: how surprising it is, and where.

An event is coded as its template (the masked line), given the template before it; a template that was never seen, token
by token; then its slots (what masking took out), each given template and position. Every context c blends its counts with a
lower order by Witten and Bell's rule, in which the escape is as likely as new symbols were so far:

    p(s | c) = (n(c, s) + D(c) p_lower(s)) / (N(c) + D(c)),    N: symbols seen, D: distinct ones

- Template: known ones n / (N + D), new ones D / (N + D) times the token code; on top of it the context of one template.
- Token code: orders 2, 1, 0 over words, marks and single other bytes of the masked line and its end; below order 0
  2^-(2 + 4.5 min(bytes, 24)). Learned when a template is seen for the first and second time, because known templates do not
  need it.
- Slot: the bucket (see `cbad_cy.tokenize.SLOTS_MAX`) over 1/64; a value among at most `VALUES_MAX` given the bucket. A value
  is taken to be no rarer than its bucket: identifiers are new each time and nevertheless usual. A position that sees mostly
  new values stops keeping them. What comes at a position that was never seen is not surprising (3/4): its template was.

All counts live in one table of 8-byte cells. It starts small and doubles up to its bound whenever eight cells that share a
cache line are full; then the least of the eight is given up, of equals the oldest. Every `halving_events` all counts of 2 and
more are halved, so what is common now outweighs what was common once, and what was seen once is forgotten only for want of
room. After a halving the shares of one context may add to more than one: bits are then a score, each share still at most 1.
A context that counted 65,533 symbols learns nothing until the next halving. As long as no cell is given up and no count
halved, learning an event never makes it dearer, with one exception: a new template whose token code takes less than log2 D
bits.

Learn, then ask, in whatever order the caller decides; the same calls give the same bits on every machine: integer counts,
correctly rounded operations and fixed series. Witten and Bell, "The zero-frequency problem", IEEE Transactions on Information
Theory 37 (1991); predictive coding as description length: Rissanen, "Universal coding, information, prediction, and
estimation", IEEE Transactions on Information Theory 30 (1984).
"""

from typing import Final, NamedTuple

cimport cython
from cpython cimport array
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.math cimport frexp, ldexp
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

import array
import sys

cdef extern from "stdlib.h" nogil:
    void* aligned_alloc(size_t alignment, size_t size)

cdef enum:
    CELLS = 8                  # of a bucket
    BUCKET_BYTES = 64
    FULL = 65533               # a context that counted so many learns nothing until counts are halved
    CLOSED = 65535             # as `distinct`: a slot whose values are not kept
    ONE_BIT = 1024
    CAP = 400 * ONE_BIT
    SLOTS_CODED = 16
    VALUES_KEPT = 32
    VALUES_SURE = 16           # from so many on, mostly new ones close a slot
    TOKENS_KEPT = 256
    TOKEN_BYTES_COUNTED = 24
    BUCKETS_START = 64
    SIGHTINGS = 2

BIT: Final = ONE_BIT
"""Costs are whole multiples of 1/BIT bit, so that sums do not depend on their order."""

CAP_BITS: Final = CAP // ONE_BIT
"""The most that one event costs, bits."""

BYTES_MAX: Final = 96 * 1024
"""Default bound of a coder's table, bytes."""

BYTES_MAX_LEAST: Final = BUCKETS_START * BUCKET_BYTES
"""Smallest bound that a coder takes, bytes."""

BYTES_MAX_MOST: Final = 1 << 24
"""Largest bound that a coder takes, bytes."""

HALVING_EVENTS: Final = 1 << 15
"""Default number of learned events from one halving of all counts to the next, and the most that is possible."""

VALUES_MAX: Final = VALUES_KEPT
"""Most distinct values that are kept of one slot."""

TOKENS_LEARNED_MAX: Final = TOKENS_KEPT
"""Tokens of one line that the token code learns; what follows is coded but not learned."""

LINE_BYTES_MAX: Final = 1 << 20
"""Longest masked line, bytes."""


include "hash.pxi"
include "code_cells.pxi"
include "code_tokens.pxi"
include "code_columns.pxi"


class Breakdown(NamedTuple):
    """Where the bits of one event are.

    `total`: what `Coder.code` says, bits; `template`, and `tokens` if `new`, and `slots` add up to it unless it is capped.
    `tokens`: (start, stop, bits) of each token of the masked line, the last one its end; they cost nothing when the template is
    known, and are told nevertheless. `slots`: bits of each slot.
    """

    total: float
    template: float
    new: bool
    tokens: list
    slots: list

# ---- the coder -----------------------------------------------------------------------------------------------------

@cython.final
cdef class Coder:
    """What a stream's past says about its next event. Not thread safe.

    `bytes_max` bounds the table of counts (rounded down to a power of two times 4 to 8 KiB); `halving_events` is how many
    events are learned before counts are halved. Raises ValueError for limits out of range.

    >>> from array import array
    >>> coder = Coder()
    >>> masked, lengths = b"took # mstook # msdisk on fire", array("I", [9, 9, 12])
    >>> no_slots = array("Q"), array("B", [0, 0, 0])
    >>> costs, templates = coder.code(masked, lengths, *no_slots, context=0, learn=True)
    >>> [cost // BIT for cost in costs], templates[0] == templates[1]
    ([44, 1, 64], True)
    """

    def __cinit__(self, *, size_t bytes_max=BYTES_MAX, uint32_t halving_events=HALVING_EVENTS):
        if not BYTES_MAX_LEAST <= bytes_max <= BYTES_MAX_MOST:
            raise ValueError(f"a coder of {bytes_max} bytes is not possible; choose {BYTES_MAX_LEAST} to {BYTES_MAX_MOST}")
        if not 2 <= halving_events <= HALVING_EVENTS:
            raise ValueError(f"halving after {halving_events} events is not possible; choose 2 to {HALVING_EVENTS}")
        self.bytes_max = bytes_max
        self.halving_events = halving_events
        self.buckets_min = <uint32_t>(bytes_max // BUCKET_BYTES)
        self.buckets_max = 1
        while self.buckets_min >= 2 * BUCKETS_START:
            self.buckets_min //= 2
            self.buckets_max *= 2
        self.buckets_max *= self.buckets_min
        self.table = <Bucket*>aligned_alloc(BUCKET_BYTES, self.buckets_min * sizeof(Bucket))
        if self.table == NULL:
            raise MemoryError("no room for a coder")
        self.room = self.buckets_min
        self.clear()

    def __dealloc__(self):
        free(self.table)

    def __reduce__(self):
        raise TypeError("a Coder can not be pickled; keep its parts and restore them")

    # ---- cells -----------------------------------------------------------------------------------------------------

    cdef void clear(self) noexcept nogil:
        self.buckets = self.buckets_min
        self.learned = 0
        memset(self.table, 0, self.buckets * sizeof(Bucket))

    cdef Bucket* bucket(self, uint32_t hash) noexcept nogil:
        return &self.table[<uint64_t>hash * self.buckets >> 32]

    cdef Share share(self, uint64_t context, uint64_t symbol) noexcept nogil:
        cdef Share found
        cdef uint32_t hash = filed(context)
        cdef const Bucket* b = self.bucket(hash)
        cdef int i = place(b, hash)
        found.n = found.total = found.distinct = 0
        if i < 0:
            return found
        found.total = b.count[i]
        found.distinct = b.distinct[i]
        hash = filed_symbol(context, symbol)
        b = self.bucket(hash)
        i = place(b, hash)
        if i >= 0:  # its context may have been given up and begun anew
            found.n = b.count[i] if b.count[i] < found.total else found.total
        return found

    cdef int add(self, uint64_t context, uint64_t symbol) noexcept nogil:
        """Count a symbol; -> 0, or -1 when memory is short."""
        cdef uint32_t hash = filed(context), inner = filed_symbol(context, symbol)
        cdef Bucket* b = self.bucket(hash)
        cdef Bucket* inside = self.bucket(inner)
        cdef int i = place(b, hash), k = place(inside, inner)
        cdef unsigned int total = b.count[i] if i >= 0 else 0
        if total >= FULL:
            return 0
        if k >= 0:
            inside.count[k] = <uint16_t>((inside.count[k] if inside.count[k] < total else total) + 1)
        else:
            if self.insert(inner, 0) != 0:
                return -1
            b = self.bucket(hash)
            i = place(b, hash)
        if i < 0:
            return self.insert(hash, 1)
        b.count[i] += 1
        if k < 0:
            b.distinct[i] += 1
        return 0

    cdef int insert(self, uint32_t hash, unsigned int distinct) noexcept nogil:
        """Put a cell with a count of 1 behind the others of its bucket; -> 0, or -1 when memory is short."""
        cdef Bucket* b = self.bucket(hash)
        cdef int i, at = 0
        while b.hash[CELLS - 1] and self.buckets < self.buckets_max:
            if self.grow() != 0:
                return -1
            b = self.bucket(hash)
        if b.hash[CELLS - 1]:
            for i in range(1, CELLS):
                if b.count[i] < b.count[at]:
                    at = i
            for i in range(at, CELLS - 1):
                b.hash[i] = b.hash[i + 1]
                b.count[i] = b.count[i + 1]
                b.distinct[i] = b.distinct[i + 1]
            at = CELLS - 1
        else:
            while b.hash[at]:
                at += 1
        b.hash[at] = hash
        b.count[at] = 1
        b.distinct[at] = <uint16_t>distinct
        return 0

    cdef int grow(self) noexcept nogil:
        """Double the table: the cells of bucket i go to 2i and 2i + 1, in their order; -> 0, or -1 when memory is short."""
        cdef Bucket* larger
        cdef Bucket old
        cdef Bucket* b
        cdef uint32_t before = self.buckets, number
        cdef int i, at
        if 2 * before > self.room:
            larger = <Bucket*>aligned_alloc(BUCKET_BYTES, 2 * <size_t>before * sizeof(Bucket))
            if larger == NULL:
                return -1
            memcpy(larger, self.table, before * sizeof(Bucket))
            free(self.table)
            self.table = larger
            self.room = 2 * before
        self.buckets = 2 * before
        for number in range(before):
            old = self.table[before - 1 - number]
            memset(&self.table[2 * (before - 1 - number)], 0, 2 * sizeof(Bucket))
            for i in range(CELLS):
                if old.hash[i] == 0:
                    break
                b = self.bucket(old.hash[i])
                at = 0
                while b.hash[at]:
                    at += 1
                b.hash[at] = old.hash[i]
                b.count[at] = old.count[i]
                b.distinct[at] = old.distinct[i]
        return 0

    cdef void halve(self) noexcept nogil:
        """Halve counts of 2 and more. A closed slot opens again when its context is down to 1."""
        cdef Bucket* b
        cdef uint32_t number
        cdef int i
        for number in range(self.buckets):
            b = &self.table[number]
            for i in range(CELLS):
                if b.count[i] > 1:
                    b.count[i] >>= 1
                if b.distinct[i] == CLOSED:
                    if b.count[i] == 1:
                        b.distinct[i] = 1
                elif b.distinct[i] > 1:
                    b.distinct[i] >>= 1

    cdef uint64_t template_of(self, const unsigned char* line, size_t size) noexcept nogil:
        return hash_of(line, size) | 1

    # ---- code ------------------------------------------------------------------------------------------------------

    cdef double token_share(self, uint64_t before, uint64_t last, uint64_t token, size_t size) noexcept nogil:
        cdef double p = blend(self.share(any_token(), token), spelled(size))
        p = blend(self.share(after_token(last), token), p)
        return blend(self.share(after_tokens(before, last), token), p)

    cdef double token_bits(self, const unsigned char* line, size_t size) noexcept nogil:
        """The token code of a line, bits; what is certain to be over the cap is not counted to its end."""
        cdef size_t i = 0, stop
        cdef uint64_t before = 0, last = 0, token
        cdef double p = 1.0, bits = 0.0
        while True:
            i = token_start(line, size, i)
            if i == size:
                break
            stop = token_stop(line, size, i)
            token = hash_of(line + i, stop - i)
            p *= self.token_share(before, last, token, stop - i)
            if p < 1e-120:  # a single factor is above 1e-50
                bits += bits_of(p)
                p = 1.0
                if bits >= CAP // ONE_BIT:
                    return bits
            before = last
            last = token
            i = stop
        return bits + bits_of(p * self.token_share(before, last, 0, 1))

    cdef double slot_share(self, uint64_t template, int position, uint64_t slot) noexcept nogil:
        cdef Share bucket = self.share(slot_buckets(template, position), slot >> 56)
        cdef Share value
        cdef double p
        if bucket.total == 0:
            return 0.75  # a little less than the share of the same value when it comes again
        p = blend(bucket, 1.0 / 64)
        value = self.share(slot_values(template, position), slot)
        if value.total == 0 or value.distinct == CLOSED:
            return p
        if value.n:
            return blend(value, p)
        return escape(value) * (p if p > 1.0 / 64 else 1.0 / 64)

    cdef Bits cost(
        self, const unsigned char* line, size_t size, uint64_t template, uint64_t context, const uint64_t* slots, int slot_count
    ) noexcept nogil:
        cdef Bits found
        cdef Share known = self.share(any_template(), template), follows = self.share(after_template(context), template)
        cdef double p
        cdef int i
        found.tokens = 0
        if known.n:
            p = blend(follows, known.n / <double>(known.total + known.distinct))
        elif follows.n:  # what was known of it without its context has been given up
            p = blend(follows, 0.0)
        else:
            p = escape(known) * escape(follows)
            found.tokens = whole(self.token_bits(line, size))
        found.template = whole(bits_of(p))
        p = 1.0
        for i in range(slot_count if slot_count < SLOTS_CODED else SLOTS_CODED):
            p *= self.slot_share(template, i, slots[i])  # 16 factors above 1e-12
        found.slots = whole(bits_of(p))
        found.total = found.template + found.tokens + found.slots
        if found.total > CAP:
            found.total = CAP
        return found

    # ---- learning --------------------------------------------------------------------------------------------------

    cdef int learn_token(self, uint64_t before, uint64_t last, uint64_t token) noexcept nogil:
        if self.add(any_token(), token) != 0 or self.add(after_token(last), token) != 0:
            return -1
        return self.add(after_tokens(before, last), token)

    cdef int learn_tokens(self, const unsigned char* line, size_t size) noexcept nogil:
        cdef size_t i = 0, stop
        cdef uint64_t before = 0, last = 0, token
        cdef int count
        for count in range(TOKENS_KEPT):
            i = token_start(line, size, i)
            if i == size:
                return self.learn_token(before, last, 0)
            stop = token_stop(line, size, i)
            token = hash_of(line + i, stop - i)
            if self.learn_token(before, last, token) != 0:
                return -1
            before = last
            last = token
            i = stop
        return 0

    cdef int learn_slot(self, uint64_t template, int position, uint64_t slot) noexcept nogil:
        cdef uint64_t context = slot_values(template, position)
        cdef uint32_t hash = filed(context)
        cdef Bucket* b
        cdef int i
        if self.add(slot_buckets(template, position), slot >> 56) != 0:
            return -1
        b = self.bucket(hash)
        i = place(b, hash)
        if i >= 0 and b.distinct[i] == CLOSED:
            return 0
        if self.add(context, slot) != 0:
            return -1
        b = self.bucket(hash)
        i = place(b, hash)
        if i >= 0 and (
            b.distinct[i] > VALUES_KEPT or (b.distinct[i] >= VALUES_SURE and 2 * b.distinct[i] > b.count[i])
        ):
            b.distinct[i] = CLOSED
        return 0

    cdef int learn(
        self, const unsigned char* line, size_t size, uint64_t template, uint64_t context, const uint64_t* slots, int slot_count
    ) noexcept nogil:
        cdef unsigned int sightings = self.share(any_template(), template).n
        cdef int i
        if self.add(any_template(), template) != 0 or self.add(after_template(context), template) != 0:
            return -1
        if sightings < SIGHTINGS and self.learn_tokens(line, size) != 0:
            return -1
        for i in range(slot_count if slot_count < SLOTS_CODED else SLOTS_CODED):
            if self.learn_slot(template, i, slots[i]) != 0:
                return -1
        self.learned += 1
        if self.learned == self.halving_events:
            self.learned = 0
            self.halve()
        return 0

    # ---- border ----------------------------------------------------------------------------------------------------

    def code(
        self, const unsigned char[::1] text, const unsigned int[::1] lengths, const unsigned long long[::1] slots,
        const unsigned char[::1] slot_counts, *, uint64_t context, bint learn,
    ):
        """Code masked lines as they come, with slots as `mask_with_slots` gives both; -> costs in 1/BIT bit, and templates.

        `context` is the template of the line before (0: there is none); hand in the last one of the batch before. With `learn`
        each line is learned right after it was coded. Raises ValueError for columns that do not fit, MemoryError.
        """
        cdef Py_ssize_t lines = lengths.shape[0], i
        check(text, lengths, slots, slot_counts)
        cdef array.array costs = array.clone(array.array("I"), lines, zero=False)
        cdef array.array templates = array.clone(array.array("Q"), lines, zero=False)
        cdef const unsigned char* s = start_of(text)
        cdef const uint64_t* values = slots_of(slots)
        cdef uint64_t template
        cdef int outcome = 0
        with nogil:
            for i in range(lines):
                template = self.template_of(s, lengths[i])
                costs.data.as_uints[i] = self.cost(s, lengths[i], template, context, values, slot_counts[i]).total
                if learn:
                    outcome = self.learn(s, lengths[i], template, context, values, slot_counts[i])
                    if outcome != 0:
                        break
                context = templates.data.as_ulonglongs[i] = template
                s += lengths[i]
                values += slot_counts[i]
        if outcome != 0:
            raise MemoryError("no room for a coder to grow")
        return costs, templates

    def learn_lines(
        self, const unsigned char[::1] text, const unsigned int[::1] lengths, const unsigned long long[::1] slots,
        const unsigned char[::1] slot_counts, const unsigned long long[::1] contexts,
    ):
        """Learn masked lines that were coded before; `contexts` are the templates that stood before each of them.

        Raises ValueError for columns that do not fit, MemoryError.
        """
        cdef Py_ssize_t lines = lengths.shape[0], i
        check(text, lengths, slots, slot_counts)
        if contexts.shape[0] != lines:
            raise ValueError(f"{lines} lines but {contexts.shape[0]} contexts; give one for each line")
        cdef const unsigned char* s = start_of(text)
        cdef const uint64_t* values = slots_of(slots)
        cdef int outcome = 0
        with nogil:
            for i in range(lines):
                outcome = self.learn(s, lengths[i], self.template_of(s, lengths[i]), contexts[i], values, slot_counts[i])
                if outcome != 0:
                    break
                s += lengths[i]
                values += slot_counts[i]
        if outcome != 0:
            raise MemoryError("no room for a coder to grow")

    def explain(self, const unsigned char[::1] line, const unsigned long long[::1] slots, *, uint64_t context):
        """Where the bits of one masked line and its slots are, without learning it. ValueError over `LINE_BYTES_MAX`.

        >>> coder = Coder()
        >>> found = coder.explain(b"disk full", array.array("Q"), context=0)
        >>> found.new, found.total, found.tokens
        (True, 46.5, [(0, 4, 20.0), (5, 9, 20.0), (9, 9, 6.5)])
        """
        if line.shape[0] > LINE_BYTES_MAX:
            raise ValueError(f"line of {line.shape[0]} bytes is over LINE_BYTES_MAX = {LINE_BYTES_MAX}; cut it first")
        cdef const unsigned char* s = start_of(line)
        cdef size_t n = line.shape[0], i = 0, stop
        cdef uint64_t template = self.template_of(s, n), before = 0, last = 0, token
        cdef int count = <int>min(slots.shape[0], SLOTS_CODED), k
        cdef Bits bits = self.cost(s, n, template, context, slots_of(slots), count)
        tokens = []
        while True:
            i = token_start(s, n, i)
            if i == n:
                break
            stop = token_stop(s, n, i)
            token = hash_of(s + i, stop - i)
            tokens.append((i, stop, bits_of(self.token_share(before, last, token, stop - i))))
            before = last
            last = token
            i = stop
        tokens.append((n, n, bits_of(self.token_share(before, last, 0, 1))))
        return Breakdown(
            bits.total / <double>ONE_BIT, bits.template / <double>ONE_BIT, bits.tokens > 0, tokens,
            [bits_of(self.slot_share(template, k, slots[k])) for k in range(count)])

    def reset(self):
        """Forget everything but the limits; cheap enough to code every window alone."""
        self.clear()

    @property
    def size(self):
        """Bytes of the table by now; at most `bytes_max`."""
        return self.buckets * BUCKET_BYTES

    @property
    def events(self):
        """Events learned since counts were halved."""
        return self.learned

    def parts(self):
        """Everything it knows as bytes that `restore` takes: two numbers, how many cells each bucket holds, and columns of
        hashes, counts and distinct counts, all little-endian."""
        cdef uint32_t number
        cdef int i
        cdef Bucket* b
        fills, hashes, counts, distincts = bytearray(), array.array("I"), array.array("H"), array.array("H")
        for number in range(self.buckets):
            b = &self.table[number]
            i = 0
            while i < CELLS and b.hash[i]:
                hashes.append(b.hash[i])
                counts.append(b.count[i])
                distincts.append(b.distinct[i])
                i += 1
            fills.append(i)
        head = array.array("I", [self.buckets, self.learned])
        return b"".join((little(head), bytes(fills), little(hashes), little(counts), little(distincts)))

    def restore(self, const unsigned char[::1] parts):
        """Put back what `parts` of a coder with the same limits gave: from then on both behave alike.

        Raises ValueError for bytes that no such coder gives, MemoryError; the coder is then as it was.
        """
        cdef Py_ssize_t size = parts.shape[0], cells = 0, at, k = 0
        cdef uint32_t buckets, number
        cdef Bucket* fresh
        cdef int i
        if size < 8:
            raise ValueError(f"{size} bytes are no coder; hand over what parts() gave")
        buckets, learned = four(parts, 0), four(parts, 4)
        if (
            not self.buckets_min <= buckets <= self.buckets_max or buckets % self.buckets_min
            or (buckets // self.buckets_min) & (buckets // self.buckets_min - 1)
            or learned >= self.halving_events or size < 8 + buckets
        ):
            raise ValueError("these parts belong to a coder of other limits; make one with the limits it had")
        for number in range(buckets):
            if parts[8 + number] > CELLS:
                raise ValueError("these parts are damaged: a bucket holds too many cells")
            cells += parts[8 + number]
        at = 8 + buckets
        if size != at + 8 * cells:
            raise ValueError(f"these parts are damaged: {size} bytes for {cells} cells in {buckets} buckets")
        fresh = <Bucket*>aligned_alloc(BUCKET_BYTES, buckets * sizeof(Bucket))
        if fresh == NULL:
            raise MemoryError("no room for a coder")
        memset(fresh, 0, buckets * sizeof(Bucket))
        for number in range(buckets):
            for i in range(parts[8 + number]):
                fresh[number].hash[i] = four(parts, at + 4 * k)
                fresh[number].count[i] = two(parts, at + 4 * cells + 2 * k)
                fresh[number].distinct[i] = two(parts, at + 6 * cells + 2 * k)
                if not sound(&fresh[number], i, number, buckets):
                    free(fresh)
                    raise ValueError("these parts are damaged: a cell does not belong where it is")
                k += 1
        free(self.table)
        self.table = fresh
        self.room = self.buckets = buckets
        self.learned = learned
