"""The public labelled series as arrays: times in ns, values, labels. Files come from the folder of `bench.data`."""

import csv
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from bench.metrics.nab import Series

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
SECOND_NS = 10**9
LEARNING_POINTS, MARGIN_POINTS = 300, 50


@dataclass(frozen=True, slots=True)
class Labelled:
    """One series in the order of its file; `labels` is 1 at points that people called anomalous."""

    name: str
    times_ns: Integers
    values: Floats
    labels: Integers

    @property
    def days(self) -> float:
        """Time between the first and the last point."""
        return float(self.times_ns[-1] - self.times_ns[0]) / (86400 * SECOND_NS)


def _labelled(name: str, rows: Sequence[tuple[int, float, int]]) -> Labelled:
    times, values, labels = zip(*rows, strict=True)
    return Labelled(name, np.array(times, dtype=np.int64), np.array(values), np.array(labels, dtype=np.int64))


def nab(data: ModuleType) -> tuple[list[Labelled], list[Series]]:
    """The 58 series of NAB 1.1 with their windows, in the order of their names."""
    labelled = [
        _labelled(name, [(round(time) * SECOND_NS, value, label) for time, value, label, _ in rows])
        for name, rows in groupby(data.nab(), key=lambda row: row[3])
    ]
    told = json.loads((data.CACHE / "NAB" / "labels" / "combined_windows.json").read_text())
    return labelled, [Series(one.name, one.times_ns, [(_ns(a), _ns(b)) for a, b in told[one.name]]) for one in labelled]


def _ns(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_NS


def nab_results(data: ModuleType) -> Mapping[str, Mapping[str, Floats]]:
    """Stored scores of the detectors whose results NAB publishes: detector -> series -> a score a point."""
    found: dict[str, dict[str, Floats]] = {}
    with tarfile.open(data.HERE / "nab_reference_results.tar.xz") as archive:
        for member in archive:
            parts = member.name.split("/")  # NAB/results/DETECTOR/CATEGORY/DETECTOR_FILE.csv
            body = archive.extractfile(member) if len(parts) == 5 and member.name.endswith(".csv") else None
            if body is not None:
                rows = csv.DictReader(io.TextIOWrapper(body, encoding="utf-8"))
                name = f"{parts[3]}/{parts[4].removeprefix(parts[2] + '_')}"
                found.setdefault(parts[2], {})[name] = np.array([float(row["anomaly_score"]) for row in rows])
    return found


def microsoft(data: ModuleType) -> Iterator[Labelled]:
    """The 60 series of Microsoft's cloud monitoring set."""
    for name, rows in groupby(data.microsoft_cloud(), key=lambda row: row[3]):
        yield _labelled(name, [(_ns(time), value, label) for time, value, label, _ in rows])


def ascending(series: Labelled) -> Labelled:
    """Without the points that repeat a time or step back: what a detector of points in time order can judge."""
    kept = series.times_ns > np.concatenate(([-1], np.maximum.accumulate(series.times_ns)[:-1]))
    return Labelled(series.name, series.times_ns[kept], series.values[kept], series.labels[kept])


def free(labels: Integers) -> Booleans:
    """Points after the first 300 of a series that are more than 50 points away from any label: nothing is known to be wrong.

    >>> int(free(np.array([0] * 400 + [1] + [0] * 100)).sum())
    100
    """
    span = 2 * MARGIN_POINTS + 1
    padded = np.concatenate((np.zeros(MARGIN_POINTS, dtype=np.int64), labels, np.zeros(MARGIN_POINTS, dtype=np.int64)))
    found: Booleans = np.convolve(padded, np.ones(span, dtype=np.int64), mode="valid") == 0
    found[:LEARNING_POINTS] = False
    return found
