"""UTF-8 as the Unicode Standard has it (chapter 3, "Unicode Encoding Forms", table 3-7): whether bytes are text, and what to do if not.

What is not text becomes U+FFFD, one for each maximal subpart of an ill-formed sequence: what `bytes.decode(errors="replace")` says.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef enum:
    UTF8_REPAIR_GROWTH = 3     # a byte becomes at most so many


cdef inline Py_ssize_t utf8_ascii(const unsigned char* text, Py_ssize_t size) noexcept nogil:
    """How many bytes at the begin are ASCII."""
    cdef uint64_t word
    cdef Py_ssize_t at = 0
    while size - at >= 8:
        memcpy(&word, text + at, 8)
        if word & <uint64_t>0x8080808080808080:
            break
        at += 8
    if 0 < size - at < 8 <= size:  # the end, with what is before it
        memcpy(&word, text + size - 8, 8)
        if not word & <uint64_t>0x8080808080808080:
            return size
    while at < size and text[at] < 0x80:
        at += 1
    return at


cdef inline int utf8_character(const unsigned char* at, const unsigned char* end) noexcept nogil:
    """Bytes of the character that begins at `at` < `end`; of what is none, minus the bytes that one U+FFFD stands for."""
    cdef unsigned char lead = at[0], low = 0x80, high = 0xBF
    cdef int size, i
    if lead < 0x80:
        return 1
    if lead < 0xC2 or lead > 0xF4:  # inside of a character; too long for what it says; over U+10FFFF
        return -1
    if lead < 0xE0:
        return 2 if end - at > 1 and at[1] & 0xC0 == 0x80 else -1
    size = 3 if lead < 0xF0 else 4
    if lead == 0xE0:
        low = 0xA0                  # below: too long for what it says
    elif lead == 0xED:
        high = 0x9F                 # above: surrogates
    elif lead == 0xF0:
        low = 0x90                  # below: too long for what it says
    elif lead == 0xF4:
        high = 0x8F                 # above: over U+10FFFF
    if end - at < 2 or not low <= at[1] <= high:
        return -1
    for i in range(2, size):
        if end - at <= i or at[i] & 0xC0 != 0x80:
            return -i
    return size


cdef inline bint utf8_valid(const unsigned char* text, Py_ssize_t size) noexcept nogil:
    """Whether these bytes are UTF-8."""
    cdef const unsigned char* at = text
    cdef const unsigned char* end = text + size
    cdef int step
    while True:
        at += utf8_ascii(at, end - at)
        if at == end:
            return True
        while at < end:
            step = utf8_character(at, end)
            if step < 0:
                return False
            at += step
            if step == 1:
                break  # back to where ASCII is fast


cdef inline Py_ssize_t utf8_repair(const unsigned char* text, Py_ssize_t size, unsigned char* out) noexcept nogil:
    """`text` into `out`, with U+FFFD for what is not UTF-8; -> bytes of the result.

    `out` has room for `UTF8_REPAIR_GROWTH` times `size`, and does not overlap `text`; NULL = only say how many bytes it will be.
    """
    cdef const unsigned char* at = text
    cdef const unsigned char* end = text + size
    cdef Py_ssize_t written = 0, step
    while at < end:
        step = utf8_ascii(at, end - at)
        if step == 0:
            step = utf8_character(at, end)
        if step > 0:
            if out != NULL:
                memcpy(out + written, at, step)
            written += step
            at += step
        else:
            if out != NULL:
                out[written] = 0xEF
                out[written + 1] = 0xBF
                out[written + 2] = 0xBD
            written += 3
            at -= step
    return written


cdef inline Py_ssize_t utf8_cut(const unsigned char* text, Py_ssize_t size, Py_ssize_t bytes_max) noexcept nogil:
    """Bytes of the longest prefix of at most `bytes_max` bytes that ends between characters; `text` is UTF-8."""
    cdef Py_ssize_t end = bytes_max
    if size <= bytes_max:
        return size
    while end > 0 and text[end] & 0xC0 == 0x80:  # inside of a character
        end -= 1
    return end
