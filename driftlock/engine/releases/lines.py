"""The lines of two releases, gathered from rows of the journal that come newest first, and the releases that rows know of."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from driftlock.engine.event import RecordBatch
from driftlock.engine.releases.attribute import Attribute

LINE_BYTES_MAX = 4096
"""Lines are compared by so many of their first bytes."""
RELEASES_MAX = 1000
"""Values of an attribute that are told apart; records with others are only counted."""


@dataclass(slots=True)
class Lines:
    """Lines in the order in which they came, with their event times (that of receiving where they have none)."""

    text: bytes = b""
    lengths: "array[int]" = field(default_factory=lambda: array("I"))
    times_ns: "array[int]" = field(default_factory=lambda: array("Q"))

    def __len__(self) -> int:
        """Number of lines."""
        return len(self.lengths)


class Gathering:
    """Takes the lines of two values of an attribute, the newest `lines_max` of each."""

    def __init__(self, attribute: Attribute, old: bytes, new: bytes, lines_max: int) -> None:
        """Raises ValueError where both values are one: nothing can differ."""
        if old == new:
            raise ValueError("the two values are the same")
        self._attribute, self._lines_max = attribute, lines_max
        self._parts: dict[bytes, list[tuple[list[bytes], list[int]]]] = {old: [], new: []}
        self._counts = {old: 0, new: 0}
        self._old, self._new = old, new
        self.full = {old: False, new: False}

    def take(self, batch: RecordBatch, received_ns: int) -> bool:
        """Take a row, which came before all that were taken; -> whether there is room for lines of earlier rows."""
        if not self._attribute.may_hold(batch, (self._old, self._new)):
            return True
        found: dict[bytes, tuple[list[bytes], list[int]]] = {self._old: ([], []), self._new: ([], [])}
        for (value, line), time_ns in zip(self._attribute.of(batch), batch.times_ns, strict=True):
            if value in found:
                lines, times = found[value]
                lines.append(line[:LINE_BYTES_MAX])
                times.append(time_ns or received_ns)
        for value, (lines, times) in found.items():
            room = self._lines_max - self._counts[value]
            self.full[value] |= len(lines) > room
            if room and lines:
                self._parts[value].append((lines[-room:], times[-room:]))
                self._counts[value] += len(self._parts[value][-1][0])
        return not all(count >= self._lines_max for count in self._counts.values())

    def lines(self) -> tuple[Lines, Lines]:
        """Those of the old and of the new value."""
        return self._of(self._old), self._of(self._new)

    def _of(self, value: bytes) -> Lines:
        parts = self._parts[value][::-1]
        lines = [line for part, _ in parts for line in part]
        times = array("Q", (time_ns for _, part in parts for time_ns in part))
        return Lines(b"".join(lines), array("I", map(len, lines)), times)


@dataclass(slots=True)
class Release:
    """A value of an attribute: how many records have it, and when the first and the newest of them were received, in ns."""

    value: bytes
    records: int
    first_ns: int
    last_ns: int


class Releases:
    """The values of an attribute that rows hold, at most `RELEASES_MAX`."""

    def __init__(self, attribute: Attribute) -> None:
        self._attribute = attribute
        self._found: dict[bytes, Release] = {}
        self.without = 0  # records that have no value
        self.omitted = 0  # records of values beyond the most that are told apart

    def take(self, batch: RecordBatch, received_ns: int) -> None:
        """Take a row, in any order."""
        for value, count in self._attribute.counts(batch).items():
            if not value:
                self.without += count
                continue
            known = self._found.get(value)
            if known is not None:
                known.records += count
                known.first_ns, known.last_ns = min(known.first_ns, received_ns), max(known.last_ns, received_ns)
            elif len(self._found) < RELEASES_MAX:
                self._found[value] = Release(value, count, received_ns, received_ns)
            else:
                self.omitted += count

    def found(self) -> Sequence[Release]:
        """The one that was seen last comes first; of equal ones the one that is larger as text."""
        return sorted(self._found.values(), key=lambda it: (it.last_ns, it.first_ns, it.value), reverse=True)
