"""What scores of points are worth against labelled points: average precision, segments found, false alarm episodes.

Pure functions of arrays; scores are higher for stranger points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.quality.measures import interval

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
SILENCE_POINTS = 10
SHARE_LEAST, SHARE_MOST, SHARES = 1e-5, 0.3, 240  # shares of points above the thresholds that are tried


def average_precision(scores: Floats, labels: Integers) -> float:
    """Area under precision over recall as steps; equal scores enter together. Needs a label.

    >>> average_precision(np.array([3.0, 2.0, 1.0]), np.array([1, 0, 1]))
    0.8333333333333333
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum(labels[order])[ends]
    return float(np.sum(np.diff(hits, prepend=0) * hits / (ends + 1)) / hits[-1])


def segments(labels: Integers) -> list[tuple[int, int]]:
    """Runs of labelled points as (first, one past the last).

    >>> segments(np.array([1, 1, 0, 1]))
    [(0, 2), (3, 4)]
    """
    edges = np.diff(np.concatenate(([0], labels, [0])))
    begins, ends = np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist()
    return list(zip(begins, ends, strict=True))


def false_episodes(alarmed: Booleans, labels: Integers, silence: int = SILENCE_POINTS) -> int:
    """Alarmed points outside labels, where each, and each alarmed point inside, excuses those in the next `silence` points.

    >>> false_episodes(np.array([1, 1, 0, 1, 1], dtype=bool), np.array([0, 0, 0, 1, 0]), 2)
    1
    """
    count, last = 0, -silence - 1
    for place in np.flatnonzero(alarmed).tolist():
        if labels[place]:
            last = place
        elif place - last > silence:
            count, last = count + 1, place
    return count


@dataclass(frozen=True, slots=True)
class Recall:
    """One threshold for all series: segments found of all, with an interval from drawing series anew; false episodes a day."""

    share: float
    low: float
    high: float
    mean: float
    threshold: float
    false_a_day: float
    segments: int


def recall_at(
    alarmed: Sequence[Booleans], labels: Sequence[Integers], days: float, *, draws: int, seed: int, threshold: float
) -> Recall:
    """Segments with an alarmed point inside, for alarms that were decided already. `mean` is over series with labels."""
    found, total = _found(alarmed, labels)
    false = sum(false_episodes(alarm, label) for alarm, label in zip(alarmed, labels, strict=True))
    some = total > 0
    picked = np.random.default_rng(seed).integers(0, int(some.sum()), size=(draws, int(some.sum())))
    drawn = found[some][picked].sum(axis=1) / total[some][picked].sum(axis=1)
    low, high = interval(drawn)
    mean = float(np.mean(found[some] / total[some]))
    return Recall(float(found.sum() / total.sum()), low, high, mean, threshold, false / days, int(total.sum()))


def _found(alarmed: Sequence[Booleans], labels: Sequence[Integers]) -> tuple[Floats, Floats]:
    found, total = np.zeros(len(labels)), np.zeros(len(labels))
    for number, (alarm, label) in enumerate(zip(alarmed, labels, strict=True)):
        spans = segments(label)
        total[number] = len(spans)
        found[number] = sum(bool(alarm[a:b].any()) for a, b in spans)
    return found, total


def threshold_for(scores: Sequence[Floats], labels: Sequence[Integers], days: float, budget: float) -> float:
    """The lowest threshold tried at which there are at most `budget` false episodes a day and series; infinite if none is.

    Scores at 240 shares of all points, from 1e-5 to .3, are tried from the highest down until the budget is spent twice.
    """
    joined = np.sort(np.concatenate(list(scores)))
    places = len(joined) - np.ceil(np.geomspace(SHARE_LEAST, SHARE_MOST, SHARES) * len(joined)).astype(int)
    kept = np.inf
    for threshold in np.unique(joined[np.maximum(places, 0)])[::-1].tolist():
        false = sum(false_episodes(one >= threshold, label) for one, label in zip(scores, labels, strict=True))
        if false <= budget * days:
            kept = threshold
        elif false > 2 * budget * days:
            break
    return float(kept)


def mean_interval(values: Sequence[float], draws: int, seed: int) -> tuple[float, float, float]:
    """Mean with the 95 % interval of drawing the values anew."""
    numbers = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(seed).choice(numbers, (draws, len(numbers))).mean(axis=1)
    return float(numbers.mean()), *interval(drawn)


def share_interval(hits: Sequence[int], counts: Sequence[int], draws: int, seed: int) -> tuple[float, float, float]:
    """All hits over all counts with the 95 % interval of drawing the groups anew (points of one series hang together)."""
    hit, count = np.asarray(hits, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    picked = np.random.default_rng(seed).integers(0, len(hit), size=(draws, len(hit)))
    return float(hit.sum() / count.sum()), *interval(hit[picked].sum(axis=1) / count[picked].sum(axis=1))
