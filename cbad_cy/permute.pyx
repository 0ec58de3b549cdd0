# cython: autotestdict=False
"""Permutation test of a window against the rest of its pool: are these lines exchangeable with the others?

Lines are exchanged, not recompressed. What an LZ77 coder pays for a window W given the rest B is counted instead, in bits:

    statistic(W | B) = sum over lines of W, of a form that n of all N pool lines have:  line_bits * (N - n) // N
                     + first_bits for each distinct form in W
                     + byte_bits  for each byte of each distinct word of W that no line of B holds
                     + order_bits for each distinct run of three adjacent words in W that no line of B holds

A known line is one match, and often continues the match before it when its form is frequent; the first line of a form
costs a longer look back than its repeats; words that B lacks are literals; a new order of known words breaks a match. Words
are maximal runs of ASCII letters, digits, `_` and bytes over 0x7F, and maximal runs of all other bytes, so three adjacent
ones are mostly two words and what stands between them; each end of a line counts as a word in them. All are compared byte
by byte: nothing is called known by a hash collision.

The statistic is a symmetric function of each side's lines and is computed alike for every draw, so the test is exact under
exchangeability, whatever the bits are. A draw takes O(lines of W) and a little for forms that it takes altogether:
what more lines hold than W has can not vanish from B, and is not even looked at.

Randomness: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014), bounded without bias
by rejection (Lemire, "Fast random integer generation in an interval", 2019), in a partial Fisher-Yates shuffle. Each
output gives two numbers of 32 bits, its high half first. Integers only: equal input gives equal draws on every machine.
"""

from typing import Final

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memset

PERMUTATIONS_MAX: Final = 10_000
"""Most draws of one test."""

LINES_MAX: Final = 1 << 16
"""Most lines in one pool, window and rest together."""

TEXT_BYTES_MAX: Final = 1 << 20
"""Longest text of all distinct forms together, bytes."""

COST_BITS_MAX: Final = 1 << 16
"""Largest of each of the four costs, bits: sums stay far below 64 bits."""

cdef enum:
    LINE_END = 0  # id of the word that stands before and behind every line

cdef struct Costs:
    uint64_t line
    uint64_t first
    uint64_t byte
    uint64_t order

cdef struct Feature:  # a word or a run of three
    uint64_t key     # hash of a word, or ids of the first two words of a run
    uint64_t cost    # bits, when no line of the rest holds it
    uint32_t start   # where a word stands in the text, or id of the last word of a run
    uint32_t size    # bytes of a word, 0 for a run
    uint32_t lines   # pool lines that hold it
    uint32_t forms   # distinct forms that hold it
    uint32_t stamp   # 1 + the last form that was seen to hold it
    uint32_t group   # those that the same forms hold, among the rare ones of several forms

cdef struct Group:  # features that the same forms hold, so that they leave the rest together
    uint64_t cost    # bits of all of them, when they have left
    uint32_t forms   # how many distinct forms hold them
    uint32_t watch   # of these, the one with most lines: unless it is drawn altogether, they stay
    uint32_t begin   # the others: members[begin:end]
    uint32_t end

cdef struct Split:
    uint32_t form    # 1 + the form that splits a group
    uint32_t part    # the new group of the features that this form holds

cdef struct Form:
    uint64_t each    # bits of every line
    uint64_t alone   # bits when all lines of this form are in the window: of what no other form holds
    uint32_t lines   # pool lines
    uint32_t held    # lines in the drawn window
    uint32_t begin   # its features, then its groups, then the groups that watch it: links[begin:end]
    uint32_t end

cdef struct Random:
    uint64_t state
    uint32_t spare   # low half of the last output
    bint spared      # is it still to be used?

cdef struct Pool:
    Form* forms
    uint32_t* lines      # form of each line, the drawn window first
    uint32_t* drawn      # scratch: distinct forms of the drawn window
    uint32_t* gone       # scratch: forms that are drawn altogether
    uint32_t* words      # hash table of ids of words; 0 = an empty slot
    uint32_t* runs       # the same of runs
    uint64_t mask        # slots of each table - 1
    uint64_t salt        # of hashes, so that texts made to collide under one seed do not under another; no result depends on it
    Feature* features    # by id, from 1 on
    uint32_t* links      # ids of features, later of groups, form by form
    Group* groups        # by id, from 1 on
    uint32_t* members    # forms, group by group
    Split* splits        # by group, from 0 on
    uint32_t found       # ids given so far
    uint32_t linked      # links written so far
    uint32_t grouped     # groups so far
    Py_ssize_t form_count
    Py_ssize_t line_count
    Py_ssize_t window


# ---- kernels -------------------------------------------------------------------------------------------------------

cdef inline uint64_t mixed(uint64_t x) noexcept nogil:
    """The output function of SplitMix64, a bijection."""
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


cdef inline uint32_t number(Random* r) noexcept nogil:
    """32 random bits: the high half of an output, then its low half."""
    cdef uint64_t output
    if r.spared:
        r.spared = False
        return r.spare
    r.state += <uint64_t>0x9E3779B97F4A7C15
    output = mixed(r.state)
    r.spare = <uint32_t>output
    r.spared = True
    return <uint32_t>(output >> 32)


cdef inline uint32_t below(Random* r, uint32_t bound) noexcept nogil:
    """A uniform integer in [0, bound), bound >= 1."""
    cdef uint64_t product = <uint64_t>number(r) * bound
    cdef uint32_t least
    if <uint32_t>product < bound:
        least = <uint32_t>(-bound) % bound  # 2**32 mod bound: that many low halves are one too many
        while <uint32_t>product < least:
            product = <uint64_t>number(r) * bound
    return <uint32_t>(product >> 32)


cdef inline bint in_word(unsigned char c) noexcept nogil:
    return c >= 0x80 or c == c"_" or c"0" <= c <= c"9" or c"a" <= (c | 0x20) <= c"z"


cdef inline Py_ssize_t word_end(const unsigned char* s, Py_ssize_t at, Py_ssize_t stop) noexcept nogil:
    """Where the word that starts at `at` < stop ends."""
    cdef bint kind = in_word(s[at])
    at += 1
    while at < stop and in_word(s[at]) == kind:
        at += 1
    return at


cdef Py_ssize_t word_count(const unsigned char* s, const unsigned int* lengths, Py_ssize_t forms) noexcept nogil:
    cdef Py_ssize_t form, at = 0, stop = 0, words = 0
    for form in range(forms):
        stop += lengths[form]
        while at < stop:
            at = word_end(s, at, stop)
            words += 1
    return words


cdef inline uint32_t new_feature(Pool* p, uint64_t key, uint64_t cost, Py_ssize_t start, Py_ssize_t size) noexcept nogil:
    cdef Feature* f
    p.found += 1
    f = &p.features[p.found]
    f.key, f.cost, f.start, f.size = key, cost, <uint32_t>start, <uint32_t>size
    f.lines = f.forms = f.stamp = f.group = 0
    return p.found


cdef uint32_t word_id(Pool* p, const unsigned char* s, Py_ssize_t start, Py_ssize_t size, uint64_t byte_cost) noexcept nogil:
    """The id of the word s[start:start + size], a new one when it has none yet."""
    cdef uint64_t key = p.salt + <uint64_t>size, at
    cdef Py_ssize_t i
    cdef Feature* f
    for i in range(start, start + size):
        key = (key ^ s[i]) * <uint64_t>0x9E3779B97F4A7C15
    key = mixed(key)
    at = key & p.mask
    while p.words[at]:
        f = &p.features[p.words[at]]
        if f.key == key and f.size == size and memcmp(s + f.start, s + start, size) == 0:
            return p.words[at]
        at = (at + 1) & p.mask
    p.words[at] = new_feature(p, key, byte_cost * <uint64_t>size, start, size)
    return p.words[at]


cdef uint32_t run_id(Pool* p, uint32_t left, uint32_t middle, uint32_t right, uint64_t cost) noexcept nogil:
    """The id of three adjacent words, a new one when they have none yet."""
    cdef uint64_t key = <uint64_t>left << 32 | middle
    cdef uint64_t at = mixed(key + right * <uint64_t>0x9E3779B97F4A7C15) & p.mask
    cdef Feature* f
    while p.runs[at]:
        f = &p.features[p.runs[at]]
        if f.key == key and f.start == right:
            return p.runs[at]
        at = (at + 1) & p.mask
    p.runs[at] = new_feature(p, key, cost, right, 0)
    return p.runs[at]


cdef inline void link(Pool* p, uint32_t id, uint32_t form) noexcept nogil:
    """Note that a form holds a feature, once."""
    cdef Feature* f = &p.features[id]
    if f.stamp == form + 1:
        return
    f.stamp = form + 1
    f.forms += 1
    f.lines += p.forms[form].lines
    p.links[p.linked] = id
    p.linked += 1


cdef void read_forms(
    Pool* p, const unsigned char* s, const unsigned int* lengths, const Costs* costs
) noexcept nogil:
    """Find the words of all forms and their runs of three."""
    cdef Py_ssize_t at = 0, stop = 0, end
    cdef uint32_t form, left, middle, right
    for form in range(<uint32_t>p.form_count):
        p.forms[form].begin = p.linked
        stop += lengths[form]
        left = middle = LINE_END
        while at < stop:
            end = word_end(s, at, stop)
            right = word_id(p, s, at, end - at, costs.byte)
            link(p, right, form)
            if middle:
                link(p, run_id(p, left, middle, right, costs.order), form)
            left, middle = middle, right
            at = end
        if middle:
            link(p, run_id(p, left, middle, LINE_END, costs.order), form)
        p.forms[form].end = p.linked


cdef void keep_rare(Pool* p) noexcept nogil:
    """Drop features that no draw can make new, and hand what one form alone holds to that form."""
    cdef uint32_t form, i, begin, kept = 0
    cdef Feature* f
    for form in range(<uint32_t>p.form_count):
        begin = p.forms[form].begin
        p.forms[form].begin = kept
        for i in range(begin, p.forms[form].end):
            f = &p.features[p.links[i]]
            if f.lines > p.window:
                continue
            if f.forms == 1:
                p.forms[form].alone += f.cost
                continue
            p.links[kept] = p.links[i]
            kept += 1
        p.forms[form].end = kept


cdef void group_features(Pool* p) noexcept nogil:
    """Partition what is left by the forms that hold it: each form splits the groups so far into what it holds and the rest."""
    cdef uint32_t form, i
    cdef Feature* f
    cdef Split* split
    p.splits[0].form = 0
    for form in range(<uint32_t>p.form_count):
        for i in range(p.forms[form].begin, p.forms[form].end):
            f = &p.features[p.links[i]]
            split = &p.splits[f.group]
            if split.form != form + 1:
                p.grouped += 1
                split.form, split.part = form + 1, p.grouped
                p.splits[p.grouped].form = 0
            f.group = split.part


cdef void link_groups(Pool* p) noexcept nogil:
    """Put groups in the place of features."""
    cdef uint32_t form, i, begin, kept = 0
    cdef Feature* f
    cdef Group* g
    memset(p.groups, 0, (p.grouped + 1) * sizeof(Group))
    memset(p.splits, 0, (p.grouped + 1) * sizeof(Split))
    for form in range(<uint32_t>p.form_count):
        begin = p.forms[form].begin
        p.forms[form].begin = kept
        for i in range(begin, p.forms[form].end):
            f = &p.features[p.links[i]]
            g = &p.groups[f.group]
            g.cost += f.cost
            f.cost = 0  # its other forms meet it again
            if p.splits[f.group].form != form + 1:
                p.splits[f.group].form = form + 1
                g.forms += 1
                p.links[kept] = f.group
                kept += 1
        p.forms[form].end = kept


cdef void list_members(Pool* p) noexcept nogil:
    """List the forms of each group, the watched one last and beyond the end."""
    cdef uint32_t form, i, id, at = 0
    cdef Group* g
    for id in range(1, p.grouped + 1):
        p.groups[id].begin = p.groups[id].end = at
        at += p.groups[id].forms
    for form in range(<uint32_t>p.form_count):
        for i in range(p.forms[form].begin, p.forms[form].end):
            g = &p.groups[p.links[i]]
            p.members[g.end] = form
            g.end += 1
    for id in range(1, p.grouped + 1):
        g = &p.groups[id]
        if g.forms == 0:
            continue  # split up altogether
        at = g.begin
        for i in range(g.begin, g.end):
            if p.forms[p.members[i]].lines > p.forms[p.members[at]].lines:
                at = i
        g.end -= 1
        g.watch = p.members[at]
        p.members[at] = p.members[g.end]


cdef void watch(Pool* p) noexcept nogil:
    """Link each group to the form that it watches, and to no other."""
    cdef uint32_t form, id, watched, at = 0
    cdef Form* t
    for form in range(<uint32_t>p.form_count):
        p.forms[form].end = 0
    for id in range(1, p.grouped + 1):
        p.forms[p.groups[id].watch].end += p.groups[id].forms > 0
    for form in range(<uint32_t>p.form_count):
        t = &p.forms[form]
        watched = t.end
        t.begin = t.end = at
        at += watched
    for id in range(1, p.grouped + 1):
        if p.groups[id].forms:
            t = &p.forms[p.groups[id].watch]
            p.links[t.end] = id
            t.end += 1


cdef inline bint others_gone(const Pool* p, const Group* g) noexcept nogil:
    """Are all members of a group, but for the watched one, drawn altogether?"""
    cdef uint32_t i
    for i in range(g.begin, g.end):
        if p.forms[p.members[i]].held != p.forms[p.members[i]].lines:
            return False
    return True


cdef uint64_t statistic(Pool* p, uint32_t distinct, uint64_t first) noexcept nogil:
    """Bits of the counted window given the rest; forgets the counts."""
    cdef uint64_t bits = first * distinct
    cdef uint32_t gone = 0, i, e
    cdef bint whole
    cdef Form* t
    for i in range(distinct):
        t = &p.forms[p.drawn[i]]
        bits += t.each * t.held
        p.gone[gone] = p.drawn[i]
        whole = t.held == t.lines
        gone += whole
        t.held *= whole  # forms that are not drawn altogether need their count no more
    for i in range(gone):
        t = &p.forms[p.gone[i]]
        bits += t.alone
        for e in range(t.begin, t.end):
            if others_gone(p, &p.groups[p.links[e]]):
                bits += p.groups[p.links[e]].cost
    for i in range(gone):
        p.forms[p.gone[i]].held = 0
    return bits


cdef uint64_t observe(Pool* p, uint64_t first) noexcept nogil:
    """The statistic of the lines that stand first."""
    cdef uint32_t i, form, distinct = 0
    for i in range(<uint32_t>p.window):
        form = p.lines[i]
        p.drawn[distinct] = form
        distinct += p.forms[form].held == 0
        p.forms[form].held += 1
    return statistic(p, distinct, first)


cdef uint64_t draw(Pool* p, Random* r, uint64_t first) noexcept nogil:
    """The statistic of a uniformly random window: the first steps of a Fisher-Yates shuffle, whatever order the lines have."""
    cdef Random local = r[0]  # registers, not memory: this loop is the whole test
    cdef Form* forms = p.forms
    cdef uint32_t* lines = p.lines
    cdef uint32_t* drawn = p.drawn
    cdef uint32_t i, j, form, distinct = 0, remaining = <uint32_t>p.line_count
    for i in range(<uint32_t>p.window):
        j = i + below(&local, remaining)
        remaining -= 1
        form = lines[j]
        lines[j] = lines[i]
        lines[i] = form
        drawn[distinct] = form
        distinct += forms[form].held == 0
        forms[form].held += 1
    r[0] = local
    return statistic(p, distinct, first)


cdef uint32_t exchange(
    Pool* p, uint64_t first, uint64_t seed, uint32_t draws_max, uint32_t exceedances_max, uint64_t* observed, uint32_t* reached
) noexcept nogil:
    """Draw until enough draws reach the observed statistic, or to the end; -> draws."""
    cdef Random r
    cdef uint32_t draws = 0
    r.state, r.spare, r.spared = seed, 0, False
    observed[0] = observe(p, first)
    reached[0] = 0
    while draws < draws_max and reached[0] < exceedances_max:
        draws += 1
        reached[0] += draw(p, &r, first) >= observed[0]
    return draws


cdef void fill(
    Pool* p, const unsigned int* window_counts, const unsigned int* rest_counts, uint64_t line_cost
) noexcept nogil:
    """Lay out the lines, the window first, each side by form."""
    cdef uint32_t form, i, lines
    cdef Py_ssize_t w = 0, r = p.window
    for form in range(<uint32_t>p.form_count):
        for i in range(window_counts[form]):
            p.lines[w] = form
            w += 1
        for i in range(rest_counts[form]):
            p.lines[r] = form
            r += 1
        lines = window_counts[form] + rest_counts[form]
        p.forms[form].lines = lines
        p.forms[form].each = line_cost * <uint64_t>(p.line_count - lines) // <uint64_t>p.line_count


# ---- border --------------------------------------------------------------------------------------------------------

cdef int open_pool(Pool* p, Py_ssize_t forms, Py_ssize_t lines, Py_ssize_t words) except -1:
    """Room for a pool: each word brings at most itself and the run around it."""
    cdef uint64_t slots = 16
    while slots < 2 * <uint64_t>words:
        slots *= 2
    memset(p, 0, sizeof(Pool))
    p.mask = slots - 1
    p.form_count = forms
    p.line_count = lines
    p.forms = <Form*>calloc(forms, sizeof(Form))
    p.lines = <uint32_t*>calloc(lines, sizeof(uint32_t))
    p.drawn = <uint32_t*>malloc((lines + 1) * sizeof(uint32_t))
    p.gone = <uint32_t*>malloc((lines + 1) * sizeof(uint32_t))
    p.words = <uint32_t*>calloc(slots, sizeof(uint32_t))
    p.runs = <uint32_t*>calloc(slots, sizeof(uint32_t))
    p.features = <Feature*>malloc((2 * words + 1) * sizeof(Feature))  # only what is used gets touched
    p.links = <uint32_t*>malloc((2 * words + 1) * sizeof(uint32_t))
    p.members = <uint32_t*>malloc((2 * words + 1) * sizeof(uint32_t))
    p.groups = <Group*>malloc((2 * words + 1) * sizeof(Group))
    p.splits = <Split*>malloc((2 * words + 1) * sizeof(Split))
    if not (
        p.forms and p.lines and p.drawn and p.gone and p.words and p.runs and p.features and p.links and p.members
        and p.groups and p.splits
    ):
        close_pool(p)
        raise MemoryError(f"no room for a pool of {lines} lines and {words} words; use a smaller baseline")
    return 0


cdef void close_pool(Pool* p) noexcept:
    free(p.forms)
    free(p.lines)
    free(p.drawn)
    free(p.gone)
    free(p.words)
    free(p.runs)
    free(p.features)
    free(p.links)
    free(p.members)
    free(p.groups)
    free(p.splits)


cdef Py_ssize_t line_total(const unsigned int[::1] counts) noexcept:
    cdef Py_ssize_t i, total = 0
    for i in range(counts.shape[0]):
        total += counts[i]
    return total


cdef int check_forms(
    Py_ssize_t text_bytes, const unsigned int[::1] lengths, const unsigned int[::1] window, const unsigned int[::1] rest
) except -1:
    if not lengths.shape[0] == window.shape[0] == rest.shape[0]:
        raise ValueError(
            f"{lengths.shape[0]} lengths, {window.shape[0]} window counts, {rest.shape[0]} rest counts; give one each per form"
        )
    if line_total(lengths) != text_bytes:
        raise ValueError(
            f"lengths add up to {line_total(lengths)} bytes but the text has {text_bytes}; give one length for each form"
        )
    if text_bytes > TEXT_BYTES_MAX:
        raise ValueError(f"forms of {text_bytes} bytes are over TEXT_BYTES_MAX = {TEXT_BYTES_MAX}; use a smaller baseline")
    if line_total(window) == 0:
        raise ValueError("the window has no lines; there is nothing to test")
    if line_total(window) + line_total(rest) > LINES_MAX or lengths.shape[0] > LINES_MAX:
        raise ValueError(f"the pool is over LINES_MAX = {LINES_MAX} lines; use a smaller baseline")
    return 0


def permute(
    const unsigned char[::1] text, const unsigned int[::1] lengths, const unsigned int[::1] window_counts,
    const unsigned int[::1] rest_counts, *, uint64_t line_bits, uint64_t first_bits, uint64_t byte_bits, uint64_t order_bits,
    uint64_t seed, int draws_max, int exceedances_max,
):
    """Exchange lines at random; -> (statistic of the window as it is, draws made, draws whose statistic reached it).

    The distinct forms of the pool stand one after another in `text`, `lengths` bytes each; form i has `window_counts[i]`
    lines in the window and `rest_counts[i]` in the rest. Drawing ends after `draws_max` draws (1 to `PERMUTATIONS_MAX`) or
    with the draw that is number `exceedances_max` (1 or more) to reach the statistic; one over `draws_max` never stops early.
    The result depends on the order of the forms only through the draws. The GIL is released once for the whole test.
    Raises ValueError for limits, an empty window, and for lengths or counts that do not fit.

    >>> import array
    >>> counts = array.array("I", [3, 0]), array.array("I", [0, 57])
    >>> permute(b"disk failedall is well", array.array("I", [11, 11]), *counts, line_bits=40, first_bits=40, byte_bits=4,
    ...         order_bits=20, seed=1, draws_max=999, exceedances_max=10)
    (254, 999, 0)
    """
    cdef Costs costs
    cdef Pool pool
    cdef Py_ssize_t forms = lengths.shape[0]
    cdef uint64_t observed = 0
    cdef uint32_t draws = 0, reached = 0
    check_forms(text.shape[0], lengths, window_counts, rest_counts)
    if max(line_bits, first_bits, byte_bits, order_bits) > COST_BITS_MAX:
        raise ValueError(f"a cost is over COST_BITS_MAX = {COST_BITS_MAX}; scale all of them down")
    if not 1 <= draws_max <= PERMUTATIONS_MAX:
        raise ValueError(f"draws_max is {draws_max}; choose 1 to PERMUTATIONS_MAX = {PERMUTATIONS_MAX}")
    if exceedances_max < 1:
        raise ValueError(f"exceedances_max is {exceedances_max}; choose 1 or more")
    cdef const unsigned char* s = &text[0] if text.shape[0] else <const unsigned char*>b""
    costs.line, costs.first, costs.byte, costs.order = line_bits, first_bits, byte_bits, order_bits
    open_pool(&pool, forms, line_total(window_counts) + line_total(rest_counts), word_count(s, &lengths[0], forms))
    pool.window = line_total(window_counts)
    pool.salt = seed
    with nogil:
        fill(&pool, &window_counts[0], &rest_counts[0], costs.line)
        read_forms(&pool, s, &lengths[0], &costs)
        keep_rare(&pool)
        group_features(&pool)
        link_groups(&pool)
        list_members(&pool)
        watch(&pool)
        draws = exchange(&pool, costs.first, seed, draws_max, exceedances_max, &observed, &reached)
    close_pool(&pool)
    return observed, draws, reached
