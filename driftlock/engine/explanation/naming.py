"""The lines of a flagged window as they are told: what in them is strange, where it stands, and what they resemble."""

from array import array
from collections.abc import Mapping, Sequence
from functools import cached_property

from cbad_cy.novelty import Coverage, nearest
from driftlock.engine.explanation import sentence, suspects
from driftlock.engine.explanation.spans import Range, Spans, covered, priced, shown
from driftlock.engine.explanation.suspects import DEAR_BITS, as_text
from driftlock.engine.explanation.suspicion import LineCost, Scanner
from driftlock.engine.limits import Limits
from driftlock.engine.verdict import NovelLine
from driftlock.engine.window import Event

GRAM_BYTES = 6
COVERED_BYTES_MAX = 1024
"""Where the coder does not tell, new bytes are looked for in the first so many of a masked line."""


class Window:
    """A window with what is known of its lines."""

    def __init__(
        self,
        events: Sequence[Event],
        first_event: int,
        baseline: Mapping[bytes, int],
        costs: Sequence[LineCost],
        limits: Limits,
        scanner: Scanner,
    ) -> None:
        self.events, self.first_event, self.baseline, self.costs = events, first_event, baseline, costs
        self.limits, self.scanner = limits, scanner
        self.bits = [cost.bits for cost in costs]
        self.groups = suspects.by_form(events)
        self.excess = suspects.above_usual(events, self.bits, baseline)

    def share(self, places: Sequence[int]) -> float:
        """The part of all bits above usual that the events at `places` have."""
        whole = sum(self.excess)
        return sum(self.excess[place] for place in places) / whole if whole else 0.0

    @cached_property
    def _forms(self) -> list[bytes]:
        return list(self.baseline)

    @cached_property
    def _known(self) -> tuple[bytes, "array[int]"]:
        return b"".join(self._forms), array("I", map(len, self._forms))

    @cached_property
    def _coverage(self) -> Coverage:
        return Coverage(b"\n".join(self._forms), GRAM_BYTES)

    def nearest(self, form: bytes) -> str:
        """The known form that resembles `form` most, itself if it is known; "" = none does."""
        if form in self.baseline:
            return as_text(form)
        closest = nearest(form, *self._known)
        return as_text(self._forms[closest]) if closest >= 0 else ""

    def spans(self, place: int) -> Spans:
        """What is strange in the line at `place`: what costs much, or else bytes that the past does not hold."""
        event, cost = self.events[place], self.costs[place]
        dear = [token for token in cost.tokens if token[2] >= DEAR_BITS]
        dear_slots = {index: bits for index, bits in cost.slots if bits >= DEAR_BITS}
        found = self.scanner.tokens(event.text)
        ranges: list[Range] = []
        if dear or dear_slots:
            values = self.scanner.slots(event.text) if dear_slots else ()
            ranges = priced(event.text, found, values, dear, dear_slots)
        if ranges or event.masked in self.baseline:
            return shown(event.text, ranges, self.limits.line_spans_max, with_bits=True)
        beginning = event.masked[:COVERED_BYTES_MAX]
        found = [token for token in found if token[2] <= len(beginning)]
        ranges = covered(found, self._coverage.novel_spans(beginning))
        return shown(event.text, ranges, self.limits.line_spans_max, with_bits=False)

    def line(self, place: int, count: int, share: float, spans: Spans | None = None) -> NovelLine:
        """The event at `place`, told for `count` like it."""
        event, bits = self.events[place], self.bits[place]
        spans = spans or Spans()
        return NovelLine(
            event=self.first_event + place,
            time_ns=event.time_ns,
            text=as_text(event.text),
            spans=spans.ranges,
            cost_bytes=-(-int(bits) // 8),
            nearest=self.nearest(event.masked),
            count=count,
            instance=event.instance,
            trace_id=event.trace_id.hex() if any(event.trace_id) else "",
            bits=bits,
            span_bits=spans.bits,
            span_paths=spans.paths,
            share=share,
        )

    def headline(self, place: int, novel: Sequence[tuple[int, int]] = ()) -> str:
        """The line at `place` in backticks; values are shown where they are novel."""
        event = self.events[place]
        return sentence.headline(event.text, event.masked, self.scanner.tokens(event.text), novel)
