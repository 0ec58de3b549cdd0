"""Of shapes.pyx: what is told of an alarm.

Examples are kept of what gathers evidence; everything else is seen in the trace with which it alarms.
"""


cdef double share_of(double bits) noexcept nogil:
    """2^-bits for 0 <= bits <= 1000, by exact scaling and a fixed series."""
    cdef int whole, k
    cdef double y, total = 1.0
    if bits > 1000.0:
        bits = 1000.0
    whole = <int>bits
    y = (whole - bits) * 0.693147180559945309417
    for k in range(16, 0, -1):
        total = 1.0 + y * total / k
    return ldexp(total, -whole)


# ---- examples ------------------------------------------------------------------------------------------------------


cdef void show(Example* e, const Trace* r, int32_t at) noexcept nogil:
    """This trace, with the way from its root to a span."""
    cdef int32_t i = at
    cdef uint32_t steps = 0, k
    memset(e, 0, sizeof(Example))
    memcpy(e.trace_id, r.trace_id, 16)
    e.start_ns = r.start_ns
    e.duration_ns = r.end_ns - r.start_ns if r.end_ns > r.start_ns else 0
    e.spans = r.spans
    e.root = r.operation[0]
    e.instance = r.instance[at]
    e.error = 1 if r.mark[0] & ERROR else 0
    while i >= 0:
        steps += 1
        i = r.parent[i]
    e.steps = <uint16_t>(steps if steps < PATH else PATH)
    i = at
    for k in range(steps, 0, -1):  # of a long way the first and the last half
        if k <= PATH // 2 or steps <= PATH:
            e.path[k - 1] = r.operation[i]
        elif k > steps - PATH // 2:
            e.path[k - 1 - (steps - PATH)] = r.operation[i]
        i = r.parent[i]


cdef Story* story_of(Shapes* t, uint32_t number) noexcept nogil:
    """The examples of a feature; where there are too many, the one that had none for longest forgets its own."""
    cdef Monitor* m = &t.monitor[number]
    cdef uint32_t best = 0
    cdef int i
    cdef Story* s
    if m.story != NONE:
        return &t.story[m.story]
    for i in range(STORIES):
        if t.story[i].owner == NONE:
            best = i
            break
        if t.story[i].touched < t.story[best].touched:
            best = i
    s = &t.story[best]
    if s.owner != NONE:
        t.monitor[s.owner].story = NONE
    memset(s, 0, sizeof(Story))
    s.owner = number
    m.story = best
    return s


cdef inline int32_t place_in_trace(const Scratch* w, uint32_t visit, uint32_t slot, int type) noexcept nogil:
    """The parent where it was seen first, or most."""
    return w.missing_at[visit * CHILDREN + slot] if type == MISSING else w.most_at[visit * CHILDREN + slot]


cdef inline void vote(Monitor* m, uint32_t instance) noexcept nogil:
    """For the instance that sends most; only while there is evidence."""
    if largest_sum(m) == 0.0:
        return
    if m.votes == 0:
        m.instance = instance
    if m.instance == instance:
        m.votes += 1
    else:
        m.votes -= 1


cdef void keep_example(Shapes* t, const Trace* r, uint32_t number, int32_t at) noexcept nogil:
    """Of what gathers evidence."""
    cdef Story* s
    if largest_sum(&t.monitor[number]) < .25 * t.level:
        return
    s = story_of(t, number)
    s.touched = t.traces
    s.example[1] = s.example[0]
    show(&s.example[0], r, at)
    s.kept = s.kept + 1 if s.kept < KEPT else KEPT


cdef int note_occurrence(
    Shapes* t, const Trace* r, uint32_t past, uint32_t visit, uint32_t slot, int type, uint32_t number, uint64_t trial,
    bint alarms,
) noexcept nogil:
    """Keep what may have to be told, and tell an alarm; -> 0, -1 when memory is short."""
    cdef Monitor* m = &t.monitor[number]
    cdef int32_t at = place_in_trace(&t.w, visit, slot, type)
    vote(m, r.instance[at])
    if alarms and is_news(t, past, visit, slot, type, m) and tell(t, r, visit, slot, type, number, trial, at):
        return -1
    keep_example(t, r, number, at)
    return 0


# ---- what is told --------------------------------------------------------------------------------------------------


cdef inline int told_as(int type) noexcept nogil:
    return TOLD_MISSING if type == MISSING else TOLD_NEW if type == PRESENT else TOLD_REPEATS


cdef inline bint is_known(const Shapes* t, uint64_t told_ns, const Monitor* m) noexcept nogil:
    """Whether what was told then is what a feature shows now, and need not be told again yet."""
    return told_ns and told_ns >= m.from_ns and is_lately(t, told_ns)


cdef bint is_news(Shapes* t, uint32_t past, uint32_t visit, uint32_t slot, int type, const Monitor* m) noexcept nogil:
    """Whether nothing told it lately, since it began: another class of repeats, another root, or all traces together."""
    cdef uint32_t node = t.w.visited[visit], place, edge, number
    cdef Kid* kid = &t.kid[t.node[node].kid[slot]]
    cdef const Monitor* all
    cdef int told = told_as(type)
    if is_known(t, kid.told_ns[told], m) or (told == TOLD_REPEATS and is_known(t, kid.told_ns[TOLD_NEW], m)):
        return False
    if past != EVERYWHERE:
        place = find(&t.places, <uint64_t>EVERYWHERE << 32 | node)
        edge = find(&t.edges, <uint64_t>place << 8 | slot) if place != NONE else NONE
        number = t.edge[edge].monitor[type] if edge != NONE else NONE
        if number != NONE:
            all = &t.monitor[number]
            if all.raised and largest_sum(all) > 0.0 and is_lately(t, all.told_ns):
                return False
    kid.told_ns[told] = t.latest_ns
    return True


cdef void add_line(Alarm* a, uint32_t depth, uint32_t operation, int sign, uint32_t repeats) noexcept nogil:
    a.line[a.lines] = Line(depth, operation, sign, repeats)
    a.lines += 1


cdef void show_present(Shapes* t, Alarm* a, const Trace* r, uint32_t child, int32_t at, uint32_t times) noexcept nogil:
    """The first such child of a span and what is below it; siblings of one operation are one line."""
    cdef Scratch* w = &t.w
    cdef int32_t place[LINES]
    cdef int32_t i, top = at + 1
    cdef int k
    while r.parent[top] != at or w.node[top] != child or (w.bare[top] and not r.mark[top] & ERROR):
        top += 1
    add_line(a, 0, operation_of(t, child), 1, times)
    place[0] = top
    w.depth[top] = 0
    for i in range(top + 1, <int32_t>r.spans):
        if r.parent[i] < top:
            break
        w.depth[i] = -1
        if w.depth[r.parent[i]] < 0 or w.depth[r.parent[i]] >= DEPTH:
            continue
        for k in range(1, a.lines):
            if r.parent[place[k]] == r.parent[i] and a.line[k].operation == r.operation[i]:
                a.line[k].repeats += 1
                break
        else:
            if a.lines < LINES:
                w.depth[i] = w.depth[r.parent[i]] + 1
                place[a.lines] = i
                add_line(a, <uint32_t>w.depth[i], r.operation[i], 1, 1)


cdef bint is_usual(const Shapes* t, uint32_t node, uint32_t slot) noexcept nogil:
    """Whether most visits of a node have that child."""
    cdef uint32_t place = find(&t.places, <uint64_t>EVERYWHERE << 32 | node), edge
    if place == NONE:
        return False
    edge = find(&t.edges, <uint64_t>place << 8 | slot)
    if edge == NONE or t.edge[edge].monitor[PRESENT] == NONE:
        return False
    return rate_of(&t.monitor[t.edge[edge].monitor[PRESENT]], 0.0).past >= .5


cdef void show_missing(const Shapes* t, Alarm* a, uint32_t child) noexcept nogil:
    """A child with what is usually below it."""
    cdef uint32_t node[LINES + CHILDREN]
    cdef uint32_t depth[LINES + CHILDREN]
    cdef uint32_t waiting = 1, n, d, slot
    node[0], depth[0] = child, 0
    while waiting and a.lines < LINES:
        waiting -= 1
        n, d = node[waiting], depth[waiting]
        add_line(a, d, operation_of(t, n), -1, 1)
        if d >= DEPTH:
            continue
        slot = t.node[n].kids
        while slot:
            slot -= 1
            if waiting < LINES + CHILDREN and is_usual(t, n, slot):
                node[waiting] = <uint32_t>t.kids.keys[t.node[n].kid[slot]]
                depth[waiting] = d + 1
                waiting += 1


cdef bint is_new_link(const Shapes* t, const Kid* kid, const Monitor* m) noexcept nogil:
    """Whether no such call between two services was known before what is pending began."""
    return kid.link != NONE and t.link[kid.link].first_ns >= (m.from_ns if m.from_ns < m.mark_ns else m.mark_ns)


cdef bint is_gone(const Shapes* t, const Kid* kid, const Monitor* m, uint64_t trials) noexcept nogil:
    """Whether nearly no trace has a call between the two services any more."""
    if kid.link == NONE or m.sums[TESTS - 1] < t.level:
        return False
    return <double>(t.link[kid.link].traces - m.from_link) <= (1.0 - SHAPE_GONE) * <double>trials


cdef void name_suspects(const Shapes* t, Alarm* a, uint32_t parent, uint32_t child, bint dead) noexcept nogil:
    """Who calls decides what is called. Repeats are often an answer to the one that is called."""
    cdef uint32_t caller = t.service[operation_of(t, parent)], callee = t.service[callee_of(t, child)]
    a.suspect[0], a.suspect_bits[0] = callee if dead else caller, a.bits
    a.suspect[1], a.suspect_bits[1] = callee, .5 * a.bits if a.repeats and callee != caller else 0.0


cdef Alarm* new_alarm(Shapes* t, const Trace* r, uint32_t number, uint64_t trial, int32_t at) noexcept nogil:
    """What is told of any feature; NULL when memory is short."""
    cdef const Monitor* m = &t.monitor[number]
    cdef size_t room = 2 * t.alarms_room + 4
    cdef uint32_t k
    cdef Alarm* a
    if t.alarms == t.alarms_room:
        if widen(<void**>&t.alarm, room * sizeof(Alarm)):
            return NULL
        t.alarms_room = room
    a = &t.alarm[t.alarms]
    t.alarms += 1
    memset(a, 0, sizeof(Alarm))
    a.since_ns, a.time_ns = m.since_ns, t.latest_ns
    a.trials, a.affected = trial - m.from_trial, m.affected
    a.bits, a.level, a.usual = largest_sum(m), t.level, m.past_odd / m.past if m.past > 0.0 else 0.0
    if t.sender[r.operation[at]] == NONE and <uint64_t>m.votes * 2 >= m.affected:
        a.instance = m.instance
    show(&a.example[0], r, at)
    a.examples = 1
    if m.story != NONE:
        for k in range(t.story[m.story].kept):
            a.example[a.examples] = t.story[m.story].example[k]
            a.examples += 1
    return a


cdef int tell(
    Shapes* t, const Trace* r, uint32_t visit, uint32_t slot, int type, uint32_t number, uint64_t trial, int32_t at,
) noexcept nogil:
    """Put an alarm into words that the border understands; -> 0, -1 when memory is short."""
    cdef const Monitor* m = &t.monitor[number]
    cdef uint32_t parent = t.w.visited[visit], child
    cdef const Kid* kid = &t.kid[t.node[parent].kid[slot]]
    cdef bint dead = type == MISSING and (t.w.kind[visit] == CLIENT or t.w.kind[visit] == PRODUCER)
    cdef Alarm* a = new_alarm(t, r, number, trial, at)
    if a == NULL:
        return -1
    child = <uint32_t>t.kids.keys[t.node[parent].kid[slot]]
    a.repeats = type > PRESENT
    a.caller, a.operation = operation_of(t, parent), callee_of(t, child)
    a.dependency = is_gone(t, kid, m, a.trials) if type == MISSING else type == PRESENT and is_new_link(t, kid, m)
    name_suspects(t, a, parent, child, dead)
    if type == MISSING:
        show_missing(t, a, child)
    else:
        show_present(t, a, r, child, at, t.w.most[visit * CHILDREN + slot])
    return 0


cdef uint32_t usually_behind(const Shapes* t, uint32_t operation, uint64_t from_ns) noexcept nogil:
    """What a client called in most traces, and not since then if there is such, as a node; NONE."""
    cdef uint32_t i, place, found = NONE
    cdef uint64_t most = 0
    cdef bint gone, found_gone = False
    for i in range(t.nodes.count):
        if operation_of(t, i) != operation or <uint32_t>t.nodes.keys[i] == 0:
            continue
        place = find(&t.places, <uint64_t>EVERYWHERE << 32 | i)
        if place == NONE:
            continue
        gone = t.place[place].last_ns < from_ns
        if gone > found_gone or (gone == found_gone and t.place[place].trials > most):
            most, found, found_gone = t.place[place].trials, i, gone
    return found


cdef int tell_bare(Shapes* t, const Trace* r, uint32_t number, int32_t at) noexcept nogil:
    """Spans of what a client calls do not come any more; -> 0, -1 when memory is short."""
    cdef uint32_t caller = r.operation[at], pair = usually_behind(t, caller, t.monitor[number].from_ns), plain
    cdef Alarm* a = new_alarm(t, r, number, t.called[caller], at)
    if a == NULL:
        return -1
    a.caller = caller
    a.operation = callee_of(t, pair) if pair != NONE else caller
    a.dependency = t.service[a.operation] != t.service[caller]
    a.suspect[0], a.suspect_bits[0] = t.service[a.operation], a.bits
    plain = find(&t.nodes, <uint64_t>a.operation << 32)
    if plain != NONE:
        show_missing(t, a, plain)
    else:
        add_line(a, 0, a.operation, -1, 1)
    return 0
