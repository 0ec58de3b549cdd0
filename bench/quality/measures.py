"""Thresholds, F1, and intervals that respect dependence. Pure functions; randomness comes from the seed given."""

import math
import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CONFIDENCE = 0.95


def threshold_at(normal: Sequence[float], rate: float) -> float:
    """The conformal threshold: score > threshold holds for a new exchangeable normal score with probability <= rate.

    It is the ceil((n + 1)(1 - rate))-th smallest of the n normal scores (Vovk et al. 2005), and infinite when n is too small
    for the rate.

    >>> threshold_at(list(range(99)), 0.01)
    98
    >>> threshold_at(list(range(98)), 0.01)
    inf
    """
    ordered = sorted(normal)
    place = math.ceil((len(ordered) + 1) * (1 - rate) - 1e-9)
    return ordered[place - 1] if place <= len(ordered) else math.inf


def empirical_threshold(scores: Sequence[float], rate: float) -> float:
    """The least threshold that at most a share `rate` of `scores` exceeds.

    >>> empirical_threshold([1, 2, 3, 4], 0.25)
    3
    """
    ordered = sorted(scores)
    return ordered[len(ordered) - 1 - math.floor(rate * len(ordered))]


def f1(hits: float, false: float, anomalies: float) -> float:
    """F1 of `hits` true and `false` wrong alarms when there are `anomalies`; 0 when there is nothing to find or nothing found.

    >>> f1(8, 2, 10)
    0.8
    """
    return 2 * hits / (hits + false + anomalies) if hits else 0.0


class Ranking:
    """Labelled scores (higher = stranger), sorted once, so that any reweighting of them can be measured quickly."""

    def __init__(self, scores: Sequence[float], labels: Sequence[int]) -> None:
        values = np.asarray(scores, dtype=np.float64)
        self._order = np.argsort(-values, kind="stable")
        self._values = values[self._order]
        self._labels = np.asarray(labels, dtype=np.float64)[self._order]
        self._ends = np.flatnonzero(np.append(self._values[1:] != self._values[:-1], True))  # last place of each distinct score

    def _sums(self, weights: Floats | None) -> tuple[Floats, Floats]:
        """Weighted anomalies and normals with at least each distinct score."""
        weight = np.ones(len(self._values)) if weights is None else weights[self._order]
        hits, false = np.cumsum(weight * self._labels), np.cumsum(weight * (1 - self._labels))
        return hits[self._ends], false[self._ends]

    def best_f1(self, weights: Floats | None = None) -> float:
        """F1 at the threshold that is best for these labels: an upper limit that nobody reaches without them."""
        hits, false = self._sums(weights)
        return float(np.max(2 * hits / np.maximum(hits + false + hits[-1], 1e-12)))

    def auroc(self, weights: Floats | None = None) -> float:
        """Probability that an anomaly has a higher score than a normal one; ties count half."""
        hits, false = (np.concatenate(([0.0], part)) for part in self._sums(weights))
        area = np.sum(np.diff(false) * (hits[1:] + hits[:-1]) / 2)
        return float(area / max(hits[-1] * false[-1], 1e-12))

    def at(self, threshold: float, weights: Floats | None = None) -> tuple[float, float]:
        """F1 and false-positive rate when scores above `threshold` alarm."""
        hits, false = self._sums(weights)
        above = int(np.count_nonzero(self._values[self._ends] > threshold))
        if not above:
            return 0.0, 0.0
        return f1(float(hits[above - 1]), float(false[above - 1]), float(hits[-1])), float(
            false[above - 1] / max(false[-1], 1e-12)
        )


def run_weights(count: int, run: int, draws: int, seed: int) -> list[Floats]:
    """Moving-block bootstrap: how often each of `count` items is drawn when runs of `run` neighbours are drawn (Kunsch 1989).

    Neighbours stay together, so what they share (a burst, a fault that hit many) widens the interval as it should.
    """
    rng, run = np.random.default_rng(seed), max(1, min(run, count))
    drawn = []
    for _ in range(draws):
        starts = rng.integers(0, count - run + 1, size=math.ceil(count / run))
        marks = np.zeros(count + 1)
        np.add.at(marks, starts, 1)
        np.add.at(marks, starts + run, -1)
        drawn.append(np.cumsum(marks)[:count])
    return drawn


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The middle 95 % of bootstrap values."""
    low, high = np.quantile(np.asarray(values), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def stratified_recall(found: Sequence[Sequence[bool]], draws: int, seed: int) -> tuple[float, float, float]:
    """Share of positions found, with its 95 % interval: positions are drawn anew within their stream, as they were chosen.

    Where the bootstrap is degenerate (all found, or none) the interval is Wilson's (1927).
    """
    groups = [np.asarray(group, dtype=np.float64) for group in found if len(group)]
    count = sum(map(len, groups))
    if not count:
        return math.nan, math.nan, math.nan
    share = float(sum(group.sum() for group in groups) / count)
    if share in (0.0, 1.0):
        return share, *wilson(share, count)
    rng = np.random.default_rng(seed)
    sums = sum(rng.choice(group, (draws, len(group))).sum(axis=1) for group in groups)
    return share, *interval(sums / count)


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion.

    >>> [round(bound, 3) for bound in wilson(1.0, 100)]
    [0.963, 1.0]
    """
    z = 1.959964
    middle, spread = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def incident_sizes(alarms: Sequence[bool], gap: int) -> list[int]:
    """Alarmed windows in each incident: alarms at most `gap` windows apart belong together.

    >>> incident_sizes([True, False, True, False, False, False, True], 2)
    [2, 1]
    """
    sizes: list[int] = []
    last = -gap - 1
    for number, alarm in enumerate(alarms):
        if alarm:
            if number - last > gap:
                sizes.append(0)
            sizes[-1] += 1
            last = number
    return sizes


def alarm_bound(sizes: Sequence[int], windows: int, pseudo_size: int, draws: int, seed: int) -> float:
    """One-sided 95 % upper bound of the true share of alarmed windows, from incidents instead of windows.

    Windows overlap and alarms come in runs, so incidents are taken as a compound Poisson process: the incident rate has
    Garwood's exact bound (Gamma(incidents + 1)), and the mean size is drawn by the Bayesian bootstrap from the sizes seen
    and one more of `pseudo_size` windows, without which "none seen" would promise "none ever". Incidents that depend on
    each other (a whole bad hour) make the true bound larger.
    """
    rng = random.Random(seed)
    bag = [*sizes, pseudo_size]
    shares = []
    for _ in range(draws):
        weights = [rng.expovariate(1) for _ in bag]
        size = sum(weight * value for weight, value in zip(weights, bag, strict=True)) / sum(weights)
        shares.append(rng.gammavariate(len(sizes) + 1, 1) * size / windows)
    return min(1.0, sorted(shares)[math.ceil(CONFIDENCE * draws) - 1])
