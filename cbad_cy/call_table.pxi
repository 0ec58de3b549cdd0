"""Of calls.pyx: where pasts, services, instances and edges are. Each is found by two numbers in an open-addressed index."""


cdef int index_begin(Index* x, uint32_t entries) noexcept nogil:
    """Room for so many entries, at most half full; -> 0, -1 when memory is short."""
    cdef uint32_t room = 16
    while room < 2 * entries:
        room *= 2
    x.place = <uint32_t*>calloc(room, sizeof(uint32_t))
    x.pair = <uint64_t*>calloc(room, sizeof(uint64_t))
    x.mask = room - 1
    return 0 if x.place != NULL and x.pair != NULL else -1


cdef void index_end(Index* x) noexcept nogil:
    free(x.place)
    free(x.pair)
    x.place, x.pair = NULL, NULL


cdef inline uint64_t pair_of(uint32_t first, uint32_t second) noexcept nogil:
    return <uint64_t>first << 32 | second


cdef inline uint32_t cell_of(const Index* x, uint64_t pair) noexcept nogil:
    """Where a pair is, or the empty cell where it belongs."""
    cdef uint32_t i = <uint32_t>stirred(pair) & x.mask
    while x.place[i] and x.pair[i] != pair:
        i = (i + 1) & x.mask
    return i


cdef inline uint32_t found_at(const Index* x, uint64_t pair) noexcept nogil:
    """Place + 1; 0 = not there."""
    return x.place[cell_of(x, pair)]


cdef inline void index_add(Index* x, uint64_t pair, uint32_t place) noexcept nogil:
    cdef uint32_t i = cell_of(x, pair)
    x.pair[i] = pair
    x.place[i] = place + 1


cdef void index_drop(Index* x, uint64_t pair) noexcept nogil:
    """Forget a pair that is there, and close the hole, so that searches need no marks."""
    cdef uint32_t i = cell_of(x, pair), k = i, home
    while True:
        k = (k + 1) & x.mask
        if x.place[k] == 0:
            break
        home = <uint32_t>stirred(x.pair[k]) & x.mask
        if ((k - home) & x.mask) >= ((k - i) & x.mask):
            x.pair[i], x.place[i] = x.pair[k], x.place[k]
            i = k
    x.place[i] = 0


# ---- what is known -------------------------------------------------------------------------------------------------


cdef Past* past_added(Table* t, uint32_t operation, uint32_t callee, uint32_t service, uint32_t callee_service) noexcept nogil:
    """A new past; NULL when memory is short."""
    cdef Past* p = <Past*>calloc(1, sizeof(Past))
    if p != NULL:
        p.operation, p.callee, p.service, p.callee_service = operation, callee, service, callee_service
        index_add(&t.past_index, pair_of(operation, callee), t.pasts)
        t.past[t.pasts] = p
        t.pasts += 1
        t.edges += callee != 0
    return p


cdef Past* past_of(Table* t, uint32_t operation, uint32_t callee, uint32_t service, uint32_t callee_service) noexcept nogil:
    """The past of an operation, or of its calls of `callee`; where edges are too many of the operation. NULL: no memory."""
    cdef uint32_t at = found_at(&t.past_index, pair_of(operation, callee))
    if at:
        return t.past[at - 1]
    if callee and t.edges >= t.edges_max:
        t.edges_overflowed += 1
        return past_of(t, operation, 0, service, 0)
    return past_added(t, operation, callee, service, callee_service)


cdef Failures* failures_of(Table* t, uint32_t operation, uint32_t service) noexcept nogil:
    """NULL when memory is short."""
    cdef Failures* f = t.failures[operation]
    if f == NULL:
        f = <Failures*>calloc(1, sizeof(Failures))
        if f != NULL:
            f.operation, f.service = operation, service
            set_rates(f, &t.rule)
            t.failures[operation] = f
    return f


cdef Service* service_of(Table* t, uint32_t number) noexcept nogil:
    """NULL when memory is short."""
    cdef Service* s = t.service[number]
    if s == NULL:
        s = <Service*>calloc(1, sizeof(Service))
        if s != NULL:
            t.service[number] = s
            if number > t.services:
                t.services = number
    return s


cdef void count_pools(Table* t, const Pools* of, double sign) noexcept nogil:
    """Count the monitors of a service or an instance that have seen calls, or count them out."""
    t.rule.monitors[0] += sign * ((of.own.calls > 0) + (of.called.calls > 0))
    t.rule.monitors[1] += sign * (of.failing.calls > 0)


cdef Instance* instance_slot(Table* t) noexcept nogil:
    """A slot for a new instance: when there is none left, that of one that was not seen lately. NULL: no memory."""
    cdef Instance* it
    if t.instances < t.instances_max:
        it = <Instance*>calloc(1, sizeof(Instance))
        if it != NULL:
            t.instance[t.instances] = it
            it.place = t.instances
            t.instances += 1
        return it
    while t.instance[t.hand].seen:
        t.instance[t.hand].seen = 0
        t.hand = (t.hand + 1) % t.instances_max
    it = t.instance[t.hand]
    t.hand = (t.hand + 1) % t.instances_max
    index_drop(&t.instance_index, pair_of(it.service, it.number))
    t.service[it.service].instances -= 1
    count_pools(t, &it.pools, -1.0)
    memset(&it.pools, 0, sizeof(Pools))
    return it


cdef int meet(Table* t, uint32_t service, uint32_t number, Instance** found) noexcept nogil:
    """The instance of a service, NULL where it is the only one or not known; -> 0, -1 when memory is short."""
    cdef Service* s = service_of(t, service)
    cdef uint32_t at
    cdef Instance* it
    found[0] = NULL
    if s == NULL:
        return -1
    if number == 0:
        return 0
    at = found_at(&t.instance_index, pair_of(service, number))
    if at:
        it = t.instance[at - 1]
    else:
        it = instance_slot(t)
        if it == NULL:
            return -1
        it.service, it.number = service, number
        index_add(&t.instance_index, pair_of(service, number), it.place)
        s.instances += 1
    it.seen = 1
    if s.instances > 1:
        found[0] = it
    return 0


# ---- the service graph ---------------------------------------------------------------------------------------------


cdef int count_edge(
    Table* t, uint32_t caller, uint32_t callee, uint64_t start_ns, uint64_t duration_ns, bint failed) noexcept nogil:
    """A call from one service to another; -> 0, -1 when memory is short."""
    cdef uint32_t at = found_at(&t.graph_index, pair_of(caller, callee))
    cdef int k
    cdef GraphEdge* e
    if at == 0:
        if t.graph_edges >= t.graph_edges_max:
            t.graph_overflowed += 1
            return 0
        e = <GraphEdge*>calloc(1, sizeof(GraphEdge))
        if e == NULL:
            return -1
        e.caller, e.callee, e.first_ns = caller, callee, start_ns
        index_add(&t.graph_index, pair_of(caller, callee), t.graph_edges)
        t.graph[t.graph_edges] = e
        t.graph_edges += 1
    else:
        e = t.graph[at - 1]
    e.calls += 1
    e.errors += failed
    if start_ns < e.first_ns:
        e.first_ns = start_ns
    if start_ns > e.last_ns:
        e.last_ns = start_ns
    if e.weight >= GRAPH_CALLS:
        e.weight = 0.0
        for k in range(BINS):
            e.bins[k] *= <float>0.5
            e.weight += e.bins[k]
    e.bins[<int>position(duration_ns)] += <float>1.0
    e.weight += 1.0
    return 0


# ---- begin and end -------------------------------------------------------------------------------------------------


cdef int table_begin(Table* t, uint32_t operations_max) noexcept nogil:
    """-> 0, -1 when memory is short."""
    memset(t, 0, sizeof(Table))
    t.operations_max = operations_max
    t.edges_max, t.instances_max, t.graph_edges_max = EDGES_MOST, INSTANCES_MOST, GRAPH_MOST
    t.past = <Past**>calloc(operations_max + EDGES_MOST, sizeof(Past*))
    t.failures = <Failures**>calloc(operations_max + 1, sizeof(Failures*))
    t.service = <Service**>calloc(operations_max + 1, sizeof(Service*))
    t.instance = <Instance**>calloc(INSTANCES_MOST, sizeof(Instance*))
    t.graph = <GraphEdge**>calloc(GRAPH_MOST, sizeof(GraphEdge*))
    t.bits = <double*>calloc(operations_max + 1, sizeof(double))
    t.own_bits = <double*>calloc(operations_max + 1, sizeof(double))
    t.heat = <Heat*>calloc(operations_max + 1, sizeof(Heat))
    if (
        t.past == NULL or t.failures == NULL or t.service == NULL or t.instance == NULL or t.graph == NULL or t.bits == NULL
        or t.own_bits == NULL or t.heat == NULL or index_begin(&t.past_index, operations_max + EDGES_MOST)
        or index_begin(&t.instance_index, INSTANCES_MOST) or index_begin(&t.graph_index, GRAPH_MOST)
    ):
        return -1
    return 0


cdef void table_end(Table* t) noexcept nogil:
    cdef uint32_t i
    if t.past != NULL:
        for i in range(t.pasts):
            free(t.past[i])
    if t.instance != NULL:
        for i in range(t.instances):
            free(t.instance[i])
    if t.graph != NULL:
        for i in range(t.graph_edges):
            free(t.graph[i])
    for i in range(t.operations_max + 1):
        if t.failures != NULL:
            free(t.failures[i])
        if t.service != NULL:
            free(t.service[i])
    free(t.past)
    free(t.failures)
    free(t.service)
    free(t.instance)
    free(t.graph)
    free(t.bits)
    free(t.own_bits)
    free(t.heat)
    index_end(&t.past_index)
    index_end(&t.instance_index)
    index_end(&t.graph_index)
    free(t.found)
    free(t.work)
    memset(t, 0, sizeof(Table))
