"""Of traces.pyx: its state as bytes, and back. Little-endian.

Numbers; columns of open traces, the one whose newest span came first of all before the others; columns of their spans in the
order in which they came; what closed lately; and a hash of all that, so that damage is noticed.
"""

cdef enum:
    PARTS_VERSION = 1
    NUMBERS = 14
    TRACE_COLUMNS = 16 + 8 + 8 + 8 + 4 + 1
    SPAN_COLUMNS = 8 + 8 + 8 + 8 + 4 + 4 + 1
    CHECK = 8


cdef struct Columns:
    unsigned char* trace_id
    unsigned char* number
    unsigned char* last_ns
    unsigned char* root_ns
    unsigned char* size
    unsigned char* flags
    unsigned char* span_id
    unsigned char* parent_id
    unsigned char* start_ns
    unsigned char* duration_ns
    unsigned char* operation
    unsigned char* instance
    unsigned char* mark
    unsigned char* gone


cdef Columns columns_in(unsigned char* at, size_t traces, size_t spans) noexcept nogil:
    """Where each column begins."""
    cdef Columns c
    c.trace_id = at + NUMBERS * 8
    c.number = c.trace_id + 16 * traces
    c.last_ns = c.number + 8 * traces
    c.root_ns = c.last_ns + 8 * traces
    c.size = c.root_ns + 8 * traces
    c.flags = c.size + 4 * traces
    c.span_id = c.flags + traces
    c.parent_id = c.span_id + 8 * spans
    c.start_ns = c.parent_id + 8 * spans
    c.duration_ns = c.start_ns + 8 * spans
    c.operation = c.duration_ns + 8 * spans
    c.instance = c.operation + 4 * spans
    c.mark = c.instance + 4 * spans
    c.gone = c.mark + spans
    return c


cdef bytes stored(const Table* t):
    cdef size_t gone = t.gone_tail - t.gone_head
    cdef size_t size = NUMBERS * 8 + TRACE_COLUMNS * <size_t>t.count + SPAN_COLUMNS * t.spans + sizeof(Gone) * gone
    cdef bytes parts = PyBytes_FromStringAndSize(NULL, size + CHECK)
    cdef unsigned char* at = <unsigned char*><char*>parts
    cdef uint64_t[NUMBERS] numbers
    numbers = [
        PARTS_VERSION, t.latest_ns, t.next_number, t.fed, t.told, t.duplicates, t.late, t.cut, t.without_trace, t.overflowed,
        t.closed, t.count, t.spans, gone]
    with nogil:
        memcpy(at, numbers, sizeof(numbers))
        store_columns(t, columns_in(at, t.count, t.spans))
        numbers[0] = hash_of(at, size)
        memcpy(at + size, numbers, CHECK)
    return parts


cdef void store_columns(const Table* t, Columns c) noexcept nogil:
    cdef uint32_t place = t.oldest, number, k
    cdef size_t i = 0, s = 0
    cdef uint64_t n
    cdef const Trace* e
    cdef const Chunk* chunk = NULL
    cdef const Span* span
    while place != NONE:
        e = &t.traces[place]
        shown_id(c.trace_id + 16 * i, e.high)
        shown_id(c.trace_id + 16 * i + 8, e.low)
        memcpy(c.number + 8 * i, &e.number, 8)
        memcpy(c.last_ns + 8 * i, &e.last_ns, 8)
        memcpy(c.root_ns + 8 * i, &e.root_ns, 8)
        memcpy(c.size + 4 * i, &e.spans, 4)
        c.flags[i] = e.flags
        number = e.first
        for k in range(e.spans):
            if k % CHUNK == 0:
                chunk = chunk_at(t, number)
                number = chunk.next
            span = &chunk.span[k % CHUNK]
            shown_id(c.span_id + 8 * s, span.id)
            shown_id(c.parent_id + 8 * s, span.parent)
            memcpy(c.start_ns + 8 * s, &span.start_ns, 8)
            memcpy(c.duration_ns + 8 * s, &span.duration_ns, 8)
            memcpy(c.operation + 4 * s, &span.operation, 4)
            memcpy(c.instance + 4 * s, &span.instance, 4)
            c.mark[s] = chunk.mark[k % CHUNK]
            s += 1
        i += 1
        place = e.newer
    for n in range(t.gone_head, t.gone_tail):
        memcpy(c.gone + sizeof(Gone) * (n - t.gone_head), &t.gone[n & (t.gone_room - 1)], sizeof(Gone))


cdef int put_back(Table* t, const unsigned char[::1] parts) except -1:
    """Fill an empty table; after an error it is the caller's to empty."""
    cdef size_t size = parts.shape[0]
    cdef uint64_t[NUMBERS] numbers
    cdef uint64_t check, room
    cdef int outcome
    if size < NUMBERS * 8 + CHECK:
        raise ValueError(f"{size} bytes are no traces; hand over what parts() gave")
    size -= CHECK
    memcpy(&check, &parts[size], CHECK)
    if check != hash_of(&parts[0], size):
        raise ValueError("these traces are damaged: their hash is another")
    memcpy(numbers, &parts[0], sizeof(numbers))
    if numbers[0] != PARTS_VERSION:
        raise ValueError("these traces were stored by another version; begin anew")
    room = size - NUMBERS * 8
    if (
        numbers[11] > TRACES_MOST or numbers[12] > room // SPAN_COLUMNS or numbers[13] > CLOSED_MOST
        or room != TRACE_COLUMNS * numbers[11] + SPAN_COLUMNS * numbers[12] + sizeof(Gone) * numbers[13]
    ):
        raise ValueError("these traces are damaged: they do not end where they should")
    t.latest_ns, t.next_number, t.fed, t.told, t.duplicates = numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    t.late, t.cut, t.without_trace, t.overflowed, t.closed = numbers[6], numbers[7], numbers[8], numbers[9], numbers[10]
    if (
        t.latest_ns > LATEST_NS or t.overflowed > t.closed
        or t.fed != t.told + numbers[12] + t.duplicates + t.late + t.cut + t.without_trace
    ):
        raise ValueError("these traces are damaged: their numbers do not fit together")
    with nogil:
        outcome = put_columns(t, columns_in(<unsigned char*>&parts[0], numbers[11], numbers[12]), numbers[11], numbers[12])
        if outcome == 0:
            outcome = put_gone(t, <unsigned char*>&parts[size - sizeof(Gone) * numbers[13]], numbers[13])
    if outcome < 0:
        raise MemoryError("no room for traces")
    if outcome > 0:
        raise ValueError("these traces are damaged: their columns do not fit together")
    return 0


cdef int put_columns(Table* t, Columns c, size_t traces, size_t spans) noexcept nogil:
    """-> 0, 1 when they can not be true, -1 when memory is short."""
    cdef size_t i, s = 0, k
    cdef uint64_t high, low, number, last_ns, root_ns, before_ns = 0
    cdef uint32_t count, place
    cdef bint rooted
    cdef Span span
    for i in range(traces):
        high, low = stored_id(c.trace_id + 16 * i), stored_id(c.trace_id + 16 * i + 8)
        memcpy(&number, c.number + 8 * i, 8)
        memcpy(&last_ns, c.last_ns + 8 * i, 8)
        memcpy(&root_ns, c.root_ns + 8 * i, 8)
        memcpy(&count, c.size + 4 * i, 4)
        if (
            (high | low) == 0 or number >= t.next_number or last_ns < before_ns or last_ns > t.latest_ns or count == 0
            or count > SPANS_MOST or count > spans - s or c.flags[i] & ~(CUT_BIT | DUPLICATE_BIT)
            or (root_ns > LATEST_NS and root_ns != NEVER)
            or (t.count and place_of(t, trace_hash(high, low), high, low) != NONE)
        ):
            return 1
        before_ns = last_ns
        place = add_trace(t, high, low, number, last_ns)
        if place == NONE:
            return -1
        t.traces[place].flags = c.flags[i]
        rooted = False
        for k in range(s, s + count):
            span.id, span.parent = stored_id(c.span_id + 8 * k), stored_id(c.parent_id + 8 * k)
            memcpy(&span.start_ns, c.start_ns + 8 * k, 8)
            memcpy(&span.duration_ns, c.duration_ns + 8 * k, 8)
            memcpy(&span.operation, c.operation + 4 * k, 4)
            memcpy(&span.instance, c.instance + 4 * k, 4)
            if span.start_ns > LATEST_NS or span.duration_ns > LATEST_NS or has_span(t, &t.traces[place], span.id):
                return 1
            if span.parent == 0:
                rooted = True
            if add_span(t, &t.traces[place], &span, c.mark[k]) != 0:
                return -1
        s += count
        if rooted != (root_ns != NEVER):
            return 1
        if rooted:
            note_root(t, &t.traces[place], root_ns)
    return 1 if s != spans else 0


cdef int put_gone(Table* t, const unsigned char* at, size_t count) noexcept nogil:
    """The newest of what closed lately, as far as the bound allows; -> 0, 1 or -1 as `put_columns`."""
    cdef size_t i
    cdef Gone g
    cdef uint64_t before_ns = 0
    for i in range(count):
        memcpy(&g, at + sizeof(Gone) * i, sizeof(Gone))
        if g.closed_ns < before_ns or g.closed_ns > t.latest_ns:
            return 1
        before_ns = g.closed_ns
        if remember_closed(t, g.hash, g.closed_ns) != 0:
            return -1
    return 0
