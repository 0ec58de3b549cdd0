# cython: autotestdict=False
"""One-pass masking scanner: what varies from line to line is replaced, what names things is kept.

Masking identifiers and numbers makes lines of one origin alike, so that a compressor spends bits on what is new and not
on counters. The scanner reads bytes, uses no regular expression, never backtracks over more than the token at hand, and
therefore takes linear time on any input; `scan_steps` counts the bytes it looks at.

Rules, tried in this order at every position outside whitespace (a run is a maximal string of letters, digits, `_` and
bytes >= 0x80, whatever their encoding):

1. A UUID that starts a run, or follows its last `_`, is `<U>`.
2. Runs of digits joined by single `.` `:` `/` `,` `-` (the first joint is no comma) are one number group: three dots
   first, `<IP>` (a port is swallowed; the slot is the address); two colons in a row, two hyphens or two slashes, or two
   digits before a first colon, `<T>` (no slot); one number or decimal, `#`; anything else `<V>`. A minus sign belongs to
   the group unless a letter or digit stands before it. The `T` and a final `Z` of an ISO 8601 date-time join as well, and
   so does the month of a date like 10/Oct/2000. A `/` between whitespace and a number is dropped.
3. `/`, a letter, and at least two slashes: a path, up to the first byte that is unusual in paths. It is written with every
   digit run as `#`, or as `<P>` on request, and is a slot in both cases.
4. A run is split at `_`. A piece without digits stays; digits only, `#`; four or more hexadecimal digits, `<H>`; three or
   more switches between digit and non-digit, or sixteen or more characters of mixed case, `<X>`; else each digit run is
   `#`. A run that ends in `_` takes a negative number after it (`blk_-17` is `blk_#`).
5. Months and weekdays, in full or by three letters, are `<D>` (no slot).
6. `X X` becomes `X` unless X starts with a letter; `X , X` becomes `X` for a masked X and a single token between that is
   masked as a whole or is no run; words, shapes and paths are never lost.

Masks that are handed over (`Masks`) come before all rules: the line is cut at their matches, found from left to right, and the
rules see each piece between them as if the line began or ended there, but for a match before it, which counts as a letter. A
match is one token of kind MASK, `<NAME>`, with one slot.

Where whitespace stood between tokens exactly one space is written, elsewhere none, so masked text is never longer than
its source. Every other byte is a token of its own and stays.
"""

from enum import IntEnum
from typing import Final, NamedTuple

cimport cython
from cpython cimport array
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

import array

include "scan_text.pxi"
include "scan_rules.pxi"
include "scan_masks.pxi"
include "hash.pxi"
include "scan_slots.pxi"
include "scan_lines.pxi"

LINE_BYTES_MAX: Final = 1 << 20
"""Longest line that is masked, bytes; `line_bytes_max` may be lower."""

TEXT_BYTES_MAX: Final = 1 << 28
"""Largest batch that is masked in one call, bytes."""

SLOTS_MAX: Final = SLOTS_KEPT
"""Of a line's slots the first so many are kept as numbers, by `mask_with_slots`.

Each is 64 bits: a bucket times 2^56 plus 56 bits of a hash of the slot's text (a path's digit runs as `#`). The bucket of a
number x is 0 for |x| < 1/1024, otherwise 1 + floor(2 log2(1024 |x|)) of |x| rounded down to 1/1024 (to 1 from 2^53 on;
fraction digits after the ninth do not count) and at most 10^18, hence 140 at most; of any other text 160 plus its bytes,
255 at most.
"""


class TokenKind(IntEnum):
    """What a token of the masked text stands for."""

    WORD = K_WORD
    """A run kept as it is."""
    PUNCT = K_PUNCT
    """A single other byte, kept as it is."""
    SHAPE = K_SHAPE
    """A run of which parts are masked, as in `E#` or `blk_#`."""
    NUMBER = K_NUMBER
    """`#`: an integer or a decimal."""
    UUID = K_UUID
    """`<U>`"""
    IP = K_IP
    """`<IP>`: an IPv4 address, its port included."""
    TIME = K_TIME
    """`<T>`: a date, a time of day, or both."""
    VALUE = K_VALUE
    """`<V>`: another number group, such as a version or a range."""
    HEX = K_HEX
    """`<H>`: hexadecimal digits."""
    OPAQUE = K_OPAQUE
    """`<X>`: an identifier that looks random."""
    DATE = K_DATE
    """`<D>`: the name of a month or weekday."""
    PATH = K_PATH
    """A path, written out with `#` for digits or as `<P>`."""
    MASK = K_MASK
    """What a mask of the stream's owner replaces."""


MASKS_MAX: Final = MASKS_KEPT
"""Most masks of one `Masks`."""

MASK_ELEMENTS_MAX: Final = ELEMENTS_KEPT
"""Most elements of one mask."""

MASK_LITERAL_BYTES_MAX: Final = 128
"""Most bytes that the literals of one mask have together."""

MASK_NAME_BYTES_MAX: Final = NAME_BYTES_KEPT
"""Longest name of a mask, bytes; its mark has two more."""


class Run(NamedTuple):
    """Element of a mask: as many of the bytes in `members` as follow one another, at least `least`, of them at most `most`."""

    members: bytes
    least: int = 1
    most: int = LINE_BYTES_MAX


class MaskPattern(NamedTuple):
    """One mask: `elements` one right after another, bytes for themselves or a `Run`; together they become `<name>`.

    A match starts and ends where two letters, digits, `_` or bytes >= 0x80 do not stand side by side, unless `starts_within` or
    `ends_within`; never inside a UTF-8 sequence, and never at whitespace. Its slot reaches from the first run to the last.
    """

    name: bytes
    elements: tuple
    starts_within: bool = False
    ends_within: bool = False

# ---- masks ---------------------------------------------------------------------------------------------------------

cdef object fill_element(Element* e, object given):
    """One element; -> the bytes that it may begin with."""
    if isinstance(given, bytes):
        if not given:
            raise ValueError("a literal of a mask is empty; leave it out")
        e.text = given
        e.least = e.most = <int>len(given)
        return given[:1]
    if not given.members:
        raise ValueError("a run of a mask has no members; name at least one byte")
    if not 1 <= given.least <= given.most <= LINE_BYTES_MAX:
        raise ValueError(f"a run of {given.least} to {given.most} bytes is not possible; choose 1 to {LINE_BYTES_MAX}")
    e.text = NULL
    e.least = given.least
    e.most = given.most
    for byte in bytes(given.members):
        e.members[<int>byte >> 6] |= <uint64_t>1 << (<int>byte & 63)
    return bytes(given.members)


@cython.final
@cython.auto_pickle(False)
cdef class Masks:
    """Up to `MASKS_MAX` masks, ready to be looked for: at each place the first that matches wins. Immutable, shared by threads.

    A mask matches at least as many bytes as its mark has, so that masked text is never longer than its source. Raises ValueError
    for limits, for a mask without a run, and for a name that is not made of A-Z, 0-9 and `_`.

    >>> masks = Masks([MaskPattern(b"ORDER", (b"order-", Run(b"0123456789abcdef")))])
    >>> mask_line(b"paid order-7f3 in 31 ms", masks=masks)
    b'paid <ORDER> in # ms'
    """

    cdef MaskTable table
    cdef readonly tuple patterns

    def __cinit__(self, patterns):
        cdef int k
        self.patterns = tuple(patterns)  # the table points into its literals
        memset(&self.table, 0, sizeof(MaskTable))
        if len(self.patterns) > MASKS_KEPT:
            raise ValueError(f"{len(self.patterns)} masks are more than MASKS_MAX = {MASKS_KEPT}; hand over fewer")
        for k in range(len(self.patterns)):
            self.fill(k, self.patterns[k])
        self.table.count = <int>len(self.patterns)

    cdef int fill(self, int k, object pattern) except -1:
        cdef Mask* mask = &self.table.masks[k]
        cdef int i, least = 0, literal_bytes = 0
        name, elements = bytes(pattern.name), pattern.elements
        if not 1 <= len(name) <= NAME_BYTES_KEPT or name.strip(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"):
            raise ValueError(f"{name!r} can not name a mask; choose 1 to {NAME_BYTES_KEPT} of A-Z, 0-9 and _")
        if not 1 <= len(elements) <= ELEMENTS_KEPT:
            raise ValueError(f"a mask of {len(elements)} elements is not possible; choose 1 to {ELEMENTS_KEPT}")
        mask.first = mask.stop = k * ELEMENTS_KEPT
        mask.value_first = -1
        for element in elements:
            begins = fill_element(&self.table.elements[mask.stop], element)
            if mask.stop == mask.first:
                self.begin_with(k, begins, pattern.starts_within)
            if self.table.elements[mask.stop].text == NULL:
                mask.value_last = mask.stop
                if mask.value_first < 0:
                    mask.value_first = mask.stop
            else:
                literal_bytes += self.table.elements[mask.stop].least
            least = min(least + self.table.elements[mask.stop].least, LINE_BYTES_MAX)
            mask.stop += 1
        if literal_bytes > MASK_LITERAL_BYTES_MAX:
            raise ValueError(f"a mask has {literal_bytes} literal bytes; at most {MASK_LITERAL_BYTES_MAX} are possible")
        if mask.value_first < 0:
            raise ValueError("a mask has no run; what never varies needs no mask")
        mask.ends_within = pattern.ends_within
        text = b"<" + name + b">"
        mask.mark_bytes = <int>len(text)
        if least < mask.mark_bytes:
            raise ValueError(f"a mask that may match {least} bytes can not become {text!r}; shorten its name or match more")
        for i in range(mask.mark_bytes):
            mask.mark[i] = text[i]
        return 0

    cdef int begin_with(self, int k, object begins, bint within) except -1:
        cdef int byte
        for byte in begins:
            if BYTE_CLASS[byte] & SPACE or byte & 0xC0 == 0x80:
                continue
            self.table.begins[byte] |= <uint32_t>1 << k
            if within:
                self.table.within[byte] |= <uint32_t>1 << k
        return 0

    def __repr__(self):
        return f"Masks({list(self.patterns)})"

# ---- border --------------------------------------------------------------------------------------------------------

@cython.internal
@cython.final
@cython.auto_pickle(False)
cdef class Scratch:
    """Room for one scan: output text, tokens, slots, runs of masks."""

    cdef unsigned char* out
    cdef Token* tokens
    cdef Slot* slots
    cdef Extent* extents
    cdef Masks masks

    def __cinit__(self, Py_ssize_t text_bytes, Py_ssize_t line_bytes, bint with_slots, Masks masks):
        self.out = <unsigned char*>malloc(text_bytes + 1)
        self.tokens = <Token*>malloc((line_bytes + 1) * sizeof(Token))
        if with_slots:
            self.slots = <Slot*>malloc((line_bytes + 1) * sizeof(Slot))
        if masks is not None and masks.table.count:
            self.masks = masks
            self.extents = <Extent*>calloc(MASKS_KEPT * ELEMENTS_KEPT, sizeof(Extent))
        if (
            self.out == NULL or self.tokens == NULL or (with_slots and self.slots == NULL)
            or (self.masks is not None and self.extents == NULL)
        ):
            raise MemoryError(f"no room to mask {text_bytes} bytes; hand over fewer lines at once")

    def __dealloc__(self):
        free(self.out)
        free(self.tokens)
        free(self.slots)
        free(self.extents)

    cdef Scan scan(self, bint paths_as_slots) noexcept:
        cdef Scan c
        c.s = NULL
        c.n = 0
        c.out = self.out
        c.w = 0
        c.tokens = self.tokens
        c.depth = 0
        c.slots = self.slots
        c.slot_count = 0
        c.space = False
        c.paths_as_slots = paths_as_slots
        c.masks = NULL if self.masks is None else &self.masks.table
        c.extents = self.extents
        c.after = -1
        c.steps = 0
        return c


cdef Py_ssize_t one_line(const unsigned char[::1] line) except -1:
    if line.shape[0] > LINE_BYTES_MAX:
        raise ValueError(f"line of {line.shape[0]} bytes is over LINE_BYTES_MAX = {LINE_BYTES_MAX}; cut it first")
    return line.shape[0]


cdef Scan scan_line(Scratch room, const unsigned char[::1] line, bint paths_as_slots) noexcept:
    cdef Scan c = room.scan(paths_as_slots)
    if line.shape[0]:
        c.s = &line[0]
        c.n = <int>line.shape[0]
        with nogil:
            scan(&c)
    return c


cdef enum:
    BYTES_RELEASED_MIN = 8192    # less is masked in less time than the interpreter's lock takes to come back


cdef tuple mask_batch(
    const unsigned char[::1] text, const unsigned int[::1] lengths, Py_ssize_t line_bytes_max, bint paths_as_slots, Masks masks,
    Column* column
):
    """Of `mask` and `mask_with_slots`: masked bytes and lengths; the slots go to `column` unless it is NULL."""
    cdef Py_ssize_t lines = lengths.shape[0], i, total = 0, longest = 0, written = 0
    if not 1 <= line_bytes_max <= LINE_BYTES_MAX:
        raise ValueError(f"line_bytes_max is {line_bytes_max}; choose 1 to LINE_BYTES_MAX = {LINE_BYTES_MAX}")
    if text.shape[0] > TEXT_BYTES_MAX:
        raise ValueError(f"text of {text.shape[0]} bytes is over TEXT_BYTES_MAX = {TEXT_BYTES_MAX}; hand over fewer lines at once")
    for i in range(lines):
        total += lengths[i]
        longest = max(longest, <Py_ssize_t>lengths[i])
    if total != text.shape[0]:
        raise ValueError(f"lengths add up to {total} bytes but the text has {text.shape[0]}; give one length for each line")
    cdef array.array masked = array.clone(array.array("I"), lines, zero=False)
    if total == 0:
        return b"", array.array("I", [0] * lines)
    cdef Scratch room = Scratch(total, min(longest, line_bytes_max), column != NULL, masks)
    cdef Scan c = room.scan(paths_as_slots)
    if total < BYTES_RELEASED_MIN:
        written = scan_lines(&c, &text[0], &lengths[0], masked.data.as_uints, lines, <int>line_bytes_max, column)
    else:
        with nogil:
            written = scan_lines(&c, &text[0], &lengths[0], masked.data.as_uints, lines, <int>line_bytes_max, column)
    if written < 0:
        raise MemoryError(f"no room for the slots of {lines} lines; hand over fewer lines at once")
    return PyBytes_FromStringAndSize(<char*>room.out, written), masked


def mask(
    const unsigned char[::1] text, const unsigned int[::1] lengths, *, Py_ssize_t line_bytes_max, bint paths_as_slots=False,
    Masks masks=None
):
    """Mask lines that stand one after another in `text`; -> their masked bytes, likewise, and their lengths.

    `lengths` (bytes, one a line) add up to the length of `text`. A line over `line_bytes_max` bytes (at most
    `LINE_BYTES_MAX`) is cut there, or up to 3 bytes earlier so as not to split a UTF-8 sequence. The GIL is released once
    for the whole batch; `text` must not change meanwhile. Raises ValueError for limits and for lengths that do not fit.

    >>> import array
    >>> mask(b"took 31 msE42 at 10:20", array.array("I", [10, 12]), line_bytes_max=4096)
    (b'took # msE# at <T>', array('I', [9, 9]))
    """
    return mask_batch(text, lengths, line_bytes_max, paths_as_slots, masks, NULL)


def mask_with_slots(
    const unsigned char[::1] text, const unsigned int[::1] lengths, *, Py_ssize_t line_bytes_max, bint paths_as_slots=False,
    Masks masks=None
):
    """As `mask`, and the slots that it takes out: -> masked bytes, their lengths, slots, and how many slots each line has.

    Slots stand one line after another, as numbers that `SLOTS_MAX` describes, of each line the first `SLOTS_MAX`.

    >>> import array
    >>> masked, lengths, slots, counts = mask_with_slots(b"took 31 msok", array.array("I", [10, 2]), line_bytes_max=4096)
    >>> masked, list(lengths), list(counts), [slot >> 56 for slot in slots]
    (b'took # msok', [9, 2], [1, 0], [30])
    """
    cdef Column column = Column(NULL, 0, 0, NULL)
    cdef array.array counts = array.array("B", bytes(lengths.shape[0])), slots
    column.counts = counts.data.as_uchars
    try:
        masked, sizes = mask_batch(text, lengths, line_bytes_max, paths_as_slots, masks, &column)
        slots = array.clone(array.array("Q"), <Py_ssize_t>column.used, zero=False)
        if column.used:
            memcpy(slots.data.as_voidptr, column.values, column.used * sizeof(uint64_t))
    finally:
        free(column.values)
    return masked, sizes, slots, counts


def mask_line(const unsigned char[::1] line, *, bint paths_as_slots=False, Masks masks=None):
    """Mask one line of at most `LINE_BYTES_MAX` bytes (ValueError beyond).

    >>> mask_line(b"open /var/log/app7.log from 10.1.2.3:5151")
    b'open /var/log/app#.log from <IP>'
    """
    cdef Py_ssize_t n = one_line(line)
    cdef Scratch room = Scratch(n, n, False, masks)
    cdef Scan c = scan_line(room, line, paths_as_slots)
    return PyBytes_FromStringAndSize(<char*>room.out, c.w)


def tokens(const unsigned char[::1] line, *, bint paths_as_slots=False, Masks masks=None):
    """Tokens of the masked line in order: (kind, masked_start, masked_end, source_start, source_end), offsets in bytes.

    A token that rule 6 folded into an earlier one lengthens that one's source range. Between masked ranges there is at
    most one space. Raises ValueError for a line over `LINE_BYTES_MAX`.

    >>> tokens(b"pid 77")
    [(0, 0, 3, 0, 3), (3, 4, 5, 4, 6)]
    """
    cdef Py_ssize_t n = one_line(line)
    cdef Scratch room = Scratch(n, n, False, masks)
    cdef Scan c = scan_line(room, line, paths_as_slots)
    cdef Token t
    cdef int i
    found = []
    for i in range(c.depth):
        t = room.tokens[i]
        found.append((t.kind, t.masked_start, t.masked_end, t.source_start, t.source_end))
    return found


def slots(const unsigned char[::1] line, *, Masks masks=None):
    """Values that masking takes out of a line, in order; a path comes with its digit runs as `#`.

    Times and dates are no slots. Raises ValueError for a line over `LINE_BYTES_MAX`.

    >>> slots(b"GET /api/v2/items/93 took 0.25s")
    [b'/api/v#/items/#', b'0', b'25']
    """
    cdef Py_ssize_t n = one_line(line)
    cdef Scratch room = Scratch(n, n, True, masks)
    cdef Scan c = scan_line(room, line, False)
    cdef Slot value
    cdef int i
    found = []
    for i in range(c.slot_count):
        value = room.slots[i]
        if value.kind == K_PATH:
            found.append(PyBytes_FromStringAndSize(<char*>room.out, put_digits_masked(&c, 0, value.start, value.end, False)))
        else:
            found.append(PyBytes_FromStringAndSize(<char*>&c.s[value.start], value.end - value.start))
    return found


def scan_steps(const unsigned char[::1] line, *, Masks masks=None):
    """How many bytes masking this line looks at, repeated looks counted: tests bound it by a multiple of the length."""
    cdef Py_ssize_t n = one_line(line)
    cdef Scratch room = Scratch(n, n, False, masks)
    return scan_line(room, line, False).steps
