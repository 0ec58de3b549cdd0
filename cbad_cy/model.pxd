"""The statistical coder's counts, for kernels that code without the GIL."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef enum:
    CELLS = 8                  # of a bucket
    BUCKET_BYTES = 64
    BUCKETS_START = 64
    CLOSED = 65535             # as `distinct`: a slot whose values are not kept
    KNOWN = 65534              # as `distinct`: the cell of a template
    ONE_BIT = 1024
    CAP = 400 * ONE_BIT
    VALUES_KEPT = 32
    TOKENS_KEPT = 256
    TOKEN_BYTES_COUNTED = 24
    MARKS_KEPT = 16


cdef extern from *:
    """
    #define NO_MEMORY UINT64_MAX
    """
    const uint64_t NO_MEMORY



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


cdef struct Mark:
    # A dear part of a line: bytes [start, stop) of the masked line where `slot` is -1, else the slot of that number.
    unsigned int start
    unsigned int stop
    int slot
    unsigned int bits      # in 1/1024


cdef struct Model:
    Bucket* table
    uint32_t room          # buckets allocated
    uint32_t buckets       # in use
    uint32_t buckets_min
    uint32_t buckets_max
    uint32_t learned       # events since counts were halved
    uint32_t halving_events


# of a masked line; never 0
cdef uint64_t template_of(const unsigned char* line, size_t size) noexcept nogil

# 0, or -1 when memory is short; limits have been checked
cdef int model_open(Model* m, size_t bytes_max, uint32_t halving_events) noexcept nogil
cdef void model_close(Model* m) noexcept nogil
# forget everything, keeping the memory: some 100 ns
cdef void model_clear(Model* m) noexcept nogil
# the counts of `source` in place of its own; -1 when memory is short
cdef int model_copy(Model* to, const Model* source) noexcept nogil

# `context` is the template of the stream's event before, 0 for none; slots beyond the sixteenth do not count
cdef Bits model_cost(
    const Model* m, const unsigned char* line, size_t size, uint64_t template, uint64_t context, const uint64_t* slots,
    int slot_count
) noexcept nogil
# 0, or -1 when memory is short
cdef int model_learn(
    Model* m, const unsigned char* line, size_t size, uint64_t template, uint64_t context, const uint64_t* slots, int slot_count
) noexcept nogil
# cost of lines that newlines part, without slots, each learned after it was coded; NO_MEMORY when memory is short
cdef uint64_t model_lines(Model* m, const unsigned char* text, size_t size) noexcept nogil

# the dearest parts of a line, tokens only if its template is new; -> how many of `MARKS_KEPT`
cdef int model_marks(
    const Model* m, const unsigned char* line, size_t size, uint64_t template, uint64_t context, const uint64_t* slots,
    int slot_count, Mark* marks
) noexcept nogil

cdef Share model_share(const Model* m, uint64_t context, uint64_t symbol) noexcept nogil
cdef double token_share(const Model* m, uint64_t before, uint64_t last, uint64_t token, size_t size) noexcept nogil
cdef double slot_share(const Model* m, uint64_t template, int position, uint64_t slot) noexcept nogil
