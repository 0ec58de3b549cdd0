"""Of calls.pyx: a monitor adds up what calls say for each of eight alternatives, and knows how far such sums go by chance.

Sums are CUSUMs (Page, Biometrika 41, 1954) of log likelihood ratios in bits. Calls are no independent draws, so no theory of
sums says where to alarm: the heights of earlier excursions of the same sum do (peaks over a threshold, exponential tail).
What a sum can gain in a moment is bounded by a reserve that fills with time: one pause of a machine is one event, however many
calls it holds up.
"""


cdef void end_excursion(Monitor* m, int k, double weight) noexcept nogil:
    """The sum of an alternative is back at 0: its height is one of those that happen."""
    cdef double peak = m.peak[k]
    if peak > EXCURSION:
        m.ended[k] += weight
        m.height[k] += weight * smallest(peak - EXCURSION, EXCURSION_MOST if weight == 1.0 else ALARMED_MOST)
        if weight == 1.0 and peak > m.record[k]:
            m.record[k] = peak
        if m.ended[k] > EXCURSIONS_MOST:
            m.ended[k] *= 0.5
            m.height[k] *= 0.5
            m.record[k] *= RECORD_FADES
    m.peak[k] = 0.0


cdef void reset(Monitor* m) noexcept nogil:
    """What alarmed is over, or usual now; since when it did is still known."""
    cdef int k
    for k in range(ALTERNATIVES):
        end_excursion(m, k, ALARMED_WEIGHT)
        m.sum[k] = 0.0
    m.alarmed = 0


cdef inline double slope(const Monitor* m, int k) noexcept nogil:
    """How much rarer an excursion is, in bits, that is a bit higher."""
    return smallest(
        1.0, 1.4427 * (PRIOR_EXCURSIONS + m.ended[k]) / (PRIOR_EXCURSIONS * PRIOR_MEAN + m.height[k]))


cdef double pace(const Monitor* m, int k, double now_s, double monitors) noexcept nogil:
    """log2 of excursions a second in all sums of so many monitors, if all were as this one."""
    return log2_of((m.ended[k] + 1.0) / (now_s - m.first_s + HISTORY_LEAST_S) * monitors * ALTERNATIVES)


cdef double bar_of(const Monitor* m, int k, double now_s, double monitors, double level) noexcept nogil:
    """The sum that alarms."""
    cdef double bits = largest(0.0, pace(m, k, now_s, monitors) + level)
    return largest(EXCURSION + bits / slope(m, k), m.record[k] * RECORD_TIMES + RECORD_PLUS)


cdef double level_of(const Monitor* m, int k, double sum, double now_s, double monitors) noexcept nogil:
    """The level at which this sum would just alarm."""
    return (sum - EXCURSION) * slope(m, k) - pace(m, k, now_s, monitors)


cdef int grow(Monitor* m, int k, double old, const Said* said, const Rule* r, double level) noexcept nogil:
    """What a sum that grew leads to; -> 1 for a new alarm, 2 for one that goes on and was not told for a while, 0."""
    cdef double sum = m.sum[k], bar
    cdef int outcome = 0
    if old == 0.0:
        m.since_ns[k] = r.now_ns
        m.calls_at[k] = m.calls - 1
        m.affected[k] = said.hits[k]
    if sum > m.peak[k]:
        m.peak[k] = sum
    if sum > EXCURSION + LOOKED_AT:
        bar = bar_of(m, k, r.now_s, r.monitors[said.of], level)
        if sum > bar:
            if m.alarmed == 0:
                outcome = 1
                m.alarm_s = r.now_s
            elif r.now_ns - m.told_ns >= AGAIN_NS and m.anew[k] >= ANEW:
                outcome = 2
            if outcome:
                memset(m.anew, 0, sizeof(m.anew))
                m.told_ns = r.now_ns
                m.alternative = k
                m.bar = bar
                m.reached = sum
            m.alarmed = 1
            m.evidence_s = r.now_s
            if sum > bar + OVER_MOST:
                m.sum[k] = bar + OVER_MOST
    return outcome


cdef int watch(Monitor* m, const Said* said, Rule* r, double level) noexcept nogil:
    """Add what a call says; -> as `grow`, -1 when what alarmed for long is adopted as usual."""
    cdef double fill, gain, old, left, sum, hot = 0.0
    cdef int k, outcome = 0
    if m.calls == 0:
        r.monitors[said.of] += 1.0
        m.first_s = m.filled_s = r.now_s
        for k in range(ALTERNATIVES):
            m.reserve[k] = RESERVE_MOST
    m.calls += 1
    if said.quiet and m.hot == 0.0:
        return 0
    fill = (r.now_s - m.filled_s) * RESERVE_A_SECOND
    m.filled_s = r.now_s
    if m.alarmed and r.now_s - m.evidence_s > LAPSE_S:
        reset(m)
    for k in range(ALTERNATIVES):
        gain, old = said.gains[k], m.sum[k]
        if old > 0.0 or m.alarmed:
            m.affected[k] += said.hits[k]
        left = smallest(m.reserve[k] + fill, RESERVE_MOST)
        if gain > 0.0:
            gain = smallest(gain, left)
            m.reserve[k] = left - gain
        else:
            m.reserve[k] = smallest(left + smallest(-gain, old), RESERVE_MOST)
        sum = largest(old + gain, 0.0)
        m.sum[k] = sum
        if m.alarmed:
            m.anew[k] = largest(m.anew[k] + gain, 0.0)
        if sum > hot:
            hot = sum
        if gain > 0.0:
            outcome |= grow(m, k, old, said, r, level)
        elif sum == 0.0 and m.peak[k] > 0.0:
            end_excursion(m, k, ALARMED_WEIGHT if m.alarmed else 1.0)
            if not m.alarmed:
                m.since_ns[k] = m.calls_at[k] = m.affected[k] = 0
    m.hot = hot
    if hot < EXCURSION:
        m.alarmed = 0
    if m.alarmed and r.now_s - m.alarm_s > ADOPT_S:
        reset(m)
        m.hot = 0.0
        outcome = -1
    return outcome


cdef int hottest_sum(const Monitor* m) noexcept nogil:
    cdef int k, found = 0
    for k in range(1, ALTERNATIVES):
        if m.sum[k] > m.sum[found]:
            found = k
    return found


cdef inline bint are_most(const Monitor* m, int k) noexcept nogil:
    """Whether an alternative is one of most calls, and most of the calls since it began are affected.

    Some usual ones are, by chance, so more than half is asked.
    """
    return SHARE[k] > 0.5 and 8 * m.affected[k] > 5 * (m.calls - m.calls_at[k])


cdef int told_sum(const Monitor* m, int of) noexcept nogil:
    """The alternative whose calls are told: that of the highest sum.

    Of durations, where that is one of most calls and most are as usual: the highest of the others, which tells few apart.
    """
    cdef int k, found = hottest_sum(m), other = -1
    if of or SHARE[found] <= 0.5 or are_most(m, found):
        return found
    for k in range(ALTERNATIVES):
        if SHARE[k] <= 0.5 and m.sum[k] > 0.0 and (other < 0 or m.sum[k] > m.sum[other]):
            other = k
    return found if other < 0 else other
