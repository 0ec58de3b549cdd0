# cython: autotestdict=False
"""The window that slides over a stream: lines in, and for every `hop` of them the code length given the past, and a verdict.

    masked lines -> window (newest `window` lines) --every hop--> C(W given B), p-value, distance -> flagged or not
                       └-- leave unflagged --> pool of the newest `baseline` lines --every epoch--> dictionary B

One call takes a whole batch with the GIL released, and comes back only for a window that someone has to look at, or for a
new dictionary (at most once per `baseline` / 4 accepted lines). What is usual is learned from one window in `window` / hop,
so that the normal values come from windows that share no line.
Conditional compression as a distance: Cilibrasi and Vitanyi, "Clustering by Compression", 2005; Keogh, Lonardi and
Ratanamahatana, "Towards Parameter-Free Data Mining", 2004.
"""

from typing import Final, NamedTuple

cimport cython
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from cbad_cy.codec import CODECS as _CODECS

from cbad_cy.codec cimport FAILED, Codec, Prepared
from cbad_cy.pool cimport Pool
from cbad_cy.rank cimport Rarity, Reference, Sample

include "entropy.pxi"

EPOCHS_A_BASELINE: Final = 4
"""The dictionary is chosen anew each time this share of a baseline has been accepted."""

BATCH_BYTES_MAX: Final = 1 << 30
"""Largest batch of masked lines, bytes."""

cdef enum:
    DONE, WINDOW, TURN, REFUSED, FULL
    EPOCHS = 4
    LINES_KEPT_MIN = 256


class Window(NamedTuple):
    """One evaluated window. `number` counts windows, `end` is the count of lines up to its last one, included.

    Sizes in bytes: masked text `size`, compressed alone `plain` and given the past `given`. `distance` (0 = as explainable
    as usual, 1 = nothing is explained) compares given/plain with its `usual` value; `p_value` (0..1], lower = rarer;
    `confidence`: share of past windows that were less surprising; `entropy` in bits per byte.
    """

    number: int
    end: int
    size: int
    plain: int
    given: int
    distance: float
    usual: float
    p_value: float
    confidence: float
    entropy: float
    flagged: bool


cdef struct Thresholds:
    double distance
    double p_value


@cython.final
cdef class Slide:
    """The past and the window of one stream. Not thread safe. Raises ValueError for sizes that do not fit together.

    `baseline`, `window`, `hop` in lines; `memory` and `past_bytes_max` bound the past as in `cbad_cy.pool.Pool`; `reference`,
    `block` and `lag` as in `cbad_cy.rank.Reference`; `normals` is how many normal windows say what is usual.

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
    cdef readonly Reference lengths  # past C(W given B)
    cdef readonly Reference shares   # past C(W given B)/C(W), in 1/65536
    cdef readonly Sample ratios
    cdef readonly Sample compressions
    cdef readonly Sample entropies
    cdef readonly Prepared prepared
    cdef readonly int baseline
    cdef readonly int window
    cdef readonly int hop
    cdef readonly uint64_t lines     # taken so far
    cdef public uint64_t windows     # evaluated so far
    cdef readonly int accepted       # lines that entered the pool since the dictionary was chosen
    cdef int epoch
    cdef int stride                  # every so many windows share no line
    cdef size_t dictionary_bytes_max
    cdef unsigned char* text         # lines held, each followed by a newline
    cdef size_t text_room
    cdef unsigned int* starts        # one more than lines
    cdef unsigned char* flags
    cdef unsigned int* costs         # bytes that each line costs given the past, while somebody watches
    cdef int lines_room
    cdef int held                    # lines in `text`
    cdef int taken                   # of which so many have been taken
    cdef int told                    # of which so many have been told to whoever watches
    cdef bint turn_due
    cdef bint has_past               # is there a dictionary?
    # the window at hand
    cdef unsigned int size
    cdef unsigned int plain
    cdef unsigned int given
    cdef double distance
    cdef double usual
    cdef double entropy
    cdef Rarity rarity
    cdef bint flagged

    def __cinit__(
        self, *, int baseline, int window, int hop, uint64_t memory, size_t past_bytes_max, int reference, int block, int lag,
        int normals,
    ):
        if not 1 <= hop <= window <= baseline:
            raise ValueError(f"hop {hop}, window {window} and baseline {baseline} do not fit; keep 1 <= hop <= window <= baseline")
        self.pool = Pool(lines_max=baseline, memory_lines=memory, bytes_max=past_bytes_max)
        self.lengths = Reference(size=reference, block=block, lag=lag)
        self.shares = Reference(size=reference, block=block, lag=lag)
        self.ratios = Sample(normals)
        self.compressions = Sample(normals)
        self.entropies = Sample(normals)
        self.baseline = baseline
        self.window = window
        self.hop = hop
        self.epoch = max(1, baseline // EPOCHS)
        self.stride = (window + hop - 1) // hop
        self.dictionary_bytes_max = past_bytes_max
        self.reserve(window * 64, window + LINES_KEPT_MIN)
        self.starts[0] = 0

    def __dealloc__(self):
        free(self.text)
        free(self.starts)
        free(self.flags)
        free(self.costs)

    def __reduce__(self):
        raise TypeError("a Slide can not be pickled; keep its parts and restore them")

    # ---- room ------------------------------------------------------------------------------------------------------

    cdef int reserve(self, size_t text_room, int lines_room) except -1:
        cdef void* larger
        if text_room > self.text_room or text_room < self.text_room // 4:
            larger = realloc(self.text, text_room + 1)
            if larger == NULL:
                raise MemoryError(f"no room for {text_room} bytes of lines; hand over fewer at once")
            self.text = <unsigned char*>larger
            self.text_room = text_room
        if lines_room > self.lines_room or lines_room < self.lines_room // 4:
            for slot in range(3):
                larger = realloc(
                    <void*>self.starts if slot == 0 else <void*>self.costs if slot == 1 else <void*>self.flags,
                    (lines_room + 1) * (1 if slot == 2 else sizeof(unsigned int)))
                if larger == NULL:
                    raise MemoryError(f"no room for {lines_room} lines; hand over fewer at once")
                if slot == 0:
                    self.starts = <unsigned int*>larger
                elif slot == 1:
                    self.costs = <unsigned int*>larger
                else:
                    self.flags = <unsigned char*>larger
            self.lines_room = lines_room
        return 0

    cdef int in_window(self) noexcept nogil:
        """Lines that the window holds by now."""
        if self.lines <= <uint64_t>self.baseline:
            return 0
        if self.lines - self.baseline >= <uint64_t>self.window:
            return self.window
        return <int>(self.lines - self.baseline)

    cdef void compact(self) noexcept nogil:
        """Move the lines of the window to the front; all held lines have been taken."""
        cdef int kept = self.in_window(), first = self.taken - kept, i
        cdef unsigned int base = self.starts[first]
        if first == 0:
            return
        memmove(self.text, self.text + base, self.starts[self.taken] - base)
        memmove(self.flags, self.flags + first, kept)
        for i in range(kept + 1):
            self.starts[i] = self.starts[first + i] - base
        self.held = self.taken = self.told = kept

    def feed(self, const unsigned char[::1] text, const unsigned int[::1] lengths):
        """Hand over masked lines, which stand one after another in `text`; `advance` takes them. Lines hold no newline.

        Raises ValueError for lengths that do not add up, RuntimeError while lines of an earlier call wait to be taken.
        """
        cdef Py_ssize_t i, total = 0, n = lengths.shape[0]
        cdef size_t at
        cdef const unsigned char* s
        if self.taken != self.held:
            raise RuntimeError("lines wait to be taken; call advance until it returns None")
        for i in range(n):
            total += lengths[i]
        if total != text.shape[0]:
            raise ValueError(f"lengths add up to {total} bytes but the text has {text.shape[0]}; give one length for each line")
        if total + n > BATCH_BYTES_MAX:
            raise ValueError(f"batch of {total} bytes is over BATCH_BYTES_MAX = {BATCH_BYTES_MAX}; hand over fewer lines at once")
        self.compact()
        at = self.starts[self.held]
        self.reserve(at + total + n, <int>(self.held + n + LINES_KEPT_MIN))
        if n == 0:
            return
        s = &text[0] if total else NULL
        with nogil:
            for i in range(n):
                if lengths[i]:
                    memcpy(self.text + at, s, lengths[i])
                    s += lengths[i]
                at += lengths[i]
                self.text[at] = 10
                at += 1
                self.flags[self.held] = 0
                self.held += 1
                self.starts[self.held] = <unsigned int>at

    # ---- the fold --------------------------------------------------------------------------------------------------

    cdef int accept(self, int line) noexcept nogil:
        self.accepted += 1
        return self.pool.take(self.text + self.starts[line], self.starts[line + 1] - self.starts[line] - 1)

    cdef int watch_costs(self, Codec codec, int first, int count) noexcept nogil:
        """Cost of lines as they arrive: given the past, or alone while there is none."""
        cdef void* context = codec.given if self.has_past else codec.plain
        cdef size_t size
        cdef int i
        for i in range(first, first + count):
            size = codec.kernel.compress(
                context, codec.target, codec.room, self.text + self.starts[i], self.starts[i + 1] - self.starts[i] - 1)
            if size == FAILED:
                return REFUSED
            self.costs[i] = <unsigned int>size
        return DONE

    cdef int take(self, int count) noexcept nogil:
        """Take lines into the window; those that leave it unflagged enter the past."""
        cdef int leaving, i, before = self.in_window(), oldest = self.taken - before
        self.taken += count
        self.lines += count
        leaving = before + count - self.window
        for i in range(oldest, oldest + leaving):
            if not self.flags[i] and self.accept(i) != 0:
                return FULL
        return DONE

    cdef int run(self, Codec codec, Thresholds limits, bint watch) noexcept nogil:
        cdef int waiting, need, i, outcome
        while True:
            if self.turn_due:
                return TURN
            waiting = self.held - self.taken
            if waiting == 0:
                return DONE
            if self.lines < <uint64_t>self.baseline:
                need = min(waiting, <int>(self.baseline - self.lines))
                if watch and self.watch_costs(codec, self.taken, need) != DONE:
                    return REFUSED
                for i in range(self.taken, self.taken + need):
                    if self.accept(i) != 0:
                        return FULL
                self.taken += need
                self.lines += need
                self.turn_due = self.lines == <uint64_t>self.baseline
                continue
            need = self.until_window()
            i = min(need, waiting)
            if watch and self.watch_costs(codec, self.taken, i) != DONE:
                return REFUSED
            outcome = self.take(i)
            if outcome != DONE:
                return outcome
            if waiting < need:
                return DONE
            outcome = self.evaluate(codec, limits, watch)
            if outcome != DONE:
                return outcome

    cdef int until_window(self) noexcept nogil:
        cdef uint64_t first = <uint64_t>(self.baseline + self.window)
        if self.lines < first:
            return <int>(first - self.lines)
        return self.hop - <int>((self.lines - first) % self.hop)

    cdef int evaluate(self, Codec codec, Thresholds limits, bint watch) noexcept nogil:
        """Decide about the window and learn from it; -> WINDOW when somebody has to look at it."""
        cdef int first = self.taken - self.window, i
        cdef const unsigned char* s = self.text + self.starts[first]
        cdef bint sampled = (self.lines - self.baseline - self.window) // self.hop % self.stride == 0
        cdef size_t size
        self.size = self.starts[self.taken] - 1 - self.starts[first]
        size = codec.kernel.compress(codec.given, codec.target, codec.room, s, self.size)
        if size == FAILED:
            return REFUSED
        self.given = <unsigned int>size
        size = codec.kernel.compress(codec.plain, codec.target, codec.room, s, self.size)
        if size == FAILED:
            return REFUSED
        self.plain = <unsigned int>size
        self.judge()
        self.compare()
        self.windows += 1
        self.turn_due = self.accepted >= self.epoch
        self.flagged = self.distance >= limits.distance and self.rarity.p_value <= limits.p_value
        if self.flagged:
            for i in range(first, self.taken):
                self.flags[i] = 1
        if sampled or watch or self.flagged:
            self.entropy = entropy_of(s, self.size)
        if sampled and not self.flagged:
            self.ratios.push(<double>self.given / self.plain)
            self.compressions.push(<double>self.size / self.plain)
            self.entropies.push(self.entropy)
        return WINDOW if watch or self.flagged else DONE

    cdef void judge(self) noexcept nogil:
        """How rare the window is, in bytes or as a share: new lines cost bytes, but a window of one new line again and again is
        cheap and yet not explained at all. Twice the smaller p-value (Bonferroni)."""
        cdef double share = <double>(65536 * <uint64_t>self.given // self.plain)
        cdef Rarity other = self.shares.judge(share)
        self.rarity = self.lengths.judge(self.given)
        if other.p_value < self.rarity.p_value:
            self.rarity.p_value = other.p_value
        self.rarity.p_value = min(1.0, 2.0 * self.rarity.p_value)
        if other.confidence > self.rarity.confidence:
            self.rarity.confidence = other.confidence
        self.lengths.push(self.given)
        self.shares.push(share)

    cdef void compare(self) noexcept nogil:
        """The calibrated distance: how far the ratio lies from its usual value towards 1, where nothing is explained."""
        cdef double ratio = <double>self.given / self.plain
        self.usual = self.ratios.middle(ratio)
        self.distance = 0.0
        if self.usual < 1.0:
            self.distance = (ratio - self.usual) / (1.0 - self.usual)
        if self.distance < 0.0:
            self.distance = 0.0
        if self.distance > 1.0:
            self.distance = 1.0

    def advance(
        self, Codec codec not None, *, double distance_threshold, double p_value_threshold, bint watch=False,
    ):
        """Take lines up to the next window that is flagged (with `watch`: up to the next window) and return it; None at the
        end of what was fed.

        A window is flagged when its distance is at least and its p-value at most the threshold. `codec` is of the calling
        thread, and the same codec and level in every call. Raises RuntimeError when the library refuses to compress.
        """
        cdef Thresholds limits
        cdef int outcome
        limits.distance = distance_threshold
        limits.p_value = p_value_threshold
        self.told = self.taken
        if codec.busy:
            raise RuntimeError("this codec is measuring in another thread; make one Codec for each worker thread")
        codec.busy = True
        try:
            codec.reserve(self.starts[self.held])
            while True:
                if self.prepared is not None:
                    codec.attach(self.prepared)
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
        return self.found() if outcome == WINDOW else None

    cdef int turn(self, Codec codec) except -1:
        """Choose the dictionary anew; prepare it only if it has changed."""
        cdef size_t room = self.dictionary_bytes_max
        reach = _CODECS[codec.name].look_back_bytes_max
        if reach is not None and reach < room:
            room = reach
        text = self.pool.dictionary(room)
        if self.prepared is None or self.prepared.source_bytes != text:
            self.prepared = codec.prepare(text)
            self.has_past = True
        self.accepted = 0
        self.turn_due = False
        return 0

    cdef object found(self):
        return Window(
            self.windows - 1, self.lines, self.size, self.plain, self.given, self.distance, self.usual,
            self.rarity.p_value, self.rarity.confidence, self.entropy, bool(self.flagged))

    # ---- what others see -------------------------------------------------------------------------------------------

    def line_costs(self):
        """While watched: bytes that each line taken by the last `advance` costs given the past (alone, before there is one)."""
        return [self.costs[i] for i in range(self.told, self.taken)]

    def window_lines(self):
        """The masked lines that the window holds, oldest first."""
        cdef int kept = self.in_window(), first = self.taken - kept
        if kept == 0:
            return []
        return (<const char*>self.text)[self.starts[first]:self.starts[self.taken] - 1].split(b"\n")

    def window_flags(self):
        """Of each line of the window, oldest first: whether a flagged window held it."""
        cdef int kept = self.in_window(), first = self.taken - kept
        return [bool(self.flags[first + i]) for i in range(kept)]

    def restore_window(self, lines, flags, *, uint64_t taken, uint64_t windows, int accepted, Codec codec, dictionary):
        """Put back the window of a fresh slide: its masked `lines` and `flags`, how many lines and windows there were, lines
        `accepted` since the `dictionary` (None: there is none yet) was chosen. ValueError for parts that do not fit.

        Pool, reference and normals are restored on their own.
        """
        cdef int i
        if self.lines or self.held:
            raise ValueError("this slide has begun already; restore into a fresh one")
        self.lines = taken
        if len(lines) != self.in_window() or len(flags) != len(lines) or (dictionary is None) != (taken < <uint64_t>self.baseline):
            self.lines = 0
            raise ValueError(f"{len(lines)} lines do not make the window after {taken} of them; the parts belong to another slide")
        self.lines = 0  # what the window keeps of nothing: feed into an empty one
        self.feed(b"".join(lines), array_of([len(line) for line in lines]))
        for i in range(self.held):
            self.flags[i] = 1 if flags[i] else 0
        self.taken = self.told = self.held
        self.lines = taken
        self.windows = windows
        self.accepted = accepted
        if dictionary is not None:
            self.prepared = codec.prepare(dictionary)
            self.has_past = True


cdef object array_of(list lengths):
    from array import array

    return array("I", lengths)


def ascending(const unsigned long long[::1] times):
    """Whether a column of numbers never steps back; True for an empty one.

    >>> from array import array
    >>> ascending(array("Q", [1, 1, 2])), ascending(array("Q", [2, 1]))
    (True, False)
    """
    cdef Py_ssize_t i, n = times.shape[0]
    cdef bint found = True
    with nogil:
        for i in range(1, n):
            if times[i] < times[i - 1]:
                found = False
                break
    return bool(found)


def largest(const unsigned int[::1] lengths):
    """The largest of a column of numbers; 0 for an empty one.

    >>> from array import array
    >>> largest(array("I", [3, 5, 4]))
    5
    """
    cdef Py_ssize_t i
    cdef unsigned int found = 0
    for i in range(lengths.shape[0]):
        if lengths[i] > found:
            found = lengths[i]
    return found
