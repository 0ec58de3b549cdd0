"""Of traces.pyx: columns of closed traces, while the GIL is released."""


cdef int widen(void** column, size_t bytes) noexcept nogil:
    cdef void* wide = realloc(column[0], bytes)
    if wide == NULL:
        return -1
    column[0] = wide
    return 0


cdef int out_room(Out* o, size_t spans) noexcept nogil:
    """Room for one more trace of so many spans; -> 0, -1 when memory is short."""
    cdef size_t room
    if o.traces == o.traces_room:
        room = 2 * o.traces_room + 64
        if (
            widen(<void**>&o.trace_id, 16 * room) or widen(<void**>&o.size, 4 * room) or widen(<void**>&o.mark, room)
            or widen(<void**>&o.start_ns, 8 * room) or widen(<void**>&o.end_ns, 8 * room)
            or widen(<void**>&o.closed_ns, 8 * room) or widen(<void**>&o.late, 8 * room)
        ):
            return -1
        o.traces_room = room
    if o.spans + spans > o.spans_room:
        room = 2 * o.spans_room + 1024
        while room < o.spans + spans:
            room *= 2
        if (
            widen(<void**>&o.operation, 4 * room) or widen(<void**>&o.parent, 4 * room)
            or widen(<void**>&o.span_id, 8 * room) or widen(<void**>&o.span_mark, room)
            or widen(<void**>&o.span_start_ns, 8 * room) or widen(<void**>&o.duration_ns, 8 * room)
            or widen(<void**>&o.self_ns, 8 * room) or widen(<void**>&o.instance, 4 * room)
        ):
            return -1
        o.spans_room = room
    return 0


cdef void out_end(Out* o) noexcept nogil:
    free(o.trace_id)
    free(o.size)
    free(o.mark)
    free(o.start_ns)
    free(o.end_ns)
    free(o.closed_ns)
    free(o.late)
    free(o.operation)
    free(o.parent)
    free(o.span_id)
    free(o.span_mark)
    free(o.span_start_ns)
    free(o.duration_ns)
    free(o.self_ns)
    free(o.instance)
    memset(o, 0, sizeof(Out))


cdef void out_trace(Out* o, Tree* w, const Trace* e, uint64_t closed_ns, uint8_t mark, uint64_t late) noexcept nogil:
    """Append a trace of which the tree stands; there is room."""
    cdef int64_t start = LAST_NS, end = 0
    cdef size_t first = o.spans, to
    cdef int32_t i, list
    cdef Node* n
    for list in range(2):
        i = w.adopted if list else w.roots
        while i >= 0:
            n = &w.node[i]
            to = o.spans
            n.place = <int32_t>(to - first)
            o.operation[to] = n.span.operation
            o.parent[to] = w.node[n.parent].place if n.parent >= 0 else -1
            shown_id(o.span_id + 8 * to, n.span.id)
            o.span_mark[to] = n.mark
            o.span_start_ns[to] = n.span.start_ns
            o.duration_ns[to] = n.span.duration_ns
            o.self_ns[to] = self_time(w, n)
            o.instance[to] = n.span.instance
            if n.at < start:
                start = n.at
            if n.at + <int64_t>n.span.duration_ns > end:
                end = n.at + <int64_t>n.span.duration_ns
            o.spans += 1
            i = following(w, i)
    to = o.traces
    shown_id(o.trace_id + 16 * to, e.high)
    shown_id(o.trace_id + 16 * to + 8, e.low)
    o.size[to] = e.spans
    o.mark[to] = (
        mark | e.flags | (0 if w.rooted else NO_ROOT_BIT) | (VIRTUAL_BIT if w.virtual else 0) | (SKEW_BIT if w.skewed else 0)
    )
    o.start_ns[to] = <uint64_t>start
    o.end_ns[to] = <uint64_t>end
    o.closed_ns[to] = closed_ns
    o.late[to] = late
    o.traces += 1


cdef array.array column_of(str kind, const void* data, size_t entries):
    cdef array.array column = array.clone(array.array(kind), entries, False)
    if entries:
        memcpy(column.data.as_voidptr, data, entries * column.itemsize)
    return column


cdef object told_of(Out* o):
    """What closed, as Python sees it."""
    cdef size_t t = o.traces, s = o.spans
    return Closed(
        PyBytes_FromStringAndSize(<char*>o.trace_id, 16 * t), column_of("I", o.size, t),
        PyBytes_FromStringAndSize(<char*>o.mark, t), column_of("Q", o.start_ns, t), column_of("Q", o.end_ns, t),
        column_of("Q", o.closed_ns, t), column_of("I", o.operation, s), column_of("i", o.parent, s),
        PyBytes_FromStringAndSize(<char*>o.span_id, 8 * s), PyBytes_FromStringAndSize(<char*>o.span_mark, s),
        column_of("Q", o.span_start_ns, s), column_of("Q", o.duration_ns, s), column_of("Q", o.self_ns, s),
        column_of("I", o.instance, s))
