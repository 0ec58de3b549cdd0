"""How disordered the records of a replay are: until when one has to wait before a minute of the past is over."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, repeat
from operator import sub

from driftlock.engine.limits import MINUTE_NS

SPAN_MINUTES = 6 * 60
"""The disorder of the newest two spans of so many minutes of event time counts."""

BEHIND_MAX_MINUTES = SPAN_MINUTES
"""Records that are further behind than that are strays, and nobody waits for them."""


class Disorder:
    """The open minute of a stream. Live it is that of the watermark.

    In a replay it is as many minutes behind that as the times of records were: requests give one series after the other, each
    for some minutes, and the last one is not missing while the first one is already told. It never goes back. Minutes count
    since 1970.
    """

    def __init__(self) -> None:
        self.open_minute = 0
        self.span = 0  # the newest span, and how many minutes records were behind at most in it and in the one before
        self.behind = 0
        self.behind_before = 0

    def opened(self, marks: Sequence[int], times_ns: "array[int]", before_ns: int, *, historical: bool) -> Sequence[int]:
        """The open minute after each record, or one for all; `marks` are `watermarks`, `times_ns` the records' own times."""
        minutes = [mark // MINUTE_NS for mark in marks]
        if not historical:
            self.open_minute = max(self.open_minute, minutes[-1])
            return minutes
        together = len(marks) == 1 and minutes[0] == before_ns // MINUTE_NS
        own = [time_ns // MINUTE_NS for time_ns in times_ns]
        behind = list(map(sub, repeat(minutes[0]) if together else minutes, own))
        if max(behind) > BEHIND_MAX_MINUTES:
            behind = [it if it <= BEHIND_MAX_MINUTES else 0 for it in behind]
        if together:  # an open minute moves only with the watermark, and with the spans, which are whole minutes
            self._enter(minutes[0] // SPAN_MINUTES)
            self.behind = max(self.behind, *behind, 0)
            return (self.open_minute,)
        closing = list(accumulate(self._closing(minutes, behind), max, initial=self.open_minute))[1:]
        self.open_minute = closing[-1]
        return closing

    def _closing(self, minutes: Sequence[int], behind: Sequence[int]) -> list[int]:
        found: list[int] = []
        while (first := len(found)) < len(minutes):
            span = minutes[first] // SPAN_MINUTES
            self._enter(span)
            last = bisect_left(minutes, (span + 1) * SPAN_MINUTES, first)
            worst = list(accumulate(behind[first:last], max, initial=self.behind))[1:]
            self.behind = worst[-1]
            found += map(sub, minutes[first:last], map(max, worst, repeat(self.behind_before)))
        return found

    def _enter(self, span: int) -> None:
        if span != self.span:
            self.behind_before = self.behind if span == self.span + 1 else 0
            self.span, self.behind = span, 0
