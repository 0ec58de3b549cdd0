"""Which lines of a window a finding is about: from the code length of each event to groups that are named together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from driftlock.engine.verdict import InstanceShare, MissingLine
from driftlock.engine.window import Event

DEAR_BITS = 6.0
"""A token, a value or a line says something when it costs at least so many bits more than usual."""

MISSING_MAX = 3
INSTANCES_MAX = 10


@dataclass(frozen=True, slots=True)
class Suspect:
    """Events that are named as one: their `places`, the `dearest` of them, their bits above usual, and is the form `new`."""

    form: bytes
    places: tuple[int, ...]
    dearest: int
    excess: float
    new: bool


def by_form(events: Sequence[Event], places: Iterable[int] | None = None) -> dict[bytes, list[int]]:
    """Places (of all events, or of `places`) by masked form, in the order of first appearance."""
    groups: dict[bytes, list[int]] = {}
    for place in range(len(events)) if places is None else places:
        groups.setdefault(events[place].masked, []).append(place)
    return groups


def above_usual(events: Sequence[Event], bits: Sequence[float], baseline: Mapping[bytes, int]) -> list[float]:
    """Bits of each event above the median of those whose form the baseline holds; 0 for the others.

    New forms have no say in what is usual, so a window that is new for the most part does not pass for the usual one.
    """
    middle = median([cost for event, cost in zip(events, bits, strict=True) if event.masked in baseline])
    return [max(0.0, cost - middle) for cost in bits]


def median(numbers: Sequence[float]) -> float:
    """The lower median; 0 of nothing."""
    return sorted(numbers)[(len(numbers) - 1) // 2] if numbers else 0.0


def dear(groups: Mapping[bytes, Sequence[int]], excess: Sequence[float], baseline: Mapping[bytes, int]) -> list[Suspect]:
    """Those of the groups (form -> places) that cost much more than the window's usual line, most excess bits first.

    `excess` are the bits above usual of all events of the window.

    Of a form that the baseline holds only the dear events are named (a value was unusual); of a new form all are, because
    only the first is dear once the coder has learned it.
    """
    found = []
    for form, members in groups.items():
        new = form not in baseline
        places = [place for place in members if excess[place] >= DEAR_BITS]
        if places and new:
            places = list(members)
        if places:
            dearest = max(places, key=lambda place: (excess[place], -place))
            found.append(Suspect(form, tuple(places), dearest, sum(excess[place] for place in places), new))
    return sorted(found, key=lambda suspect: (-suspect.excess, suspect.places[0]))


def surplus(places: Sequence[int], observed: float, expected: float) -> list[int]:
    """Of places at which a line came, so many of the newest as came beyond the usual share; at least one if there are any."""
    usual = int(len(places) * expected / observed) if observed > expected else 0
    return list(places[min(usual, len(places) - 1) :]) if places else []


def grown(observed: float, expected: float) -> bool:
    """Whether a line came far more often than `expected`: by more than three times sqrt(expected), see `displaced`.

    >>> grown(9, 3.3), grown(20, 17.0), grown(1, 0.0)
    (True, False, True)
    """
    return observed - expected > 3 * sqrt(expected)


def distinct(baseline: Mapping[bytes, int], events: int) -> float:
    """How many different lines so many events of the baseline have, drawn independently; 0 = nothing is known.

    >>> round(distinct({b"a": 50, b"b": 50, b"c": 0}, 50), 3), distinct({}, 50)
    (2.0, 0.0)
    """
    lines = sum(baseline.values())
    return sum(1.0 - (1.0 - count / lines) ** events for count in baseline.values()) if lines else 0.0


def displaced(groups: Mapping[bytes, Sequence[int]], events: int, baseline: Mapping[bytes, int]) -> list[MissingLine]:
    """Usual lines that came far more seldom than their share of the baseline: by at least three times sqrt(expected).

    Three standard deviations of a count that is as regular as chance (Poisson); lines that come in bursts vary more, so this
    is evidence for a person and no test. The most displaced first, at most `MISSING_MAX`.
    """
    lines = sum(baseline.values())
    found = []
    for form, count in baseline.items():
        expected = count * events / lines if lines else 0.0
        observed = len(groups.get(form, ()))
        if expected - observed >= 3 * sqrt(expected) > 0:
            found.append((expected - observed, form, MissingLine(as_text(form), expected, float(observed), events)))
    found.sort(key=lambda it: (-it[0], it[1]))
    return [missing for _, _, missing in found[:MISSING_MAX]]


def instances(events: Sequence[Event], named: Sequence[int]) -> tuple[InstanceShare, ...]:
    """Who said the named events, most of them first, at most `INSTANCES_MAX`; nothing where nobody is told apart."""
    whole: dict[str, int] = {}
    for event in events:
        whole[event.instance] = whole.get(event.instance, 0) + 1
    said: dict[str, int] = {}
    for place in named:
        said[events[place].instance] = said.get(events[place].instance, 0) + 1
    order = sorted((name for name in said if name), key=lambda name: (-said[name], name))
    return tuple(InstanceShare(name, whole[name], said[name]) for name in order[:INSTANCES_MAX])


def as_text(line: bytes) -> str:
    """A line as it is shown."""
    return line.decode("utf-8", "replace")
