"""One run of `driftlock score --signal spans`: spans in; spans, traces, findings and incidents out as JSON lines.

Spans are judged in steps: a step is what comes before event time, as far as it has come, reaches the next `STEP_NS`, at most
`STEP_SPANS_MAX` spans. So how the input is cut into reads changes nothing. Of a step first what the clock brought on the way to
it is told, then its spans in their order, the traces that were over by then, findings, and incidents.
"""

import json
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from driftlock.engine.event import StreamKey
from driftlock.engine.limits import SECOND_NS, Limits
from driftlock.engine.ports import FindingRow
from driftlock.engine.profile import Profile
from driftlock.engine.traces.observer import SeenTrace
from driftlock.engine.verdict import WindowScore
from server.offline.incident_lines import IncidentLines
from server.offline.scorer import Budget
from server.offline.span_batches import TRACES, batches_of, span_stream
from server.offline.span_members import US_NS
from server.offline.spans import SpanLine
from server.offline.tenant import OfflineTenant, Told
from server.offline.times import Times

STEP_NS = 5 * SECOND_NS
STEP_SPANS_MAX = 4096


class SpanScorer:
    """Scores spans of any number of services; `events`: tell the score of each span too.

    `alerts_per_day`: mark the incidents of a UTC day beyond so many as over budget; None marks nothing.
    """

    def __init__(self, profile: Profile, *, seed: int, events: bool, alerts_per_day: int | None = None) -> None:
        self._events, self._times = events, Times()
        self._traces = _Traces(self._times)
        self._streams: dict[StreamKey, _Stream] = {}
        self._tenant = OfflineTenant(
            profile,
            seed=seed,
            limits=Limits(),
            observer_of=self._observer_of,
            traces=self._traces,
        )
        self._incidents = IncidentLines(None if alerts_per_day is None else Budget(alerts_per_day))
        self._held: list[SpanLine] = []
        self._newest_ns = 0
        self._place = 0

    def take(self, spans: Iterable[SpanLine]) -> str:
        """Score more of the input; returns the JSON lines of the steps that it completes."""
        told: list[str] = []
        for span in spans:
            newest_ns = max(self._newest_ns, span.time_ns)
            if self._held and (newest_ns // STEP_NS > self._newest_ns // STEP_NS or len(self._held) == STEP_SPANS_MAX):
                told += self._step()
            self._newest_ns = newest_ns
            self._held.append(span)
        return "".join(told)

    def finish(self) -> str:
        """The input has ended, and with it the last step, the traces and the incidents that are still open."""
        told = self._step() if self._held else []
        told += self._outcome(self._tenant.finish())
        return "".join([*told, *self._incidents.rest()])

    def _step(self) -> list[str]:
        """Judge the spans that are held."""
        spans, self._held = self._held, []
        told = self._outcome(self._tenant.pass_time(self._newest_ns))
        if self._events:
            for place, span in enumerate(spans, self._place):
                self._stream(span_stream(span.service)).folded.append((place, span))
        self._place += len(spans)
        done: list[Told] = []
        for key, batch in batches_of(spans).items():
            done += self._tenant.take(key, batch, self._newest_ns)
        if self._events:
            scored = sorted(line for stream in self._streams.values() for line in stream.take())
            told += [self._span(place, span, bits) for place, span, bits in scored]
        return told + self._outcome(done)

    def _outcome(self, done: Sequence[Told]) -> list[str]:
        """Traces that were closed, then findings, then incidents."""
        told = self._traces.take()
        told += [_finding(row) for each in done for row in each.findings]
        return told + [line for each in done for row in each.incidents for line in self._incidents.take(row)]

    def _stream(self, key: StreamKey) -> "_Stream":
        known = self._streams.get(key)
        if known is None:
            known = self._streams[key] = _Stream()
        return known

    def _observer_of(self, key: StreamKey) -> "_Stream | None":
        return self._stream(key) if self._events and key != TRACES else None

    def _span(self, place: int, span: SpanLine, bits: float) -> str:
        return (
            f'{{"type":"span","index":{place},"trace":"{span.trace.hex()}","span":"{span.span.hex()}",'
            f'"service":{json.dumps(span.service)},"time":"{self._times.shown(span.time_ns)}","bits":{round(bits, 3)}}}\n'
        )


class _Stream:
    """Spans of one service that wait for their bits, and the observer of its fold."""

    def __init__(self) -> None:
        self.folded: deque[tuple[int, SpanLine]] = deque()  # with their places in the input
        self._scored: list[tuple[int, SpanLine, float]] = []

    def events(self, first_event: int, times_ns: Sequence[int], bits: Sequence[float]) -> None:  # noqa: ARG002
        """See `Observer`."""
        for cost in bits:
            self._scored.append((*self.folded.popleft(), cost))

    def window(self, score: WindowScore) -> None:
        """See `Observer`; findings say enough of windows."""

    def take(self) -> list[tuple[int, SpanLine, float]]:
        """Spans with their places and bits since the last call."""
        scored, self._scored = self._scored, []
        return scored


class _Traces:
    """The lines of traces since somebody took them; the observer of their fold."""

    def __init__(self, times: Times) -> None:
        self._times = times
        self._lines: list[str] = []

    def trace(self, seen: SeenTrace) -> None:
        """See `TraceObserver`."""
        members: dict[str, Any] = {
            "type": "trace",
            "trace": seen.trace_id,
            "service": seen.service,
            "root": seen.root,
            "time": self._times.shown(seen.start_ns),
            "dur_us": seen.duration_ns / US_NS,
            "spans": seen.spans,
            "errors": seen.errors,
            "services": seen.services,
            "marks": seen.marks,
        }
        self._lines.append(json.dumps(members, separators=(",", ":")) + "\n")

    def take(self) -> list[str]:
        """The lines since the last call."""
        lines, self._lines = self._lines, []
        return lines


def _finding(row: FindingRow) -> str:
    """A finding with its whole verdict."""
    head = {"type": "finding", "id": str(row.finding_id), "stream": row.finding.stream}
    return f'{json.dumps(head, separators=(",", ":"))[:-1]},"verdict":{row.finding.canonical().decode()}}}\n'
