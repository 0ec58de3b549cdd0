"""Of calls.pyx: what calls usually take, and how often they fail."""


cdef inline double position(uint64_t duration_ns) noexcept nogil:
    """Where a duration is among the bins, in bins."""
    cdef double at = 4.0 * (log2_of(<double>duration_ns * 1e-9 + FLOOR_S) + OCTAVES_BELOW)
    return 0.0 if at < 0.0 else HIGHEST_BIN if at > HIGHEST_BIN else at


cdef double seconds_at(double position) noexcept nogil:
    return largest(0.0, power_of_two(position * 0.25 - OCTAVES_BELOW) - FLOOR_S)


cdef inline double beyond(const float* tail, int bin, double part) noexcept nogil:
    """Weight beyond a place inside a bin."""
    return tail[bin + 1] + (1.0 - part) * (<double>tail[bin] - tail[bin + 1])


cdef double tail_share(const Past* p, const Population* g, double shifted) noexcept nogil:
    """The share of calls that take as long, with one more call of which nothing is known but what others like it take."""
    cdef double part, rest = 1.0, others
    cdef int bin
    if p.total < 0.5:
        return 1.0
    shifted = largest(0.0, shifted)
    bin = <int>shifted
    part = shifted - bin
    if shifted > p.top:
        others = (beyond(g.tail, bin, part) + 0.5) / (g.total + 1.0)
        rest = largest(others, power_of_two(-0.25 * (shifted - p.top)))
    return smallest(1.0, (beyond(p.tail, bin, part) + rest) / (p.total + 1.0))


cdef inline int code_of(double share) noexcept nogil:
    cdef int code = <int>(-log2_of(share + 1e-12) * STEPS)
    return 0 if code < 0 else CODES - 1 if code >= CODES else code


cdef void merge(Past* p, double now_s, double kept, double weight) noexcept nogil:
    """What was set aside becomes part of the past, of which so much is kept."""
    cdef double sum = 0.0
    cdef int bin, top = -1
    for bin in range(BINS - 1, -1, -1):
        sum += p.fresh[bin] * weight
        p.fresh[bin] = 0.0
        p.tail[bin] = <float>(p.tail[bin] * kept + sum)
        if top < 0 and p.tail[bin] > 0.25:
            top = bin
    p.total = p.tail[0]
    p.waiting = 0.0
    p.merged_s = now_s
    p.top = top + 1


cdef void merge_population(Population* g) noexcept nogil:
    cdef double sum = 0.0, kept = 1.0 if g.total < POPULATION else 0.5
    cdef int bin
    for bin in range(BINS - 1, -1, -1):
        sum += g.fresh[bin]
        g.fresh[bin] = 0.0
        g.tail[bin] = <float>(g.tail[bin] * kept + sum)
    g.total = g.tail[0]
    g.waiting = 0.0


cdef void learn(Past* p, Population* g, double position, double weight, bint alarmed, bint adopt, double now_s) noexcept nogil:
    """Set a call aside; merge when it is time, and nothing is odd that might become usual by it."""
    cdef double hot = p.monitor.hot, passed = now_s - p.merged_s
    p.fresh[<int>position] += <float>weight
    p.waiting += 1.0
    if adopt:
        merge(p, now_s, decay(p.waiting, smallest(p.waiting, ADOPT_CALLS) / ADOPT_HALVINGS), ADOPT_WEIGHT)
    elif p.waiting >= smallest(MERGE_CALLS, 2.0 + p.total * 0.25) or passed > MERGE_S:
        if hot < HELD or alarmed or passed > HELD_S:
            merge(p, now_s, largest(decay(passed, HALF_S), decay(p.waiting, HALF_CALLS)), 1.0)
    if hot < HELD and not alarmed:
        g.fresh[<int>position] += 1.0
        g.waiting += 1.0
        if g.waiting >= largest(50.0, g.total * 0.1):
            merge_population(g)


cdef void forget_fresh(Past* p) noexcept nogil:
    """What was set aside may be what alarms now: hardly any of it is learned."""
    cdef int bin
    for bin in range(BINS):
        p.fresh[bin] *= <float>ODD_WEIGHT


cdef void count_took(Past* p, double position, const uint8_t* hits) noexcept nogil:
    """A call, for alternatives by which it is affected, as its monitor counted it."""
    cdef const Monitor* m = &p.monitor
    cdef int k
    if m.hot == 0.0:
        return
    for k in range(ALTERNATIVES):
        if hits[k] and (m.sum[k] > 0.0 or m.alarmed):
            p.took[k] = seconds_at(position) + (p.took[k] if m.affected[k] > 1 else 0.0)


cdef double quantile(const float* bins, double total, double share, bint cumulated) noexcept nogil:
    """The duration in s that so much of the weight does not reach; `cumulated`: bins hold what is beyond their lower edge."""
    cdef double wanted = (1.0 - share) * total, above = 0.0, held
    cdef int bin
    for bin in range(BINS - 1, -1, -1):
        held = bins[bin] - <double>bins[bin + 1] if cumulated else bins[bin]
        if held > 0.0 and above + held >= wanted:
            return seconds_at(bin + 1.0 - (wanted - above) / held)
        above += held
    return 0.0


cdef void vote(Voice* v, uint32_t who, uint64_t now_ns) noexcept nogil:
    """Hear one more (Boyer and Moore, MJRTY, 1981). After a silence it begins anew; what was long ago counts little."""
    if now_ns - v.heard_ns > LAPSE_NS:
        v.votes = v.heard = 0
    v.heard_ns = now_ns
    v.heard += v.heard < VOTES
    if v.votes == 0:
        v.who = who
        v.votes = 1
    elif v.who != who:
        v.votes -= 1
    elif v.votes < VOTES:
        v.votes += 1


# ---- slowness that services have in common -------------------------------------------------------------------------


cdef void sort(double* numbers, int count) noexcept nogil:
    """By insertion, in ever closer steps (Shell, Communications of the ACM 2, 1959)."""
    cdef int step = 1, i, k
    cdef double held
    while step < count // 3:
        step = 3 * step + 1
    while step:
        for i in range(step, count):
            held, k = numbers[i], i
            while k >= step and numbers[k - step] > held:
                numbers[k] = numbers[k - step]
                k -= step
            numbers[k] = held
        step //= 3


cdef void see_slowness(Table* t) noexcept nogil:
    """Once a second: when the median service is slow, calls are compared with slower ones, up to an octave."""
    cdef Rule* r = &t.rule
    cdef uint32_t i
    cdef int count = 0
    cdef double median
    cdef const Service* s
    if r.now_s - r.slow_s < SLOW_S:
        return
    r.slow_s = r.now_s
    for i in range(1, t.services + 1):
        s = t.service[i]
        if s != NULL and s.weight * decay(r.now_s - s.shares_s, SLOW_HALF_S) >= SLOW_WEIGHT:
            t.bits[count] = s.shares / s.weight
            count += 1
    if count < SLOW_SERVICES:
        r.slow *= SLOW_FADES
        return
    sort(t.bits, count)
    median = 0.5 * (t.bits[(count - 1) // 2] + t.bits[count // 2])
    r.slow = smallest(SLOW_MOST, largest(0.0, r.slow + SLOW_STEP * (SLOW_SHARE - median)))


cdef void tell_share(Service* s, double share, double now_s) noexcept nogil:
    """How rare a call of a service was, without slack."""
    cdef double kept = decay(now_s - s.shares_s, SLOW_HALF_S)
    s.weight = s.weight * kept + 1.0
    s.shares = s.shares * kept + share
    s.shares_s = now_s


# ---- failures ------------------------------------------------------------------------------------------------------


cdef inline double share_of(double failed, double total) noexcept nogil:
    return smallest(1.0, failed / total) if total > 0.0 else 0.0


cdef void count_call(Pools* s, bint failed) noexcept nogil:
    """A call of a service or an instance; what comes while failures are being looked at is set aside."""
    s.waiting += 1.0
    s.waiting_failed += failed
    if s.failing.hot > 0.0:
        return
    s.total += s.waiting
    s.failed += s.waiting_failed
    s.waiting = s.waiting_failed = 0.0
    if s.total > POOL_CALLS:
        s.total *= 0.5
        s.failed *= 0.5


cdef void set_rates(Failures* f, const Rule* r) noexcept nogil:
    """What a call that fails and one that does not say about each alternative, until the next merge."""
    cdef double others = (r.failed + 0.5) / (r.calls + 100.0), usual, rate
    cdef int k
    usual = (f.failed + ERROR_PRIOR * others) / (f.total + ERROR_PRIOR)
    if f.monitor.hot == 0.0:  # what is shown beside an alarm is of before it
        f.usual = share_of(f.failed, f.total)
    usual = smallest(ERROR_MOST, ERROR_SLACK * usual + 1.0 / (f.total + ERROR_UNKNOWN))
    for k in range(ALTERNATIVES):
        rate = usual + (1.0 - usual) * FAILING[k]
        if k == ALTERNATIVES - 1:
            rate = smallest(RISE_MOST, RISE * usual)
        f.bad[k] = <float>smallest(GAIN_MOST, log2_of(rate / usual))
        f.good[k] = <float>log2_of((1.0 - rate) / (1.0 - usual))


cdef void learn_failure(Failures* f, bint failed, bint alarmed, bint adopt, Rule* r) noexcept nogil:
    cdef const Monitor* m = &f.monitor
    cdef double passed = r.now_s - f.merged_s, kept, calls
    f.waiting += 1.0
    if failed:
        f.waiting_failed += ERROR_WEIGHT if alarmed else 1.0
    if not alarmed:
        r.calls += 1.0
        r.failed += failed
        if r.calls > ERROR_POPULATION:
            r.calls *= 0.5
            r.failed *= 0.5
    if adopt:  # what came since it began is what is usual now
        calls = <double>(m.calls - m.calls_at[m.alternative])
        f.total = smallest(calls, ERROR_ADOPTED)
        f.failed = f.total * (<double>m.affected[m.alternative] / largest(calls, 1.0))
    elif f.waiting >= largest(ERROR_MERGE_CALLS, smallest(ERROR_MERGE_MOST, f.total * 0.1)) or passed > MERGE_S:
        if not (m.hot < ERROR_HELD or alarmed or passed > HELD_S):
            return
        kept = largest(decay(passed, ERROR_HALF_S), decay(f.waiting, ERROR_HALF_CALLS))
        f.total = f.total * kept + f.waiting
        f.failed = f.failed * kept + f.waiting_failed
    else:
        return
    f.waiting = f.waiting_failed = 0.0
    f.merged_s = r.now_s
    set_rates(f, r)
