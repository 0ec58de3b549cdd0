# cython: autotestdict=False
"""One instance among many: a pod, host or process whose lines are unlike those of the others that share its stream.

One bad instance of fifty is two lines in a hundred, too few for any window of the stream. Here each instance has a window
of its own. Whenever it has said `window` more lines, its newest three windows are compared with the newest three windows of
all others at that time, so that what happens to everybody is not held against anyone. Three questions, four answers in bits:

- NOVEL: how much more do its lines cost than those of others (what the caller says that a line costs)? From a caller who knows
  no costs and always says 0: how many are of templates that no other has and that it did not have before, taken as one
  template in what follows?
- MIX: which template is said most above its share, in lines, and in runs of equal lines? v lines where e were expected are
  v log2(v/e) - (v - e)/ln 2 bits (the deviance of a Poisson variable), divided by the template's own dispersion: its
  variance over instances relative to its mean. One that comes in bursts has to come more often to be remarkable.
- FROZEN: how much less variety have its lines (entropy) than those of others?

An instance may have a role of its own: what is usual is the more usual of what others do and of what it did itself before,
so a leader among followers stands out once, when it is new.

Each answer is measured in spreads of the stream's own answers: 90 % quantile less median. The largest of the four is ranked
among the episodes of all instances, an episode being the largest of three consecutive windows, so that nothing is compared
with what shares lines with it and bursts stay whole: p = (1 + #{episodes >= x}) / (1 + n), a conformal p-value that needs no
past of this instance. Beyond all n episodes, p = (largest - median) / (x - median) / (1 + n), which is exact for a tail as
heavy as 1/x and too large for any lighter one: the largest of n such numbers is exceeded k times over with probability
1 / (k (n + 1)). An instance that stays rare is told every time but enters the comparison once, so one long fault does not
hide the next.

Whole numbers and correctly rounded operations: the same answers on every machine. Vovk, Gammerman and Shafer, "Algorithmic
Learning in a Random World", 2005; overdispersion: McCullagh and Nelder, "Generalized Linear Models", 1989.
"""

from enum import IntEnum
from typing import Final, NamedTuple

cimport cython
from libc.math cimport frexp
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove, memset

import array
import struct
import sys

cdef enum:
    ONE_BIT = 1024
    WINDOWS = 3                # of an instance that are looked at together
    EPISODES = 256
    SPREADS = 96               # episodes that say how far answers spread
    EPISODES_NEEDED = 10
    EARLY = 60                 # episodes from when little was known, which are dropped
    SETTLED = 40               # when so many more have come
    RECENT = 15
    KEPT = 24
    KEPT_WINDOWS_MIN = 2
    KEPT_WINDOWS = 16
    USUAL = 5
    USUAL_MIN = 3
    LEFT_OUT = 8
    LEARNED = 512
    INSTANCES_NEEDED = 3
    SILENT = 2
    PATIENCE = 4
    REFUSED = -2
    SWEEP_LINES = 1024
    SEARCHED = 8
    INSTANCES_STEP = 2
    TEMPLATES_START = 32
    COST_CAP = 400 * ONE_BIT
    NOVEL = 0
    LINES = 1
    RUNS = 2
    FROZEN = 3
    ALL = 4                    # the largest of the four, in spreads
    Q_NOVEL = 0
    Q_MIX = 1
    Q_FROZEN = 2

WINDOW_MAX: Final = 400
"""Largest window of one instance, lines."""

INSTANCES_MAX: Final = 256
"""Default number of instances that are kept apart. Who has been silent longest makes room for a new one, but only after four
lines for each instance: with more instances than room some are watched, instead of all of them too briefly."""

INSTANCES_MOST: Final = 4096
"""Most instances that can be asked for."""

TEMPLATES_MAX: Final = 320
"""Default number of templates in the newest lines that are told apart; what comes beyond counts as one."""

TEMPLATES_MOST: Final = 4096
"""Most templates that can be asked for."""

EPISODES_MAX: Final = EPISODES
"""Episodes of all instances among which a window is ranked."""

COST_MAX: Final = COST_CAP
"""Largest cost of one line, 1/1024 bit; what is above counts as this."""

RARE: Final = 0.05
"""An episode with a p-value of at most this is not learned from, and of several in a row only the first is compared with."""

cdef double RARE_ENOUGH = 0.05
cdef double LOG2_E = 1.4426950408889634


include "instance_tables.pxi"


class Question(IntEnum):
    """Why an instance stands out: its lines are new, of another mix, or the same again and again."""

    NOVEL = 0
    MIX = 1
    FROZEN = 2


class Verdict(NamedTuple):
    """How an instance's newest three windows stand out among those of the stream.

    `line`: index of the line that completed them. `p_value` in (0, 1], lower = rarer, 1.0 while too little is known;
    `confidence`: share of episodes that stood out less; `surprise`: unbounded, in spreads of the stream, higher = stranger;
    `distance` 0 (as usual) to 1: |observed - expected| over the larger. `observed` and `expected` are lines of `template`, or
    runs of them; bits of all the lines (`NOVEL`); `template` 0: none stands out.
    """

    line: int
    instance: int
    p_value: float
    confidence: float
    surprise: float
    distance: float
    question: Question
    template: int
    observed: float
    expected: float


@cython.final
cdef class Instances:
    """Compares the instances of one stream. Not thread safe. Raises ValueError for limits out of range.

    `window`: lines of one instance from one verdict to the next; the first comes after three windows.

    >>> from array import array
    >>> instances, lines = Instances(window=5), 3000
    >>> who = array("Q", [1 + number % 10 for number in range(lines)])
    >>> what = array("Q", [1 + number * number % 7 for number in range(lines)])
    >>> verdicts = instances.take_lines(who, what, array("I", [2048] * lines))
    >>> instances.count, len(verdicts), min(verdict.p_value for verdict in verdicts) > 0.01
    (10, 580, True)
    """

    def __cinit__(self, *, int window, int instances_max=INSTANCES_MAX, int templates_max=TEMPLATES_MAX):
        if not 1 <= window <= WINDOW_MAX:
            raise ValueError(f"a window of {window} lines is not possible; choose 1 to WINDOW_MAX = {WINDOW_MAX}")
        if not INSTANCES_NEEDED <= instances_max <= INSTANCES_MOST:
            raise ValueError(f"{instances_max} instances are not possible; choose {INSTANCES_NEEDED} to {INSTANCES_MOST}")
        if not 2 <= templates_max <= TEMPLATES_MOST:
            raise ValueError(f"{templates_max} templates are not possible; choose 2 to {TEMPLATES_MOST}")
        self.window = window
        self.instances_max = instances_max
        self.templates_max = templates_max
        self.horizon = WINDOWS * window
        self.stride = (sizeof(Instance) + self.horizon * sizeof(uint16_t) + 7) // 8 * 8

    def __dealloc__(self):
        self.drop()

    def __reduce__(self):
        raise TypeError("Instances can not be pickled; keep their parts and restore them")

    cdef void drop(self) noexcept:
        free(self.names.keys)
        free(self.names.cells)
        free(self.blocks)
        free(self.forms.keys)
        free(self.forms.cells)
        free(self.templates)
        free(self.line_counts)
        free(self.run_counts)
        free(self.touched)
        free(self.episodes)
        memset(&self.names, 0, sizeof(Directory))
        memset(&self.forms, 0, sizeof(Directory))
        self.blocks = NULL
        self.templates = NULL
        self.line_counts = self.run_counts = self.touched = NULL
        self.episodes = NULL
        self.block_room = self.template_room = 0

    # ---- who and what ----------------------------------------------------------------------------------------------

    cdef inline Instance* block(self, int place) noexcept nogil:
        return <Instance*>(self.blocks + place * self.stride)

    cdef inline uint16_t* ring(self, Instance* one) noexcept nogil:
        return <uint16_t*>(<char*>one + sizeof(Instance))

    cdef int known(self, uint64_t instance) noexcept nogil:
        """The place of an instance, which is made if need be; -1 when memory is short, REFUSED when nobody makes room."""
        cdef int place = place_of(&self.names, instance), i
        cdef char* larger
        if place >= 0:
            return place
        if self.names.count == self.instances_max:
            if self.clock < self.full_until:
                return REFUSED
            place = 0
            for i in range(1, self.names.count):
                if self.block(i).seen < self.block(place).seen:
                    place = i
            self.full_until = self.block(place).seen + <uint64_t>PATIENCE * self.instances_max
            if self.clock < self.full_until:
                return REFUSED
            self.leave(place)
        if self.names.count == self.block_room:
            i = min(self.block_room + INSTANCES_STEP, self.instances_max)
            larger = <char*>realloc(self.blocks, i * self.stride)
            if larger == NULL:
                return -1
            self.blocks = larger
            if make_room(&self.names, i) != 0:
                return -1
            self.block_room = i
        place = self.names.count
        memset(self.block(place), 0, sizeof(Instance))
        self.block(place).open_windows = WINDOWS - 1  # its first window is an episode, so that comparisons begin early
        enter_key(&self.names, instance)
        return place

    cdef void leave(self, int place) noexcept nogil:
        """Forget an instance; the last one takes its place."""
        cdef Instance* one = self.block(place)
        cdef int last = self.names.count - 1
        while one.fill:
            self.out(one)
        unindex_key(&self.names, place)
        if last != place:
            unindex_key(&self.names, last)
            memcpy(one, self.block(last), self.stride)
            self.names.keys[place] = self.names.keys[last]
            index_key(&self.names, place)
        self.names.count = last

    cdef void sweep(self) noexcept nogil:
        """Forget instances that have been silent while the others said some six windows each."""
        cdef uint64_t patience = <uint64_t>SILENT * self.horizon * self.names.count
        cdef int i
        for i in range(self.names.count - 1, -1, -1):
            if self.clock - self.block(i).seen > patience:
                self.leave(i)

    cdef int form(self, uint64_t template) noexcept nogil:
        """The number of a template, which gets one if there is room; else 0. -1 when memory is short."""
        cdef int number = place_of(&self.forms, template), i
        if number >= 0:
            return number
        if self.forms.count == self.template_room and self.template_room < self.templates_max:
            if self.more_templates() != 0:
                return -1
            if template == 0:
                return 0
        if self.forms.count < self.template_room:
            number = self.forms.count
            enter_key(&self.forms, template)
            memset(&self.templates[number], 0, sizeof(Template))
            return number
        for i in range(SEARCHED):
            self.hand = self.hand + 1 if self.hand + 1 < self.forms.count else 1
            if self.templates[self.hand].lines == 0:
                unindex_key(&self.forms, self.hand)
                self.forms.keys[self.hand] = template
                index_key(&self.forms, self.hand)
                memset(&self.templates[self.hand], 0, sizeof(Template))
                return self.hand
        return 0

    cdef int more_templates(self) noexcept nogil:
        cdef int room = min(self.templates_max, 2 * self.template_room if self.template_room else TEMPLATES_START)
        cdef void* larger = realloc(self.templates, room * sizeof(Template))
        if larger == NULL:
            return -1
        self.templates = <Template*>larger
        larger = realloc(self.touched, room * sizeof(uint16_t))
        if larger == NULL:
            return -1
        self.touched = <uint16_t*>larger
        larger = realloc(self.line_counts, room * sizeof(uint16_t))
        if larger == NULL:
            return -1
        self.line_counts = <uint16_t*>larger
        larger = realloc(self.run_counts, room * sizeof(uint16_t))
        if larger == NULL:
            return -1
        self.run_counts = <uint16_t*>larger
        memset(self.line_counts, 0, room * sizeof(uint16_t))
        memset(self.run_counts, 0, room * sizeof(uint16_t))
        if make_room(&self.forms, room) != 0:
            return -1
        self.template_room = room
        if self.forms.count == 0:  # number 0 is all that found no room
            memset(&self.templates[0], 0, sizeof(Template))
            enter_key(&self.forms, 0)
        return 0

    # ---- lines -----------------------------------------------------------------------------------------------------

    cdef int take(self, uint64_t instance, uint64_t template, unsigned int cost) noexcept nogil:
        cdef Instance* one
        cdef uint16_t* ring
        cdef int number, run, at
        if instance == 0:
            return 0
        self.clock += 1
        if self.clock % SWEEP_LINES == 0:
            self.sweep()
        if self.current >= self.names.count or self.names.keys[self.current] != instance:
            at = self.known(instance)
            if at < 0:
                return 0 if at == REFUSED else -1
            self.current = at
        number = self.form(template)
        if number < 0:
            return -1
        one = self.block(self.current)
        ring = self.ring(one)
        one.seen = self.clock
        run = 1
        if one.fill:
            at = one.head + one.fill - 1
            run = ring[at if at < self.horizon else at - self.horizon] >> 1 != number
            if one.fill == self.horizon:
                self.older(one)
        at = one.head + one.fill
        ring[at if at < self.horizon else at - self.horizon] = <uint16_t>(number << 1 | run)
        one.fill += 1
        self.count_in(number << 1 | run)
        self.has_costs = self.has_costs or cost > 0
        one.costs[WINDOWS] += cost if cost < COST_CAP else COST_CAP
        one.open_lines += 1
        if one.open_lines < self.window:
            return 0
        one.open_lines = 0
        for at in range(WINDOWS):
            one.costs[at] = one.costs[at + 1]
        one.costs[WINDOWS] = 0
        if one.fill < self.horizon:
            return 0
        return self.judge(one, instance)

    cdef inline void count_in(self, int entry) noexcept nogil:
        self.templates[entry >> 1].lines += 1
        self.templates[entry >> 1].runs += entry & 1
        self.line_total += 1
        self.run_total += entry & 1

    cdef int out(self, Instance* one) noexcept nogil:
        """Take the oldest line out of an instance's ring; -> its entry."""
        cdef int entry = self.ring(one)[one.head]
        one.head = one.head + 1 if one.head + 1 < self.horizon else 0
        one.fill -= 1
        self.templates[entry >> 1].lines -= 1
        self.templates[entry >> 1].runs -= entry & 1
        self.line_total -= 1
        self.run_total -= entry & 1
        return entry

    cdef void older(self, Instance* one) noexcept nogil:
        """The oldest line of a full ring becomes part of what the instance did before."""
        cdef int entry = self.out(one), i, least = 0
        cdef uint16_t part = self.part_of(entry >> 1)
        one.kept_line_total += 1
        one.kept_run_total += entry & 1
        for i in range(one.kept_count):
            if one.kept[i] == part:
                break
            if one.kept_lines[i] < one.kept_lines[least]:
                least = i
        else:
            if one.kept_count < KEPT:
                i = one.kept_count
                one.kept_count += 1
                one.kept_lines[i] = one.kept_runs[i] = 0
            else:
                i = least  # and goes on from its counts, which bound what the new one had
            one.kept[i] = part
        one.kept_lines[i] += 1
        one.kept_runs[i] += entry & 1
        if one.kept_line_total >= <uint32_t>(KEPT_WINDOWS * self.window):
            self.halve(one)

    cdef inline uint16_t part_of(self, int number) noexcept nogil:
        return <uint16_t>(self.forms.keys[number] * <uint64_t>0x9E3779B97F4A7C15 >> 48)

    cdef void halve(self, Instance* one) noexcept nogil:
        """What an instance did before counts half from now on."""
        cdef int i, count = 0
        for i in range(one.kept_count):
            if one.kept_lines[i] > 1:
                one.kept[count] = one.kept[i]
                one.kept_lines[count] = one.kept_lines[i] >> 1
                one.kept_runs[count] = one.kept_runs[i] >> 1
                count += 1
        one.kept_count = count
        one.kept_line_total >>= 1
        one.kept_run_total >>= 1

    # ---- the verdict -----------------------------------------------------------------------------------------------

    cdef int judge(self, Instance* one, uint64_t instance) noexcept nogil:
        """Fill `last`, and learn; -> 1, or -1 when memory is short."""
        cdef int runs = gather(self, one), i
        cdef Mixed mix = mixed(self, one, runs)
        cdef uint32_t cost = one.costs[0] + one.costs[1] + one.costs[2], variety = variety_of(self)
        cdef uint32_t usual_cost = usual(self, one, instance, True), usual_variety = usual(self, one, instance, False)
        cdef int32_t answers[ALL + 1]
        cdef bint enough = self.names.count >= INSTANCES_NEEDED and self.line_total >= <uint32_t>(3 * self.horizon)
        answers[NOVEL] = mix.alone_bits
        if self.has_costs:
            answers[NOVEL] = <int32_t>(cost - usual_cost) if cost > usual_cost else 0
        answers[LINES] = mix.line_bits
        answers[RUNS] = mix.run_bits
        answers[FROZEN] = <int32_t>(usual_variety - variety) if usual_variety > variety else 0
        self.remember(instance, cost, variety)
        if enough and self.episodes == NULL:
            self.episodes = new_episodes()
        if enough and self.episodes == NULL:
            self.clear_counts()
            return -1
        memset(&self.last, 0, sizeof(Deviation))
        self.last.p_value = 1.0
        self.last.instance = instance
        if enough:
            weigh(self, answers)
            describe(self, answers, &mix, cost, usual_cost, variety, usual_variety)
            for i in range(ALL + 1):
                if answers[i] > one.largest[i]:
                    one.largest[i] = answers[i]
            one.rare = one.rare or self.last.p_value <= RARE_ENOUGH
            one.open_windows += 1
            if one.open_windows == WINDOWS:
                self.end_episode(one, cost, variety, mix.alone)
        self.clear_counts()
        return 1

    cdef void clear_counts(self) noexcept nogil:
        cdef int i
        for i in range(self.touched_count):
            self.line_counts[self.touched[i]] = self.run_counts[self.touched[i]] = 0

    cdef void remember(self, uint64_t instance, uint32_t cost, uint32_t variety) noexcept nogil:
        cdef Recent* one = &self.recent[self.recent_head]
        one.instance = instance
        one.cost = cost
        one.variety = variety
        self.recent_head = (self.recent_head + 1) % RECENT
        if self.recent_count < RECENT:
            self.recent_count += 1

    cdef void end_episode(self, Instance* one, uint32_t cost, uint32_t variety, uint32_t alone) noexcept nogil:
        """Three windows are over: compare others with them from now on, and learn what is usual."""
        cdef bint again = one.was_rare and one.left_out < LEFT_OUT
        cdef int i, at = one.usual_count
        one.left_out = one.left_out + 1 if again else 0
        one.was_rare = one.rare
        if not again:
            for i in range(ALL):
                push(&self.episodes[i], one.largest[i])
            if self.episodes[NOVEL].count > EPISODES_NEEDED:
                push(&self.episodes[ALL], one.largest[ALL])
            self.episodes_seen += 1
            if self.episodes_seen == EARLY + SETTLED:
                for i in range(ALL + 1):
                    while self.episodes[i].count > SETTLED:
                        forget_oldest(&self.episodes[i])
        if not one.rare:
            self.learn(alone)
        if at == USUAL:
            at -= 1
            memmove(&one.usual_costs[0], &one.usual_costs[1], at * sizeof(uint32_t))
            memmove(&one.usual_variety[0], &one.usual_variety[1], at * sizeof(uint32_t))
            memmove(&one.usual_alone[0], &one.usual_alone[1], at * sizeof(uint16_t))
        one.usual_costs[at] = cost
        one.usual_variety[at] = variety
        one.usual_alone[at] = <uint16_t>alone
        one.usual_count = at + 1
        one.rare = one.open_windows = 0
        memset(one.largest, 0, sizeof(one.largest))

    cdef void learn(self, uint32_t alone) noexcept nogil:
        """Add the gathered counts to what is known of the dispersion of templates."""
        cdef Template* t
        cdef uint32_t lines, runs
        cdef int i
        if self.learned == LEARNED:
            self.learned >>= 1
            self.alone_sum >>= 1
            self.alone_squares >>= 1
            for i in range(self.forms.count):
                t = &self.templates[i]
                t.line_sum >>= 1
                t.line_squares >>= 1
                t.run_sum >>= 1
                t.run_squares >>= 1
        self.learned += 1
        self.alone_sum += alone
        self.alone_squares += alone * alone
        for i in range(self.touched_count):
            t = &self.templates[self.touched[i]]
            lines = self.line_counts[self.touched[i]]
            runs = self.run_counts[self.touched[i]]
            t.line_sum += lines
            t.line_squares += lines * lines
            t.run_sum += runs
            t.run_squares += runs * runs

    # ---- border ----------------------------------------------------------------------------------------------------

    def take_lines(
        self, const unsigned long long[::1] instances, const unsigned long long[::1] templates, const unsigned int[::1] costs,
    ):
        """Take lines as they come: who said them (0: nobody, and the line is not taken), the number of their template, and
        their cost in 1/1024 bit; -> the verdicts of windows that they complete.

        Raises ValueError for columns of different lengths, MemoryError.
        """
        cdef Py_ssize_t i = 0, n = instances.shape[0]
        cdef int outcome = 0
        if templates.shape[0] != n or costs.shape[0] != n:
            raise ValueError(f"{n} instances, {templates.shape[0]} templates and {costs.shape[0]} costs; give one of each a line")
        verdicts = []
        while i < n:
            with nogil:
                while i < n:
                    outcome = self.take(instances[i], templates[i], costs[i])
                    i += 1
                    if outcome != 0:
                        break
            if outcome < 0:
                raise MemoryError("no room for the instances of a stream")
            if outcome:
                verdicts.append(self.verdict(i - 1))
        return verdicts

    cdef object verdict(self, Py_ssize_t line):
        return Verdict(
            line, self.last.instance, self.last.p_value, self.last.confidence, self.last.surprise, self.last.distance,
            Question(self.last.question), self.last.template, self.last.observed, self.last.expected)

    def parts(self):
        """Everything that is known as bytes that `restore` takes: with 50 instances and windows of 50 lines some 30,000."""
        return packed(self)

    def restore(self, bytes parts not None):
        """Put back what `parts` of instances with the same limits gave: from then on both answer alike.

        Raises ValueError for bytes that they never give, MemoryError; all is then as it was.
        """
        cdef Instances fresh = Instances(
            window=self.window, instances_max=self.instances_max, templates_max=self.templates_max)
        unpack(fresh, parts)
        exchange(self, fresh)

    @property
    def count(self):
        """Instances that are known by now; at most `instances_max`."""
        return self.names.count

    @property
    def size(self):
        """Bytes that are held beside the object itself."""
        cdef size_t total = self.block_room * self.stride + (self.names.room + self.forms.room) * sizeof(uint64_t)
        total += self.template_room * (sizeof(Template) + 3 * sizeof(uint16_t))
        if self.names.cells != NULL:
            total += (self.names.mask + 1) * sizeof(uint16_t)
        if self.forms.cells != NULL:
            total += (self.forms.mask + 1) * sizeof(uint16_t)
        if self.episodes != NULL:
            total += (ALL + 1) * sizeof(Episodes) + 2 * (ALL * SPREADS + EPISODES) * sizeof(int32_t)
        return total


include "instance_answers.pxi"
include "instance_parts.pxi"
