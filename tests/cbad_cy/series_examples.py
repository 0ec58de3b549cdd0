"""Series that the tests of the numeric coder are fed, and ways to feed them."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable

from cbad_cy.series import Feed, SeriesTable

SECOND_NS = 10**9
STEP_NS = 300 * SECOND_NS
START_NS = 1_700_000_000 * SECOND_NS


def times(count: int, step_ns: int = STEP_NS, start_ns: int = START_NS) -> list[int]:
    """At equal distances."""
    return [start_ns + i * step_ns for i in range(count)]


def feed(table: SeriesTable, values: list[float], *, series: int = 1, at: list[int] | None = None) -> Feed:
    """One series into a table, watched; by default a point every five minutes after the last one."""
    start_ns = table.last_ns(series) + STEP_NS if series in table else START_NS
    at = times(len(values), start_ns=start_ns) if at is None else at
    return table.feed(array("Q", [series] * len(values)), array("Q", at), array("d", values), watch=True)


def constant(rng: random.Random, count: int) -> list[float]:
    return [12.5] * (count - 40) + [12.5 if rng.random() < 0.9 else 13.0 for _ in range(40)]


def noise(rng: random.Random, count: int) -> list[float]:
    return [rng.gauss(50, 3) for _ in range(count)]


def seasonal(rng: random.Random, count: int) -> list[float]:
    return [round(100 + 20 * math.sin(i / 288 * math.tau) + rng.gauss(0, 2), 2) for i in range(count)]


def spikes(rng: random.Random, count: int) -> list[float]:
    return [rng.gauss(5, 0.5) + (8 if rng.random() < 0.005 else 0) for _ in range(count)]


def shifts(rng: random.Random, count: int) -> list[float]:
    return [rng.gauss(10 + 6 * (i // 400 % 3), 1) for i in range(count)]


def heavy(rng: random.Random, count: int) -> list[float]:
    return [rng.paretovariate(1.2) for _ in range(count)]


def rates(rng: random.Random, count: int) -> list[float]:
    return [float(max(0, round(rng.gauss(3, 3)))) for _ in range(count)]


def standing(rng: random.Random, count: int) -> list[float]:
    return [7.0 if i % 600 > 500 else rng.gauss(7, 1) for i in range(count)]


def drifting(rng: random.Random, count: int) -> list[float]:
    return [1e9 + 4096 * i + 4096 * rng.randrange(9) for i in range(count)]


def growing(rng: random.Random, count: int) -> list[float]:
    return [10.0 ** (i * 600 / count - 300) * rng.choice([1, -1]) for i in range(count)]


EXAMPLES: dict[str, Callable[[random.Random, int], list[float]]] = {
    make.__name__: make for make in (constant, noise, seasonal, spikes, shifts, heavy, rates, standing, drifting, growing)
}
