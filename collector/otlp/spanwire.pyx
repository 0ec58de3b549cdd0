# cython: autotestdict=False
"""What puts spans together to traces, read from the wire bytes of a request without building an object for a span.

Of each span these are read: ids, operation (name and kind), start and end, whether its status is an error, and what its trace
state says about sampling. Rules are those of protobuf: of a field that is there twice the last one counts, a message that
is there twice is merged, an unknown field or one of another wire type is skipped, groups as a whole. Fields that are
not read here are skipped by their length; whether they are well-formed is not looked at.

Encoding: Protocol Buffers documentation, "Encoding". Fields: opentelemetry-proto, trace/v1/trace.proto. Sampling: OpenTelemetry
specification, "TraceState: Probability Sampling" (`th`, a rejection threshold in hexadecimal digits of a fraction; 0 = nothing is
rejected), and its forerunner (`p`, a probability of 2**-p).
"""

from typing import Final, NamedTuple

from cpython cimport array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

import array

from collector.otlp.wire import Malformed

cdef enum:
    VARINT = 0
    FIXED64 = 1
    LEN = 2
    START_GROUP = 3
    END_GROUP = 4
    FIXED32 = 5
    GROUP_DEPTH = 128          # deeper than the protobuf library goes
    TRACE_ID = 1               # fields of a span
    SPAN_ID = 2
    TRACE_STATE = 3
    PARENT_ID = 4
    NAME = 5
    KIND = 6
    START = 7
    END = 8
    STATUS = 15
    CODE = 3                   # of a status
    CODE_ERROR = 2
    KIND_LAST = 5
    ERROR = 8                  # marks
    BACKWARDS = 16
    SAMPLED = 32
    NAME_READ = 259            # with a character that begins before the 256th byte
    PROBES = 16

NAME_BYTES_READ: Final = NAME_READ
"""Names are told apart by so many of their first bytes."""


class SpanColumns(NamedTuple):
    """Spans that have a place in a trace, in their order; one entry a span unless said otherwise.

    `trace_ids` has 16 bytes a span, `span_ids` and `parent_ids` 8 (zeros = a root), times are in ns, `marks` are bytes as
    `driftlock.engine.event.SpanMark` has them. `operations` are 0-based numbers into `names`: pairs of the name's first
    `NAME_BYTES_READ` bytes, as sent, and the kind. A pair may be there more than once.
    """

    trace_ids: bytes
    span_ids: bytes
    parent_ids: bytes
    starts_ns: "array.array[int]"
    durations_ns: "array.array[int]"
    marks: bytes
    operations: "array.array[int]"
    names: "list[tuple[bytes, int]]"


cdef struct Piece:
    const unsigned char* at
    Py_ssize_t size

cdef struct SpanRead:
    Piece trace_id
    Piece span_id
    Piece parent_id
    Piece state
    Piece name
    uint64_t start
    uint64_t end
    int32_t kind
    int32_t code

cdef struct Operation:
    Piece name
    uint32_t hash
    int32_t kind

cdef struct Columns:
    unsigned char* traces
    unsigned char* spans
    unsigned char* parents
    unsigned char* marks
    unsigned long long* starts
    unsigned long long* durations
    unsigned int* operations
    Operation* names
    uint32_t* slots            # 1-based numbers of names; a power of two of them
    uint32_t mask
    uint32_t named
    Py_ssize_t count


# ---- the wire: each returns the position after what it read, NULL for what is not protobuf ------------------------------------

cdef inline const unsigned char* varint(const unsigned char* at, const unsigned char* end, int bytes_max, uint64_t* value) noexcept nogil:
    cdef uint64_t result = 0
    cdef int i
    for i in range(bytes_max):
        if at == end:
            return NULL
        result |= <uint64_t>(at[0] & 0x7F) << 7 * i
        at += 1
        if (at - 1)[0] < 0x80:
            value[0] = result
            return at
    return NULL


cdef inline const unsigned char* tag(const unsigned char* at, const unsigned char* end, uint32_t* number, uint32_t* wire) noexcept nogil:
    cdef uint64_t value = 0
    if at < end and at[0] < 0x80:
        value = at[0]
        at += 1
    else:
        at = varint(at, end, 5, &value)
    if at == NULL or value >> 32 or value >> 3 == 0:
        return NULL
    number[0] = <uint32_t>(value >> 3)
    wire[0] = <uint32_t>(value & 7)
    return at


cdef inline const unsigned char* piece(const unsigned char* at, const unsigned char* end, Piece* found) noexcept nogil:
    """A length and so many bytes."""
    cdef uint64_t size = 0
    at = varint(at, end, 5, &size)
    if at == NULL or size > <uint64_t>(end - at):
        return NULL
    found.at = at
    found.size = <Py_ssize_t>size
    return at + found.size


cdef const unsigned char* skip(const unsigned char* at, const unsigned char* end, uint32_t number, uint32_t wire) noexcept nogil:
    """A field after its tag; a group with all that is in it."""
    cdef uint32_t[GROUP_DEPTH] groups
    cdef int depth = 0
    cdef uint64_t ignored = 0, inside = 0
    cdef Piece inner
    while True:
        if wire == VARINT:
            at = varint(at, end, 10, &ignored)
        elif wire == LEN:
            at = piece(at, end, &inner)
        elif wire == FIXED64:
            at = at + 8 if end - at >= 8 else NULL
        elif wire == FIXED32:
            at = at + 4 if end - at >= 4 else NULL
        elif wire == START_GROUP:
            if depth == GROUP_DEPTH:
                return NULL
            groups[depth] = number
            depth += 1
        elif wire == END_GROUP:
            if depth == 0 or groups[depth - 1] != number:
                return NULL
            depth -= 1
        else:
            return NULL
        if at == NULL or depth == 0:
            return at
        at = varint(at, end, 5, &inside)  # not `tag`: in a group that it skips the library minds no number 0
        if at == NULL or inside > <uint64_t>0xFFFFFFFF:
            return NULL
        number, wire = <uint32_t>(inside >> 3), <uint32_t>(inside & 7)


cdef const unsigned char* read_status(Piece status, int32_t* code) noexcept nogil:
    """The last code of a status; what it was before where there is none."""
    cdef const unsigned char* at = status.at
    cdef const unsigned char* end = status.at + status.size
    cdef uint32_t number = 0, wire = 0
    cdef uint64_t value = 0
    while at < end:
        at = tag(at, end, &number, &wire)
        if at == NULL:
            return NULL
        if number == CODE and wire == VARINT:
            at = varint(at, end, 10, &value)
            code[0] = <int32_t><uint32_t>value
        else:
            at = skip(at, end, number, wire)
        if at == NULL:
            return NULL
    return end


cdef const unsigned char* read_piece(const unsigned char* at, const unsigned char* end, uint32_t number, SpanRead* span) noexcept nogil:
    """A field of a span that has a length."""
    cdef Piece found
    at = piece(at, end, &found)
    if at == NULL:
        return NULL
    if number == TRACE_ID:
        span.trace_id = found
    elif number == SPAN_ID:
        span.span_id = found
    elif number == PARENT_ID:
        span.parent_id = found
    elif number == NAME:
        span.name = found
    elif number == TRACE_STATE:
        span.state = found
    elif number == STATUS and read_status(found, &span.code) == NULL:
        return NULL
    return at


cdef const unsigned char* read_span(const unsigned char* at, const unsigned char* end, SpanRead* span) noexcept nogil:
    cdef uint32_t number = 0, wire = 0
    cdef uint64_t value = 0
    while at < end:
        at = tag(at, end, &number, &wire)
        if at == NULL:
            return NULL
        if wire == LEN:
            at = read_piece(at, end, number, span)
        elif wire == FIXED64 and number == START and end - at >= 8:
            memcpy(&span.start, at, 8)
            at += 8
        elif wire == FIXED64 and number == END and end - at >= 8:
            memcpy(&span.end, at, 8)
            at += 8
        elif wire == VARINT and number == KIND:
            at = varint(at, end, 10, &value)
            span.kind = <int32_t><uint32_t>value
        else:
            at = skip(at, end, number, wire)
        if at == NULL:
            return NULL
    return end


# ---- sampling ------------------------------------------------------------------------------------------------------------

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


# ---- columns -------------------------------------------------------------------------------------------------------------

cdef uint32_t operation_of(Columns* columns, Piece name, int32_t kind) noexcept nogil:
    """The number of an operation. After `PROBES` names that only share its hash it gets another one: the work is bounded."""
    cdef uint32_t hash = 2166136261, slot, number
    cdef Py_ssize_t i
    cdef int probe
    cdef Operation* known
    if name.size > NAME_READ:
        name.size = NAME_READ
    for i in range(name.size):  # FNV-1a
        hash = (hash ^ name.at[i]) * 16777619
    hash = (hash ^ <uint32_t>kind) * 16777619
    slot = (hash ^ hash >> 15) & columns.mask
    for probe in range(PROBES):
        number = columns.slots[slot]
        if number == 0:
            break
        known = &columns.names[number - 1]
        if known.hash == hash and known.kind == kind and known.name.size == name.size:
            if name.size == 0 or memcmp(known.name.at, name.at, name.size) == 0:
                return number - 1
        slot = (slot + 1) & columns.mask
    known = &columns.names[columns.named]
    known.name = name
    known.kind = kind
    known.hash = hash
    columns.named += 1
    columns.slots[slot] = columns.named
    return columns.named - 1


cdef inline bint is_id(Piece id, Py_ssize_t size) noexcept nogil:
    """Whether it has its length and is not all zeros."""
    cdef Py_ssize_t i
    if id.size != size:
        return False
    for i in range(size):
        if id.at[i]:
            return True
    return False


cdef void add(Columns* columns, SpanRead* span) noexcept nogil:
    cdef Py_ssize_t i = columns.count
    cdef int32_t kind = span.kind if 0 <= span.kind <= KIND_LAST else 0
    cdef unsigned char mark = <unsigned char>kind
    if not is_id(span.trace_id, 16) or not is_id(span.span_id, 8) or span.parent_id.size not in (0, 8):
        return
    memcpy(columns.traces + 16 * i, span.trace_id.at, 16)
    memcpy(columns.spans + 8 * i, span.span_id.at, 8)
    if span.parent_id.size:
        memcpy(columns.parents + 8 * i, span.parent_id.at, 8)
    else:
        memset(columns.parents + 8 * i, 0, 8)
    if span.code == CODE_ERROR:
        mark |= ERROR
    columns.starts[i] = span.start
    if span.start == 0 or span.end < span.start:
        mark |= BACKWARDS
        columns.durations[i] = 0
    else:
        columns.durations[i] = span.end - span.start
    if span.state.size and sampled(span.state):
        mark |= SAMPLED
    columns.marks[i] = mark
    columns.operations[i] = operation_of(columns, span.name, kind)
    columns.count += 1


cdef Py_ssize_t read_all(const unsigned char* data, const Py_ssize_t* places, Py_ssize_t count, Columns* columns) noexcept nogil:
    """All spans into columns; -> -1, or where the one begins that is not protobuf."""
    cdef SpanRead span
    cdef Py_ssize_t i
    for i in range(count):
        memset(&span, 0, sizeof(SpanRead))
        if read_span(data + places[2 * i], data + places[2 * i + 1], &span) == NULL:
            return places[2 * i]
        add(columns, &span)
    return -1


def read_spans(const unsigned char[::1] request, list places):
    """The spans at `places`, pairs of where each begins and ends in `request`. The GIL is released for all of them at once.

    A span whose trace id or span id is empty, of another length or all zeros has no place in a trace, nor has one whose parent's id
    is neither empty nor 8 bytes: they are left out. One with a start of 0, or that ends before it starts, is marked as
    backwards and has the duration 0. A kind that is not known counts as none. Raises `Malformed` for what is not protobuf and
    ValueError for a place outside of the request.
    """
    cdef Py_ssize_t count = len(places), length = request.shape[0], i, begin, end, broken = -1
    cdef Columns columns
    cdef Py_ssize_t* at = NULL
    cdef unsigned char nothing = 0
    cdef const unsigned char* data = &nothing  # not NULL, which says that something is wrong
    if length:
        data = &request[0]
    memset(&columns, 0, sizeof(Columns))
    traces = PyBytes_FromStringAndSize(NULL, 16 * count)
    spans = PyBytes_FromStringAndSize(NULL, 8 * count)
    parents = PyBytes_FromStringAndSize(NULL, 8 * count)
    marks = PyBytes_FromStringAndSize(NULL, count)
    cdef array.array starts = array.clone(array.array("Q"), count, False)
    cdef array.array durations = array.clone(array.array("Q"), count, False)
    cdef array.array operations = array.clone(array.array("I"), count, False)
    columns.traces = <unsigned char*>PyBytes_AS_STRING(traces)
    columns.spans = <unsigned char*>PyBytes_AS_STRING(spans)
    columns.parents = <unsigned char*>PyBytes_AS_STRING(parents)
    columns.marks = <unsigned char*>PyBytes_AS_STRING(marks)
    columns.starts = starts.data.as_ulonglongs
    columns.durations = durations.data.as_ulonglongs
    columns.operations = operations.data.as_uints
    columns.mask = 31
    while columns.mask < 2 * count:
        columns.mask = 2 * columns.mask + 1
    try:
        at = <Py_ssize_t*>malloc(2 * (count + 1) * sizeof(Py_ssize_t))
        columns.names = <Operation*>malloc((count + 1) * sizeof(Operation))
        columns.slots = <uint32_t*>calloc(columns.mask + 1, sizeof(uint32_t))
        if at == NULL or columns.names == NULL or columns.slots == NULL:
            raise MemoryError
        for i in range(count):
            begin, end = places[i]
            if not 0 <= begin <= end <= length:
                raise ValueError("a span lies outside of its request")
            at[2 * i] = begin
            at[2 * i + 1] = end
        with nogil:
            broken = read_all(data, at, count, &columns)
        if broken >= 0:
            raise Malformed(broken)
        count = columns.count
        array.resize(starts, count)
        array.resize(durations, count)
        array.resize(operations, count)
        names = []
        for i in range(columns.named):
            # &data[0:0] of an empty name may point nowhere
            name = (<const char*>columns.names[i].name.at)[:columns.names[i].name.size] if columns.names[i].name.size else b""
            names.append((name, columns.names[i].kind))
        return SpanColumns(
            traces[:16 * count], spans[:8 * count], parents[:8 * count], starts, durations, marks[:count], operations, names)
    finally:
        free(at)
        free(columns.names)
        free(columns.slots)
