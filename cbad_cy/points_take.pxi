"""Points by their kinds: what each tells, and what its series keeps of it."""

cdef inline bint finite(double x) noexcept nogil:
    return -DBL_MAX <= x <= DBL_MAX


cdef inline void tell(Out* out, Number* s, int role, double value) noexcept nogil:
    """Tell a number, if it is one."""
    if not finite(value):
        return
    s.told |= <uint32_t>1 << role
    out.record[out.count] = out.index
    out.part[out.count] = <uint8_t>role
    out.series[out.count] = derived_of(s.series, role)
    out.times_ns[out.count] = s.last_ns
    out.values[out.count] = value
    out.count += 1


cdef int role_of(double q, int place) noexcept nogil:
    """The role of a summary's quantile."""
    if q == 0.5:
        return P50
    if q == 0.99:
        return P99
    if q == 0.0:
        return NAMED
    if q == 0.25:
        return NAMED + 1
    if q == 0.75:
        return NAMED + 2
    if q == 0.9:
        return NAMED + 3
    if q == 0.95:
        return NAMED + 4
    if q == 0.999:
        return NAMED + 5
    if q == 1.0:
        return NAMED + 6
    return PLACED + place


cdef void tell_quantiles(Out* out, Number* s, const Point* p) noexcept nogil:
    """What a summary's sender computed; a quantile that is there twice is told once."""
    cdef uint32_t told = 0
    cdef size_t k
    cdef int role
    for k in range(p.size if p.size < QUANTILES else QUANTILES):
        if 0.0 <= p.at[k] <= 1.0:
            role = role_of(p.at[k], <int>k)
            if not told >> role & 1:
                told |= <uint32_t>1 << role
                tell(out, s, role, p.shape[k])


cdef int measured_from(const Number* s, const Point* p, double* seconds) noexcept nogil:
    """What a counter's point is measured from, and the seconds since then."""
    cdef uint64_t gap, moved, since
    cdef bint reset
    if not s.based:
        return FROM_NOWHERE
    gap = p.time_ns - s.last_ns
    moved = p.start_ns - s.start_ns if p.start_ns > s.start_ns else s.start_ns - p.start_ns
    reset = p.start_ns > s.last_ns or (p.start_ns and s.start_ns and moved >= SLACK)
    if p.start_ns == p.time_ns and s.start_ns == s.last_ns:
        reset = False  # a sender that gives the time of each point as its start too says nothing by it
    if not reset and p.value >= s.value:
        seconds[0] = gap / 1e9
        return FROM_BEFORE
    if reset and s.last_ns <= p.start_ns < p.time_ns:
        since = p.time_ns - p.start_ns
        if since >= gap // 4 and p.value >= 0.0:
            seconds[0] = since / 1e9
            return FROM_START
    return FROM_NOWHERE


cdef bint delta_seconds(const Number* s, const Point* p, double* seconds) noexcept nogil:
    """The length of the interval that a delta point is about. -> whether it is known."""
    if 0 < p.start_ns < p.time_ns:
        seconds[0] = (p.time_ns - p.start_ns) / 1e9
    elif s.based:
        seconds[0] = (p.time_ns - s.last_ns) / 1e9
    else:
        return False
    return True


cdef int tell_buckets(Out* out, Number* s, const double* at, const double* n, int size) noexcept nogil:
    """Quantiles and change of shape of an interval."""
    cdef double total = total_of(n, size)
    if size < 2 or not total > 0.0:
        return 0
    tell(out, s, P50, quantile(at, n, size, total, 0.5))
    tell(out, s, P99, quantile(at, n, size, total, 0.99))
    tell(out, s, SHAPE, learn_shape(s.buckets, at, n, size))
    return 0


cdef int take_counter(Out* out, Number* s, const Point* p) noexcept nogil:
    """Sums of both kinds."""
    cdef double seconds = 0.0, rate = NAN
    cdef int origin
    if p.kind == DELTA:
        if delta_seconds(s, p, &seconds):
            rate = p.value / seconds
    else:
        origin = measured_from(s, p, &seconds)
        if origin != FROM_NOWHERE:
            rate = (p.value - s.value if origin == FROM_BEFORE else p.value) / seconds
    settle(s, p)
    tell(out, s, RATE, rate)
    return IS_TAKEN if finite(rate) else IS_FIRST


cdef int take_observations(Out* out, Number* s, const Point* p) noexcept nogil:
    """Histograms of both kinds, and summaries."""
    cdef double few_at[KEPT]
    cdef double few[KEPT]
    cdef double at[2 * KEPT]
    cdef double n[2 * KEPT]
    cdef double before[2 * KEPT]
    cdef double seconds = 0.0, count = p.value, sum = p.sum, rate = NAN
    cdef int origin, k, size = 0, few_size = 0
    cdef Buckets* b = s.buckets
    if p.kind != SUMMARY:
        few_size = reduced(p.at, p.shape, p.size, few_at, few)
    if p.kind == HISTOGRAM_DELTA:
        origin = FROM_START
        if delta_seconds(s, p, &seconds):
            rate = count / seconds
    else:
        origin = measured_from(s, p, &seconds)
        if origin == FROM_BEFORE:
            if p.kind == HISTOGRAM_CUMULATIVE and few_size and b.size:
                size = joined(few_at, few, few_size, b.at, b.counts, b.size, at, n, before)
                for k in range(size):
                    n[k] -= before[k]
                    if n[k] < 0.0:
                        origin = FROM_NOWHERE  # a bucket falls: it is not the same histogram
            count -= s.value
            sum -= s.sum
        if origin != FROM_NOWHERE:
            rate = count / seconds
    settle(s, p)
    if p.kind == HISTOGRAM_CUMULATIVE:
        b.size = few_size
        memcpy(b.at, few_at, few_size * sizeof(double))
        memcpy(b.counts, few, few_size * sizeof(double))
    tell(out, s, RATE, rate)
    if origin != FROM_NOWHERE and count > 0.0:
        tell(out, s, MEAN, sum / count)
    if p.kind == SUMMARY:
        if origin == FROM_NOWHERE or count > 0.0:
            tell_quantiles(out, s, p)
    elif count > 0.0 and origin == FROM_START:
        tell_buckets(out, s, few_at, few, few_size)
    elif count > 0.0 and origin == FROM_BEFORE:
        tell_buckets(out, s, at, n, size)
    return IS_TAKEN if finite(rate) else IS_FIRST


cdef void settle(Number* s, const Point* p) noexcept nogil:
    """From here on the point is the one before."""
    s.last_ns = p.time_ns
    s.seen = s.based = 1
    if p.start_ns:
        s.start_ns = p.start_ns
    if p.kind == CUMULATIVE:
        s.value = p.value
    elif p.kind >= HISTOGRAM_CUMULATIVE:
        s.value = p.value
        s.sum = p.sum if finite(p.sum) else NAN  # one NaN for all that is no number: equal pasts have equal bytes


cdef void forget(Number* s, int kind) noexcept nogil:
    """The next point follows on none."""
    s.based = 0
    s.start_ns = 0
    s.value = s.sum = 0.0
    if s.buckets != NULL:
        s.buckets.size = 0
        if kind != s.kind:
            s.buckets.past = s.buckets.learned = 0
    s.kind = <uint8_t>kind


cdef int take_point(Out* out, Number* s, Point* p) noexcept nogil:
    """One point. -> its status."""
    if s.seen and p.time_ns < s.last_ns:
        return IS_LATE
    if p.kind == ENDS:
        s.last_ns = p.time_ns
        s.seen = 1
        forget(s, s.kind)
        return IS_STALE
    if s.seen and p.time_ns == s.last_ns:
        return IS_DUPLICATE
    if p.kind < HISTOGRAM_DELTA:
        if not finite(p.value) or (p.kind == DELTA and p.value < 0.0):
            return IS_NO_NUMBER
    else:
        if p.kind != SUMMARY and p.size:
            if not sound(p.at, p.shape, p.size, COUNT_MAX):
                return IS_NO_NUMBER
            if p.value != p.value:  # no count: that of all buckets
                p.value = total_of(p.shape, p.size)
        if not 0.0 <= p.value <= COUNT_MAX:
            return IS_NO_NUMBER
    if p.start_ns > p.time_ns:
        p.start_ns = 0
    if p.kind != s.kind:
        forget(s, p.kind)
    if p.kind >= HISTOGRAM_DELTA:
        return take_observations(out, s, p)
    if p.kind == DELTA or p.kind == CUMULATIVE:
        return take_counter(out, s, p)
    settle(s, p)
    tell(out, s, VALUE, p.value)
    return IS_TAKEN
