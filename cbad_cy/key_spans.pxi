"""Of keyset.pyx: where the key of a record is. Spans are (start, size) of each record, size 0 where there is none."""

cdef inline bint in_key(unsigned char c) noexcept nogil:
    """Letters, digits, `_`, `-` and every byte of characters beyond ASCII."""
    return (
        c >= 0x80 or c == c'_' or c == c'-' or (c'0' <= c <= c'9') or (c'a' <= c <= c'z') or (c'A' <= c <= c'Z')
    )


cdef void token_span(
    const unsigned char* s, size_t n, const unsigned char* prefix, size_t size, unsigned int* span
) noexcept nogil:
    """The first token that begins with the prefix and goes on: span[0] where, span[1] its bytes."""
    cdef size_t i = 0, stop
    cdef const unsigned char* at
    while i + size < n:
        at = <const unsigned char*>memchr(s + i, prefix[0], n - size - i)
        if at == NULL:
            return
        i = at - s
        if (i == 0 or not in_key(s[i - 1]) or not in_key(prefix[0])) and memcmp(at, prefix, size) == 0 and in_key(s[i + size]):
            stop = i + size + 1
            while stop < n and in_key(s[stop]):
                stop += 1
            span[0] = <unsigned int>i
            span[1] = <unsigned int>(stop - i)
            return
        i += 1


cdef void attribute_span(
    const unsigned char* s, size_t n, const unsigned char* name, size_t size, unsigned int* span
) noexcept nogil:
    """The value behind the last `name=` that begins the line or follows a space, up to the next space."""
    cdef size_t i = n, stop
    while i > size:
        i -= 1
        if s[i] != c'=' or memcmp(s + i - size, name, size) != 0 or (i > size and s[i - size - 1] != c' '):
            continue
        stop = i + 1
        while stop < n and s[stop] != c' ' and s[stop] != c'\n':
            stop += 1
        span[0] = <unsigned int>(i + 1)
        span[1] = <unsigned int>(stop - i - 1)
        return


cdef tuple spans(
    const unsigned char[::1] text, const unsigned int[::1] lengths, const unsigned char[::1] pattern, bint attribute
):
    cdef Py_ssize_t lines = lengths.shape[0], i
    cdef size_t total = 0, at = 0
    cdef unsigned int span[2]
    if not 1 <= pattern.shape[0] <= PATTERN_BYTES_MAX:
        raise ValueError(f"a pattern of {pattern.shape[0]} bytes is not possible; choose 1 to {PATTERN_BYTES_MAX}")
    for i in range(lines):
        total += lengths[i]
    if total != <size_t>text.shape[0] or total > TEXT_BYTES_MAX:
        raise ValueError(f"lengths add up to {total} bytes but the text has {text.shape[0]}, at most {TEXT_BYTES_MAX}")
    cdef array.array starts = array.array("I", bytes(4 * lines)), sizes = array.array("I", bytes(4 * lines))
    cdef const unsigned char* s = &text[0] if total else <const unsigned char*>b""
    with nogil:
        for i in range(lines):
            span[0] = span[1] = 0
            if attribute:
                attribute_span(s + at, lengths[i], &pattern[0], pattern.shape[0], span)
            else:
                token_span(s + at, lengths[i], &pattern[0], pattern.shape[0], span)
            starts.data.as_uints[i] = <unsigned int>at + span[0]
            sizes.data.as_uints[i] = span[1]
            at += lengths[i]
    return starts, sizes


def token_spans(const unsigned char[::1] text, const unsigned int[::1] lengths, const unsigned char[::1] prefix):
    """Of each line the first token that begins with `prefix` and goes on: -> starts in `text`, sizes in bytes (0 = none).

    A token is a run of letters, digits, `_`, `-` and bytes over 0x7F; the prefix itself may hold any byte. Raises ValueError
    for lengths that do not fit, and prefixes over `PATTERN_BYTES_MAX`.

    >>> token_spans(b"got blk_-1: okno key", array.array("I", [14, 6]), b"blk_")
    (array('I', [4, 14]), array('I', [6, 0]))
    """
    return spans(text, lengths, prefix, False)


def attribute_spans(const unsigned char[::1] text, const unsigned int[::1] lengths, const unsigned char[::1] name):
    """Of each line the value of attribute `name`, as canonical text writes it: ` name=value`, up to the next space.

    The last one counts, because attributes stand behind the body. -> starts in `text`, sizes in bytes (0 = none, or empty).
    Raises ValueError as `token_spans` does.

    >>> attribute_spans(b"paid id=7 user=ann", array.array("I", [18]), b"id")
    (array('I', [8]), array('I', [1]))
    """
    return spans(text, lengths, name, True)


def trace_spans(const unsigned char[::1] trace_ids):
    """Spans of 16-byte trace ids that stand one after another; those of zeros are none. ValueError for a part of an id.

    >>> trace_spans(bytes(16) + bytes(range(16)))
    (array('I', [0, 16]), array('I', [0, 16]))
    """
    cdef Py_ssize_t i, k, count = trace_ids.shape[0] // 16
    if trace_ids.shape[0] % 16 or <size_t>trace_ids.shape[0] > TEXT_BYTES_MAX:
        raise ValueError(f"{trace_ids.shape[0]} bytes are no trace ids; give 16 for each record, at most {TEXT_BYTES_MAX}")
    cdef array.array starts = array.array("I", bytes(4 * count)), sizes = array.array("I", bytes(4 * count))
    for i in range(count):
        starts.data.as_uints[i] = <unsigned int>(16 * i)
        for k in range(16):
            if trace_ids[16 * i + k]:
                sizes.data.as_uints[i] = 16
                break
    return starts, sizes


def covered(const unsigned char[::1] text, const unsigned int[::1] starts, const unsigned int[::1] sizes):
    """A copy of the text with all key bytes as the digit 0: so masked, lines of different keys are the same.

    Raises ValueError for spans that are not within the text.

    >>> from array import array
    >>> covered(b"by ann at 7", array("I", [3]), array("I", [3]))
    b'by 000 at 7'
    """
    cdef Py_ssize_t i, count = starts.shape[0]
    cdef bytes copy
    cdef unsigned char* s
    if sizes.shape[0] != count:
        raise ValueError(f"{count} starts but {sizes.shape[0]} sizes; give one of each")
    for i in range(count):
        if <size_t>starts[i] + sizes[i] > <size_t>text.shape[0]:
            raise ValueError(f"the key of event {i} is not within its text")
    if text.shape[0] == 0:
        return b""
    copy = PyBytes_FromStringAndSize(<const char*>&text[0], text.shape[0])
    s = <unsigned char*><char*>copy
    with nogil:
        for i in range(count):
            memset(s + starts[i], c'0', sizes[i])
    return copy
