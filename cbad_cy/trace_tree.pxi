"""Of traces.pyx: the spans of one trace as a tree in canonical order, whatever the order in which they came.

Linear but for sorting; no recursion, so a trace may be as deep as it has spans.
"""


cdef int tree_room(Tree* w, uint32_t spans) noexcept nogil:
    """Room for so many spans; -> 0, -1 when memory is short."""
    cdef uint32_t room = w.room if w.room else 64
    if spans <= w.room:
        return 0
    while room < spans:
        room *= 2
    tree_end(w)
    w.node = <Node*>malloc(room * sizeof(Node))
    w.order = <int32_t*>malloc(2 * <size_t>room * sizeof(int32_t))
    w.index = <int32_t*>malloc(2 * <size_t>room * sizeof(int32_t))
    if w.node == NULL or w.order == NULL or w.index == NULL:
        tree_end(w)
        return -1
    w.room = room
    return 0


cdef void tree_end(Tree* w) noexcept nogil:
    free(w.node)
    free(w.order)
    free(w.index)
    w.node, w.order, w.index, w.room = NULL, NULL, NULL, 0


cdef inline bint precedes(const Node* a, const Node* b) noexcept nogil:
    """The order of siblings. Spans of which neither precedes the other are equal in everything."""
    if a.at != b.at:
        return a.at < b.at
    if a.span.operation != b.span.operation:
        return a.span.operation < b.span.operation
    if a.span.id != b.span.id:
        return a.span.id < b.span.id
    if a.span.duration_ns != b.span.duration_ns:
        return a.span.duration_ns < b.span.duration_ns
    if a.span.parent != b.span.parent:
        return a.span.parent < b.span.parent
    if a.span.instance != b.span.instance:
        return a.span.instance < b.span.instance
    if a.mark != b.mark:
        return a.mark < b.mark
    return a.span.start_ns < b.span.start_ns


cdef void find_parents(Tree* w) noexcept nogil:
    """Set `parent`: an index, or -1 where there is none, or it is not there, or it is the span itself."""
    cdef uint32_t mask = 15, at
    cdef int32_t i, k
    cdef uint64_t id
    while mask < 2 * <uint32_t>w.count - 1:
        mask = 2 * mask + 1
    memset(w.index, 0xFF, (mask + 1) * sizeof(int32_t))
    for i in range(w.count):
        id = w.node[i].span.id
        if id == 0:
            continue
        at = <uint32_t>(scattered(id) >> 32) & mask
        while w.index[at] >= 0:
            at = (at + 1) & mask
        w.index[at] = i
    for i in range(w.count):
        w.node[i].parent = -1
        id = w.node[i].span.parent
        if id == 0:
            w.rooted = True
            continue
        at = <uint32_t>(scattered(id) >> 32) & mask
        while w.index[at] >= 0 and w.node[w.index[at]].span.id != id:
            at = (at + 1) & mask
        k = w.index[at]
        if k >= 0 and k != i:
            w.node[i].parent = k
        else:
            w.virtual = True


cdef void break_circles(Tree* w) noexcept nogil:
    """In each circle of parents the first span in the order of siblings loses its parent."""
    cdef int32_t i, k, first, last
    for i in range(w.count):
        w.node[i].place = -1
    for i in range(w.count):
        k = i
        while k >= 0 and w.node[k].place < 0:
            w.node[k].place = i
            k = w.node[k].parent
        if k < 0 or w.node[k].place != i:
            continue
        first = last = k  # this walk has come round to where it was
        k = w.node[k].parent
        while k != last:
            if precedes(&w.node[k], &w.node[first]):
                first = k
            k = w.node[k].parent
        w.node[first].parent = -1
        w.virtual = True


cdef inline void push(Tree* w, int32_t i) noexcept nogil:
    """Make a span the first child of its parent, a root the first root."""
    cdef Node* n = &w.node[i]
    cdef int32_t* head = &w.roots
    if n.parent >= 0:
        head = &w.node[n.parent].child
    elif n.span.parent:
        head = &w.adopted
    n.sibling = head[0]
    head[0] = i


cdef inline void no_children(Tree* w) noexcept nogil:
    cdef int32_t i
    w.roots = w.adopted = -1
    for i in range(w.count):
        w.node[i].child = -1


cdef inline int32_t following(const Tree* w, int32_t i) noexcept nogil:
    """The next span in preorder, of the same list of roots; -1."""
    if w.node[i].child >= 0:
        return w.node[i].child
    while i >= 0 and w.node[i].sibling < 0:
        i = w.node[i].parent
    return w.node[i].sibling if i >= 0 else -1


# ---- clock skew ----------------------------------------------------------------------------------------------------


cdef inline int64_t repaired(const Node* c, const Node* p) noexcept nogil:
    """Where a child starts whose parent starts at `p.at`."""
    cdef int64_t at = <int64_t>c.span.start_ns + (p.at - <int64_t>p.span.start_ns)
    cdef int64_t spare = <int64_t>p.span.duration_ns - <int64_t>c.span.duration_ns
    if c.mark & KIND != CONSUMER:
        if spare < 0:
            if at < p.at or at > p.at + <int64_t>p.span.duration_ns:
                at = p.at
        elif at < p.at:
            at = p.at
        elif at > p.at + spare:
            at = p.at + spare
    return 0 if at < 0 else LAST_NS if at > LAST_NS else at


cdef void repair_clocks(Tree* w) noexcept nogil:
    """Set `at` of all spans; `skewed` where any was moved."""
    cdef int32_t i, list
    cdef Node* n
    cdef Node* p
    w.skewed = False
    for i in range(w.count):
        n = &w.node[i]
        if n.parent >= 0 and repaired(n, &w.node[n.parent]) != n.at:
            w.skewed = True
            break
    if not w.skewed:
        return
    no_children(w)
    for i in range(w.count):
        push(w, i)
    for list in range(2):
        i = w.adopted if list else w.roots
        while i >= 0:
            n = &w.node[i]
            if n.parent >= 0:
                p = &w.node[n.parent]
                n.at = repaired(n, p)
            i = following(w, i)


# ---- order ---------------------------------------------------------------------------------------------------------


cdef void sort_run(Tree* w, int32_t* order, int32_t count) noexcept nogil:
    cdef int32_t i, k, at
    for i in range(1, count):
        at = order[i]
        k = i
        while k > 0 and precedes(&w.node[at], &w.node[order[k - 1]]):
            order[k] = order[k - 1]
            k -= 1
        order[k] = at


cdef void merge(Tree* w, const int32_t* a, int32_t a_count, const int32_t* b, int32_t b_count, int32_t* to) noexcept nogil:
    cdef int32_t i = 0, k = 0
    while i < a_count and k < b_count:
        if precedes(&w.node[b[k]], &w.node[a[i]]):
            to[i + k] = b[k]
            k += 1
        else:
            to[i + k] = a[i]
            i += 1
    memcpy(&to[i + k], &a[i], (a_count - i) * sizeof(int32_t))
    memcpy(&to[a_count + k], &b[k], (b_count - k) * sizeof(int32_t))


cdef int32_t* sorted_spans(Tree* w) noexcept nogil:
    """All spans in the order of siblings: insertion sort of short runs, then merging."""
    cdef int32_t* now = w.order
    cdef int32_t* then = w.order + w.room
    cdef int32_t i, size = RUN, left, right
    for i in range(w.count):
        now[i] = i
    i = 0
    while i < w.count:
        sort_run(w, now + i, w.count - i if w.count - i < RUN else RUN)
        i += RUN
    while size < w.count:
        i = 0
        while i < w.count:
            left = w.count - i if w.count - i < size else size
            right = w.count - i - left if w.count - i - left < size else size
            merge(w, now + i, left, now + i + left, right, then + i)
            i += 2 * size
        now, then = then, now
        size *= 2
    return now


cdef inline uint64_t self_time(const Tree* w, const Node* n) noexcept nogil:
    """Its duration without what its children cover of it; they are in the order of their starts."""
    cdef int64_t covered = 0, upto = n.at, end = n.at + <int64_t>n.span.duration_ns, start, stop
    cdef int32_t i = n.child
    cdef const Node* c
    while i >= 0:
        c = &w.node[i]
        start = c.at if c.at > upto else upto
        stop = c.at + <int64_t>c.span.duration_ns
        if stop > end:
            stop = end
        if stop > start:
            covered += stop - start
            upto = stop
        i = c.sibling
    return n.span.duration_ns - <uint64_t>covered


cdef int build_tree(Tree* w) noexcept nogil:
    """Of the `count` spans in `node`: parents, moved starts, and children in their order."""
    cdef int32_t i
    cdef int32_t* order
    w.rooted = w.virtual = False
    for i in range(w.count):
        w.node[i].at = <int64_t>w.node[i].span.start_ns
    find_parents(w)
    break_circles(w)
    repair_clocks(w)
    order = sorted_spans(w)
    no_children(w)
    for i in range(w.count - 1, -1, -1):
        push(w, order[i])
    return 0
