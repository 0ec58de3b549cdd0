"""What the newest traces of a stream were like as traces: whole, cut, sampled; and what of that a person has to know."""

from array import array
from dataclasses import dataclass

from cbad_cy.traces import CLOSED_EARLY, NO_ROOT, VIRTUAL_ROOT, Closed
from driftlock.engine.event import SpanMark
from driftlock.engine.traces.quantity import quantity

BLOCK = 500
"""After so many traces all counts are halved, so that about the newest thousand count."""

SHARE_MAX = 0.1
"""Up to this share is usual: traces that were on their way when a service restarted."""

LATE_SHARE_MAX = 0.01
"""Up to this share of spans is usual: those of an exporter that tried again."""

SAMPLED_SHARE_MAX = 0.01
"""So few spans that say they are sampled are probes."""


def _table(marks: int) -> bytes:
    return bytes(int(byte & marks != 0) for byte in range(256))


_PARTIAL = _table(NO_ROOT | VIRTUAL_ROOT)
_EARLY = _table(CLOSED_EARLY)
_SAMPLED = _table(SpanMark.SAMPLED)


@dataclass(slots=True)
class Traffic:
    """Counts of the newest traces: all, those in which a root or a parent never came, those that had to be closed early.

    And their spans, those of them that say they are sampled, and beside them the spans that came when their trace was over;
    `late_before` counts those that came before the newest trace that is counted was closed, since the beginning.
    """

    traces: int = 0
    partial: int = 0
    early: int = 0
    spans: int = 0
    sampled: int = 0
    late: int = 0
    late_before: int = 0

    def count(self, first_trace: int, closed: Closed, late_by: "array[int]") -> list[tuple[int, str]]:
        """Count traces, the first of which is that number of the stream; where blocks end, and what the trouble is by then.

        `late_by` is of each how many spans had been late when it was closed, since the beginning.
        Blocks are the stream's: how traces are cut into parts changes nothing.
        """
        ended = []
        first, at, traces = 0, 0, len(closed.sizes)
        while first < traces:
            if (first_trace + first) % BLOCK == 0:
                self.traces, self.partial, self.early = self.traces // 2, self.partial // 2, self.early // 2
                self.spans, self.sampled, self.late = self.spans // 2, self.sampled // 2, self.late // 2
            last = min(traces, first + BLOCK - (first_trace + first) % BLOCK)
            spans = sum(closed.sizes[first:last])
            marks = closed.marks[first:last]
            self.traces += last - first
            self.partial += sum(marks.translate(_PARTIAL))
            self.early += sum(marks.translate(_EARLY))
            self.spans += spans
            self.late += late_by[last - 1] - self.late_before
            self.late_before = late_by[last - 1]
            self.sampled += sum(closed.span_marks[at : at + spans].translate(_SAMPLED))
            first, at = last, at + spans
            if (first_trace + last) % BLOCK == 0:
                ended.append((last - 1, self.trouble))
        return ended

    @property
    def trouble(self) -> str:
        """Why verdicts can not be what they should be, in one sentence; "" = nothing, or too few traces have come."""
        if self.traces < BLOCK:
            return ""
        if self.early > SHARE_MAX * self.traces:
            return (
                f"{_percent(self.early, self.traces)} of the newest traces had to be closed before they were whole, for want "
                "of room: send fewer traces to this environment, or sample whole traces"
            )
        if self.late > LATE_SHARE_MAX * (self.spans + self.late):
            return (
                f"{_percent(self.late, self.spans + self.late)} of the newest spans came when their trace was over, so calls "
                "seem to be missing: have exporters send sooner, or raise DRIFTLOCK_TRACE_LINGER_SECONDS (for traces without "
                "root DRIFTLOCK_TRACE_IDLE_SECONDS)"
            )
        if self.partial > SHARE_MAX * self.traces and not self.is_sampled:
            return (
                f"{_percent(self.partial, self.traces)} of the newest traces came without their root or with spans whose "
                "parent never came: does every service pass on the trace context, and are traces sampled as a whole?"
            )
        return ""

    @property
    def is_sampled(self) -> bool:
        """Whether senders say that they send only a share of all traces."""
        return self.sampled > SAMPLED_SHARE_MAX * self.spans

    @property
    def remark(self) -> str:
        """What is to be known and is no trouble; "" = nothing."""
        if not self.is_sampled:
            return ""
        partial = f", {_percent(self.partial, self.traces)} of them not whole" if self.partial else ""
        return f"only a sample of all traces is sent{partial}: counts are of what was sent"


def _percent(part: int, whole: int) -> str:
    return quantity(part / whole, "1", 2)
