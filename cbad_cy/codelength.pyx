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
cache line are full; then the least of the eight is given up, of equals the oldest, and of templates none unless they have
more than three of the eight. Every `halving_events` all counts of 2 and more are halved, so what is common now outweighs what
was common once, and what was seen once is forgotten only for want of room. After a halving the shares of one context may add
to more than one: bits are then a score, each share still at most 1.
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
from libc.math cimport frexp, ldexp
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from cbad_cy.model cimport (
    BUCKETS_START, BUCKET_BYTES, CAP, CELLS, CLOSED, KNOWN, MARKS_KEPT, ONE_BIT, TOKENS_KEPT, TOKEN_BYTES_COUNTED, VALUES_KEPT, Bits,
    Bucket, Mark, Model, Share, model_clear, model_close, model_cost, model_learn, model_marks, model_open, slot_share,
    template_of, token_share)

import array
import sys

cdef extern from "stdlib.h" nogil:
    void* aligned_alloc(size_t alignment, size_t size)

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

MARKS_MAX: Final = MARKS_KEPT
"""Most parts of one line whose bits are told."""

LINE_BYTES_MAX: Final = 1 << 20
"""Longest masked line, bytes."""


cdef enum:
    SLOTS_MAX = 16             # that are coded


include "hash.pxi"
include "logarithm.pxi"
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
        if model_open(&self.model, bytes_max, halving_events) != 0:
            raise MemoryError("no room for a coder")

    def __dealloc__(self):
        model_close(&self.model)

    def __reduce__(self):
        raise TypeError("a Coder can not be pickled; keep its parts and restore them")

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
                template = template_of(s, lengths[i])
                costs.data.as_uints[i] = model_cost(
                    &self.model, s, lengths[i], template, context, values, slot_counts[i]).total
                if learn:
                    outcome = model_learn(&self.model, s, lengths[i], template, context, values, slot_counts[i])
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
                outcome = model_learn(
                    &self.model, s, lengths[i], template_of(s, lengths[i]), contexts[i], values, slot_counts[i])
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
        cdef uint64_t template = template_of(s, n), before = 0, last = 0, token
        cdef int count = <int>min(slots.shape[0], SLOTS_MAX), k
        cdef Bits bits = model_cost(&self.model, s, n, template, context, slots_of(slots), count)
        tokens = []
        while True:
            i = token_start(s, n, i)
            if i == n:
                break
            stop = token_stop(s, n, i)
            token = hash_of(s + i, stop - i)
            tokens.append((i, stop, bits_of(token_share(&self.model, before, last, token, stop - i))))
            before = last
            last = token
            i = stop
        tokens.append((n, n, bits_of(token_share(&self.model, before, last, 0, 1))))
        return Breakdown(
            bits.total / <double>ONE_BIT, bits.template / <double>ONE_BIT, bits.tokens > 0, tokens,
            [bits_of(slot_share(&self.model, template, k, slots[k])) for k in range(count)])

    def marks(self, const unsigned char[::1] line, const unsigned long long[::1] slots, *, uint64_t context):
        """The dearest parts of one masked line, without learning it, as (start, stop, slot, bits): a token of a new line where
        `slot` is -1, else a slot. At most `MARKS_MAX`, tokens in their order first. ValueError over `LINE_BYTES_MAX`."""
        if line.shape[0] > LINE_BYTES_MAX:
            raise ValueError(f"line of {line.shape[0]} bytes is over LINE_BYTES_MAX = {LINE_BYTES_MAX}; cut it first")
        cdef Mark[MARKS_KEPT] found
        cdef const unsigned char* s = start_of(line)
        cdef size_t n = line.shape[0]
        cdef int count = model_marks(
            &self.model, s, n, template_of(s, n), context, slots_of(slots), <int>min(slots.shape[0], SLOTS_MAX), found), k
        return [(found[k].start, found[k].stop, found[k].slot, found[k].bits / <double>ONE_BIT) for k in range(count)]

    def reset(self):
        """Forget everything but the limits; cheap enough to code every window alone."""
        model_clear(&self.model)

    @property
    def size(self):
        """Bytes of the table by now; at most `bytes_max`."""
        return self.model.buckets * BUCKET_BYTES

    @property
    def events(self):
        """Events learned since counts were halved."""
        return self.model.learned

    def parts(self):
        """Everything it knows as bytes that `restore` takes: two numbers, how many cells each bucket holds, and columns of
        hashes within their bucket, counts and distinct counts. Of each column the least significant bytes stand first, then
        the next ones: most of the others are zero, and compress to nothing."""
        cdef uint32_t number
        cdef int i
        cdef Bucket* b
        fills, places, counts, distincts = bytearray(), array.array("I"), array.array("H"), array.array("H")
        for number in range(self.model.buckets):
            b = &self.model.table[number]
            i = 0
            while i < CELLS and b.hash[i]:
                places.append(b.hash[i] - first_of(number, self.model.buckets))
                counts.append(b.count[i])
                distincts.append(b.distinct[i])
                i += 1
            fills.append(i)
        head = array.array("I", [self.model.buckets, self.model.learned])
        columns = (little(column)[k::column.itemsize] for column in (places, counts, distincts) for k in range(column.itemsize))
        return b"".join((little(head), bytes(fills), *columns))

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
        buckets, learned = spread(parts, 0, 1, 4), spread(parts, 4, 1, 4)
        if (
            not self.model.buckets_min <= buckets <= self.model.buckets_max or buckets % self.model.buckets_min
            or (buckets // self.model.buckets_min) & (buckets // self.model.buckets_min - 1)
            or learned >= self.model.halving_events or size < 8 + buckets
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
                fresh[number].hash[i] = first_of(number, buckets) + spread(parts, at + k, cells, 4)
                fresh[number].count[i] = <uint16_t>spread(parts, at + 4 * cells + k, cells, 2)
                fresh[number].distinct[i] = <uint16_t>spread(parts, at + 6 * cells + k, cells, 2)
                if not sound(&fresh[number], i, number, buckets):
                    free(fresh)
                    raise ValueError("these parts are damaged: a cell does not belong where it is")
                k += 1
        free(self.model.table)
        self.model.table = fresh
        self.model.room = self.model.buckets = buckets
        self.model.learned = learned


def template(const unsigned char[::1] line):
    """The number by which the coder knows a masked line: 64 bits, never 0, the same on every machine.

    >>> template(b"took # ms") == template(bytearray(b"took # ms")) != template(b"took # s")
    True
    """
    return template_of(start_of(line), line.shape[0])
