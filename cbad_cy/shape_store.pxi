"""Of shapes.pyx: room for what is remembered. It grows by doubling, before a trace is taken, so a trace is taken whole."""


cdef int widen(void** column, size_t bytes) noexcept nogil:
    cdef void* wide = realloc(column[0], bytes)
    if wide == NULL:
        return -1
    column[0] = wide
    return 0


# ---- numbers for keys ----------------------------------------------------------------------------------------------


cdef inline uint32_t find(const Index* x, uint64_t key) noexcept nogil:
    """NONE: it is not there."""
    cdef uint32_t i
    if x.count == 0:
        return NONE
    i = <uint32_t>stirred(key) & x.mask
    while x.cells[i]:
        if x.keys[x.cells[i] - 1] == key:
            return x.cells[i] - 1
        i = (i + 1) & x.mask
    return NONE


cdef inline void enter(Index* x, uint32_t number) noexcept nogil:
    cdef uint32_t i = <uint32_t>stirred(x.keys[number]) & x.mask
    while x.cells[i]:
        i = (i + 1) & x.mask
    x.cells[i] = number + 1


cdef inline uint32_t append(Index* x, uint64_t key) noexcept nogil:
    """A number for a key that is not there; there is room."""
    x.keys[x.count] = key
    enter(x, x.count)
    x.count += 1
    return x.count - 1


cdef inline uint32_t wider(uint32_t room, uint64_t wanted, uint32_t most) noexcept nogil:
    """The room that is enough for so many, or for the most there may be: twice what it was, and again."""
    cdef uint64_t wide = room if room else 16
    if wanted > most:
        wanted = most
    while wide < wanted:
        wide *= 2
    return <uint32_t>wide


cdef int index_room(Index* x, void** items, size_t item, uint64_t more) noexcept nogil:
    """Room for `more` keys, and for an item of so many bytes for each; -> 0, -1 when memory is short."""
    cdef uint32_t room = wider(x.room, x.count + more, x.most), number
    cdef uint32_t* cells
    if room == x.room:
        return 0
    cells = <uint32_t*>calloc(2 * <size_t>room, sizeof(uint32_t))
    if cells == NULL:
        return -1
    if widen(<void**>&x.keys, room * sizeof(uint64_t)) or (item and widen(items, room * item)):
        free(cells)
        return -1
    free(x.cells)
    x.cells, x.mask, x.room = cells, 2 * room - 1, room
    for number in range(x.count):
        enter(x, number)
    return 0


cdef void index_end(Index* x) noexcept nogil:
    free(x.keys)
    free(x.cells)
    x.keys, x.cells = NULL, NULL
    x.room = x.mask = x.count = 0


# ---- room for a trace ----------------------------------------------------------------------------------------------


cdef int span_room(Scratch* w, uint32_t spans) noexcept nogil:
    cdef uint32_t room = wider(w.spans_room, spans, NONE)
    if room == w.spans_room:
        return 0
    if (
        widen(<void**>&w.node, 4 * <size_t>room) or widen(<void**>&w.first, 4 * <size_t>room)
        or widen(<void**>&w.head, 4 * <size_t>room) or widen(<void**>&w.bare, room)
        or widen(<void**>&w.bare_child, 4 * <size_t>room) or widen(<void**>&w.bare_before, 4 * <size_t>room)
        or widen(<void**>&w.depth, 4 * <size_t>room)
        or widen(<void**>&w.child, 4 * <size_t>room) or widen(<void**>&w.times, 4 * <size_t>room)
        or widen(<void**>&w.following, 4 * <size_t>room)
    ):
        return -1
    w.spans_room = room
    return 0


cdef int visit_room(Scratch* w, uint32_t visits) noexcept nogil:
    cdef uint32_t room = wider(w.visits_room, visits, NONE)
    cdef size_t each = 4 * <size_t>CHILDREN * room
    if room == w.visits_room:
        return 0
    if (
        widen(<void**>&w.visited, 4 * <size_t>room) or widen(<void**>&w.kind, room)
        or widen(<void**>&w.seen, 8 * <size_t>room) or widen(<void**>&w.missing, 8 * <size_t>room)
        or widen(<void**>&w.most, each) or widen(<void**>&w.most_at, each) or widen(<void**>&w.missing_at, each)
    ):
        return -1
    w.visits_room = room
    return 0


cdef int node_room(Shapes* t, uint64_t more) noexcept nogil:
    """Nodes, and which visit each of them is."""
    if index_room(&t.nodes, <void**>&t.node, sizeof(Node), more):
        return -1
    if t.w.nodes_room < t.nodes.room:
        if widen(<void**>&t.w.visit_of, 4 * <size_t>t.nodes.room):
            return -1
        memset(t.w.visit_of + t.w.nodes_room, 0, 4 * <size_t>(t.nodes.room - t.w.nodes_room))
        t.w.nodes_room = t.nodes.room
    return 0


cdef int monitor_room(Shapes* t, uint64_t more) noexcept nogil:
    cdef uint32_t room = wider(t.monitors_room, t.monitors + more, t.monitors_most)
    if room == t.monitors_room:
        return 0
    if widen(<void**>&t.monitor, room * sizeof(Monitor)):
        return -1
    t.monitors_room = room
    return 0


cdef int make_room(Shapes* t, uint32_t spans) noexcept nogil:
    """For all that a trace of so many spans can add; -> 0, -1 when memory is short."""
    cdef uint64_t more = spans
    cdef uint32_t distinct
    if (
        span_room(&t.w, spans) or node_room(t, more) or index_room(&t.roots, NULL, 0, 1)
        or index_room(&t.kids, <void**>&t.kid, sizeof(Kid), more)
        or index_room(&t.links, <void**>&t.link, sizeof(Link), more)
        or index_room(&t.places, <void**>&t.place, sizeof(Place), 2 * more)
        or index_room(&t.edges, <void**>&t.edge, sizeof(Edge), 2 * more)
        or monitor_room(t, (2 * TYPES + 1) * more)
    ):
        return -1
    distinct = spans if spans < t.nodes.room else t.nodes.room
    return visit_room(&t.w, distinct)


cdef int begin(Shapes* t) noexcept nogil:
    """Nothing is known; -> 0, -1 when memory is short. `operations_max` and the bounds stand."""
    cdef int i
    t.called = <uint64_t*>calloc(<size_t>t.operations_max + 1, sizeof(uint64_t))
    t.bare = <uint32_t*>calloc(<size_t>t.operations_max + 1, sizeof(uint32_t))
    t.sender = <uint32_t*>calloc(<size_t>t.operations_max + 1, sizeof(uint32_t))
    t.story = <Story*>calloc(STORIES, sizeof(Story))
    if t.called == NULL or t.bare == NULL or t.sender == NULL or t.story == NULL:
        return -1
    memset(t.bare, 255, (<size_t>t.operations_max + 1) * sizeof(uint32_t))  # NONE
    for i in range(STORIES):
        t.story[i].owner = NONE
    return 0


cdef void end(Shapes* t) noexcept nogil:
    """Forget all; bounds and level stay."""
    cdef Scratch* w = &t.w
    free(t.called)
    free(t.bare)
    free(t.sender)
    free(t.story)
    free(t.node)
    free(t.kid)
    free(t.link)
    free(t.place)
    free(t.edge)
    free(t.monitor)
    free(t.alarm)
    t.called, t.bare, t.sender, t.story, t.node, t.kid, t.link, t.place, t.edge = NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    t.monitor, t.alarm = NULL, NULL
    index_end(&t.roots)
    index_end(&t.nodes)
    index_end(&t.kids)
    index_end(&t.links)
    index_end(&t.places)
    index_end(&t.edges)
    free(w.node)
    free(w.first)
    free(w.head)
    free(w.bare)
    free(w.bare_child)
    free(w.bare_before)
    free(w.depth)
    free(w.child)
    free(w.times)
    free(w.following)
    free(w.visited)
    free(w.kind)
    free(w.seen)
    free(w.missing)
    free(w.most)
    free(w.most_at)
    free(w.missing_at)
    free(w.visit_of)
    memset(w, 0, sizeof(Scratch))
    t.traces = t.overflowed = t.latest_ns = 0
    t.loss_fast = t.loss_slow = 0.0
    t.pairs = t.monitors = t.monitors_room = 0
    t.alarms = t.alarms_room = 0


# ---- what is remembered --------------------------------------------------------------------------------------------


cdef uint32_t node_of(Shapes* t, uint32_t operation, uint32_t behind) noexcept nogil:
    """The node of an operation with the one behind it, 0 = none; without that when there are too many such."""
    cdef uint64_t key = <uint64_t>operation << 32 | behind
    cdef uint32_t number = find(&t.nodes, key)
    if number != NONE:
        return number
    if behind:
        if t.pairs >= t.pairs_max:
            t.overflowed += 1
            return node_of(t, operation, 0)
        t.pairs += 1
    number = append(&t.nodes, key)
    t.node[number].kids = 0
    return number


cdef inline uint32_t operation_of(const Shapes* t, uint32_t node) noexcept nogil:
    """What does it."""
    return <uint32_t>(t.nodes.keys[node] >> 32)


cdef inline uint32_t callee_of(const Shapes* t, uint32_t node) noexcept nogil:
    """What it stands for where it is called: the operation behind it."""
    cdef uint32_t behind = <uint32_t>t.nodes.keys[node]
    return behind if behind else operation_of(t, node)


cdef uint32_t link_of(Shapes* t, uint32_t parent, uint32_t child) noexcept nogil:
    """The link of a kid; NONE within a service."""
    cdef uint64_t caller = t.service[operation_of(t, parent)], callee = t.service[callee_of(t, child)]
    cdef uint32_t number
    if caller == callee:
        return NONE
    number = find(&t.links, caller << 32 | callee)
    if number == NONE:
        if t.links.count == t.links.most:
            t.overflowed += 1
            return NONE
        number = append(&t.links, caller << 32 | callee)
        t.link[number] = Link(0, 0, 0)
    return number


cdef uint32_t kid_of(Shapes* t, uint32_t parent, uint32_t child) noexcept nogil:
    """NONE: the parent has too many."""
    cdef uint64_t key = <uint64_t>parent << 32 | child
    cdef uint32_t number = find(&t.kids, key)
    cdef Node* p = &t.node[parent]
    if number != NONE:
        return number
    if p.kids == CHILDREN or t.kids.count == t.kids.most:
        t.overflowed += 1
        return NONE
    number = append(&t.kids, key)
    memset(&t.kid[number], 0, sizeof(Kid))
    t.kid[number].slot = p.kids
    t.kid[number].link = link_of(t, parent, child)
    p.kid[p.kids] = number
    p.kids += 1
    return number


cdef inline bint is_full(Shapes* t, uint32_t count, uint32_t most, uint32_t past) noexcept nogil:
    """A quarter of all room is for the past of all traces together."""
    if count < (most if past == EVERYWHERE else most - most // 4):
        return False
    t.overflowed += 1
    return True


cdef uint32_t place_of(Shapes* t, uint32_t past, uint32_t node) noexcept nogil:
    """NONE: there is no room."""
    cdef uint64_t key = <uint64_t>past << 32 | node
    cdef uint32_t number = find(&t.places, key)
    if number == NONE and not is_full(t, t.places.count, t.places.most, past):
        number = append(&t.places, key)
        t.place[number] = Place(0, 0)
    return number


cdef uint32_t edge_of(Shapes* t, uint32_t past, uint32_t place, uint32_t slot) noexcept nogil:
    """NONE: there is no room."""
    cdef uint64_t key = <uint64_t>place << 8 | slot
    cdef uint32_t number = find(&t.edges, key)
    cdef int k
    if number == NONE and not is_full(t, t.edges.count, t.edges.most, past):
        number = append(&t.edges, key)
        for k in range(TYPES):
            t.edge[number].monitor[k] = NONE
    return number


cdef uint32_t new_monitor(Shapes* t, uint32_t past, uint64_t trials, double odd, uint64_t now_ns) noexcept nogil:
    """Of a feature that had so many trials, and was there in none or all of them; NONE: there is no room."""
    cdef Monitor* m
    if is_full(t, t.monitors, t.monitors_most, past):
        return NONE
    m = &t.monitor[t.monitors]
    memset(m, 0, sizeof(Monitor))
    m.past = <double>trials
    m.past_odd = odd
    m.mark = m.last = m.from_trial = trials
    m.mark_ns = m.from_ns = now_ns
    m.story = NONE
    t.monitors += 1
    return t.monitors - 1
