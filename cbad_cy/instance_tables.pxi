"""Of instances.pyx: places of 64-bit keys, samples of whole numbers, medians of a few, and a logarithm."""

# ---- places --------------------------------------------------------------------------------------------------------


cdef inline uint32_t cell_of(const Directory* d, uint64_t key) noexcept nogil:
    return <uint32_t>(key * <uint64_t>0x9E3779B97F4A7C15 >> 32) & d.mask


cdef inline int place_of(const Directory* d, uint64_t key) noexcept nogil:
    """Where a key is; -1: nowhere."""
    cdef uint32_t at
    if d.count == 0:
        return -1
    at = cell_of(d, key)
    while d.cells[at]:
        if d.keys[d.cells[at] - 1] == key:
            return d.cells[at] - 1
        at = (at + 1) & d.mask
    return -1


cdef inline void index_key(Directory* d, int place) noexcept nogil:
    cdef uint32_t at = cell_of(d, d.keys[place])
    while d.cells[at]:
        at = (at + 1) & d.mask
    d.cells[at] = <uint16_t>(place + 1)


cdef inline uint32_t cell_with(const Directory* d, int place) noexcept nogil:
    cdef uint32_t at = cell_of(d, d.keys[place])
    while d.cells[at] != place + 1:
        at = (at + 1) & d.mask
    return at


cdef void unindex_key(Directory* d, int place) noexcept nogil:
    """Take a key out of the index; those that had to give way to it move up."""
    cdef uint32_t hole = cell_with(d, place), at = hole, home
    while True:
        at = (at + 1) & d.mask
        if d.cells[at] == 0:
            break
        home = cell_of(d, d.keys[d.cells[at] - 1])
        if ((at - home) & d.mask) >= ((at - hole) & d.mask):
            d.cells[hole] = d.cells[at]
            hole = at
    d.cells[hole] = 0


cdef int make_room(Directory* d, int room) noexcept nogil:
    """Room for so many keys, and an index for them; -> 0, or -1 when memory is short."""
    cdef uint32_t cells = 16
    cdef uint16_t* index
    cdef uint64_t* keys = <uint64_t*>realloc(d.keys, room * sizeof(uint64_t))
    cdef int i
    if keys == NULL:
        return -1
    d.keys = keys
    while cells < <uint32_t>(2 * room):
        cells *= 2
    if d.cells == NULL or cells != d.mask + 1:
        index = <uint16_t*>calloc(cells, sizeof(uint16_t))
        if index == NULL:
            return -1
        free(d.cells)
        d.cells = index
        d.mask = cells - 1
        for i in range(d.count):
            index_key(d, i)
    d.room = room
    return 0


cdef inline void enter_key(Directory* d, uint64_t key) noexcept nogil:
    """Put a key behind the others; there is room."""
    d.keys[d.count] = key
    d.count += 1
    index_key(d, d.count - 1)


# ---- samples -------------------------------------------------------------------------------------------------------


cdef inline int under(const Episodes* e, int32_t value) noexcept nogil:
    """How many are smaller."""
    cdef int low = 0, high = e.count, middle
    while low < high:
        middle = (low + high) >> 1
        if e.ordered[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


cdef void forget_oldest(Episodes* e) noexcept nogil:
    cdef int gone = under(e, e.ring[e.head])
    e.count -= 1
    memmove(&e.ordered[gone], &e.ordered[gone + 1], (e.count - gone) * sizeof(int32_t))
    e.head = (e.head + 1) % e.room


cdef void push(Episodes* e, int32_t value) noexcept nogil:
    """Take a number in; when there is no room, the oldest makes room."""
    cdef int at
    if e.count == e.room:
        forget_oldest(e)
    e.ring[(e.head + e.count) % e.room] = value
    at = under(e, value)
    memmove(&e.ordered[at + 1], &e.ordered[at], (e.count - at) * sizeof(int32_t))
    e.ordered[at] = value
    e.count += 1


cdef Episodes* new_episodes() noexcept nogil:
    """A sample for each answer and one for the whole, in one piece of memory; NULL when that is short."""
    cdef int i, numbers = 2 * (ALL * SPREADS + EPISODES)
    cdef Episodes* fresh = <Episodes*>calloc(1, (ALL + 1) * sizeof(Episodes) + numbers * sizeof(int32_t))
    cdef int32_t* at
    if fresh == NULL:
        return NULL
    at = <int32_t*>&fresh[ALL + 1]
    for i in range(ALL + 1):
        fresh[i].room = SPREADS if i < ALL else EPISODES
        fresh[i].ring = at
        fresh[i].ordered = at + fresh[i].room
        at += 2 * fresh[i].room
    return fresh


cdef inline int32_t middle_of(const Episodes* e) noexcept nogil:
    """The upper median; there is at least one."""
    return e.ordered[e.count // 2]


cdef inline int32_t high_of(const Episodes* e) noexcept nogil:
    """The upper 15/16 quantile."""
    return e.ordered[e.count * 15 // 16]


cdef uint32_t median_of(uint32_t* few, int count) noexcept nogil:
    """The upper median of a few numbers, which are put in order."""
    cdef int i, k
    cdef uint32_t value
    for i in range(1, count):
        value = few[i]
        k = i
        while k > 0 and few[k - 1] > value:
            few[k] = few[k - 1]
            k -= 1
        few[k] = value
    return few[count // 2]


# ---- numbers -------------------------------------------------------------------------------------------------------


cdef double log2_of_ratio(double x) noexcept nogil:
    """log2 of a number above 0, by exact scaling and a fixed series: the same bits on every machine.

    x = m 2^e with m in [3/4, 3/2); ln m = 2 artanh z, z = (m - 1)/(m + 1), |z| <= 1/5, so 11 terms reach double precision.
    """
    cdef int e, k
    cdef double m = frexp(x, &e), z, q, total = 0.0
    if m < 0.75:
        m *= 2.0
        e -= 1
    z = (m - 1.0) / (m + 1.0)
    q = z * z
    for k in range(21, 0, -2):
        total = total * q + 1.0 / k
    return e + 2.885390081777926814719849362 * z * total  # 2 / ln 2


cdef inline int32_t whole(double bits) noexcept nogil:
    """In 1/1024 bit."""
    return <int32_t>(bits * ONE_BIT + 0.5)
