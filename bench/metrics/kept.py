"""Scores of slow reference detectors, kept between runs in `.cache/metrics`: they depend on nothing of ours.

A file's name is the detector's name, its parameters and the digest of the points, so that nothing stale is ever found.
"""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data import ROOT
from bench.metrics.detectors import Detector

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
FOLDER = ROOT / ".cache" / "metrics"


class Kept:
    """A detector whose scores are computed once for each series; `version` names everything they depend on but the points."""

    def __init__(self, detector: Detector, version: str, folder: Path = FOLDER) -> None:
        self._detector, self._version, self._folder = detector, version, folder

    @property
    def name(self) -> str:
        """As shown."""
        return self._detector.name

    def scores(self, times_ns: Integers, values: Floats) -> Floats:
        """See `bench.metrics.detectors.Detector`."""
        digest = hashlib.sha256(self._version.encode() + b"\0" + times_ns.tobytes() + values.tobytes()).hexdigest()[:32]
        path = self._folder / f"{self.name.replace(' ', '-')}-{digest}.npy"
        if path.exists():
            found: Floats = np.load(path)
            return found
        found = self._detector.scores(times_ns, values)
        self._folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        np.save(part, found)
        part.replace(path)
        return found
