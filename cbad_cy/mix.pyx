# cython: autotestdict=False
"""What is strange about a stretch of log in which no line is new: how often its lines come, in which order, and how alike.

A line is known by the number of its template. Two horizons, a window and ten windows, answer four questions, every answer in
nats of surprise:

- A rate above or below the usual. A template counts when it comes after another one ("arrives"), so that a burst of one line
  counts once. How often it should have come follows from the lines of the horizon themselves: the sum, over them, of the
  share with which each template is followed by this one, learned with Witten and Bell's escape from lines that have left the
  long horizon. A phase of the stream thus sets its own expectation. Surprise is the deviance of a negative binomial count,
  whose overdispersion is what the expectation itself is uncertain by. In the long horizon lines are also counted plainly,
  against the template's own mean and variance from block to block, and blocks in a row that lack it add up. Every surprise is
  divided by the level that the template's own bursts or gaps reached in three separate episodes: what came back is usual.
- Order lost. A line saves bits on the next one, against the shares of the horizon; how many is usual is learned for each
  template. The surprise is the sum of what is missing, in its own standard deviations, squared and halved. A stream without
  order saves nothing and has nothing to lose.
- Repetition: how often two lines are followed by what followed them last time, and how few distinct lines there are; each
  against its own slow mean and variance.

Each series of answers is divided by what past blocks, as long as the long horizon, usually reached (median, and the level of
three blocks), and the largest quotient ranks among the largest ones of past blocks. Blocks keep bursts inside, and the maximum
answers for all questions at once. What the open block reached before the last window or two counts as past, so a change that
stays is reported while it grows. Beyond the highest block the p-value follows a tail of index 2, so heavy that its variance is
infinite, because logs have days that no past day announced; and at most `FURTHER` times beyond what ranks alone could say.

Witten and Bell, "The zero-frequency problem", IEEE Transactions on Information Theory 37 (1991); rank p-values: Vovk,
Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005). Integers and correctly rounded operations only: the
same numbers on every machine.
"""

from enum import IntEnum
from typing import Final, NamedTuple

cimport cython
from cpython cimport array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.math cimport frexp, ldexp, sqrt
from libc.stdint cimport int8_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import array
import sys

include "hash.pxi"

cdef enum:
    LONG = HORIZONS - 1         # the horizon that is longer
    WAYS = 8                    # cells of a bucket of pairs
    UNIT = 8                    # a learned count is in eighths, so that halving forgets slowly
    CONTEXT_FULL = 1024 * UNIT  # what followed a template is halved when it is more
    ARRIVED_FULL = 8192 * UNIT  # all arrivals likewise
    SEEN_FULL = 512             # lines after which a template's order is learned no slower
    ORDERS = ROWS               # first series of each other kind
    FOLLOWERS = ORDERS + HORIZONS
    VARIETY = FOLLOWERS + 2
    EPISODES = 3                # separate ones that make a level usual
    OPEN = 3
    COUNTED = 4
    BLOCKS_NEEDED = 6
    BLOCKS_FULL = 12            # from so many on, the oldest third is left out
    MOST_FURTHER = 16
    STEP = 10                   # a horizon is judged anew after a tenth of its lines

WINDOW_MAX: Final = 400
"""Largest window, lines."""

HORIZON_MAX: Final = 1000
"""The long horizon is ten windows, but at most so many lines."""

KNOWN_MAX: Final = KNOWN - 1
"""Templates that are counted each by itself; the others share a number."""

PAIRS_MAX: Final = PAIRS
"""Pairs of neighbouring templates that are remembered."""

BLOCKS_MIN: Final = BLOCKS_NEEDED
"""Blocks of the long horizon that pass, after its own length twice, before a p-value is below 1."""

FURTHER: Final = MOST_FURTHER
"""How many times a p-value goes beyond what ranks alone could say. With n blocks it is at least 1 / (FURTHER (n + 1))."""

include "mix_numbers.pxi"
include "mix_tables.pxi"


class Question(IntEnum):
    """What is unusual."""

    RATE_MORE = 0
    """A line comes more often than what stands around it announces."""
    RATE_LESS = 1
    """A line comes too rarely, or not at all."""
    ORDER = 2
    """Lines stand in an order that they do not have otherwise."""
    REPEAT = 3
    """The same again and again."""


class Judged(NamedTuple):
    """How unusual the last lines are.

    `p_value` (0..1], lower = rarer, over all questions together, 1.0 while too little is known; `confidence`: share of past
    blocks that were less strange; `surprise`: bits without a bound, higher = stranger; `distance`: 0 = as usual, 1 = vanished,
    out of nowhere, without order, frozen. `template` is responsible (0: no single one, or one of many that share a number).
    `observed` and `expected` within the last `horizon` lines: lines or arrivals of the template for rates, bits that lines
    save on the next one for order, and for repetition either followers that were the same as last time or the number of
    equally frequent lines that are as diverse.
    """

    p_value: float
    confidence: float
    surprise: float
    distance: float
    question: Question
    template: int
    observed: float
    expected: float
    horizon: int


@cython.final
cdef class Mix:
    """The recent mix of one stream against its past. Not thread safe. Raises ValueError for sizes out of range.

    Lines come one by one as template ids (any but 0); it is judged after every `hop` of them. `window` is the short horizon.
    `size` says how many bytes it holds, whatever comes: 26 KiB for windows of 50 lines.

    >>> import random
    >>> from array import array
    >>> rng, mix = random.Random(1), Mix(window=20, hop=5)
    >>> for _ in range(1000):
    ...     mix.take_lines(array("Q", rng.choices([1, 2, 3, 4], k=5)))
    ...     usual = mix.judged()
    >>> for _ in range(40):
    ...     mix.take_lines(array("Q", rng.choices([1, 2, 4], k=5)))
    ...     missed = mix.judged()
    >>> usual.p_value > 0.1 > missed.p_value, missed.question.name, missed.template, missed.observed
    (True, 'RATE_LESS', 3, 0.0)
    """

    def __cinit__(self, *, int window, int hop):
        cdef int h
        if not 2 <= window <= WINDOW_MAX or not 1 <= hop <= window:
            raise ValueError(
                f"window {window} and hop {hop} do not fit; keep 1 <= hop <= window and 2 <= window <= {WINDOW_MAX}")
        self.window = window
        self.hop = hop
        self.horizon[0] = window
        self.horizon[LONG] = min(10 * window, HORIZON_MAX)
        self.ring = self.horizon[LONG] + 2
        self.t = <Tables*>calloc(1, sizeof(Tables))
        self.number = <uint8_t*>calloc(5, self.ring)
        if self.t == NULL or self.number == NULL:
            raise MemoryError("no room for a mix")
        self.lost = <int8_t*>self.number + self.ring
        self.saved = self.lost + self.ring
        self.usual = self.saved + self.ring
        self.followed_suit = <uint8_t*>self.usual + self.ring
        self.clear()

    def __dealloc__(self):
        free(self.t)
        free(self.number)

    def __reduce__(self):
        raise TypeError("a Mix can not be pickled; keep its parts and restore them")

    cdef void clear(self) noexcept nogil:
        cdef int h, length = self.horizon[LONG]
        memset(self.t, 0, sizeof(Tables))
        memset(self.number, 0, 5 * self.ring)
        memset(self.moment, 0, sizeof(self.moment))
        memset(self.open, 0, sizeof(self.open))
        memset(self.found, 0, sizeof(self.found))
        self.lines = 0
        self.t.known = 1
        self.t.left = self.last = self.before = -1
        self.blocks = 0
        memset(self.lap, 0, sizeof(self.lap))
        self.lap_due = 0
        self.at = 0
        for h in range(HORIZONS):
            self.lost_sum[h] = self.saved_sum[h] = self.usual_sum[h] = self.suit_sum[h] = 0
            self.squares[h] = 0
            self.due[h] = 2 * length
            self.fold_due[h] = 2 * length + 2 * self.horizon[h]
        self.block_due = 3 * length
        for h in range(KNOWN):
            self.t.spread[h] = 4.0
        derive(self)

    # ---- lines -----------------------------------------------------------------------------------------------------

    cdef inline int back(self, int lines) noexcept nogil:
        """Where in the ring the line is that came so many before the one to come."""
        return self.at - lines if self.at >= lines else self.at - lines + self.ring

    cdef void leave(self) noexcept nogil:
        """Take the oldest line out of both horizons; what leaves the long one is learned."""
        cdef int h, i, number, before
        for h in range(HORIZONS):
            if self.lines < <uint64_t>self.horizon[h]:
                continue
            i = self.back(self.horizon[h])
            number = self.number[i]
            before = self.number[self.back(self.horizon[h] + 1)] if self.lines > <uint64_t>self.horizon[h] else -1
            self.squares[h] -= 2 * self.t.count[h][number] - 1
            self.t.count[h][number] -= 1
            if before >= 0 and before != number:
                self.t.entries[h][number] -= 1
            self.lost_sum[h] -= self.lost[i]
            self.saved_sum[h] -= self.saved[i]
            self.usual_sum[h] -= self.usual[i]
            self.suit_sum[h] -= self.followed_suit[i]
            if h == LONG:
                if before >= 0:
                    learn(self.t, before, number)
                self.t.left = number

    cdef void weigh(self, int i, int number) noexcept nogil:
        """What the line before saved on this one, against what it usually saves."""
        cdef int cell = pair_cell(self.t, self.last, number), length = self.horizon[LONG]
        cdef double share = (self.t.count[LONG][number] + 0.5) / length, escape = UNIT * (self.t.distinct[self.last] + 1.0)
        cdef double count = (self.t.pairs[cell] & 0xFFFF) if cell >= 0 else 0
        cdef double bits = log2_of((count + escape * share) / (self.t.followed[self.last] + escape) / share)
        cdef double usual = self.t.gain[self.last], apart = usual - bits, spread = sqrt(self.t.spread[self.last]), rate
        self.lost[i] = eighth(2.0 * apart / (spread if spread > 2.0 else 2.0))  # under 2 bits nothing is certain
        self.saved[i] = eighth(bits)
        self.usual[i] = eighth(usual)
        if self.t.seen[self.last] < SEEN_FULL:
            self.t.seen[self.last] += 1
        rate = 1.0 / (self.t.seen[self.last] + 1)
        self.t.gain[self.last] = <float>(usual + rate * (bits - usual))
        self.t.spread[self.last] = <float>((1.0 - rate) * self.t.spread[self.last] + rate * apart * apart)

    cdef int take(self, uint64_t template) noexcept nogil:
        cdef int i = self.at, number, h, two
        self.leave()
        number = number_of(self.t, template)
        self.number[i] = <uint8_t>number
        self.lost[i] = self.saved[i] = self.usual[i] = 0
        self.followed_suit[i] = 0
        if self.lines >= <uint64_t>self.horizon[LONG] and self.t.arrived[number]:
            self.weigh(i, number)
        if self.before >= 0:
            two = <int>(stirred(self.before << 8 | self.last) & (INDEX - 1))
            self.followed_suit[i] = self.t.follower[two] == number
            self.t.follower[two] = <uint8_t>number
        for h in range(HORIZONS):
            self.squares[h] += 2 * self.t.count[h][number] + 1
            self.t.count[h][number] += 1
            if self.last >= 0 and self.last != number:
                self.t.entries[h][number] += 1
            self.lost_sum[h] += self.lost[i]
            self.saved_sum[h] += self.saved[i]
            self.usual_sum[h] += self.usual[i]
            self.suit_sum[h] += self.followed_suit[i]
        self.before = self.last
        self.last = number
        self.at = i + 1 if i + 1 < self.ring else 0
        self.lines += 1
        return 0

    # ---- questions -------------------------------------------------------------------------------------------------

    cdef void rates(self, int h) noexcept nogil:
        """Arrivals of every template within a horizon, against what the horizon's lines announced."""
        cdef double expected[KNOWN]
        cdef double vague[KNOWN]     # sum of squares over the events behind each part of it
        cdef double share[KNOWN]     # of what follows a template, by learned event
        cdef double escaped[KNOWN]   # lines whose successor is nobody's
        cdef double escapes = 0.0, squared = 0.0, each = 1.0 / (self.t.all_arrived + UNIT), part, mean, variance, evidence
        cdef double slack = 0.25 * self.horizon[h] / self.horizon[LONG]  # a quarter of a line in the long horizon
        cdef uint32_t asked[PAIRS + 1]
        cdef uint8_t present[KNOWN]
        cdef int i, context, number, count = 0
        memset(present, 0, KNOWN)
        for i in range(self.t.known):
            expected[i] = vague[i] = share[i] = 0.0
            present[i] = self.t.count[h][i] != 0
            escaped[i] = self.t.count[h][i]
            if not present[i]:
                continue
            if self.t.followed[i]:
                share[i] = escaped[i] / (self.t.followed[i] + UNIT * self.t.distinct[i])
                escaped[i] = share[i] * UNIT * self.t.distinct[i]
            escapes += escaped[i]
            squared += escaped[i] * escaped[i]
        for i in range(PAIRS):  # without a branch, because nothing foretells it
            asked[count] = self.t.pairs[i]
            count += present[self.t.pairs[i] >> 24]
        for i in range(count):
            context = <int>(asked[i] >> 24)
            number = <int>(asked[i] >> 16 & 255)
            if context != number:
                part = share[context] * (asked[i] & 0xFFFF)
                expected[number] += part
                vague[number] += part * share[context]
        self.found[h].nats = self.found[RATES + h].nats = 0.0
        for i in range(1, self.t.known):
            part = self.t.arrived[i] * each
            mean = expected[i] + part * (escapes - escaped[i]) + slack
            if 0.0 <= mean - self.t.entries[h][i] < 0.5:
                continue  # half a line too few is no answer
            variance = UNIT * vague[i] + part * part * (squared - escaped[i] * escaped[i]) + 2.0 * slack * slack
            evidence = mean * mean / variance
            if evidence > self.t.arrived[i] / <double>UNIT + 0.5:
                evidence = self.t.arrived[i] / <double>UNIT + 0.5
            self.answer(h, i, self.t.entries[h][i], mean, evidence, UNIT * self.t.entries[h][i] > self.t.arrived[i])

    cdef void counts(self) noexcept nogil:
        """Plain counts of every template within the long horizon, against the template's own past."""
        cdef double mean, extra
        cdef int i
        self.found[HORIZONS].nats = self.found[RATES + HORIZONS].nats = self.found[ROWS - 1].nats = 0.0
        if self.blocks < 3:
            return
        for i in range(1, self.t.known):
            mean = self.t.plain[i]
            if mean < 0.25 or UNIT * self.t.entries[LONG][i] > self.t.arrived[i]:
                continue  # too rare to be missed, or too new
            extra = self.t.burst[i] - mean
            extra = mean * mean / (extra if extra > 0.01 * mean else 0.01 * mean)
            self.answer(HORIZONS, i, self.t.count[LONG][i], mean, extra, False)
            if self.t.idle[i] and self.t.count[LONG][i] == 0:
                self.answer(RATES, i, 0.0, self.t.idle[i] * mean, self.t.idle[i] * extra, False)

    cdef void note_counts(self) noexcept nogil:
        cdef double rate = 1.0 / (self.blocks + 1 if self.blocks < 31 else 32), apart
        cdef int i
        for i in range(1, self.t.known):
            if self.t.count[LONG][i]:
                self.t.idle[i] = 0
            elif self.t.idle[i] < 255:
                self.t.idle[i] += 1
            apart = self.t.count[LONG][i] - self.t.plain[i]
            self.t.plain[i] += <float>(rate * apart)
            self.t.burst[i] += <float>(rate * (apart * apart - self.t.burst[i]))

    cdef void answer(self, int row, int number, double observed, double mean, double evidence, bint fresh) noexcept nogil:
        """Keep what is strangest of a row of rates, and how far each template's open episode has gone."""
        cdef uint8_t* level
        cdef Finding* found
        cdef double nats, usual
        if observed <= mean:
            row += RATES
        level = self.t.level[row][number]
        found = &self.found[row]
        nats = deviance_at_most(observed, mean, evidence)
        if nats <= found.nats and 2.0 * nats < level[OPEN] + 1:
            return
        nats = deviance(observed, mean, evidence)
        if 2.0 * nats >= level[OPEN] + 1:
            level[OPEN] = <uint8_t>(2.0 * nats) if nats < 127.0 else 255
        usual = usual_level(level)
        if fresh:  # most that is known of it is news, so it is compared with news
            if level[OPEN] > self.t.level[row][0][OPEN]:
                self.t.level[row][0][OPEN] = level[OPEN]
            if usual_level(self.t.level[row][0]) > usual:
                usual = usual_level(self.t.level[row][0])
        if nats > usual * found.nats:
            found.nats = nats / usual
            found.observed = observed
            found.expected = mean
            found.template = self.t.id[number]
            found.horizon = self.window if row % RATES == 0 else self.horizon[LONG]
            if row == ROWS - 1:
                found.horizon = self.horizon[LONG] * self.t.idle[number]

    cdef void close_episodes(self, int row) noexcept nogil:
        cdef int i
        for i in range(self.t.known):
            close_episode(self.t.level[row][i])

    cdef void order(self, int h) noexcept nogil:
        cdef Finding* found = &self.found[ORDERS + h]
        cdef double deviations = self.lost_sum[h] / 16.0
        found.nats = deviations * deviations / (2.0 * self.horizon[h]) if deviations > 0.0 else 0.0
        found.observed = self.saved_sum[h] / 8.0
        found.expected = self.usual_sum[h] / 8.0
        found.horizon = self.horizon[h]
        found.template = 0

    cdef double against_own(self, int which, double value) noexcept nogil:
        """Nats by which a value is above its slow mean, whose variance is learned with it; under .05 nothing is certain.

        Four deviations are the most that one value teaches the variance, so that no single burst does.
        """
        cdef double apart = value - self.moment[which], variance = max(self.moment[which + 1], 0.0025), taught
        cdef uint64_t memory = STEP * self.horizon[LONG] / self.hop
        cdef uint64_t judged = (self.lines - 2 * self.horizon[LONG]) / self.hop + 1
        cdef double rate = 1.0 / min(judged, memory)
        taught = apart * apart if judged == 1 else min(apart * apart, 16.0 * variance)
        self.moment[which] += rate * apart
        self.moment[which + 1] += rate * (taught - self.moment[which + 1])
        return apart * apart / (2.0 * variance) if apart > 0.0 and judged > 1 else 0.0

    cdef uint64_t most_common(self, int h) noexcept nogil:
        cdef int i, most = 0
        for i in range(1, self.t.known):
            if self.t.count[h][i] > self.t.count[h][most]:
                most = i
        return self.t.id[most]

    cdef void repetition(self, int end) noexcept nogil:
        """Followers and variety, in the short (0) or the long (1) horizon."""
        cdef int h = end * LONG
        cdef double length = self.horizon[h], usual, distinct = length * length / self.squares[h]
        cdef Finding* found = &self.found[FOLLOWERS + end]
        usual = self.moment[2 * end]
        found.nats = self.against_own(2 * end, self.suit_sum[h] / length)
        found.observed = self.suit_sum[h]
        found.expected = usual * length
        found.horizon = self.horizon[h]
        found = &self.found[VARIETY + end]
        usual = self.moment[4 + 2 * end]
        found.nats = self.against_own(4 + 2 * end, -log2_of(distinct))
        found.observed = distinct
        found.expected = 1.0 / power_of_two(usual)
        found.horizon = self.horizon[h]

    # ---- the answer ------------------------------------------------------------------------------------------------

    cdef double quotient(self, int series) noexcept nogil:
        return self.found[series].nats / self.scale[series]

    cdef void judge(self, Pattern* found) noexcept nogil:
        cdef int h, j, best = 0, length = self.horizon[LONG]
        cdef double strangest
        found.p_value = 1.0
        found.confidence = found.surprise = found.distance = found.observed = found.expected = 0.0
        found.question = RATE_MORE
        found.template = 0
        found.horizon = self.window
        if self.lines < <uint64_t>(2 * length):
            return
        for h in range(HORIZONS):
            if self.lines < self.due[h]:
                continue
            self.due[h] = self.lines + self.horizon[h] // STEP
            if self.lines >= self.fold_due[h]:
                for j in range(ROWS):
                    if (j % RATES == 0 and j < ROWS - 1) == (h == 0):
                        self.close_episodes(j)
                self.fold_due[h] = self.lines + 2 * self.horizon[h]
            self.rates(h)
            self.order(h)
            if h == LONG:
                self.counts()
        self.repetition(0)
        self.repetition(1)
        for j in range(SERIES):
            self.open[j] = max(self.open[j], self.found[j].nats)
            if self.quotient(j) > self.quotient(best):
                best = j
        strangest = self.quotient(best)
        fill_in(self, found, reason(self, best), strangest)
        if self.lines >= self.lap_due:
            self.lap_due = self.lines + self.window
            for h in range(LAPS - 1, 0, -1):
                self.lap[h] = self.lap[h] if h == LAPS - 1 and self.lap[h] > self.lap[h - 1] else self.lap[h - 1]
            self.lap[0] = 0.0
        if strangest > self.lap[0]:
            self.lap[0] = strangest
        if self.lines >= self.block_due:
            close_block(self)

    # ---- border ----------------------------------------------------------------------------------------------------

    def take_lines(self, const unsigned long long[::1] templates):
        """Take template ids in; ValueError for 0, which is no template."""
        cdef Py_ssize_t i
        for i in range(templates.shape[0]):
            if templates[i] == 0:
                raise ValueError(f"template {i} is 0, which stands for none; ids are any other 64-bit numbers")
        with nogil:
            for i in range(templates.shape[0]):
                self.take(templates[i])

    def judged(self):
        """-> `Judged` for the lines taken so far; call it after every `hop` lines, because each call is remembered."""
        cdef Pattern found
        self.judge(&found)
        return Judged(
            found.p_value, found.confidence, found.surprise, found.distance, Question(found.question), found.template,
            found.observed, found.expected, found.horizon)

    def horizons(self):
        """Lengths of both horizons, lines."""
        return self.horizon[0], self.horizon[LONG]

    @property
    def size(self):
        """Bytes that it holds."""
        return sizeof(Tables) + 5 * self.ring + sizeof(Mix)

    def parts(self):
        """Everything it knows, as bytes that `restore` of a mix with the same sizes takes: little-endian columns."""
        return b"".join(column(code, <void*><size_t>address, count) for code, address, count in columns_of(self))

    def restore(self, const unsigned char[::1] parts):
        """Put back what `parts` of a mix with the same sizes gave: from then on both judge alike.

        Raises ValueError for bytes that no such mix gives; the mix is then as if it were new.
        """
        cdef int window = self.window, hop = self.hop
        cdef Py_ssize_t at = 0
        self.clear()
        columns = columns_of(self)
        if parts.shape[0] != sum(count * array.array(code).itemsize for code, _, count in columns):
            raise ValueError(f"{parts.shape[0]} bytes are no mix of window {window}; make one with the sizes it had")
        for code, address, count in columns:
            at = fill(code, <void*><size_t>address, count, parts, at)
        sizes = self.window, self.hop
        self.window, self.hop = window, hop
        if sizes != (window, hop) or not restored(self):
            self.clear()
            if sizes != (window, hop):
                raise ValueError("these parts belong to a mix of other sizes; make one with the window and the hop it had")
            raise ValueError("these parts are damaged: they contradict themselves")
        derive(self)


include "mix_answer.pxi"
include "mix_columns.pxi"
