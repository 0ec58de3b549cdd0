"""The series of a metrics stream that are in memory: what kernels know of them, and how they come and go."""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from math import isnan
from typing import NamedTuple

from cbad_cy.points import ROLES, Points
from cbad_cy.pooled import Gatherer
from cbad_cy.series import Alarm, SeriesTable
from driftlock.engine.limits import Limits
from driftlock.engine.numbers.absence import Absences
from driftlock.engine.numbers.body import pack_series, unpack_series
from driftlock.engine.numbers.columns import layers
from driftlock.engine.numbers.directory import Directory
from driftlock.engine.numbers.finding import LATER_MAX
from driftlock.engine.numbers.summaries import Summaries
from driftlock.engine.records import Damaged


class Numbers(NamedTuple):
    """Plain numbers as `cbad_cy.points` gives them, with the number of the resource of each; columns of equal length."""

    series: "array[int]"
    times_ns: "array[int]"
    values: "array[float]"
    resources: "array[int]"

    def at(self, places: "array[int]") -> "Numbers":
        """Those at these places."""
        return Numbers(
            array("Q", map(self.series.__getitem__, places)),
            array("Q", map(self.times_ns.__getitem__, places)),
            array("d", map(self.values.__getitem__, places)),
            array("Q", map(self.resources.__getitem__, places)),
        )


class SeriesMemory:
    """Kernels' states of the series that are held, beside the directory of all. Which are held changes no verdict."""

    def __init__(self, limits: Limits) -> None:
        self.directory = Directory(limits.series_max)
        self.points = Points(series_max=limits.series_max)
        self.table = SeriesTable(series_max=limits.series_max * len(ROLES))
        self.gatherer = Gatherer(series_max=limits.series_max * len(ROLES))
        self.summaries = Summaries(self.gatherer, self.directory)
        self.absences = Absences(self.directory, self.points, self.table)
        self.dropped: dict[int, None] = {}  # series that are forgotten since somebody asked
        self._dirty: set[int] = set()

    def register(self, series: "array[int]") -> None:
        """Note that these, which are all known, are seen in this order; one that was not given back to memory begins anew."""
        newest = dict.fromkeys(reversed(series))
        for number in newest:
            if number not in self.points:
                self.directory.anew(number)
        self.directory.touch(reversed(newest))
        self._dirty.update(newest)

    def feed(self, numbers: Numbers, costs: "array[float] | None" = None) -> Iterator[tuple[Alarm, int]]:
        """Judge and learn numbers in their order; the alarms, each with the place of its number.

        At most `LATER_MAX` points of its series are learned after one that alarms before it is given. `costs` gets the bits of
        each number that was taken.
        """
        status = bytearray(len(numbers.series))
        for places in layers(numbers.series, LATER_MAX):
            part = numbers if places is None else numbers.at(places)
            fed = self.table.feed(part.series, part.times_ns, part.values, watch=costs is not None)
            for alarm in fed.alarms:
                yield alarm, alarm.index if places is None else places[alarm.index]
            if places is None:
                status[:] = fed.status
            elif any(fed.status):
                for place, said in zip(places, fed.status, strict=True):
                    status[place] = said
            if costs is not None:
                for place, cost in zip(range(len(fed.bits)) if places is None else places, fed.bits, strict=True):
                    costs[place] = 0.0 if isnan(cost) else cost
        self.gatherer.take(numbers.series, numbers.resources, numbers.times_ns, numbers.values, bytes(status))

    def absent(self, series: Iterable[int]) -> list[int]:
        """Which of these are known but not held, ascending, each once."""
        entries, points = self.directory.entries, self.points
        return sorted(number for number in set(series) if number in entries and number not in points)

    def admit(self, states: Mapping[int, bytes]) -> None:
        """Take back series that were absent; one that can not be read begins anew with its next point."""
        for number, body in states.items():
            if number in self.points or number not in self.directory.entries:
                continue
            try:
                unpack_series(body, number, self.points, self.table, self.gatherer)
            except Damaged:
                self._release(number)

    def unsaved(self) -> dict[int, bytes]:
        """The states of the series that changed since they were last asked for; from here on they count as saved."""
        dirty, self._dirty = self._dirty, set()
        held = [number for number in sorted(dirty) if number in self.points]
        return {number: pack_series(number, self.points, self.table, self.gatherer) for number in held}

    def evict(self, series_max: int) -> None:
        """Let the longest unseen series leave until at most `series_max` are held; unsaved ones stay."""
        surplus = len(self.points) - series_max
        if surplus <= 0:
            return
        idle = (number for number in self.directory.entries if number in self.points and number not in self._dirty)
        for _, number in zip(range(surplus), list(idle), strict=False):
            self.absences.leave(number)
            self._release(number)

    def forget(self, first_minute: int, first_window: int) -> None:
        """Forget the longest unseen series for good, to make room for new ones; see `Summaries.closed`."""
        self.summaries.name(first_minute, first_window)
        for number in self.directory.forget():
            self._release(number)
            self.summaries.forget(number)
            self._dirty.discard(number)
            self.dropped[number] = None

    def forgotten(self) -> tuple[int, ...]:
        """The series that were forgotten since the last call and are not known again."""
        dropped, self.dropped = tuple(sorted(self.dropped.keys() - self.directory.entries.keys())), {}
        return dropped

    def _release(self, number: int) -> None:
        if number in self.points:
            for derived in self.points.derived(number):
                if derived in self.table:
                    self.table.drop(derived)
                if derived in self.gatherer:
                    self.gatherer.drop(derived)
            self.points.drop(number)
