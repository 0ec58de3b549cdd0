"""Of calls.pyx: the constants of the rule, and tables made from them."""

cdef extern from *:
    """
    /* What a fault may be like: a share e of calls whose p-values have density k p^(k - 1); the others stay as they were. */
    static const double SHARE[8] = {0.95, 0.95, 0.4, 0.12, 0.04, 0.012, 0.004, 0.95};
    static const double TAIL[8] = {0.5, 0.25, 0.15, 0.12, 0.1, 0.08, 0.06, 0.1};
    /* So much of the calls that did not fail fail then; the last alternative is four times the usual rate. */
    static const double FAILING[8] = {0.002, 0.005, 0.015, 0.05, 0.15, 0.4, 0.9, 0.0};
    static const double RISE = 4.0, RISE_MOST = 0.9;

    static const double GAIN_MOST = 10.0;          /* bits of one call */
    static const double RESERVE_MOST = 12.0, RESERVE_A_SECOND = 1.5;
    static const double EXCURSION = 4.0;           /* bits from which on an excursion is counted */
    static const double EXCURSION_MOST = 40.0, ALARMED_MOST = 10.0, ALARMED_WEIGHT = 0.25;
    static const double EXCURSIONS_MOST = 4000.0, RECORD_FADES = 0.9;
    static const double PRIOR_EXCURSIONS = 6.0, PRIOR_MEAN = 2.4;
    static const double LOOKED_AT = 8.0;           /* bits above EXCURSION below which nothing alarms */
    static const double RECORD_TIMES = 1.1, RECORD_PLUS = 2.0;
    static const double OVER_MOST = 10.0;          /* bits over the bar that are remembered */
    static const double HISTORY_LEAST_S = 600.0;
    static const double LAPSE_S = 180.0, ADOPT_S = 1800.0;
    static const double ANEW = 12.0;               /* bits without which what was told is not told again */
    static const double ERRORS_BITS = 1.585;       /* so much stricter than about durations */
    static const double LEVEL = 14.81, BALANCED_P = 0.05;

    static const double FLOOR_S = 1e-7, SLACK = 1.5;  /* quarter octaves */
    static const double HALF_S = 1200.0, HALF_CALLS = 500.0, MERGE_S = 60.0, MERGE_CALLS = 256.0, HELD_S = 600.0, HELD = 6.0;
    static const double ADOPT_WEIGHT = 8.0, ADOPT_HALVINGS = 6.0, ADOPT_CALLS = 32.0;
    static const double ODD_WEIGHT = 1.0 / 32.0;
    static const double SLOW_HALF_S = 8.0, SLOW_CALLS = 8.0, SLOW_WEIGHT = 4.0, SLOW_SERVICES = 4.0, SLOW_FADES = 0.95;
    static const double SLOW_SHARE = 0.45, SLOW_STEP = 6.0, SLOW_MOST = 4.0, SLOW_S = 1.0;
    static const double POPULATION = 50000.0;

    static const double ERROR_PRIOR = 20.0, ERROR_SLACK = 2.0, ERROR_MOST = 0.5, ERROR_UNKNOWN = 100.0;
    static const double ERROR_WEIGHT = 0.125, ERROR_HALF_S = 3600.0, ERROR_HALF_CALLS = 2000.0, ERROR_HELD = 12.0;
    static const double ERROR_MERGE_CALLS = 32.0, ERROR_MERGE_MOST = 1000.0, ERROR_ADOPTED = 500.0, ERROR_POPULATION = 1e6;
    static const double POOL_CALLS = 16384.0;

    static const double LOCAL_HALF_S = 60.0, LOCAL_LEAST = -2.0, LOCAL_MOST = 12.0, LOCAL_BITS = 64.0;
    static const double POOL_IN = 2.0, POOL_SHARE = 0.5, CALLER_SHARE = 0.75, ODD_BITS = 8.0, HIT_BITS = 2.0;
    static const double GRAPH_CALLS = 1000.0;
    """
    const double SHARE[8]
    const double TAIL[8]
    const double FAILING[8]
    const double RISE, RISE_MOST, GAIN_MOST, RESERVE_MOST, RESERVE_A_SECOND
    const double EXCURSION, EXCURSION_MOST, ALARMED_MOST, ALARMED_WEIGHT, EXCURSIONS_MOST, RECORD_FADES
    const double PRIOR_EXCURSIONS, PRIOR_MEAN, LOOKED_AT, RECORD_TIMES, RECORD_PLUS, OVER_MOST, HISTORY_LEAST_S
    const double LAPSE_S, ADOPT_S, ANEW, ERRORS_BITS, LEVEL, BALANCED_P
    const double FLOOR_S, SLACK, HALF_S, HALF_CALLS, MERGE_S, MERGE_CALLS, HELD_S, HELD
    const double ADOPT_WEIGHT, ADOPT_HALVINGS, ADOPT_CALLS, ODD_WEIGHT, POPULATION
    const double SLOW_HALF_S, SLOW_CALLS, SLOW_WEIGHT, SLOW_SERVICES, SLOW_FADES, SLOW_SHARE, SLOW_STEP, SLOW_MOST, SLOW_S
    const double ERROR_PRIOR, ERROR_SLACK, ERROR_MOST, ERROR_UNKNOWN, ERROR_WEIGHT, ERROR_HALF_S, ERROR_HALF_CALLS, ERROR_HELD
    const double ERROR_MERGE_CALLS, ERROR_MERGE_MOST, ERROR_ADOPTED, ERROR_POPULATION, POOL_CALLS
    const double LOCAL_HALF_S, LOCAL_LEAST, LOCAL_MOST, LOCAL_BITS, POOL_IN, POOL_SHARE, CALLER_SHARE
    const double ODD_BITS, HIT_BITS, GRAPH_CALLS

cdef enum:
    BINS = 124                 # quarter octaves of durations from 2^-20 s on
    OCTAVES_BELOW = 20
    STEPS = 8                  # a bit
    CODES = 320                # steps of bits that are told apart
    ODD_CODE = 32              # above, a call is odd
    SIBLINGS = 8               # that are looked at
    VOTES = 32
    VOTES_LEAST = 4            # more than half of those heard, too
    CLIENT = 3
    KIND = 7
    ERROR_BIT = 8
    NO_ROOT_BIT = 1
    ITSELF = 0                 # whose calls they are that alarm: of an operation or an edge,
    SERVICE = 1                # all that a service makes,
    CALLED = 2                 # all that come to it
    VIRTUAL_BIT = 16
    CUT_BITS = 2 | 32          # spans of the trace are missing, so self times are no self times

cdef double HIGHEST_BIN = BINS - 1.01
cdef uint64_t LAPSE_NS = 180_000_000_000
cdef uint64_t AGAIN_NS = 60_000_000_000     # after so long, what goes on is told again

cdef float[CODES][ALTERNATIVES] GAINS       # bits that a call of so many steps adds to each alternative
cdef float[CODES] LOCAL                     # bits that it says about its place
cdef uint8_t[CODES][ALTERNATIVES] HITS      # whether it is rather one of the fault than one of the other calls
cdef uint8_t[ALTERNATIVES] ALL_HIT, NONE_HIT
cdef int QUIET_CODE                         # up to it no alternative gains


cdef double decay(double passed, double half) noexcept nogil:
    """2 to the power -passed / half."""
    cdef double halvings = passed / half
    return 1.0 if halvings <= 0.0 else power_of_two(-halvings) if halvings < 100.0 else 0.0


cdef void make_tables() noexcept nogil:
    global QUIET_CODE
    cdef int code, k
    cdef double bits, faulty, density
    cdef bint quiet = True
    QUIET_CODE = -1
    for code in range(CODES):
        bits = (code + 0.5) / STEPS
        for k in range(ALTERNATIVES):
            faulty = SHARE[k] * TAIL[k] * power_of_two(bits * (1.0 - TAIL[k]))
            density = 1.0 - SHARE[k] + faulty
            HITS[code][k] = faulty > 1.0 - SHARE[k] and bits > HIT_BITS
            ALL_HIT[k], NONE_HIT[k] = 1, 0
            GAINS[code][k] = <float>smallest(log2_of(density), GAIN_MOST)
            if GAINS[code][k] > 0.0:
                quiet = False
        if quiet:
            QUIET_CODE = code
        LOCAL[code] = <float>smallest(
            largest(log2_of(0.5 + 0.5 * 0.15 * power_of_two(bits * 0.85)), LOCAL_LEAST), LOCAL_MOST)


make_tables()
