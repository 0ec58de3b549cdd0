"""What the window kernel uses of `cbad_cy.codelength` without the GIL."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t


cdef struct Bits:
    # Code length of one event in 1/1024 bit: parts, and their sum or the cap.
    unsigned int template
    unsigned int tokens
    unsigned int slots
    unsigned int total


cdef struct Share:
    # What a context knows of a symbol: how often it came, all that came, and how many distinct ones.
    unsigned int n
    unsigned int total
    unsigned int distinct


cdef struct Bucket:
    # Eight cells of one cache line, oldest first, no gaps; hash 0 = empty. `distinct` is 0 for a symbol's cell.
    uint32_t hash[8]
    uint16_t count[8]
    uint16_t distinct[8]


cdef class Coder:
    cdef Bucket* table
    cdef uint32_t room          # buckets allocated
    cdef uint32_t buckets       # in use
    cdef uint32_t buckets_min
    cdef uint32_t buckets_max
    cdef uint32_t learned       # events since counts were halved
    cdef uint32_t halving_events
    cdef readonly size_t bytes_max

    # of a masked line; never 0
    cdef uint64_t template_of(self, const unsigned char* line, size_t size) noexcept nogil
    # `context` is the template of the stream's event before, 0 for none; slots beyond the sixteenth do not count
    cdef Bits cost(
        self, const unsigned char* line, size_t size, uint64_t template, uint64_t context, const uint64_t* slots, int slot_count
    ) noexcept nogil
    # 0, or -1 when memory is short
    cdef int learn(
        self, const unsigned char* line, size_t size, uint64_t template, uint64_t context, const uint64_t* slots, int slot_count
    ) noexcept nogil
    # forget everything, keeping the memory: some 100 ns
    cdef void clear(self) noexcept nogil

    cdef Bucket* bucket(self, uint32_t hash) noexcept nogil
    cdef Share share(self, uint64_t context, uint64_t symbol) noexcept nogil
    cdef int add(self, uint64_t context, uint64_t symbol) noexcept nogil
    cdef int insert(self, uint32_t hash, unsigned int distinct) noexcept nogil
    cdef int grow(self) noexcept nogil
    cdef void halve(self) noexcept nogil
    cdef double token_share(self, uint64_t before, uint64_t last, uint64_t token, size_t size) noexcept nogil
    cdef double token_bits(self, const unsigned char* line, size_t size) noexcept nogil
    cdef int learn_token(self, uint64_t before, uint64_t last, uint64_t token) noexcept nogil
    cdef int learn_tokens(self, const unsigned char* line, size_t size) noexcept nogil
    cdef double slot_share(self, uint64_t template, int position, uint64_t slot) noexcept nogil
    cdef int learn_slot(self, uint64_t template, int position, uint64_t slot) noexcept nogil
