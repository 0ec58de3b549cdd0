"""What the window kernel uses of `cbad_cy.pool` without the GIL."""

from libc.stdint cimport uint64_t


cdef struct Form:
    # A distinct line: its bytes in the arena, how many of the last lines have it, and its neighbours in two orders.
    uint64_t hash
    uint64_t last  # number of the newest line that had it
    size_t start
    unsigned int size
    unsigned int count  # of the remembered lines
    unsigned int seen   # since the form is remembered
    int chained    # next form of the same hash bucket, -1 = none
    int newer           # in order of creation
    int older
    int later           # in order of the newest line that had it
    int earlier
    bint chosen


cdef class Pool:
    cdef Form* forms
    cdef int* buckets
    cdef int* free_slots
    cdef int* ring          # form of each of the last lines
    cdef unsigned char* arena
    cdef size_t arena_room
    cdef size_t arena_used
    cdef readonly size_t text_bytes  # of distinct lines, separators included
    cdef uint64_t lines_ever
    cdef int lines_max
    cdef size_t bytes_max
    cdef int lines
    cdef int head           # where the oldest line is in `ring`
    cdef int distinct_count
    cdef int slots          # how many there are, free ones included
    cdef int free_count
    cdef int bucket_mask
    cdef uint64_t memory_lines
    cdef int oldest
    cdef int newest
    cdef int stalest
    cdef int freshest

    cdef int take(self, const unsigned char* line, unsigned int size) noexcept nogil
    cdef void drop_oldest(self) noexcept nogil
    cdef size_t choose(self, size_t room) noexcept nogil
    cdef void write(self, unsigned char* target) noexcept nogil
    cdef int find(self, uint64_t hash, const unsigned char* line, unsigned int size) noexcept nogil
    cdef int create(self, uint64_t hash, const unsigned char* line, unsigned int size) noexcept nogil
    cdef void remove(self, int slot) noexcept nogil
    cdef void refresh(self, int slot) noexcept nogil
    cdef void detach(self, int slot) noexcept nogil
    cdef bint forget(self) noexcept nogil
    cdef int more_slots(self) noexcept nogil
    cdef int make_room(self, unsigned int size) noexcept nogil
