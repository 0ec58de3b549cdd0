"""Which series a metrics stream has: their names, who was seen when, and when to look at each again."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from cbad_cy.series import LEARNING_POINTS

FORGOTTEN_SHARE = 16
"""When there are too many series, one in so many is forgotten at once: the longest unseen ones."""


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

    `look_ns`: the end of the minute with which it is looked at next. `looked_ns`: its newest point by the last look; `points`
    so many had come by then. `left`: what was known when it left memory. Its silence after `settled_ns` was told, or is no
    silence. `lag_ns`: how far it usually is behind its stream. `suspect_ns`: receive time at which it was first found missing
    (0 = it is not).
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

    @property
    def learned(self) -> bool:
        """Whether enough points have come to compare new ones with."""
        return self.points >= LEARNING_POINTS


class Directory:
    """The series of one stream, at most `series_max`, the longest unseen first."""

    def __init__(self, series_max: int) -> None:
        self.series_max = series_max
        self.entries: dict[int, Entry] = {}
        self.looked_at = 0  # of which so many have been looked at
        self.learned = 0  # and so many were learned by then
        self._looks: list[tuple[int, int]] = []

    def __len__(self) -> int:
        """Number of series."""
        return len(self.entries)

    def add(self, number: int, entry: Entry) -> None:
        """Take a series that is not known yet; there is room."""
        self.entries[number] = entry
        self.looked_at += entry.points > 0
        self.learned += entry.learned
        heappush(self._looks, (entry.look_ns, number))

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
        numbers = list(self.entries)[: max(1, self.series_max // FORGOTTEN_SHARE)]
        for number in numbers:
            entry = self.entries.pop(number)
            self.looked_at -= entry.points > 0
            self.learned -= entry.learned
        return numbers

    def anew(self, number: int) -> None:
        """What was known of its points is lost."""
        entry = self.entries[number]
        self.saw(entry, 0)
        entry.looked_ns = entry.settled_ns = entry.suspect_ns = entry.lag_ns = 0
        entry.left = NOTHING_SEEN

    def saw(self, entry: Entry, points: int) -> None:
        """So many points of a series have come by now."""
        self.looked_at += (points > 0) - (entry.points > 0)
        self.learned += (points >= LEARNING_POINTS) - entry.learned
        entry.points = points

    def first_look(self) -> int:
        """No series is looked at before this time; 0 = there is none."""
        return self._looks[0][0] if self._looks else 0

    def due(self, closed_ns: int) -> list[int]:
        """The series to be looked at with the minute that ends at `closed_ns`, by number; each needs `look_again`."""
        found = set()
        while self._looks and self._looks[0][0] <= closed_ns:
            look_ns, number = heappop(self._looks)
            if number in self.entries and self.entries[number].look_ns == look_ns:
                found.add(number)
        return sorted(found)

    def look_again(self, number: int, look_ns: int) -> None:
        """Look at this series again with the minute that ends at `look_ns`."""
        self.entries[number].look_ns = look_ns
        heappush(self._looks, (look_ns, number))

    def restore(self, entries: Iterable[tuple[int, Entry]]) -> None:
        """Continue from what was stored, in its order."""
        self.entries = dict(entries)
        self.looked_at = sum(entry.points > 0 for entry in self.entries.values())
        self.learned = sum(entry.learned for entry in self.entries.values())
        self._looks = [(entry.look_ns, number) for number, entry in self.entries.items()]
        heapify(self._looks)
