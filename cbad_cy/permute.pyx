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


include "permute_features.pxi"
include "permute_draws.pxi"

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
