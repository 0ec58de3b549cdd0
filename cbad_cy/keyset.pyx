# cython: autotestdict=False
"""Interactions: which templates a key (trace, session, block) has shown by a certain age, and how unusual that set is.

Ages are a ladder of powers of four from a millisecond to 13 days, the same for every stream. When a key reaches a rung, the
set of templates it has shown by then is coded by the rung's model: with N keys, D distinct sets, n keys with this very set,

    p(set) = (n + D product) / (N + D),    product = over all known templates of (n(t) + 1/2) / (N + 1) or its complement,

and 1/2 / (N + 1) 2^-20 for each template that the rung never saw. A rung's model learns the sets at its own and all later
rungs, so to be early costs nothing; and, from keys that were well at this rung, their sets at the rung before, so to be late
costs little up to a factor of four. What is missing for longer, and what should not be there, costs its bits. The score of a
key is its code length over the median of the stream, the largest of all rungs so far.

Rungs decide from the first by which half of all later templates have come (before, keys have hardly begun); how long after a
key's first event templates come is measured as they come. A rung first learns `WARM_KEYS` keys, then forgets sets of less
than 2 %. From then on what scores `NOT_LEARNED_BITS` is not learned, and neither is its key at later ages, until a sequential
test says that one key in ten has the set, or in the long run one in twenty (Page, "Continuous inspection schemes", Biometrika
41, 1954): then it is usual.

A key alarms once: when its score is at least `ALARM_BITS` and its p-value at most the threshold given. p is the conformal rank
among past keys at the same rung, of which one in twenty may be an anomaly itself and does not count: so it is honest about how
normal keys behave in a stream in which up to 5 % are not; and where more than 5 % are odd, only the oddest still alarm.

Everything runs on the times of events, which never go back; equal calls give equal results on every machine: integer counts,
correctly rounded operations, fixed series. Krichevsky and Trofimov, "The performance of universal encoding", IEEE
Transactions on Information Theory 27 (1981); Witten and Bell, "The zero-frequency problem", the same 37 (1991); Vovk, Gammerman
and Shafer, "Algorithmic Learning in a Random World", 2005.
"""

from typing import Final, NamedTuple

cimport cython
from cpython cimport array
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.math cimport frexp
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove, memset

import array

cdef enum:
    UNIT = 64                  # scores are in 1/64 bit
    CAP = 400 * UNIT
    RUNGS = 16
    SETS = 64                  # of a rung
    ITEMS = 128                # of a rung
    ODDS = 16                  # of a rung
    ONE_KEY = 1024
    FORGOTTEN = 64             # counts below are forgotten
    FADING_KEYS = 64
    PAST = 512
    USUAL = 127
    NEIGHBOURS = 4
    WARM = 300
    NOT_LEARNED = 7 * UNIT
    ALARM = 14 * UNIT
    EVIDENCE_FOR = 1779        # log2(.10 / .03) = log2(.05 / .015) in 1/1024 bit
    FAST_AGAINST = 111         # log2(.97 / .90)
    SLOW_AGAINST = 53          # log2(.985 / .95)
    FAST_ENOUGH = 6 * 1024
    SLOW_ENOUGH = 12 * 1024
    ANOMALIES_EVERY = 20       # one key in so many may be an anomaly
    DELAYS = 8192              # as many are counted before all counts are halved
    TEMPLATES = 64             # of a key
    KEY_KEPT = 40
    DETAILS = 8
    BLOCK_IDS = 7
    ENTRIES_START = 64
    GONE_WAYS = 8
    GONE_BUCKETS = 512         # at least
    TEXTS = 1024
    TEXT_WAYS = 8
    TEXT_KEPT = 120
    SETTLED_RUNGS = 2          # keys close 16 times as late as anything ever came
    BAD = 1
    ALARMED = 2
    CROSSED = 4

cdef double NAMING = 1.0 / (1 << 20)
cdef double LEAST = 1e-120    # below 2^-398: at the cap

WARM_KEYS: Final = WARM
"""Keys that a rung learns before it judges."""

ALARM_BITS: Final = ALARM // UNIT
"""Least score of an alarm: so many bits over the median, 2^14 times rarer."""

NOT_LEARNED_BITS: Final = NOT_LEARNED // UNIT
"""From this score on a set is not learned."""

CAP_BITS: Final = CAP // UNIT
"""Largest code length of a set."""

PAST_KEYS: Final = PAST
"""Keys of each rung among which a score is ranked, the newest `NEIGHBOUR_KEYS` left out."""

NEIGHBOUR_KEYS: Final = NEIGHBOURS
"""Keys of a block: p is also a rank among the maxima of blocks, because bad neighbours come together."""

RUNG_AGES_NS: Final = tuple(1 << (20 + 2 * i) for i in range(RUNGS))
"""The ages at which keys are judged, ns."""

SETS_MAX: Final = SETS
"""Distinct sets that a rung knows."""

RUNG_TEMPLATES_MAX: Final = ITEMS
"""Templates that a rung knows."""

KEY_TEMPLATES_MAX: Final = TEMPLATES
"""Distinct templates of one key; what comes beyond is counted and not part of its set."""

KEY_BYTES_KEPT: Final = KEY_KEPT
"""Bytes of a key that are kept to show it; keys are told apart by 64-bit hashes of the whole."""

DETAILS_MAX: Final = DETAILS
"""Templates that explain one judgement."""

TEXTS_MAX: Final = TEXTS
"""Templates of which the text is kept."""

TEXT_BYTES_KEPT: Final = TEXT_KEPT
"""Bytes that are kept of the text of a template."""

KEYS_MAX: Final = 16384
"""Default bound of open keys; when one more opens, the oldest is closed."""

KEYS_MAX_MOST: Final = 1 << 20
"""Largest bound of open keys."""

BYTES_MAX: Final = 4 << 20
"""Default bound of the memory of open keys, bytes; the oldest is closed for want of it."""

BYTES_MAX_LEAST: Final = 1 << 16
"""Smallest bound of that memory, bytes."""

BYTES_MAX_MOST: Final = 1 << 30
"""Largest bound of that memory, bytes."""

PATTERN_BYTES_MAX: Final = 256
"""Longest prefix or attribute name, bytes."""

TEXT_BYTES_MAX: Final = 1 << 28
"""Longest text of one call, bytes."""

cdef uint64_t NEVER = <uint64_t>-1
cdef uint64_t LATEST_NS = <uint64_t>1 << 62

cdef enum:
    PARTS_VERSION = 1

include "hash.pxi"
include "logarithm.pxi"
include "key_models.pxi"
include "key_spans.pxi"
include "key_store.pxi"
include "key_parts.pxi"


class Surprise(NamedTuple):
    """A template that makes an interaction unusual.

    `text`: its masked line, cut at `TEXT_BYTES_KEPT`, or nothing when it has not been seen for too long; `bits`: what it costs
    by itself; `present`: whether the interaction has it, though most have not, or misses it.
    """

    text: bytes
    bits: float
    present: bool


class Judgement(NamedTuple):
    """What was found of one key at one age. Bits and confidence grow with strangeness, `p_value` (never 0) shrinks.

    `key` is cut at `KEY_BYTES_KEPT`, then `key_cut`; `key_hash` is of the whole. `age_ns` is the rung; `closed` says that the
    key was closed early and judged by the last rung that it had reached. `score`: `code`, the code length of its set, over the
    `usual` of this rung, 0 when it is below; `p_value` ranks the largest score so far. `decided`: the rung decides, is warm,
    and the set has not become common; only then the score counts and p-value and confidence say anything. `at_event` is the
    number of the event at which it was judged, of the key's last one where none was, and `at_ns` the time by then.
    """

    key: bytes
    key_cut: bool
    key_hash: int
    score: float
    code: float
    usual: float
    p_value: float
    confidence: float
    age_ns: int
    events: int
    first_event: int
    last_event: int
    first_ns: int
    last_ns: int
    decided: bool
    alarmed: bool
    closed: bool
    surprises: tuple
    at_event: int
    at_ns: int


cdef uint64_t age_of(int rung) noexcept nogil:
    return <uint64_t>1 << (20 + 2 * rung)


@cython.final
cdef class Keyset:
    """The open interactions of one stream and what is usual for them. Not thread safe.

    `keys_max` and `bytes_max` bound the open keys; models and texts take some 200 KiB more, and 16 bytes for each of `keys_max`
    to know evicted keys again, of which later events are left out. ValueError out of range.

    >>> from array import array
    >>> keys = Keyset()
    >>> lines = b"openedclosed"
    >>> where = array("I", [0, 0]), array("I", [2, 2])
    >>> keys.feed(b"k1", *where, lines, array("I", [6, 6]), array("Q", [10, 20]), first_event=0, threshold=0.05)
    []
    >>> len(keys), keys.flush(threshold=0.05), len(keys)
    (1, [], 0)
    """

    def __cinit__(self, *, int keys_max=KEYS_MAX, size_t bytes_max=BYTES_MAX):
        if not 1 <= keys_max <= KEYS_MAX_MOST:
            raise ValueError(f"{keys_max} open keys are not possible; choose 1 to KEYS_MAX_MOST = {KEYS_MAX_MOST}")
        if not BYTES_MAX_LEAST <= bytes_max <= BYTES_MAX_MOST:
            raise ValueError(f"{bytes_max} bytes are not possible; choose {BYTES_MAX_LEAST} to {BYTES_MAX_MOST}")
        self.keys_max = keys_max
        self.bytes_max = bytes_max
        self.rungs = <Rung*>calloc(RUNGS, sizeof(Rung))
        self.gone_mask = GONE_BUCKETS - 1
        while 2 * (self.gone_mask + 1) < <uint32_t>keys_max:
            self.gone_mask = 2 * self.gone_mask + 1
        self.gone = <uint32_t*>calloc((self.gone_mask + 1) * GONE_WAYS, sizeof(uint32_t))
        self.text_id = <uint32_t*>calloc(TEXTS, sizeof(uint32_t))
        self.text_seen = <uint32_t*>calloc(TEXTS, sizeof(uint32_t))
        self.text_size = <uint8_t*>calloc(TEXTS, 1)
        self.text = <unsigned char*>calloc(TEXTS, TEXT_KEPT)
        if not self.rungs or not self.gone or not self.text_id or not self.text_seen or not self.text_size or not self.text:
            raise MemoryError("no room for interactions")
        if grow_entries(self) != 0:
            raise MemoryError("no room for open keys")
        self.blocks_used = 0
        self.due_ns = NEVER
        self.end = -1
        self.threshold = 0.0

    def __dealloc__(self):
        free(self.rungs)
        free(self.entries)
        free(self.blocks)
        free(self.table)
        free(self.found)
        free(self.gone)
        free(self.text_id)
        free(self.text_seen)
        free(self.text_size)
        free(self.text)

    def __reduce__(self):
        raise TypeError("a Keyset can not be pickled; keep its parts and restore them")

    def __len__(self):
        return self.tail - self.head

    # ---- judging ---------------------------------------------------------------------------------------------------

    cdef int report(
        self, const Entry* e, const Rung* r, const uint32_t* ids, int count, uint64_t age_ns, Found* f
    ) noexcept nogil:
        """What makes the set unusual: the dearest templates that are there or are not."""
        cdef uint8_t there[ITEMS]
        cdef unsigned int bits
        cdef int i, k, at
        cdef Detail d
        memset(f, 0, sizeof(Found))
        f.entry = e[0]
        f.age_ns = age_ns
        memset(there, 0, ITEMS)
        for k in range(count + <int>r.items):
            if k < count:
                i = item_of(r, ids[k])
                if i >= 0:
                    there[i] = 1
                    continue
                d = Detail(ids[k], <uint16_t>units(bits_of(unseen_share(r))), 1)
            else:
                i = k - count
                if r.item_hash[i] == 0:
                    continue
                d = Detail(r.item_hash[i], <uint16_t>units(bits_of(template_share(r, i, there[i]))), there[i])
            if d.bits < UNIT:
                continue
            at = f.details
            while at > 0 and f.detail[at - 1].bits < d.bits:
                if at < DETAILS:
                    f.detail[at] = f.detail[at - 1]
                at -= 1
            if at < DETAILS:
                f.detail[at] = d
                if f.details < DETAILS:
                    f.details += 1
        return 0

    cdef int judge(self, Entry* e, int rung, uint64_t age_ns, bint final) noexcept nogil:
        """Score a key at a rung it has reached, or when it closes; learn what is usual. -> 0, -1 when memory is short."""
        cdef Rung* r = &self.rungs[rung]
        cdef uint32_t ids[TEMPLATES]
        cdef int count = ids_of(self, e, ids), i, low
        cdef unsigned int code = code_of(r, ids, count, e.set_hash), usual = usual_code(r, code)
        cdef unsigned int score = code - usual if code > usual else 0
        cdef uint32_t keys = 1
        cdef bint odd = score >= NOT_LEARNED, warm, known = False, alarm = False, decided
        cdef double confidence = 0.0, p = 1.0
        cdef Found* found
        if r.judged <= WARM:
            r.judged += 1
        warm = r.judged <= WARM
        if not warm:
            keys = adopted(r, e.set_hash, odd)
            known = keys > 0
        decided = not warm and not known and rung >= self.start
        if decided:
            if score > e.worst:
                e.worst = <uint16_t>score
            if not e.flags & ALARMED and (score >= ALARM or self.watch):
                p = rarity(r, e.worst, &confidence)
                alarm = score >= ALARM and p <= self.threshold
        if alarm or self.watch:
            if self.found_count == self.found_room and grow_found(self) != 0:
                return -1
            found = &self.found[self.found_count]
            self.report(e, r, ids, count, age_ns, found)
            found.score = <uint16_t>score
            found.code = <uint16_t>code
            found.usual = <uint16_t>usual
            found.p_value = p
            found.confidence = confidence
            found.decided = decided
            found.alarmed = alarm
            found.final = final
            found.at_event = self.at_event - 1 if self.at_event else e.last_event
            found.at_ns = self.latest_ns
            self.found_count += 1
        if alarm:
            e.flags |= ALARMED
            self.alarms_ever += 1
        if warm:
            if 2 * r.judged > WARM:
                push_past(r, score)
        else:
            r.alarm_share = r.alarm_share - (r.alarm_share >> 8) + ((1 << 16) if e.flags & ALARMED else 0)
            push_past(r, e.worst)
        if odd and not warm and not known:
            e.flags |= BAD
        if known or not e.flags & BAD:
            push_usual(r, code)
            low = self.start - 1 if self.start > 0 else 0
            for i in range(low, rung + 1):
                learn_set(&self.rungs[i], ids, count, e.set_hash, keys if keys else 1)
            if e.flags & CROSSED and not final:
                learn_set(r, ids, e.before, e.before_hash, 1)
        if r.judged == WARM:
            prune(r)
        return 0

    cdef int cross(self, uint64_t number, int rung) noexcept nogil:
        """A key reaches a rung."""
        cdef Entry* e = &self.entries[number & (self.room - 1)]
        if self.start - 1 <= rung <= self.end + 1 and self.judge(e, rung, age_of(rung), False) != 0:
            return -1
        e.flags |= CROSSED
        e.before = e.templates
        e.before_hash = e.set_hash
        return 0

    cdef int advance(self, uint64_t now_ns) noexcept nogil:
        """Let time pass: keys reach rungs in the order of time, of equal times the older key and the lower rung first."""
        cdef uint64_t due, first
        cdef int i, at
        if now_ns > self.latest_ns:
            self.latest_ns = now_ns
        while self.due_ns < self.latest_ns:
            due = NEVER
            at = -1
            for i in range(RUNGS):
                if self.crossing[i] < self.tail:
                    first = self.entries[self.crossing[i] & (self.room - 1)].first_ns + age_of(i)
                    if first < due or (first == due and self.crossing[i] < self.crossing[at]):
                        due = first
                        at = i
            if due >= self.latest_ns:
                self.due_ns = due
                break
            self.crossing[at] += 1
            if self.cross(self.crossing[at] - 1, at) != 0:
                return -1
        return close_settled(self)

    # ---- border ----------------------------------------------------------------------------------------------------

    def feed(
        self, const unsigned char[::1] source, const unsigned int[::1] starts, const unsigned int[::1] sizes,
        const unsigned char[::1] lines, const unsigned int[::1] lengths, const unsigned long long[::1] times_ns,
        *, uint64_t first_event, double threshold, bint watch=False,
    ):
        """Take events in their order; -> a `Judgement` of each key that alarms, of every judgement when `watch` is set.

        Event i has the key source[starts[i]:starts[i] + sizes[i]] (size 0: none; then only time passes), its masked line stands
        in `lines`, one after another with `lengths`, `times_ns` is its time (one that goes back counts as the latest), and
        `first_event` + i its number. `threshold` is the largest p-value of an alarm. Raises ValueError for columns that do not
        fit, MemoryError, after which the state is worthless.
        """
        cdef Py_ssize_t count = lengths.shape[0], i
        cdef size_t total = 0
        if not starts.shape[0] == sizes.shape[0] == times_ns.shape[0] == count:
            raise ValueError(
                f"{count} lines, {starts.shape[0]} starts, {sizes.shape[0]} sizes, {times_ns.shape[0]} times; give one of each")
        for i in range(count):
            total += lengths[i]
            if <size_t>starts[i] + sizes[i] > <size_t>source.shape[0]:
                raise ValueError(f"the key of event {i} is not within its text")
        if total != <size_t>lines.shape[0]:
            raise ValueError(f"lengths add up to {total} bytes but the lines have {lines.shape[0]}; give one for each line")
        self.watch = watch
        self.threshold = threshold
        cdef const unsigned char* s = &source[0] if source.shape[0] else NULL
        cdef const unsigned char* line = &lines[0] if total else <const unsigned char*>b""
        cdef int outcome = 0
        with nogil:
            for i in range(count):
                self.at_event = first_event + i + 1
                outcome = self.advance(times_ns[i] if times_ns[i] < LATEST_NS else LATEST_NS)
                if outcome == 0 and sizes[i]:
                    outcome = take(self, s + starts[i], sizes[i], line, lengths[i], first_event + i)
                if outcome != 0:
                    break
                line += lengths[i]
        self.at_event = 0
        return self.told(outcome)

    def pass_time(self, uint64_t now_ns, *, double threshold, bint watch=False):
        """Let time pass without an event; -> as `feed`. A time before the latest one changes nothing."""
        self.watch = watch
        self.threshold = threshold
        cdef int outcome
        with nogil:
            outcome = self.advance(now_ns if now_ns < LATEST_NS else LATEST_NS)
        return self.told(outcome)

    def flush(self, *, double threshold, bint watch=False):
        """Close all keys, oldest first, each judged by the last rung that it reached; -> as `feed`. For the end of a file."""
        self.watch = watch
        self.threshold = threshold
        cdef int outcome = 0
        with nogil:
            while self.head < self.tail and outcome == 0:
                outcome = close_oldest(self, True, False)
        return self.told(outcome)

    cdef list told(self, int outcome):
        cdef uint32_t i, count = self.found_count
        cdef int k
        cdef Found* f
        self.found_count = 0
        if outcome != 0:
            raise MemoryError("no room for interactions; lower keys_max")
        judgements = []
        for i in range(count):
            f = &self.found[i]
            surprises = tuple([
                Surprise(text_of(self, f.detail[k].id), f.detail[k].bits / <double>UNIT, f.detail[k].present != 0)
                for k in range(f.details)
            ])
            judgements.append(Judgement(
                PyBytes_FromStringAndSize(<char*>f.entry.key, min(f.entry.key_size, KEY_KEPT)), f.entry.key_size > KEY_KEPT,
                f.entry.hash, f.score / <double>UNIT, f.code / <double>UNIT, f.usual / <double>UNIT, f.p_value, f.confidence,
                f.age_ns, f.entry.events, f.entry.first_event, f.entry.last_event, f.entry.first_ns, f.entry.last_ns,
                f.decided != 0, f.alarmed != 0, f.final != 0, surprises, f.at_event, f.at_ns))
        return judgements

    def keys_until_alarm(self, double threshold):
        """How many more keys have to reach a deciding rung until an alarm at this p-value is possible at all; 0: it is."""
        cdef int64_t blocks = 0, needed, judged, past, least = -1
        cdef int i
        if not 0.0 < threshold <= 1.0:
            raise ValueError(f"a threshold of {threshold} is not possible; choose one in (0, 1]")
        while 1.0 / (1 + blocks) > threshold and blocks < PAST // NEIGHBOURS:
            blocks += 1
        for i in range(self.start, min(self.end + 1, RUNGS - 1) + 1):
            judged, past = self.rungs[i].judged, self.rungs[i].past_count
            needed = (blocks + 1) * NEIGHBOURS
            needed = max(needed - past, 0) + max(WARM // 2 - judged, 0)
            needed = max(needed, WARM + 1 - judged)
            least = needed if least < 0 else min(least, needed)
        return max(least, 0)

    @property
    def now_ns(self):
        """The latest time so far."""
        return self.latest_ns

    @property
    def evicted(self):
        """Keys that were closed early for want of room."""
        return self.evicted_ever

    @property
    def late(self):
        """Events of keys that had been evicted; they are left out."""
        return self.late_ever

    @property
    def closed(self):
        """Keys that were closed because nothing ever came so late, or at the end."""
        return self.closed_ever

    @property
    def templates_cut(self):
        """Templates that were left out of a key because it had `KEY_TEMPLATES_MAX`, or there was no room."""
        return self.cut_ever

    @property
    def alarms(self):
        """Keys that alarmed."""
        return self.alarms_ever

    @property
    def alarm_share(self):
        """Share of the last few hundred keys that alarmed, at the rung where it is highest."""
        cdef uint32_t most = 0
        cdef int i
        for i in range(self.start, min(self.end + 1, RUNGS - 1) + 1):
            most = max(most, self.rungs[i].alarm_share)
        return most / <double>(1 << 24)

    @property
    def size(self):
        """Bytes of the open keys by now; at most `bytes_max`."""
        return used(self)

    @property
    def deciding_ages_ns(self):
        """The ages at which keys are decided by now, ns, in their order."""
        return RUNG_AGES_NS[self.start:self.end + 2]

    def parts(self):
        """Everything it knows as bytes that `restore` takes; little-endian."""
        return stored(self)

    def restore(self, const unsigned char[::1] parts):
        """Put back what `parts` gave, into a set that is still empty: from then on both behave alike.

        The bounds may differ: where they are lower, the oldest keys are left out and count as evicted. Raises ValueError for
        bytes that `parts` does not give, MemoryError; the set is then worthless.
        """
        put_all_back(self, parts)
