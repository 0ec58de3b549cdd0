"""Of shapes.pyx: its state as bytes, and back. Little-endian.

Numbers; by operation spans of clients and producers, who watches them, and who sends them; keys, and what stands beside them, of roots, nodes,
kids, links, places and edges; features; examples that are kept; and a hash of all that, so that damage is noticed.
"""

cdef enum:
    PARTS_VERSION = 1
    NUMBERS = 15
    CHECK = 8


cdef struct Bytes:
    unsigned char* at
    size_t left


cdef size_t parts_size(const uint64_t* n) noexcept nogil:
    """Bytes of so many of each, see `numbers_of`; nothing overflows as long as all are below 2^32."""
    return (
        NUMBERS * 8 + 16 * n[4] + 8 * n[5] + 8 * n[6] + (8 + sizeof(Kid)) * n[7] + (8 + sizeof(Link)) * n[8]
        + (8 + sizeof(Place)) * n[9] + (8 + sizeof(Edge)) * n[10] + sizeof(Monitor) * n[11] + (8 + sizeof(Story)) * n[12])


cdef void numbers_of(const Shapes* t, uint64_t* n) noexcept nogil:
    cdef uint64_t operations = t.operations_max + 1, stories = 0
    cdef int k
    while operations and t.called[operations - 1] == 0 and t.sender[operations - 1] == 0:
        operations -= 1
    for k in range(STORIES):
        stories += t.story[k].owner != NONE
    n[0], n[1], n[2], n[3] = PARTS_VERSION, t.traces, t.overflowed, t.latest_ns
    n[4], n[5], n[6], n[7], n[8] = operations, t.roots.count, t.nodes.count, t.kids.count, t.links.count
    n[9], n[10], n[11], n[12] = t.places.count, t.edges.count, t.monitors, stories
    memcpy(&n[13], &t.loss_fast, 8)
    memcpy(&n[14], &t.loss_slow, 8)


cdef inline void put(Bytes* b, const void* data, size_t bytes) noexcept nogil:
    if bytes:  # what is empty has no address
        memcpy(b.at, data, bytes)
    b.at += bytes


cdef inline void put_items(Bytes* b, const Index* x, const void* items, size_t item) noexcept nogil:
    put(b, x.keys, 8 * <size_t>x.count)
    put(b, items, item * x.count)


cdef bytes stored(const Shapes* t):
    cdef uint64_t[NUMBERS] n
    cdef uint64_t number, check
    cdef int k
    cdef Bytes b
    numbers_of(t, n)
    cdef size_t size = parts_size(n)
    cdef bytes parts = PyBytes_FromStringAndSize(NULL, size + CHECK)
    cdef unsigned char* start = <unsigned char*><char*>parts
    with nogil:
        b.at = start
        put(&b, n, sizeof(n))
        put(&b, t.called, 8 * n[4])
        put(&b, t.bare, 4 * n[4])
        put(&b, t.sender, 4 * n[4])
        put_items(&b, &t.roots, NULL, 0)
        put_items(&b, &t.nodes, NULL, 0)
        put_items(&b, &t.kids, t.kid, sizeof(Kid))
        put_items(&b, &t.links, t.link, sizeof(Link))
        put_items(&b, &t.places, t.place, sizeof(Place))
        put_items(&b, &t.edges, t.edge, sizeof(Edge))
        put(&b, t.monitor, sizeof(Monitor) * n[11])
        for k in range(STORIES):
            number = k
            if t.story[k].owner != NONE:
                put(&b, &number, 8)
                put(&b, &t.story[k], sizeof(Story))
        check = hash_of(start, size)
        put(&b, &check, CHECK)
    return parts


cdef int put_back(Shapes* t, const unsigned char[::1] parts) except -1:
    """Fill an empty table; after an error it is the caller's to empty."""
    cdef uint64_t[NUMBERS] n
    cdef uint64_t check
    cdef size_t size = parts.shape[0]
    cdef Bytes b
    cdef int k, outcome
    if size < NUMBERS * 8 + CHECK:
        raise ValueError(f"{size} bytes are no shapes of traces; hand over what parts() gave")
    size -= CHECK
    memcpy(&check, &parts[size], CHECK)
    if check != hash_of(&parts[0], size):
        raise ValueError("these shapes of traces are damaged: their hash is another")
    memcpy(n, &parts[0], sizeof(n))
    if n[0] != PARTS_VERSION:
        raise ValueError("these shapes of traces were stored by another version; begin anew")
    for k in range(4, 13):
        if n[k] > NONE:
            raise ValueError("these shapes of traces are damaged: there are too many")
    if parts_size(n) != size:
        raise ValueError("these shapes of traces are damaged: they do not end where they should")
    if (
        n[4] > <uint64_t>t.operations_max + 1 or n[5] > t.roots.most or n[6] > t.nodes.most or n[7] > t.kids.most
        or n[8] > t.links.most or n[9] > t.places.most or n[10] > t.edges.most or n[11] > t.monitors_most or n[12] > STORIES
    ):
        raise ValueError("these shapes of traces are more than this table has room for; give it the bounds of theirs")
    with nogil:
        b.at = <unsigned char*>&parts[0] + NUMBERS * 8
        outcome = put_columns(t, &b, n)
    if outcome < 0:
        raise MemoryError("no room for the shapes of traces")
    if outcome:
        raise ValueError("these shapes of traces are damaged: their columns do not fit together")
    t.traces, t.overflowed, t.latest_ns = n[1], n[2], n[3]
    return 0


cdef int take_keys(Index* x, Bytes* b, uint64_t count) noexcept nogil:
    """There is room; -> 0, 1 when a key stands twice."""
    cdef uint64_t k, key
    for k in range(count):
        memcpy(&key, b.at + 8 * k, 8)
        if find(x, key) != NONE:
            return 1
        append(x, key)
    b.at += 8 * count
    return 0


cdef int take_items(Index* x, void** items, size_t item, Bytes* b, uint64_t count) noexcept nogil:
    """Keys, and what stands beside them; -> 0, 1 when they can not be true, -1 when memory is short."""
    if index_room(x, items, item, count):
        return -1
    if take_keys(x, b, count):
        return 1
    if count and item:
        memcpy(items[0], b.at, item * count)
    b.at += item * count
    return 0


cdef int put_columns(Shapes* t, Bytes* b, const uint64_t* n) noexcept nogil:
    """-> 0, 1 when they can not be true, -1 when memory is short."""
    cdef int outcome
    memcpy(t.called, b.at, 8 * n[4])
    b.at += 8 * n[4]
    memcpy(t.bare, b.at, 4 * n[4])
    b.at += 4 * n[4]
    memcpy(t.sender, b.at, 4 * n[4])
    b.at += 4 * n[4]
    memcpy(&t.loss_fast, &n[13], 8)
    memcpy(&t.loss_slow, &n[14], 8)
    if n[4] and t.called[n[4] - 1] == 0 and t.sender[n[4] - 1] == 0:
        return 1
    outcome = take_items(&t.roots, NULL, 0, b, n[5])
    if outcome == 0:
        outcome = take_nodes(t, b, n[6])
    if outcome == 0:
        outcome = take_items(&t.kids, <void**>&t.kid, sizeof(Kid), b, n[7])
    if outcome == 0:
        outcome = take_items(&t.links, <void**>&t.link, sizeof(Link), b, n[8])
    if outcome == 0:
        outcome = take_items(&t.places, <void**>&t.place, sizeof(Place), b, n[9])
    if outcome == 0:
        outcome = take_items(&t.edges, <void**>&t.edge, sizeof(Edge), b, n[10])
    if outcome == 0 and monitor_room(t, n[11]):
        outcome = -1
    if outcome:
        return outcome
    if n[11]:
        memcpy(t.monitor, b.at, sizeof(Monitor) * n[11])
    b.at += sizeof(Monitor) * n[11]
    t.monitors = <uint32_t>n[11]
    if take_stories(t, b, n[12]) or not (roots_hold(t) and kids_hold(t) and edges_hold(t) and monitors_hold(t)):
        return 1
    return 0


cdef int take_nodes(Shapes* t, Bytes* b, uint64_t count) noexcept nogil:
    """As `take_items`; what they do must be operations."""
    cdef uint32_t i
    cdef uint64_t behind
    if node_room(t, count):
        return -1
    if take_keys(&t.nodes, b, count):
        return 1
    for i in range(t.nodes.count):
        t.node[i].kids = 0
        behind = <uint32_t>t.nodes.keys[i]
        t.pairs += behind != 0
        if operation_of(t, i) == 0 or operation_of(t, i) > t.operations_max or behind > t.operations_max:
            return 1
    return 1 if t.pairs > t.pairs_max else 0


cdef int take_stories(Shapes* t, Bytes* b, uint64_t count) noexcept nogil:
    """-> 0, 1 when they can not be true."""
    cdef uint64_t k, number, next = 0
    cdef int i, s
    cdef Story* story
    for k in range(count):
        memcpy(&number, b.at, 8)
        if number < next or number >= STORIES:
            return 1
        next = number + 1
        story = &t.story[number]
        memcpy(story, b.at + 8, sizeof(Story))
        b.at += 8 + sizeof(Story)
        if story.owner >= t.monitors or t.monitor[story.owner].story != number or story.kept > KEPT:
            return 1
        for i in range(<int>story.kept):
            if story.example[i].steps > PATH or story.example[i].root > t.operations_max:
                return 1
            for s in range(story.example[i].steps):
                if story.example[i].path[s] > t.operations_max:
                    return 1
    return 0


cdef bint roots_hold(const Shapes* t) noexcept nogil:
    cdef uint32_t i
    for i in range(t.roots.count):
        if t.roots.keys[i] == 0 or t.roots.keys[i] > t.operations_max:
            return False
    return True


cdef bint kids_hold(Shapes* t) noexcept nogil:
    """Put kids under their parents; -> whether they belong there."""
    cdef uint32_t i
    cdef uint64_t parent
    cdef Node* p
    for i in range(t.kids.count):
        parent = t.kids.keys[i] >> 32
        if parent >= t.nodes.count or <uint32_t>t.kids.keys[i] >= t.nodes.count:
            return False
        p = &t.node[parent]
        if p.kids == CHILDREN or t.kid[i].slot != p.kids or (t.kid[i].link != NONE and t.kid[i].link >= t.links.count):
            return False
        p.kid[p.kids] = i
        p.kids += 1
    return True


cdef bint edges_hold(const Shapes* t) noexcept nogil:
    """Whether places are of roots and nodes that are known, edges of places and kids, and features of edges."""
    cdef uint32_t i
    cdef int k
    cdef uint64_t place
    for i in range(t.places.count):
        if t.places.keys[i] >> 32 > t.roots.count or <uint32_t>t.places.keys[i] >= t.nodes.count:
            return False
    for i in range(t.edges.count):
        place = t.edges.keys[i] >> 8
        if place >= t.places.count or (t.edges.keys[i] & 255) >= t.node[<uint32_t>t.places.keys[place]].kids:
            return False
        for k in range(TYPES):
            if t.edge[i].monitor[k] != NONE and t.edge[i].monitor[k] >= t.monitors:
                return False
    return True


cdef inline bint is_share(double x, double most) noexcept nogil:
    """Whether it is a number from 0 to `most`; not a number is none."""
    return x >= 0.0 and x <= most


cdef bint monitors_hold(const Shapes* t) noexcept nogil:
    """Whether their numbers are such as come about, as far as anything depends on it."""
    cdef uint32_t i
    cdef int j
    cdef const Monitor* m
    if not (is_share(t.loss_fast, 1.0) and is_share(t.loss_slow, 1.0)):
        return False
    for i in range(t.operations_max + 1):
        if t.bare[i] != NONE and t.bare[i] >= t.monitors:
            return False
    for i in range(t.monitors):
        m = &t.monitor[i]
        if not (
            is_share(m.past, 1e18) and is_share(m.past_odd, m.past + .25) and is_share(m.odd, 1e18) and is_share(m.wander, 1e18)
            and is_share(m.blocks, 1e18) and is_share(m.peak, 1.0) and m.raised <= 2 and m.votes <= m.affected
            and m.since_ns < <uint64_t>1 << 63 and m.affected <= m.last and m.from_trial <= m.last
            and m.firm_odd <= m.last and m.firm_trial <= m.last
        ):
            return False
        if m.story != NONE and (m.story >= STORIES or t.story[m.story].owner != i):
            return False
        for j in range(TESTS):
            if not is_share(m.sums[j], 1e9):
                return False
    return True
