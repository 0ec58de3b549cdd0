"""Of the kernel in mix.pyx: which templates have a number, and how often one followed another."""

# ---- pairs -----------------------------------------------------------------------------------------------------------

cdef inline int one_bucket(uint32_t key) noexcept nogil:
    """First cell of the first bucket that may hold a pair."""
    return <int>(key * <uint32_t>0x9E3779B1 >> 25) * WAYS


cdef inline int other_bucket(uint32_t key) noexcept nogil:
    return <int>(key * <uint32_t>0x85EBCA77 >> 25) * WAYS


cdef void drop_pair(Tables* t, int cell) noexcept nogil:
    cdef uint32_t pair = t.pairs[cell]
    t.followed[pair >> 24] -= pair & 0xFFFF
    t.distinct[pair >> 24] -= 1
    t.pairs[cell] = 0


cdef int pair_cell(Tables* t, int context, int number) noexcept nogil:
    """Where a pair is counted; -1: nowhere."""
    cdef uint32_t key = context << 8 | number
    cdef int one = one_bucket(key), other = other_bucket(key), i
    for i in range(one, one + WAYS):
        if t.pairs[i] >> 16 == key and t.pairs[i]:
            return i
    for i in range(other, other + WAYS):
        if t.pairs[i] >> 16 == key and t.pairs[i]:
            return i
    return -1


cdef void halve(Tables* t, int context) noexcept nogil:
    cdef uint32_t count
    cdef int i
    t.followed[context] = 0
    t.distinct[context] = 0
    for i in range(PAIRS):
        if t.pairs[i] and <int>(t.pairs[i] >> 24) == context:
            count = (t.pairs[i] & 0xFFFF) >> 1
            t.pairs[i] = (t.pairs[i] & <uint32_t>0xFFFF0000 | count) if count else 0
            t.followed[context] += count
            t.distinct[context] += count > 0


cdef void learn(Tables* t, int context, int number) noexcept nogil:
    """Count that one line followed another; the least of both buckets makes room, of equals the first."""
    cdef uint32_t key = context << 8 | number
    cdef int cell = pair_cell(t, context, number), i, other
    if cell < 0:
        cell = one_bucket(key)
        other = other_bucket(key)
        for i in range(cell + 1, cell + WAYS):
            if t.pairs[i] & 0xFFFF < t.pairs[cell] & 0xFFFF:
                cell = i
        for i in range(other, other + WAYS):
            if t.pairs[i] & 0xFFFF < t.pairs[cell] & 0xFFFF:
                cell = i
        if t.pairs[cell]:
            drop_pair(t, cell)
        t.pairs[cell] = key << 16
        t.distinct[context] += 1
    t.pairs[cell] += UNIT
    t.followed[context] += UNIT
    if t.followed[context] > CONTEXT_FULL:
        halve(t, context)
    if context == number:
        return
    t.arrived[number] += UNIT
    t.all_arrived += UNIT
    if t.all_arrived > ARRIVED_FULL:
        t.all_arrived = 0
        for i in range(KNOWN):
            t.arrived[i] >>= 1
            t.all_arrived += t.arrived[i]


# ---- templates -------------------------------------------------------------------------------------------------------

cdef void register(Tables* t, int number) noexcept nogil:
    cdef int i = <int>(stirred(t.id[number]) & (INDEX - 1))
    while t.index[i]:
        i = (i + 1) & (INDEX - 1)
    t.index[i] = <uint8_t>number


cdef int least(Tables* t) noexcept nogil:
    """The number that is worth least, of equals the smallest; 0: all are in use."""
    cdef int n, at = 0
    cdef uint32_t worth, smallest = 0
    for n in range(1, KNOWN):
        if t.count[LONG][n] or n == t.left:
            continue
        worth = t.followed[n] + t.arrived[n]
        if at == 0 or worth < smallest:
            at = n
            smallest = worth
    return at


cdef void forget(Tables* t, int number) noexcept nogil:
    cdef int i, row
    cdef uint32_t pair
    for i in range(PAIRS):
        pair = t.pairs[i]
        if pair and (<int>(pair >> 24) == number or <int>(pair >> 16 & 255) == number):
            drop_pair(t, i)
    t.all_arrived -= t.arrived[number]
    t.arrived[number] = 0
    t.seen[number] = 0
    t.idle[number] = 0
    t.gain[number] = t.plain[number] = t.burst[number] = 0.0
    t.spread[number] = 4.0
    for row in range(ROWS):
        memset(t.level[row][number], 0, 5)
    t.id[number] = 0
    memset(t.index, 0, INDEX)
    for i in range(1, KNOWN):
        if t.id[i]:
            register(t, i)


cdef int number_of(Tables* t, uint64_t template) noexcept nogil:
    """Number of a template; 0 when it has none and gets none."""
    cdef uint64_t h = stirred(template)
    cdef int i = <int>(h & (INDEX - 1)), n
    cdef uint16_t mark = <uint16_t>(h >> 48) | 1
    while t.index[i]:
        if t.id[t.index[i]] == template:
            return t.index[i]
        i = (i + 1) & (INDEX - 1)
    if t.known < KNOWN:
        n = t.known
        t.known += 1
    else:
        i = <int>(h >> 32) & (DOOR - 1)
        if t.door[i] != mark:  # one glimpse is no reason to forget another template
            t.door[i] = mark
            return 0
        t.door[i] = 0
        n = least(t)
        if n == 0:
            return 0
        forget(t, n)
    t.id[n] = template
    register(t, n)
    return n
