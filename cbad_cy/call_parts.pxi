"""Of calls.pyx: its state as bytes, and back. Little-endian.

Numbers; populations; pasts, failures, services, instances and edges of the graph in the order in which they came, or by their
number; and a CRC-32 of all that, so that damage is noticed.
"""

cdef enum:
    PARTS_VERSION = 1
    NUMBERS = 16
    CHECK = 4

cdef double NUMBER_MOST = 1e15


cdef bytes stored(const Table* t):
    cdef uint32_t i
    cdef uint64_t[NUMBERS] numbers
    cdef uint64_t failures = 0, services = 0, number
    cdef list found = []
    for i in range(t.pasts):
        found.append(PyBytes_FromStringAndSize(<const char*>t.past[i], sizeof(Past)))
    for i in range(1, t.operations_max + 1):
        if t.failures[i] != NULL:
            failures += 1
            found.append(PyBytes_FromStringAndSize(<const char*>t.failures[i], sizeof(Failures)))
    for i in range(1, t.operations_max + 1):
        if t.service[i] != NULL:
            services += 1
            number = i
            found.append(PyBytes_FromStringAndSize(<const char*>&number, sizeof(number)))
            found.append(PyBytes_FromStringAndSize(<const char*>t.service[i], sizeof(Service)))
    for i in range(t.instances):
        found.append(PyBytes_FromStringAndSize(<const char*>t.instance[i], sizeof(Instance)))
    for i in range(t.graph_edges):
        found.append(PyBytes_FromStringAndSize(<const char*>t.graph[i], sizeof(GraphEdge)))
    numbers = [
        PARTS_VERSION, t.rule.now_ns, to_bits(t.rule.calls), to_bits(t.rule.failed), t.edges_overflowed, t.graph_overflowed,
        t.pasts, failures, services, t.instances, t.hand, t.graph_edges, t.operations_max, t.instances_max,
        to_bits(t.rule.slow), to_bits(t.rule.slow_s)]
    body = b"".join([
        PyBytes_FromStringAndSize(<const char*>numbers, sizeof(numbers)),
        PyBytes_FromStringAndSize(<const char*>t.population, sizeof(t.population)), *found])
    return body + (<uint32_t>zlib.crc32(body)).to_bytes(CHECK, "little")


cdef bint are_numbers(const double* numbers, int count, double least, double most) noexcept nogil:
    cdef int k
    for k in range(count):
        if not least <= numbers[k] <= most:
            return False
    return True


cdef bint are_weights(const float* bins, double least, double most) noexcept nogil:
    cdef int k
    for k in range(BINS):
        if not least <= bins[k] <= most:
            return False
    return bins[BINS] == 0.0 and bins[BINS + 1] == 0.0


cdef bint is_monitor(const Monitor* m, const Rule* r) noexcept nogil:
    """Whether it could have come to be; sums of bits that are beyond all bounds could not."""
    return (
        are_numbers(m.sum, 6 * ALTERNATIVES, 0.0, NUMBER_MOST) and are_numbers(&m.hot, 1, 0.0, NUMBER_MOST)
        and are_numbers(&m.first_s, 4, 0.0, r.now_s) and are_numbers(&m.bar, 2, 0.0, NUMBER_MOST)
        and m.alarmed <= 1 and m.alternative < ALTERNATIVES
    )


cdef bint are_examples(const Example* kept) noexcept nogil:
    cdef int k
    for k in range(EXAMPLES):
        if kept[k].depth > PATH or not (are_numbers(&kept[k].bits, 1, 0.0, CODES) and are_numbers(&kept[k].at, 1, 0.0, BINS)):
            return False
    return True


cdef bint is_past(const Table* t, const Past* p) noexcept nogil:
    return (
        p.operation - <uint32_t>1 < t.operations_max and p.service - <uint32_t>1 < t.operations_max
        and p.callee <= t.operations_max and p.callee_service <= t.operations_max and (p.callee == 0) == (p.callee_service == 0)
        and found_at(&t.past_index, pair_of(p.operation, p.callee)) == 0 and (p.callee == 0 or t.edges < t.edges_max)
        and are_weights(p.tail, 0.0, NUMBER_MOST) and are_weights(p.fresh, 0.0, NUMBER_MOST)
        and are_numbers(&p.total, 2, 0.0, NUMBER_MOST) and are_numbers(&p.merged_s, 1, 0.0, t.rule.now_s)
        and are_numbers(&p.top, 1, 0.0, BINS) and are_numbers(&p.local, 1, -NUMBER_MOST, NUMBER_MOST)
        and are_numbers(&p.local_s, 1, 0.0, t.rule.now_s) and are_numbers(&p.recent, 1, 0.0, BINS)
        and is_monitor(&p.monitor, &t.rule) and are_examples(p.example)
    )


cdef bint are_failures(const Table* t, const Failures* f) noexcept nogil:
    cdef int k
    for k in range(ALTERNATIVES):
        if not (-1000.0 <= f.bad[k] <= 1000.0 and -1000.0 <= f.good[k] <= 1000.0):
            return False
    return (
        f.operation - <uint32_t>1 < t.operations_max and f.service - <uint32_t>1 < t.operations_max
        and f.callee.who <= t.operations_max and t.failures[f.operation] == NULL
        and are_numbers(&f.total, 4, 0.0, NUMBER_MOST) and are_numbers(&f.merged_s, 1, 0.0, t.rule.now_s)
        and are_numbers(&f.usual, 1, 0.0, 1.0) and is_monitor(&f.monitor, &t.rule) and are_examples(f.example)
    )


cdef bint are_pools(const Table* t, const Pools* s) noexcept nogil:
    return is_monitor(&s.own, &t.rule) and is_monitor(&s.called, &t.rule) and is_monitor(&s.failing, &t.rule)


cdef bint is_service(const Table* t, const Service* s) noexcept nogil:
    return (
        are_pools(t, &s.pools) and are_numbers(&s.weight, 2, 0.0, NUMBER_MOST)
        and are_numbers(&s.shares_s, 1, 0.0, t.rule.now_s)
    )


cdef bint is_instance(const Table* t, const Instance* it) noexcept nogil:
    return (
        it.number != 0 and it.service - <uint32_t>1 < t.operations_max and t.service[it.service] != NULL
        and it.place == t.instances and it.seen <= 1
        and found_at(&t.instance_index, pair_of(it.service, it.number)) == 0 and are_pools(t, &it.pools)
    )


cdef bint is_edge(const Table* t, const GraphEdge* e) noexcept nogil:
    return (
        e.caller <= t.operations_max and e.callee - <uint32_t>1 < t.operations_max
        and found_at(&t.graph_index, pair_of(e.caller, e.callee)) == 0
        and are_numbers(&e.weight, 1, 0.0, NUMBER_MOST) and are_weights(e.bins, 0.0, NUMBER_MOST)
    )


cdef int put_back(Table* t, bytes parts) except -1:
    """Fill an empty table; after an error it is the caller's to empty."""
    cdef size_t size = len(parts), room
    cdef uint64_t[NUMBERS] numbers
    cdef const char* at = parts
    cdef int outcome
    if size < sizeof(numbers) + sizeof(t.population) + CHECK:
        raise ValueError(f"{size} bytes are no pasts of calls; hand over what parts() gave")
    size -= CHECK
    if zlib.crc32(parts[:size]) != int.from_bytes(parts[size:], "little"):
        raise ValueError("these pasts of calls are damaged: their check is another")
    memcpy(numbers, at, sizeof(numbers))
    if numbers[0] != PARTS_VERSION:
        raise ValueError("these pasts of calls were stored by another version; begin anew")
    if numbers[12] > t.operations_max or numbers[13] != t.instances_max:
        raise ValueError(f"these pasts are of {numbers[12]} operations; give a table of at least as many")
    room = size - sizeof(numbers) - sizeof(t.population)
    if (
        numbers[6] > t.operations_max + t.edges_max or numbers[7] > t.operations_max or numbers[8] > t.operations_max
        or numbers[9] > t.instances_max or numbers[10] >= t.instances_max or numbers[11] > t.graph_edges_max
        or room != numbers[6] * sizeof(Past) + numbers[7] * sizeof(Failures) + numbers[8] * (8 + sizeof(Service))
        + numbers[9] * sizeof(Instance) + numbers[11] * sizeof(GraphEdge)
    ):
        raise ValueError("these pasts of calls are damaged: they do not end where they should")
    with nogil:
        outcome = put_columns(t, numbers, at + sizeof(numbers))
    if outcome < 0:
        raise MemoryError("no room for the pasts of calls")
    if outcome > 0:
        raise ValueError("these pasts of calls are damaged: their numbers can not be true")
    return 0


cdef void* copied(const char** at, size_t size) noexcept nogil:
    """The next bytes, in memory of their own; NULL when it is short."""
    cdef void* found = calloc(1, size)
    if found != NULL:
        memcpy(found, at[0], size)
        at[0] += size
    return found


cdef int put_columns(Table* t, const uint64_t* numbers, const char* at) noexcept nogil:
    """-> 0, 1 when they can not be true, -1 when memory is short."""
    cdef uint64_t i, number
    cdef int k, outcome
    t.rule.now_ns, t.rule.now_s = numbers[1], <double>numbers[1] * 1e-9
    t.rule.calls, t.rule.failed = from_bits(numbers[2]), from_bits(numbers[3])
    t.rule.slow, t.rule.slow_s = from_bits(numbers[14]), from_bits(numbers[15])
    t.edges_overflowed, t.graph_overflowed, t.hand = numbers[4], numbers[5], <uint32_t>numbers[10]
    memcpy(t.population, at, sizeof(t.population))
    at += sizeof(t.population)
    if not (
        are_numbers(&t.rule.calls, 2, 0.0, NUMBER_MOST) and are_numbers(&t.rule.slow, 1, 0.0, SLOW_MOST)
        and are_numbers(&t.rule.slow_s, 1, 0.0, t.rule.now_s)
    ):
        return 1
    for k in range(2):
        if not (
            are_weights(t.population[k].tail, 0.0, NUMBER_MOST) and are_weights(t.population[k].fresh, 0.0, NUMBER_MOST)
            and are_numbers(&t.population[k].total, 2, 0.0, NUMBER_MOST)
        ):
            return 1
    for i in range(numbers[6]):
        outcome = put_past(t, <Past*>copied(&at, sizeof(Past)))
        if outcome:
            return outcome
    for i in range(numbers[7]):
        outcome = put_failures(t, <Failures*>copied(&at, sizeof(Failures)))
        if outcome:
            return outcome
    for i in range(numbers[8]):
        memcpy(&number, at, 8)
        at += 8
        outcome = put_service(t, number, <Service*>copied(&at, sizeof(Service)))
        if outcome:
            return outcome
    for i in range(numbers[9]):
        outcome = put_instance(t, <Instance*>copied(&at, sizeof(Instance)))
        if outcome:
            return outcome
    for i in range(numbers[11]):
        outcome = put_edge(t, <GraphEdge*>copied(&at, sizeof(GraphEdge)))
        if outcome:
            return outcome
    return 0


cdef int put_past(Table* t, Past* p) noexcept nogil:
    """Take it over; -> 0, 1 when it can not be true, -1 when there is none for want of memory. So do the others."""
    if p == NULL:
        return -1
    if not is_past(t, p):
        free(p)
        return 1
    index_add(&t.past_index, pair_of(p.operation, p.callee), t.pasts)
    t.past[t.pasts] = p
    t.pasts += 1
    t.edges += p.callee != 0
    t.rule.monitors[0] += p.monitor.calls > 0
    return 0


cdef int put_failures(Table* t, Failures* f) noexcept nogil:
    if f == NULL:
        return -1
    if not are_failures(t, f):
        free(f)
        return 1
    t.failures[f.operation] = f
    t.rule.monitors[1] += f.monitor.calls > 0
    return 0


cdef int put_service(Table* t, uint64_t number, Service* s) noexcept nogil:
    if s == NULL:
        return -1
    if number - <uint64_t>1 >= t.operations_max or t.service[number] != NULL or not is_service(t, s):
        free(s)
        return 1
    s.instances = 0
    t.service[number] = s
    if number > t.services:
        t.services = <uint32_t>number
    count_pools(t, &s.pools, 1.0)
    return 0


cdef int put_instance(Table* t, Instance* it) noexcept nogil:
    if it == NULL:
        return -1
    if not is_instance(t, it):
        free(it)
        return 1
    index_add(&t.instance_index, pair_of(it.service, it.number), t.instances)
    t.instance[t.instances] = it
    t.instances += 1
    t.service[it.service].instances += 1
    count_pools(t, &it.pools, 1.0)
    return 0


cdef int put_edge(Table* t, GraphEdge* e) noexcept nogil:
    if e == NULL:
        return -1
    if not is_edge(t, e):
        free(e)
        return 1
    index_add(&t.graph_index, pair_of(e.caller, e.callee), t.graph_edges)
    t.graph[t.graph_edges] = e
    t.graph_edges += 1
    return 0
