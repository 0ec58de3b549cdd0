"""Streams of events for the tests of `cbad_cy.presence`, and what is found in them."""

import itertools
import random
from array import array
from collections.abc import Sequence

from cbad_cy.presence import Arrivals, Pause, Silence

SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
BASE_NS = 2810 * 7 * DAY_NS  # a Thursday at midnight
HEARTBEAT = 7

Record = tuple[int, int]


def steady(seed: int, hours: float, *, rate: float = 0.2, kinds: Sequence[int] = (11, 13, 15)) -> list[Record]:
    """(time, template) of so many events a second, drawn independently."""
    rng, at, records = random.Random(seed), 0.0, []
    while (at := at + rng.expovariate(rate)) < hours * 3600:
        records.append((BASE_NS + int(at * SECOND_NS), rng.choice(kinds)))
    return records


def heartbeat(stop_h: float, step_s: float = 60, first_h: float = 0) -> list[Record]:
    count = int((stop_h - first_h) * 3600 / step_s)
    return [(BASE_NS + int((first_h * 3600 + number * step_s) * SECOND_NS), HEARTBEAT) for number in range(count)]


class Found:
    """What a stream of records was found to do, fed in pieces of `size`."""

    def __init__(self, records: Sequence[Record], *, size: int = 10**9, historical: bool = True, lines: bool = True) -> None:
        self.arrivals = Arrivals()
        self.minutes: list[tuple[int, float]] = []
        self.pauses: list[Pause] = []
        self.silences: list[Silence] = []
        for start in range(0, len(records), size):
            self.take(records[start : start + size], start, historical=historical, lines=lines)

    def take(self, records: Sequence[Record], start: int = 0, *, historical: bool = True, lines: bool = True) -> None:
        times = array("Q", (at for at, _ in records))
        text = [b"line %d" % template for _, template in records]
        columns = (array("Q", (template for _, template in records)), b"".join(text), array("I", map(len, text)))
        first = 0
        while first < len(records):
            taken = self.arrivals.take(times, *(columns if lines else ()), historical=historical, first=first)
            self.minutes += zip(taken.minutes_ns, taken.counts, strict=True)
            self.pauses += [pause._replace(record=pause.record + start) for pause in taken.pauses]
            self.silences += [silence._replace(record=silence.record + start) for silence in taken.silences]
            first = taken.stop

    def said(self) -> tuple[object, ...]:
        return self.minutes, self.pauses, self.silences, self.arrivals.parts()


def merged(*records: list[Record]) -> list[Record]:
    return sorted(itertools.chain(*records))
