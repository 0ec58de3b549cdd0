"""Traces put together from spans that come in any order, and closed when nothing more of them is expected.

A span belongs to the trace of its 16-byte id. Times are event times in ns; those beyond TIME_MOST_NS count as that. "Now" is
the watermark that the caller gives with each record; it never goes back. A trace closes as soon as now reaches the earlier of

    linger_ns after its root was over and seen: the later of the root's end and of now when it came (of several the latest),
    idle_ns after now when its newest span came,

or, when there is no room, early: the one of which no span came for longest. What it was is then told as columns, and its id is
remembered for `late_ns`, at most `closed_max` ids: spans that come for it are late. A span is left out, and counted, when it is
late, when its id is there already (the first one stays; zeros are no id and never the same), when its trace id is zeros, or
when the trace is full: the last place of `trace_spans_max` is kept for a root. What is left out keeps no trace open.

The tree: a span without parent is a root. One whose parent is not there, or is itself, is put under a virtual root, and of
parents in a circle the span that would come first among siblings. Roots come before these. Spans are told in preorder; siblings
by start, operation, span id (then duration, parent id, instance, mark).

Clock skew: a span that is not of kind CONSUMER, and that starts before its parent or ends after it, is moved by the least that
puts it inside, and all below it with it; one that is longer than its parent only when it starts outside of it, and then to
its parent's start. (One that starts inside and is longer runs on by itself, which no clock explains.) Moved starts order
siblings, and are used for self times and for start and end of the trace; the columns of spans show times as they came.
Compare the adjuster of clock skew in Jaeger, and Sigelman et al., "Dapper, a large-scale distributed systems tracing
infrastructure", 2010.
"""

import builtins
from array import array
from typing import Final, NamedTuple, Self, final

TRACES_VERSION: Final[int]
NO_ROOT: Final = 1
SPANS_CUT: Final = 2
DUPLICATES: Final = 4
SKEW_REPAIRED: Final = 8
VIRTUAL_ROOT: Final = 16
CLOSED_EARLY: Final = 32
TRACES_MAX_MOST: Final = 4194304
TRACE_SPANS_MAX: Final = 10000
TRACE_SPANS_MAX_MOST: Final = 65536
BYTES_MAX_MOST: Final = 68719476736
CLOSED_MAX: Final = 262144
CLOSED_MAX_MOST: Final = 4194304
LATE_NS: Final = 600000000000
WAIT_NS_MOST: Final = 1152921504606846976
TIME_MOST_NS: Final = 4611686018427387903
TRACE_BYTES: Final[int]
CHUNK_BYTES: Final[int]
CHUNK_SPANS: Final = 4

def trace_bytes(spans: int) -> int:
    """Bytes that an open trace of so many spans counts.

    TRACE_BYTES, CHUNK_BYTES for each CHUNK_SPANS that have begun, and beyond 64 spans 8 bytes for each cell of a table of their
    ids: a power of two, at least 128, of which at most three quarters are used.
    """

class Closed(NamedTuple):
    """Traces in the order in which they closed. How spans were cut into batches changes nothing.

    Of each trace: `trace_ids` 16 bytes; `sizes` ('I') its spans, at least one; `marks` a byte: NO_ROOT no span without parent,
    SPANS_CUT spans were left out because it was full, DUPLICATES spans came again, SKEW_REPAIRED, VIRTUAL_ROOT some have no
    parent although they name one, or are in a circle, CLOSED_EARLY for want of room. `starts_ns` and `ends_ns` ('Q') are its
    first start and last end; `closed_ns` ('Q') when it was due, or now where it was closed early or at the end.

    Of each span, all those of the first trace first, in preorder: `operations` ('I'), `parents` ('i': index inside the trace,
    always a smaller one; -1 = a root, or under the virtual root), `span_ids` 8 bytes, `span_marks` a byte, `span_starts_ns` and
    `durations_ns` ('Q'), `self_ns` ('Q': its duration without what its children cover of it), `instances` ('I').
    """

    trace_ids: bytes
    sizes: array[int]
    marks: bytes
    starts_ns: array[int]
    ends_ns: array[int]
    closed_ns: array[int]
    operations: array[int]
    parents: array[int]
    span_ids: bytes
    span_marks: bytes
    span_starts_ns: array[int]
    durations_ns: array[int]
    self_ns: array[int]
    instances: array[int]

@final
class TraceTable:
    """Open traces. Not thread safe.

    `traces_max` and `bytes_max` bound them (see `trace_bytes`), and when one is reached, a trace is closed early. ValueError:
    a bound out of range, or a `bytes_max` in which one trace of `trace_spans_max` spans has no room.

    `late_by` ('Q') is of each trace of the newest `Closed` how many spans had been `late` when it closed, since the beginning.
    """

    traces_max: int
    bytes_max: int
    trace_spans_max: int
    closed_max: int
    idle_ns: int
    linger_ns: int
    late_ns: int
    late_by: array[int]
    def __new__(
        cls,
        *,
        traces_max: int,
        bytes_max: int,
        trace_spans_max: int = 10000,
        idle_ns: int,
        linger_ns: int,
        late_ns: int = 600000000000,
        closed_max: int = 262144,
    ) -> Self: ...
    def __len__(self) -> int: ...
    def feed(
        self,
        trace_ids: builtins.bytes,
        span_ids: builtins.bytes,
        parent_ids: builtins.bytes,
        operations: array[int],
        marks: builtins.bytes,
        starts_ns: array[int],
        durations_ns: array[int],
        instances: array[int],
        now_ns: array[int] | int,
    ) -> Closed:
        """Take spans in their order of arrival; -> what closed meanwhile. The GIL is released once.

        `trace_ids` holds 16 bytes a span, `span_ids` and `parent_ids` 8 (zeros = a root), `marks` a byte, whose lowest three
        bits are the kind as in OTLP; `operations` and `instances` are 'I', times 'Q'. `now_ns` is the watermark when each was
        taken, or one for all; traces that are due by it close before the span is taken. ValueError, before anything is taken:
        columns that do not fit together.
        """
    def pass_time(self, now_ns: int) -> Closed:
        """Close what is due by `now_ns`. A time before the latest one changes nothing."""
    def flush(self) -> Closed:
        """Close all traces, in the order of their first spans. For the end of a file."""
    @property
    def now_ns(self) -> int:
        """The latest watermark."""
    @property
    def next_due_ns(self) -> int:
        """When the next trace closes, if no further span comes; 0 = none is open."""
    @property
    def spans(self) -> int:
        """Spans of open traces."""
    @property
    def bytes(self) -> int:
        """What open traces take, the sum of `trace_bytes`."""
    @property
    def fed(self) -> int:
        """Spans that were ever given: always `told` + `spans` + `duplicates` + `late` + `cut` + `without_trace`."""
    @property
    def told(self) -> int:
        """Spans of traces that closed."""
    @property
    def duplicates(self) -> int:
        """Spans left out because their id was there already."""
    @property
    def late(self) -> int:
        """Spans left out because their trace was closed."""
    @property
    def cut(self) -> int:
        """Spans left out because their trace was full."""
    @property
    def without_trace(self) -> int:
        """Spans left out because their trace id was zeros."""
    @property
    def overflowed(self) -> int:
        """Traces closed early for want of room."""
    @property
    def closed(self) -> int:
        """Traces ever closed."""
    def parts(self) -> builtins.bytes:
        """Everything it knows; equal pasts give equal bytes. Columns that lie one after another, not compressed."""
    def restore(self, parts: builtins.bytes) -> None:
        """Put back what `parts` gave, into a table in which nothing ever was: from then on both behave alike.

        Bounds and waits may differ: what is over a bound is closed early when the next span needs room. ValueError for bytes
        that are damaged or of another version, and for a table in use; nothing changes.
        """
