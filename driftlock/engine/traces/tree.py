"""One trace as a tree, put together from the rows of the journal as the detector does it, for people to look at."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from cbad_cy.traces import TraceTable, trace_bytes
from driftlock.engine.canonical import IDENTITY_SEPARATOR
from driftlock.engine.event import RecordBatch, SpanMark
from driftlock.engine.traces.observer import MARKS

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
ID_BYTES = 16
SPAN_BYTES = 8
_ROOT = bytes(SPAN_BYTES)
_NO_OPERATION = ("", "", 0)


@dataclass(frozen=True, slots=True)
class TreeSpan:
    """One span, in preorder. `depth` 0 = a root, or a span whose parent is not there (`orphan`).

    Times are in ns as they were sent; `self_ns` is the duration without what its children cover. `backwards`: it ended before
    it started. `new`: a finding says that it is new at this place.
    """

    span_id: str
    parent_id: str
    depth: int
    orphan: bool
    service: str
    operation: str
    kind: str
    instance: str
    start_ns: int
    duration_ns: int
    self_ns: int
    error: bool
    backwards: bool
    new: bool


@dataclass(frozen=True, slots=True)
class TraceTree:
    """A trace. `marks` are words of `driftlock.engine.traces.observer.MARKS`; `cut`: it has more spans than are shown."""

    trace_id: str
    start_ns: int
    end_ns: int
    marks: tuple[str, ...]
    spans: tuple[TreeSpan, ...]
    cut: bool


class Gathered:
    """The spans of one trace, at most `spans_max`, from any rows in any order."""

    def __init__(self, trace_id: bytes, spans_max: int) -> None:
        """`trace_id` has 16 bytes. Raises ValueError for another length, and for zeros, which are no trace."""
        if len(trace_id) != ID_BYTES or not any(trace_id):
            raise ValueError("a trace id has 16 bytes that are not all zeros")
        self._trace_id, self._spans_max = trace_id, spans_max
        self._span_ids: list[bytes] = []
        self._parents: list[bytes] = []
        self._starts, self._durations, self._marks = array("Q"), array("Q"), bytearray()
        self._operations: list[tuple[str, str, int]] = []
        self._instances: list[str] = []
        self.cut = False

    def __len__(self) -> int:
        """Spans so far."""
        return len(self._span_ids)

    def take(self, batch: RecordBatch) -> int:
        """Take the trace's spans from a row; -> how many it has."""
        if not batch.span_marks:
            return 0
        places, room = self._places(batch.trace_ids), self._spans_max - len(self)
        self.cut |= len(places) > room
        for place in places[:room]:
            self._span_ids.append(batch.span_ids[SPAN_BYTES * place : SPAN_BYTES * (place + 1)])
            self._parents.append(batch.parent_ids[SPAN_BYTES * place : SPAN_BYTES * (place + 1)])
            self._starts.append(batch.times_ns[place])
            self._durations.append(batch.durations_ns[place])
            self._marks.append(batch.span_marks[place])
            number = batch.series_index[place] if batch.series_index else 0
            self._operations.append(_operation(batch.series[number - 1]) if number else _NO_OPERATION)
            instance = batch.instance_index[place] if batch.instance_index else 0
            self._instances.append(batch.instances[instance - 1] if instance else "")
        return len(places)

    def _places(self, trace_ids: bytes) -> list[int]:
        found, at = [], trace_ids.find(self._trace_id)
        while at >= 0:
            if at % ID_BYTES == 0:
                found.append(at // ID_BYTES)
            at = trace_ids.find(self._trace_id, at + 1)
        return found

    def tree(self, subtrees: Sequence[Sequence[str]] = ()) -> TraceTree:
        """The tree. `subtrees` are those of findings about it (`driftlock.engine.verdict.Finding.subtree`): what is new there.

        A span that came twice is there once.
        """
        spans = max(len(self), 1)
        table = TraceTable(
            traces_max=1, bytes_max=trace_bytes(spans + 1), trace_spans_max=spans + 1, idle_ns=1 << 40, linger_ns=1 << 40
        )
        numbers = {operation: number for number, operation in enumerate(dict.fromkeys(self._operations), 1)}
        names = {name: number for number, name in enumerate(dict.fromkeys(self._instances), 1)}
        table.feed(
            self._trace_id * len(self),
            b"".join(self._span_ids),
            b"".join(self._parents),
            array("I", map(numbers.__getitem__, self._operations)),
            bytes(self._marks),
            self._starts,
            self._durations,
            array("I", map(names.__getitem__, self._instances)),
            0,
        )
        closed = table.flush()
        operations, instances = list(numbers), list(names)
        parent_of = dict(zip(reversed(self._span_ids), reversed(self._parents), strict=True))
        new = _New(subtrees)
        depths: list[int] = []
        told: list[TreeSpan] = []
        places: list[str] = []
        for place, parent in enumerate(closed.parents):
            service, name, kind = operations[closed.operations[place] - 1]
            span_id = closed.span_ids[SPAN_BYTES * place : SPAN_BYTES * (place + 1)]
            named = parent_of[span_id]
            mark = closed.span_marks[place]
            depths.append(0 if parent < 0 else depths[parent] + 1)
            places.append(f"{service} {name}")
            span = TreeSpan(
                span_id=span_id.hex(),
                parent_id="" if named == _ROOT else named.hex(),
                depth=depths[place],
                orphan=parent < 0 and named != _ROOT,
                service=service,
                operation=name,
                kind=KINDS[kind] if kind < len(KINDS) else KINDS[0],
                instance=instances[closed.instances[place] - 1],
                start_ns=closed.span_starts_ns[place],
                duration_ns=closed.durations_ns[place],
                self_ns=closed.self_ns[place],
                error=bool(mark & SpanMark.ERROR),
                backwards=bool(mark & SpanMark.BACKWARDS),
                new=new.at(places[place], places[parent] if parent >= 0 else ""),
            )
            told.append(span)
        marks = tuple(word for bit, word in MARKS if closed.marks and closed.marks[0] & bit)
        start_ns, end_ns = (closed.starts_ns[0], closed.ends_ns[0]) if told else (0, 0)
        return TraceTree(self._trace_id.hex(), start_ns, end_ns, marks, tuple(told), self.cut)


class _New:
    """Which calls findings say are new: lines of subtrees that begin with `+`, by what they are and what they are below of."""

    def __init__(self, subtrees: Sequence[Sequence[str]]) -> None:
        self._calls: set[tuple[str, str]] = set()
        for lines in subtrees:
            above: list[str] = []
            for line in lines:
                sign, rest = line[:1], line[2:]
                text = rest.lstrip(" ")
                depth = (len(rest) - len(text)) // 2
                name, times, count = text.rpartition(" x")
                place = name if times and count.isdecimal() else text
                del above[depth:]
                if sign == "+":
                    self._calls.add((place, above[-1] if above else ""))
                above.append(place)

    def at(self, place: str, above: str) -> bool:
        """Whether a call from `above` is new, or a call of `place` from anywhere."""
        return (place, above) in self._calls or (place, "") in self._calls


def _operation(identity: str) -> tuple[str, str, int]:
    """Service, name and kind of an operation's identity."""
    service, _, rest = identity.partition(IDENTITY_SEPARATOR)
    name, _, kind = rest.rpartition(IDENTITY_SEPARATOR)
    return service, name, int(kind) if kind.isdecimal() else 0
