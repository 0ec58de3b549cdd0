"""Other people's streaming detectors, on shingles of the last four values; both random with a fixed seed.

Their parameters are the usual ones except where their cost forbids it, which the docstrings say.
"""

import importlib.util
import sys
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
SHINGLE = 4
SEED = 1


TREES_VERSION = "river 0.26.1, 25 trees, height 8, window 250, shingle 4, seed 1"
FOREST_VERSION = "rrcf 0.4.4, 10 trees, 256 points, shingle 4, seed 1"


def shingles(values: Floats) -> Floats:
    """Each value with the three before it; the first value stands in for those that were not.

    >>> shingles(np.array([1.0, 2.0])).tolist()
    [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 2.0]]
    """
    padded = np.concatenate((np.full(SHINGLE - 1, values[0]), values))
    return np.ascontiguousarray(sliding_window_view(padded, SHINGLE))


class HalfSpaceTrees:
    """River's half-space trees (Tan, Ting & Liu 2011): 25 of height 8, windows of 250, values scaled by the range so far."""

    name = "half-space trees"

    def __init__(self, trees: int = 25, height: int = 8, window: int = 250) -> None:
        self._shape = (trees, height, window)

    def scores(self, times_ns: Integers, values: Floats) -> Floats:  # noqa: ARG002
        """See `bench.metrics.detectors.Detector`; points of the first window score 0."""
        from river.anomaly import HalfSpaceTrees as Trees

        count, height, window = self._shape
        forest: Any = Trees(n_trees=count, height=height, window_size=window, seed=SEED)
        low, high = np.minimum.accumulate(values), np.maximum.accumulate(values)
        scaled = (shingles(values) - low[:, None]) / np.where(high > low, high - low, 1.0)[:, None]
        found = np.zeros(len(values))
        for place, row in enumerate(scaled.tolist()):
            features = {str(lag): value for lag, value in enumerate(row)}
            if place >= window:
                found[place] = forest.score_one(features)
            forest.learn_one(features)
        return found


class CutForest:
    """Robust random cut forest of `rrcf` (Guha et al. 2016): 10 trees of the last 256 points, score = displacement.

    40 trees and more are usual, at about 130 points a second; 10 are what a whole benchmark can afford.
    """

    name = "rrcf"

    def __init__(self, trees: int = 10, points: int = 256) -> None:
        self._trees, self._points = trees, points

    def scores(self, times_ns: Integers, values: Floats) -> Floats:  # noqa: ARG002
        """See `bench.metrics.detectors.Detector`; the first 50 points score 0."""
        source = _rrcf()
        forest = [source.RCTree(random_state=SEED + number) for number in range(self._trees)]
        found = np.zeros(len(values))
        for place, row in enumerate(shingles(values)):
            for tree in forest:
                if place >= self._points:
                    tree.forget_point(place - self._points)
                tree.insert_point(row, index=place)
            if place >= 50:
                found[place] = sum(tree.codisp(place) for tree in islice(forest, self._trees)) / self._trees
        return found


def _rrcf() -> ModuleType:
    """The module of trees alone: the package around it asks for `pkg_resources`, which setuptools no longer has."""
    if "rrcf_trees" not in sys.modules:
        package = importlib.util.find_spec("rrcf")
        if package is None or not package.submodule_search_locations:
            raise ModuleNotFoundError("rrcf is not installed: pip install --group bench")
        spec = importlib.util.spec_from_file_location("rrcf_trees", Path(package.submodule_search_locations[0]) / "rrcf.py")
        if spec is None or spec.loader is None:
            raise ModuleNotFoundError("rrcf holds no rrcf.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules["rrcf_trees"] = module
    return sys.modules["rrcf_trees"]
