"""Of the kernel in mix.pyx: what it stores, and how that becomes a mix again."""

cdef bytes column(str code, const void* start, Py_ssize_t count):
    """The bytes of `count` numbers of an array type code, least significant first."""
    numbers = array.array(code)
    numbers.frombytes(PyBytes_FromStringAndSize(<const char*>start, count * numbers.itemsize))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


cdef Py_ssize_t fill(str code, void* start, Py_ssize_t count, const unsigned char[::1] parts, Py_ssize_t at) except -1:
    """The way back; -> where the next column begins. There are enough bytes."""
    numbers = array.array(code)
    cdef Py_ssize_t stop = at + count * numbers.itemsize
    numbers.frombytes(PyBytes_FromStringAndSize(<const char*>&parts[at], stop - at))
    if sys.byteorder == "big":
        numbers.byteswap()
    cdef bytes native = numbers.tobytes()
    memcpy(start, PyBytes_AS_STRING(native), stop - at)
    return stop


cdef list columns_of(Mix mix):
    """(array type code, address, numbers) of everything that does not follow from the rest."""
    cdef Tables* t = mix.t
    return [
        ("i", <size_t>&mix.window, 1), ("i", <size_t>&mix.hop, 1), ("i", <size_t>&t.known, 1), ("i", <size_t>&t.left, 1),
        ("i", <size_t>&mix.last, 1), ("i", <size_t>&mix.before, 1), ("Q", <size_t>&mix.lines, 1), ("q", <size_t>&mix.blocks, 1),
        ("Q", <size_t>&mix.block_due, 1), ("Q", <size_t>&mix.lap_due, 1), ("Q", <size_t>mix.due, HORIZONS),
        ("Q", <size_t>mix.fold_due, HORIZONS), ("d", <size_t>mix.moment, 8), ("d", <size_t>mix.open, SERIES),
        ("d", <size_t>mix.lap, LAPS), ("Q", <size_t>mix.found, SERIES * (sizeof(Finding) // sizeof(uint64_t))),
        ("B", <size_t>mix.number, 5 * mix.ring), ("Q", <size_t>t.id, KNOWN), ("f", <size_t>t.gain, KNOWN),
        ("f", <size_t>t.spread, KNOWN), ("f", <size_t>t.plain, KNOWN), ("f", <size_t>t.burst, KNOWN),
        ("B", <size_t>t.idle, KNOWN), ("H", <size_t>t.seen, KNOWN), ("H", <size_t>t.arrived, KNOWN),
        ("B", <size_t>t.level, sizeof(t.level)), ("I", <size_t>t.pairs, PAIRS), ("H", <size_t>t.door, DOOR),
        ("B", <size_t>t.follower, INDEX), ("f", <size_t>t.maximum, SERIES * MAXIMA), ("f", <size_t>t.strangest, BLOCKS),
    ]


cdef inline bint between(double low, double number, double high) noexcept nogil:
    """False for NaN as well."""
    return low <= number <= high


cdef bint sound(Mix mix) noexcept:
    """Whether every number is one that a mix could have stored."""
    cdef Tables* t = mix.t
    cdef int i
    if mix.blocks < 0 or not 1 <= t.known <= KNOWN:
        return False
    if not (-1 <= t.left < KNOWN and -1 <= mix.last < KNOWN and -1 <= mix.before < KNOWN):
        return False
    if (mix.last < 0 and mix.lines > 0) or (mix.before < 0 and mix.lines > 1):
        return False
    for i in range(0, 8, 2):
        if not (between(-64.0, mix.moment[i], 64.0) and between(0.0, mix.moment[i + 1], 1e6)):
            return False
    for i in range(LAPS):
        if not between(0.0, mix.lap[i], 1e9):
            return False
    for i in range(SERIES):
        if not (between(0.0, mix.open[i], 1e9) and between(0.0, mix.found[i].nats, 1e9)):
            return False
        if not between(0.0, mix.found[i].horizon, 256.0 * HORIZON_MAX):
            return False
    for i in range(SERIES * MAXIMA):
        if not between(0.0, (<float*>t.maximum)[i], 1e9):
            return False
    for i in range(BLOCKS):
        if not between(0.0, t.strangest[i], 1e9):
            return False
    for i in range(mix.ring):
        if mix.number[i] >= KNOWN:
            return False
    for i in range(KNOWN):
        if not (between(-64.0, t.gain[i], 64.0) and between(0.0, t.spread[i], 1e6)):
            return False
        if not (between(0.0, t.plain[i], HORIZON_MAX) and between(0.0, t.burst[i], 1e9)):
            return False
        if (t.id[i] != 0) != (1 <= i < t.known) or t.seen[i] > SEEN_FULL:
            return False
    for i in range(PAIRS):
        if t.pairs[i] and (t.pairs[i] >> 24 >= KNOWN or t.pairs[i] >> 16 & 255 >= KNOWN or t.pairs[i] & 0xFFFF == 0):
            return False
    return True


cdef bint restored(Mix mix) noexcept:
    """Fill in everything that follows from what was stored; False: it contradicts itself."""
    cdef Tables* t = mix.t
    cdef int h, i, n, number
    if not sound(mix):
        return False
    mix.at = <int>(mix.lines % mix.ring)
    for i in range(1, t.known):
        register(t, i)
    for i in range(KNOWN):
        t.all_arrived += t.arrived[i]
    for i in range(PAIRS):
        t.followed[t.pairs[i] >> 24] += t.pairs[i] & 0xFFFF
        t.distinct[t.pairs[i] >> 24] += t.pairs[i] != 0
    for i in range(KNOWN):
        if t.followed[i] > CONTEXT_FULL:
            return False
    for h in range(HORIZONS):
        for i in range(1, <int>min(mix.lines, <uint64_t>mix.horizon[h]) + 1):
            n = mix.back(i)
            number = mix.number[n]
            mix.squares[h] += 2 * t.count[h][number] + 1
            t.count[h][number] += 1
            if <uint64_t>i < mix.lines and mix.number[mix.back(i + 1)] != number:
                t.entries[h][number] += 1
            mix.lost_sum[h] += mix.lost[n]
            mix.saved_sum[h] += mix.saved[n]
            mix.usual_sum[h] += mix.usual[n]
            mix.suit_sum[h] += mix.followed_suit[n]
    return t.all_arrived <= ARRIVED_FULL
