# cython: autotestdict=False
"""Traces put together from spans that come in any order; see the .pyi for what becomes of each span, and for the sources.

All is integers, so equal spans give equal traces on every machine.
"""

from typing import Final, NamedTuple

cimport cython
from cpython cimport array
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

import array

cdef enum:
    CHUNK = 4               # spans
    SLAB = 1024             # chunks
    FEW = 64                # spans that are looked through for a span id
    ONE_TRACE = 144         # bytes: a Trace, a Due, and four cells of the index at most
    RUN = 32                # spans sorted by insertion
    TRACES_MOST = 1 << 22
    SPANS_MOST = 1 << 16
    CLOSED_MOST = 1 << 22

cdef enum:                  # marks of spans
    KIND = 7
    CONSUMER = 5

cdef enum:                  # marks of traces
    NO_ROOT_BIT = 1
    CUT_BIT = 2
    DUPLICATE_BIT = 4
    SKEW_BIT = 8
    VIRTUAL_BIT = 16
    EARLY_BIT = 32

cdef uint64_t NEVER = <uint64_t>-1
cdef uint32_t NONE = <uint32_t>-1              # a place that is no place
cdef int64_t LAST_NS = (<int64_t>1 << 62) - 1   # the end of a span, and a sum of three such, fit in 64 bits
cdef uint64_t LATEST_NS = <uint64_t>LAST_NS
cdef uint64_t WAIT_MOST = <uint64_t>1 << 60
cdef uint64_t BYTES_MOST = <uint64_t>1 << 36


cdef struct Span:
    uint64_t id                 # sorts as its bytes do
    uint64_t parent
    uint64_t start_ns
    uint64_t duration_ns
    uint32_t operation
    uint32_t instance

cdef struct Chunk:
    Span span[4]
    uint8_t mark[4]
    uint32_t next

cdef struct Trace:
    uint64_t high               # id
    uint64_t low
    uint64_t number             # in the order of first spans
    uint64_t last_ns            # now when its newest span came
    uint64_t root_ns            # when its roots were over and seen; NEVER
    uint64_t seen               # a bit for each span id: whether it may be there
    uint64_t* ids               # table of span ids, when there are many
    uint32_t first              # chunk
    uint32_t last
    uint32_t spans
    uint32_t older              # trace
    uint32_t newer              # of one that is not in use, the next such
    uint32_t heap               # where in the heap
    uint8_t flags

cdef struct Due:
    uint64_t due_ns
    uint64_t number
    uint32_t place

cdef struct Gone:
    uint64_t hash
    uint64_t closed_ns

cdef struct Table:
    Trace* traces
    Due* heap
    uint32_t* index             # open addressing: place + 1, 0 = empty
    Chunk** slabs
    Gone* gone                  # a ring
    uint32_t* gone_index
    uint64_t gone_head
    uint64_t gone_tail
    uint64_t latest_ns
    uint64_t next_number
    uint64_t bytes
    uint64_t spans
    uint64_t fed, told, duplicates, late, cut, without_trace, overflowed, closed
    uint64_t bytes_max, idle_ns, linger_ns, late_ns
    uint32_t traces_max, trace_spans_max, closed_max
    uint32_t room, traces_used, free_trace, count, mask
    uint32_t oldest, newest
    uint32_t slabs_room, slabs_used, chunks_used, free_chunk
    uint32_t gone_room, gone_mask

cdef struct Node:
    Span span
    int64_t at                  # start, moved where clocks disagree
    int32_t parent
    int32_t child               # the first
    int32_t sibling             # the next
    int32_t place
    uint8_t mark

cdef struct Tree:
    Node* node
    int32_t* order
    int32_t* index
    uint32_t room
    int32_t count
    int32_t roots
    int32_t adopted             # by the virtual root
    bint rooted
    bint virtual
    bint skewed

cdef struct Out:
    unsigned char* trace_id
    uint32_t* size
    uint8_t* mark
    uint64_t* start_ns
    uint64_t* end_ns
    uint64_t* closed_ns
    uint64_t* late              # spans that had been late by then
    uint32_t* operation
    int32_t* parent
    unsigned char* span_id
    uint8_t* span_mark
    uint64_t* span_start_ns
    uint64_t* duration_ns
    uint64_t* self_ns
    uint32_t* instance
    size_t traces, traces_room, spans, spans_room

TRACES_VERSION: Final[int] = PARTS_VERSION
NO_ROOT: Final = NO_ROOT_BIT
SPANS_CUT: Final = CUT_BIT
DUPLICATES: Final = DUPLICATE_BIT
SKEW_REPAIRED: Final = SKEW_BIT
VIRTUAL_ROOT: Final = VIRTUAL_BIT
CLOSED_EARLY: Final = EARLY_BIT
TRACES_MAX_MOST: Final = TRACES_MOST
TRACE_SPANS_MAX: Final = 10000
TRACE_SPANS_MAX_MOST: Final = SPANS_MOST
BYTES_MAX_MOST: Final = BYTES_MOST
CLOSED_MAX: Final = 1 << 18
CLOSED_MAX_MOST: Final = CLOSED_MOST
LATE_NS: Final = 600_000_000_000
WAIT_NS_MOST: Final = WAIT_MOST
TIME_MOST_NS: Final = LAST_NS
TRACE_BYTES: Final = ONE_TRACE
CHUNK_BYTES: Final = sizeof(Chunk)
CHUNK_SPANS: Final = CHUNK

include "hash.pxi"
include "trace_store.pxi"
include "trace_closed.pxi"
include "trace_tree.pxi"
include "trace_out.pxi"
include "trace_parts.pxi"


def trace_bytes(uint32_t spans):
    """See the .pyi.

    >>> trace_bytes(20) == TRACE_BYTES + 5 * CHUNK_BYTES
    True
    """
    return counted_bytes(spans)


class Closed(NamedTuple):
    """See the .pyi."""

    trace_ids: bytes
    sizes: array.array
    marks: bytes
    starts_ns: array.array
    ends_ns: array.array
    closed_ns: array.array
    operations: array.array
    parents: array.array
    span_ids: bytes
    span_marks: bytes
    span_starts_ns: array.array
    durations_ns: array.array
    self_ns: array.array
    instances: array.array


include "trace_closing.pxi"


# ---- border --------------------------------------------------------------------------------------------------------


cdef int check_columns(
    size_t spans, const unsigned char[::1] trace_ids, const unsigned char[::1] span_ids, const unsigned char[::1] parent_ids,
    const uint32_t[::1] operations, const unsigned char[::1] marks, const uint64_t[::1] starts_ns,
    const uint64_t[::1] durations_ns, const uint32_t[::1] instances,
) except -1:
    """Refuse what the kernels would read past."""
    sizes = (
        trace_ids.shape[0] / 16, span_ids.shape[0] / 8, parent_ids.shape[0] / 8, operations.shape[0], marks.shape[0],
        starts_ns.shape[0], durations_ns.shape[0], instances.shape[0])
    if any([size != spans for size in sizes]):
        raise ValueError(
            f"{spans} spans, but {trace_ids.shape[0]} bytes of trace ids, {span_ids.shape[0]} of span ids and "
            f"{parent_ids.shape[0]} of parent ids, {operations.shape[0]} operations, {marks.shape[0]} marks, "
            f"{starts_ns.shape[0]} starts, {durations_ns.shape[0]} durations and {instances.shape[0]} instances; "
            "give 16 bytes, twice 8, and one of each")
    return 0


@cython.final
cdef class TraceTable:
    """See the .pyi.

    >>> from array import array
    >>> table = TraceTable(traces_max=10, bytes_max=1 << 20, trace_spans_max=100, idle_ns=50, linger_ns=5)
    >>> none, one = array("I", [0]), array("I", [1])
    >>> root = b"\\1" * 16, b"\\2" * 8, bytes(8), one, b"\\2", array("Q", [100]), array("Q", [20]), none
    >>> list(table.feed(*root, 110).sizes), table.next_due_ns
    ([], 125)
    >>> closed = table.pass_time(130)
    >>> list(closed.sizes), list(closed.closed_ns), list(closed.self_ns), len(table)
    ([1], [125], [20], 0)
    """

    cdef Table table
    cdef Tree tree
    cdef Out out
    cdef readonly uint32_t traces_max, trace_spans_max, closed_max
    cdef readonly uint64_t bytes_max, idle_ns, linger_ns, late_ns
    cdef readonly array.array late_by

    def __cinit__(
        self, *, traces_max, bytes_max, trace_spans_max=TRACE_SPANS_MAX, idle_ns, linger_ns, late_ns=LATE_NS,
        closed_max=CLOSED_MAX,
    ):
        table_begin(&self.table)
        self.late_by = array.array("Q")
        for name, value, least, most in (
            ("traces_max", traces_max, 1, TRACES_MAX_MOST), ("trace_spans_max", trace_spans_max, 2, TRACE_SPANS_MAX_MOST),
            ("closed_max", closed_max, 1, CLOSED_MAX_MOST), ("idle_ns", idle_ns, 1, WAIT_NS_MOST),
            ("linger_ns", linger_ns, 0, WAIT_NS_MOST), ("late_ns", late_ns, 0, WAIT_NS_MOST),
            ("bytes_max", bytes_max, trace_bytes(max(2, min(trace_spans_max, SPANS_MOST))), BYTES_MAX_MOST),
        ):
            if not least <= value <= most:
                raise ValueError(f"{name} is {value}; choose one from {least} to {most}")
        self.traces_max = self.table.traces_max = traces_max
        self.trace_spans_max = self.table.trace_spans_max = trace_spans_max
        self.closed_max = self.table.closed_max = closed_max
        self.bytes_max = self.table.bytes_max = bytes_max
        self.idle_ns = self.table.idle_ns = idle_ns
        self.linger_ns = self.table.linger_ns = linger_ns
        self.late_ns = self.table.late_ns = late_ns

    def __dealloc__(self):
        table_end(&self.table)
        tree_end(&self.tree)
        out_end(&self.out)

    def __reduce__(self):
        raise TypeError("a TraceTable can not be pickled; keep its parts and restore them")

    def __len__(self):
        return self.table.count

    cdef object finish(self, int outcome):
        """What closed, or the error."""
        try:
            if outcome != 0:
                raise MemoryError("no room for traces; lower traces_max or bytes_max")
            self.late_by = column_of("Q", self.out.late, self.out.traces)
            return told_of(&self.out)
        finally:
            out_end(&self.out)

    def feed(
        self, const unsigned char[::1] trace_ids, const unsigned char[::1] span_ids, const unsigned char[::1] parent_ids,
        const uint32_t[::1] operations, const unsigned char[::1] marks, const uint64_t[::1] starts_ns,
        const uint64_t[::1] durations_ns, const uint32_t[::1] instances, now_ns,
    ):
        """See the .pyi."""
        cdef size_t spans = marks.shape[0], i, step = 0 if isinstance(now_ns, int) else 1
        cdef const uint64_t[::1] now = now_ns if step else array.array("Q", [now_ns])
        check_columns(spans, trace_ids, span_ids, parent_ids, operations, marks, starts_ns, durations_ns, instances)
        if step and <size_t>now.shape[0] != spans:
            raise ValueError(f"{spans} spans but {now.shape[0]} watermarks; give one of each, or one number")
        cdef Span s
        cdef int outcome = 0
        with nogil:
            for i in range(spans):
                s.id, s.parent = stored_id(&span_ids[8 * i]), stored_id(&parent_ids[8 * i])
                s.start_ns = sooner(starts_ns[i], LATEST_NS)
                s.duration_ns = sooner(durations_ns[i], LATEST_NS)
                s.operation, s.instance = operations[i], instances[i]
                outcome = advance(&self.table, &self.tree, &self.out, now[i * step])
                if outcome == 0:
                    outcome = take(
                        &self.table, &self.tree, &self.out, stored_id(&trace_ids[16 * i]), stored_id(&trace_ids[16 * i + 8]),
                        &s, marks[i])
                if outcome != 0:
                    break
        return self.finish(outcome)

    def pass_time(self, uint64_t now_ns):
        """See the .pyi."""
        cdef int outcome
        with nogil:
            outcome = advance(&self.table, &self.tree, &self.out, now_ns)
        return self.finish(outcome)

    def flush(self):
        """See the .pyi."""
        cdef int outcome
        with nogil:
            outcome = flush_all(&self.table, &self.tree, &self.out)
        return self.finish(outcome)

    @property
    def now_ns(self):
        """See the .pyi."""
        return self.table.latest_ns

    @property
    def next_due_ns(self):
        """See the .pyi."""
        return next_due(&self.table) if self.table.count else 0

    @property
    def spans(self):
        """See the .pyi."""
        return self.table.spans

    @property
    def bytes(self):
        """See the .pyi."""
        return self.table.bytes

    @property
    def fed(self):
        """See the .pyi."""
        return self.table.fed

    @property
    def told(self):
        """See the .pyi."""
        return self.table.told

    @property
    def duplicates(self):
        """See the .pyi."""
        return self.table.duplicates

    @property
    def late(self):
        """See the .pyi."""
        return self.table.late

    @property
    def cut(self):
        """See the .pyi."""
        return self.table.cut

    @property
    def without_trace(self):
        """See the .pyi."""
        return self.table.without_trace

    @property
    def overflowed(self):
        """See the .pyi."""
        return self.table.overflowed

    @property
    def closed(self):
        """See the .pyi."""
        return self.table.closed

    def parts(self):
        """See the .pyi."""
        return stored(&self.table)

    def restore(self, const unsigned char[::1] parts):
        """See the .pyi."""
        if self.table.fed or self.table.latest_ns:
            raise ValueError("this table is in use; restore into a new one")
        try:
            put_back(&self.table, parts)
        except BaseException:
            table_end(&self.table)
            raise
