"""Series that fall silent while their stream goes on, by event time: one by one, or most of a resource at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cbad_cy.points import Points
from cbad_cy.series import SeriesTable
from driftlock.engine.limits import MINUTE_NS, SECOND_NS
from driftlock.engine.numbers.directory import NOTHING_SEEN, Directory, Entry, Seen

IDLE_NS = 10 * MINUTE_NS
"""A series that has points is looked at this often; one that has none only when it may be missing."""

HOLD_NS = 30 * SECOND_NS
"""A series is called missing when it still is so long after it was first found missing, by the receive times of a live stream:
a sender that delivers what it kept, series by series, silences nobody. What replays the past has no such times."""

TURNS = 2
"""So many usual distances without a point make a series quiet; far fewer than make it missing."""

SINGLE_MAX = 10
"""More missing series of one resource in a minute are told as one finding."""

ABSENCES_MAX = 20
"""So many findings of a minute tell who is missing, the least probable first; one more counts the rest."""


@dataclass(frozen=True, slots=True)
class Absence:
    """A series that should have had a point by `now_ns`; or, where `name` is "", `missing` of the `series` of an instance.

    Of several, `last_ns` is the newest of their points, the other numbers are those of `example`, the least probable.
    """

    instance: str
    name: str
    example: str
    last_ns: int
    step_ns: int
    allowed_ns: int
    now_ns: int
    p_value: float
    missing: int = 1
    series: int = 1


@dataclass(frozen=True, slots=True)
class _Missing:
    number: int
    entry: Entry
    seen: Seen

    @property
    def rank(self) -> tuple[float, str]:
        return self.seen.p_value, self.entry.name


class Absences:
    """Which series should have come. It knows the series in memory from `points` and `table`, the others from `directory`."""

    def __init__(self, directory: Directory, points: Points, table: SeriesTable) -> None:
        self._directory = directory
        self._points = points
        self._table = table
        self.pauses: dict[int, int] = {}  # bits of the length of a pause of the whole stream -> when the newest such one ended

    def first_look(self) -> int:
        """Nothing is to be done before the minute that ends at this time; 0 = nothing at all."""
        return self._directory.first_look()

    def paused(self, from_ns: int, to_ns: int) -> None:
        """The stream's watermark stepped: where that took more than a minute, the whole stream paused, and no series did."""
        if to_ns - from_ns > MINUTE_NS:
            self.pauses[(to_ns - from_ns).bit_length()] = to_ns

    def ended(self, number: int, at_ns: int) -> None:
        """A series said at `at_ns` that it ends: until its next point it is not missing."""
        entry = self._directory.entries[number]
        seen = self.seen(number)
        if seen.last_ns <= at_ns:
            entry.settled_ns = seen.last_ns

    def look(self, closed_ns: int, received_ns: int, *, historical: bool) -> list[Absence]:
        """Look at the series that are to be looked at with the minute that ends at `closed_ns`; who is missing, once each."""
        missing: dict[str, list[_Missing]] = {}
        for number in self._directory.due(closed_ns):
            entry = self._directory.entries[number]
            seen = self.seen(number)
            self._learn(entry, seen)
            look_ns = 0
            if seen.due_ns and seen.last_ns != entry.settled_ns:
                due_ns = self._due(entry, seen)
                if closed_ns < due_ns:
                    look_ns = -(-due_ns // MINUTE_NS) * MINUTE_NS
                elif self._held(entry, received_ns, historical):
                    look_ns = closed_ns + MINUTE_NS
                else:
                    entry.settled_ns = seen.last_ns
                    missing.setdefault(entry.instance, []).append(_Missing(number, entry, seen))
            self._directory.look_again(number, look_ns)
        return _shortened([it for instance in sorted(missing) for it in self._told(instance, missing[instance], closed_ns)])

    def leave(self, number: int) -> None:
        """Note in the directory what is to be known of a series that is not in memory."""
        entry = self._directory.entries[number]
        entry.left = self.seen(number)

    def seen(self, number: int) -> Seen:
        """What is known of the points of a series, by that of its derived series which came last."""
        if number not in self._points:
            return self._directory.entries[number].left
        table = self._table
        derived = [own for own in self._points.derived(number) if own in table]
        if not derived:
            return NOTHING_SEEN
        own = max(derived, key=table.last_ns)
        last_ns, due_ns = table.last_ns(own), table.due_ns(own)
        p_value = table.gap_p_value(own, due_ns - last_ns) if due_ns else 1.0
        return Seen(last_ns, due_ns, table.step_ns(own), p_value, table.points(own))

    def _learn(self, entry: Entry, seen: Seen) -> None:
        self._directory.saw(entry, seen.points)
        if seen.last_ns != entry.looked_ns:
            entry.looked_ns, entry.suspect_ns = seen.last_ns, 0

    def _due(self, entry: Entry, seen: Seen) -> int:
        """From when on it is missing, by the event time of the stream."""
        allowed_ns = seen.due_ns - seen.last_ns
        return max(seen.last_ns + entry.lag_ns, self._resumed(allowed_ns)) + allowed_ns

    def _resumed(self, span_ns: int) -> int:
        """When the newest pause of the whole stream ended that lasted at least about half as long as `span_ns`."""
        if not self.pauses:
            return 0
        bits = span_ns.bit_length()
        return max((end_ns for length, end_ns in self.pauses.items() if length >= bits), default=0)

    def _held(self, entry: Entry, received_ns: int, historical: bool) -> bool:
        if historical:
            return False
        entry.suspect_ns = entry.suspect_ns or received_ns
        return received_ns - entry.suspect_ns < HOLD_NS

    def _told(self, instance: str, missing: Sequence[_Missing], closed_ns: int) -> Iterator[Absence]:
        """One absence each, or one for all where most of the instance's series are quiet."""
        known = {it.number for it in missing}
        quiet, spoke, undue = self._others(instance, missing, known, closed_ns)
        most = len(missing) + len(quiet) > spoke and len(missing) + len(quiet) > 1
        if not most and len(missing) <= SINGLE_MAX:
            for it in sorted(missing, key=lambda it: (it.entry.name, it.number)):
                yield _absence(it, it.entry.name, closed_ns)
            return
        first = min(missing, key=lambda it: it.rank)
        for other in quiet if most else ():
            other.entry.settled_ns = other.seen.last_ns
        for other in undue if most and not spoke else ():  # that they stay away too will be no news
            other.entry.settled_ns = other.seen.last_ns
        every = [*missing, *quiet]
        yield _absence(
            first,
            "",
            closed_ns,
            last_ns=max(it.seen.last_ns for it in (every if most else missing)),
            missing=len(every if most else missing),
            series=len(every) + spoke,
        )

    def _others(
        self, instance: str, missing: Sequence[_Missing], known: set[int], closed_ns: int
    ) -> tuple[list[_Missing], int, list[_Missing]]:
        """Series of the instance that are quiet too, how many have spoken since, and those that did not have to have come."""
        since_ns = max(it.seen.last_ns + TURNS * it.seen.step_ns for it in missing)
        spoke = 0
        quiet: list[_Missing] = []
        undue: list[_Missing] = []
        for number in self._directory.of_instance(instance):
            if number in known:
                continue
            entry = self._directory.entries[number]
            seen = self.seen(number)
            if not seen.step_ns or seen.last_ns == entry.settled_ns:
                continue
            if seen.last_ns >= since_ns:
                spoke += 1
            else:
                late = closed_ns - seen.last_ns - entry.lag_ns >= TURNS * seen.step_ns
                (quiet if late else undue).append(_Missing(number, entry, seen))
        return quiet, spoke, undue


def _shortened(absences: list[Absence]) -> list[Absence]:
    """The least probable ones, and one that counts the series of the rest, of whatever instances they are."""
    if len(absences) <= ABSENCES_MAX:
        return absences
    ranked = sorted(absences, key=lambda it: (it.p_value, it.instance, it.name, it.example))
    rest = ranked[ABSENCES_MAX:]
    return [
        *sorted(ranked[:ABSENCES_MAX], key=lambda it: (it.instance, it.name)),
        replace(
            rest[0],
            instance="",
            name="",
            last_ns=max(it.last_ns for it in rest),
            missing=sum(it.missing for it in rest),
            series=sum(it.series for it in rest),
        ),
    ]


def _absence(it: _Missing, name: str, now_ns: int, *, last_ns: int | None = None, missing: int = 1, series: int = 1) -> Absence:
    return Absence(
        instance=it.entry.instance,
        name=name,
        example=it.entry.name,
        last_ns=it.seen.last_ns if last_ns is None else last_ns,
        step_ns=it.seen.step_ns,
        allowed_ns=it.seen.due_ns - it.seen.last_ns,
        now_ns=now_ns,
        p_value=it.seen.p_value,
        missing=missing,
        series=series,
    )
