from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.corpora import Labelled, ascending, free
from bench.metrics.detectors import RollingZ, WindowedGaussian, trailing
from bench.metrics.kept import Kept
from bench.metrics.peers import shingles

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


@given(VALUES, st.integers(1, 20), st.integers(1, 5))
def test_trailing_moments_are_those_of_the_values_before(values: list[float], window: int, step: int) -> None:
    means, deviations = trailing(np.array(values), window, step)
    assert (means[0], deviations[0]) == (0, 0)
    for place in range(1, len(values)):
        begin = max(0, (place - window) // step * step)
        before = values[begin : min(place, begin + window)]
        assert means[place] == pytest.approx(np.mean(before), abs=1e-3)
        assert deviations[place] == pytest.approx(np.std(before), abs=1e-2)


def test_constant_history_has_no_deviation() -> None:
    _, deviations = trailing(np.full(50, 0.1), 20)
    assert not deviations.any()


@pytest.mark.parametrize("detector", [RollingZ(30), WindowedGaussian(40, 10)], ids=["z", "gaussian"])
def test_references_never_use_the_future(detector: RollingZ | WindowedGaussian) -> None:
    values = np.random.default_rng(1).standard_normal(200)
    times = np.arange(200)
    whole = detector.scores(times, values)
    changed = values.copy()
    changed[120:] = 1e6
    assert np.array_equal(whole[:120], detector.scores(times, changed)[:120])
    assert np.isfinite(whole).all()


def test_distance_is_in_deviations_and_early_points_are_silent() -> None:
    values = np.array([0.0, 2.0] * 20 + [6.0])
    scores = RollingZ().scores(np.arange(41), values)
    assert scores[40] == pytest.approx(5.0)
    assert not scores[:10].any()


def test_the_normal_law_has_its_tail() -> None:
    values = np.array([0.0, 2.0] * 20 + [1 + 1.959964])
    gaussian = WindowedGaussian()
    assert gaussian.p_values(np.arange(41), values)[40] == pytest.approx(0.05, abs=1e-6)
    assert gaussian.scores(np.arange(41), values)[40] == pytest.approx(0.975, abs=1e-6)


def test_shingles_are_causal() -> None:
    assert shingles(np.array([1.0, 2.0, 3.0, 4.0, 5.0])).tolist()[-1] == [2.0, 3.0, 4.0, 5.0]


class Counted:
    name = "counted twice"

    def __init__(self) -> None:
        self.calls = 0

    def scores(self, times_ns: np.ndarray, values: np.ndarray) -> np.ndarray:  # noqa: ARG002
        self.calls += 1
        return values * 2


def test_kept_scores_are_computed_once_for_each_series_and_version(tmp_path: Path) -> None:
    detector = Counted()
    times, values = np.arange(3), np.array([1.0, 2.0, 3.0])
    kept = Kept(detector, "1", tmp_path)
    assert kept.scores(times, values).tolist() == kept.scores(times, values).tolist() == [2.0, 4.0, 6.0]
    assert detector.calls == 1
    kept.scores(times, values + 1)
    kept.scores(times + 1, values)
    Kept(detector, "2", tmp_path).scores(times, values)
    assert detector.calls == 4


def test_only_points_with_ascending_times_are_judged() -> None:
    times = np.array([5, 6, 6, 9, 8, 10])
    series = ascending(Labelled("s", times, times * 1.0, np.array([0, 0, 1, 1, 1, 0])))
    assert series.times_ns.tolist() == series.values.tolist() == [5, 6, 9, 10]
    assert series.labels.tolist() == [0, 0, 1, 0]


def test_points_near_labels_and_early_ones_do_not_count() -> None:
    labels = np.zeros(1000, dtype=np.int64)
    labels[600:610] = 1
    counted = np.flatnonzero(free(labels))
    assert counted[0] == 300
    assert sorted(set(range(300, 1000)) - set(counted.tolist())) == list(range(550, 660))
    assert not free(np.array([1] * 20)).any()
