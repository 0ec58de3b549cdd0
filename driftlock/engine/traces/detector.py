"""The fold of a stream of traces: journal records in, findings out. No clock, no I/O; equal records give equal bytes.

spans -> place in time -> numbers of operations -> `cbad_cy.traces` (whole traces) -> `cbad_cy.calls` (latency, errors) and
`cbad_cy.shapes` (shape, dependency) -> judgements -> findings, those that are one fault joined
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from cbad_cy.calls import ALARM_LEVEL as CALLS_LEVEL
from cbad_cy.calls import EDGES_MAX, GRAPH_EDGES_MAX, CallTable
from cbad_cy.codec import Codec
from cbad_cy.judgement import Judgement
from cbad_cy.shapes import ALARM_LEVEL as SHAPES_LEVEL
from cbad_cy.shapes import ShapeTable
from cbad_cy.slide import MinuteTold, minutes_of
from cbad_cy.traces import Closed, TraceTable
from driftlock.engine.detector import stream_seed
from driftlock.engine.event import RecordBatch, StreamKey
from driftlock.engine.fold import Abandoned, GraphEdge, Summary
from driftlock.engine.lessons import Lessons
from driftlock.engine.limits import MINUTE_NS, Limits
from driftlock.engine.profile import Profile
from driftlock.engine.traces.directory import Directory
from driftlock.engine.traces.finding import TraceContext, Words, suspected, trace_finding
from driftlock.engine.traces.graph import graph_edges
from driftlock.engine.traces.instances import Instances
from driftlock.engine.traces.joining import Joining
from driftlock.engine.traces.level import trace_level
from driftlock.engine.traces.observer import TraceObserver, seen_traces
from driftlock.engine.traces.pace import Bounds, Pace, Where, timed
from driftlock.engine.traces.traffic import BLOCK, Traffic
from driftlock.engine.verdict import Calibration, Finding, Observer, StreamEvent, StreamEventKind
from driftlock.engine.window import EventClock

LEARNING_TRACES = 2 * BLOCK
"""With so many traces the pasts of the stream's usual operations are long enough for verdicts that are not provisional."""


class TraceDetector:
    """State and fold of the spans of one environment (`driftlock.engine.fold.TraceFold`).

    Spans of a trace meet here whatever services, rows or connections they came through; a trace is judged when it is over. How
    spans are cut into rows changes nothing. All that is done for every span happens in kernels; what is done here is done for
    every distinct operation of a row, and every finding.
    """

    def __init__(self, key: StreamKey, profile: Profile, seed: int, limits: Limits) -> None:
        self.key = key
        self.profile = profile
        self.seed = stream_seed(seed, key)
        self.limits = limits
        self.clock = EventClock(limits)
        self.lessons = Lessons()
        self.pace = Pace(limits.trace_grace_ns)
        self.events = 0
        self.passed = Where()  # when a row last said what time it is, if that was ahead of `mark_ns`
        self.mark_ns = 0  # the time of the stream: that of its newest span, within what the wall clock allows
        self.mark_event = 0  # the span with which it came to where it is
        self.first_minute = -1  # the minute of event time with which windows are numbered from `offset` on; -1 = none yet
        self.offset = 0
        self.directory = Directory(limits)
        self.instances = Instances(limits.trace_instances_max)
        self.traces = TraceTable(
            traces_max=limits.traces_open_max,
            bytes_max=limits.traces_bytes_max,
            trace_spans_max=limits.trace_spans_max,
            idle_ns=limits.trace_idle_ns,
            linger_ns=limits.trace_linger_ns,
        )
        self.calls = CallTable(operations_max=limits.operations_max)
        self.shapes = ShapeTable(operations_max=limits.operations_max)
        self.traffic = Traffic()
        self.joining = Joining()
        self.learned_ns = 0  # when the trace was closed with which `LEARNING_TRACES` were over; 0 = not yet
        self.degraded = False  # trouble was told
        self.restarted = False  # what was learned by another version can not be compared; to be told with the next record
        self.happened: list[StreamEvent] = []  # since somebody took them
        self._minutes: list[MinuteTold] = []  # of the newest records; belongs to no state
        self.observer: TraceObserver | None = None  # who wants to see every trace; belongs to no state

    # ---- what is known of the stream -----------------------------------------------------------------------------------

    @property
    def windows(self) -> int:
        """Minutes of event time since the first one; the number of the open minute."""
        return self._window(self.mark_ns)

    @property
    def health(self) -> tuple[Calibration, str]:
        """How far its verdicts may be trusted by now, and why."""
        if trouble := self.traffic.trouble:
            return Calibration.DEGRADED, trouble
        traces, services = self.traces.closed, len(self.directory.services) - 1
        remarks = [
            f"{len(self.directory):,} operations of {services:,} services are known from {traces:,} traces, "
            f"{len(self.traces):,} are open",
            self.traffic.remark,
        ]
        if self.directory.full:
            remarks.append(
                f"{self.directory.overflowed:,} spans were of more operations than the {self.directory.operations_max:,} that "
                "are told apart, and count as `other` of their service: give spans names without identifiers"
            )
        if self.traces.late:
            remarks.append(f"{self.traces.late:,} spans came when their trace was over")
        if self.traces.cut:
            remarks.append(f"{self.traces.cut:,} spans of traces of more than {self.traces.trace_spans_max:,} were left out")
        if self.traces.overflowed:
            remarks.append(f"{self.traces.overflowed:,} traces were closed early, because too many were open")
        remarks += self._overflows()
        said = "; ".join(filter(None, remarks))
        if not traces:
            return Calibration.CALIBRATING, said if self.events else "no span has come"
        return Calibration.OK if self.learned_ns else Calibration.PROVISIONAL, said

    def _overflows(self) -> list[str]:
        """What the tables of calls and of shapes had no room for."""
        remarks = []
        if self.calls.edges_overflowed:
            remarks.append(
                f"{self.calls.edges_overflowed:,} calls were between more pairs of operations than the {EDGES_MAX:,} that are "
                "told apart, and count to the operation that calls"
            )
        if self.calls.graph_overflowed:
            remarks.append(
                f"{self.calls.graph_overflowed:,} calls were between more pairs of services than the {GRAPH_EDGES_MAX:,} that "
                "the service graph shows"
            )
        if self.shapes.overflowed:
            remarks.append(f"{self.shapes.overflowed:,} times a part of a trace was not looked at, because there are too many")
        return remarks

    @property
    def events_until_ready(self) -> int:
        """About so many spans until `LEARNING_TRACES` traces are over; 0 when that has been so."""
        if self.learned_ns:
            return 0
        traces = self.traces.closed + len(self.traces)
        return max(1, LEARNING_TRACES - self.traces.closed) * max(1, round(self.events / max(1, traces)))

    @property
    def due_ns(self) -> int:
        """Never: that no spans come is said by the streams of their services."""
        return 0

    @property
    def closes_ns(self) -> int:
        """The wall-clock time from which on a row with the time closes an open trace; 0 = none will."""
        return self.pace.wall_ns(self.traces.next_due_ns, self.mark_ns)

    def silence(self, now_ns: int) -> Finding | None:  # noqa: ARG002
        """None: that no spans come is said by the streams of their services."""
        return None

    def graph(self) -> Sequence[GraphEdge]:
        """The service graph as it is known, by caller and callee."""
        return graph_edges(self.calls.graph(), self.directory, self.key.environment)

    def number_from(self, windows: int) -> None:
        """Number windows from here on: an earlier state is lost, and with it the minute from which they were counted.

        Minutes are counted since 1970 then, which are more than there can have been.
        """
        self.offset, self.first_minute = windows, 0

    def configure(self, profile: Profile) -> None:
        """Judge by `profile` from the next record on; nothing has to be learned anew."""
        self.profile = profile

    def take_events(self) -> tuple[StreamEvent, ...]:
        """What happened since the last call."""
        happened, self.happened = tuple(self.happened), []
        return happened

    def take_summaries(self) -> Sequence[Summary]:
        """None: they are of numbers."""
        return ()

    def take_minutes(self) -> list[MinuteTold]:
        """The minutes of the newest records."""
        told, self._minutes = self._minutes, []
        return told

    # ---- the fold ------------------------------------------------------------------------------------------------------

    def fold(
        self,
        batch: RecordBatch,
        received_ns: int,
        codec: Codec,  # noqa: ARG002 (traces have a code of their own)
        observer: Observer | None = None,  # noqa: ARG002 (spans have no bits of their own; see `self.observer`)
        abandoned: Callable[[], bool] = lambda: False,
    ) -> list[Finding]:
        """Take the spans of one journal row; `received_ns` bounds which times are believed, and says when the stream stopped.

        Raises `Abandoned` when `abandoned()` says so; then the state is worthless.
        """
        if not len(batch):
            return []
        before_ns, first_event, receive_timed = self.mark_ns, self.events, self.clock.receive_timed
        placed = self.clock.place(batch, received_ns)
        self._minutes = minutes_of(placed.times_ns)
        self.pace.took(received_ns, historical=batch.historical)
        starts, marks = timed(batch, placed, before_ns, Bounds.of(self.limits, received_ns, live=self.pace.live))
        self.events += len(batch)
        mark_event = self.mark_event
        if marks[-1] > before_ns:
            self.mark_ns, self.mark_event = marks[-1], first_event + bisect_left(marks, marks[-1])
        if self.first_minute < 0:
            self.first_minute = marks[0] // MINUTE_NS
        if self.restarted:
            self.restarted = False
            reason = "it learns anew: another version of the code of traces gives other numbers"
            self._tell(StreamEventKind.RESTARTED, Where(marks[0], first_event, marks[0]), reason)
        if not _are_spans(batch):
            return []
        closed = self._assemble(batch, starts, marks)
        if abandoned():
            raise Abandoned
        threshold = batch.p_value_threshold or self.profile.p_value_threshold

        def where(time_ns: int) -> Where:
            """By the span with which the stream came to `time_ns`, or beyond, however spans are cut into rows."""
            if time_ns <= self.passed.time_ns:
                return self.passed._replace(time_ns=time_ns)
            if time_ns <= before_ns:
                return Where(time_ns, mark_event, time_ns, receive_timed)
            place = min(bisect_left(marks, time_ns), len(marks) - 1)
            timed = receive_timed or any(placed.receive_timed[: place + 1])
            return Where(time_ns, first_event + place, time_ns, timed)

        findings = self._judge(closed, threshold, where, abandoned=abandoned)
        self.instances.forget()
        return findings

    def _assemble(self, batch: RecordBatch, starts_ns: "array[int]", marks: "array[int]") -> Closed:
        """Give the spans to their traces; what is over meanwhile."""
        index = batch.series_index or array("I", bytes(4 * len(batch)))
        return self.traces.feed(
            batch.trace_ids,
            batch.span_ids,
            batch.parent_ids,
            self.directory.numbers(batch.series, index),
            batch.span_marks,
            starts_ns,
            batch.durations_ns,
            self.instances.numbers(batch.instances, batch.instance_index, len(batch)),
            marks,
        )

    def pass_time(self, now_ns: int) -> list[Finding]:
        """Take a row that says what time it is: traces that are over by then are closed and judged."""
        time_ns = self.pace.event_ns(now_ns, self.mark_ns)
        if time_ns > max(self.mark_ns, self.passed.time_ns):
            self.passed = self._newest(time_ns)
        return self._judge(self.traces.pass_time(time_ns), self.profile.p_value_threshold, self._newest)

    def flush(self) -> list[Finding]:
        """Close and judge all open traces: for the end of a file, after which nothing comes."""
        return self._judge(self.traces.flush(), self.profile.p_value_threshold, self._newest)

    def _newest(self, time_ns: int) -> Where:
        return Where(time_ns, max(0, self.events - 1), min(time_ns, self.mark_ns), self.clock.receive_timed)

    def _judge(
        self,
        closed: Closed,
        threshold: float,
        where: Callable[[int], Where],
        abandoned: Callable[[], bool] = lambda: False,
    ) -> list[Finding]:
        """Judge and learn traces that are over."""
        if not closed.sizes:
            return []
        self.calls.alarm_level = trace_level(CALLS_LEVEL, threshold)
        self.shapes.alarm_level = trace_level(SHAPES_LEVEL, threshold)
        judgements: list[Judgement] = [
            *self.calls.feed(closed, self.directory.service_of),
            *self.shapes.feed(closed, self.directory.service_of),
        ]
        self._count(closed, where)
        if self.observer is not None:
            for seen in seen_traces(closed, self.directory):
                self.observer.trace(seen)
        return self._findings(judgements, threshold, where, abandoned)

    def _count(self, closed: Closed, where: Callable[[int], Where]) -> None:
        """What traces say about the stream; `closed` are the newest of those that the table closed."""
        first = self.traces.closed - len(closed.sizes)
        learned = LEARNING_TRACES - 1 - first  # the place of the trace with which enough are over
        if 0 <= learned < len(closed.sizes):
            self.learned_ns = closed.closed_ns[learned]
        for place, trouble in self.traffic.count(first, closed, self.traces.late_by):
            time_ns = closed.closed_ns[place]
            if place == learned:  # blocks end with it: see `LEARNING_TRACES`
                self._tell(StreamEventKind.CALIBRATED, where(time_ns), _learned())
            if bool(trouble) != self.degraded:
                self.degraded = bool(trouble)
                kind = StreamEventKind.DEGRADED if trouble else StreamEventKind.RECOVERED
                self._tell(kind, where(time_ns), trouble or "traces come whole again")

    def _findings(
        self,
        judgements: Iterable[Judgement],
        threshold: float,
        where: Callable[[int], Where],
        abandoned: Callable[[], bool] = lambda: False,
    ) -> list[Finding]:
        words = Words(self.directory, self.instances, self.key.environment)
        findings = []
        for it in sorted(judgements, key=lambda it: it.time_ns):  # stable: those of one kernel stand as the kernel told them
            if abandoned():
                raise Abandoned
            if not self.joining.tells(it, suspected(it, words)[0][0]):
                continue
            learned, at = 0 < self.learned_ns < it.time_ns, where(it.time_ns)
            context = TraceContext(
                stream=self.key.text,
                profile=self.profile,
                p_value_threshold=threshold,
                seed=self.seed,
                window=self._window(at.watermark_ns),
                event=at.event,
                receive_timed=at.receive_timed,
                calibration=Calibration.OK if learned else Calibration.PROVISIONAL,
                calibration_reason=_learned() if learned else f"fewer than {LEARNING_TRACES:,} traces were over by then",
            )
            findings.append(trace_finding(it, words, context))
        return findings

    def _window(self, time_ns: int) -> int:
        return self.offset + (max(0, time_ns // MINUTE_NS - self.first_minute) if self.first_minute >= 0 else 0)

    def _tell(self, kind: StreamEventKind, at: Where, reason: str) -> None:
        self.happened.append(StreamEvent(kind, at.event, self._window(at.watermark_ns), at.time_ns, reason))


def _are_spans(batch: RecordBatch) -> bool:
    """Whether the records have what spans are put together by; others only say what time it is."""
    size = len(batch)
    ids = len(batch.trace_ids), len(batch.span_ids), len(batch.parent_ids)
    return ids == (16 * size, 8 * size, 8 * size) and len(batch.span_marks) == len(batch.durations_ns) == size


def _learned() -> str:
    return f"{LEARNING_TRACES:,} traces were over by then"
