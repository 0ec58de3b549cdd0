"""Proof by removal: a window without the lines that are named should look normal, and without as many others it should not."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Without: TypeAlias = Callable[[frozenset[int]], float]
"""The p-value of a window judged without the events at these places (0 = its first), by the same reference as the window."""

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Proof:
    """p-values without the named events and without as many others; `verified`: the first is normal, the second is not."""

    p_without: float
    p_without_others: float
    verified: bool


def restoring(groups: Sequence[Sequence[int]], room: int, without: Without, alpha: float) -> int:
    """How many of the first groups of places it takes until the window without them is normal (p > `alpha`).

    0 when it does not become so with at most `room` places (the first group may be larger than that), or when the judge
    finds it normal as it is and so can not tell what restores it.
    """
    if without(frozenset()) > alpha:
        return 0
    taken: set[int] = set()
    for count, places in enumerate(groups, 1):
        taken.update(places)
        if count > 1 and len(taken) > room:
            break
        if without(frozenset(taken)) > alpha:
            return count
    return 0


def prove(named: Iterable[int], total: int, without: Without, alpha: float, seed: int) -> Proof:
    """Judge the window of `total` events without `named` and without as many of the others, drawn by `seed`.

    Where the others are fewer than the named, or nobody is named, the comparison says nothing: that is never `verified`.
    """
    taken = frozenset(named)
    if not taken:
        unchanged = without(taken)
        return Proof(unchanged, unchanged, verified=False)
    others = drawn([place for place in range(total) if place not in taken], len(taken), seed)
    p_without = without(taken) if len(taken) < total else 1.0
    p_others = without(frozenset(others))
    return Proof(p_without, p_others, verified=p_without > alpha >= p_others and len(others) == len(taken))


def drawn(places: Sequence[int], count: int, seed: int) -> list[int]:
    """`count` of `places`, or all: the same for the same seed on every machine.

    >>> drawn(range(10), 3, seed=1) == drawn(range(10), 3, seed=1), len(drawn(range(10), 30, seed=1))
    (True, 10)
    """
    return sorted(places, key=lambda place: _mixed(seed + (place + 1) * 0x9E3779B97F4A7C15))[:count]


def _mixed(number: int) -> int:
    """The output function of SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014."""
    number &= _MASK
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _MASK
    return number ^ number >> 31
