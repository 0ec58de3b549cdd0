"""What the window kernel uses of `cbad_cy.rank` without the GIL."""

from libc.stdint cimport int32_t

cdef struct Moving:
    # A first-in-first-out sample of at most `capacity` numbers and the same numbers in order.
    double* ring
    double* ordered
    int capacity
    int room  # numbers that both arrays hold by now
    int count
    int head  # where the oldest is


cdef struct Crowd:
    # A first-in-first-out sample of at most `capacity` numbers of which only how many are smaller is asked.
    int32_t* narrow  # the numbers while all are whole and fit, as code lengths do
    double* wide     # from the first one on that does not
    int capacity
    int room
    int count
    int head         # where the oldest is
    bint failed      # a number is missing, because memory was short when it came


cdef struct Rarity:
    double p_value
    double confidence
    double surprise  # bits


cdef class Sample:
    cdef Moving moving

    # room for so many more numbers, which `push` takes; 0, or -1 when memory is short
    cdef int reserve(self, int numbers) noexcept nogil
    cdef void push(self, double value) noexcept nogil
    cdef double middle(self, double otherwise) noexcept nogil


cdef class Reference:
    cdef Crowd values  # who pushes asks it afterwards whether it `failed`
    cdef Moving maxima
    cdef double* waiting  # values that still overlap the window under test: a ring of `lag`
    cdef int lag
    cdef int waits
    cdef int waiting_head
    cdef double* open_block
    cdef int block
    cdef int block_fill

    # room for the statistics of so many more windows, which `push` takes; 0, or -1 when memory is short
    cdef int reserve(self, int windows) noexcept nogil
    cdef Rarity judge(self, double statistic) noexcept nogil
    cdef void push(self, double statistic) noexcept nogil
    cdef void soften(self) noexcept nogil
    cdef void enter(self, double value) noexcept nogil
    cdef double tail(self, double statistic) noexcept nogil
    cdef double scale(self, double high) noexcept nogil
    cdef double surprise_of(self, double statistic, double rank) noexcept nogil
    cdef int check(self) except -1
