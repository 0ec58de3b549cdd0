"""Of the kernel in mix.pyx: what past blocks make of the answers of a stretch."""

cdef inline double bounded(double part, double whole) noexcept nogil:
    if whole <= 0.0 or part <= 0.0:
        return 0.0
    return part / whole if part < whole else 1.0


cdef double distance_of(int series, const Finding* found, int horizon) noexcept nogil:
    """Effect size: 0 = as usual, 1 = as different as can be."""
    if series < RATES:
        return bounded(found.observed - found.expected, found.observed)
    if FOLLOWERS <= series < VARIETY:
        return bounded(found.observed - found.expected, horizon - found.expected)
    return bounded(found.expected - found.observed, found.expected)


cdef int reason(Mix mix, int best) noexcept nogil:
    """The series that says best why a stretch is strange: of those that are strange by themselves, the one that explains most.

    When the same line comes again and again, others are missing; when one is gone altogether, the order is another as well.
    """
    cdef int j, most = FOLLOWERS
    if mix.blocks < BLOCKS_NEEDED:
        return best
    for j in range(FOLLOWERS, SERIES):
        if mix.quotient(j) > mix.quotient(most):
            most = j
    if mix.quotient(most) > mix.high and distance_of(most, &mix.found[most], <int>mix.found[most].horizon) >= 0.5:
        return most
    if not ORDERS <= best < FOLLOWERS:
        return best
    most = RATES
    for j in range(RATES, ROWS):
        if mix.found[j].observed == 0.0 and mix.quotient(j) > mix.quotient(most):
            most = j
    return most if mix.found[most].observed == 0.0 and mix.quotient(most) > mix.high else best


cdef void fill_in(Mix mix, Pattern* found, int best, double strangest) noexcept nogil:
    cdef Finding* what = &mix.found[best]
    cdef int kept = counted(mix, BLOCKS), i, at = <int>((mix.blocks - kept) % BLOCKS), above = 0
    cdef double other, apart
    for i in range(kept):
        above += mix.t.strangest[at] >= <float>strangest
        at = at + 1 if at + 1 < BLOCKS else 0
    above += mix.lap[LAPS - 1] >= strangest
    found.confidence = <double>(kept - above) / kept if kept > above else 0.0
    found.surprise = 1.4426950408889634 * strangest
    if kept >= BLOCKS_NEEDED:
        found.p_value = min(1.0, (1.0 + above) / (1.0 + kept))
        if above == 0:
            apart = 1.0 + (strangest - mix.high) / (2.0 * mix.spread)
            other = (0.1 if kept >= 9 else found.p_value) / (apart * apart)
            if other < found.p_value / MOST_FURTHER:
                other = found.p_value / MOST_FURTHER
            if other < found.p_value:
                found.p_value = other
    found.template = what.template
    found.observed = what.observed
    found.expected = what.expected
    found.horizon = <int>what.horizon
    if best >= FOLLOWERS:
        found.question = REPEAT
        found.template = mix.most_common(LONG if found.horizon == mix.horizon[LONG] else 0)
    elif best >= ORDERS:
        found.question = ORDER
    else:
        found.question = RATE_MORE if best < RATES else RATE_LESS
    found.distance = distance_of(best, what, found.horizon)


cdef void close_block(Mix mix) noexcept nogil:
    cdef int j
    mix.note_counts()
    for j in range(SERIES):
        mix.t.maximum[j][mix.blocks % MAXIMA] = <float>mix.open[j]
        mix.open[j] = 0.0
    mix.t.strangest[mix.blocks % BLOCKS] = <float>max(mix.lap[0], max(mix.lap[1], mix.lap[LAPS - 1]))
    mix.lap[0] = mix.lap[1] = mix.lap[LAPS - 1] = 0.0
    mix.blocks += 1
    mix.block_due = mix.lines + mix.horizon[LONG]
    derive(mix)


cdef int counted(Mix mix, int64_t most) noexcept nogil:
    """Blocks that say what is usual: without the oldest third, because strange was much while nothing was known."""
    cdef int64_t newer = (2 * mix.blocks + 2) // 3
    if newer < BLOCKS_FULL:
        newer = BLOCKS_FULL
    return <int>min(min(newer, mix.blocks), most)


cdef void derive(Mix mix) noexcept nogil:
    """What the closed blocks say is usual."""
    cdef float ordered[BLOCKS]
    cdef int i, j, kept = counted(mix, MAXIMA)
    cdef double most
    for j in range(SERIES):
        mix.scale[j] = 1.0
        if kept == 0:
            continue
        for i in range(kept):
            ordered[i] = mix.t.maximum[j][(mix.blocks - 1 - i) % MAXIMA]
        ascending(ordered, kept)
        # nats that chance reaches in one of two blocks, and in three of some thirty
        mix.scale[j] = max(mix.scale[j], ordered[kept // 2] / 4.0)
        if kept >= EPISODES:
            mix.scale[j] = max(mix.scale[j], ordered[kept - EPISODES] / 6.5)
    kept = counted(mix, BLOCKS)
    mix.high = 0.0
    mix.spread = 1.0
    if kept:
        for i in range(kept):
            ordered[i] = mix.t.strangest[(mix.blocks - 1 - i) % BLOCKS]
        ascending(ordered, kept)
        mix.high = ordered[kept * 9 // 10]
        most = (mix.high - ordered[kept // 2]) / 1.6094379124341003  # ln 5
        if most > 1.0:
            mix.spread = most
