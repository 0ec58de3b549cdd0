"""Of the coder in codelength.pyx: keys of cells, and the arithmetic of shares and bits."""

# Each kind of context has keys of its own.

cdef inline uint64_t any_template() noexcept nogil:
    return 0x9AE16A3B2F90404F


cdef inline uint64_t after_template(uint64_t context) noexcept nogil:
    return stirred(context ^ <uint64_t>0xC949D7C7509E6557)


cdef inline uint64_t any_token() noexcept nogil:
    return 0xB492B66FBE98F273


cdef inline uint64_t after_token(uint64_t last) noexcept nogil:
    return stirred(last ^ <uint64_t>0xFF51AFD7ED558CCD)


cdef inline uint64_t after_tokens(uint64_t before, uint64_t last) noexcept nogil:
    return stirred(before * <uint64_t>0xC4CEB9FE1A85EC53 + stirred(last ^ <uint64_t>0x87C37B91114253D5))


cdef inline uint64_t slot_buckets(uint64_t template, int position) noexcept nogil:
    return stirred(template + <uint64_t>(2 * position + 1) * <uint64_t>0x4CF5AD432745937F)


cdef inline uint64_t slot_values(uint64_t template, int position) noexcept nogil:
    return stirred(template + <uint64_t>(2 * position + 2) * <uint64_t>0x4CF5AD432745937F)


cdef inline uint32_t filed(uint64_t h) noexcept nogil:
    """The 32 bits by which a cell is known; 0 means an empty cell."""
    return <uint32_t>(h >> 32) if h >> 32 else 1


cdef inline uint32_t filed_symbol(uint64_t context, uint64_t symbol) noexcept nogil:
    return filed(stirred(context + symbol * <uint64_t>0x9E3779B97F4A7C15))


cdef inline int place(const Bucket* b, uint32_t hash) noexcept nogil:
    """Where a bucket holds a cell; -1: nowhere."""
    cdef int i
    for i in range(CELLS):
        if b.hash[i] == hash:
            return i
    return -1


cdef inline unsigned int whole(double bits) noexcept nogil:
    """In 1/1024 bit, at most the cap."""
    return <unsigned int>(bits * ONE_BIT + 0.5) if bits < CAP // ONE_BIT else CAP


cdef inline double blend(Share s, double lower) noexcept nogil:
    """Witten and Bell's rule."""
    return (s.n + s.distinct * lower) / <double>(s.total + s.distinct) if s.total else lower


cdef inline double escape(Share s) noexcept nogil:
    """What a context leaves to symbols that it has not seen."""
    return s.distinct / <double>(s.total + s.distinct) if s.total else 1.0
