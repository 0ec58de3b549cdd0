"""The first question, for the window kernel, without the GIL."""

from libc.stdint cimport uint64_t

from cbad_cy.codec cimport Codec
from cbad_cy.codelength cimport Coder
from cbad_cy.held cimport Held
from cbad_cy.rank cimport Rarity, Reference, Sample

cdef enum:
    DONE, WINDOW, TURN, REFUSED, FULL


cdef enum:
    RESTLESS_LINES = 3           # so many new lines within
    RESTLESS_WINDOWS = 10        # so many windows' lines before the window make a time restless


cdef struct Answer:
    # What one question says; `p_value` is its own, before it is divided by the question's share.
    int question
    double p_value
    double distance
    double surprise
    double confidence
    uint64_t template
    uint64_t instance
    double observed
    double expected
    int horizon


cdef class Content:
    cdef readonly Coder coder
    cdef readonly tuple lengths      # past C(W given B) of calm and of restless times: bytes, under the coder 1/1024 bit
    cdef readonly tuple accents      # past C(W given B)/C(W) in 1/65536, under the coder cost of the dearest lines in 1/1024 bit
    cdef readonly Sample ratios
    cdef readonly Sample dear_ratios
    cdef readonly uint64_t context   # template of the newest line
    cdef readonly bint restless      # was much new lately?
    cdef readonly double flagged_share  # of the newest thousand windows, moving
    cdef Reference calm_lengths
    cdef Reference calm_accents
    cdef Reference restless_lengths
    cdef Reference restless_accents
    cdef uint64_t[RESTLESS_LINES] novel  # numbers + 1 of the newest lines before the window that were new, a ring
    cdef int novel_at
    cdef int window
    # the window at hand
    cdef unsigned int plain          # C(W) in bytes, 0: not measured
    cdef unsigned int given          # C(W given B) in bytes
    cdef uint64_t bits               # C(W given B) in 1/1024 bit
    cdef double usual
    cdef double dear_ratio
    cdef double whole                # p-value of each statistic
    cdef double accent

    # a line as it arrives; DONE or FULL
    cdef int take(self, Held* held, int line) noexcept nogil
    # a new line, the stream's `number`-th, leaves the window
    cdef void leave(self, uint64_t number) noexcept nogil
    # is the window new that begins with held line `first`, the stream's `number`-th? DONE or REFUSED
    cdef int ask(
        self, Held* held, Codec codec, int first, uint64_t number, double bar, bint wanted, Answer* found
    ) noexcept nogil
    # the effect, C(W) and C(W given B) where `ask` did without; DONE or REFUSED
    cdef int measure(self, Held* held, Codec codec, int first, double bar, Answer* found) noexcept nogil
    # what was decided about the window
    cdef void settle(self, bint flagged, double p_value_threshold) noexcept nogil
    # the window is normal
    cdef void learn_normal(self) noexcept nogil

    cdef Rarity rank_length(self, double statistic) noexcept nogil
    cdef Rarity rank_accent(self, double statistic) noexcept nogil
    cdef double add_up(self, Held* held, int first) noexcept nogil
    cdef int weigh(self, Held* held, Codec codec, int first) noexcept nogil
    cdef double compare(self, double bar) noexcept nogil


cdef size_t compressed(Held* held, Codec codec, void* context, int first, int count) noexcept nogil
