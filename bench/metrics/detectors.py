"""Detectors of single series on the same points: the protocol, and the references that need nothing but numpy.

All are causal: the score of a point knows the points up to it. None sees a label.
"""

from math import erfc, sqrt
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Detector(Protocol):
    """Scores of one series' points, higher = stranger, finite; 0 where it has nothing to say yet."""

    @property
    def name(self) -> str:
        """As shown."""

    def scores(self, times_ns: Integers, values: Floats) -> Floats:
        """A score for each point, each series from a fresh start."""


def trailing(values: Floats, window: int, step: int = 1) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the (at most) `window` values before each point; 0 and 0 for the first.

    A full window moves on by `step` values when that many came. Sums are of differences from the first value in extended
    precision, so that a constant stretch has deviation 0 up to its last bits.
    """
    moved = values.astype(np.longdouble) - values[0]
    sums = np.concatenate(([np.longdouble(0)], np.cumsum(moved)))
    squares = np.concatenate(([np.longdouble(0)], np.cumsum(moved * moved)))
    ends = np.arange(len(values))
    begins = np.maximum(0, (ends - window) // step * step)
    ends = np.minimum(ends, begins + window)
    counts = np.maximum(1, ends - begins)
    means = (sums[ends] - sums[begins]) / counts
    variances = (squares[ends] - squares[begins]) / counts - means * means
    means += values[0]
    means[0] = 0
    return means.astype(np.float64), np.sqrt(np.maximum(variances, 0)).astype(np.float64)


class RollingZ:
    """Distance from the mean of the last 288 values in their standard deviations, at least 1e-6 of the mean."""

    name = "rolling z"
    silent_points = 10

    def __init__(self, window: int = 288) -> None:
        self.window = window

    def scores(self, times_ns: Integers, values: Floats) -> Floats:  # noqa: ARG002
        """See `Detector`."""
        means, deviations = trailing(values, self.window)
        found = np.abs(values - means) / np.maximum(deviations, 1e-6 * np.abs(means) + 1e-12)
        found[: self.silent_points] = 0.0
        return found


class WindowedGaussian:
    """NAB's baseline: 1 - Q(|z|), a normal law fitted to the last 6,400 values; NAB chose the window by its labels."""

    name = "windowed Gaussian"

    def __init__(self, window: int = 6400, step: int = 100) -> None:
        self.window, self.step = window, step

    def _z(self, values: Floats) -> Floats:
        means, deviations = trailing(values, self.window, self.step)
        found: Floats = np.abs(values - means) / np.where(deviations == 0, 1e-6, deviations)
        found[0] = 0.0
        return found

    def scores(self, times_ns: Integers, values: Floats) -> Floats:  # noqa: ARG002
        """See `Detector`."""
        found = np.array([1 - 0.5 * erfc(z / sqrt(2)) for z in self._z(values).tolist()])
        found[0] = 0.0
        return found

    def p_values(self, times_ns: Integers, values: Floats) -> Floats:  # noqa: ARG002
        """Two-sided tail probability of each point."""
        return np.array([erfc(z / sqrt(2)) for z in self._z(values).tolist()])
