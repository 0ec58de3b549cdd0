"""Series made to measure: what is usual, and what changes in it at a known point. Equal seeds give equal series.

Values are level + season + noise, times any scale; sigma is the standard deviation of the noise; a point every 5 minutes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Noise = Callable[[np.random.Generator, int], NDArray[np.floating]]
STEP_S = 300
DAY_POINTS = 288
SECOND_NS = 10**9
FIRST_S = 1_700_000_100
LEVEL_SIGMAS = 50.0
CORRELATION = 0.8


@dataclass(frozen=True, slots=True)
class Base:
    """What is usual: noise, amplitude of the day's curve in sigma (least, most), and what a weekend keeps of it."""

    noise: str
    season: tuple[float, float] = (0.0, 0.0)
    weekend: float = 1.0


BASES: Mapping[str, Base] = {
    "white noise": Base("white"),
    "correlated noise": Base("correlated"),
    "daily season": Base("white", (3.0, 8.0)),
    "weekly season": Base("white", (3.0, 8.0), 0.4),
}
USUAL: Mapping[str, Base] = {
    **BASES,
    "heavy tails": Base("heavy"),
    "counts": Base("counts"),
    "skewed": Base("skewed"),
}


def _correlated(rng: np.random.Generator, count: int) -> Floats:
    steps = rng.standard_normal(count) * np.sqrt(1 - CORRELATION**2)
    steps[0] /= np.sqrt(1 - CORRELATION**2)
    found = np.empty(count)
    last = 0.0
    for place, step in enumerate(steps.tolist()):
        last = found[place] = CORRELATION * last + step
    return found


NOISES: Mapping[str, Noise] = {
    "white": lambda rng, count: rng.standard_normal(count),
    "correlated": _correlated,
    "heavy": lambda rng, count: rng.standard_t(3, count) / np.sqrt(3.0),
    "counts": lambda rng, count: (rng.poisson(4.0, count) - 4.0) / 2.0,
    "skewed": lambda rng, count: (rng.lognormal(0.0, 1.0, count) - np.exp(0.5)) / np.sqrt(np.e * (np.e - 1)),
}


@dataclass(frozen=True, slots=True)
class Usual:
    """A series before anything happens to it: times, noise and season in sigma, and the scale of its values."""

    times_ns: Integers
    noise: Floats
    season: Floats
    scale: float

    def values(self, noise: Floats | None = None, season: Floats | None = None) -> Floats:
        """As observed, with other noise or season if given."""
        noise = self.noise if noise is None else noise
        season = self.season if season is None else season
        return (LEVEL_SIGMAS + noise + season) * self.scale


def usual(base: Base, count: int, rng: np.random.Generator) -> Usual:
    """`count` points of a base: phase, amplitude, weekday and scale by chance."""
    seconds = FIRST_S + STEP_S * (int(rng.integers(0, 7 * DAY_POINTS)) + np.arange(count))
    turn = (seconds / 86400 + rng.uniform()) * 2 * np.pi
    curve = rng.uniform(*base.season) * (np.sin(turn) + 0.35 * np.sin(2 * turn + rng.uniform(0, 2 * np.pi)))
    curve *= np.where((seconds // 86400) % 7 >= 5, base.weekend, 1.0)
    return Usual(
        seconds * SECOND_NS, NOISES[base.noise](rng, count).astype(np.float64), curve, float(10.0 ** rng.integers(-2, 5))
    )


def _spike(series: Usual, start: int, sign: float) -> Floats:
    noise = series.noise.copy()
    noise[start] += 6 * sign
    return series.values(noise)


def _shift(sigmas: float) -> Callable[[Usual, int, float], Floats]:
    def change(series: Usual, start: int, sign: float) -> Floats:
        noise = series.noise.copy()
        noise[start:] += sigmas * sign
        return series.values(noise)

    return change


def _drift(series: Usual, start: int, sign: float) -> Floats:
    noise = series.noise.copy()
    noise[start:] += sign * 9.0 / DAY_POINTS * np.arange(len(noise) - start)
    return series.values(noise)


def _spread(factor: float) -> Callable[[Usual, int, float], Floats]:
    def change(series: Usual, start: int, sign: float) -> Floats:  # noqa: ARG001
        noise = series.noise.copy()
        noise[start:] *= factor
        return series.values(noise)

    return change


def _season_break(series: Usual, start: int, sign: float) -> Floats:  # noqa: ARG001
    season = series.season.copy()
    season[start:] = series.season[start - DAY_POINTS // 2 : len(season) - DAY_POINTS // 2]
    return series.values(season=season)


def _flatline(series: Usual, start: int, sign: float) -> Floats:  # noqa: ARG001
    values = series.values()
    values[start:] = values[start - 1]
    return values


def _nothing(series: Usual, start: int, sign: float) -> Floats:  # noqa: ARG001
    return series.values()


@dataclass(frozen=True, slots=True)
class Change:
    """What happens from the start on, and within how many points an alarm counts as finding it."""

    points: int
    make: Callable[[Usual, int, float], Floats]
    seasonal: bool = False  # only where there is a season, and a day of it


CHANGES: Mapping[str, Change] = {
    "nothing": Change(DAY_POINTS, _nothing),
    "spike 6 sigma": Change(3, _spike),
    "shift 3 sigma": Change(60, _shift(3.0)),
    "shift 5 sigma": Change(60, _shift(5.0)),
    "drift 9 sigma a day": Change(DAY_POINTS, _drift),
    "variance x4": Change(144, _spread(2.0)),
    "season moved by 12 h": Change(144, _season_break, seasonal=True),
    "flatline": Change(48, _flatline),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One series with one change at place `start`; only alarms at `start` and later, before the end, concern it."""

    times_ns: Integers
    values: Floats
    start: int


def case(base: str, change: str, age: int, seed: int) -> Case:
    """A case: `age` points of what is usual, then the change. Bases, changes, ages and seeds draw independent series."""
    told = (list(USUAL).index(base), list(CHANGES).index(change), age, seed)
    rng = np.random.default_rng(np.random.SeedSequence(told))
    series = usual(USUAL[base], age + CHANGES[change].points, rng)
    return Case(series.times_ns, CHANGES[change].make(series, age, float(rng.choice([-1.0, 1.0]))), age)


def applies(base: str, change: str, age: int) -> bool:
    """Whether the change can happen to the base at this age."""
    return not CHANGES[change].seasonal or (USUAL[base].season[1] > 0 and age > DAY_POINTS)
