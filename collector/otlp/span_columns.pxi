"""What of a span puts it together with others to a trace, and what its trace state says about sampling.

Sampling: OpenTelemetry specification, "TraceState: Probability Sampling" (`th`, a rejection threshold in hexadecimal digits of
a fraction; 0 = nothing is rejected), and its forerunner (`p`, a probability of 2**-p). Needs protowire.pxi.
"""

from libc.string cimport memcmp, memcpy, memset

cdef enum:
    KIND_LAST = 5
    CODE_ERROR = 2
    ERROR = 8                  # marks
    BACKWARDS = 16
    SAMPLED = 32
    NAME_READ = 259            # with a character that begins before the 256th byte
    PROBES = 16

cdef struct SpanFields:
    # The fields of a span that have one value; what is not there is empty or 0.
    Piece trace_id
    Piece span_id
    Piece parent_id
    Piece state
    Piece name
    Piece message              # of its status
    uint64_t start
    uint64_t end
    int32_t kind
    int32_t code               # of its status

cdef struct Operation:
    Piece name
    uint64_t hash
    uint32_t service
    uint32_t environment
    uint32_t number            # 1-based in its environment
    int32_t kind

cdef struct Places:
    # Columns of spans that have a place in a trace, of all environments, in the order of the request.
    unsigned char* traces
    unsigned char* spans
    unsigned char* parents
    unsigned char* marks
    unsigned long long* starts
    unsigned long long* durations
    unsigned int* operations
    Operation* names
    uint32_t* slots            # 1-based numbers of names; a power of two of them
    uint32_t* named_in         # operations of each environment
    uint32_t mask
    uint32_t named
    Py_ssize_t count


cdef bint below_one(const unsigned char* at, const unsigned char* end) noexcept nogil:
    """Whether a sub-key of the entry `ot` says a probability below 1."""
    cdef bint above_zero = False
    cdef unsigned char digit
    cdef int value = 0
    if end - at > 3 and at[0] == c"t" and at[1] == c"h" and at[2] == c":":
        at += 3
        if end - at > 14:
            return False
        while at < end:
            digit = at[0]
            if not (c"0" <= digit <= c"9" or c"a" <= digit <= c"f" or c"A" <= digit <= c"F"):
                return False
            above_zero |= digit != c"0"
            at += 1
        return above_zero
    if end - at > 2 and at[0] == c"p" and at[1] == c":":
        at += 2
        if end - at > 2:
            return False
        while at < end:
            if not c"0" <= at[0] <= c"9":
                return False
            value = 10 * value + at[0] - c"0"
            at += 1
        return 0 < value <= 63
    return False


cdef bint sampled(Piece state) noexcept nogil:
    """Whether the entry `ot` of a trace state says that only a share of all traces is sent."""
    cdef const unsigned char* at = state.at
    cdef const unsigned char* end = state.at + state.size
    cdef const unsigned char* last
    cdef const unsigned char* stop
    cdef const unsigned char* part
    while at < end:
        stop = at
        while stop < end and stop[0] != c",":
            stop += 1
        last = stop
        while at < last and (at[0] == c" " or at[0] == c"\t"):
            at += 1
        while at < last and ((last - 1)[0] == c" " or (last - 1)[0] == c"\t"):
            last -= 1
        if last - at > 3 and at[0] == c"o" and at[1] == c"t" and at[2] == c"=":
            at += 3
            while at < last:
                part = at
                while part < last and part[0] != c";":
                    part += 1
                if below_one(at, part):
                    return True
                at = part + 1
        at = stop + 1
    return False


cdef inline uint64_t operation_hash(Piece name, uint64_t seed) noexcept nogil:
    """Multiply and fold, eight bytes at a time."""
    cdef uint64_t hash = seed ^ <uint64_t>name.size * <uint64_t>0x9E3779B97F4A7C15, word
    cdef Py_ssize_t at = 0
    while name.size - at >= 8:
        memcpy(&word, name.at + at, 8)
        hash = (hash ^ word) * <uint64_t>0x9E3779B97F4A7C15
        hash ^= hash >> 29
        at += 8
    word = 0
    if at < name.size:
        memcpy(&word, name.at + at, name.size - at)
    hash = (hash ^ word) * <uint64_t>0x9E3779B97F4A7C15
    return hash ^ hash >> 32


cdef uint32_t operation_of(Places* places, Piece name, int32_t kind, uint32_t service, uint32_t environment) noexcept nogil:
    """The number of an operation. After `PROBES` others in its place it gets another one: the work is bounded."""
    cdef uint64_t hash
    cdef uint32_t slot, number
    cdef int probe
    cdef Operation* known
    if name.size > NAME_READ:
        name.size = NAME_READ
    hash = operation_hash(name, (<uint64_t>service << 32 | environment) * 8 + <uint64_t>kind)
    slot = <uint32_t>hash & places.mask
    for probe in range(PROBES):
        number = places.slots[slot]
        if number == 0:
            break
        known = &places.names[number - 1]
        if (known.hash == hash and known.kind == kind and known.name.size == name.size and known.service == service
                and known.environment == environment):
            if name.size == 0 or memcmp(known.name.at, name.at, name.size) == 0:
                return known.number
        slot = (slot + 1) & places.mask
    places.named_in[environment] += 1
    known = &places.names[places.named]
    known.name = name
    known.kind = kind
    known.hash = hash
    known.service = service
    known.environment = environment
    known.number = places.named_in[environment]
    places.named += 1
    places.slots[slot] = places.named
    return known.number


cdef inline bint is_id(Piece id, Py_ssize_t size) noexcept nogil:
    """Whether it has its length and is not all zeros."""
    cdef Py_ssize_t i
    if id.size != size:
        return False
    for i in range(size):
        if id.at[i]:
            return True
    return False


cdef bint place(Places* places, SpanFields* span, uint32_t service, uint32_t environment) noexcept nogil:
    """Append a span, if it has a place in a trace; -> whether it has."""
    cdef Py_ssize_t i = places.count
    cdef int32_t kind = span.kind if 0 <= span.kind <= KIND_LAST else 0
    cdef unsigned char mark = <unsigned char>kind
    if not is_id(span.trace_id, 16) or not is_id(span.span_id, 8) or span.parent_id.size not in (0, 8):
        return False
    memcpy(places.traces + 16 * i, span.trace_id.at, 16)
    memcpy(places.spans + 8 * i, span.span_id.at, 8)
    if span.parent_id.size:
        memcpy(places.parents + 8 * i, span.parent_id.at, 8)
    else:
        memset(places.parents + 8 * i, 0, 8)
    if span.code == CODE_ERROR:
        mark |= ERROR
    places.starts[i] = span.start
    if span.start == 0 or span.end < span.start:
        mark |= BACKWARDS
        places.durations[i] = 0
    else:
        places.durations[i] = span.end - span.start
    if span.state.size and sampled(span.state):
        mark |= SAMPLED
    places.marks[i] = mark
    places.operations[i] = operation_of(places, span.name, kind, service, environment)
    places.count += 1
    return True
