"""Of calls.pyx: what an alarm is about, and which service is the most probable cause.

An edge speaks against both its ends, its caller and its callee; calls of a service that came as usual speak for it, up to one
bit an edge. Whole durations are never counted, only self times and what is spent between services: that a caller of a slow
service is slow is explained by it.
"""


cdef inline bint is_of(const Past* p, uint32_t service, int pool) noexcept nogil:
    """Whether a service makes these calls, or they come to it."""
    return (p.service if pool == SERVICE else p.callee_service) == service


cdef Past* hottest(Table* t, Past* met, uint32_t service, int pool) noexcept nogil:
    """What is oddest among the calls of a pool; `met` where nothing is."""
    cdef uint32_t i
    cdef Past* found = met
    for i in range(t.pasts):
        if is_of(t.past[i], service, pool) and t.past[i].monitor.hot > found.monitor.hot:
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


cdef int raise_alarm(
    Table* t, Past* p, Failures* f, const Monitor* m, int pool, uint32_t service, uint32_t instance, double usual) noexcept nogil:
    """Something alarmed, or still does: to be told at the end of the trace, unless it was told lately; -> 0, -1: no memory.

    A pool shows together what one of its operations, `p` or `f`, shows most; `usual` is its share of failures.
    """
    cdef Found* wide
    cdef Found* it
    cdef uint64_t* told_ns = &p.told_ns if p != NULL else &f.told_ns
    cdef int k = <int>m.alternative, told = told_sum(m, p == NULL)
    if told_ns[0] and t.rule.now_ns - told_ns[0] < AGAIN_NS:
        return 0
    told_ns[0] = t.rule.now_ns
    if t.found_count == t.found_room:
        wide = <Found*>realloc(t.found, (2 * t.found_room + 8) * sizeof(Found))
        if wide == NULL:
            return -1
        t.found, t.found_room = wide, 2 * t.found_room + 8
    it = &t.found[t.found_count]
    memset(it, 0, sizeof(Found))
    it.past, it.failures, it.now_ns, it.usual = p, f, t.rule.now_ns, usual
    it.pool, it.service, it.instance = pool, service, instance
    it.sum, it.bar = m.reached, m.bar
    it.level = level_of(m, k, m.reached, t.rule.now_s, t.rule.monitors[p == NULL]) - (0.0 if p != NULL else ERRORS_BITS)
    it.since_ns, it.calls, it.affected = m.since_ns[told], m.calls - m.calls_at[told], m.affected[told]
    t.found_count += 1
    return 0


cdef inline double doubt(double bits) noexcept nogil:
    """log2 of the odds, half and half before, that so many bits leave."""
    return log2_of(0.5 + 0.5 * power_of_two(bounded(bits, LOCAL_BITS)))


cdef inline double heat_of(const Monitor* m, double now_s) noexcept nogil:
    """The highest sum of an instance; nothing of one that is not heard any more."""
    return m.hot if now_s - m.filled_s <= LAPSE_S else 0.0


cdef void feel_heat(Table* t) noexcept nogil:
    """Of each service the highest sums of what it shows as a whole or on one instance."""
    cdef uint32_t i
    cdef const Pools* s
    cdef Heat* h
    for i in range(t.operations_max + 1):
        t.heat[i] = Heat(0.0, 0.0, 0.0)
        if t.service[i] != NULL:
            s = &t.service[i].pools
            t.heat[i] = Heat(s.own.hot, s.called.hot, s.failing.hot)
    for i in range(t.instances):
        s, h = &t.instance[i].pools, &t.heat[t.instance[i].service]
        h.own = largest(h.own, heat_of(&s.own, t.rule.now_s))
        h.called = largest(h.called, heat_of(&s.called, t.rule.now_s))
        h.failing = largest(h.failing, heat_of(&s.failing, t.rule.now_s))


cdef void blame_durations(Table* t) noexcept nogil:
    """Add the bits against each service from durations."""
    cdef uint32_t i
    cdef const Past* p
    cdef double bits, normal
    for i in range(t.operations_max + 1):
        if t.service[i] != NULL:
            t.bits[i] += t.heat[i].own + POOL_IN * t.heat[i].called
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
        t.bits[i] += largest(0.0, t.heat[i].failing - EXCURSION - t.own_bits[i])


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


cdef double lately(const Past* p, int k, uint64_t now_ns, double usual) noexcept nogil:
    """What the affected calls of an alternative took since it began, in s: their mean.

    Where none is counted, the middle of those that say most; `usual` where none is known.
    """
    cdef double[EXAMPLES] at
    cdef int i, count = 0
    if p.monitor.sum[k] > 0.0 and p.monitor.affected[k]:
        return p.took[k] / <double>p.monitor.affected[k]
    for i in range(EXAMPLES):
        if worth(&p.example[i], now_ns) >= 0.0 and p.example[i].seen_ns >= p.monitor.since_ns[k]:
            at[count] = p.example[i].at
            count += 1
    if count == 0:
        return usual
    sort(at, count)
    return seconds_at(at[(count - 1) // 2])


cdef void count_odd(OddCall* it, const Monitor* m, int k, uint64_t now_ns) noexcept nogil:
    """Since it began; nothing where no sum is above 0."""
    it.bits = m.sum[hottest_sum(m)]
    it.since_ns, it.calls, it.affected = now_ns, 0, 0
    if it.bits > 0.0:
        it.since_ns, it.calls, it.affected = m.since_ns[k], m.calls - m.calls_at[k], m.affected[k]


cdef OddCall call_of(const Past* p, const Monitor* m, int k, uint64_t now_ns) noexcept nogil:
    """Numbers of a call whose alternative `k` is what is odd."""
    cdef OddCall it
    it.failure, it.caller, it.operation = False, p.operation if p.callee else 0, p.callee if p.callee else p.operation
    count_odd(&it, m, k, now_ns)
    it.usual = quantile(p.tail, p.total, 0.5, True)
    it.value = lately(p, k, now_ns, it.usual)
    return it


cdef OddCall failing_call_of(const Failures* f, const Monitor* m, int k, uint64_t now_ns) noexcept nogil:
    cdef OddCall it
    it.failure, it.caller, it.operation = True, 0, f.operation
    count_odd(&it, m, k, now_ns)
    it.usual, it.value = f.usual, share_of(<double>it.affected, <double>it.calls)
    return it


cdef void add_odd(Found* it, OddCall found) noexcept nogil:
    """Keep the oddest; of a pool its own stays the first."""
    cdef int k, least = it.pool != ITSELF
    if it.odds == ODD and found.bits <= it.odd[ODD - 1].bits:
        return
    k = it.odds if it.odds < ODD else ODD - 1
    if it.odds < ODD:
        it.odds += 1
    while k > least and it.odd[k - 1].bits < found.bits:
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


cdef void add_examples(Found* it, const Example* kept) noexcept nogil:
    """Traces of since it began that say more than those that are there, each once."""
    cdef const Example* e
    cdef Example* weakest
    cdef int k, i
    for k in range(EXAMPLES):
        e = &kept[k]
        if worth(e, it.now_ns) < 0.0 or e.seen_ns < it.call.since_ns:
            continue
        if it.pool and it.instance and (e.called if it.pool == CALLED else e.instance) != it.instance:
            continue
        weakest = &it.example[0]
        for i in range(EXAMPLES):
            if it.example[i].spans and memcmp(it.example[i].trace_id, e.trace_id, 16) == 0:
                weakest = &it.example[i]
                break
            if worth(&it.example[i], it.now_ns) < worth(weakest, it.now_ns):
                weakest = &it.example[i]
        if e.bits > worth(weakest, it.now_ns):
            memcpy(weakest, e, sizeof(Example))


cdef inline const Monitor* pooled(const Pools* of, const Found* it) noexcept nogil:
    return &of.failing if it.past == NULL else &of.own if it.pool == SERVICE else &of.called


cdef void narrow(const Table* t, Found* it) noexcept nogil:
    """When nearly all affected calls of a service are of one instance, that is told."""
    cdef uint32_t i
    cdef int k
    cdef const Monitor* m
    cdef const Pools* of
    cdef uint64_t most = it.affected - it.affected // 4
    for i in range(t.instances):
        of = &t.instance[i].pools
        if t.instance[i].service != it.service or t.service[it.service].instances < 2:
            continue
        m = pooled(of, it)
        k = told_sum(m, it.past == NULL)
        if heat_of(m, t.rule.now_s) >= POOL_SHARE * it.sum and m.affected[k] >= most and most > 0:
            most = m.affected[k] + 1
            it.instance, it.usual = t.instance[i].number, share_of(of.failed, of.total)
            it.since_ns, it.calls, it.affected = m.since_ns[k], m.calls - m.calls_at[k], m.affected[k]


cdef void describe_pool(const Table* t, Found* it) noexcept nogil:
    """What its calls show together; what is oddest of them stands first among the others."""
    cdef uint32_t i
    if it.instance == 0:
        narrow(t, it)
    it.odd[0], it.odds = it.call, 1
    it.call.since_ns, it.call.calls, it.call.affected = it.since_ns, it.calls, it.affected
    if it.past != NULL:
        for i in range(t.pasts):
            if is_of(t.past[i], it.service, it.pool):
                add_examples(it, t.past[i].example)
        return
    it.call.value, it.call.usual = share_of(<double>it.affected, <double>it.calls), it.usual
    for i in range(1, t.operations_max + 1):
        if t.failures[i] != NULL and t.failures[i].service == it.service:
            add_examples(it, t.failures[i].example)


cdef void describe(const Table* t, Found* it) noexcept nogil:
    """The numbers of what alarmed, and of what is odd beside it. What is of one operation for the most part is told of it."""
    cdef uint32_t i
    cdef const Monitor* m
    if it.past != NULL:
        m = &it.past.monitor
        it.call = call_of(it.past, m, told_sum(m, 0), it.now_ns)
    else:
        m = &it.failures.monitor
        it.call = failing_call_of(it.failures, m, told_sum(m, 1), it.now_ns)
    if it.pool and it.call.bits < POOL_SHARE * it.sum:
        describe_pool(t, it)
    else:
        it.pool = ITSELF
        it.instance = sender_of(t, it, &it.past.sender if it.past != NULL else &it.failures.sender)
        add_examples(it, &it.past.example[0] if it.past != NULL else &it.failures.example[0])
    for i in range(t.pasts):
        m = &t.past[i].monitor
        if t.past[i] != it.past and m.hot > ODD_BITS:
            add_odd(it, call_of(t.past[i], m, told_sum(m, 0), it.now_ns))
    for i in range(1, t.operations_max + 1):
        if t.failures[i] != NULL and t.failures[i] != it.failures and t.failures[i].monitor.hot > ODD_BITS:
            m = &t.failures[i].monitor
            add_odd(it, failing_call_of(t.failures[i], m, told_sum(m, 1), it.now_ns))


cdef void explain(Table* t, size_t begun) noexcept nogil:
    """Complete what was found in this trace: now all of it is known."""
    cdef size_t i
    feel_heat(t)
    for i in range(begun, t.found_count):
        describe(t, &t.found[i])
        blame_failures(t)
        if t.found[i].past != NULL:
            blame_durations(t)
            if t.found[i].pool:  # however usual most of its calls are
                t.bits[t.found[i].service] = largest(t.bits[t.found[i].service], t.found[i].sum)
        name_suspects(t, &t.found[i])
