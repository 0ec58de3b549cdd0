"""Hashing of short texts and of numbers, for kernels whose results depend on it: the same on every machine."""

cdef inline uint64_t stirred(uint64_t h) noexcept nogil:
    """A permutation of 64-bit numbers after which every bit depends on every other."""
    h = (h ^ (h >> 32)) * <uint64_t>0xD6E8FEB86659FD93
    h = (h ^ (h >> 32)) * <uint64_t>0xD6E8FEB86659FD93
    return h ^ (h >> 32)


cdef inline uint64_t eight_bytes(const unsigned char* s) noexcept nogil:
    """Little-endian whatever the machine is; compilers make one load of it."""
    return (
        <uint64_t>s[0] | <uint64_t>s[1] << 8 | <uint64_t>s[2] << 16 | <uint64_t>s[3] << 24
        | <uint64_t>s[4] << 32 | <uint64_t>s[5] << 40 | <uint64_t>s[6] << 48 | <uint64_t>s[7] << 56
    )


cdef inline uint64_t hash_of(const unsigned char* s, size_t n) noexcept nogil:
    """64 bits of a text."""
    cdef uint64_t h = (<uint64_t>n + 1) * <uint64_t>0x9E3779B97F4A7C15, word = 0
    cdef size_t i = 0, k
    while i + 8 <= n:
        h = (h ^ eight_bytes(s + i)) * <uint64_t>0xD6E8FEB86659FD93
        h ^= h >> 32
        i += 8
    for k in range(n - i):
        word |= <uint64_t>s[i + k] << 8 * k
    return stirred(h ^ word)
