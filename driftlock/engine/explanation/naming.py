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
UNTOLD_SLOT_BITS = 4.0
"""A value that the coder does not point at costs less."""
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

    def usual_count(self, form: bytes) -> float:
        """How often so many lines of the baseline hold `form`."""
        return self.baseline.get(form, 0) * len(self.events) / (self._lines or 1)

    @cached_property
    def _lines(self) -> int:
        return sum(self.baseline.values())

    def holds_unusual_value(self, place: int) -> bool:
        """Whether the dearest part of the line at `place` is a value, of which the bytes are known."""
        cost = self.costs[place]
        dearest = max((bits for _, bits in cost.slots), default=0.0)
        if dearest < DEAR_BITS or dearest < max((bits for _, _, bits in cost.tokens), default=0.0):
            return False
        return dearest >= self._of_place(cost) and bool(self.spans(place).ranges)

    def is_out_of_place(self, place: int) -> bool:
        """Whether the line at `place` is dear because of the line before it, not because of a word or value.

        Cheap values are not told apart, so as much as they can cost is taken off. A codec that prices lines alike wherever
        they stand knows nothing of places.
        """
        cost, event = self.costs[place], self.events[place]
        if not place or not self._prices_places or any(bits >= DEAR_BITS for _, _, bits in cost.tokens):
            return False
        told = dict(cost.slots)
        if any(bits >= DEAR_BITS for bits in told.values()):
            return False
        cheap = sum(index not in told for index in range(len(self.scanner.slots(event.text))))
        return self._of_place(cost) - UNTOLD_SLOT_BITS * cheap >= DEAR_BITS

    @staticmethod
    def _of_place(cost: LineCost) -> float:
        """At most so many bits of a line are of where it stands."""
        return cost.bits - sum(bits for _, bits in cost.slots) - sum(bits for _, _, bits in cost.tokens)

    @cached_property
    def _prices_places(self) -> bool:
        prices = {(event.masked, cost.bits) for event, cost in zip(self.events, self.costs, strict=True)}
        return len(prices) > len(self.groups) or any(cost.tokens or cost.slots for cost in self.costs)

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
