"""Of the kernel in series.pyx: how long a series usually pauses, and when it is late.

A decaying histogram of pauses over the usual one, in half octaves, and a Pareto tail above the longest fiftieth, whose index is
Hill's ("A Simple General Approach to Inference About the Tail of a Distribution", Annals of Statistics 3, 1975) with a prior of
index 6. A Pareto tail is heavier than that of any jitter that queues and timers make, so irregular series wait longer.
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


cdef void gap_tail(const Series* s, GapTail* tail) noexcept nogil:
    cdef double beyond = 0.0, centres = 0.0, excess
    cdef int k = GAP_BINS - 1
    while k > 0 and beyond + s.gaps[k] <= GAP_TAIL * s.gap_total:
        beyond += s.gaps[k]
        centres += s.gaps[k] * (k + 0.5) * 0.5
        k -= 1
    tail.octaves = (k + 1) * 0.5
    tail.share = (beyond + 0.5 * s.gap_weight) / (s.gap_total + s.gap_weight)
    excess = (centres - beyond * tail.octaves) / s.gap_weight + GAP_PRIOR_OCTAVES * GAP_PRIOR_PAUSES
    tail.mean = excess / (beyond / s.gap_weight + GAP_PRIOR_PAUSES)


cdef double share_of_gaps(const Series* s, double gap_s) noexcept nogil:
    """Share of pauses that last at least so long, (0, 1]."""
    cdef GapTail tail
    cdef double octaves, longer = 0.0
    cdef int k
    if s.points < GAP_POINTS or not gap_s > s.step_s:
        return 1.0
    gap_tail(s, &tail)
    octaves = log2_of(gap_s / s.step_s)
    if octaves >= tail.octaves:
        return tail.share * power_of_two(largest((tail.octaves - octaves) / tail.mean, -900.0))
    for k in range(<int>(2.0 * octaves), GAP_BINS):
        longer += s.gaps[k]
    return smallest((longer + 0.5 * s.gap_weight) / (s.gap_total + s.gap_weight), 1.0)


cdef double longest_gap(const Series* s, double p_day) noexcept nogil:
    """Seconds of the pause that is longer than all but `p_day` / (points a day) of them; 0: nothing can be said."""
    cdef GapTail tail
    cdef double octaves
    if s.points < GAP_POINTS:
        return 0.0
    gap_tail(s, &tail)
    octaves = largest(log2_of(tail.share / (p_day * smallest(s.step_s / DAY_S, 1.0))), 0.0)
    octaves = largest(tail.octaves + octaves * tail.mean, 1.0)
    return s.step_s * power_of_two(octaves) if octaves < 60.0 else 0.0
