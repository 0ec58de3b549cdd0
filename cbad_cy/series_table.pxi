"""Of the kernel in series.pyx: where each series is. An open-addressed table of pointers, at most half full."""

cdef struct Cell:
    uint64_t id       # 0: empty
    Series* state


cdef struct Table:
    Cell* cells
    size_t mask       # cells - 1, a power of two less one
    size_t count


cdef int table_begin(Table* t, size_t room) noexcept nogil:
    """-> 0, or -1 when memory is short."""
    t.cells = <Cell*>calloc(room, sizeof(Cell))
    t.mask = room - 1
    t.count = 0
    return 0 if t.cells != NULL else -1


cdef inline Cell* table_cell(const Table* t, uint64_t id) noexcept nogil:
    """Where `id` is, or the empty cell where it belongs."""
    cdef size_t i = stirred(id) & t.mask
    while t.cells[i].id != 0 and t.cells[i].id != id:
        i = (i + 1) & t.mask
    return &t.cells[i]


cdef int table_grow(Table* t) noexcept nogil:
    cdef Table wide
    cdef size_t i
    if table_begin(&wide, 2 * (t.mask + 1)):
        return -1
    for i in range(t.mask + 1):
        if t.cells[i].id != 0:
            table_cell(&wide, t.cells[i].id)[0] = t.cells[i]
    wide.count = t.count
    free(t.cells)
    t[0] = wide
    return 0


cdef Series* table_add(Table* t, uint64_t id) noexcept nogil:
    """A new, empty series for an id that is not there; NULL when memory is short."""
    cdef Cell* cell
    cdef Series* state
    if 2 * (t.count + 1) > t.mask + 1 and table_grow(t):
        return NULL
    state = <Series*>calloc(1, sizeof(Series))
    if state != NULL:
        state.id = id
        cell = table_cell(t, id)
        cell.id = id
        cell.state = state
        t.count += 1
    return state


cdef void table_drop(Table* t, uint64_t id) noexcept nogil:
    """Forget an id that is there, and close the hole, so that searches need no marks."""
    cdef size_t i = table_cell(t, id) - t.cells, k = i, home
    free(t.cells[i].state)
    t.count -= 1
    while True:
        k = (k + 1) & t.mask
        if t.cells[k].id == 0:
            break
        home = stirred(t.cells[k].id) & t.mask
        if ((k - home) & t.mask) >= ((k - i) & t.mask):
            t.cells[i] = t.cells[k]
            i = k
    t.cells[i].id = 0
    t.cells[i].state = NULL


cdef void table_end(Table* t) noexcept nogil:
    cdef size_t i
    if t.cells != NULL:
        for i in range(t.mask + 1):
            free(t.cells[i].state)
        free(t.cells)
