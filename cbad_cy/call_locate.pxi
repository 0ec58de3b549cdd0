"""Of calls.pyx: what an alarm is about, and which service is the most probable cause.

An edge speaks against both its ends, its caller and its callee; calls of a service that came as usual speak for it, up to one
bit an edge. Whole durations are never counted, only self times and what is spent between services: that a caller of a slow
service is slow is explained by it.
"""


cdef Past* hottest(Table* t, Past* met, uint32_t service) noexcept nogil:
    """What is oddest among the calls that a service makes or answers; `met` where nothing is."""
    cdef uint32_t i
    cdef Past* found = met
    for i in range(t.pasts):
        if (t.past[i].service == service or t.past[i].callee_service == service) and (
                t.past[i].monitor.hot > found.monitor.hot):
            found = t.past[i]
    return found


cdef Failures* failing_most(Table* t, Failures* met) noexcept nogil:
    """The same of failures of the service of `met`."""
    cdef uint32_t i
    cdef Failures* found = met
    for i in range(1, t.operations_max + 1):
        if t.failures[i] != NULL and t.failures[i].service == met.service and t.failures[i].monitor.hot > found.monitor.hot:
            found = t.failures[i]
    return found


cdef int raise_alarm(Table* t, Past* p, Failures* f, const Monitor* m, uint32_t instance) noexcept nogil:
    """Something alarmed: to be told at the end of the trace, unless it was told lately; -> 0, -1 when memory is short."""
    cdef Found* wide
    cdef Found* it
    cdef uint64_t* told_ns = &p.told_ns if p != NULL else &f.told_ns
    cdef int k = <int>m.alternative
    if told_ns[0] and t.rule.now_ns - told_ns[0] < LAPSE_NS:
        return 0
    told_ns[0] = t.rule.now_ns
    if t.found_count == t.found_room:
        wide = <Found*>realloc(t.found, (2 * t.found_room + 8) * sizeof(Found))
        if wide == NULL:
            return -1
        t.found, t.found_room = wide, 2 * t.found_room + 8
    it = &t.found[t.found_count]
    memset(it, 0, sizeof(Found))
    it.past, it.failures, it.instance, it.now_ns = p, f, instance, t.rule.now_ns
    it.sum, it.bar = m.reached, m.bar
    it.level = level_of(m, k, m.reached, t.rule.now_s, t.rule.monitors[p == NULL]) - (0.0 if p != NULL else ERRORS_BITS)
    it.since_ns, it.calls, it.affected = m.since_ns[k], m.calls - m.calls_at[k], m.affected[k]
    t.found_count += 1
    return 0


cdef inline double doubt(double bits) noexcept nogil:
    """log2 of the odds, half and half before, that so many bits leave."""
    return log2_of(0.5 + 0.5 * power_of_two(bounded(bits, LOCAL_BITS)))


cdef void blame_durations(Table* t) noexcept nogil:
    """Add the bits against each service from durations."""
    cdef uint32_t i
    cdef const Past* p
    cdef double bits, normal
    for i in range(t.operations_max + 1):
        if t.service[i] != NULL:
            t.bits[i] += t.service[i].pools.own.hot + POOL_IN * t.service[i].pools.called.hot
    for i in range(t.pasts):
        p = t.past[i]
        normal = p.local * decay(t.rule.now_s - p.local_s, LOCAL_HALF_S)
        bits = doubt(largest(p.monitor.hot - EXCURSION, smallest(normal, 0.0)))
        t.bits[p.service] += bits
        if p.callee_service:
            t.bits[p.callee_service] += bits


cdef void blame_failures(Table* t) noexcept nogil:
    """Bits against each service from failures.

    A call that fails, and not what was called, speaks against both ends, and rather against who is called.
    """
    cdef uint32_t i
    cdef const Failures* f
    cdef double bits
    for i in range(t.operations_max + 1):
        t.bits[i] = t.own_bits[i] = 0.0
    for i in range(1, t.operations_max + 1):
        f = t.failures[i]
        if f == NULL or f.monitor.hot <= EXCURSION:
            continue
        bits = f.monitor.hot - EXCURSION
        t.own_bits[f.service] += bits
        t.bits[f.service] += bits * CALLER_SHARE if f.callee.who else bits
        if f.callee.who:
            t.bits[f.callee.who] += bits
    for i in range(t.operations_max + 1):  # what all operations together show, and none by itself
        if t.service[i] != NULL:
            t.bits[i] += largest(0.0, t.service[i].pools.failing.hot - EXCURSION - t.own_bits[i])


cdef void name_suspects(const Table* t, Found* it) noexcept nogil:
    """The services with most bits, the most first."""
    cdef uint32_t i
    cdef int k
    it.suspects = 0
    for i in range(1, t.operations_max + 1):
        if t.bits[i] <= 0.0 or (it.suspects == SUSPECTS and t.bits[i] <= it.suspect[SUSPECTS - 1].bits):
            continue
        k = it.suspects if it.suspects < SUSPECTS else SUSPECTS - 1
        if it.suspects < SUSPECTS:
            it.suspects += 1
        while k > 0 and it.suspect[k - 1].bits < t.bits[i]:
            it.suspect[k] = it.suspect[k - 1]
            k -= 1
        it.suspect[k] = Suspect(t.bits[i], i)


# ---- the numbers of a call -----------------------------------------------------------------------------------------


cdef inline double worth(const Example* e, uint64_t now_ns) noexcept nogil:
    """The bits of an example; below 0 where it is none, or long ago."""
    return -2.0 if e.spans == 0 else -1.0 if now_ns - e.seen_ns > LAPSE_NS else e.bits


cdef double lately(const Past* p, int k, uint64_t now_ns, double usual, bint most) noexcept nogil:
    """What the affected calls of an alternative took, in s: the middle of those that say most.

    Where most are affected, and where none is known, what all took lately, if that is more than usual.
    """
    cdef double[EXAMPLES] at
    cdef int i, count = 0
    cdef double all = seconds_at(p.recent)
    for i in range(EXAMPLES):
        if worth(&p.example[i], now_ns) >= 0.0 and p.example[i].seen_ns >= p.monitor.since_ns[k]:
            at[count] = p.example[i].at
            count += 1
    if count == 0 or (most and all > usual):
        return all
    sort(at, count)
    return seconds_at(at[(count - 1) // 2])


cdef OddCall call_of(const Past* p, const Monitor* m, int k, uint64_t now_ns) noexcept nogil:
    """Numbers of a call whose alternative `k` is what is odd."""
    cdef OddCall it
    it.failure, it.caller, it.operation = False, p.operation if p.callee else 0, p.callee if p.callee else p.operation
    it.since_ns, it.calls, it.affected, it.bits = m.since_ns[k], m.calls - m.calls_at[k], m.affected[k], m.sum[k]
    it.usual = quantile(p.tail, p.total, 0.5, True)
    it.value = lately(p, k, now_ns, it.usual, SHARE[k] > 0.5 and 2 * it.affected > it.calls)
    return it


cdef OddCall failing_call_of(const Failures* f, const Monitor* m, int k) noexcept nogil:
    cdef OddCall it
    it.failure, it.caller, it.operation = True, 0, f.operation
    it.since_ns, it.calls, it.affected, it.bits = m.since_ns[k], m.calls - m.calls_at[k], m.affected[k], m.sum[k]
    it.usual, it.value = f.usual, <double>it.affected / <double>it.calls if it.calls else 0.0
    return it


cdef void add_odd(Found* it, OddCall found) noexcept nogil:
    """Keep the oddest."""
    cdef int k
    if it.odds == ODD and found.bits <= it.odd[ODD - 1].bits:
        return
    k = it.odds if it.odds < ODD else ODD - 1
    if it.odds < ODD:
        it.odds += 1
    while k > 0 and it.odd[k - 1].bits < found.bits:
        it.odd[k] = it.odd[k - 1]
        k -= 1
    it.odd[k] = found


cdef uint32_t sender_of(const Table* t, const Found* it, const Voice* sender) noexcept nogil:
    """The instance that most affected calls are of, or that alarmed by itself and is heard most; 0 where there is no other."""
    cdef uint32_t service
    if it.past != NULL:
        service = it.past.callee_service if it.past.callee else it.past.service
    else:
        service = it.failures.service
    if t.service[service] == NULL or t.service[service].instances < 2:
        return 0
    if sender.votes >= VOTES_LEAST and 2 * sender.votes > sender.heard:
        return sender.who
    return it.instance if sender.votes and sender.who == it.instance else 0


cdef void describe(const Table* t, Found* it) noexcept nogil:
    """The numbers of what alarmed, and of what is odd beside it."""
    cdef uint32_t i
    cdef const Monitor* m = &it.past.monitor if it.past != NULL else &it.failures.monitor
    cdef int k = hottest_sum(m)
    cdef const Example* kept = &it.past.example[0] if it.past != NULL else &it.failures.example[0]
    cdef const Voice* sender = &it.past.sender if it.past != NULL else &it.failures.sender
    if it.past != NULL:
        it.call = call_of(it.past, m, k, it.now_ns)
    else:
        it.call = failing_call_of(it.failures, m, k)
    if m.sum[k] == 0.0:  # its service as a whole alarmed, and by itself it shows nothing
        it.call.since_ns, it.call.calls, it.call.affected = it.since_ns, it.calls, it.affected
        if it.past == NULL:
            it.call.value = <double>it.affected / <double>it.calls if it.calls else 0.0
    it.instance = sender_of(t, it, sender)
    memcpy(it.example, kept, sizeof(it.example))
    for i in range(t.pasts):
        m = &t.past[i].monitor
        if t.past[i] != it.past and m.hot > ODD_BITS:
            add_odd(it, call_of(t.past[i], m, hottest_sum(m), it.now_ns))
    for i in range(1, t.operations_max + 1):
        if t.failures[i] != NULL and t.failures[i] != it.failures and t.failures[i].monitor.hot > ODD_BITS:
            m = &t.failures[i].monitor
            add_odd(it, failing_call_of(t.failures[i], m, hottest_sum(m)))


cdef void explain(Table* t, size_t begun) noexcept nogil:
    """Complete what was found in this trace: now all of it is known."""
    cdef size_t i
    for i in range(begun, t.found_count):
        blame_failures(t)
        if t.found[i].past != NULL:
            blame_durations(t)
        name_suspects(t, &t.found[i])
        describe(t, &t.found[i])
