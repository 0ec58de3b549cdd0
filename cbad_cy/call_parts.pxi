"""Of calls.pyx: its state as bytes, and back. Little-endian.

Numbers; populations; pasts, failures, services, instances and edges of the graph in the order in which they came, or by their
number; all but the first packed (see `pack`); and a CRC-32 of all that, so that damage is noticed.
"""

cdef enum:
    PARTS_VERSION = 1
    NUMBERS = 16
    CHECK = 4

cdef double NUMBER_MOST = 1e15


cdef struct Bytes:
    const char* at
    size_t left
    int failed                  # 1: they end too early, -1: memory is short


cdef size_t pack(const void* item, size_t size, char* to) noexcept nogil:
    """Those groups of eight bytes that are not as the one before, each 64 after bits that say which these are; -> bytes.

    Most of a histogram is as its neighbour, and most of a monitor is 0. Where `to` is NULL it is only counted.
    """
    cdef size_t words = size // 8, first, i, end, written = 0
    cdef uint64_t word, before = 0, marks
    for first in range(0, words, 64):
        marks, end = 0, written + 8
        for i in range(first, words if words < first + 64 else first + 64):
            memcpy(&word, <const char*>item + 8 * i, 8)
            if word == before:
                continue
            before = word
            marks |= <uint64_t>1 << (i - first)
            if to != NULL:
                memcpy(to + end, &word, 8)
            end += 8
        if to != NULL:
            memcpy(to + written, &marks, 8)
        written = end
    return written


cdef bint unpack(Bytes* b, void* item, size_t size) noexcept nogil:
    """The other way round; False: there are too few bytes."""
    cdef size_t words = size // 8, i
    cdef uint64_t word = 0, marks = 0
    for i in range(words):
        if i % 64 == 0:
            if b.left < 8:
                return False
            memcpy(&marks, b.at, 8)
            b.at += 8
            b.left -= 8
        if marks >> (i % 64) & 1:
            if b.left < 8:
                return False
            memcpy(&word, b.at, 8)
            b.at += 8
            b.left -= 8
        memcpy(<char*>item + 8 * i, &word, 8)
    return True


cdef size_t pack_all(const Table* t, const uint64_t* numbers, char* to) noexcept nogil:
    """-> bytes; where `to` is NULL they are only counted."""
    cdef size_t size = NUMBERS * 8
    cdef uint64_t i
    if to != NULL:
        memcpy(to, numbers, size)
    size += pack(t.population, sizeof(t.population), to + size if to != NULL else NULL)
    for i in range(t.pasts):
        size += pack(t.past[i], sizeof(Past), to + size if to != NULL else NULL)
    for i in range(1, t.operations_max + 1):
        if t.failures[i] != NULL:
            size += pack(t.failures[i], sizeof(Failures), to + size if to != NULL else NULL)
    for i in range(1, t.operations_max + 1):
        if t.service[i] != NULL:
            size += pack(&i, sizeof(i), to + size if to != NULL else NULL)
            size += pack(t.service[i], sizeof(Service), to + size if to != NULL else NULL)
    for i in range(t.instances):
        size += pack(t.instance[i], sizeof(Instance), to + size if to != NULL else NULL)
    for i in range(t.graph_edges):
        size += pack(t.graph[i], sizeof(GraphEdge), to + size if to != NULL else NULL)
    return size


cdef bytes stored(const Table* t):
    cdef uint32_t i
    cdef uint64_t[NUMBERS] numbers
    cdef uint64_t failures = 0, services = 0
    cdef size_t size
    for i in range(1, t.operations_max + 1):
        failures += t.failures[i] != NULL
        services += t.service[i] != NULL
    numbers = [
        PARTS_VERSION, t.rule.now_ns, to_bits(t.rule.calls), to_bits(t.rule.failed), t.edges_overflowed, t.graph_overflowed,
        t.pasts, failures, services, t.instances, t.hand, t.graph_edges, t.operations_max, t.instances_max,
        to_bits(t.rule.slow), to_bits(t.rule.slow_s)]
    with nogil:
        size = pack_all(t, numbers, NULL)
    cdef bytes parts = PyBytes_FromStringAndSize(NULL, size + CHECK)
    cdef char* start = parts
    with nogil:
        pack_all(t, numbers, start)
    cdef uint32_t check = zlib.crc32(memoryview(parts)[:size])
    memcpy(start + size, &check, CHECK)
    return parts


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
        are_numbers(m.sum, 7 * ALTERNATIVES, 0.0, NUMBER_MOST) and are_numbers(&m.hot, 1, 0.0, NUMBER_MOST)
        and are_numbers(&m.first_s, 4, 0.0, r.now_s) and are_numbers(&m.bar, 2, 0.0, NUMBER_MOST)
        and m.alarmed <= 1 and m.alternative < ALTERNATIVES and m.told_ns <= r.now_ns
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
        and are_numbers(&p.local_s, 1, 0.0, t.rule.now_s) and are_numbers(p.took, ALTERNATIVES, 0.0, NUMBER_MOST)
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
    return is_monitor(&s.own, &t.rule) and is_monitor(&s.called, &t.rule) and is_monitor(&s.failing, &t.rule) and (
        are_numbers(&s.total, 4, 0.0, NUMBER_MOST))


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
    cdef size_t size = len(parts)
    cdef Bytes b
    cdef uint64_t[NUMBERS] numbers
    cdef const char* at = parts
    cdef int outcome
    if size < sizeof(numbers) + CHECK:
        raise ValueError(f"{size} bytes are no pasts of calls; hand over what parts() gave")
    size -= CHECK
    if zlib.crc32(memoryview(parts)[:size]) != int.from_bytes(parts[size:], "little"):
        raise ValueError("these pasts of calls are damaged: their check is another")
    memcpy(numbers, at, sizeof(numbers))
    if numbers[0] != PARTS_VERSION:
        raise ValueError("these pasts of calls were stored by another version; begin anew")
    if numbers[12] > t.operations_max or numbers[13] != t.instances_max:
        raise ValueError(f"these pasts of calls are of {numbers[12]} operations; give a table of at least as many")
    if (
        numbers[6] > t.operations_max + t.edges_max or numbers[7] > t.operations_max or numbers[8] > t.operations_max
        or numbers[9] > t.instances_max or numbers[10] >= t.instances_max or numbers[11] > t.graph_edges_max
    ):
        raise ValueError("these pasts of calls are damaged: there are too many")
    b.at, b.left, b.failed = at + sizeof(numbers), size - sizeof(numbers), 0
    with nogil:
        outcome = put_columns(t, numbers, &b)
    if outcome < 0:
        raise MemoryError("no room for the pasts of calls")
    if outcome > 0:
        raise ValueError("these pasts of calls are damaged: their numbers can not be true")
    return 0


cdef void* unpacked(Bytes* b, size_t size) noexcept nogil:
    """The next one, in memory of its own; NULL when it fails."""
    cdef void* found = calloc(1, size)
    if found == NULL:
        b.failed = -1
    elif not unpack(b, found, size):
        free(found)
        b.failed = 1
        return NULL
    return found


cdef bint are_shared(const Table* t) noexcept nogil:
    """Whether what all have in common can be true."""
    cdef int k
    for k in range(2):
        if not (
            are_weights(t.population[k].tail, 0.0, NUMBER_MOST) and are_weights(t.population[k].fresh, 0.0, NUMBER_MOST)
            and are_numbers(&t.population[k].total, 2, 0.0, NUMBER_MOST)
        ):
            return False
    return (
        are_numbers(&t.rule.calls, 2, 0.0, NUMBER_MOST) and are_numbers(&t.rule.slow, 1, 0.0, SLOW_MOST)
        and are_numbers(&t.rule.slow_s, 1, 0.0, t.rule.now_s)
    )


cdef int put_columns(Table* t, const uint64_t* numbers, Bytes* b) noexcept nogil:
    """-> 0, 1 when they can not be true, -1 when memory is short."""
    cdef uint64_t i, number
    cdef int outcome = 0
    t.rule.now_ns, t.rule.now_s = numbers[1], <double>numbers[1] * 1e-9
    t.rule.calls, t.rule.failed = from_bits(numbers[2]), from_bits(numbers[3])
    t.rule.slow, t.rule.slow_s = from_bits(numbers[14]), from_bits(numbers[15])
    t.edges_overflowed, t.graph_overflowed, t.hand = numbers[4], numbers[5], <uint32_t>numbers[10]
    if not unpack(b, t.population, sizeof(t.population)) or not are_shared(t):
        return 1
    for i in range(numbers[6]):
        if outcome == 0:
            outcome = put_past(t, <Past*>unpacked(b, sizeof(Past)))
    for i in range(numbers[7]):
        if outcome == 0:
            outcome = put_failures(t, <Failures*>unpacked(b, sizeof(Failures)))
    for i in range(numbers[8]):
        if outcome == 0 and not unpack(b, &number, sizeof(number)):
            outcome = 1
        if outcome == 0:
            outcome = put_service(t, number, <Service*>unpacked(b, sizeof(Service)))
    for i in range(numbers[9]):
        if outcome == 0:
            outcome = put_instance(t, <Instance*>unpacked(b, sizeof(Instance)))
    for i in range(numbers[11]):
        if outcome == 0:
            outcome = put_edge(t, <GraphEdge*>unpacked(b, sizeof(GraphEdge)))
    if b.failed:
        return b.failed
    return 1 if outcome == 0 and b.left else outcome


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
