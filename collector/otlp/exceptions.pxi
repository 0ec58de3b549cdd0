"""Stack traces of exceptions: of a long one its two ends are kept, and between them the lines that name causes.

A stack trace is long and says little that its type, its message and its ends do not say: the innermost frames are at its top
in some languages, at its bottom in others. Lengths are in characters. Needs canonical.pxi.
"""

from libc.string cimport memchr, memcmp

cdef enum:
    CAUSE_BYTES = 12

cdef inline Py_ssize_t characters(const unsigned char* text, Py_ssize_t size) noexcept nogil:
    """How many characters UTF-8 text has."""
    cdef Py_ssize_t i, count = 0
    for i in range(size):
        count += (text[i] & 0xC0) != 0x80
    return count


cdef inline const unsigned char* after_characters(const unsigned char* at, const unsigned char* end, Py_ssize_t count) noexcept nogil:
    """Where the text goes on after so many characters."""
    while at < end and (count > 0 or at[0] & 0xC0 == 0x80):
        count -= (at[0] & 0xC0) != 0x80
        at += 1
    return at


cdef inline const unsigned char* before_characters(const unsigned char* begin, const unsigned char* at, Py_ssize_t count) noexcept nogil:
    """Where the last so many characters before `at` begin."""
    while at > begin and count > 0:
        at -= 1
        count -= (at[0] & 0xC0) != 0x80
    return at


cdef inline const unsigned char* line_feed(const unsigned char* at, const unsigned char* end) noexcept nogil:
    """The first line feed; `end` where there is none."""
    cdef const unsigned char* found = NULL
    if at < end:
        found = <const unsigned char*>memchr(at, c"\n", end - at)
    return end if found == NULL else found


cdef inline const unsigned char* next_cause(const unsigned char* at, const unsigned char* end) noexcept nogil:
    """The first line feed before a line that names a cause; NULL where there is none."""
    while end - at >= CAUSE_BYTES:
        at = line_feed(at, end)
        if end - at >= CAUSE_BYTES and memcmp(at, <const char*>b"\nCaused by: ", CAUSE_BYTES) == 0:
            return at
        at += 1
    return NULL


cdef const unsigned char* head_end(const unsigned char* begin, const unsigned char* end, Py_ssize_t end_chars) noexcept nogil:
    """Where the first lines end that have together at most so many characters; inside of the first line if it is longer."""
    cdef const unsigned char* at = after_characters(begin, end, end_chars + 1)
    while at > begin:
        at -= 1
        if at[0] == c"\n":
            break
    return at if at > begin else after_characters(begin, end, end_chars)


cdef const unsigned char* tail_begin(const unsigned char* begin, const unsigned char* end, Py_ssize_t end_chars) noexcept nogil:
    """Where the last lines begin that have together at most so many characters; inside of the last line if it is longer."""
    cdef const unsigned char* last = before_characters(begin, end, 1)
    cdef const unsigned char* found = line_feed(before_characters(begin, end, end_chars + 1), last)
    return found + 1 if found < last else before_characters(begin, end, end_chars)


cdef int stack_text(Text* out, Piece stack, Py_ssize_t end_chars, Py_ssize_t causes_max) noexcept nogil:
    """Append what is kept of a stack trace, which is UTF-8."""
    cdef const unsigned char* end = stack.at + stack.size
    cdef const unsigned char* at
    cdef const unsigned char* line
    cdef const unsigned char* tail
    cdef Py_ssize_t i
    if stack.size <= 2 * end_chars or characters(stack.at, stack.size) <= 2 * end_chars:
        return text_put(out, stack.at, stack.size)
    at = head_end(stack.at, end, end_chars)
    tail = tail_begin(stack.at, end, end_chars)
    if text_put(out, stack.at, at - stack.at) != DONE:
        return NO_MEMORY
    for i in range(causes_max):
        at = next_cause(at, tail)
        if at == NULL:
            break
        line = at + 1
        at = line_feed(line, tail)
        if text_put(out, line - 1, after_characters(line, at, end_chars) - line + 1) != DONE:
            return NO_MEMORY
    if text_put(out, <const unsigned char*><const char*>b"\n...\n", 5) != DONE:
        return NO_MEMORY
    return text_put(out, tail, end - tail)
