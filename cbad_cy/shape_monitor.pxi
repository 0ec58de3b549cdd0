"""Of shapes.pyx: one feature, beside its own past. It is looked at only when it occurs; what lies between is in trial numbers.

Its past is a share of trials with what is not known of it yet, how far the share wandered from block to block beyond what
chance explains, and its peaks: together the highest rate that is usual. Four cumulative sums of log-likelihood ratios test
higher rates against that.
"""

cdef struct Rate:
    double past                 # share
    double usual                # the highest


cdef inline double larger(double a, double b) noexcept nogil:
    return a if a > b else b


cdef inline double seconds(uint64_t a_ns, uint64_t b_ns) noexcept nogil:
    """From a to b; 0 when b is before a."""
    return <double>(b_ns - a_ns) / 1e9 if b_ns > a_ns else 0.0


cdef inline bint is_lately(const Shapes* t, uint64_t told_ns) noexcept nogil:
    """Whether it is too early to tell again what was told then."""
    return seconds(told_ns, t.latest_ns) < SHAPE_AGAIN_S


cdef Rate rate_of(const Monitor* m, double lost) noexcept nogil:
    """`lost`: the share of traces that lost spans, where that looks like the feature."""
    cdef Rate r
    cdef double p = (m.past_odd + .5) / (m.past + 1.0), not_p = larger(1.0 - p, 0.0), x, unknown
    cdef double guess = SHAPE_WANDER_RARE if p <= SHAPE_RARE else SHAPE_WANDER_OFTEN
    x = SHAPE_WANDER_WIDE * not_p * sqrt((WANDER_PRIOR * guess * guess + m.wander) / (WANDER_PRIOR + m.blocks))
    unknown = (SHAPE_UNKNOWN_WIDE * sqrt(m.past_odd * not_p + 1.0) + 1.0) / (m.past + 1.0)
    r.past = p
    r.usual = larger(p * (1.0 + x + .5 * x * x) + unknown, lost)
    if r.usual > SHAPE_MOST:
        r.usual = SHAPE_MOST
    r.usual = larger(larger(r.usual, m.peak), SHAPE_FLOOR)
    return r


cdef inline double largest_sum(const Monitor* m) noexcept nogil:
    cdef double most = 0.0
    cdef int j
    for j in range(TESTS):
        most = larger(most, m.sums[j])
    return most


cdef inline void end_block(Monitor* m, double keep, double pending, uint64_t before, uint64_t now_ns) noexcept nogil:
    """What is pending becomes past; of the past before it a share is kept."""
    m.past_odd = m.past_odd * keep + m.odd
    m.past = m.past * keep + pending
    m.odd = 0.0
    m.mark = before
    m.mark_ns = now_ns


cdef inline double kept_after(double elapsed_s) noexcept nogil:
    return larger(.5, 1.0 - elapsed_s / SHAPE_FADE_S)


cdef void learn_wander(Monitor* m, double p, double pending, double elapsed_s) noexcept nogil:
    """How far the share of a block is from the past, beyond what chance explains; and peaks."""
    cdef double variance = p * (1.0 - p), share = m.odd / pending, beyond
    beyond = (share - p) * (share - p) - variance * (1.0 / pending + 1.0 / (m.past + 1.0))
    beyond = larger(beyond / (variance * variance), 0.0) if variance > 0.0 else 0.0
    if beyond > SHAPE_WANDER_CLIP:
        beyond = SHAPE_WANDER_CLIP
    m.peak = larger(
        m.peak * larger(1.0 - elapsed_s / SHAPE_PEAK_S, 0.0),
        share - SHAPE_PEAK_LESS * sqrt(larger(share * (1.0 - share), 0.0) / pending))
    if p * pending >= WANDER_ODD:
        m.wander = m.wander * (1.0 - 1.0 / WANDER_BLOCKS) + beyond
        m.blocks = m.blocks * (1.0 - 1.0 / WANDER_BLOCKS) + 1.0


cdef bint learn(Monitor* m, double p, double most, uint64_t before, uint64_t now_ns) noexcept nogil:
    """End the block when it is due; -> whether the past changed. While there is evidence, nothing is learned."""
    cdef double pending = <double>(before - m.mark), elapsed_s = seconds(m.mark_ns, now_ns)
    cdef int j
    if m.past < COLD_TRIALS and pending > 0.0:
        end_block(m, 1.0, pending, before, now_ns)
    elif pending >= m.past and pending < EARLY_TRIALS and elapsed_s < SHAPE_BLOCK_S and most < SHAPE_SUSPICIOUS:
        end_block(m, 1.0, pending, before, now_ns)
    elif elapsed_s >= SHAPE_BLOCK_S and pending >= BLOCK_TRIALS and most < SHAPE_SUSPICIOUS:
        learn_wander(m, p, pending, elapsed_s)
        end_block(m, kept_after(elapsed_s), pending, before, now_ns)
    elif most >= SHAPE_SUSPICIOUS and elapsed_s >= SHAPE_ADOPT_S and pending >= BLOCK_TRIALS:
        m.past_odd = .5 * m.past_odd / m.past * pending + m.odd
        m.past = 1.5 * pending
        m.odd = 0.0
        m.mark = before
        m.mark_ns = now_ns
        m.raised = 0
        for j in range(TESTS):
            m.sums[j] = 0.0
    else:
        return False
    return True


cdef void count_usual(Monitor* m, uint64_t before, uint64_t now_ns) noexcept nogil:
    """An occurrence of what occurs in most trials: it is only counted."""
    cdef double pending = <double>(before - m.mark), elapsed_s = seconds(m.mark_ns, now_ns)
    cdef int j
    if (elapsed_s >= SHAPE_BLOCK_S and pending >= BLOCK_TRIALS) or (pending >= m.past and pending < EARLY_TRIALS):
        end_block(m, kept_after(elapsed_s), pending, before, now_ns)
    m.odd += 1.0
    m.last = before + 1
    for j in range(TESTS):
        m.sums[j] = 0.0


cdef void begin_evidence(Shapes* t, Monitor* m, uint32_t link, uint64_t before, const Trace* r) noexcept nogil:
    """The sums that tell are 0: whatever comes of this trace is new."""
    m.affected = 0
    m.votes = 0
    m.from_trial = before
    m.from_ns = t.latest_ns
    m.since_ns = r.start_ns
    m.from_link = t.link[link].traces if link != NONE else 0
    if m.story != NONE:
        t.story[m.story].owner = NONE
        m.story = NONE


cdef inline bint comes_late(const Monitor* m, uint64_t trial, uint64_t now_ns) noexcept nogil:
    """Whether the spans of what is missing may still be on their way: many are missing, and not for long."""
    return seconds(m.firm_ns, now_ns) < SHAPE_LACKS_S and <double>m.firm_odd >= SHAPE_LACKS * <double>(trial - m.firm_trial)


cdef bint occurs(
    Shapes* t, Monitor* m, uint64_t trial, bint dead, bint lacks, double lost, uint32_t link, const Trace* r,
) noexcept nogil:
    """An occurrence in a trial; -> whether it alarms, or still does and was not told for a while.

    `dead`: the spans of a service that is called are missing; that is told when it lasts, and when most of them are. `lacks`:
    some part is missing; see `comes_late`.
    """
    cdef uint64_t before = trial - 1
    cdef Rate rate = rate_of(m, lost)
    cdef double passed, most = 0.0, level = t.level, highest = t.level + SHAPE_BEYOND
    cdef bint alarms = False, early
    cdef int j
    if rate.past >= .5 and m.past >= COLD_TRIALS:
        count_usual(m, before, t.latest_ns)
        return False
    passed = <double>(before - m.last) if before > m.last else 0.0
    for j in range(TESTS):
        if m.raised == 2 and m.sums[j] > level:  # what was told does not count again
            m.sums[j] = level
        m.sums[j] = larger(m.sums[j] - passed * SHAPE_FALLS[j], 0.0)
        most = larger(most, m.sums[j])
    m.raised = 1 if m.raised and most > 0.0 else 0
    if most < SHAPE_SUSPICIOUS:
        m.firm_ns, m.firm_trial, m.firm_odd = t.latest_ns, before, 0
    if most == 0.0 or (dead and m.sums[TESTS - 1] == 0.0):
        begin_evidence(t, m, link, before, r)
    if learn(m, rate.past, most, before, t.latest_ns):
        rate = rate_of(m, lost)
    m.odd += 1.0
    m.last = trial
    m.affected += 1
    m.firm_odd += 1
    if m.past < COLD_TRIALS:
        return False
    early = lacks and not dead and comes_late(m, trial, t.latest_ns)
    if early:  # what is over by then must not be remembered for long
        highest = SHAPE_EARLY * level
    if m.raised:
        level += SHAPE_ANEW
    for j in range(TESTS):
        m.sums[j] += bits_of(rate.usual / (rate.usual + SHAPE_STEPS[j] * (1.0 - rate.usual)))
        if m.sums[j] > highest:
            m.sums[j] = highest
        if m.sums[j] < level:
            continue
        if dead:
            alarms = alarms or (j == TESTS - 1 and seconds(m.from_ns, t.latest_ns) >= SHAPE_DEAD_S)
        else:
            alarms = not early
    if not alarms or (m.raised and is_lately(t, m.told_ns)):
        return False
    m.raised = 2
    m.told_ns = t.latest_ns
    return True
