"""Of calls.pyx: traces, span by span, while the GIL is released."""


cdef int work_room(Table* t, size_t spans) noexcept nogil:
    """Room for one trace of so many spans; -> 0, -1 when memory is short."""
    cdef SpanWork* wide
    if spans > t.work_room:
        wide = <SpanWork*>realloc(t.work, spans * sizeof(SpanWork))
        if wide == NULL:
            return -1
        t.work, t.work_room = wide, spans
    return 0


cdef void survey(Table* t, const Batch* b, size_t first, int32_t spans) noexcept nogil:
    """Of each span: its spans below, its first child in another service, whether a child failed."""
    cdef SpanWork* w = t.work
    cdef int32_t i, up
    for i in range(spans):
        w[i].below, w[i].foreign, w[i].child_failed = 0, -1, False
    for i in range(spans - 1, 0, -1):
        up = b.parents[first + i]
        if up < 0:
            continue
        w[up].below += w[i].below + 1
        if b.services[b.operations[first + i]] != b.services[b.operations[first + up]]:
            w[up].foreign = i
        if b.marks[first + i] & ERROR_BIT:
            w[up].child_failed = True


cdef uint64_t own_time(const Table* t, const Batch* b, size_t first, int32_t i, int32_t spans) noexcept nogil:
    """What a span took by itself. One that has no span below and is no call: without what later siblings cover of it.

    Filters and asynchronous handlers end after the work that they start, which is told beside them, not below.
    """
    cdef const SpanWork* w = t.work
    cdef size_t s = first + i
    cdef uint64_t own = b.self_ns[s], until, reached, end, covered = 0
    cdef int32_t up = b.parents[s], k, looked = 0
    cdef int kind = b.marks[s] & KIND
    if up < 0 or w[i].below or kind == CLIENT or kind == PRODUCER:
        return own
    reached, until = b.starts_ns[s], b.starts_ns[s] + b.durations_ns[s]
    k = i + 1
    while k < spans and b.parents[first + k] == up and looked < SIBLINGS and b.starts_ns[first + k] < until:
        end = b.starts_ns[first + k] + b.durations_ns[first + k]
        if end > until:
            end = until
        if end > reached:
            covered += end - (b.starts_ns[first + k] if b.starts_ns[first + k] > reached else reached)
            reached = end
        k += w[k].below + 1
        looked += 1
    return own - covered if own > covered else 0


cdef Example* replaced(Example* kept, const unsigned char* trace_id, double bits, uint64_t now_ns) noexcept nogil:
    """Where an example of so many bits belongs: in place of what says least, or of the same trace. NULL: nowhere."""
    cdef int k
    cdef double least = 0.0, bits_kept
    cdef Example* weakest = NULL
    for k in range(EXAMPLES):
        bits_kept = worth(&kept[k], now_ns)
        if kept[k].spans and memcmp(kept[k].trace_id, trace_id, 16) == 0:
            return &kept[k] if bits > bits_kept else NULL
        if weakest == NULL or bits_kept < least or (bits_kept == least and kept[k].seen_ns < weakest.seen_ns):
            weakest, least = &kept[k], bits_kept
    return weakest if bits >= least else NULL


cdef void show(
    Example* e, const Table* t, const Batch* b, size_t number, size_t first, int32_t i, double at, double bits) noexcept nogil:
    """This trace, with the way to one of its spans."""
    cdef int32_t up, depth = 0, cut, below = t.work[i].foreign
    memcpy(e.trace_id, &b.trace_ids[16 * number], 16)
    e.at = at
    e.bits, e.seen_ns, e.spans = bits, t.rule.now_ns, b.sizes[number]
    e.start_ns = b.trace_starts_ns[number]
    e.duration_ns = b.trace_ends_ns[number] - e.start_ns if b.trace_ends_ns[number] > e.start_ns else 0
    e.root = b.operations[first]
    e.failed = (b.marks[first + i] & ERROR_BIT) != 0
    e.instance, e.called = b.instances[first + i], b.instances[first + below] if below >= 0 else 0
    up = i
    while up >= 0:
        depth += 1
        up = b.parents[first + up]
    e.depth = depth if depth < PATH else PATH
    cut = depth - <int32_t>e.depth
    up = i
    while up >= 0:  # a path that is too deep loses its middle
        depth -= 1
        if depth < PATH // 2:
            e.path[depth] = b.operations[first + up]
        elif depth - cut >= PATH // 2:
            e.path[depth - cut] = b.operations[first + up]
        up = b.parents[first + up]


cdef inline void keep_example(
    Example* kept, const Table* t, const Batch* b, size_t number, size_t first, int32_t i, double at, double bits) noexcept nogil:
    """Keep this trace if it is among those that say most about a call."""
    cdef Example* e = replaced(kept, &b.trace_ids[16 * number], bits, t.rule.now_ns)
    if e != NULL:
        show(e, t, b, number, first, i, at, bits)


cdef void show_found(
    Table* t, size_t begun, const Batch* b, size_t number, size_t first, int32_t i, double at, double bits) noexcept nogil:
    """The trace with which it alarms is an example, if there is no better one."""
    cdef size_t k
    for k in range(begun, t.found_count):
        show(&t.found[k].example[0], t, b, number, first, i, at, bits)


cdef int watch_pool(
    Table* t, Past* p, int pool, Pools* of, const Said* said, uint32_t service, uint32_t instance, bint* alarmed) noexcept nogil:
    """A monitor of all calls that have something in common; -> 0, -1 when memory is short."""
    cdef Monitor* m = &of.own if pool == SERVICE else &of.called
    cdef int outcome = watch(m, said, &t.rule, t.level)
    if m.alarmed:
        alarmed[0] = True
    if outcome == 1:
        forget_fresh(p)
    if outcome > 0:
        return raise_alarm(t, hottest(t, p, service, pool), NULL, m, pool, service, instance, 0.0)
    return 0


cdef int judge_duration(Table* t, const Batch* b, size_t number, size_t first, int32_t i, int32_t spans) noexcept nogil:
    """-> 0, -1 when memory is short."""
    cdef size_t s = first + i
    cdef uint32_t operation = b.operations[s], service = b.services[operation], callee = 0, callee_service = 0
    cdef int32_t below = t.work[i].foreign
    cdef int kind = b.marks[s] & KIND
    cdef Past* p
    cdef Population* g
    cdef Instance* own
    cdef Instance* called = NULL
    cdef double at
    cdef int code, outcome, adopted
    cdef bint odd, alarmed
    cdef Said said
    cdef uint32_t sender = b.instances[s]
    cdef size_t begun = t.found_count
    if below >= 0 and (kind == CLIENT or kind == 0):
        callee = b.operations[first + below]
        callee_service = b.services[callee]
        if kind == CLIENT:
            vote(&t.failures[operation].callee, callee_service, t.rule.now_ns)
    p = past_of(t, operation, callee, service, callee_service)
    if p == NULL or meet(t, service, sender, &own):
        return -1
    if callee:
        if meet(t, callee_service, b.instances[first + below], &called):
            return -1
        if called != NULL:
            sender = called.number
    g = &t.population[p.callee != 0]
    at = position(own_time(t, b, first, i, spans))
    see_slowness(t)
    if p.total >= SLOW_CALLS:
        tell_share(t.service[service], tail_share(p, g, at - t.rule.slow), t.rule.now_s)
    code = code_of(tail_share(p, g, at - SLACK - t.rule.slow))
    odd = code > ODD_CODE
    said = Said(&GAINS[code][0], &HITS[code][0], code <= QUIET_CODE, 0)
    p.local = p.local * decay(t.rule.now_s - p.local_s, LOCAL_HALF_S) + LOCAL[code]
    p.local_s = t.rule.now_s
    adopted = watch(&p.monitor, &said, &t.rule, t.level)
    count_took(p, at, &HITS[code][0])
    if odd:
        if HITS[code][told_sum(&p.monitor, 0)]:
            vote(&p.sender, sender, t.rule.now_ns)
        keep_example(p.example, t, b, number, first, i, at, code / <double>STEPS)
    alarmed = p.monitor.alarmed != 0
    if adopted == 1:
        forget_fresh(p)
    if adopted > 0 and raise_alarm(t, p, NULL, &p.monitor, ITSELF, service, 0, 0.0):
        return -1
    outcome = watch_pool(t, p, SERVICE, &t.service[service].pools, &said, service, 0, &alarmed)
    if outcome == 0 and callee:
        outcome = watch_pool(t, p, CALLED, &t.service[callee_service].pools, &said, callee_service, 0, &alarmed)
    if outcome == 0 and own != NULL:
        outcome = watch_pool(t, p, SERVICE, &own.pools, &said, service, own.number, &alarmed)
    if outcome == 0 and called != NULL:
        outcome = watch_pool(t, p, CALLED, &called.pools, &said, callee_service, called.number, &alarmed)
    show_found(t, begun, b, number, first, i, at, code / <double>STEPS)
    learn(p, g, at, ODD_WEIGHT if alarmed and odd else 1.0, alarmed, adopted == -1, t.rule.now_s)
    return outcome


cdef int watch_failing(
    Table* t, Failures* f, Pools* of, const Said* said, bint failed, uint32_t instance, bint* alarmed) noexcept nogil:
    """As `watch_pool`, of failures."""
    cdef int outcome = watch(&of.failing, said, &t.rule, t.level + ERRORS_BITS)
    count_call(of, failed)
    if of.failing.alarmed:
        alarmed[0] = True
    if outcome > 0:
        return raise_alarm(
            t, NULL, failing_most(t, f), &of.failing, SERVICE, f.service, instance, share_of(of.failed, of.total))
    return 0


cdef int judge_failure(Table* t, const Batch* b, size_t number, size_t first, int32_t i) noexcept nogil:
    """-> 0, -1 when memory is short."""
    cdef size_t s = first + i
    cdef uint32_t operation = b.operations[s], service = b.services[operation]
    cdef bint failed = (b.marks[s] & ERROR_BIT) != 0 and not t.work[i].child_failed, alarmed
    cdef Failures* f = failures_of(t, operation, service)
    cdef Instance* own
    cdef Said said
    cdef int adopted, outcome
    cdef size_t begun = t.found_count
    if f == NULL or meet(t, service, b.instances[s], &own):
        return -1
    said = Said(&f.bad[0], &ALL_HIT[0], False, 1) if failed else Said(&f.good[0], &NONE_HIT[0], True, 1)
    adopted = watch(&f.monitor, &said, &t.rule, t.level + ERRORS_BITS)
    if failed:
        vote(&f.sender, b.instances[s], t.rule.now_ns)
        keep_example(f.example, t, b, number, first, i, 0.0, f.bad[ALTERNATIVES - 2])
    alarmed = f.monitor.alarmed != 0
    if adopted > 0 and raise_alarm(t, NULL, f, &f.monitor, ITSELF, service, 0, 0.0):
        return -1
    outcome = watch_failing(t, f, &t.service[service].pools, &said, failed, 0, &alarmed)
    if outcome == 0 and own != NULL:
        outcome = watch_failing(t, f, &own.pools, &said, failed, own.number, &alarmed)
    show_found(t, begun, b, number, first, i, 0.0, f.bad[ALTERNATIVES - 2])
    learn_failure(f, failed, alarmed, adopted == -1, &t.rule)
    return outcome


cdef int draw_edge(Table* t, const Batch* b, size_t first, int32_t i, uint8_t marks, bint* rooted) noexcept nogil:
    """The call that a span answers, if it comes from another service or from outside; -> 0, -1 when memory is short.

    Of spans without parent the first is a root where there is one; of others it is not known who called.
    """
    cdef size_t s = first + i
    cdef uint32_t service = b.services[b.operations[s]], caller = 0
    cdef int32_t up = b.parents[s]
    cdef uint64_t start_ns = b.starts_ns[s], duration_ns = b.durations_ns[s]
    cdef bint failed = (b.marks[s] & ERROR_BIT) != 0
    if up >= 0:
        caller = b.services[b.operations[first + up]]
        if caller == service:
            return 0
        if b.marks[first + up] & KIND == CLIENT:
            start_ns, duration_ns = b.starts_ns[first + up], b.durations_ns[first + up]
            failed = failed or (b.marks[first + up] & ERROR_BIT) != 0
    elif marks & NO_ROOT_BIT or marks & VIRTUAL_BIT and rooted[0]:
        return 0
    else:
        rooted[0] = True
    return count_edge(t, caller, service, start_ns, duration_ns, failed)


cdef int take_trace(Table* t, const Batch* b, size_t number, size_t first) noexcept nogil:
    """-> 0, -1 when memory is short."""
    cdef int32_t i, spans = <int32_t>b.sizes[number]
    cdef bint rooted = False
    cdef size_t begun = t.found_count
    if work_room(t, spans):
        return -1
    if b.closed_ns[number] > t.rule.now_ns:
        t.rule.now_ns = b.closed_ns[number]
        t.rule.now_s = <double>t.rule.now_ns * 1e-9
    survey(t, b, first, spans)
    for i in range(spans):
        if draw_edge(t, b, first, i, b.trace_marks[number], &rooted):
            return -1
        if b.trace_marks[number] & CUT_BITS:  # what is missing would count as self time, and failures below as own ones
            continue
        if judge_failure(t, b, number, first, i) or judge_duration(t, b, number, first, i, spans):
            return -1
    if t.found_count > begun:
        explain(t, begun)
    return 0


cdef int take_all(Table* t, const Batch* b) noexcept nogil:
    """-> 0, -1 when memory is short."""
    cdef size_t number, first = 0
    for number in range(b.traces):
        if take_trace(t, b, number, first):
            return -1
        first += b.sizes[number]
    return 0
