# Of traces.pyx: when a trace is over, and what is told of it then.


cdef int close_trace(Table* t, Tree* w, Out* o, uint32_t place, uint64_t closed_ns, uint8_t mark) noexcept nogil:
    """Tell a trace and forget it; -> 0, -1 when memory is short."""
    cdef Trace* e = &t.traces[place]
    cdef uint32_t k, number = e.first
    cdef const Chunk* c = NULL
    if tree_room(w, e.spans) or out_room(o, e.spans) or remember_closed(t, trace_hash(e.high, e.low), closed_ns):
        return -1
    for k in range(e.spans):
        if k % CHUNK == 0:
            c = chunk_at(t, number)
            number = c.next
        w.node[k].span = c.span[k % CHUNK]
        w.node[k].mark = c.mark[k % CHUNK]
    w.count = <int32_t>e.spans
    build_tree(w)
    out_trace(o, w, e, closed_ns, mark, t.late)
    t.told += e.spans
    t.closed += 1
    if mark & EARLY_BIT:
        t.overflowed += 1
    remove_trace(t, place)
    return 0


cdef int advance(Table* t, Tree* w, Out* o, uint64_t now_ns) noexcept nogil:
    """Let time pass: close what is due; -> 0, -1 when memory is short."""
    cdef uint64_t due_ns, before_ns = t.latest_ns
    if now_ns > LATEST_NS:
        now_ns = LATEST_NS
    if now_ns > t.latest_ns:
        t.latest_ns = now_ns
    while t.count and t.heap[0].due_ns <= t.latest_ns:
        due_ns = next_due(t)
        if due_ns > t.latest_ns:
            break
        if close_trace(t, w, o, t.heap[0].place, due_ns if due_ns > before_ns else before_ns, 0) != 0:
            return -1
    forget_late(t)
    return 0


cdef int make_room(Table* t, Tree* w, Out* o, uint64_t bytes, uint32_t traces, uint32_t kept) noexcept nogil:
    """Close what has been idle for longest until there is room, but never `kept`; -> 0, -1 when memory is short."""
    while t.oldest != NONE and t.oldest != kept and (t.bytes + bytes > t.bytes_max or t.count + traces > t.traces_max):
        if close_trace(t, w, o, t.oldest, t.latest_ns, EARLY_BIT) != 0:
            return -1
    return 0


cdef int take(Table* t, Tree* w, Out* o, uint64_t high, uint64_t low, const Span* s, uint8_t mark) noexcept nogil:
    """Give a span to its trace; -> 0, -1 when memory is short."""
    cdef uint64_t hash = trace_hash(high, low), end_ns
    cdef uint32_t place = NONE
    cdef Trace* e
    t.fed += 1
    if (high | low) == 0:
        t.without_trace += 1
        return 0
    if t.count:
        place = place_of(t, hash, high, low)
    if place == NONE:
        if is_closed(t, hash):
            t.late += 1
            return 0
        if make_room(t, w, o, counted_bytes(1), 1, NONE) != 0:
            return -1
        place = add_trace(t, high, low, t.next_number, t.latest_ns)
        if place == NONE:
            return -1
        t.next_number += 1
        e = &t.traces[place]
    else:
        e = &t.traces[place]
        if has_span(t, e, s.id):
            e.flags |= DUPLICATE_BIT
            t.duplicates += 1
            return 0
        if e.spans + (0 if s.parent == 0 or e.root_ns != NEVER else 1) >= t.trace_spans_max:
            e.flags |= CUT_BIT
            t.cut += 1
            return 0
        e.last_ns = t.latest_ns
        if t.newest != place:
            unlink(t, place)
            link_newest(t, place)
        if make_room(t, w, o, counted_bytes(e.spans + 1) - counted_bytes(e.spans), 0, place) != 0:
            return -1
    if add_span(t, e, s, mark) != 0:
        return -1
    if s.parent == 0:
        end_ns = s.start_ns + s.duration_ns
        if end_ns > LATEST_NS:
            end_ns = LATEST_NS
        note_root(t, e, end_ns if end_ns > t.latest_ns else t.latest_ns)
    return 0


cdef int flush_all(Table* t, Tree* w, Out* o) noexcept nogil:
    """Close all, in the order of their first spans."""
    cdef uint32_t i
    cdef Due due
    for i in range(t.count):  # in a heap of numbers alone the first is always at the top
        t.heap[i].due_ns = 0
    i = t.count // 2
    while i:
        i -= 1
        due = t.heap[i]
        sift_down(t, i, due)
    while t.count:
        if close_trace(t, w, o, t.heap[0].place, t.latest_ns, 0) != 0:
            return -1
    forget_late(t)
    return 0


cdef void table_begin(Table* t) noexcept nogil:
    """Nothing is open, and nothing ever was; bounds and waits stay."""
    free(t.traces)
    free(t.heap)
    free(t.index)
    t.traces, t.heap, t.index = NULL, NULL, NULL
    drop_slabs(t, 0)
    free(t.slabs)
    free(t.gone)
    free(t.gone_index)
    t.slabs, t.gone, t.gone_index = NULL, NULL, NULL
    t.gone_head = t.gone_tail = t.latest_ns = t.next_number = t.bytes = t.spans = 0
    t.fed = t.told = t.duplicates = t.late = t.cut = t.without_trace = t.overflowed = t.closed = 0
    t.room = t.traces_used = t.count = t.mask = t.slabs_room = t.gone_room = t.gone_mask = 0
    t.free_trace = t.oldest = t.newest = NONE


cdef void table_end(Table* t) noexcept nogil:
    cdef uint32_t place = t.oldest
    while place != NONE:
        free(t.traces[place].ids)
        place = t.traces[place].newer
    table_begin(t)
