"""Of shapes.pyx: a trace as visits of nodes and their children, and from these the features that occur."""


cdef inline bint calls_out(uint8_t mark) noexcept nogil:
    """Clients and producers: their child is another service's span."""
    return mark & KIND == CLIENT or mark & KIND == PRODUCER


cdef inline uint64_t first_bits(uint32_t count) noexcept nogil:
    """A mask of so many bits, up to 64."""
    return ~<uint64_t>0 >> (CHILDREN - count) if count else 0


cdef bint is_bare(const Shapes* t, uint32_t operation) noexcept nogil:
    """Whether a client's or producer's span without child has lost it: usually there is one."""
    cdef double odd = 0.0, past = <double>t.called[operation]
    if t.called[operation] < BARE_TRIALS:
        return False
    if t.bare[operation] != NONE:
        odd, past = t.monitor[t.bare[operation]].past_odd, t.monitor[t.bare[operation]].past
    return odd + .5 < SHAPE_BARE * (past + 1.0)


cdef int judge_bare(Shapes* t, const Trace* r, uint32_t at) noexcept nogil:
    """A client's or producer's span without child and without error is an occurrence; -> 0, -1 when memory is short."""
    cdef uint32_t o = r.operation[at]
    cdef Monitor* m
    cdef bint alarms
    if r.mark[at] & ERROR:
        return 0
    if t.bare[o] == NONE:
        t.bare[o] = new_monitor(t, EVERYWHERE, t.called[o] - 1, 0.0, t.latest_ns)
    if t.bare[o] == NONE:
        return 0
    m = &t.monitor[t.bare[o]]
    alarms = occurs(t, m, t.called[o], True, True, 0.0, NONE, r)
    vote(m, r.instance[at])
    if alarms and r.mark[at] & KIND == CLIENT and tell_bare(t, r, t.bare[o], at):
        return -1
    keep_example(t, r, t.bare[o], at)
    return 0


cdef inline void meet(Shapes* t, uint32_t operation, uint32_t instance) noexcept nogil:
    """Who does an operation, as long as it is always the same."""
    if instance and t.sender[operation] != instance:
        t.sender[operation] = NONE if t.sender[operation] else instance


cdef int read_spans(Shapes* t, const Trace* r, bint sound) noexcept nogil:
    """The node of each span, and which have lost the other side; -> 0, -1 when memory is short."""
    cdef Scratch* w = &t.w
    cdef uint32_t i, o
    cdef int32_t p
    cdef double lost = 0.0 if sound else 1.0
    for i in range(r.spans):
        w.first[i] = w.head[i] = w.bare_child[i] = -1
        w.bare[i] = 0
        p = r.parent[i]
        if p >= 0 and w.first[p] < 0:
            w.first[p] = <int32_t>i
    for i in range(r.spans):
        o = r.operation[i]
        meet(t, o, r.instance[i])
        if not calls_out(r.mark[i]):
            w.node[i] = node_of(t, o, 0)
            continue
        t.called[o] += 1
        if w.first[i] >= 0:
            w.node[i] = node_of(t, o, r.operation[w.first[i]])
            continue
        w.node[i] = node_of(t, o, 0)
        if judge_bare(t, r, i):
            return -1
        w.bare[i] = is_bare(t, o)
        if w.bare[i] and r.mark[i] & KIND == CLIENT:
            lost = 1.0
    t.loss_fast += (lost - t.loss_fast) / LOSS_FAST
    t.loss_slow += (lost - t.loss_slow) / LOSS_SLOW
    return 0


cdef void read_children(Shapes* t, const Trace* r) noexcept nogil:
    """For each span the kinds of its children and how many there are."""
    cdef Scratch* w = &t.w
    cdef uint32_t i
    cdef int32_t p, k, kinds = 0
    for i in range(r.spans):
        p = r.parent[i]
        if p < 0:
            continue
        if w.bare[i]:
            w.bare_before[i] = w.bare_child[p]
            w.bare_child[p] = <int32_t>i
            if not r.mark[i] & ERROR:
                continue
        k = w.head[p]
        while k >= 0 and w.child[k] != w.node[i]:
            k = w.following[k]
        if k >= 0:
            w.times[k] += 1
        else:
            w.child[kinds], w.times[kinds], w.following[kinds] = w.node[i], 1, w.head[p]
            w.head[p] = kinds
            kinds += 1


cdef uint32_t visit_of(Scratch* w, uint32_t node, uint8_t mark) noexcept nogil:
    """The visit of a node in this trace."""
    cdef uint32_t v
    if w.visit_of[node] == 0:
        v = w.visits
        w.visited[v] = node
        w.kind[v] = mark & KIND
        w.seen[v] = w.missing[v] = 0
        w.visits += 1
        w.visit_of[node] = w.visits
    return w.visit_of[node] - 1


cdef void see_link(Shapes* t, uint32_t number) noexcept nogil:
    """A call between two services, counted once a trace."""
    cdef Link* link = &t.link[number]
    if link.traces == 0:
        link.first_ns = t.latest_ns
    if link.seen != t.traces:
        link.seen = t.traces
        link.traces += 1


cdef uint64_t lost_kids(const Shapes* t, const Trace* r, uint32_t at) noexcept nogil:
    """Which known children of a span may be meant by those of its children that are bare."""
    cdef const Node* p = &t.node[t.w.node[at]]
    cdef uint64_t found = 0
    cdef uint32_t slot, child
    cdef int32_t i = t.w.bare_child[at]
    while i >= 0:
        for slot in range(p.kids):
            child = <uint32_t>t.kids.keys[p.kid[slot]]
            if <uint32_t>t.nodes.keys[child] and operation_of(t, child) == r.operation[i]:
                found |= <uint64_t>1 << slot
        i = t.w.bare_before[i]
    return found


cdef void visit_spans(Shapes* t, const Trace* r, bint sound) noexcept nogil:
    """Which children each visited node has, how often, and which it lacks; and where in the trace.

    Errors cut work short, so a span with one lacks nothing.
    """
    cdef Scratch* w = &t.w
    cdef uint32_t i, v, kid, slot, at
    cdef uint64_t seen, lacks
    cdef int32_t k
    for i in range(r.spans):
        if w.bare[i] and not r.mark[i] & ERROR:
            continue
        v = visit_of(w, w.node[i], r.mark[i])
        seen = 0
        k = w.head[i]
        while k >= 0:
            kid = kid_of(t, w.node[i], w.child[k])
            if kid != NONE:
                slot = t.kid[kid].slot
                at = v * CHILDREN + slot
                seen |= <uint64_t>1 << slot
                if not w.seen[v] >> slot & 1 or w.times[k] > w.most[at]:
                    w.most[at], w.most_at[at] = w.times[k], <int32_t>i
                w.seen[v] |= <uint64_t>1 << slot
                if t.kid[kid].link != NONE:
                    see_link(t, t.kid[kid].link)
            k = w.following[k]
        if r.mark[i] & ERROR or not sound:
            continue
        seen |= lost_kids(t, r, i)
        lacks = ~(seen | w.missing[v]) & first_bits(t.node[w.node[i]].kids)
        w.missing[v] |= lacks
        slot = 0
        while lacks:
            if lacks & 1:
                w.missing_at[v * CHILDREN + slot] = <int32_t>i
            lacks >>= 1
            slot += 1


cdef uint32_t past_of(Shapes* t, const Trace* r) noexcept nogil:
    """The past of the trace's root operation; NONE: there is none, or there are too many."""
    cdef uint32_t number
    if r.marks & NO_ROOT_MARK:
        return NONE
    number = find(&t.roots, r.operation[0])
    if number == NONE:
        if t.roots.count == t.roots.most:
            t.overflowed += 1
            return NONE
        number = append(&t.roots, r.operation[0])
    return number + 1


cdef int judge_feature(
    Shapes* t, const Trace* r, uint32_t past, uint32_t visit, uint32_t slot, int type, uint32_t number, uint64_t trial,
    bint dead,
) noexcept nogil:
    """An occurrence of a feature; -> 0, -1 when memory is short."""
    cdef uint32_t kid = t.node[t.w.visited[visit]].kid[slot]
    cdef double lost = 0.0
    cdef Monitor* m
    cdef bint alarms
    if number == NONE:
        return 0
    m = &t.monitor[number]
    if type == MISSING:
        lost = larger(t.loss_fast, t.loss_slow)
    alarms = occurs(t, m, trial, dead, type == MISSING, lost, t.kid[kid].link, r)
    return note_occurrence(t, r, past, visit, slot, type, number, trial, alarms)


cdef int judge_missing(Shapes* t, const Trace* r, uint32_t past, uint32_t v, uint32_t slot, uint32_t edge) noexcept nogil:
    cdef const Place* place = &t.place[t.edges.keys[edge] >> 8]
    cdef uint32_t* number = &t.edge[edge].monitor[MISSING]
    cdef bint dead = t.w.kind[v] == CLIENT or t.w.kind[v] == PRODUCER
    if number[0] == NONE:
        number[0] = new_monitor(t, past, place.trials - 1, 0.0, t.latest_ns)
    return judge_feature(t, r, past, v, slot, MISSING, number[0], place.trials, dead)


cdef int judge_present(Shapes* t, const Trace* r, uint32_t past, uint32_t v, uint32_t slot, uint32_t edge) noexcept nogil:
    cdef const Place* place = &t.place[t.edges.keys[edge] >> 8]
    cdef uint32_t* number = t.edge[edge].monitor
    cdef uint32_t times = t.w.most[v * CHILDREN + slot], least = 1
    cdef uint64_t before = place.trials - 1
    cdef int type
    if number[PRESENT] == NONE:
        number[PRESENT] = new_monitor(t, past, before, 0.0, t.latest_ns)
        if number[PRESENT] == NONE:
            return 0
        if before:  # so far it was always missing
            number[MISSING] = new_monitor(t, past, before, <double>before, t.latest_ns)
    for type in range(PRESENT, TYPES):
        if times < least:
            break
        if number[type] == NONE:
            number[type] = new_monitor(t, past, before, 0.0, t.latest_ns)
        if judge_feature(t, r, past, v, slot, type, number[type], place.trials, False):
            return -1
        least = 2 if type == PRESENT else 2 * least - 1
    return 0


cdef int judge_visit(Shapes* t, const Trace* r, uint32_t past, uint32_t v) noexcept nogil:
    """All features of a visited node in one past; -> 0, -1 when memory is short."""
    cdef Scratch* w = &t.w
    cdef uint32_t place = place_of(t, past, w.visited[v]), slot, edge
    if place == NONE:
        return 0
    t.place[place].trials += 1
    t.place[place].last_ns = t.latest_ns
    for slot in range(t.node[w.visited[v]].kids):
        if not (w.seen[v] | w.missing[v]) >> slot & 1:
            continue
        edge = find(&t.edges, <uint64_t>place << 8 | slot)
        if w.missing[v] >> slot & 1 and edge != NONE and t.edge[edge].monitor[PRESENT] != NONE:
            if judge_missing(t, r, past, v, slot, edge):
                return -1
        if w.seen[v] >> slot & 1:
            if edge == NONE:
                edge = edge_of(t, past, place, slot)
            if edge != NONE and judge_present(t, r, past, v, slot, edge):
                return -1
    return 0


cdef int take(Shapes* t, const Trace* r) noexcept nogil:
    """Judge and learn a trace; -> 0, -1 when memory is short."""
    cdef Scratch* w = &t.w
    cdef bint sound = (r.marks & INCOMPLETE) == 0, unsampled = True
    cdef uint32_t v, past
    cdef int outcome = 0
    if make_room(t, r.spans):
        return -1
    t.traces += 1
    if r.closed_ns > t.latest_ns:
        t.latest_ns = r.closed_ns
    for v in range(r.spans):
        if r.mark[v] & SAMPLED:
            unsampled = False
    if read_spans(t, r, sound):
        return -1
    read_children(t, r)
    w.visits = 0
    visit_spans(t, r, sound and unsampled)
    past = past_of(t, r)
    for v in range(w.visits):
        w.visit_of[w.visited[v]] = 0
    for v in range(w.visits):
        if outcome == 0:
            outcome = judge_visit(t, r, EVERYWHERE, v)
        if outcome == 0 and past != NONE:
            outcome = judge_visit(t, r, past, v)
    return outcome
