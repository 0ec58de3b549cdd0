"""Which series a metrics stream has: their names, who was seen when, and when to look at each again."""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import accumulate, islice
from typing import NamedTuple

from cbad_cy.series import LEARNING_POINTS
from driftlock.engine.findings import instance_number

FORGOTTEN_SHARE = 16
"""When there are too many series, one in so many is forgotten at once: the longest unseen ones."""

DEPARTED_MAX = 2_000
"""Of so many forgotten series, the newest ones, the names are kept: what they said in the open minute is still to be told."""

STALE_LOOKS = 2
"""The queue of looks is made anew when it is so many times as long as the directory."""


class Seen(NamedTuple):
    """What is known of the points of a series: the newest one, and what `cbad_cy.series` says of its pauses. 0 = nothing yet.

    `p_value` is that of a pause which lasts until `due_ns`.
    """

    last_ns: int = 0
    due_ns: int = 0
    step_ns: int = 0
    p_value: float = 1.0
    points: int = 0


NOTHING_SEEN = Seen()


@dataclass(slots=True)
class Entry:
    """One series. Times are event times in ns.

    `look_ns`: the end of the minute with which it is looked at next, 0 = not before it has a point. `looked_ns`: its newest
    point by the last look; `points` so many had come by then. `left`: what was known when it left memory. Its silence after
    `settled_ns` was told, or is no silence. `lag_ns`: how far it usually is behind its stream. `suspect_ns`: receive time at
    which it was first found missing (0 = it is not). `based`: a point of it was the base of a counter.
    """

    instance: str
    name: str
    look_ns: int
    looked_ns: int = 0
    points: int = 0
    left: Seen = NOTHING_SEEN
    settled_ns: int = 0
    suspect_ns: int = 0
    lag_ns: int = 0
    based: bool = False

    @property
    def learned(self) -> bool:
        """Whether enough points have come to compare new ones with."""
        return self.points >= LEARNING_POINTS


class Directory:
    """The series of one stream, at most `series_max`, the longest unseen first, and when each is looked at."""

    def __init__(self, series_max: int) -> None:
        self.series_max = series_max
        self.entries: dict[int, Entry] = {}
        self.departed: dict[int, tuple[str, str]] = {}  # forgotten series -> instance and name, the longest forgotten first
        self.looked_at = 0  # so many have been looked at
        self.learned = 0  # and so many were learned by then
        self._points = [0] * (LEARNING_POINTS + 1)  # of which so many had 0, 1, .. `LEARNING_POINTS` or more points by then
        self._looks: list[tuple[int, int]] = []
        self._idle: set[int] = set()  # no point came since they were looked at
        self._instances: dict[str, set[int]] = {}
        self._resources: dict[int, tuple[str, int]] = {}  # number of an instance -> its name, and how many speak of it

    def __len__(self) -> int:
        """Number of series."""
        return len(self.entries)

    def add(self, number: int, entry: Entry) -> None:
        """Take a series that is not known yet; there is room."""
        self.entries[number] = entry
        self._count(entry.points, 1)
        self._enter(number, entry.instance)
        self._push(entry.look_ns, number)

    def _count(self, points: int, series: int) -> None:
        self.looked_at += series * (points > 0)
        self.learned += series * (points >= LEARNING_POINTS)
        self._points[min(points, LEARNING_POINTS)] += series

    def _enter(self, number: int, instance: str) -> None:
        of = self._instances.get(instance)
        if of is None:
            of = self._instances[instance] = set()
            self._name(instance, 1)
        of.add(number)

    def _name(self, instance: str, speaking: int) -> None:
        resource = instance_number(instance) if instance else 0
        count = self._resources.get(resource, (instance, 0))[1] + speaking
        if count:
            self._resources[resource] = instance, count
        else:
            del self._resources[resource]

    def of_instance(self, instance: str) -> Iterable[int]:
        """The series of an instance."""
        return self._instances.get(instance, ())

    def instance_named(self, resource: int) -> str | None:
        """The name of the instance with this number; None = none of its series is known, nor was until lately."""
        found = self._resources.get(resource)
        return None if found is None else found[0]

    def named(self, number: int) -> tuple[str, str] | None:
        """Instance and name of a series, also of one that was forgotten lately."""
        entry = self.entries.get(number)
        return self.departed.get(number) if entry is None else (entry.instance, entry.name)

    @property
    def points_lacking(self) -> int:
        """How many points a series lacks until it is learned: the median of the series that have been looked at."""
        half = max(1, (self.looked_at + 1) // 2)
        above = accumulate(reversed(self._points[1:]))
        return next((lacking for lacking, series in enumerate(above) if series >= half), LEARNING_POINTS)

    def touch(self, numbers: Iterable[int]) -> None:
        """These have been seen just now, the last one last."""
        entries = self.entries
        for number in numbers:
            entries[number] = entries.pop(number)

    @property
    def room(self) -> int:
        """So many more series may be added."""
        return self.series_max - len(self.entries)

    def unknown(self, numbers: "array[int]") -> list[int]:
        """Those of the series that are not known, in the order in which they come first, each once."""
        return [number for number in dict.fromkeys(numbers) if number not in self.entries]

    def forget(self) -> list[int]:
        """Make room, by a fixed share of all, so that it does not have to be made for each new series."""
        numbers = list(islice(self.entries, max(1, self.series_max // FORGOTTEN_SHARE)))
        for number in numbers:
            entry = self.entries.pop(number)
            self._count(entry.points, -1)
            self._idle.discard(number)
            self._part(number, entry)
        return numbers

    def _part(self, number: int, entry: Entry) -> None:
        of = self._instances[entry.instance]
        of.discard(number)
        if not of:
            del self._instances[entry.instance]
            self._name(entry.instance, -1)
        self._depart(number, entry.instance, entry.name)
        while len(self.departed) > DEPARTED_MAX:
            instance, _ = self.departed.pop(next(iter(self.departed)))
            self._name(instance, -1)

    def _depart(self, number: int, instance: str, name: str) -> None:
        if self.departed.pop(number, None) is None:
            self._name(instance, 1)
        self.departed[number] = instance, name

    def anew(self, number: int) -> None:
        """What was known of its points is lost."""
        entry = self.entries[number]
        self.saw(entry, 0)
        entry.looked_ns = entry.settled_ns = entry.suspect_ns = entry.lag_ns = 0
        entry.left = NOTHING_SEEN

    def saw(self, entry: Entry, points: int) -> None:
        """So many points of a series have come by now."""
        if points != entry.points:
            self._count(entry.points, -1)
            self._count(points, 1)
            entry.points = points

    def first_look(self) -> int:
        """No series is looked at before this time; 0 = there is none."""
        looks, entries = self._looks, self.entries
        while looks:
            look_ns, number = looks[0]
            entry = entries.get(number)
            if entry is not None and entry.look_ns == look_ns:
                return look_ns
            heappop(looks)
        return 0

    def due(self, closed_ns: int) -> list[int]:
        """The series to be looked at with the minute that ends at `closed_ns`, by number; each needs `look_again`."""
        found = set()
        while 0 < self.first_look() <= closed_ns:
            found.add(heappop(self._looks)[1])
        return sorted(found)

    def look_again(self, number: int, look_ns: int) -> None:
        """Look at this series with the minute that ends at `look_ns` (0 = at no time), or sooner when it has points."""
        self.entries[number].look_ns = look_ns
        self._idle.add(number)
        if look_ns:
            self._push(look_ns, number)

    def idle(self, numbers: Iterable[int]) -> set[int]:
        """Those of these series that had no point since they were looked at."""
        return self._idle.intersection(numbers) if self._idle else set()

    def wake(self, number: int, look_ns: int, lag_ns: int) -> None:
        """A series had a point, so far behind its stream: look at it by `look_ns`."""
        self._idle.discard(number)
        entry = self.entries[number]
        entry.lag_ns = max(lag_ns, entry.lag_ns // 2)
        if not 0 < entry.look_ns <= look_ns:
            entry.look_ns = look_ns
            self._push(look_ns, number)

    def _push(self, look_ns: int, number: int) -> None:
        if len(self._looks) > STALE_LOOKS * len(self.entries):
            self._queue()
        else:
            heappush(self._looks, (look_ns, number))

    def _queue(self) -> None:
        self._looks = [(entry.look_ns, number) for number, entry in self.entries.items() if entry.look_ns]
        heapify(self._looks)

    def restore(
        self, entries: Iterable[tuple[int, Entry]], departed: Mapping[int, tuple[str, str]], idle: Iterable[int]
    ) -> None:
        """Continue from what was stored, in its order."""
        self.entries = dict(entries)
        self._idle = set(idle)
        for number, entry in self.entries.items():
            self._count(entry.points, 1)
            self._enter(number, entry.instance)
        for number, (instance, name) in departed.items():
            self._depart(number, instance, name)
        self._queue()
