# cython: autotestdict=False
"""Redaction of lines: finds what rules look for, and writes the lines without it. One pass a line, no regular expression.

A `Finder` holds up to `RULES_MAX` rules. Each looks at whole lines or at the values of attributes with a name, for a mask, for a
built-in kind of secret, or for the whole value. Every rule looks at the line as it came. What any of them finds goes; finds that
overlap are one, and the rule whose find begins first, of those the longest, of those the first in order, says what stands in
its place. So one more rule never lets more of a line through.

Attributes are found in canonical text: ` key=value` up to the next ` key=`, and `key=value` after `{` or `,` up to the next `,` or
`}` without a backslash before it. A line of n bytes costs at most n times what its rules' patterns have elements, however it
is made; `steps` of what `find` returns counts the bytes that were looked at.
"""

from typing import Final, NamedTuple

cimport cython
from cpython cimport array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort, realloc
from libc.string cimport memcmp, memcpy, memset

import array
from enum import IntEnum

include "redact_kinds.pxi"
include "redact_lines.pxi"

RULES_MAX: Final = RULES_KEPT
"""Most rules of a `Finder`."""

ELEMENTS_MAX: Final = ELEMENTS_KEPT
"""Most elements of one rule's mask."""

NAME_BYTES_MAX: Final = 256
"""Longest name of an attribute, bytes."""

TEXT_BYTES_MAX: Final = 1 << 28
"""Most bytes of text in one call."""


class Kind(IntEnum):
    """What a rule looks for."""

    WHOLE = KIND_WHOLE
    """The whole value of an attribute."""
    MASK = KIND_MASK
    EMAIL = KIND_EMAIL
    IP = KIND_IP
    CREDIT_CARD = KIND_CARD
    JWT = KIND_JWT
    BEARER = KIND_BEARER
    AWS_KEY = KIND_AWS
    URL_PASSWORD = KIND_URL


class Sought(NamedTuple):
    """One rule: whose `elements` (literals, and runs as (members, least, most)) matter for masks alone.

    `attribute` None: the whole line. `prefix`: names of attributes need only begin with it. `drops`: the attribute goes whole,
    its name too, if something was found in it.
    """

    kind: Kind
    attribute: "bytes | None" = None
    prefix: bool = False
    drops: bool = False
    elements: tuple = ()
    starts_within: bool = False
    ends_within: bool = False


class Found(NamedTuple):
    """What goes: for each place the number of its line, its first byte in the text, the byte behind its last, and the number of
    the rule that decides; in the order of the text. `steps` are bytes looked at, for tests of linearity."""

    lines: "array.array[int]"
    starts: "array.array[int]"
    ends: "array.array[int]"
    rules: "array.array[int]"
    steps: int


@cython.final
@cython.auto_pickle(False)
cdef class Finder:
    """Rules, ready to be looked for. Immutable, shared by threads.

    >>> import array
    >>> found = Finder([Sought(Kind.EMAIL)]).find(b"to a@b.de", array.array("I", [9]))
    >>> found.starts[0], found.ends[0]
    (3, 9)
    """

    cdef RuleTable table
    cdef readonly tuple rules

    def __cinit__(self, rules):
        """Raises ValueError for what is over a limit or no rule."""
        cdef int k
        self.rules = tuple(rules)  # the table points into its bytes
        memset(&self.table, 0, sizeof(RuleTable))
        if len(self.rules) > RULES_KEPT:
            raise ValueError(f"{len(self.rules)} rules are more than RULES_MAX = {RULES_KEPT}; hand over fewer")
        for k in range(len(self.rules)):
            self.fill(k, self.rules[k])
        self.table.count = <int>len(self.rules)

    cdef int fill(self, int k, object sought) except -1:
        cdef Rule* rule = &self.table.rules[k]
        cdef uint64_t bit = <uint64_t>1 << k
        cdef int byte
        rule.kind = int(Kind(sought.kind))
        rule.drops = sought.drops
        rule.prefix = sought.prefix
        if sought.attribute is None:
            if rule.kind == KIND_WHOLE or rule.drops:
                raise ValueError("a rule for whole lines can neither take them whole nor drop an attribute")
            self.table.of_lines |= bit
        else:
            if len(sought.attribute) > 256:
                raise ValueError("the name of an attribute is over 256 bytes")
            rule.name = sought.attribute
            rule.name_bytes = <int>len(sought.attribute)
            self.table.of_attributes |= bit
        if rule.kind == KIND_MASK:
            self.fill_mask(k, sought)
        for byte in range(256):
            if kind_begins(rule.kind, byte):
                self.table.begins[byte] |= bit
        return 0

    cdef int fill_mask(self, int k, object sought) except -1:
        cdef Rule* rule = &self.table.rules[k]
        cdef Element* e
        cdef int byte
        elements = sought.elements
        if not 1 <= len(elements) <= ELEMENTS_KEPT:
            raise ValueError(f"a mask of {len(elements)} elements is not possible; choose 1 to {ELEMENTS_KEPT}")
        rule.first = rule.stop = k * ELEMENTS_KEPT
        rule.starts_within = sought.starts_within
        rule.ends_within = sought.ends_within
        for element in elements:
            e = &self.table.elements[rule.stop]
            if isinstance(element, bytes):
                if not element:
                    raise ValueError("a literal of a mask is empty; leave it out")
                e.text = element
                e.least = e.most = <int>len(element)
                begins = element[:1]
            else:
                members, least, most = element
                if not members or not 1 <= least <= most:
                    raise ValueError("a run of a mask needs members and a length")
                e.text = NULL
                e.least, e.most = least, most
                for byte in members:
                    e.members[byte >> 6] |= <uint64_t>1 << (byte & 63)
                begins = members
            if rule.stop == rule.first:
                for byte in begins:
                    if byte & 0xC0 != 0x80:
                        self.table.begins[byte] |= <uint64_t>1 << k
            rule.stop += 1
        return 0

    def __repr__(self):
        return f"Finder({list(self.rules)})"

    def find(self, const unsigned char[::1] text not None, const unsigned int[::1] lengths not None):
        """What goes of lines that stand one after another in `text`, of so many bytes each; -> `Found`, or None for nothing.

        The GIL is released for the whole batch. Raises ValueError for lengths that do not fit, MemoryError.
        """
        cdef Py_ssize_t i, total = 0
        cdef Search search
        cdef int failed = 0
        for i in range(lengths.shape[0]):
            total += lengths[i]
        if total != text.shape[0]:
            raise ValueError(f"lengths add up to {total} bytes but the text has {text.shape[0]}; give one length for each line")
        if total > TEXT_BYTES_MAX:
            raise ValueError(f"text of {total} bytes is over TEXT_BYTES_MAX = {TEXT_BYTES_MAX}; hand over fewer lines at once")
        if total == 0 or self.table.count == 0:
            return None
        memset(&search, 0, sizeof(Search))
        search.table = &self.table
        search.extents = <Extent*>calloc(RULES_KEPT * ELEMENTS_KEPT, sizeof(Extent))
        try:
            if search.extents == NULL:
                raise MemoryError
            with nogil:
                failed = find_in_lines(&search, &text[0], &lengths[0], lengths.shape[0])
            if failed:
                raise MemoryError(f"no room for what is found in {lengths.shape[0]} lines; hand over fewer lines at once")
            if search.count == 0:
                return None
            return found_of(&search)
        finally:
            free(search.extents)
            free(search.places)
            free(search.attributes)


cdef object found_of(Search* search):
    cdef array.array lines = array.clone(array.array("I"), search.count, False)
    cdef array.array starts = array.clone(array.array("I"), search.count, False)
    cdef array.array ends = array.clone(array.array("I"), search.count, False)
    cdef array.array rules = array.clone(array.array("I"), search.count, False)
    cdef Py_ssize_t i
    for i in range(search.count):
        lines.data.as_uints[i] = search.places[i].line
        starts.data.as_uints[i] = search.places[i].start
        ends.data.as_uints[i] = search.places[i].end
        rules.data.as_uints[i] = search.places[i].rule
    return Found(lines, starts, ends, rules, search.steps)


class Replaced(NamedTuple):
    """Lines one after another, the bytes of each, how many were changed, and how many of those were cut."""

    text: bytes
    lengths: "array.array[int]"
    records: int
    cut: int


def replaced(
    const unsigned char[::1] text not None, const unsigned int[::1] lengths not None, found, list marks,
    Py_ssize_t growth_bytes_max,
):
    """The lines with `marks`, one for each place of `found`, in place of what was found, in which `found` is what `find` returned.

    A line that grows by more than `growth_bytes_max` is cut there, or up to 3 bytes earlier so as not to split a UTF-8 sequence.
    Raises ValueError for arguments that do not belong together.
    """
    cdef const unsigned int[::1] lines = found.lines
    cdef const unsigned int[::1] starts = found.starts
    cdef const unsigned int[::1] ends = found.ends
    cdef Py_ssize_t places = lines.shape[0], i, size = text.shape[0], line = 0, begins = 0, stop, p, w = 0, began, k, most
    cdef Py_ssize_t records = 0, cut = 0
    cdef bytes mark
    cdef array.array kept = array.clone(array.array("I"), lengths.shape[0], False)
    if len(marks) != places or places == 0:
        raise ValueError("each place has one mark")
    for i in range(places):
        size += PyBytes_GET_SIZE(marks[i])
        if not (starts[i] <= ends[i] <= text.shape[0] and lines[i] < lengths.shape[0]):
            raise ValueError("a place lies outside of the text")
    out = PyBytes_FromStringAndSize(NULL, size)
    cdef unsigned char* to = <unsigned char*>PyBytes_AS_STRING(out)
    i = 0
    for line in range(lengths.shape[0]):
        stop = begins + lengths[line]
        if i == places or lines[i] != line:
            if lengths[line]:
                memcpy(to + w, &text[begins], lengths[line])
            w += lengths[line]
            kept.data.as_uints[line] = lengths[line]
            begins = stop
            continue
        began, p = w, begins
        while i < places and lines[i] == line:
            if not p <= <Py_ssize_t>starts[i] <= <Py_ssize_t>ends[i] <= stop:
                raise ValueError("the places of a line overlap or lie outside of it")
            mark = marks[i]
            memcpy(to + w, &text[0] + p, starts[i] - p)
            w += starts[i] - p
            memcpy(to + w, PyBytes_AS_STRING(mark), PyBytes_GET_SIZE(mark))
            w += PyBytes_GET_SIZE(mark)
            p = ends[i]
            i += 1
        memcpy(to + w, &text[0] + p, stop - p)
        w += stop - p
        most = <Py_ssize_t>lengths[line] + growth_bytes_max
        if w - began > most:
            w = began + most
            k = w
            while k > began and to[k] & 0xC0 == 0x80:
                k -= 1
            w = k
            cut += 1
        records += 1
        kept.data.as_uints[line] = <unsigned int>(w - began)
        begins = stop
    return Replaced(out[:w], kept, records, cut)
