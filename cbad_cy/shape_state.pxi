"""Of shapes.pyx: what is remembered, and the constants of the rule."""

cdef enum:
    CHILDREN = 64           # known child operations of an operation: bits of a mask
    TYPES = 8               # features of a parent and a child: missing, and seven classes of repeats
    MISSING = 0
    PRESENT = 1
    TESTS = 4               # higher rates that are tested
    LINKS_MOST = 65536
    STORIES = 256           # features of which examples are kept
    KEPT = 2                # examples of each
    SHOWN = KEPT + 1        # and the trace with which it alarms
    PATH = 32
    LINES = 40
    DEPTH = 16
    EVERYWHERE = 0          # the past of all traces together; those of root operations follow

cdef enum:                  # marks of spans and traces, see traces.pyx
    KIND = 7
    CLIENT = 3
    PRODUCER = 4
    ERROR = 8
    SAMPLED = 32
    NO_ROOT_MARK = 1
    INCOMPLETE = 1 | 2 | 16 | 32

cdef enum:                  # what was told of a child, see `Kid`
    TOLD_MISSING = 0
    TOLD_NEW = 1
    TOLD_REPEATS = 2

cdef enum:
    COLD_TRIALS = 32        # of a past in which nothing alarms
    BLOCK_TRIALS = 512      # that a block has at least
    EARLY_TRIALS = 4096     # pasts that are shorter are learned in doubling blocks
    BARE_TRIALS = 16        # spans after which it is known whether a client's usually have a child
    WANDER_BLOCKS = 288     # blocks over which wander is remembered
    WANDER_PRIOR = 24       # blocks that the first guess of it is worth
    WANDER_ODD = 10         # occurrences expected in a block from which it says something of wander
    LOSS_FAST = 128         # traces over which the share of those that lost spans is taken
    LOSS_SLOW = 2048

cdef extern from *:
    """
    static const double SHAPE_FLOOR = 1e-3;            /* a rate below which nothing is unusual */
    static const double SHAPE_MOST = .98;
    static const double SHAPE_STEPS[4] = {.006, .03, .15, .6};
    static const double SHAPE_FALLS[4] = {             /* -log2(1 - step) */
        .008682243099800882, .043943347587597055, .23446525363702297, 1.3219280948873622};
    static const double SHAPE_WANDER_RARE = .3, SHAPE_WANDER_OFTEN = .5, SHAPE_RARE = .05;  /* of rates up to that one */
    static const double SHAPE_WANDER_WIDE = 3., SHAPE_UNKNOWN_WIDE = 2., SHAPE_WANDER_CLIP = 4.;
    static const double SHAPE_SUSPICIOUS = 7.;         /* bits from which on nothing is learned */
    static const double SHAPE_BARE = .1;               /* share of a client's spans without child that is usual */
    static const double SHAPE_PEAK_LESS = 2., SHAPE_PEAK_S = 3 * 86400., SHAPE_FADE_S = 1.44 * 86400.;
    static const double SHAPE_BLOCK_S = 600., SHAPE_ADOPT_S = 7200., SHAPE_DEAD_S = 180., SHAPE_BEYOND = 20.;
    static const double SHAPE_LACKS_S = 45.;           /* for so long a part must be missing: its spans may come late... */
    static const double SHAPE_LACKS = .25;             /* ...where so many traces lack it; */
    static const double SHAPE_EARLY = .75;             /* until then evidence stays below such a share of the level */
    static const double SHAPE_AGAIN_S = 60., SHAPE_ANEW = 12.;  /* after so long and so many bits what goes on is told again */
    static const double SHAPE_GONE = .9;               /* share of traces without calls between two services */
    """
    const double SHAPE_FLOOR, SHAPE_MOST, SHAPE_WANDER_RARE, SHAPE_WANDER_OFTEN, SHAPE_RARE, SHAPE_WANDER_WIDE
    const double SHAPE_UNKNOWN_WIDE, SHAPE_WANDER_CLIP, SHAPE_SUSPICIOUS, SHAPE_BARE
    const double SHAPE_PEAK_LESS, SHAPE_PEAK_S, SHAPE_FADE_S, SHAPE_BLOCK_S, SHAPE_ADOPT_S, SHAPE_DEAD_S, SHAPE_BEYOND
    const double SHAPE_GONE, SHAPE_LACKS_S, SHAPE_LACKS, SHAPE_EARLY, SHAPE_AGAIN_S, SHAPE_ANEW
    const double* SHAPE_STEPS
    const double* SHAPE_FALLS

cdef uint32_t NONE = <uint32_t>-1              # a number that is no number


cdef struct Index:
    # Numbers from 0 for keys of 64 bits, in the order in which they came; none is given back.
    uint64_t* keys
    uint32_t* cells             # open addressing: number + 1, 0 = empty; at most half full
    uint32_t room, mask, count, most

cdef struct Node:
    # What a span does: an operation, or that of a client or producer and the one behind it. Key: operation << 32 | behind.
    uint32_t kids
    uint32_t kid[CHILDREN]

cdef struct Kid:
    # A node under a node. Key: parent << 32 | child.
    uint32_t slot               # which of the parent's it is
    uint32_t link               # NONE: within a service
    uint64_t told_ns[3]         # when an alarm was last told; 0 = never

cdef struct Link:
    # Calls from a service to another. Key: caller << 32 | callee.
    uint64_t traces             # with such calls
    uint64_t first_ns
    uint64_t seen               # the last of them, by number

cdef struct Place:
    # A node in a past. Key: past << 32 | node.
    uint64_t trials             # traces with it
    uint64_t last_ns            # when the newest was closed

cdef struct Edge:
    # A child in a past. Key: place << 8 | slot.
    uint32_t monitor[TYPES]     # NONE: never occurred

cdef struct Monitor:
    double past_odd             # occurrences in the past
    double past                 # trials in the past
    double odd                  # occurrences since
    double wander
    double blocks
    double peak
    double sums[TESTS]
    uint64_t mark               # trials in which the past ends
    uint64_t mark_ns
    uint64_t last               # trial of the newest occurrence
    uint64_t from_trial         # when all sums were 0: the trial before,
    uint64_t from_link          # traces of the link,
    uint64_t from_ns            # the time,
    uint64_t since_ns           # the start of the trace,
    uint64_t affected           # and occurrences since
    uint64_t firm_ns            # when the evidence became suspicious, which it still is,
    uint64_t firm_trial         # the trial before,
    uint64_t firm_odd           # and occurrences since
    uint64_t told_ns            # when it alarmed, or might have been told again
    uint32_t instance           # a majority vote (Boyer and Moore)
    uint32_t votes
    uint32_t story              # NONE
    uint32_t raised             # 0, 1 = it alarmed, 2 = with the newest occurrence

cdef struct Example:
    unsigned char trace_id[16]
    uint64_t start_ns
    uint64_t duration_ns
    uint32_t spans
    uint32_t root
    uint32_t instance
    uint16_t error
    uint16_t steps
    uint32_t path[PATH]

cdef struct Story:
    uint64_t touched            # trace
    uint32_t owner              # monitor, NONE
    uint32_t kept
    Example example[KEPT]       # the newest first

cdef struct Line:
    uint32_t depth
    uint32_t operation
    int32_t sign
    uint32_t repeats

cdef struct Alarm:
    bint dependency, repeats
    uint32_t caller, operation, instance
    uint32_t suspect[2]
    double suspect_bits[2]
    uint64_t since_ns, time_ns, trials, affected
    double bits, level, usual
    int examples, lines
    Example example[SHOWN]
    Line line[LINES]

cdef struct Scratch:
    # Of one trace: its spans...
    uint32_t* node
    int32_t* first              # child
    int32_t* head               # of the list of kinds of children
    uint8_t* bare
    int32_t* bare_child         # the last of those of its children
    int32_t* bare_before        # the one before it that is a child of the same span
    int32_t* depth
    # ...kinds of children...
    uint32_t* child
    uint32_t* times
    int32_t* following
    # ...visited nodes, and CHILDREN entries of each
    uint32_t* visited
    uint8_t* kind
    uint64_t* seen
    uint64_t* missing
    uint32_t* most              # of the child under one parent
    int32_t* most_at            # the parent
    int32_t* missing_at
    uint32_t* visit_of          # by node: visit + 1
    uint32_t spans_room, visits_room, nodes_room
    uint32_t visits

cdef struct Trace:
    # A closed trace, as columns.
    const unsigned char* trace_id
    uint8_t marks
    uint64_t start_ns, end_ns, closed_ns
    uint32_t spans
    const uint32_t* operation
    const int32_t* parent
    const unsigned char* mark
    const uint32_t* instance

cdef struct Shapes:
    double level
    uint64_t traces, overflowed, latest_ns
    uint32_t operations_max, pairs_max, pairs
    double loss_fast, loss_slow # share of traces that lost spans
    uint64_t* called            # spans of clients and producers, by operation...
    uint32_t* bare              # ...and the monitor of those without child; NONE
    uint32_t* sender            # by operation: the instance that does it; 0 = not known, NONE = several
    Index roots, nodes, kids, links, places, edges
    Node* node
    Kid* kid
    Link* link
    Place* place
    Edge* edge
    Monitor* monitor
    uint32_t monitors, monitors_room, monitors_most
    Story* story
    Alarm* alarm
    size_t alarms, alarms_room
    Scratch w
    const uint32_t* service
