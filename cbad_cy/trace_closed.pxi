"""Of traces.pyx: hashes of the ids of traces that closed lately, oldest first, found by an index: a ring with two bounds."""


cdef bint is_closed(const Table* t, uint64_t hash) noexcept nogil:
    cdef uint32_t i
    if t.gone_tail == t.gone_head:
        return False
    i = <uint32_t>(hash >> 32) & t.gone_mask
    while t.gone_index[i]:
        if t.gone[t.gone_index[i] - 1].hash == hash:
            return True
        i = (i + 1) & t.gone_mask
    return False


cdef inline void enter_closed(Table* t, uint64_t number) noexcept nogil:
    cdef uint32_t place = <uint32_t>(number & (t.gone_room - 1)), i = <uint32_t>(t.gone[place].hash >> 32) & t.gone_mask
    while t.gone_index[i]:
        i = (i + 1) & t.gone_mask
    t.gone_index[i] = place + 1


cdef void forget_closed(Table* t) noexcept nogil:
    """Forget the oldest; those that stand behind it in the index because of it move up."""
    cdef uint32_t place = <uint32_t>(t.gone_head & (t.gone_room - 1)), i = <uint32_t>(t.gone[place].hash >> 32) & t.gone_mask
    cdef uint32_t k, home
    while t.gone_index[i] != place + 1:
        i = (i + 1) & t.gone_mask
    k = i
    while True:
        k = (k + 1) & t.gone_mask
        if t.gone_index[k] == 0:
            break
        home = <uint32_t>(t.gone[t.gone_index[k] - 1].hash >> 32) & t.gone_mask
        if ((k - home) & t.gone_mask) >= ((k - i) & t.gone_mask):
            t.gone_index[i] = t.gone_index[k]
            i = k
    t.gone_index[i] = 0
    t.gone_head += 1


cdef void forget_late(Table* t) noexcept nogil:
    """Forget what closed `late_ns` ago or earlier."""
    while t.gone_head < t.gone_tail and t.gone[t.gone_head & (t.gone_room - 1)].closed_ns + t.late_ns <= t.latest_ns:
        forget_closed(t)


cdef int grow_closed(Table* t) noexcept nogil:
    """-> 0, -1 when memory is short."""
    cdef uint32_t room = 2 * t.gone_room if t.gone_room else 256
    cdef Gone* gone = <Gone*>malloc(room * sizeof(Gone))
    cdef uint32_t* index = <uint32_t*>calloc(2 * <size_t>room, sizeof(uint32_t))
    cdef uint64_t n
    if gone == NULL or index == NULL:
        free(gone)
        free(index)
        return -1
    for n in range(t.gone_head, t.gone_tail):
        gone[n & (room - 1)] = t.gone[n & (t.gone_room - 1)]
    free(t.gone)
    free(t.gone_index)
    t.gone, t.gone_index, t.gone_room, t.gone_mask = gone, index, room, 2 * room - 1
    for n in range(t.gone_head, t.gone_tail):
        enter_closed(t, n)
    return 0


cdef int remember_closed(Table* t, uint64_t hash, uint64_t closed_ns) noexcept nogil:
    """-> 0, -1 when memory is short."""
    if t.gone_tail - t.gone_head >= t.closed_max:
        forget_closed(t)
    if t.gone_tail - t.gone_head == t.gone_room and grow_closed(t) != 0:
        return -1
    t.gone[t.gone_tail & (t.gone_room - 1)] = Gone(hash, closed_ns)
    enter_closed(t, t.gone_tail)
    t.gone_tail += 1
    return 0
