"""What must not alarm, and what must be missed: new series, counters that start anew, series that stop sending."""

from array import array
from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from bench.metrics.ours import SERIES, watch
from bench.metrics.power import PROTOCOL
from bench.metrics.synthetic import DAY_POINTS, SECOND_NS, STEP_S, USUAL, usual
from bench.quality.figures import Figure
from bench.quality.measures import wilson
from cbad_cy.points import Points
from cbad_cy.series import SeriesTable
from driftlock.engine.event import PointKind

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
SEEDS, QUICK_SEEDS = 40, 5
NEW_POINTS = 300
RESET_POINTS = 3
AGE = 1000
SEED = 9


def figures(*, quick: bool) -> Iterator[Figure]:
    """All of it."""
    seeds = range(QUICK_SEEDS if quick else SEEDS)
    for base in USUAL:
        yield _new(base, seeds)
    yield from _resets(seeds)
    for name, jitter in (("regular", 0.0), ("jitter of a tenth", 0.1), ("irregular", -1.0)):
        yield from _gaps(name, jitter, seeds)


def _rng(*told: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((SEED, *told)))


def _new(base: str, seeds: Sequence[int]) -> Figure:
    """Share of series that alarm within their first points."""
    made = [usual(USUAL[base], NEW_POINTS, _rng(1, list(USUAL).index(base), seed)) for seed in seeds]
    share = sum(bool(watch(one.times_ns, one.values()).told.any()) for one in made) / len(made)
    about = (PROTOCOL, f"must stay silent: the first {NEW_POINTS} points of a new series", base, "driftlock")
    return Figure(*about, "alarmed, told as provisional", share, *wilson(share, len(made)), count=len(made))


def _resets(seeds: Sequence[int]) -> Iterator[Figure]:
    """A counter of about a hundred a minute that starts anew at `AGE`, with and without the time of its start told."""
    for base in ("white noise", "daily season"):
        for rule in ("start told", "start unknown"):
            found = [bool(watch(*_rates(base, seed, told=rule == "start told")).told[AGE:].any()) for seed in seeds]
            share = sum(found) / len(found)
            about = (PROTOCOL, "must stay silent: a counter starts anew", f"{base}, {rule}", "driftlock")
            yield Figure(*about, "alarmed", share, *wilson(share, len(found)), count=len(found))


def _rates(base: str, seed: int, *, told: bool) -> tuple[Integers, Floats]:
    """The rate that we make of the counter; the restart lies anywhere between two points."""
    rng = _rng(2, list(USUAL).index(base), seed)
    series = usual(USUAL[base], AGE + RESET_POINTS, rng)
    steps = np.maximum(0.0, np.round(series.values() / series.scale * 10))
    since = rng.uniform()
    steps[AGE] = round(steps[AGE] * since)
    counts = np.cumsum(steps)
    counts[AGE:] -= counts[AGE - 1]
    starts = np.zeros(len(steps), dtype=np.int64)
    if told:
        starts[:AGE] = series.times_ns[0] - STEP_S * SECOND_NS
        starts[AGE:] = series.times_ns[AGE] - int(since * STEP_S * SECOND_NS)
    empty = array("d")
    taken = Points(series_max=1).take(
        array("Q", [SERIES]) * len(counts),
        array("Q", series.times_ns.tobytes()),
        array("Q", starts.tobytes()),
        bytes([int(PointKind.CUMULATIVE)]) * len(counts),
        array("d", counts.tobytes()),
        empty,
        empty,
        array("I"),
        empty,
        empty,
    )
    return np.array(taken.times_ns, dtype=np.int64), np.array(taken.values)


def _gaps(name: str, jitter: float, seeds: Sequence[int]) -> Iterator[Figure]:
    """After how many steps of silence a series of `AGE` points counts as missing, and how often one that goes on would."""
    delays, false, points = [], 0, 0
    for seed in seeds:
        rng = _rng(4, seed)
        count = AGE + DAY_POINTS
        gaps = rng.exponential(1.0, count) if jitter < 0 else 1 + jitter * rng.uniform(-1, 1, count)
        times = (1_700_000_000 + np.cumsum(np.maximum(gaps, 0.01) * STEP_S)).astype(np.float64) * SECOND_NS
        table, values = SeriesTable(series_max=1), usual(USUAL["white noise"], count, rng).values()
        _feed(table, times[:AGE], values[:AGE])
        delays.append((table.due_ns(SERIES) - table.last_ns(SERIES)) / (STEP_S * SECOND_NS))
        for place in range(AGE, count):
            due = table.due_ns(SERIES)
            false += 0 < due < times[place]
            points += 1
            _feed(table, times[place : place + 1], values[place : place + 1])
    about = (PROTOCOL, "missing: a series stops sending", f"{name}, {STEP_S} s", "driftlock")
    told = [delay for delay in delays if delay > 0]
    yield Figure(*about, "steps until missing", float(median(told)) if told else np.nan, count=len(delays))
    yield Figure(*about, "share that can be missed", len(told) / len(delays), count=len(delays))
    yield Figure(*about, "false tellings a day", false / (points / DAY_POINTS), count=points)


def _feed(table: SeriesTable, times: Floats, values: Floats) -> None:
    stamps = times.astype(np.uint64)
    table.feed(array("Q", [SERIES]) * len(values), array("Q", stamps.tobytes()), array("d", values.tobytes()))
