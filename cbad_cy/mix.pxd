"""What the window kernel uses of `cbad_cy.mix` without the GIL."""

from libc.stdint cimport int8_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    # questions, and what is reported when none is asked yet
    RATE_MORE = 0
    RATE_LESS = 1
    ORDER = 2
    REPEAT = 3

cdef enum:
    HORIZONS = 2    # the window, and ten of them
    RATES = HORIZONS + 1  # arrivals in each horizon, and plain counts in the long one
    ROWS = 2 * RATES + 1  # more, less, and blocks in a row without any
    SERIES = 13     # the rows, ORDER x 2, REPEAT: followers x 2, variety x 2
    KNOWN = 192     # templates, number 0 for all that have no number of their own
    PAIRS = 1024    # cells, in buckets of 8
    INDEX = 512
    DOOR = 256
    MAXIMA = 32     # of each series
    LAPS = 3
    BLOCKS = 128    # block maxima behind a p-value


cdef struct Pattern:
    # How unusual the recent mix is, the strangest thing about it, and who is responsible.
    double p_value      # (0..1], valid over all questions together; 1 while too little is known
    double confidence   # share of the stream's past blocks that were less strange
    double surprise     # bits, no upper bound, higher = stranger
    double distance     # 0 = as usual .. 1 = vanished, new, without order, frozen
    int question
    uint64_t template   # responsible; 0: none, or one that is not counted by itself
    double observed     # lines, or bits of order, within the horizon
    double expected
    int horizon         # lines


cdef struct Finding:
    # The last answer of one series.
    double nats
    double observed
    double expected
    double horizon
    uint64_t template


cdef struct Tables:
    # Everything that is learned, by number of the template; counts of learned things are in eighths.
    uint64_t id[KNOWN]
    float gain[KNOWN]           # bits that knowing a line saves on the next one: mean, variance
    float spread[KNOWN]
    float plain[KNOWN]          # lines in a block: mean, variance
    float burst[KNOWN]
    uint8_t idle[KNOWN]         # closed blocks in a row without it
    uint16_t seen[KNOWN]        # lines, up to where it stops counting
    uint16_t arrived[KNOWN]     # after another template
    uint8_t level[ROWS][KNOWN][5]  # half nats: three episodes, the open one, the one counted last
    uint32_t pairs[PAIRS]       # template << 24 | next << 16 | count
    uint16_t door[DOOR]
    uint8_t follower[INDEX]     # by the hash of two lines: what came next last time
    float maximum[SERIES][MAXIMA]
    float strangest[BLOCKS]
    # what follows from the above and from the ring
    uint32_t followed[KNOWN]
    uint16_t distinct[KNOWN]
    uint16_t count[HORIZONS][KNOWN]
    uint16_t entries[HORIZONS][KNOWN]
    uint8_t index[INDEX]
    uint32_t all_arrived
    int known                   # numbers given out, the common one included
    int left                    # number of the line that left the long horizon last; -1: none


cdef class Mix:
    cdef readonly int window
    cdef readonly int hop
    cdef readonly uint64_t lines
    cdef Tables* t
    # the last `ring` lines: number, then per line 1/16 deviations and 1/8 bits
    cdef uint8_t* number
    cdef int8_t* lost
    cdef int8_t* saved
    cdef int8_t* usual
    cdef uint8_t* followed_suit
    cdef int ring
    cdef int at                 # where the next line goes
    cdef int horizon[HORIZONS]
    cdef int last
    cdef int before
    cdef int lost_sum[HORIZONS]
    cdef int saved_sum[HORIZONS]
    cdef int usual_sum[HORIZONS]
    cdef int suit_sum[HORIZONS]
    cdef int64_t squares[HORIZONS]
    cdef double moment[8]       # mean and variance of followers and of variety, each in both horizons
    cdef uint64_t due[HORIZONS]        # line at which a horizon is judged again
    cdef uint64_t fold_due[HORIZONS]   # and at which its episodes are closed
    cdef uint64_t block_due
    cdef int64_t blocks         # closed so far
    cdef double open[SERIES]    # maxima of the open block
    cdef double lap[LAPS]       # strangest of the newest window, of the one before, and of the open block before these
    cdef uint64_t lap_due
    cdef Finding found[SERIES]
    # derived
    cdef double scale[SERIES]
    cdef double high
    cdef double spread

    # count one line; 0, or -1 when memory is short, which does not happen
    cdef int take(self, uint64_t template) noexcept nogil
    # call it after every `hop` lines
    cdef void judge(self, Pattern* found) noexcept nogil

    cdef void clear(self) noexcept nogil
    cdef int back(self, int lines) noexcept nogil
    cdef void leave(self) noexcept nogil
    cdef void weigh(self, int i, int number) noexcept nogil
    cdef void rates(self, int h) noexcept nogil
    cdef void close_episodes(self, int row) noexcept nogil
    cdef void counts(self) noexcept nogil
    cdef void note_counts(self) noexcept nogil
    cdef void answer(self, int row, int number, double observed, double mean, double evidence, bint fresh) noexcept nogil
    cdef void order(self, int h) noexcept nogil
    cdef double against_own(self, int which, double value) noexcept nogil
    cdef uint64_t most_common(self, int h) noexcept nogil
    cdef double quotient(self, int series) noexcept nogil
    cdef void repetition(self, int end) noexcept nogil
