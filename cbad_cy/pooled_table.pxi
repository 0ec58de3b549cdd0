"""Of the kernel in pooled.pyx: cells found by a number. An open-addressed table of structs, at most half full."""

cdef struct Head:
    uint64_t id
    uint64_t used


cdef struct Table:
    char* cells
    size_t bytes      # of a cell, which begins with a Head
    size_t mask       # cells - 1, a power of two less one
    size_t count


cdef int table_begin(Table* t, size_t cell_bytes, size_t room) noexcept nogil:
    """-> 0, or -1 when memory is short."""
    t.cells = <char*>calloc(room, cell_bytes)
    t.bytes = cell_bytes
    t.mask = room - 1
    t.count = 0
    return 0 if t.cells != NULL else -1


cdef inline Head* table_at(const Table* t, size_t i) noexcept nogil:
    return <Head*>(t.cells + i * t.bytes)


cdef inline size_t table_place(const Table* t, uint64_t id) noexcept nogil:
    """Where `id` is, or the empty cell where it belongs."""
    cdef size_t i = stirred(id) & t.mask
    while table_at(t, i).used and table_at(t, i).id != id:
        i = (i + 1) & t.mask
    return i


cdef inline Head* table_find(const Table* t, uint64_t id) noexcept nogil:
    """NULL when it is not there."""
    cdef Head* head = table_at(t, table_place(t, id))
    return head if head.used else NULL


cdef int table_grow(Table* t) noexcept nogil:
    cdef Table wide
    cdef size_t i
    if table_begin(&wide, t.bytes, 2 * (t.mask + 1)):
        return -1
    for i in range(t.mask + 1):
        if table_at(t, i).used:
            memcpy(table_at(&wide, table_place(&wide, table_at(t, i).id)), table_at(t, i), t.bytes)
    wide.count = t.count
    free(t.cells)
    t[0] = wide
    return 0


cdef Head* table_add(Table* t, uint64_t id) noexcept nogil:
    """A new cell, zeros, for an id that is not there; NULL when memory is short. Cells move."""
    cdef Head* head
    if 2 * (t.count + 1) > t.mask + 1 and table_grow(t):
        return NULL
    head = table_at(t, table_place(t, id))
    memset(head, 0, t.bytes)
    head.id = id
    head.used = 1
    t.count += 1
    return head


cdef void table_drop(Table* t, uint64_t id) noexcept nogil:
    """Forget an id that is there, and close the hole, so that searches need no marks. Cells move."""
    cdef size_t i = table_place(t, id), k = i, home
    t.count -= 1
    while True:
        k = (k + 1) & t.mask
        if not table_at(t, k).used:
            break
        home = stirred(table_at(t, k).id) & t.mask
        if ((k - home) & t.mask) >= ((k - i) & t.mask):
            memcpy(table_at(t, i), table_at(t, k), t.bytes)
            i = k
    table_at(t, i).used = 0


cdef void table_end(Table* t) noexcept nogil:
    free(t.cells)
    t.cells = NULL
