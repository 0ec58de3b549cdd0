"""Which spans' times are believed: one whose clock is years ahead must not take the clock of a run with it.

A run has no clock but the times of its spans. So a span that starts more than `future_ns` after those that are believed is held
until `CONFIRMING_SPANS` later ones, in the order of the input, are not where the run has come to either: then time has indeed
passed, there was a gap in the input, and the run goes on at the middle one of their times. It is refused when one comes that is
there, or when those after it go on far before it. At the end of the input it is believed, as nothing speaks against it.
Spans more than `lateness_ns` before the newest believed one say nothing about it, but wait behind it, until
`HELD_SPANS_MAX` are held. Nothing is believed at first, so the first spans of an input are held, too.
"""

from collections.abc import Iterable
from typing import NamedTuple

from driftlock.engine.limits import MINUTE_NS, Limits
from server.offline.spans import SpanLine

CONFIRMING_SPANS = 50
HELD_SPANS_MAX = 4 * CONFIRMING_SPANS


class Numbered(NamedTuple):
    """A span and where it stands in the input."""

    source: str
    line: int
    span: SpanLine

    @property
    def where(self) -> str:
        """As messages name its place."""
        return f"{self.source}, line {self.line}"


Decided = list[tuple[Numbered, bool]]
"""Spans in the order of the input, each with whether its time is believed; the others are refused."""


class Belief:
    """Holds spans until it is known whether their times are to be believed. What it tells depends on their order alone."""

    def __init__(self, limits: Limits) -> None:
        self._future_ns, self._lateness_ns = limits.future_ns, limits.lateness_ns
        self._newest_ns = -1  # of those that are believed; none by now
        self._held: list[Numbered] = []
        self._confirming = 0  # of the held ones, those that are not believed yet

    def sift(self, spans: Iterable[Numbered]) -> Decided:
        """Take more of the input; what is decided by now."""
        decided: Decided = []
        for it in spans:
            self._take(it, decided)
        return decided

    def rest(self) -> Decided:
        """The input has ended: what was held."""
        decided: Decided = []
        while self._held:
            self._go_on(decided)
        return decided

    @property
    def reason(self) -> str:
        """What is wrong with spans that are refused."""
        return (
            f'has a "time" more than {self._future_ns // MINUTE_NS} minutes ahead of the spans around it: '
            f"{CONFIRMING_SPANS} in a row have to be as far ahead to be believed"
        )

    def _take(self, it: Numbered, decided: Decided) -> None:
        time_ns = it.span.time_ns
        ahead = self._is_ahead(it)
        if not ahead and not self._held:
            self._believe(it, decided)
            return
        self._held.append(it)
        self._confirming += ahead
        if ahead and self._confirming > CONFIRMING_SPANS:
            self._go_on(decided)
        elif not ahead and (time_ns >= self._newest_ns - self._lateness_ns or len(self._held) >= HELD_SPANS_MAX):
            self._newest_ns = max(self._newest_ns, time_ns)
            self._contradicted(decided)

    def _believe(self, it: Numbered, decided: Decided) -> None:
        self._newest_ns = max(self._newest_ns, it.span.time_ns)
        decided.append((it, True))

    def _contradicted(self, decided: Decided) -> None:
        """The input goes on where it was: what is too far ahead of that is refused."""
        held, self._held, self._confirming = self._held, [], 0
        for it in held:
            if self._is_ahead(it):
                decided.append((it, False))
            else:
                self._believe(it, decided)

    def _go_on(self, decided: Decided) -> None:
        """Time has passed: the run goes on at the middle of the spans that wait; those far ahead of it wait themselves."""
        held, self._held, self._confirming = self._held, [], 0
        waiting = sorted(it.span.time_ns for it in held if self._is_ahead(it))
        self._newest_ns = waiting[(len(waiting) - 1) // 2]
        for it in held:
            self._take(it, decided)

    def _is_ahead(self, it: Numbered) -> bool:
        return self._newest_ns < 0 or it.span.time_ns > self._newest_ns + self._future_ns
