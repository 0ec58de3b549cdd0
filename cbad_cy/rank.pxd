"""What the window kernel uses of `cbad_cy.rank` without the GIL."""

cdef struct Moving:
    # A first-in-first-out sample of numbers and the same numbers in order; both arrays hold `capacity`.
    double* ring
    double* ordered
    int capacity
    int count
    int head  # where the oldest is


cdef struct Rarity:
    double p_value
    double confidence
    double surprise  # bits


cdef class Sample:
    cdef Moving moving

    cdef void push(self, double value) noexcept nogil
    cdef double middle(self, double otherwise) noexcept nogil


cdef class Reference:
    cdef Moving values
    cdef Moving maxima
    cdef double* waiting  # values that still overlap the window under test: a ring of `lag`
    cdef int lag
    cdef int waits
    cdef int waiting_head
    cdef double* open_block
    cdef int block
    cdef int block_fill

    cdef Rarity judge(self, double statistic) noexcept nogil
    cdef void push(self, double statistic) noexcept nogil
    cdef void soften(self) noexcept nogil
    cdef void enter(self, double value) noexcept nogil
    cdef double tail(self, double statistic) noexcept nogil
    cdef double scale(self, double high) noexcept nogil
    cdef double surprise_of(self, double statistic, double rank) noexcept nogil
