"""Of the coder in codelength.pyx: where the tokens of a masked line are, and what spelling one costs."""

cdef inline bint in_word(unsigned char c) noexcept nogil:
    return (
        c >= 0x80 or c == c'_' or c == c'#' or (c'0' <= c <= c'9') or (c'a' <= c <= c'z') or (c'A' <= c <= c'Z')
    )


cdef inline size_t token_start(const unsigned char* s, size_t n, size_t i) noexcept nogil:
    while i < n and (s[i] == c' ' or 9 <= s[i] <= 13):
        i += 1
    return i


cdef inline size_t token_stop(const unsigned char* s, size_t n, size_t i) noexcept nogil:
    """Behind the token at s[i]: a run of word bytes, a mark of the tokenizer, or any other byte."""
    if s[i] == c'<':
        if i + 2 < n and s[i + 2] == c'>' and c'A' <= s[i + 1] <= c'Z':
            return i + 3
        if i + 3 < n and s[i + 1] == c'I' and s[i + 2] == c'P' and s[i + 3] == c'>':
            return i + 4
    if not in_word(s[i]):
        return i + 1
    while i < n and in_word(s[i]):
        i += 1
    return i


cdef inline double spelled(size_t size) noexcept nogil:
    """Below order 0: 2^-(2 + 4.5 min(size, 24))."""
    cdef int halves = 4 + 9 * (<int>size if size < TOKEN_BYTES_COUNTED else TOKEN_BYTES_COUNTED)
    return ldexp(0.7071067811865476 if halves & 1 else 1.0, -(halves >> 1))
