"""Of traces.pyx: open traces, found by id, ordered by when they are due and by when their newest span came, and their spans.

Spans lie in chunks of four, chunks in slabs, so nothing is copied when there are more. What a trace counts depends on how many
spans it has and on nothing else, so the bound of bytes acts alike after a restart.
"""


cdef inline uint64_t stored_id(const unsigned char* s) noexcept nogil:
    """Eight bytes as a number that sorts as they do."""
    return (
        <uint64_t>s[0] << 56 | <uint64_t>s[1] << 48 | <uint64_t>s[2] << 40 | <uint64_t>s[3] << 32
        | <uint64_t>s[4] << 24 | <uint64_t>s[5] << 16 | <uint64_t>s[6] << 8 | <uint64_t>s[7]
    )


cdef inline void shown_id(unsigned char* s, uint64_t id) noexcept nogil:
    """The eight bytes of such a number."""
    cdef int i
    for i in range(8):
        s[i] = <unsigned char>(id >> (56 - 8 * i))


cdef inline uint64_t trace_hash(uint64_t high, uint64_t low) noexcept nogil:
    return stirred(low ^ stirred(high))


cdef inline uint64_t scattered(uint64_t id) noexcept nogil:
    return id * <uint64_t>0x9E3779B97F4A7C15


cdef inline uint64_t sooner(uint64_t a, uint64_t b) noexcept nogil:
    return a if a < b else b


# ---- what a trace counts -------------------------------------------------------------------------------------------


cdef inline uint64_t set_cells(uint64_t spans) noexcept nogil:
    """Cells of the table of span ids; few spans have none and are looked through."""
    cdef uint64_t cells = 2 * FEW
    if spans <= FEW:
        return 0
    while 4 * spans > 3 * cells:
        cells *= 2
    return cells


cdef inline uint64_t counted_bytes(uint64_t spans) noexcept nogil:
    return ONE_TRACE + (spans + CHUNK - 1) // CHUNK * sizeof(Chunk) + set_cells(spans) * sizeof(uint64_t)


# ---- chunks --------------------------------------------------------------------------------------------------------


cdef inline Chunk* chunk_at(const Table* t, uint32_t number) noexcept nogil:
    return &t.slabs[number // SLAB][number % SLAB]


cdef uint32_t new_chunk(Table* t) noexcept nogil:
    """NONE when memory is short."""
    cdef uint32_t number = t.free_chunk, room
    cdef Chunk** wide
    if number != NONE:
        t.free_chunk = chunk_at(t, number).next
    else:
        if t.chunks_used == t.slabs_used * SLAB:
            if t.slabs_used == t.slabs_room:
                room = 2 * t.slabs_room + 16
                wide = <Chunk**>realloc(t.slabs, room * sizeof(Chunk*))
                if wide == NULL:
                    return NONE
                t.slabs = wide
                t.slabs_room = room
            t.slabs[t.slabs_used] = <Chunk*>malloc(SLAB * sizeof(Chunk))
            if t.slabs[t.slabs_used] == NULL:
                return NONE
            t.slabs_used += 1
        number = t.chunks_used
        t.chunks_used += 1
    chunk_at(t, number).next = NONE
    return number


cdef void drop_slabs(Table* t, uint32_t kept) noexcept nogil:
    """Give memory back. Only when no trace is open."""
    while t.slabs_used > kept:
        t.slabs_used -= 1
        free(t.slabs[t.slabs_used])
    t.chunks_used = 0
    t.free_chunk = NONE


# ---- found by id ---------------------------------------------------------------------------------------------------


cdef uint32_t place_of(const Table* t, uint64_t hash, uint64_t high, uint64_t low) noexcept nogil:
    """Where an open trace is; NONE."""
    cdef uint32_t i = <uint32_t>hash & t.mask
    cdef const Trace* e
    while t.index[i]:
        e = &t.traces[t.index[i] - 1]
        if e.low == low and e.high == high:
            return t.index[i] - 1
        i = (i + 1) & t.mask
    return NONE


cdef inline void enter(Table* t, uint32_t place) noexcept nogil:
    cdef uint32_t i = <uint32_t>trace_hash(t.traces[place].high, t.traces[place].low) & t.mask
    while t.index[i]:
        i = (i + 1) & t.mask
    t.index[i] = place + 1


cdef void leave(Table* t, uint32_t place) noexcept nogil:
    """Take a trace out of the index; those that stand behind it because of it move up."""
    cdef uint32_t i = <uint32_t>trace_hash(t.traces[place].high, t.traces[place].low) & t.mask, k, home
    while t.index[i] != place + 1:
        i = (i + 1) & t.mask
    k = i
    while True:
        k = (k + 1) & t.mask
        if t.index[k] == 0:
            break
        home = <uint32_t>trace_hash(t.traces[t.index[k] - 1].high, t.traces[t.index[k] - 1].low) & t.mask
        if ((k - home) & t.mask) >= ((k - i) & t.mask):
            t.index[i] = t.index[k]
            i = k
    t.index[i] = 0


cdef int grow_traces(Table* t) noexcept nogil:
    """-> 0, -1 when memory is short."""
    cdef uint32_t room = 2 * t.room if t.room else 64, place
    cdef Trace* traces = <Trace*>realloc(t.traces, room * sizeof(Trace))
    cdef Due* heap
    cdef uint32_t* index
    if traces == NULL:
        return -1
    t.traces = traces
    heap = <Due*>realloc(t.heap, room * sizeof(Due))
    if heap == NULL:
        return -1
    t.heap = heap
    index = <uint32_t*>calloc(2 * <size_t>room, sizeof(uint32_t))
    if index == NULL:
        return -1
    free(t.index)
    t.index = index
    t.mask = 2 * room - 1
    t.room = room
    place = t.oldest
    while place != NONE:
        enter(t, place)
        place = t.traces[place].newer
    return 0


# ---- ordered by when the newest span came --------------------------------------------------------------------------


cdef inline void unlink(Table* t, uint32_t place) noexcept nogil:
    cdef Trace* e = &t.traces[place]
    if e.older != NONE:
        t.traces[e.older].newer = e.newer
    else:
        t.oldest = e.newer
    if e.newer != NONE:
        t.traces[e.newer].older = e.older
    else:
        t.newest = e.older


cdef inline void link_newest(Table* t, uint32_t place) noexcept nogil:
    cdef Trace* e = &t.traces[place]
    e.older = t.newest
    e.newer = NONE
    if t.newest != NONE:
        t.traces[t.newest].newer = place
    else:
        t.oldest = place
    t.newest = place


# ---- ordered by when they are due ----------------------------------------------------------------------------------
# A binary heap. What stands in it may be too early, never too late: spans that come put a trace off, and that is looked up only
# when it has reached the top.


cdef inline uint64_t due_of(const Table* t, const Trace* e) noexcept nogil:
    cdef uint64_t idle = e.last_ns + t.idle_ns
    return idle if e.root_ns == NEVER else sooner(idle, e.root_ns + t.linger_ns)


cdef inline bint before(const Due* a, const Due* b) noexcept nogil:
    return a.due_ns < b.due_ns or (a.due_ns == b.due_ns and a.number < b.number)


cdef inline void settle(Table* t, uint32_t at, Due due) noexcept nogil:
    t.heap[at] = due
    t.traces[due.place].heap = at


cdef void sift_up(Table* t, uint32_t at, Due due) noexcept nogil:
    cdef uint32_t up
    while at:
        up = (at - 1) // 2
        if not before(&due, &t.heap[up]):
            break
        settle(t, at, t.heap[up])
        at = up
    settle(t, at, due)


cdef void sift_down(Table* t, uint32_t at, Due due) noexcept nogil:
    cdef uint32_t down
    while True:
        down = 2 * at + 1
        if down >= t.count:
            break
        if down + 1 < t.count and before(&t.heap[down + 1], &t.heap[down]):
            down += 1
        if not before(&t.heap[down], &due):
            break
        settle(t, at, t.heap[down])
        at = down
    settle(t, at, due)


cdef uint64_t next_due(Table* t) noexcept nogil:
    """When the first trace is due, which then is at the top; NEVER."""
    cdef Due top
    cdef uint64_t due_ns
    while t.count:
        top = t.heap[0]
        due_ns = due_of(t, &t.traces[top.place])
        if due_ns <= top.due_ns:
            return due_ns
        top.due_ns = due_ns
        sift_down(t, 0, top)
    return NEVER


# ---- adding and removing -------------------------------------------------------------------------------------------


cdef uint32_t add_trace(Table* t, uint64_t high, uint64_t low, uint64_t number, uint64_t now_ns) noexcept nogil:
    """A trace without spans; NONE when memory is short. Traces move."""
    cdef uint32_t place = t.free_trace
    cdef Trace* e
    if place != NONE:
        t.free_trace = t.traces[place].newer
    else:
        if t.traces_used == t.room and grow_traces(t) != 0:
            return NONE
        place = t.traces_used
        t.traces_used += 1
    e = &t.traces[place]
    memset(e, 0, sizeof(Trace))
    e.high, e.low, e.number, e.last_ns, e.root_ns = high, low, number, now_ns, NEVER
    e.first = e.last = NONE
    enter(t, place)
    link_newest(t, place)
    t.count += 1
    t.bytes += counted_bytes(0)
    sift_up(t, t.count - 1, Due(e.last_ns + t.idle_ns, number, place))
    return place


cdef void remove_trace(Table* t, uint32_t place) noexcept nogil:
    cdef Trace* e = &t.traces[place]
    cdef uint32_t at = e.heap
    cdef Due last
    leave(t, place)
    unlink(t, place)
    t.count -= 1
    if at != t.count:
        last = t.heap[t.count]
        if at and before(&last, &t.heap[(at - 1) // 2]):
            sift_up(t, at, last)
        else:
            sift_down(t, at, last)
    t.bytes -= counted_bytes(e.spans)
    t.spans -= e.spans
    free(e.ids)
    if e.first != NONE:
        chunk_at(t, e.last).next = t.free_chunk
        t.free_chunk = e.first
    e.newer = t.free_trace
    t.free_trace = place
    if t.count == 0:
        drop_slabs(t, 1)


cdef inline void put_id(uint64_t* ids, uint64_t mask, uint64_t id) noexcept nogil:
    cdef uint64_t i = (scattered(id) >> 32) & mask
    while ids[i]:
        i = (i + 1) & mask
    ids[i] = id


cdef bint has_span(const Table* t, const Trace* e, uint64_t id) noexcept nogil:
    cdef uint64_t mask, i
    cdef uint32_t k, number = e.first
    cdef const Chunk* c = NULL
    if id == 0:
        return False
    if e.ids != NULL:
        mask = set_cells(e.spans) - 1
        i = (scattered(id) >> 32) & mask
        while e.ids[i]:
            if e.ids[i] == id:
                return True
            i = (i + 1) & mask
        return False
    if not e.seen >> (scattered(id) >> 58) & 1:
        return False
    for k in range(e.spans):
        if k % CHUNK == 0:
            c = chunk_at(t, number)
            number = c.next
        if c.span[k % CHUNK].id == id:
            return True
    return False


cdef int widen_ids(Table* t, Trace* e) noexcept nogil:
    """Begin or double the table of span ids, for one more span; -> 0, -1 when memory is short."""
    cdef uint64_t cells = set_cells(e.spans + 1)
    cdef uint64_t* wide
    cdef uint32_t k, number = e.first
    cdef const Chunk* c = NULL
    if cells == set_cells(e.spans):
        return 0
    wide = <uint64_t*>calloc(cells, sizeof(uint64_t))
    if wide == NULL:
        return -1
    for k in range(e.spans):
        if k % CHUNK == 0:
            c = chunk_at(t, number)
            number = c.next
        if c.span[k % CHUNK].id:
            put_id(wide, cells - 1, c.span[k % CHUNK].id)
    free(e.ids)
    e.ids = wide
    return 0


cdef int add_span(Table* t, Trace* e, const Span* s, uint8_t mark) noexcept nogil:
    """-> 0, -1 when memory is short."""
    cdef uint32_t number, k = e.spans % CHUNK
    cdef Chunk* c
    if widen_ids(t, e) != 0:
        return -1
    if k == 0:
        number = new_chunk(t)
        if number == NONE:
            return -1
        if e.spans:
            chunk_at(t, e.last).next = number
        else:
            e.first = number
        e.last = number
    c = chunk_at(t, e.last)
    c.span[k] = s[0]
    c.mark[k] = mark
    if s.id:
        e.seen |= <uint64_t>1 << (scattered(s.id) >> 58)
        if e.ids != NULL:
            put_id(e.ids, set_cells(e.spans + 1) - 1, s.id)
    t.bytes += counted_bytes(e.spans + 1) - counted_bytes(e.spans)
    e.spans += 1
    t.spans += 1
    return 0


cdef int note_root(Table* t, Trace* e, uint64_t seen_ns) noexcept nogil:
    """A root was over and seen at this time: the trace may be due sooner than by idling."""
    cdef uint64_t due_ns
    if e.root_ns == NEVER or seen_ns > e.root_ns:
        e.root_ns = seen_ns
    due_ns = due_of(t, e)
    if due_ns < t.heap[e.heap].due_ns:
        sift_up(t, e.heap, Due(due_ns, e.number, t.heap[e.heap].place))
    return 0
