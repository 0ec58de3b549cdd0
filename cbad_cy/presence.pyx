# cython: autotestdict=False
"""What a stream owes: events a minute, the usual silences between its events, and those of its usual lines.

    placed times -> events of each closed minute -> points of a series, coded elsewhere
                 -> silences of the stream, counted in events to be expected at that hour of the week
    templates    -> silences of the LINES_MAX most usual lines, in time of activity and in events of the stream

A silence is judged by the tail of those before it: how many lasted at least so long, and beyond what was seen a power law, as
pauses of machines and of people have heavy tails. It has to be half as long again as the longest one of the last weeks. What
is told at most so often in a day is divided by how often there are silences in a day. A line's time stands still while its whole
stream is silent for longer than a minute, so that a pause of the stream is one silence and not one of each line. Of a stream,
silences are counted in the events that were to be expected in them, hour of the week by hour, so that a night that was seen
is not told again; a silence that was told is kept out of what is usual, until there have been three of them within weeks.
Of a line, which has no hours of its own, a silence that is over is usual from then on.

A live stream is judged by the wall clock: when a row comes, how far behind the clock was the stream's newest event? That
takes in skewed clocks, batches and slow ways; from the tail of it follows the time at which one waits too long.

The same numbers on every machine: integers, + - * / on doubles, and series of fixed length.
Power-law tails of waiting times: Barabasi, "The origin of bursts and heavy tails in human dynamics", Nature 435 (2005);
estimate of the index: Hill, "A simple general approach to inference about the tail of a distribution", 1975.
"""

from typing import Final, NamedTuple

cimport cython
from cpython cimport array
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.math cimport frexp, ldexp
from libc.stdint cimport int8_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import array

include "hash.pxi"
include "logarithm.pxi"

cdef extern from *:
    """
    #define MS_NS 1000000ULL
    #define SECOND_NS 1000000000ULL
    #define MINUTE_NS (60 * SECOND_NS)
    #define HOUR_NS (60 * MINUTE_NS)
    #define DAY_NS (24 * HOUR_NS)
    #define PERIOD_NS (14 * DAY_NS)
    #define LINE_SPAN_MS 7200000ULL
    #define SILENT_NS (120 * SECOND_NS)
    #define ROWS_SPAN_NS (600 * SECOND_NS)
    #define LIVE_NS (14 * HOUR_NS)
    #define TIME_MOST_NS (1ULL << 62)
    """
    const uint64_t MS_NS
    const uint64_t SECOND_NS
    const uint64_t MINUTE_NS
    const uint64_t HOUR_NS
    const uint64_t DAY_NS
    const uint64_t PERIOD_NS         # a longest silence is remembered for one or two of them
    const uint64_t LINE_SPAN_MS      # of activity, before the absence of a line says anything
    const uint64_t SILENT_NS
    const uint64_t ROWS_SPAN_NS
    const uint64_t LIVE_NS           # a clock that is wrong by its time zone is still live
    const uint64_t TIME_MOST_NS

cdef double STREAM_DAY = 0.005                                 # silences of a stream that are told falsely in a day
cdef double LINE_DAY = 0.0005                                  # and of one line
cdef double EXPECTED_UNIT = 256.0                              # expected events are counted in such parts

cdef enum:
    VERSION = 1
    GAPS_NEEDED = 100
    ROWS_NEEDED = 30
    CATCH_UP = 720
    AT_ONCE = 4096
    TOLD_ROOM = 64               # pauses, and silences of lines, that are handed over at once
    USUAL_AFTER = 2              # a silence is usual after so many others were told in a period

LINES_MAX: Final = 32
"""Usual lines whose silence is watched."""

TEXT_BYTES_MAX: Final = TEXT
"""Bytes that are kept of the form of a usual line."""

GAPS_MIN: Final = GAPS_NEEDED
"""Silences of a line, before one can be told."""

ROWS_MIN: Final = ROWS_NEEDED
"""Rows of a live stream, or silences of a replayed one, before its silence can be told."""

ROWS_SPAN_NS_MIN: Final = 600 * 1000000000
"""Time over which they have to be spread."""

SILENCE_NS_MIN: Final = 120 * 1000000000
"""Nothing shorter is ever told."""

LINE_SPAN_NS_MIN: Final = 7200 * 1000000000
"""Time of activity for which a line has to have been known, before its silence can be told."""

LIVE_LAG_NS_MAX: Final = 14 * 3600 * 1000000000
"""A stream whose newest event is further behind its receive time is not live."""

CATCH_UP_MINUTES_MAX: Final = CATCH_UP
"""Minutes without events that are counted as such, of each silence of the stream."""

MINUTES_AT_ONCE_MAX: Final = AT_ONCE
"""Closed minutes that one call hands over at most."""

include "presence_tail.pxi"
include "presence_week.pxi"
include "presence_lines.pxi"
include "presence_words.pxi"


cdef struct Told:
    # A pause, or the silence of a line, as it was when it was told.
    int index
    uint64_t start_ns
    uint64_t end_ns
    double bits
    double threshold
    double expected
    uint64_t usual_ns
    uint64_t longest_ns
    uint64_t silences
    uint64_t id                  # of a line
    uint64_t last_event
    uint64_t events
    int size
    uint8_t text[TEXT]


cdef struct State:
    uint64_t first_ns
    uint64_t watermark_ns
    uint64_t events
    uint64_t active_ns           # time that passed while the stream was not silent for more than a minute
    uint64_t minute_end_ns       # of the open minute; 0: none is
    uint64_t minute_event        # event with which it began
    uint64_t minute_count
    uint64_t period
    uint64_t entry_ns            # when a silence was counted last
    uint64_t entries             # silences ever counted
    uint64_t received_first_ns   # of the live rows that `rows` counts
    uint64_t received_ns
    uint64_t rows
    uint64_t due_ns
    uint8_t live
    uint8_t odd_gaps             # told in this period
    uint8_t odd_lags
    Tail gaps                    # silences in event time, in parts of expected events
    Tail lags                    # how far behind the clock the stream was when it spoke, likewise
    Week week
    Lines lines


cdef struct Columns:
    const unsigned long long* times
    const unsigned long long* templates
    const unsigned char* text
    const unsigned int* lengths
    unsigned long long* minutes
    double* counts
    unsigned int* closed_by
    unsigned long long* first_event
    int room
    int closed
    int pauses
    int silences
    Told pause[TOLD_ROOM]
    Told silence[TOLD_ROOM]


@cython.final
cdef class Arrivals:
    """When the events of one stream come, and its usual lines. Not thread safe; it reads no clock. Times in ns since 1970.

    >>> from array import array
    >>> arrivals = Arrivals()
    >>> taken = arrivals.take(array("Q", range(1_700_000_000 * 10**9, 1_700_000_300 * 10**9, 10**9)))
    >>> list(taken.counts)
    [40.0, 60.0, 60.0, 60.0, 60.0]
    """

    cdef State* s
    cdef int8_t index[PLACES]
    cdef int caught_up               # empty minutes counted since the last event
    cdef uint64_t lag                # of the row at hand, parts of expected events
    cdef bint lag_told

    def __cinit__(self):
        self.s = <State*>calloc(1, sizeof(State))
        if self.s == NULL:
            raise MemoryError("no room for the arrivals of a stream")
        lines_index(&self.s.lines, self.index)

    def __dealloc__(self):
        free(self.s)

    def __reduce__(self):
        raise TypeError("Arrivals can not be pickled; keep their parts and restore them")

    @property
    def events(self):
        """Events taken."""
        return self.s.events

    @property
    def watermark_ns(self):
        """The newest time."""
        return self.s.watermark_ns

    @property
    def due_ns(self):
        """Wall-clock time from which on nothing having come is improbable; 0: nothing can be said."""
        return self.s.due_ns

    cdef double mean(self) noexcept nogil:
        """Events an hour, in the long run."""
        cdef uint64_t span = self.s.watermark_ns - self.s.first_ns
        if self.s.week.hours:
            return self.s.week.mean
        return <double>self.s.events * (<double>HOUR_NS / <double>(span if span > MINUTE_NS else MINUTE_NS))

    cdef uint64_t parts_expected(self, uint64_t until_ns) noexcept nogil:
        """Parts of events that were to be expected from the newest event to another time."""
        cdef double parts = EXPECTED_UNIT * week_expected(&self.s.week, self.s.watermark_ns, until_ns, self.mean())
        return <uint64_t>parts if parts < 1e18 else <uint64_t>1000000000000000000

    # ---- lines and minutes -----------------------------------------------------------------------------------------

    cdef void check_lines(self, Columns* c, int index) noexcept nogil:
        """The open minute ends, and had events: which lines should have come? Those that are nearly due are told with them."""
        cdef double bits[LINES]
        cdef double need[LINES]
        cdef bint due = False
        cdef int i
        cdef State* s = self.s
        cdef Line* line
        cdef Told* told
        for i in range(s.lines.known):
            line = &s.lines.line[i]
            bits[i] = line_bits(line, s.active_ns // MS_NS, s.events)
            if bits[i] > 0.0:
                need[i] = bits_of(line_threshold(line))
                due = due or bits[i] >= need[i]
        if not due:
            return
        for i in range(s.lines.known):
            if bits[i] <= 0.0 or bits[i] < 0.5 * need[i]:
                continue
            line = &s.lines.line[i]
            line.told = 1
            told = &c.silence[c.silences]
            c.silences += 1
            told.index = index
            told.start_ns = line.last_ns
            told.end_ns = s.minute_end_ns
            told.bits = bits[i]
            told.threshold = line_threshold(line)
            told.usual_ns = MS_NS * tail_median(&line.time)
            told.longest_ns = line.longest_ns
            told.silences = line.seen
            told.id = line.id
            told.last_event = line.last_event
            told.events = s.events - line.last_event
            told.size = line.size
            memcpy(told.text, line.text, TEXT)
            told.expected = <double>(s.active_ns // MS_NS - line.last_active) / (
                <double>(line.last_active - line.first_active) / line.seen)

    cdef bint close_minutes(self, Columns* c, int index, uint64_t at) noexcept nogil:
        """Close what ends by `at`; False: there is no room for more, call again."""
        cdef State* s = self.s
        cdef uint64_t period
        if s.minute_end_ns == 0:
            s.minute_end_ns = at - at % MINUTE_NS + MINUTE_NS
            s.period = at // PERIOD_NS
        while s.minute_end_ns <= at and self.caught_up <= CATCH_UP:
            if c.closed == c.room or c.silences + LINES > TOLD_ROOM:
                return False
            if s.minute_count:
                if c.templates != NULL:
                    self.check_lines(c, index)
                s.lines.minutes += 1
                if s.lines.minutes >= HALF_MINUTES:
                    halve_worth(&s.lines)
            c.minutes[c.closed] = s.minute_end_ns
            c.counts[c.closed] = <double>s.minute_count
            c.closed_by[c.closed] = index
            c.first_event[c.closed] = s.minute_event
            c.closed += 1
            s.minute_count = 0
            s.minute_event = s.events
            s.minute_end_ns += MINUTE_NS
            self.caught_up += 1
        if s.minute_end_ns <= at:
            s.minute_end_ns = at - at % MINUTE_NS + MINUTE_NS
        period = at // PERIOD_NS
        if period != s.period:
            self.rotate(period != s.period + 1)
            s.period = period
        return True

    cdef void rotate(self, bint both) noexcept nogil:
        cdef State* s = self.s
        cdef int i
        tail_rotate(&s.gaps, both)
        tail_rotate(&s.lags, both)
        s.odd_gaps = s.odd_lags = 0
        for i in range(s.lines.known):
            tail_rotate(&s.lines.line[i].time, both)
            tail_rotate(&s.lines.line[i].events, both)

    # ---- the stream ------------------------------------------------------------------------------------------------

    cdef double threshold(self, uint64_t counted, uint64_t span_ns) noexcept nogil:
        """The share of silences that may be told, when `counted` ones came in so much time."""
        cdef double p = STREAM_DAY * (<double>span_ns / <double>DAY_NS) / counted if counted else 1.0
        return p if p < STREAM_DAY else STREAM_DAY

    cdef void gap(self, Columns* c, int index, uint64_t at, bint historical) noexcept nogil:
        """Count the silence that an event at `at` ends, and tell it where it is odd."""
        cdef State* s = self.s
        cdef uint64_t parts = self.parts_expected(at), passed = at - s.watermark_ns, span = s.watermark_ns - s.first_ns
        cdef double bits, p
        cdef Told* told
        if passed >= SILENT_NS and s.entries >= ROWS_NEEDED and span >= ROWS_SPAN_NS:
            p = self.threshold(s.entries, span)
            bits = tail_bits(&s.gaps, parts)
            if bits >= bits_of(p) and parts >= tail_longest(&s.gaps) + tail_longest(&s.gaps) // 2:
                if historical:
                    told = &c.pause[c.pauses]
                    c.pauses += 1
                    told.index = index
                    told.end_ns = at
                    told.bits = bits
                    told.threshold = p
                    told.expected = parts / EXPECTED_UNIT
                    self.describe(told, &s.gaps)
                s.odd_gaps += s.odd_gaps < 255
                if s.odd_gaps <= USUAL_AFTER:
                    return
        tail_add(&s.gaps, parts)
        s.entries += 1

    cdef int run(self, Columns* c, int first, int n, size_t start, bint historical) noexcept nogil:
        """Take records until there is no room for what they show; -> the first that was not taken."""
        cdef State* s = self.s
        cdef uint64_t at, passed
        cdef int i, place
        cdef Line* line
        for i in range(first, n):
            at = c.times[i]
            if at < s.watermark_ns:
                at = s.watermark_ns
            if at >= s.minute_end_ns:
                if c.pauses == TOLD_ROOM or not self.close_minutes(c, i, at):
                    return i
            self.caught_up = 0
            if s.events == 0:
                s.first_ns = s.entry_ns = s.watermark_ns = at
            passed = at - s.watermark_ns
            if passed and at - s.entry_ns >= SECOND_NS:
                self.gap(c, i, at, historical)
                s.entry_ns = at
            if at >= s.week.hour_end_ns:
                week_reach(&s.week, at, self.mean())
            s.week.count += 1.0
            s.active_ns += passed if passed < MINUTE_NS else MINUTE_NS
            s.watermark_ns = at
            s.minute_count += 1
            if c.templates != NULL:
                place = line_of(&s.lines, self.index, c.templates[i])
                if place < 0:
                    place = knock(&s.lines, c.templates[i], <uint32_t>(s.minute_end_ns // MINUTE_NS))
                    if place >= 0:
                        lines_index(&s.lines, self.index)
                        line = &s.lines.line[place]
                        note_text(line, c.text + start, c.lengths[i])
                        line.last_ns = at
                        line.first_active = line.last_active = line.entry_active = s.active_ns // MS_NS
                        line.last_event = s.events
                else:
                    line_came(&s.lines.line[place], at, s.active_ns // MS_NS, s.events, s.minute_end_ns - MINUTE_NS)
                start += c.lengths[i]
            s.events += 1
        return n

    def take(
        self, const unsigned long long[::1] times_ns, const unsigned long long[::1] templates=None,
        const unsigned char[::1] text=None, const unsigned int[::1] lengths=None, *, bint historical=False, int first=0,
    ):
        """Learn from records `first` on, in their order; see `Taken`. ValueError for columns that do not fit."""
        cdef Columns c
        cdef int n = <int>times_ns.shape[0], i, stop
        cdef size_t start = 0, total = 0
        cdef uint64_t newest = 0, room
        if not 0 <= first <= n:
            raise ValueError(f"first is {first}, of {n} records; continue at the `stop` of the last call")
        if (templates is None) != (text is None) or (templates is None) != (lengths is None):
            raise ValueError("templates, text and lengths go together; give all of them or none")
        if templates is not None and not templates.shape[0] == lengths.shape[0] == n:
            raise ValueError(f"{n} times but {templates.shape[0]} templates and {lengths.shape[0]} lengths; give one for each record")
        for i in range(n):
            newest = times_ns[i] if times_ns[i] > newest else newest
            if templates is not None:
                start += lengths[i] if i < first else 0
                total += lengths[i]
        if newest > TIME_MOST_NS:
            raise ValueError(f"time {newest} is beyond 2^62 ns; place the records first")
        if text is not None and total != <size_t>text.shape[0]:
            raise ValueError(f"lengths add up to {total} bytes but the text has {text.shape[0]}; give one length for each record")
        room = 1
        if self.s.minute_end_ns and newest >= self.s.minute_end_ns:
            room = (newest - self.s.minute_end_ns) // MINUTE_NS + 2
        elif n > first and not self.s.minute_end_ns:
            room = (newest - times_ns[first]) // MINUTE_NS + 2 if newest > times_ns[first] else 2
        c.room = <int>(room if room < AT_ONCE else AT_ONCE)
        minutes, counts = array.array("Q", bytes(8 * c.room)), array.array("d", bytes(8 * c.room))
        closed_by, first_event = array.array("I", bytes(4 * c.room)), array.array("Q", bytes(8 * c.room))
        c.minutes = (<array.array>minutes).data.as_ulonglongs
        c.counts = (<array.array>counts).data.as_doubles
        c.closed_by = (<array.array>closed_by).data.as_uints
        c.first_event = (<array.array>first_event).data.as_ulonglongs
        c.closed = c.pauses = c.silences = 0
        c.times = &times_ns[0] if n else NULL
        c.templates = &templates[0] if templates is not None and n else NULL
        c.text = &text[0] if text is not None and total else NULL
        c.lengths = &lengths[0] if lengths is not None and n else NULL
        stop = self.run(&c, first, n, start, historical)  # some ns a record: not worth giving up the interpreter's lock
        pauses = [pause_of(&c.pause[i]) for i in range(c.pauses)]
        silences = [silence_of(&c.silence[i]) for i in range(c.silences)]
        return Taken(
            stop, minutes[:c.closed], counts[:c.closed], closed_by[:c.closed], first_event[:c.closed], pauses, silences)

    cdef void describe(self, Told* told, Tail* tail) noexcept nogil:
        told.start_ns = self.s.watermark_ns
        told.silences = <uint64_t>tail_total(tail)

    # ---- the wall clock --------------------------------------------------------------------------------------------

    def heard(self, uint64_t received_ns, *, bint historical):
        """A journal row has come, at `received_ns`: call it before `take` of its records."""
        cdef State* s = self.s
        self.lag = 0
        self.lag_told = False
        if historical or not s.live or received_ns > TIME_MOST_NS:
            return
        self.lag_told = s.due_ns and received_ns >= s.due_ns
        if received_ns > s.watermark_ns:
            self.lag = self.parts_expected(received_ns)

    def settle(self, uint64_t received_ns, *, bint historical):
        """All records of the row are taken: say anew when silence is worth telling."""
        cdef State* s = self.s
        cdef bint was_live = s.live
        s.due_ns = 0
        s.live = (
            not historical and s.events > 0 and received_ns <= TIME_MOST_NS
            and (received_ns <= s.watermark_ns or received_ns - s.watermark_ns <= LIVE_NS))
        if not s.live:
            return
        if s.rows == 0 or received_ns < s.received_first_ns:
            s.received_first_ns = received_ns
        s.received_ns = received_ns if received_ns > s.received_ns or s.rows == 0 else s.received_ns
        s.rows += 1
        if s.rows >> 16:  # the newer half says how often rows come
            s.rows >>= 1
            s.received_first_ns += (s.received_ns - s.received_first_ns) // 2
        if was_live:
            if self.lag_told:
                s.odd_lags += s.odd_lags < 255
            if not self.lag_told or s.odd_lags > USUAL_AFTER:
                tail_add(&s.lags, self.lag)
        self.wait(received_ns)

    cdef void wait(self, uint64_t received_ns) noexcept nogil:
        """From when on is it too long?"""
        cdef State* s = self.s
        cdef uint64_t span = s.received_ns - s.received_first_ns, due, longest
        cdef double parts
        if s.rows < ROWS_NEEDED or span < ROWS_SPAN_NS or tail_total(&s.lags) < ROWS_NEEDED:
            return
        parts = tail_reach(&s.lags, bits_of(self.threshold(s.rows, span)))
        longest = tail_longest(&s.lags)
        longest += longest // 2
        if parts < longest:
            parts = <double>longest
        due = week_when(&s.week, s.watermark_ns, parts / EXPECTED_UNIT, self.mean())
        if due == 0:
            return
        s.due_ns = due if due > received_ns + SILENT_NS else received_ns + SILENT_NS

    def silence(self, uint64_t now_ns):
        """The silence that lasts since the watermark, as of the wall clock; None before `due_ns`. It changes nothing."""
        cdef Told told
        cdef uint64_t parts
        if self.s.due_ns == 0 or now_ns < self.s.due_ns:
            return None
        parts = self.parts_expected(now_ns)
        told.index = -1
        told.end_ns = self.s.due_ns
        told.bits = tail_bits(&self.s.lags, parts)
        told.threshold = self.threshold(self.s.rows, self.s.received_ns - self.s.received_first_ns)
        told.expected = parts / EXPECTED_UNIT
        self.describe(&told, &self.s.lags)
        return pause_of(&told)

    # ---- parts -----------------------------------------------------------------------------------------------------

    def forget_lines(self):
        """Lines are known by other numbers from here on."""
        memset(&self.s.lines, 0, sizeof(Lines))
        lines_index(&self.s.lines, self.index)

    def parts(self):
        """All that is known: equal pasts give equal bytes."""
        cdef int known = self.s.lines.known
        cdef size_t head = sizeof(State) - sizeof(Lines), tail = sizeof(Lines) - LINES * sizeof(Line)
        cdef bytes body = PyBytes_FromStringAndSize(NULL, 1 + head + known * sizeof(Line) + tail)
        cdef unsigned char* to = body
        to[0] = VERSION
        memcpy(to + 1, self.s, head)
        exchange_lines(self.s.lines.line, known, to + 1 + head, False)
        memcpy(to + 1 + head + known * sizeof(Line), &self.s.lines.door, tail)
        return body

    def restore(self, const unsigned char[::1] parts not None):
        """Put back what `parts` gave. ValueError for bytes that are damaged or of another version; then nothing changes."""
        cdef size_t head = sizeof(State) - sizeof(Lines), tail = sizeof(Lines) - LINES * sizeof(Line), room
        cdef size_t size = parts.shape[0]
        cdef State* s
        cdef int known
        if size < 1 + head + tail or parts[0] != VERSION:
            raise ValueError("the arrivals of this stream are damaged or of another version; let it learn them anew")
        room = size - 1 - head - tail
        known = <int>(room // sizeof(Line)) if room // sizeof(Line) <= LINES else LINES
        s = <State*>calloc(1, sizeof(State))
        if s == NULL:
            raise MemoryError("no room for the arrivals of a stream")
        memcpy(s, &parts[1], head)
        exchange_lines(s.lines.line, known, <unsigned char*>&parts[1 + head], True)
        memcpy(&s.lines.door, &parts[size - tail], tail)
        if s.lines.known != known or room != known * sizeof(Line) or not sound(s):
            free(s)
            raise ValueError("the arrivals of this stream are damaged; let it learn them anew")
        free(self.s)
        self.s = s
        self.caught_up = 0
        lines_index(&self.s.lines, self.index)


cdef object p_of(double bits):
    return 1.0 / two_to(bits if bits < 900.0 else 900.0)


cdef double score_of(Told* told):
    return told.bits / (told.bits + bits_of(told.threshold))


cdef object pause_of(Told* told):
    return Pause(
        told.index, told.start_ns, told.end_ns, p_of(told.bits), told.threshold, score_of(told), told.bits, told.expected,
        told.silences)


cdef object silence_of(Told* told):
    return Silence(
        told.index, told.end_ns, told.id, PyBytes_FromStringAndSize(<char*>told.text, told.size), told.start_ns,
        told.last_event, told.events, told.expected, p_of(told.bits), told.threshold, score_of(told), told.bits,
        told.usual_ns, told.longest_ns, told.silences)


include "presence_parts.pxi"
