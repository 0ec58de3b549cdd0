"""Whether a stream speaks as it uses to: its silence by event time and by the wall clock, its rate, and its usual lines.

Both folds use it: `Presence` for numbers, `LinePresence` for lines. What it is told are records with their placed times, and
when their journal row was received; it reads no clock.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from cbad_cy.presence import Arrivals, Silence, Taken
from driftlock.engine.numbers.finding import NumberContext
from driftlock.engine.presence_finding import lines_finding, pause_finding, rate_finding
from driftlock.engine.rate import Rate
from driftlock.engine.verdict import Finding

ContextAt = Callable[[int], NumberContext]
"""What a finding has to know of its stream when it is shown by the record of that index in its row."""


class Presence:
    """When a stream should have spoken. `due_ns` and `silence` are those of `driftlock.engine.fold.StreamFold`.

    A live stream that stops is found by the clock: `due_ns` says from when on its silence is improbable, given how far
    behind the clock it used to be when it spoke, and how much it says at that hour of the week. Of a stream that is replayed
    (`historical`) a gap in event time is told when the next record ends it. How records are cut into rows changes no finding of
    a replay; live, the receive times of rows are part of what is learned.

    Use: `took` once for each journal row with records; the findings that it returns are about the silences that the row ended.
    Store `parts()` with the fold's state and `restore` it. `service` is how sentences call the stream.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self.arrivals = Arrivals()

    @property
    def due_ns(self) -> int:
        """The wall-clock time from which on the silence of the stream is worth telling; 0 = never."""
        return self.arrivals.due_ns

    def took(self, times_ns: "array[int]", received_ns: int, *, historical: bool, context_at: ContextAt) -> list[Finding]:
        """Learn from the records of one row: `times_ns` as `EventClock.place` gave them, in their order of arrival."""
        if not times_ns:
            return []
        self.arrivals.heard(received_ns, historical=historical)
        findings = []
        taken: Taken | None = None
        while taken is None or taken.stop < len(times_ns):
            taken = self.arrivals.take(times_ns, historical=historical, first=0 if taken is None else taken.stop)
            findings += self._pauses(taken, context_at)
        self.arrivals.settle(received_ns, historical=historical)
        return findings

    def _pauses(self, taken: Taken, context_at: ContextAt) -> list[Finding]:
        return [pause_finding(pause, self.service, context_at(pause.record)) for pause in taken.pauses]

    def silence(self, now_ns: int, context: NumberContext) -> Finding | None:
        """The finding that nothing has come although it should have, as of the wall clock `now_ns`; None before `due_ns`.

        A question only. `context` is that of the newest record. The finding ends at `due_ns`, so its id is the same until there
        are records again.
        """
        pause = self.arrivals.silence(now_ns)
        if pause is None:
            return None
        return pause_finding(pause, self.service, replace(context, receive_timed=True), now_ns=now_ns)

    def parts(self) -> bytes:
        """All that was learned; equal pasts give equal bytes."""
        return self.arrivals.parts()

    def restore(self, parts: bytes) -> None:
        """Continue from `parts`. ValueError for bytes that are damaged or of another version: then nothing was learned."""
        self.arrivals.restore(parts)


@dataclass(frozen=True, slots=True)
class LineColumns:
    """Lines as columns: placed times, numbers of their templates, and their masked forms one after another."""

    times_ns: "array[int]"
    templates: "array[int]"
    text: bytes
    lengths: "array[int]"


class LinePresence(Presence):
    """The same for a stream of lines, with its events per minute and its usual lines."""

    def __init__(self, service: str) -> None:
        super().__init__(service)
        self.rate = Rate()

    def took_lines(
        self, lines: LineColumns, received_ns: int, *, historical: bool, alarm_level: float, context_at: ContextAt
    ) -> list[Finding]:
        """Learn from the lines of one row; an odd rate alarms from `alarm_level` on (see `driftlock.engine.numbers.level`)."""
        if not lines.times_ns:
            return []
        self.arrivals.heard(received_ns, historical=historical)
        findings: list[Finding] = []
        columns = (lines.times_ns, lines.templates, lines.text, lines.lengths)
        taken: Taken | None = None
        while taken is None or taken.stop < len(lines.times_ns):
            taken = self.arrivals.take(*columns, historical=historical, first=0 if taken is None else taken.stop)
            if taken.minutes_ns:
                findings += self._rates(taken, alarm_level, context_at)
            findings += self._pauses(taken, context_at)
            findings += self._lines(taken.silences, context_at)
        self.arrivals.settle(received_ns, historical=historical)
        return findings

    def _rates(self, taken: Taken, alarm_level: float, context_at: ContextAt) -> Iterator[Finding]:
        for minute, alarm in self.rate.feed(taken.minutes_ns, taken.counts, alarm_level):
            yield rate_finding(alarm, self.service, self.rate.table, context_at(taken.closed_by[minute]))

    def _lines(self, silences: Sequence[Silence], context_at: ContextAt) -> Iterator[Finding]:
        for _, told in groupby(silences, key=lambda it: it.time_ns):
            together = list(told)
            yield lines_finding(together, context_at(together[0].record))

    def forget_lines(self) -> None:
        """Lines are masked otherwise from here on: their numbers are others."""
        self.arrivals.forget_lines()
