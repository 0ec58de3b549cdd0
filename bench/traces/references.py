"""Simple rules that people write first, beside which ours stands: new operation paths, latency z-scores, error rates.

Each looks at calls in the order in which they end and gives every call a value; where it reaches the rule's threshold it
alarms, and alarms at most five minutes apart are one incident. They wait for nothing: neither for whole traces nor for the end
of a minute.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.traces.records import Naming, Opened
from driftlock.engine.correlation.stories import JOIN_NS

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
LATENCY_CALLS, ERROR_CALLS = 10, 50
LEARN_CALLS = 100
Z = 6.0
"""The threshold of a z-score where nothing else is known: textbooks say 3, of one number. Chosen without labels."""


class Calls(NamedTuple):
    """A stretch of calls by their ends. `path` numbers the chain of operations from the root; every column has one a call."""

    operation: Integers
    service: Integers
    path: Integers
    error: Mask
    end_ns: Integers
    duration_ns: Integers

    def picked(self, rows: Integers) -> "Calls":
        """Some of them, in that order."""
        return Calls(
            self.operation[rows],
            self.service[rows],
            self.path[rows],
            self.error[rows],
            self.end_ns[rows],
            self.duration_ns[rows],
        )


class Reference(Protocol):
    """A rule; `values` has to be given all stretches of a run in their order."""

    @property
    def name(self) -> str:
        """As tables show it."""
        ...

    @property
    def threshold(self) -> float:
        """Where it alarms if nobody chooses another one."""
        ...

    def values(self, calls: Calls) -> Floats:
        """Of each call, by calls before it and the call itself; 0 = nothing odd."""
        ...


def paths(operation: Integers, parent: Integers) -> Integers:
    """A number of each call's chain of operations; `parent` is the index of the caller, -1 for a root.

    Numbers are hashes of 63 bits, so that they mean the same in every stretch.
    """
    found = np.zeros(len(operation), np.uint64)
    level = np.flatnonzero(parent < 0)
    above = np.zeros(len(level), np.uint64)
    done = np.zeros(len(operation), bool)
    while len(level):
        found[level] = _mixed(above * np.uint64(31) + operation[level].astype(np.uint64) + np.uint64(1))
        done[level] = True
        level = np.flatnonzero(~done & (parent >= 0) & done[parent])
        above = found[parent[level]]
    return (found >> np.uint64(1)).astype(np.int64)


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


class NewPaths:
    """Calls on a chain of operations that no earlier stretch had, counted within the stretch."""

    name, threshold = "new operation path", 1.0

    def __init__(self) -> None:
        self._known = np.zeros(0, np.int64)

    def values(self, calls: Calls) -> Floats:
        """See `Reference`. The first stretch only teaches."""
        fresh = ~np.isin(calls.path, self._known) if len(self._known) else np.zeros(len(calls.path), bool)
        self._known = np.union1d(self._known, calls.path)
        return np.where(fresh, np.cumsum(fresh), 0).astype(np.float64)


@dataclass(slots=True)
class _Past:
    """What earlier stretches say of one operation, and its newest calls."""

    count: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    newest: Floats = field(default_factory=lambda: np.zeros(0))


class _Moving:
    """The mean of an operation's last `size` calls against its past, in standard deviations of such a mean.

    `number` is what is looked at of each call, `floor` a variance that every operation has at least.
    """

    def __init__(self, name: str, size: int, number: Callable[[Calls], Floats], floor: float) -> None:
        self.name, self.threshold = name, Z
        self._size, self._number, self._floor = size, number, floor
        self._pasts: dict[int, _Past] = {}

    def values(self, calls: Calls) -> Floats:
        """See `Reference`."""
        numbers, found = self._number(calls), np.zeros(len(calls.operation))
        order = np.argsort(calls.operation, kind="stable")
        starts = np.flatnonzero(np.diff(calls.operation[order], prepend=-1))
        for rows in np.split(order, starts[1:]) if len(order) else []:
            past = self._pasts.setdefault(int(calls.operation[rows[0]]), _Past())
            found[rows] = self._judged(past, numbers[rows])
        return found

    def _judged(self, past: _Past, numbers: Floats) -> Floats:
        moving = np.concatenate((past.newest, numbers))
        sums = np.cumsum(np.concatenate(([0.0], moving)))
        found = np.zeros(len(numbers))
        if past.count >= LEARN_CALLS and len(moving) >= self._size:
            means = (sums[self._size :] - sums[: -self._size]) / self._size
            usual = past.total / past.count
            spread = np.sqrt(max(past.squares / past.count - usual * usual, 0.0) + self._floor)
            judged = (means - usual) / spread * np.sqrt(self._size)
            found[-len(judged) :] = judged[-len(numbers) :]
        past.newest = moving[-(self._size - 1) :]
        past.count, past.total, past.squares = (
            past.count + len(numbers),
            past.total + float(numbers.sum()),
            past.squares + float((numbers * numbers).sum()),
        )
        return np.maximum(found, 0.0)


def latency_z() -> Reference:
    """Mean log-duration of an operation's last ten calls."""
    name = f"latency z of {LATENCY_CALLS} calls"
    return _Moving(name, LATENCY_CALLS, lambda calls: np.log(np.maximum(calls.duration_ns, 1000) / 1e9), 1e-4)


def error_rate() -> Reference:
    """Share of errors among an operation's last fifty calls; as much spread as one error in fifty makes is always allowed."""
    name = f"error rate of {ERROR_CALLS} calls"
    return _Moving(name, ERROR_CALLS, lambda calls: calls.error.astype(np.float64), 1.0 / ERROR_CALLS)


def references() -> list[Reference]:
    """All of them, each without a past."""
    return [NewPaths(), latency_z(), error_rate()]


class Alarms:
    """Incidents of one rule's alarms while stretches go by."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = services
        self.opened: list[Opened] = []
        self._last_ns = 0
        self._counts: dict[int, int] = {}

    def take(self, calls: Calls, values: Floats, threshold: float) -> None:
        """Alarm where values reach the threshold."""
        for index in np.flatnonzero(values >= threshold).tolist():
            self._take(int(calls.end_ns[index]), int(calls.service[index]))

    def _take(self, time_ns: int, service: int) -> None:
        if not self.opened or time_ns - self._last_ns > JOIN_NS:
            self.opened.append(Opened(time_ns, time_ns, []))
            self._counts = {}
        self._last_ns = time_ns
        before = set(self._counts)
        self._counts[service] = self._counts.get(service, 0) + 1
        culprit = max(self._counts, key=lambda it: (self._counts[it], -it))
        last = self.opened[-1].named[-1].culprit if self.opened[-1].named else ""
        if service not in before or self._services[culprit] != last:
            named = frozenset(self._services[it] for it in self._counts)
            self.opened[-1].named.append(Naming(time_ns, time_ns, self._services[culprit], named))


def highest(values: Iterable[Floats]) -> float:
    """A threshold that all of these stay below: what a rule needs to be silent on traffic where nothing happens."""
    return float(np.nextafter(max((float(it.max(initial=0.0)) for it in values), default=0.0), np.inf))
