# cython: autotestdict=False
"""The window that slides over a stream: lines in, and for every `hop` of them the code length given the past, and a verdict.

    masked lines -> window (newest `window` lines) --every hop--> what each question says: p-value, effect -> flagged or not
                       └-- leave unflagged --> pool of the newest `baseline` lines and of recurring ones

The first question is whether the window is new: `cbad_cy.content`. `cbad_cy.mix` says whether the usual lines come as often
and in such an order as they use to, `cbad_cy.instances` whether one instance is unlike the others.

Each question has its share of the false-alarm rate, `SHARES`: the p-value of the window is the smallest p-value of a
question by its share (Bonferroni). A question flags a window whose p-value passes that way and whose effect, 0..1, is at
least the threshold of the distance; so what is rare but hardly different passes unflagged.

One call takes a whole batch with the GIL released, and comes back only for a window that someone has to look at, or for a
new dictionary. What is usual is learned from one window in `window` / hop, so that the normal values come from windows that
share no line.
Conditional compression as a distance: Cilibrasi and Vitanyi, "Clustering by Compression", 2005; Keogh, Lonardi and
Ratanamahatana, "Towards Parameter-Free Data Mining", 2004.
"""

from types import MappingProxyType
from typing import Final, NamedTuple

cimport cython
from cpython cimport array
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

import array

from cbad_cy.codec import CODECS as _CODECS

from cbad_cy.codec cimport FAILED, Codec, Prepared
from cbad_cy.codelength cimport Coder
from cbad_cy.content cimport DONE, FULL, REFUSED, TURN, WINDOW, Answer, Content, compressed
from cbad_cy.held cimport (
    FLAGGED, NOVEL, Held, Marks, held_add, held_drop, held_fit, held_forget, held_free,
    held_settle, marks_size)
from cbad_cy.instances cimport Deviation, Instances
from cbad_cy.mix cimport Mix, Pattern
from cbad_cy.model cimport MARKS_KEPT, ONE_BIT
from cbad_cy.pool cimport Pool
from cbad_cy.rank cimport Sample

include "entropy.pxi"

EPOCHS_A_BASELINE: Final = 4
"""The dictionary is chosen anew each time this share of a baseline has been accepted."""

BATCH_BYTES_MAX: Final = 1 << 30
"""Largest batch of masked lines, bytes."""

NEVER: Final = (1 << 64) - 2
"""The number of no window."""

cdef enum:
    EPOCHS = 4
    NORMALS_SOON = 20            # under the coder the rest of the normal windows may take their time: each costs 40 us
    NORMALS_APART = 4
    LINES_RELEASED_MIN = 64      # fewer are judged in less time than the interpreter's lock takes to come back


cdef enum:
    NOVELTY, PATTERN, INSTANCE, ASKED


cdef enum:
    MINUTE_NS = 60000000000


include "slide_words.pxi"
include "slide_room.pxi"
include "slide_scores.pxi"


cdef struct Thresholds:
    double distance
    double p_value
    uint64_t look_at             # number of a window that somebody waits for


cdef double share_of(int asked) noexcept nogil:
    return 0.5 if asked == NOVELTY else 0.25


@cython.final
cdef class Slide:
    """The past and the window of one stream. Not thread safe. Raises ValueError for sizes that do not fit together.

    `baseline`, `window`, `hop` in lines; `memory` and `past_bytes_max` bound the past as in `cbad_cy.pool.Pool`; `reference`,
    `block` and `lag` as in `cbad_cy.rank.Reference`; `normals` is how many normal windows say what is usual. `coder` is the
    stream's own for the statistical codec, None for a compressor. `content_only`: only what is new is asked, as befits lines
    whose order and mix say how they were sent rather than what happened; its share of the false-alarm rate stays as it is.

    >>> from array import array
    >>> from cbad_cy.codec import Codec
    >>> slide = Slide(
    ...     baseline=8, window=4, hop=2, memory=100, past_bytes_max=1000, reference=100, block=5, lag=5, normals=10)
    >>> slide.feed(b"ab" * 20, array("I", [2] * 20))
    >>> slide.advance(Codec("zstd"), distance_threshold=0.3, p_value_threshold=0.05) is None
    True
    >>> slide.lines, slide.windows
    (20, 5)
    """

    cdef readonly Pool pool
    cdef readonly Content content
    cdef readonly Mix mix
    cdef readonly Instances instances
    cdef readonly Sample compressions
    cdef readonly Sample entropies
    cdef readonly Prepared prepared
    cdef readonly int baseline
    cdef readonly int window
    cdef readonly int hop
    cdef readonly bint content_only
    cdef readonly uint64_t lines     # taken so far
    cdef public uint64_t windows     # evaluated so far
    cdef readonly int accepted       # lines that entered the pool since the dictionary was chosen; a coder has none
    cdef int epoch
    cdef int stride                  # every so many windows share no line
    cdef size_t dictionary_bytes_max
    cdef Held held
    cdef bint turn_due
    cdef bint has_past               # is there a dictionary?
    # the window at hand
    cdef Deviation odd               # the oddest instance since the last answer
    cdef unsigned int size
    cdef double entropy
    cdef Answer[ASKED] answers
    cdef int winner
    cdef double p_value
    cdef bint flagged
    # all windows of the batch at hand
    cdef uint64_t fed_at             # lines taken before it
    cdef Scores scored

    def __cinit__(
        self, *, int baseline, int window, int hop, uint64_t memory, size_t past_bytes_max, int reference, int block, int lag,
        int normals, Coder coder=None, bint content_only=False,
    ):
        if not 1 <= hop <= window <= baseline:
            raise ValueError(f"hop {hop}, window {window} and baseline {baseline} do not fit; keep 1 <= hop <= window <= baseline")
        self.pool = Pool(lines_max=baseline, memory_lines=memory, bytes_max=past_bytes_max)
        self.content = Content(
            window=window, reference=reference, block=block, lag=lag, normals=normals, coder=coder)
        self.mix = Mix(window=window, hop=hop)
        self.instances = Instances(window=window)
        self.odd.p_value = self.answers[PATTERN].p_value = self.answers[INSTANCE].p_value = 1.0
        self.answers[PATTERN].question, self.answers[INSTANCE].question = 1, 5
        self.compressions = Sample(normals)
        self.entropies = Sample(normals)
        self.baseline = baseline
        self.window = window
        self.hop = hop
        self.content_only = content_only
        self.epoch = max(1, baseline // EPOCHS)
        self.stride = (window + hop - 1) // hop
        self.dictionary_bytes_max = past_bytes_max
        self.reserve(0, 0, 0)

    def __dealloc__(self):
        held_free(&self.held)
        free(self.scored.windows)

    def __reduce__(self):
        raise TypeError("a Slide can not be pickled; keep its parts and restore them")

    # ---- lines in --------------------------------------------------------------------------------------------------

    cdef int reserve(self, size_t text_room, size_t slot_room, int lines_room) except -1:
        if held_fit(&self.held, text_room, slot_room, lines_room) != 0:
            raise MemoryError(f"no room for {text_room} bytes of lines; hand over fewer at once")
        return 0

    cdef int in_window(self) noexcept nogil:
        """Lines that the window holds by now."""
        if self.lines <= <uint64_t>self.baseline:
            return 0
        if self.lines - self.baseline >= <uint64_t>self.window:
            return self.window
        return <int>(self.lines - self.baseline)

    def feed(
        self, const unsigned char[::1] text, const unsigned int[::1] lengths, const unsigned long long[::1] slots=None,
        const unsigned char[::1] slot_counts=None, const unsigned long long[::1] instances=None,
    ):
        """Hand over masked lines, which stand one after another in `text`; `advance` takes them. Lines hold no newline.

        `slots` and `slot_counts` as `cbad_cy.tokenize.mask_with_slots` gives them (None: no slots); `instances` has a number
        for each line, equal for the same instance and 0 for none (None: none has one).
        Raises ValueError for columns that do not fit, RuntimeError while lines of an earlier call wait to be taken.
        """
        cdef Py_ssize_t i, total = 0, values = 0, n = lengths.shape[0]
        cdef const unsigned char* s
        cdef const uint64_t* v
        if self.held.taken != self.held.count:
            raise RuntimeError("lines wait to be taken; call advance until it returns None")
        for i in range(n):
            total += lengths[i]
        if total != text.shape[0]:
            raise ValueError(f"lengths add up to {total} bytes but the text has {text.shape[0]}; give one length for each line")
        if total + n > BATCH_BYTES_MAX:
            raise ValueError(f"batch of {total} bytes is over BATCH_BYTES_MAX = {BATCH_BYTES_MAX}; hand over fewer lines at once")
        if slot_counts is not None:
            if slots is None or slot_counts.shape[0] != n:
                raise ValueError(f"{n} lines but {slot_counts.shape[0]} slot counts; give one for each line")
            for i in range(n):
                values += slot_counts[i]
            if values != slots.shape[0]:
                raise ValueError(f"slot counts add up to {values} but there are {slots.shape[0]} slots")
        if instances is not None and instances.shape[0] != n:
            raise ValueError(f"{n} lines but {instances.shape[0]} instances; give one for each line")
        held_drop(&self.held, self.held.taken - self.in_window())
        held_forget(&self.held)
        self.fed_at = self.lines
        self.scored.count = 0
        if n == 0:
            return
        self.reserve(
            self.held.starts[self.held.count] + total + n, self.held.slot_starts[self.held.count] + values,
            <int>(self.held.count + n))
        s = &text[0] if total else NULL
        v = <const uint64_t*>&slots[0] if values else NULL
        # Only copies: to give up the interpreter's lock and get it back from other threads would take longer.
        for i in range(n):
            held_add(
                &self.held, s, lengths[i], v, slot_counts[i] if slot_counts is not None else 0,
                instances[i] if instances is not None else 0)
            if lengths[i]:
                s += lengths[i]
            if slot_counts is not None and slot_counts[i]:
                v += slot_counts[i]

    # ---- the fold --------------------------------------------------------------------------------------------------

    cdef int leave(self, int line, uint64_t number) noexcept nogil:
        """A line, the stream's `number`-th from 0 on, becomes past; it is accepted unless a flagged window held it."""
        if self.held.flags[line] & NOVEL:
            self.content.leave(number)
        if self.held.flags[line] & FLAGGED:
            return 0
        if self.content.coder is None:
            self.accepted += 1
        return self.pool.take(
            self.held.text + self.held.starts[line], self.held.starts[line + 1] - self.held.starts[line] - 1)

    cdef int watch_costs(self, Codec codec, int first, int count) noexcept nogil:
        """Under a compressor: cost of lines as they arrive, given the past, or alone while there is none."""
        cdef void* context = codec.given if self.has_past else codec.plain
        cdef size_t size
        cdef int i
        for i in range(first, first + count):
            size = compressed(&self.held, codec, context, i, 1)
            if size == FAILED:
                return REFUSED
            self.held.costs[i] = <unsigned int>(8 * ONE_BIT * size)
        return DONE

    cdef int arrive(self, int count) noexcept nogil:
        """Lines come in: every question hears of them once."""
        cdef int line, outcome
        for line in range(self.held.taken, self.held.taken + count):
            if self.content.take(&self.held, line) != DONE:
                return FULL
            if self.content_only:
                continue
            if self.mix.take(self.held.templates[line]) != 0:
                return FULL
            outcome = self.instances.take(
                self.held.instances[line], self.held.templates[line],
                self.held.costs[line] if self.content.coder is not None else 0)
            if outcome < 0:
                return FULL
            if outcome == 1 and self.instances.last.p_value < self.odd.p_value:
                self.odd = self.instances.last
        self.held.taken += count
        self.lines += count
        return DONE

    cdef int take(self, int count) noexcept nogil:
        """Take lines into the window; those that leave it unflagged enter the past."""
        cdef int before = self.in_window(), oldest = self.held.taken - before, i
        cdef int leaving = before + count - self.window
        if self.arrive(count) != DONE:
            return FULL
        for i in range(oldest, oldest + leaving):
            if self.leave(i, self.lines - self.window - leaving + (i - oldest)) != 0:
                return FULL
        return DONE

    cdef int fill(self, int count) noexcept nogil:
        """Take lines into the baseline."""
        cdef int first = self.held.taken, i
        if self.arrive(count) != DONE:
            return FULL
        for i in range(first, first + count):
            if self.leave(i, self.lines - count + (i - first)) != 0:
                return FULL
        self.turn_due = self.content.coder is None and self.lines == <uint64_t>self.baseline
        return DONE

    cdef int run(self, Codec codec, Thresholds limits, bint watch) noexcept nogil:
        cdef int waiting, need, outcome
        while True:
            if self.turn_due:
                return TURN
            waiting = self.held.count - self.held.taken
            if waiting == 0:
                return DONE
            if self.lines < <uint64_t>self.baseline:
                need = min(waiting, <int>(self.baseline - self.lines))
            else:
                need = min(waiting, self.until_window())
            if watch and self.content.coder is None and self.watch_costs(codec, self.held.taken, need) != DONE:
                return REFUSED
            if self.lines < <uint64_t>self.baseline:
                outcome = self.fill(need)
            elif need < self.until_window():
                outcome = self.take(need)
            else:
                outcome = self.take(need)
                if outcome == DONE:
                    outcome = self.evaluate(codec, limits, watch)
            if outcome != DONE:
                return outcome

    cdef int until_window(self) noexcept nogil:
        cdef uint64_t first = <uint64_t>(self.baseline + self.window)
        if self.lines < first:
            return <int>(first - self.lines)
        return self.hop - <int>((self.lines - first) % self.hop)

    # ---- the decision ----------------------------------------------------------------------------------------------

    cdef int evaluate(self, Codec codec, Thresholds limits, bint watch) noexcept nogil:
        """Decide about the window and learn from it; -> WINDOW when somebody has to look at it."""
        cdef int first = self.held.taken - self.window, i, asked
        cdef bint sampled = self.sampled(), wanted = watch or self.windows == limits.look_at
        cdef double bar = limits.p_value * share_of(NOVELTY)
        self.size = self.held.starts[self.held.taken] - 1 - self.held.starts[first]
        if self.content.ask(
            &self.held, codec, first, self.lines - self.window, bar, sampled or wanted, &self.answers[NOVELTY]
        ) != DONE:
            return REFUSED
        if not self.content_only:
            self.ask_pattern()
            self.ask_instances()
        self.windows += 1
        self.turn_due = self.content.coder is None and self.accepted >= self.epoch
        self.decide(limits)
        self.content.settle(self.flagged, limits.p_value)
        if self.flagged:
            for i in range(first, self.held.taken):
                self.held.flags[i] |= FLAGGED
            if self.content.measure(&self.held, codec, first, bar, &self.answers[NOVELTY]) != DONE:
                return REFUSED
        if ranks_failed(self.content):
            return FULL
        if sampled or wanted or self.flagged:
            self.entropy = entropy_of(self.held.text + self.held.starts[first], self.size)
        if sampled and not self.flagged:
            self.content.learn_normal()
            self.compressions.push(<double>self.size / self.content.plain)
            self.entropies.push(self.entropy)
        scores_note(
            &self.scored, <size_t>(self.lines - self.fed_at - 1), self.answers[self.winner].surprise,
            self.answers[self.winner].distance, self.p_value)
        return WINDOW if wanted or self.flagged else DONE

    cdef bint sampled(self) noexcept nogil:
        """Whether this window says what is normal: none does that shares a line with another one."""
        cdef uint64_t number = (self.lines - self.baseline - self.window) // self.hop
        cdef int apart = 1 if self.content.coder is None or self.content.ratios.moving.count < NORMALS_SOON else NORMALS_APART
        return number % (self.stride * apart) == 0

    cdef void ask_pattern(self) noexcept nogil:
        """Do the usual lines come as often, and in such an order, as they use to?"""
        cdef Pattern pattern
        cdef Answer* found = &self.answers[PATTERN]
        self.mix.judge(&pattern)
        found.question = 1 + pattern.question
        found.p_value = pattern.p_value
        found.distance = pattern.distance
        found.surprise = pattern.surprise
        found.confidence = pattern.confidence
        found.template = pattern.template
        found.observed = pattern.observed
        found.expected = pattern.expected
        found.horizon = pattern.horizon

    cdef void ask_instances(self) noexcept nogil:
        """Is one instance unlike the others? The oddest of those that had a window of their own since the last answer."""
        cdef Answer* found = &self.answers[INSTANCE]
        found.question = 5
        found.p_value = self.odd.p_value
        found.distance = self.odd.distance
        found.surprise = self.odd.surprise
        found.confidence = self.odd.confidence
        found.template = self.odd.template
        found.instance = self.odd.instance
        found.observed = self.odd.observed
        found.expected = self.odd.expected
        found.horizon = self.instances.window
        self.odd.p_value = 1.0

    cdef void decide(self, Thresholds limits) noexcept nogil:
        """The winner: of the questions that flag the window the one with the smallest p-value, of all if none does."""
        cdef bint passes
        cdef int asked
        cdef double p_value
        self.flagged = False
        self.winner = NOVELTY
        self.p_value = 2.0
        for asked in range(ASKED):
            p_value = min(1.0, self.answers[asked].p_value / share_of(asked))
            passes = p_value <= limits.p_value and self.answers[asked].distance >= limits.distance
            if (passes and not self.flagged) or (passes == self.flagged and p_value < self.p_value):
                self.winner = asked
                self.p_value = p_value
                self.flagged = passes

    def advance(
        self, Codec codec not None, *, double distance_threshold, double p_value_threshold, bint watch=False, uint64_t look_at=NEVER,
    ):
        """Take lines up to the next window that is flagged or has the number `look_at` (with `watch`: up to the next window)
        and return it; None at the end of what was fed.

        A window is flagged when its distance is at least and its p-value at most the threshold. `codec` is of the calling
        thread, and the same codec and level in every call. Raises RuntimeError when the library refuses to compress.
        """
        cdef Thresholds limits
        cdef int outcome, windows
        limits.distance = distance_threshold
        limits.p_value = p_value_threshold
        limits.look_at = look_at
        self.held.told = self.held.taken
        if (codec.name == "statistical") != (self.content.coder is not None):
            raise ValueError(f"a slide {'with' if self.content.coder is not None else 'without'} a coder does not work with {codec.name}")
        if codec.busy:
            raise RuntimeError("this codec is measuring in another thread; make one Codec for each worker thread")
        codec.busy = True
        try:
            codec.reserve(self.held.starts[self.held.count])
            windows = (self.held.count - self.held.taken) // self.hop + 1
            reserve_ranks(self.content, self.compressions, self.entropies, windows, windows // self.stride + 1)
            scores_reserve(&self.scored, windows)
            while True:
                if self.prepared is not None:
                    codec.attach(self.prepared)
                if self.held.count - self.held.taken < LINES_RELEASED_MIN:
                    outcome = self.run(codec, limits, watch)
                else:
                    with nogil:
                        outcome = self.run(codec, limits, watch)
                if outcome != TURN:
                    break
                self.turn(codec)
        finally:
            codec.busy = False
        if outcome == FULL:
            raise MemoryError("no room for the past of a stream")
        if outcome == REFUSED:
            raise RuntimeError(f"{codec.name} {codec.version} failed to compress; memory may be short")
        if outcome == DONE:  # nothing waits: a stream that kept its newest batch until the next one comes would hold little else
            held_drop(&self.held, self.held.taken - self.in_window())
            held_settle(&self.held)
            held_fit(&self.held, self.held.starts[self.held.count], self.held.slot_starts[self.held.count], self.held.count)
        return self.found() if outcome == WINDOW else None

    cdef int turn(self, Codec codec) except -1:
        """Choose the dictionary anew; prepare it only if it has changed."""
        text = self.dictionary(codec)
        if self.prepared is None or self.prepared.source_bytes != text:
            self.prepared = codec.prepare(text)
            self.has_past = True
        self.accepted = 0
        self.turn_due = False
        return 0

    def dictionary(self, Codec codec not None):
        """The lines of the past that stand for all of it, for a codec: as far back as it can look."""
        cdef size_t room = self.dictionary_bytes_max
        reach = _CODECS[codec.name].look_back_bytes_max
        if reach is not None and reach < room:
            room = reach
        return self.pool.dictionary(room)

    cdef object found(self):
        cdef Answer* won = &self.answers[self.winner]
        cdef int asked
        said = tuple(
            Said(
                QUESTIONS[self.answers[asked].question], self.answers[asked].p_value, self.answers[asked].distance,
                self.answers[asked].surprise, self.answers[asked].confidence)
            for asked in range(ASKED) if self.answers[asked].p_value < 1.0)
        return Window(
            self.windows - 1, self.lines, self.size, self.content.plain, self.content.given, self.content.bits / <double>ONE_BIT, won.distance,
            self.content.usual, self.p_value, won.confidence, self.entropy, bool(self.flagged), QUESTIONS[won.question], won.surprise,
            said, Suspect(won.template, won.instance, won.observed, won.expected, won.horizon))

    # ---- what others see -------------------------------------------------------------------------------------------

    def templates(self, int count):
        """The numbers of the templates of the newest `count` lines that were handed over, oldest first, as an array of type 'Q'.

        ValueError when so many are not held: all that came with the last `feed` are, until the next one.
        """
        cdef int known = self.held.past + self.held.count
        if not 0 <= count <= known:
            raise ValueError(f"{count} lines are asked for and {known} are held; ask before the next ones come")
        cdef array.array found = array.clone(array.array("Q"), count, zero=False)
        if count:
            memcpy(found.data.as_chars, self.held.templates + self.held.count - count, count * sizeof(uint64_t))
        return found

    def line_costs(self):
        """Code length in 1/1024 bit that each line taken by the last `advance` had when it came; a compressor has to be
        watched for that, and tells whole bytes, given the past or alone before there is one."""
        return [self.held.costs[i] for i in range(self.held.told, self.held.taken)]

    def window_costs(self):
        """The same of each line in the window, oldest first, with the parts of the dear ones as `Coder.marks` tells them:
        a list of (cost, words, new, marks), where `words` is what template and tokens cost without slots, and `new` says that
        the template was never seen."""
        cdef int i, k, first = self.held.taken - self.in_window()
        told = []
        for i in range(first, self.held.taken):
            parts = []
            if self.held.marks[i] != NULL:
                for k in range(self.held.marks[i].count):
                    part = self.held.marks[i].part[k]
                    parts.append((part.start, part.stop, part.slot, part.bits))
            told.append((self.held.costs[i], self.held.words[i], bool(self.held.flags[i] & NOVEL), parts))
        return told

    def odd_one(self):
        """What was said of the oddest instance since the last window, for `restore_window`; None when nothing was."""
        cdef Deviation* it = &self.odd
        if it.p_value >= 1.0:
            return None
        return (
            it.p_value, it.confidence, it.surprise, it.distance, it.observed, it.expected, it.template, it.instance, it.question)

    def window_lines(self):
        """The masked lines that the window holds, oldest first."""
        cdef int kept = self.in_window(), first = self.held.taken - kept
        if kept == 0:
            return []
        return (<const char*>self.held.text)[self.held.starts[first]:self.held.starts[self.held.taken] - 1].split(b"\n")

    def window_flags(self):
        """Of each line of the window, oldest first: whether a flagged window held it."""
        cdef int kept = self.in_window(), first = self.held.taken - kept
        return [bool(self.held.flags[first + i] & FLAGGED) for i in range(kept)]

    def restore_window(
        self, lines, flags, costs, *, uint64_t taken, uint64_t windows, int accepted, odd_one, Codec codec, dictionary,
    ):
        """Put back the window of a fresh slide: its masked `lines`, `flags` and `costs` as the methods above tell them, how many
        lines and windows there were, the `odd_one`, lines `accepted` since the `dictionary` (None: there is
        none yet, or a coder does without) was chosen. ValueError for parts that do not fit.

        Pool, content, mix and normals are restored on their own.
        """
        cdef int i
        if self.lines or self.held.count:
            raise ValueError("this slide has begun already; restore into a fresh one")
        self.lines = taken
        none_yet = self.content.coder is not None or taken < <uint64_t>self.baseline
        if len(lines) != self.in_window() or not len(flags) == len(costs) == len(lines) or (dictionary is None) != none_yet:
            self.lines = 0
            raise ValueError(f"{len(lines)} lines do not make the window after {taken} of them; the parts belong to another slide")
        self.lines = 0  # what the window keeps of nothing: feed into an empty one
        self.feed(b"".join(lines), array.array("I", [len(line) for line in lines]))
        for i in range(self.held.count):
            self.held.costs[i], self.held.words[i], new, parts = costs[i]
            self.held.flags[i] = (FLAGGED if flags[i] else 0) | (NOVEL if new else 0)
            if parts:
                self.held.marks[i] = marks_of(parts)
        self.held.taken = self.held.told = self.held.count
        self.lines = taken
        self.windows = windows
        self.accepted = accepted
        if odd_one is not None:
            (
                self.odd.p_value, self.odd.confidence, self.odd.surprise, self.odd.distance, self.odd.observed,
                self.odd.expected, self.odd.template, self.odd.instance, self.odd.question
            ) = odd_one
            if not (
                0.0 < self.odd.p_value < 1.0 and 0.0 <= self.odd.confidence <= 1.0 and 0.0 <= self.odd.distance <= 1.0
                and 0.0 <= self.odd.surprise < 1e300 and 0 <= self.odd.question <= 2
            ):
                raise ValueError("what is said of the odd instance is not possible; the parts are damaged")
        if dictionary is not None:
            self.prepared = codec.prepare(dictionary)
            self.has_past = True
