# BLAKE2b with a digest of 16 bytes and no key, as hexadecimal text: M.-J. Saarinen, J.-P. Aumasson, "The BLAKE2 Cryptographic Hash
# and Message Authentication Code", RFC 7693. To be included; needs libc.stdint and libc.string.

cdef enum:
    BLAKE_ROUNDS = 12
    BLAKE_BLOCK = 128
    BLAKE_DIGEST = 16
    BLAKE_TEXT = 32            # of a digest

# The fractional parts of the square roots of the first eight primes.
cdef uint64_t[8] BLAKE_START = [
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
]
# In which order a round takes the words of a block; the last two rounds are as the first two.
cdef unsigned char[160] BLAKE_ORDER = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
    14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3,
    11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4,
    7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8,
    9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13,
    2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9,
    12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11,
    13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10,
    6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5,
    10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0,
]


cdef inline uint64_t blake_turn(uint64_t word, int bits) noexcept nogil:
    return word >> bits | word << (64 - bits)


cdef inline void blake_mix(uint64_t* v, int a, int b, int c, int d, uint64_t x, uint64_t y) noexcept nogil:
    v[a] += v[b] + x
    v[d] = blake_turn(v[d] ^ v[a], 32)
    v[c] += v[d]
    v[b] = blake_turn(v[b] ^ v[c], 24)
    v[a] += v[b] + y
    v[d] = blake_turn(v[d] ^ v[a], 16)
    v[c] += v[d]
    v[b] = blake_turn(v[b] ^ v[c], 63)


cdef void blake_block(uint64_t* state, const unsigned char* block, uint64_t count, bint last) noexcept nogil:
    """One block; `count` are all bytes up to its end."""
    cdef uint64_t[16] v
    cdef uint64_t[16] words
    cdef const unsigned char* order
    cdef int i
    memcpy(words, block, BLAKE_BLOCK)  # of a little-endian machine, as everything that reads the wire here
    for i in range(8):
        v[i] = state[i]
        v[i + 8] = BLAKE_START[i]
    v[12] ^= count
    if last:
        v[14] = ~v[14]
    for i in range(BLAKE_ROUNDS):
        order = &BLAKE_ORDER[16 * (i % 10)]
        blake_mix(v, 0, 4, 8, 12, words[order[0]], words[order[1]])
        blake_mix(v, 1, 5, 9, 13, words[order[2]], words[order[3]])
        blake_mix(v, 2, 6, 10, 14, words[order[4]], words[order[5]])
        blake_mix(v, 3, 7, 11, 15, words[order[6]], words[order[7]])
        blake_mix(v, 0, 5, 10, 15, words[order[8]], words[order[9]])
        blake_mix(v, 1, 6, 11, 12, words[order[10]], words[order[11]])
        blake_mix(v, 2, 7, 8, 13, words[order[12]], words[order[13]])
        blake_mix(v, 3, 4, 9, 14, words[order[14]], words[order[15]])
    for i in range(8):
        state[i] ^= v[i] ^ v[i + 8]


cdef void blake2b_text(const unsigned char* data, Py_ssize_t size, unsigned char* out) noexcept nogil:
    """The digest of `data` in `BLAKE_TEXT` lower-case hexadecimal digits."""
    cdef uint64_t[8] state
    cdef unsigned char[BLAKE_BLOCK] block
    cdef Py_ssize_t done = 0
    cdef unsigned char byte
    cdef int i
    for i in range(8):
        state[i] = BLAKE_START[i]
    state[0] ^= 0x01010000 ^ BLAKE_DIGEST
    while size - done > BLAKE_BLOCK:  # the last block is one of its own even if it is full
        done += BLAKE_BLOCK
        blake_block(state, data + done - BLAKE_BLOCK, done, False)
    memset(block, 0, BLAKE_BLOCK)
    if size > done:
        memcpy(block, data + done, size - done)
    blake_block(state, block, size, True)
    for i in range(BLAKE_DIGEST):
        byte = <unsigned char>(state[i >> 3] >> 8 * (i & 7))
        out[2 * i] = b"0123456789abcdef"[byte >> 4]
        out[2 * i + 1] = b"0123456789abcdef"[byte & 15]
