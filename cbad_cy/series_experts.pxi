"""Of the kernel in series.pyx: the point code, a mixture of ten predictive densities.

Weights follow the fixed-share forecaster of Herbster and Warmuth, "Tracking the Best Expert", Machine Learning 32 (1998), under
log loss. A density is a double Lomax one: survival (1 + z/3)^-4 / 2 at z scales, mean deviation of one scale, a variance, and a
tail heavy enough that no value is impossible.
"""

cdef struct Prediction:
    # What the experts said before a point came.
    double values[POINT_EXPERTS]
    double scales[POINT_EXPERTS]
    double weights[EXPERT_COUNT]  # 0: has no say yet
    double quantum                # width of the bin in which the value fell


cdef void predict(const Series* s, int day_slot, int week_slot, double v, Prediction* p) noexcept nogil:
    """For the point with number `s.points`, at least 1. Of `v` only the size is used, for the quantum."""
    cdef double usual = largest(s.change, FINEST), floor, size = v if v >= 0.0 else -v
    cdef int k
    p.quantum = largest(largest(s.least, 1e-3 * usual), largest(size * FINEST_SHARE, FINEST))
    p.values[LAST] = s.prev
    p.values[FAST] = s.fast
    p.values[LEVEL] = s.level
    p.values[SLOW] = s.slow
    p.values[TREND] = s.trend_level + s.trend
    p.values[DAY] = s.origin + s.day[day_slot]
    p.values[WEEK] = s.origin + s.week[week_slot]
    p.values[DAY_CHANGE] = s.prev + (<double>s.day[day_slot] - s.day[s.day_slot])
    p.values[MOMENTUM] = 2.0 * s.prev - s.before
    for k in range(POINT_EXPERTS):
        p.scales[k] = s.scales[k]
        p.weights[k] = s.weights[k]
    p.scales[DAY] = 0.5 * s.scales[DAY] + 0.5 * long_of(s.day_scale[day_slot])
    p.scales[WEEK] = 0.5 * s.scales[WEEK] + 0.5 * long_of(s.week_scale[week_slot])
    floor = largest(LEAST_SCALE * usual, 0.3 * p.quantum)
    for k in range(POINT_EXPERTS):
        p.scales[k] = largest(p.scales[k], floor)
    if s.points < YOUNG:
        floor = 0.1 * (s.prev if s.prev >= 0.0 else -s.prev)
        for k in range(POINT_EXPERTS):
            p.scales[k] = 2.0 * largest(p.scales[k], floor)
    p.weights[RANGE] = s.weights[RANGE] if s.cell_width > 0.0 else 0.0
    if s.day_counts[day_slot] == 0:
        p.weights[DAY] = p.weights[DAY_CHANGE] = 0.0
    if s.week_counts[week_slot] == 0:
        p.weights[WEEK] = 0.0
    if s.points < 3:
        p.weights[MOMENTUM] = 0.0


cdef double cell_mass(const Series* s, double v, double quantum) noexcept nogil:
    """Of the bin around `v` under the long-run distribution."""
    cdef double j = (v - s.cells_low) / s.cell_width, total = s.cells_total / s.cell_weight + CELLS * RANGE_EMPTY, beyond
    if j < 0.0 or j >= CELLS:
        beyond = 1.0 + 4.0 * (-j if j < 0.0 else j - CELLS) / CELLS
        return smallest(0.5 / total / (beyond * beyond) * quantum / s.cell_width / CELLS, 1.0)
    return (s.cells[<int>j] / s.cell_weight + RANGE_EMPTY) / total * smallest(1.0, quantum / s.cell_width)


cdef double price(const Series* s, double v, const Prediction* p, double* masses) noexcept nogil:
    """Mass of the bin around `v` under the mixture; that of each expert goes to `masses`."""
    cdef double z, half, a, b, m, total = 0.0, weight = 0.0
    cdef int k
    for k in range(POINT_EXPERTS):
        z = distance(v, p.values[k]) / p.scales[k]
        half = 0.5 * p.quantum / p.scales[k]
        a = 1.0 + (z - half) / 3.0
        b = 1.0 + (z + half) / 3.0
        if z < half:
            a = 1.0 + half / 3.0
        a *= a
        b *= b
        a = 1.0 / (a * a)
        b = 1.0 / (b * b)
        m = 1.0 - a if z < half else 0.5 * (a - b)
        masses[k] = largest(m, LEAST_MASS)
    masses[RANGE] = largest(cell_mass(s, v, p.quantum), LEAST_MASS) if p.weights[RANGE] > 0.0 else 0.0
    for k in range(EXPERT_COUNT):
        total += p.weights[k] * masses[k]
        weight += p.weights[k]
    return total / weight


cdef void reward(Series* s, double v, const Prediction* p, const double* masses, double mass) noexcept nogil:
    """Move weight to the experts that said it, and learn how wrong each one is."""
    cdef double total = 0.0, error, least = LEAST_SCALE * largest(s.change, FINEST)
    cdef int k
    for k in range(EXPERT_COUNT):
        if p.weights[k] > 0.0:
            s.weights[k] *= masses[k] / mass
        total += s.weights[k]
    for k in range(EXPERT_COUNT):
        s.weights[k] = (1.0 - SHARE) * s.weights[k] / total + SHARE / EXPERT_COUNT
    for k in range(POINT_EXPERTS):
        if p.weights[k] > 0.0:
            error = distance(v, p.values[k])
            if s.scale_counts[k] > 20:
                error = smallest(error, SCALE_CLIP * largest(s.scales[k], least))
            if s.scale_counts[k] < SCALE_COUNT_MOST:
                s.scale_counts[k] += 1
            s.scales[k] += largest(SCALE_GAIN, 1.0 / (s.scale_counts[k] + 1)) * (error - s.scales[k])


cdef void learn_step(Series* s, double v) noexcept nogil:
    """How far apart neighbouring values are."""
    cdef double step = distance(v, s.prev)
    if step > 0.0 and (s.least == 0.0 or step < s.least):
        s.least = step
    if s.points > CELLS_FROM:
        step = smallest(step, 10.0 * s.change)
    s.change += largest(STEP_GAIN, 1.0 / (s.points + 1)) * (step - s.change)


cdef void learn_levels(Series* s, double v) noexcept nogil:
    cdef double old = s.trend_level, young = 1.0 / (s.points + 1)
    s.fast += FAST_GAIN * (v - s.fast)
    s.level += largest(LEVEL_GAIN, young) * (v - s.level)
    s.slow += largest(SLOW_GAIN, young) * (v - s.slow)
    s.trend_level = s.trend_level + s.trend + TREND_LEVEL_GAIN * (v - s.trend_level - s.trend)
    s.trend += TREND_GAIN * (s.trend_level - old - s.trend)


cdef inline void learn_slot(
    float* mean, uint16_t* deviation, uint8_t* count, double v, double change, double least_gain
) noexcept nogil:
    """One slot of a season; `v` relative to the origin. Its first deviation is the mean step."""
    cdef double error = distance(v, mean[0]) if count[0] > 0 else change, usual = long_of(deviation[0]), gain
    if count[0] < SLOT_COUNT_MOST:
        count[0] += 1
    gain = largest(least_gain, 1.0 / count[0])
    if count[0] > 8:
        error = smallest(error, SCALE_CLIP * usual + FINEST)
    deviation[0] = short_of(usual + gain * (smallest(error, TABLE_MOST) - usual))
    mean[0] = <float>(mean[0] + gain * (v - mean[0]))


cdef void learn_seasons(Series* s, double v, int day_slot, int week_slot) noexcept nogil:
    cdef double u = bounded(v - s.origin, TABLE_MOST)
    learn_slot(&s.day[day_slot], &s.day_scale[day_slot], &s.day_counts[day_slot], u, s.change, DAY_GAIN)
    learn_slot(&s.week[week_slot], &s.week_scale[week_slot], &s.week_counts[week_slot], u, s.change, WEEK_GAIN)
    s.day_slot = <uint8_t>day_slot


cdef inline int cell_of(const Series* s, double v) noexcept nogil:
    cdef double j = (v - s.cells_low) / s.cell_width
    return 0 if not j > 0.0 else CELLS - 1 if j >= CELLS else <int>j


cdef void begin_cells(Series* s) noexcept nogil:
    """Lay the long-run distribution out over the first points, which are all in `s.values`."""
    cdef double low = s.values[0], high = s.values[0], span
    cdef int k, count = CELLS_FROM + 1
    for k in range(count):
        low = smallest(low, s.values[k])
        high = largest(high, s.values[k])
    span = largest(high - low, 1e-9 + 1e-6 * (high if high >= 0.0 else -high))
    s.cell_width = 2.0 * span / CELLS
    s.cells_low = low - 0.5 * span
    for k in range(count):
        s.cells[cell_of(s, s.values[k])] += 1.0
    s.cells_total = count
    s.cell_weight = 1.0


cdef void widen_cells(Series* s, bint upward) noexcept nogil:
    """Twice the range in as many cells."""
    cdef int k
    cdef float wide[CELLS]
    memset(wide, 0, sizeof(wide))
    for k in range(CELLS):
        wide[k // 2 if upward else (k + CELLS) // 2] += s.cells[k]
    if not upward:
        s.cells_low -= CELLS * s.cell_width
    s.cell_width *= 2.0
    memcpy(s.cells, wide, sizeof(wide))


cdef void learn_cells(Series* s, double v) noexcept nogil:
    """The long-run distribution. A value far beyond doubles it 60 times and no more; the rest is its last cell."""
    cdef int k
    for k in range(60):
        if v >= s.cells_low + CELLS * s.cell_width:
            widen_cells(s, True)
        elif v < s.cells_low:
            widen_cells(s, False)
        else:
            break
    s.cell_weight /= RANGE_GAIN
    k = cell_of(s, v)
    s.cells[k] = <float>(s.cells[k] + s.cell_weight)
    s.cells_total += s.cell_weight
    if s.cell_weight > WEIGHT_MOST:
        for k in range(CELLS):
            s.cells[k] = <float>(s.cells[k] / WEIGHT_MOST)
        s.cells_total /= WEIGHT_MOST
        s.cell_weight /= WEIGHT_MOST


cdef void set_range(const Series* s, double mean, double reach, Judged* out) noexcept nogil:
    """What was never negative is not expected to be."""
    cdef double least = 0.0 if s.low >= 0.0 else mean - reach
    out.expected = largest(mean, least)
    out.low = largest(mean - reach, least)
    out.high = largest(mean + reach, least)


cdef void expect(const Series* s, const Prediction* p, Judged* out) noexcept nogil:
    """The mixture's mean and range, and its heaviest expert.

    The scale of the mixture is the weighted mean of the experts' scales and of their distances from the mean; how many such
    scales hold all but BAND_MISS of the points is learned from the points themselves (`learn_band`).
    """
    cdef double weight = 0.0, mean = 0.0, scale = 0.0
    cdef int k, heaviest = LAST
    for k in range(POINT_EXPERTS):
        weight += p.weights[k]
        mean += p.weights[k] * p.values[k]
        if p.weights[k] > p.weights[heaviest]:
            heaviest = k
    mean /= weight
    for k in range(POINT_EXPERTS):
        scale += p.weights[k] * (p.scales[k] + distance(p.values[k], mean))
    out.expert = RANGE if p.weights[RANGE] > p.weights[heaviest] else heaviest
    set_range(s, mean, scale * s.band / weight, out)


cdef void learn_band(Series* s, double v, const Judged* out) noexcept nogil:
    """Quantile tracking: wider after a miss, a little narrower after a hit, so that in the long run BAND_MISS are missed."""
    cdef double gain = BAND_GAIN if s.points >= LEARNING else BAND_GAIN_YOUNG
    if out.low <= v <= out.high:
        s.band = largest(s.band / (1.0 + gain * BAND_MISS / (1.0 - BAND_MISS)), BAND_LEAST)
    else:
        s.band = smallest(s.band * (1.0 + gain), BAND_MOST)
