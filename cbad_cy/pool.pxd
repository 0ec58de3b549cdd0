"""What the window kernel uses of `cbad_cy.pool` without the GIL."""

from libc.stdint cimport uint32_t, uint64_t


cdef struct Form:
    # A distinct line: its bytes in the arena, how many of the last lines have it, and its neighbours in two orders.
    uint64_t last  # number of the newest line that had it
    uint32_t hash
    unsigned int start
    unsigned int size
    int chained    # next form of the same hash bucket, or next free slot, -1 = none
    int newer           # in order of creation
    int older
    int later           # in order of the newest line that had it
    int earlier
    unsigned short count  # of the remembered lines
    unsigned short seen   # since the form is remembered
    unsigned char chosen


cdef class Pool:
    cdef Form* forms
    cdef int* buckets
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
    cdef int free_slot      # the first of them
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
    cdef int find(self, uint32_t hash, const unsigned char* line, unsigned int size) noexcept nogil
    cdef int create(self, uint32_t hash, const unsigned char* line, unsigned int size) noexcept nogil
    cdef void remove(self, int slot) noexcept nogil
    cdef void refresh(self, int slot) noexcept nogil
    cdef void detach(self, int slot) noexcept nogil
    cdef bint forget(self) noexcept nogil
    cdef int more_slots(self) noexcept nogil
    cdef int more_buckets(self, int slots) noexcept nogil
    cdef int make_room(self, unsigned int size) noexcept nogil
