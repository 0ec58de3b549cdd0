# cython: autotestdict=False
"""Traces with a part that is new, missing or repeated, and calls between services that are new or gone.

See the .pyi for what is judged, and for the sources. Correctly rounded operations, table logarithms and integers only: the same
alarms on every machine.
"""

from typing import Final

cimport cython
from cpython cimport array
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.math cimport frexp, ldexp, sqrt
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

import math

from cbad_cy.judgement import Judgement
from cbad_cy.traces import Closed

include "hash.pxi"
include "logarithm.pxi"
include "shape_state.pxi"
include "shape_store.pxi"
include "shape_monitor.pxi"
include "shape_alarm.pxi"
include "shape_tree.pxi"
include "shape_parts.pxi"

ALARM_LEVEL: Final = 34.0
SHAPES_VERSION: Final = PARTS_VERSION
OPERATIONS_MAX: Final = 4096
OPERATIONS_MAX_MOST: Final = 1 << 16
PAIRS_MAX: Final = 8192
ROOTS_MAX: Final = 32
PLACES_MAX: Final = 1 << 16
EDGES_MAX: Final = 1 << 17
FEATURES_MAX: Final = 1 << 17
BOUND_MOST: Final = 1 << 22
CHILDREN_MAX: Final = CHILDREN
LINKS_MAX: Final = LINKS_MOST
STORIES_MAX: Final = STORIES
EXAMPLES_MAX: Final = SHOWN
PATH_MAX: Final = PATH
SUBTREE_MAX: Final = LINES
SUBTREE_DEPTH_MAX: Final = DEPTH
FEATURE_BYTES: Final = sizeof(Monitor)


# ---- traces in -----------------------------------------------------------------------------------------------------


cdef struct Columns:
    size_t traces, spans, services
    const unsigned char* trace_id
    const uint32_t* size
    const unsigned char* mark
    const uint64_t* start_ns
    const uint64_t* end_ns
    const uint64_t* closed_ns
    const uint32_t* operation
    const int32_t* parent
    const unsigned char* span_mark
    const uint32_t* instance
    const uint32_t* service


cdef enum:
    FITS = 0
    NOT_SPANS = 1
    NO_OPERATION = 2
    NO_PARENT = 3
    NO_SERVICE = 4


cdef int check_spans(const Columns* c, uint32_t operations_max) noexcept nogil:
    """Whether the kernel can read them."""
    cdef size_t k, at = 0
    cdef uint32_t i
    for k in range(c.traces):
        if c.size[k] == 0 or c.size[k] > c.spans - at:
            return NOT_SPANS
        for i in range(c.size[k]):
            if c.operation[at] == 0 or c.operation[at] > operations_max:
                return NO_OPERATION
            if c.operation[at] >= c.services:
                return NO_SERVICE
            if c.parent[at] < -1 or c.parent[at] >= <int64_t>i:
                return NO_PARENT
            at += 1
    return FITS if at == c.spans else NOT_SPANS


cdef int run(Shapes* t, const Columns* c) noexcept nogil:
    """-> 0, -1 when memory is short."""
    cdef Trace r
    cdef size_t k, at = 0
    t.service = c.service
    for k in range(c.traces):
        r.trace_id = c.trace_id + 16 * k
        r.marks = c.mark[k]
        r.start_ns, r.end_ns, r.closed_ns, r.spans = c.start_ns[k], c.end_ns[k], c.closed_ns[k], c.size[k]
        r.operation, r.parent, r.mark, r.instance = c.operation + at, c.parent + at, c.span_mark + at, c.instance + at
        if take(t, &r):
            return -1
        at += c.size[k]
    return 0


cdef int check_columns(closed) except -1:
    traces, spans = len(closed.sizes), len(closed.operations)
    of_traces = len(closed.trace_ids) / 16, len(closed.marks), len(closed.starts_ns), len(closed.ends_ns), len(closed.closed_ns)
    of_spans = len(closed.parents), len(closed.span_marks), len(closed.instances)
    if any([size != traces for size in of_traces]) or any([size != spans for size in of_spans]):
        raise ValueError(f"columns of {traces} traces and {spans} spans do not fit together; give what a TraceTable closed")
    return 0


cdef int refuse(int wrong, uint32_t operations_max) except -1:
    if wrong == NOT_SPANS:
        raise ValueError("the sizes of these traces do not fit their spans; give what a TraceTable closed")
    if wrong == NO_OPERATION:
        raise ValueError(f"there is an operation outside 1..{operations_max}; number them from 1, or raise operations_max")
    if wrong == NO_PARENT:
        raise ValueError("a span's parent does not come before it; give what a TraceTable closed")
    if wrong == NO_SERVICE:
        raise ValueError("there is an operation without service; give one for each number, and any for 0")
    return 0


# ---- alarms out ----------------------------------------------------------------------------------------------------


cdef object example_of(const Example* e):
    cdef int k
    return (
        PyBytes_FromStringAndSize(<char*>e.trace_id, 16), e.start_ns, e.duration_ns, e.spans, e.root,
        tuple([e.path[k] for k in range(e.steps)]), bool(e.error))


cdef object judgement_of(const Alarm* a):
    cdef int k
    return Judgement(
        "dependency" if a.dependency else "shape", "repeats" if a.repeats else "calls", a.caller, a.operation, a.since_ns,
        a.time_ns, share_of(a.bits), a.bits / (a.bits + a.level), a.bits, a.trials, a.affected,
        a.affected / <double>a.trials if a.trials else 1.0, a.usual, a.instance,
        tuple([(a.suspect[k], a.suspect_bits[k]) for k in range(2) if a.suspect_bits[k] > 0.0]), (),
        tuple([example_of(&a.example[k]) for k in range(a.examples)]),
        tuple([(a.line[k].depth, a.line[k].operation, a.line[k].sign, a.line[k].repeats) for k in range(a.lines)]), 0)


@cython.final
cdef class ShapeTable:
    """See the .pyi.

    >>> from array import array
    >>> def trace(number, operations, parents):
    ...     spans, times = len(operations), array("Q", [number * 10**9])
    ...     longs, none = array("Q", bytes(8 * spans)), array("I", bytes(4 * spans))
    ...     return Closed(number.to_bytes(16, "big"), array("I", [spans]), b"\\0", times, times, times, array("I", operations),
    ...                   array("i", parents), bytes(8 * spans), b"\\2" * spans, longs, longs, longs, none)
    >>> table, services = ShapeTable(), array("I", [0, 1, 2, 3])
    >>> found = [table.feed(trace(number, [1, 2], [-1, 0]), services) for number in range(1000)]
    >>> found += [table.feed(trace(number, [1, 2, 3], [-1, 0, 0]), services) for number in range(1000, 1010)]
    >>> [(it.question, it.measure, it.caller, it.operation, it.affected, it.subtree) for told in found for it in told]
    [('dependency', 'calls', 1, 3, 5, ((0, 3, 1, 1),))]
    """

    cdef Shapes table
    cdef readonly int operations_max, pairs_max, roots_max, places_max, edges_max, features_max

    def __cinit__(
        self, *, operations_max=4096, pairs_max=8192, roots_max=32, places_max=65536, edges_max=131072, features_max=131072,
        alarm_level=34.0,
    ):
        for name, value, most in (
            ("operations_max", operations_max, OPERATIONS_MAX_MOST), ("pairs_max", pairs_max, BOUND_MOST),
            ("roots_max", roots_max, BOUND_MOST), ("places_max", places_max, BOUND_MOST), ("edges_max", edges_max, BOUND_MOST),
            ("features_max", features_max, BOUND_MOST),
        ):
            if not 1 <= value <= most:
                raise ValueError(f"{name} is {value}; choose one from 1 to {most}")
        self.alarm_level = alarm_level
        self.operations_max = self.table.operations_max = operations_max
        self.pairs_max = self.table.pairs_max = pairs_max
        self.roots_max = self.table.roots.most = roots_max
        self.places_max = self.table.places.most = places_max
        self.edges_max = self.table.edges.most = self.table.kids.most = edges_max
        self.features_max = self.table.monitors_most = features_max
        self.table.nodes.most = operations_max + pairs_max
        self.table.links.most = LINKS_MOST
        self.begin()

    cdef int begin(self) except -1:
        if begin(&self.table):
            raise MemoryError("no room for operations; lower operations_max")
        return 0

    def __dealloc__(self):
        end(&self.table)

    def __reduce__(self):
        raise TypeError("a ShapeTable can not be pickled; keep its parts and restore them")

    def __len__(self):
        return self.table.monitors

    @property
    def alarm_level(self):
        """See the .pyi."""
        return self.table.level

    @alarm_level.setter
    def alarm_level(self, double alarm_level):
        if not 0.0 < alarm_level < math.inf:
            raise ValueError(f"alarm level {alarm_level} is not a level; give a finite number of bits above 0")
        self.table.level = alarm_level

    @property
    def traces(self):
        """See the .pyi."""
        return self.table.traces

    @property
    def overflowed(self):
        """See the .pyi."""
        return self.table.overflowed

    def feed(self, closed: Closed, const uint32_t[::1] services):
        """See the .pyi."""
        check_columns(closed)
        if not len(closed.sizes):
            refuse(NOT_SPANS if len(closed.operations) else FITS, self.operations_max)
            return []
        cdef const unsigned char[::1] trace_ids = closed.trace_ids, marks = closed.marks, span_marks = closed.span_marks
        cdef const uint32_t[::1] sizes = closed.sizes, operations = closed.operations, instances = closed.instances
        cdef const uint64_t[::1] starts_ns = closed.starts_ns, ends_ns = closed.ends_ns, closed_ns = closed.closed_ns
        cdef const int32_t[::1] parents = closed.parents
        if not operations.shape[0] or not services.shape[0]:
            refuse(NO_SERVICE if operations.shape[0] else NOT_SPANS, self.operations_max)
        cdef Columns c
        c.traces, c.spans, c.services = sizes.shape[0], operations.shape[0], services.shape[0]
        c.trace_id, c.size, c.mark, c.start_ns = &trace_ids[0], &sizes[0], &marks[0], &starts_ns[0]
        c.end_ns, c.closed_ns, c.operation, c.parent = &ends_ns[0], &closed_ns[0], &operations[0], &parents[0]
        c.span_mark, c.instance, c.service = &span_marks[0], &instances[0], &services[0]
        cdef int wrong, outcome = 0
        cdef size_t k
        with nogil:
            wrong = check_spans(&c, self.operations_max)
            if wrong == FITS:
                outcome = run(&self.table, &c)
        refuse(wrong, self.operations_max)
        found = [judgement_of(&self.table.alarm[k]) for k in range(self.table.alarms)]
        self.table.alarms = 0
        if outcome:
            raise MemoryError("no room for the pasts of traces; lower features_max, edges_max or places_max")
        return found

    def parts(self):
        """See the .pyi."""
        return stored(&self.table)

    def restore(self, const unsigned char[::1] parts):
        """See the .pyi."""
        if self.table.traces:
            raise ValueError("this table is in use; restore into a new one")
        try:
            put_back(&self.table, parts)
        except BaseException:
            end(&self.table)
            self.begin()
            raise
