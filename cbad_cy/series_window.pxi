"""Of the kernel in series.pyx: the window code (is the newest stretch like any before?) and the record code.

The newest WINDOW values, as counts of LEVELS levels of the range seen so far, are coded by the nearest of at most SHAPES
shapes: WINDOW times the divergence of Kullback and Leibler, "On Information and Sufficiency" (Annals of Mathematical
Statistics 22, 1951), of the window from the shape.
"""

cdef inline int level_of(double v, double low, double high) noexcept nogil:
    """Of the range low..high."""
    cdef double part
    if not high > low:
        return 0
    part = (v - low) / (high - low) * LEVELS
    return 0 if not part > 0.0 else LEVELS - 1 if part >= LEVELS else <int>part


cdef void encode(Series* s, int shape) noexcept nogil:
    """The logarithms of a shape's shares."""
    cdef double seen = <double>s.uses[shape] * WINDOW, total = seen + SHAPE_EMPTY * LEVELS, code
    cdef int k
    for k in range(LEVELS):
        code = log2_of((s.shares[shape][k] * (seen / SHARE_UNIT) + SHAPE_EMPTY) / total) * SHAPE_BIT
        s.codes[k][shape] = <int16_t>(code - 0.5) if code > -32767.0 else -32767


cdef void stretch_shapes(Series* s, double old_low, double old_high) noexcept nogil:
    """The range has grown: move the shares of old levels to where their middle lies now."""
    cdef uint32_t moved[LEVELS]
    cdef int to[LEVELS]
    cdef int i, k
    for k in range(LEVELS):
        to[k] = level_of(old_low + (k + 0.5) / LEVELS * (old_high - old_low), s.low, s.high)
    for i in range(s.shape_count):
        memset(moved, 0, sizeof(moved))
        for k in range(LEVELS):
            moved[to[k]] += s.shares[i][k]
        for k in range(LEVELS):
            s.shares[i][k] = <uint16_t>moved[k] if moved[k] < SHARE_UNIT else SHARE_UNIT
        encode(s, i)


cdef void recount(Series* s, int fill) noexcept nogil:
    """The window's levels after the range has grown."""
    cdef int k
    memset(s.counts, 0, sizeof(s.counts))
    for k in range(fill):
        s.counts[level_of(s.values[k], s.low, s.high)] += 1


cdef double slide_window(Series* s, double v) noexcept nogil:
    """Take `v` into range and window, in place of the oldest value; -> share of the range by which it lies beyond, or 0."""
    cdef double old_low = s.low, old_high = s.high, beyond = 0.0
    cdef int place = <int>(s.points % WINDOW), fill = <int>(s.points) + 1 if s.points < WINDOW else WINDOW
    if s.points >= WINDOW:
        s.counts[level_of(s.values[place], s.low, s.high)] -= 1
    s.values[place] = v
    if v < s.low or v > s.high:
        if s.points > RECORD_POINTS and s.high > s.low:
            beyond = (v - s.high if v > s.high else s.low - v) / (s.high - s.low)
        s.low = smallest(s.low, v)
        s.high = largest(s.high, v)
        stretch_shapes(s, old_low, old_high)
        recount(s, fill)
    else:
        s.counts[level_of(v, s.low, s.high)] += 1
    return smallest(beyond, 1e30)


cdef int nearest_shape(const Series* s, double* bits) noexcept nogil:
    """The shape under which the window costs least, and the cost beyond the window's own entropy; -1: there is none."""
    cdef int32_t cost[SHAPES]
    cdef int32_t n
    cdef int i, k, best = 0
    if s.shape_count == 0:
        bits[0] = 0.0
        return -1
    memset(cost, 0, sizeof(cost))
    for k in range(LEVELS):
        n = s.counts[k]
        if n:
            for i in range(SHAPES):
                cost[i] -= n * s.codes[k][i]
    for i in range(1, s.shape_count):
        if cost[i] < cost[best]:
            best = i
    bits[0] = cost[best] / <double>SHAPE_BIT
    for k in range(LEVELS):
        if s.counts[k]:
            bits[0] += s.counts[k] * log2_of(s.counts[k] / <double>WINDOW)
    bits[0] = largest(bits[0], 0.0)
    return best


cdef double window_bits(Series* s) noexcept nogil:
    """The window code; then learn the window."""
    cdef double bits, share, gain = 1.0
    cdef int shape = nearest_shape(s, &bits), k
    if shape < 0:
        shape = 0
        s.shape_count = 1
        s.uses[0] = 1.0
    elif bits < SHAPE_NEW:
        s.uses[shape] += 1.0
        gain = largest(1.0 / s.uses[shape], SHAPE_GAIN)
    else:
        if s.shape_count < SHAPES:
            shape = s.shape_count
            s.shape_count += 1
        else:
            shape = 0
            for k in range(1, SHAPES):
                if s.uses[k] < s.uses[shape]:
                    shape = k
        s.uses[shape] = 1.0
    for k in range(LEVELS):
        share = s.shares[shape][k] + gain * (s.counts[k] * (SHARE_UNIT / <double>WINDOW) - s.shares[shape][k])
        s.shares[shape][k] = <uint16_t>(share + 0.5)
    encode(s, shape)
    return bits


cdef double record_code(const Series* s, double beyond, double deviation) noexcept nogil:
    """-log10 of how rare it is to leave the range by `beyond` of it: the chance of a record, and a Lomax tail.

    Less of it counts when the record is a narrow one, or near what the long past expects.
    """
    cdef double code
    if beyond <= 0.0:
        return 0.0
    code = log10_of((s.points + 1) / 2.0 + 1.0) + 2.0 * log10_of(1.0 + 10.0 * beyond)
    return code * beyond / (beyond + RECORD_HAIR) * deviation / (deviation + RECORD_FORESEEN)
