# cython: autotestdict=False
"""Is the window new? The first question about a stream, by code length.

Under the statistical coder each line is coded when it comes and learned at once, and the window is ranked by the bits of all
its lines, and by those of its three dearest ones: a single new line is dear in itself. Where much was new lately
(`RESTLESS_LINES` of the last lines before the window), it is compared with the windows of such times, else with those of
calm ones: what a stream says while it is learned, or while it changes, says nothing about how rare something new is later
(conformal prediction within categories: Vovk, Lindsay, Nouretdinov and Gammerman, "Mondrian Confidence Machine", 2003).
Under a compressor the window is ranked by C(W given B), and by C(W given B)/C(W): new lines cost bytes, but a window of one
new line again and again is cheap and yet not explained at all; and all times are calm.

Two statistics share one p-value (Bonferroni). The effect is the calibrated distance: how far C(W given B)/C(W) lies from its
usual value towards 1, where nothing is explained; under the coder also that of the dearest line alone.
"""

from typing import Final

cimport cython
from libc.stdint cimport uint64_t
from libc.stdlib cimport malloc

from cbad_cy.codec cimport FAILED, Codec
from cbad_cy.codelength cimport Coder
from cbad_cy.held cimport NOVEL, Held, Marks
from cbad_cy.model cimport ONE_BIT, Bits, model_cost, model_learn, model_marks
from cbad_cy.rank cimport Rarity, Reference, Sample

NOVEL_LINES_MAX: Final = RESTLESS_LINES
"""So many new lines that have left the window are remembered."""

cdef enum:
    DEAREST = 3                  # lines whose bits are ranked beside those of the whole window
    DEAR = 20 * ONE_BIT          # the parts of a dearer line are remembered until it leaves the window
    FLAGGED_WINDOWS = 1024


cdef size_t compressed(Held* held, Codec codec, void* context, int first, int count) noexcept nogil:
    """Size of held lines under one of the codec's contexts; FAILED when the library refuses."""
    return codec.kernel.compress(
        context, codec.target, codec.room, held.text + held.starts[first], held.starts[first + count] - 1 - held.starts[first])


cdef double calibrated(double ratio, double usual) noexcept nogil:
    if usual >= 1.0 or ratio <= usual:
        return 0.0
    return min(1.0, (ratio - usual) / (1.0 - usual))


@cython.final
cdef class Content:
    """What a stream's windows cost so far. A part of `cbad_cy.slide.Slide`, which asks it; here is what is kept and restored.

    `coder` is the stream's own, None under a compressor; `reference`, `block` and `lag` as in `cbad_cy.rank.Reference`,
    `normals` windows say what is usual. Raises ValueError for sizes out of range.

    >>> content = Content(window=50, reference=1000, block=5, lag=5, normals=100)
    >>> content.restless, content.p_value(5000.0, 900.0)
    (False, 1.0)
    """

    def __cinit__(self, *, int window, int reference, int block, int lag, int normals, Coder coder=None):
        self.coder = coder
        self.window = window
        self.calm_lengths = Reference(size=reference, block=block, lag=lag)
        self.calm_accents = Reference(size=reference, block=block, lag=lag)
        self.restless_lengths = Reference(size=reference, block=block, lag=lag)
        self.restless_accents = Reference(size=reference, block=block, lag=lag)
        self.lengths = self.calm_lengths, self.restless_lengths
        self.accents = self.calm_accents, self.restless_accents
        self.ratios = Sample(normals)
        self.dear_ratios = Sample(normals)

    def __reduce__(self):
        raise TypeError("a Content can not be pickled; keep its parts and restore them")

    cdef int take(self, Held* held, int line) noexcept nogil:
        """Under the coder the line costs what it costs now; then it is learned."""
        cdef const unsigned char* s = held.text + held.starts[line]
        cdef size_t size = held.starts[line + 1] - held.starts[line] - 1
        cdef const uint64_t* slots = held.slots + held.slot_starts[line]
        cdef int slot_count = <int>(held.slot_starts[line + 1] - held.slot_starts[line])
        cdef uint64_t template = held.templates[line]
        cdef Bits found
        cdef Marks* marks
        if self.coder is None:
            self.context = template
            return DONE
        found = model_cost(&self.coder.model, s, size, template, self.context, slots, slot_count)
        held.costs[line] = found.total
        held.words[line] = min(found.total, found.template + found.tokens)
        if found.tokens:
            held.flags[line] |= NOVEL
        if found.total >= DEAR:
            marks = <Marks*>malloc(sizeof(Marks))
            if marks == NULL:
                return FULL
            marks.count = model_marks(&self.coder.model, s, size, template, self.context, slots, slot_count, marks.part)
            held.marks[line] = marks
        if model_learn(&self.coder.model, s, size, template, self.context, slots, slot_count) != 0:
            return FULL
        self.context = template
        return DONE

    cdef void leave(self, uint64_t number) noexcept nogil:
        self.novel[self.novel_at] = number + 1
        self.novel_at = (self.novel_at + 1) % RESTLESS_LINES

    cdef int ask(
        self, Held* held, Codec codec, int first, uint64_t number, double bar, bint wanted, Answer* found
    ) noexcept nogil:
        """Is the window new? `bar` is the p-value from which on the effect is wanted; it is always when `wanted`."""
        cdef Rarity whole, accent
        cdef double statistic
        cdef uint64_t oldest
        self.plain = 0
        if self.coder is not None:
            statistic = self.add_up(held, first)
        else:
            if self.weigh(held, codec, first) != DONE:
                return REFUSED
            self.bits = 8 * ONE_BIT * <uint64_t>self.given
            statistic = <double>(65536 * <uint64_t>self.given // self.plain)
        oldest = self.novel[self.novel_at]
        self.restless = oldest > 0 and oldest + RESTLESS_WINDOWS * self.window > number
        accent = self.rank_accent(statistic)
        statistic = <double>self.bits if self.coder is not None else <double>self.given
        whole = self.rank_length(statistic)
        self.whole = whole.p_value
        self.accent = accent.p_value
        found.question = 0
        found.p_value = min(1.0, 2.0 * min(self.whole, self.accent))
        found.surprise = max(whole.surprise, accent.surprise)
        found.confidence = max(whole.confidence, accent.confidence)
        found.distance = 0.0
        if self.plain or wanted or found.p_value <= bar:
            return self.measure(held, codec, first, bar, found)
        return DONE

    cdef int measure(self, Held* held, Codec codec, int first, double bar, Answer* found) noexcept nogil:
        """The effect, with the same `bar` as before; measured anew it is the same until the window is learned."""
        if self.plain == 0 and self.weigh(held, codec, first) != DONE:
            return REFUSED
        found.distance = self.compare(bar / 2)
        return DONE

    cdef Rarity rank_length(self, double statistic) noexcept nogil:
        cdef Rarity found
        if self.restless:
            found = self.restless_lengths.judge(statistic)
            self.restless_lengths.push(statistic)
        else:
            found = self.calm_lengths.judge(statistic)
            self.calm_lengths.push(statistic)
        return found

    cdef Rarity rank_accent(self, double statistic) noexcept nogil:
        cdef Rarity found
        if self.restless:
            found = self.restless_accents.judge(statistic)
            self.restless_accents.push(statistic)
        else:
            found = self.calm_accents.judge(statistic)
            self.calm_accents.push(statistic)
        return found

    cdef double add_up(self, Held* held, int first) noexcept nogil:
        """Bits of all lines of the window; -> those of the dearest ones."""
        cdef unsigned int[DEAREST] dearest
        cdef unsigned int cost, swap
        cdef int i, k
        for k in range(DEAREST):
            dearest[k] = 0
        self.bits = 0
        for i in range(first, held.taken):
            cost = held.costs[i]
            self.bits += cost
            for k in range(DEAREST):
                if cost > dearest[k]:
                    swap = dearest[k]
                    dearest[k] = cost
                    cost = swap
        return <double>(<uint64_t>dearest[0] + dearest[1] + dearest[2])

    cdef int weigh(self, Held* held, Codec codec, int first) noexcept nogil:
        """C(W) and C(W given B) in bytes, and how much of the dearest line the past leaves unexplained."""
        cdef size_t size = compressed(held, codec, codec.plain, first, self.window)
        cdef uint64_t words = 0
        cdef int i, dearest = first
        if size == FAILED:
            return REFUSED
        self.plain = <unsigned int>size
        if self.coder is None:
            size = compressed(held, codec, codec.given, first, self.window)
            self.given = <unsigned int>size
            return DONE if size != FAILED else REFUSED
        for i in range(first, held.taken):
            words += held.words[i]
            if held.words[i] > held.words[dearest]:
                dearest = i
        size = compressed(held, codec, codec.plain, dearest, 1)
        if size == FAILED:
            return REFUSED
        self.given = <unsigned int>(1 + (words + 8 * ONE_BIT - 1) // (8 * ONE_BIT))
        self.dear_ratio = min(1.0, held.words[dearest] / (8.0 * ONE_BIT * size))
        return DONE

    cdef double compare(self, double bar) noexcept nogil:
        """The calibrated distance: how far a ratio lies from its usual value towards 1, where nothing is explained.

        Under the coder there are two: of the whole window, and of its dearest line. Where a statistic's p-value reaches the
        bar its own distance counts, the larger one if both do; else that of the whole window.
        """
        cdef double ratio = <double>self.given / self.plain, found, other
        self.usual = self.ratios.middle(ratio)
        found = calibrated(ratio, self.usual)
        if self.coder is None or self.accent > bar:
            return found
        other = calibrated(self.dear_ratio, self.dear_ratios.middle(self.dear_ratio))
        return other if self.whole > bar or other > found else found

    cdef void settle(self, bint flagged, double p_value_threshold) noexcept nogil:
        """An incident must not hide the next one: its windows count as no more than a high one, as long as fewer than half as
        many windows are flagged as may be. Beyond that they count as what they are, and rank keeps the promise."""
        if flagged and 2.0 * self.flagged_share < p_value_threshold:
            if self.restless:
                self.restless_lengths.soften()
                self.restless_accents.soften()
            else:
                self.calm_lengths.soften()
                self.calm_accents.soften()
        self.flagged_share += ((1.0 if flagged else 0.0) - self.flagged_share) / FLAGGED_WINDOWS

    cdef void learn_normal(self) noexcept nogil:
        self.ratios.push(<double>self.given / self.plain)
        self.dear_ratios.push(self.dear_ratio)

    def p_value(self, double whole, double accent):
        """The p-value that a window with these two statistics would have had in the place of the newest one."""
        return min(1.0, 2.0 * min(
            self.lengths[self.restless].surprise(whole)[0], self.accents[self.restless].surprise(accent)[0]))

    def novel_lines(self):
        """Numbers of the newest lines that were new and have left the window, oldest first; three at most."""
        cdef int i
        found = (self.novel[(self.novel_at + i) % RESTLESS_LINES] for i in range(RESTLESS_LINES))
        return [number - 1 for number in found if number]

    def restore(self, *, uint64_t context, novel, double flagged_share=0.0):
        """Put back the template of the newest line, the `novel_lines` and the `flagged_share`; what else is kept is restored on its own.

        Raises ValueError for more than `NOVEL_LINES_MAX` of them.
        """
        cdef int i
        if len(novel) > RESTLESS_LINES:
            raise ValueError(f"{len(novel)} new lines are more than {RESTLESS_LINES}; these parts are damaged")
        if not 0.0 <= flagged_share <= 1.0:
            raise ValueError(f"a share of {flagged_share} windows is not possible; these parts are damaged")
        self.context = context
        self.flagged_share = flagged_share
        for i in range(len(novel)):
            self.novel[i] = novel[i] + 1
        self.novel_at = len(novel) % RESTLESS_LINES
