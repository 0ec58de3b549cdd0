# cython: autotestdict=False
"""How long calls take and whether they fail, beside the past of the same call; see the .pyi.

Correctly rounded operations and integers only: equal traces give equal judgements on every machine.
"""

from typing import Final

cimport cython
from cpython cimport array
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

import array
import math
import zlib

from cbad_cy.judgement import Judgement

cdef enum:
    ALTERNATIVES = 8
    EXAMPLES = 3
    PATH = 32
    SUSPECTS = 10
    ODD = 8
    PRODUCER = 4
    OPERATIONS_MOST = 1 << 16
    EDGES_MOST = 8192
    INSTANCES_MOST = 4096
    GRAPH_MOST = 4096

# Everything that is stored is made of whole groups of eight bytes, so that there is nothing between fields.

cdef struct Monitor:
    double sum[8]               # bits, of each alternative
    double reserve[8]
    double peak[8]              # of this excursion
    double ended[8]             # excursions
    double height[8]            # the sum of theirs
    double record[8]
    double anew[8]              # bits since it was told
    uint64_t since_ns[8]        # of this excursion
    uint64_t calls_at[8]
    uint64_t affected[8]        # since then
    uint64_t calls, alarmed, alternative, told_ns
    double hot                  # the highest sum
    double first_s, filled_s, alarm_s, evidence_s, bar, reached

cdef struct Example:
    unsigned char trace_id[16]
    uint64_t start_ns, duration_ns, seen_ns
    double bits, at             # where its duration is among the bins
    uint32_t spans, root, failed, depth
    uint32_t instance, called    # of the span, and of what it calls
    uint32_t path[32]

cdef struct Voice:              # who has a majority
    uint32_t who, votes, heard, none
    uint64_t heard_ns

cdef struct Past:
    uint32_t operation, callee, service, callee_service
    float tail[126]             # weight beyond the lower edge of each bin; there is none beyond the last
    float fresh[126]
    double total, waiting, merged_s, top
    double local, local_s       # bits of the last minute, that come below 0 when calls are as usual
    double took[8]              # of each alternative: what affected calls took since it began, in s
    uint64_t told_ns
    Voice sender                # of the affected calls
    Monitor monitor
    Example example[3]

cdef struct Population:
    float tail[126]
    float fresh[126]
    double total, waiting

cdef struct Failures:
    uint32_t operation, service
    float bad[8]
    float good[8]
    double total, failed, waiting, waiting_failed, merged_s, usual
    uint64_t told_ns
    Voice sender, callee
    Monitor monitor
    Example example[3]

cdef struct Pools:
    Monitor own
    Monitor called
    Monitor failing
    double total, failed, waiting, waiting_failed   # calls of the past; calls since failures are being looked at

cdef struct Heat:               # the highest sum of a service or one of its instances
    double own, called, failing

cdef struct Service:
    Pools pools
    uint64_t instances
    double weight, shares, shares_s     # calls of the last seconds, and the sum of how rare they were

cdef struct Instance:
    uint32_t service, number, place, seen
    Pools pools

cdef struct GraphEdge:
    uint32_t caller, callee
    uint64_t calls, errors, first_ns, last_ns
    double weight
    float bins[126]

cdef struct Rule:
    uint64_t now_ns
    double now_s
    double monitors[2]          # in use: of durations, of failures
    double slow, slow_s         # so many quarter octaves all services are slower, and when that was seen
    double calls, failed        # of all operations

cdef struct Said:               # by a call
    const float* gains          # bits to each alternative
    const uint8_t* hits         # whether it counts as affected by it
    bint quiet                  # no alternative gains
    int of                      # 0: durations, 1: failures

cdef struct Index:
    uint32_t* place             # + 1, 0 = empty
    uint64_t* pair
    uint32_t mask

cdef struct SpanWork:
    int32_t below, foreign
    bint child_failed

cdef struct Suspect:
    double bits
    uint32_t service

cdef struct OddCall:
    bint failure
    uint32_t caller, operation
    uint64_t since_ns, calls, affected
    double value, usual, bits

cdef struct Found:
    Past* past
    Failures* failures
    uint64_t now_ns, since_ns, calls, affected
    double sum, bar, level, usual
    uint32_t service, instance
    int pool
    int suspects, odds
    Suspect suspect[10]
    OddCall call
    OddCall odd[8]
    Example example[3]

cdef struct Table:
    Rule rule
    double level
    Population population[2]    # of self times, of what is spent between services
    Past** past
    Failures** failures         # by operation
    Service** service           # by number
    Instance** instance
    GraphEdge** graph
    Index past_index, instance_index, graph_index
    uint32_t operations_max, edges_max, instances_max, graph_edges_max
    uint32_t pasts, edges, services, instances, hand, graph_edges  # services: the highest number
    uint64_t edges_overflowed, graph_overflowed
    double* bits                # by service
    double* own_bits
    Heat* heat
    SpanWork* work
    size_t work_room
    Found* found
    size_t found_count, found_room

cdef struct Batch:
    size_t traces
    const unsigned char* trace_ids
    const uint32_t* sizes
    const uint8_t* trace_marks
    const uint64_t* trace_starts_ns
    const uint64_t* trace_ends_ns
    const uint64_t* closed_ns
    const uint32_t* operations
    const int32_t* parents
    const uint8_t* marks
    const uint64_t* starts_ns
    const uint64_t* durations_ns
    const uint64_t* self_ns
    const uint32_t* instances
    const uint32_t* services    # by operation

include "hash.pxi"
include "series_numbers.pxi"
include "call_rule.pxi"
include "call_monitor.pxi"
include "call_past.pxi"
include "call_table.pxi"
include "call_locate.pxi"
include "call_feed.pxi"
include "call_parts.pxi"

ALARM_LEVEL: Final[float] = LEVEL
CALLS_VERSION: Final[int] = PARTS_VERSION
OPERATIONS_MAX_MOST: Final[int] = OPERATIONS_MOST
EDGES_MAX: Final[int] = EDGES_MOST
INSTANCES_MAX: Final[int] = INSTANCES_MOST
GRAPH_EDGES_MAX: Final[int] = GRAPH_MOST
EXAMPLES_MAX: Final[int] = EXAMPLES
PATH_MAX: Final[int] = PATH
SUSPECTS_MAX: Final[int] = SUSPECTS
ODD_CALLS_MAX: Final[int] = ODD


cdef str measure_of(const OddCall* it):
    return "errors" if it.failure else "gap" if it.caller else "self_time"


cdef tuple odd_of(const OddCall* it):
    return (measure_of(it), it.caller, it.operation, it.calls, it.affected, it.value, it.usual, it.bits)


cdef tuple examples_of(const Found* it):
    """The traces that say most first."""
    cdef int k, i
    found = []
    for k in range(EXAMPLES):
        if it.example[k].spans:
            found.append((-it.example[k].bits, it.now_ns - it.example[k].seen_ns, k))
    shown = []
    for _, _, place in sorted(found):
        k = place
        path = tuple([it.example[k].path[i] for i in range(<int>it.example[k].depth)])
        shown.append((
            PyBytes_FromStringAndSize(<const char*>it.example[k].trace_id, 16), it.example[k].start_ns,
            it.example[k].duration_ns, it.example[k].spans, it.example[k].root, path, it.example[k].failed != 0))
    return tuple(shown)


cdef object judgement_of(const Found* it):
    cdef int k
    cdef double over = it.sum - it.bar, rare = it.level - LEVEL
    cdef double share = BALANCED_P * power_of_two(-bounded(rare, 900.0))
    return Judgement(
        "latency" if it.past != NULL else "errors", measure_of(&it.call), it.call.caller, it.call.operation,
        min(it.call.since_ns, it.now_ns), it.now_ns, smallest(share, 1.0), 0.5 + 0.5 * over / (over + OVER_MOST), it.sum,
        it.call.calls, it.call.affected, it.call.value, it.call.usual, it.instance,
        tuple([(it.suspect[k].service, it.suspect[k].bits) for k in range(it.suspects)]),
        tuple([odd_of(&it.odd[k]) for k in range(it.odds)]), examples_of(it), (), it.pool)


cdef size_t check_closed(object closed, Py_ssize_t traces, Py_ssize_t spans) except? 0:
    """ValueError unless columns fit together; -> traces."""
    per_trace = (closed.marks, closed.starts_ns, closed.ends_ns, closed.closed_ns)
    per_span = (closed.parents, closed.span_marks, closed.span_starts_ns, closed.durations_ns, closed.self_ns, closed.instances)
    if len(closed.trace_ids) != 16 * traces or any(len(column) != traces for column in per_trace):
        raise ValueError(f"columns of {traces} traces do not fit together; hand over what a TraceTable closed")
    if any(len(column) != spans for column in per_span):
        raise ValueError(f"columns of {spans} spans do not fit together; hand over what a TraceTable closed")
    return traces


@cython.final
cdef class CallTable:
    """See the .pyi.

    >>> CallTable(operations_max=100).graph()
    []
    """

    cdef readonly uint32_t operations_max
    cdef Table table

    def __cinit__(self, *, int64_t operations_max=4096):
        if not 1 <= operations_max <= OPERATIONS_MOST:
            raise ValueError(f"{operations_max} operations do not fit; keep 1 <= operations_max <= {OPERATIONS_MOST}")
        self.operations_max = <uint32_t>operations_max
        if table_begin(&self.table, self.operations_max):
            raise MemoryError("no room for a table of calls; lower operations_max")
        self.table.level = LEVEL

    def __dealloc__(self):
        table_end(&self.table)

    def __reduce__(self):
        raise TypeError("a CallTable can not be pickled; keep its parts and restore them")

    @property
    def alarm_level(self):
        """See the .pyi."""
        return self.table.level

    @alarm_level.setter
    def alarm_level(self, double alarm_level):
        if not 0.0 < alarm_level < math.inf:
            raise ValueError(f"alarm level {alarm_level} is not a level; give a finite number above 0")
        self.table.level = alarm_level

    cdef int check_spans(self, const uint32_t[::1] sizes, const uint32_t[::1] operations, const int32_t[::1] parents,
                         const uint32_t[::1] services) except -1:
        """ValueError unless every span has a place in its trace, an operation, and that a service."""
        cdef size_t number, i, first = 0, spans = operations.shape[0]
        cdef int wrong = 0
        with nogil:
            for number in range(<size_t>sizes.shape[0]):
                if sizes[number] == 0 or sizes[number] > spans - first or sizes[number] > <uint32_t>1 << 30:
                    wrong = 1
                    break
                for i in range(sizes[number]):
                    if parents[first + i] < -1 or parents[first + i] >= <int64_t>i:
                        wrong = 1
                    if (
                        operations[first + i] - <uint32_t>1 >= self.table.operations_max
                        or operations[first + i] >= <size_t>services.shape[0]
                        or services[operations[first + i]] - <uint32_t>1 >= self.table.operations_max
                    ):
                        wrong = 2
                first += sizes[number]
            if first != spans and wrong == 0:
                wrong = 1
        if wrong == 1:
            raise ValueError("spans do not fit their traces; hand over what a TraceTable closed")
        if wrong == 2:
            raise ValueError(
                f"an operation has no service or is beyond operations_max ({self.operations_max}); give numbers from 1 on")
        return 0

    def feed(self, closed, const uint32_t[::1] services):
        """See the .pyi."""
        cdef const unsigned char[::1] trace_ids = closed.trace_ids, trace_marks = closed.marks, marks = closed.span_marks
        cdef const uint32_t[::1] sizes = closed.sizes, operations = closed.operations, instances = closed.instances
        cdef const uint64_t[::1] starts_ns = closed.starts_ns, ends_ns = closed.ends_ns, closed_ns = closed.closed_ns
        cdef const uint64_t[::1] span_starts_ns = closed.span_starts_ns, durations_ns = closed.durations_ns
        cdef const uint64_t[::1] self_ns = closed.self_ns
        cdef const int32_t[::1] parents = closed.parents
        cdef Batch b
        cdef int outcome
        cdef size_t i
        b.traces = check_closed(closed, sizes.shape[0], operations.shape[0])
        if b.traces == 0:
            return []
        self.check_spans(sizes, operations, parents, services)
        b.trace_ids, b.sizes, b.trace_marks, b.marks = &trace_ids[0], &sizes[0], &trace_marks[0], &marks[0]
        b.trace_starts_ns, b.trace_ends_ns, b.closed_ns = &starts_ns[0], &ends_ns[0], &closed_ns[0]
        b.operations, b.parents, b.instances, b.services = &operations[0], &parents[0], &instances[0], &services[0]
        b.starts_ns, b.durations_ns, b.self_ns = &span_starts_ns[0], &durations_ns[0], &self_ns[0]
        self.table.found_count = 0
        with nogil:
            outcome = take_all(&self.table, &b)
        if outcome != 0:
            raise MemoryError("no room for the pasts of calls; lower operations_max")
        return [judgement_of(&self.table.found[i]) for i in range(self.table.found_count)]

    def graph(self):
        """See the .pyi."""
        cdef uint32_t i
        cdef const GraphEdge* e
        told = []
        for i in range(self.table.graph_edges):
            e = self.table.graph[i]
            told.append((
                e.caller, e.callee, e.calls, e.errors, quantile(e.bins, e.weight, 0.5, False),
                quantile(e.bins, e.weight, 0.99, False), e.first_ns, e.last_ns))
        return sorted(told)

    @property
    def operations(self):
        """See the .pyi."""
        cdef uint32_t i, count = 0
        for i in range(1, self.operations_max + 1):
            count += self.table.failures[i] != NULL
        return count

    @property
    def edges(self):
        """See the .pyi."""
        return self.table.edges

    @property
    def instances(self):
        """See the .pyi."""
        return self.table.instances

    @property
    def edges_overflowed(self):
        """See the .pyi."""
        return self.table.edges_overflowed

    @property
    def graph_overflowed(self):
        """See the .pyi."""
        return self.table.graph_overflowed

    def parts(self):
        """See the .pyi."""
        return stored(&self.table)

    def restore(self, parts):
        """See the .pyi."""
        if self.table.pasts or self.table.graph_edges or self.table.rule.now_ns:
            raise ValueError("this table is in use; restore into a new one")
        cdef Table fresh
        if table_begin(&fresh, self.operations_max):
            table_end(&fresh)
            raise MemoryError("no room for a table of calls; lower operations_max")
        fresh.level = self.table.level
        try:
            put_back(&fresh, bytes(parts))
        except BaseException:
            table_end(&fresh)
            raise
        table_end(&self.table)
        self.table = fresh
