"""Of the scanner in tokenize.pyx: many lines in one call."""

cdef int cut(const unsigned char* s, int n, int bytes_max) noexcept nogil:
    """Bytes of s[:n] that fit into bytes_max without splitting a UTF-8 sequence (which has at most 4 bytes)."""
    cdef int i
    if n <= bytes_max:
        return n
    for i in range(4):
        if i > bytes_max:
            break
        if s[bytes_max - i] & 0xC0 != 0x80:
            return bytes_max - i
    return bytes_max


cdef Py_ssize_t scan_lines(
    Scan* c, const unsigned char* text, const unsigned int* lengths, unsigned int* masked, Py_ssize_t lines, int bytes_max,
    Column* column
) noexcept nogil:
    """Mask `lines` lines one after another into c.out, slots into `column` unless NULL; -> bytes written, -1: memory is short."""
    cdef Py_ssize_t i, total = 0
    for i in range(lines):
        c.s = text
        c.n = cut(text, lengths[i], bytes_max)
        scan(c)
        if column != NULL and not keep_slots(c, column, i):
            return -1
        masked[i] = c.w
        total += c.w
        c.out += c.w
        text += lengths[i]
    return total
