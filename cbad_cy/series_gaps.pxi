"""Of the kernel in series.pyx: how long a series usually pauses, and when it is late.

A decaying histogram of pauses over the usual one, in half octaves, and a Pareto tail above the longest fiftieth, whose index is
Hill's ("A Simple General Approach to Inference About the Tail of a Distribution", Annals of Statistics 3, 1975) with a prior of
index 6. A Pareto tail is heavier than that of any jitter that queues and timers make, so irregular series wait longer. One
long pause, or up to eight that the others do not explain, are outages: as long again is allowed, and no more.
"""

cdef struct GapTail:
    double octaves   # of its border over the usual pause
    double share     # of pauses beyond the border
    double mean      # octaves by which they are beyond, at the mean; 1 / index


cdef void learn_gap(Series* s, double gap_s) noexcept nogil:
    """Count a pause after the usual one has been learned from it."""
    cdef double part = gap_s / s.step_s
    cdef int k = 0
    if part > 1.4:
        k = <int>smallest(largest(2.0 * log2_of(part), 0.0), GAP_BINS - 1)
    s.gaps[k] = <float>(s.gaps[k] + s.gap_weight)
    s.gap_total += s.gap_weight
    s.gap_weight *= GAP_GROWTH
    if s.gap_weight > WEIGHT_MOST:
        for k in range(GAP_BINS):
            s.gaps[k] = <float>(s.gaps[k] / WEIGHT_MOST)
        s.gap_total /= WEIGHT_MOST
        s.gap_weight /= WEIGHT_MOST


cdef void gap_tail(const Series* s, int bins, GapTail* tail) noexcept nogil:
    """By the pauses in the lowest `bins`; those in bins above are left out."""
    cdef double total = s.gap_total, beyond = 0.0, centres = 0.0, excess
    cdef int k = bins - 1, j
    for j in range(bins, GAP_BINS):
        total -= s.gaps[j]
    total = largest(total, 0.0)
    while k > 0 and beyond + s.gaps[k] <= GAP_TAIL * total:
        beyond += s.gaps[k]
        centres += s.gaps[k] * (k + 0.5) * 0.5
        k -= 1
    tail.octaves = (k + 1) * 0.5
    tail.share = (beyond + 0.5 * s.gap_weight) / (total + s.gap_weight)
    excess = (centres - beyond * tail.octaves) / s.gap_weight + GAP_PRIOR_OCTAVES * GAP_PRIOR_PAUSES
    tail.mean = excess / (beyond / s.gap_weight + GAP_PRIOR_PAUSES)


cdef double share_of_gaps(const Series* s, double gap_s) noexcept nogil:
    """Share of pauses that last at least so long, (0, 1]."""
    cdef GapTail tail
    cdef double octaves, longer = 0.0
    cdef int k
    if s.points < GAP_POINTS or not gap_s > s.step_s:
        return 1.0
    gap_tail(s, GAP_BINS, &tail)
    octaves = log2_of(gap_s / s.step_s)
    if octaves >= tail.octaves:
        return tail.share * power_of_two(largest((tail.octaves - octaves) / tail.mean, -900.0))
    for k in range(<int>(2.0 * octaves), GAP_BINS):
        longer += s.gaps[k]
    return smallest((longer + 0.5 * s.gap_weight) / (s.gap_total + s.gap_weight), 1.0)


cdef double longest_octaves(const Series* s, int bins, double p) noexcept nogil:
    """Octaves over the usual pause of the one that is longer than all but a share `p`, by the pauses in the lowest `bins`."""
    cdef GapTail tail
    gap_tail(s, bins, &tail)
    return tail.octaves + largest(log2_of(tail.share / p), 0.0) * tail.mean


cdef double longest_gap(const Series* s, double p_day) noexcept nogil:
    """Seconds of the pause that is longer than all but `p_day` / (points a day) of them; 0: nothing can be said.

    The longest pause alone, and the `GAP_LONE` longest where all are beyond what the others allow, allow one of their length.
    """
    cdef double p = p_day * smallest(s.step_s / DAY_S, 1.0), lone = 0.0, rest, octaves
    cdef int k, widest = 0
    if s.points < GAP_POINTS:
        return 0.0
    octaves = longest_octaves(s, GAP_BINS, p)
    for k in range(GAP_BINS - 1, 0, -1):
        if s.gaps[k] > 0.0:
            lone += s.gaps[k]
            if lone > GAP_LONE * s.gap_weight:
                break
            if widest == 0:
                widest = k + 1
            rest = longest_octaves(s, k, p)
            if lone <= s.gap_weight or rest <= 0.5 * k:
                octaves = smallest(octaves, largest(rest, 0.5 * widest))
    octaves = largest(octaves, 1.0)
    return s.step_s * power_of_two(octaves) if octaves < 60.0 else 0.0
