"""Of the kernel in series.pyx: how rare a surprise is among the series' own past ones."""

cdef extern from *:
    """
    typedef struct { int bins; double width, share, prior_excess, prior_weight, extreme, growth; } Ruler;
    static const Ruler POINT_RULER = {160, 0.2, 0.1, 0.5, 200.0, 0.25, CALIBRATOR_GROWTH};  /* bits, mean of about four points [N] */
    static const Ruler WINDOW_RULER = {160, 0.5, 0.1, 1.5, 200.0, 0.25, CALIBRATOR_GROWTH};  /* bits [N] */
    static const Ruler EVIDENCE_RULER = {160, 0.08, 0.05, 0.2, 30.0, 0.5, CALIBRATOR_GROWTH};  /* powers of ten [N] */
    static const Ruler SPIKE_RULER = {80, 0.5, 0.1, 0.6, 30.0, 0.25, CALIBRATOR_GROWTH};  /* scales */
    static const Ruler SHIFT_RULER = {80, 0.2, 0.1, 0.3, 200.0, 0.25, SHIFT_GROWTH};  /* doublings */
    """
    ctypedef struct Ruler:
        # How a surprise is measured: bins and their width, the share that is the tail, the tail's prior, the weight with
        # which values enter that are rarer than EXTREME, and how much heavier each point is than the one before.
        int bins
        double width, share, prior_excess, prior_weight, extreme, growth
    const Ruler POINT_RULER, WINDOW_RULER, EVIDENCE_RULER, SPIKE_RULER, SHIFT_RULER


cdef void settle_tail(Calibrator* c, const float* bins, const Ruler* r) noexcept nogil:
    """Move the border of the tail to where the bins above it hold at most their share of all."""
    cdef double most = r.share * c.total
    while c.tail > most and c.first < r.bins - 1:
        c.first += 1
        c.tail -= bins[c.first]
        c.tail_sum -= bins[c.first] * (c.first + 0.5)
    while c.first > 0 and c.tail + bins[c.first] <= most:
        c.tail += bins[c.first]
        c.tail_sum += bins[c.first] * (c.first + 0.5)
        c.first -= 1


cdef void scale_back(Calibrator* c, float* bins, const Ruler* r) noexcept nogil:
    """Before weights grow too large for single precision."""
    cdef int k
    c.tail = c.tail_sum = 0.0
    for k in range(r.bins):
        bins[k] = <float>(bins[k] / WEIGHT_MOST)
        if k > c.first:
            c.tail += bins[k]
            c.tail_sum += bins[k] * (k + 0.5)
    c.total /= WEIGHT_MOST
    c.weight /= WEIGHT_MOST


cdef double sum_of(const float* numbers, int count) noexcept nogil:
    """In four threads, which the processor runs at once."""
    cdef double a = 0.0, b = 0.0, c = 0.0, d = 0.0
    cdef int k = 0
    while k + 4 <= count:
        a += numbers[k]
        b += numbers[k + 1]
        c += numbers[k + 2]
        d += numbers[k + 3]
        k += 4
    while k < count:
        a += numbers[k]
        k += 1
    return (a + b) + (c + d)


cdef double rareness(Calibrator* c, float* bins, const Ruler* r, double value) noexcept nogil:
    """-log10 of the share of past values at least as high, 0 while little is known, at most TAIL_MOST; then learn `value` >= 0.

    Above the highest share of the past an exponential tail goes on, whose mean excess is taken from the tail and from
    `prior_weight` points of `prior_excess` (peaks over threshold: Pickands, Annals of Statistics 3, 1975). A rare value enters
    with less weight, so that a few anomalies do not become what is usual.
    """
    cdef double rare = 0.0, above, border, excess, weight
    cdef int k = 0 if value <= 0.0 else <int>(value / r.width) if value < r.width * r.bins else r.bins - 1
    cdef float old
    if c.total >= 5.0 * c.weight:
        if k <= c.first:
            if 2 * k > c.first:
                above = c.tail + sum_of(&bins[k + 1], c.first - k) + 0.5 * bins[k]
            else:  # the shorter way
                above = c.total - sum_of(bins, k) - 0.5 * bins[k]
            rare = -log10_of((above + 0.5 * c.weight) / (c.total + c.weight))
        else:
            border = (c.first + 1) * r.width
            excess = largest((c.tail_sum * r.width - c.tail * border) / c.weight, 0.0)
            excess = (excess + r.prior_excess * r.prior_weight) / (c.tail / c.weight + r.prior_weight)
            rare = (value - border) / excess / LN_10 - log10_of((c.tail + 0.5 * c.weight) / (c.total + c.weight))
        rare = smallest(largest(rare, 0.0), TAIL_MOST)
    weight = c.weight if rare < EXTREME else c.weight * r.extreme
    old = bins[k]
    bins[k] = <float>(old + weight)
    weight = <double>bins[k] - old  # what single precision has kept of it
    c.total += weight
    if k > c.first:
        c.tail += weight
        c.tail_sum += weight * (k + 0.5)
    c.weight *= r.growth
    settle_tail(c, bins, r)
    if c.weight > WEIGHT_MOST:
        scale_back(c, bins, r)
        settle_tail(c, bins, r)
    return rare
