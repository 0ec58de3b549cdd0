"""Memory a series and points a second of CPU time on one core, beside the references."""

import time
import tracemalloc
from array import array
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from zstandard import ZstdCompressor

from bench.metrics.detectors import Detector, RollingZ, WindowedGaussian
from bench.metrics.peers import CutForest, HalfSpaceTrees
from bench.metrics.synthetic import USUAL, usual
from bench.quality.figures import Figure
from cbad_cy.series import SERIES_BYTES, SeriesTable

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
PROTOCOL = "11 cost"
CONDITION = "one core, CPU time, best of three"
POINTS, QUICK_POINTS = 2_000_000, 200_000
STORED_AFTER = 5_000
SLOW_POINTS = {"half-space trees": 3_000, "rrcf": 600}
TRACED_POINTS = 400
ROUNDS = 3
SEED = 11


def figures(*, quick: bool) -> Iterator[Figure]:
    """Ours alone and interleaved, then the references on one series."""
    points = QUICK_POINTS if quick else POINTS
    for count in (1, 1000):
        about = (PROTOCOL, CONDITION, f"{count} series" if count > 1 else "1 series", "driftlock")
        yield Figure(*about, "points/s", max(_fed(points, count) for _ in range(ROUNDS)), count=points)
    about = (PROTOCOL, CONDITION, "1 series", "driftlock")
    yield Figure(*about, "bytes a series", float(SERIES_BYTES), count=1)
    stored = _stored()
    yield Figure(*about, "bytes stored", float(len(stored)), count=STORED_AFTER)
    yield Figure(*about, "bytes stored, zstd", float(len(ZstdCompressor().compress(stored))), count=STORED_AFTER)
    for detector in (RollingZ(), WindowedGaussian(), HalfSpaceTrees(), CutForest()):
        yield from _reference(detector, SLOW_POINTS.get(detector.name, QUICK_POINTS))


def _series(count: int) -> tuple[Integers, Floats]:
    series = usual(USUAL["weekly season"], count, np.random.default_rng(SEED))
    return series.times_ns, series.values()


def _fed(points: int, count: int) -> float:
    """Points/s through the batch entry point; `count` series take turns."""
    each = points // count
    times, values = (np.repeat(part, count) for part in _series(each))
    ids = array("Q", list(range(1, count + 1))) * each
    stamps, numbers = array("Q", times.tobytes()), array("d", values.tobytes())
    table = SeriesTable(series_max=count)
    begin = time.thread_time()
    table.feed(ids, stamps, numbers)
    return len(ids) / (time.thread_time() - begin)


def _stored() -> bytes:
    times, values = _series(STORED_AFTER)
    table = SeriesTable(series_max=1)
    table.feed(array("Q", [1]) * STORED_AFTER, array("Q", times.tobytes()), array("d", values.tobytes()))
    return table.parts(1)


def _reference(detector: Detector, points: int) -> Iterator[Figure]:
    """Points/s; memory is what Python and numpy hold at most while it runs, for those that keep state a point at a time."""
    times, values = _series(points)
    about = (PROTOCOL, CONDITION, "1 series", detector.name)
    begin = time.thread_time()
    detector.scores(times, values)
    yield Figure(*about, "points/s", points / (time.thread_time() - begin), count=points)
    window = getattr(detector, "window", None)
    if window is not None:
        yield Figure(*about, "bytes a series", float(8 * window), count=1)
        return
    tracemalloc.start()
    detector.scores(times[:TRACED_POINTS], values[:TRACED_POINTS])
    yield Figure(*about, "bytes a series", float(tracemalloc.get_traced_memory()[1]), count=1)
    tracemalloc.stop()
