from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.measures import (
    average_precision,
    false_episodes,
    mean_interval,
    recall_at,
    segments,
    share_interval,
    threshold_for,
)

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1)), min_size=1, max_size=40)


@given(PAIRS)
def test_average_precision_sums_precision_over_thresholds(pairs: list[tuple[int, int]]) -> None:
    scores, labels = np.array([float(score) for score, _ in pairs]), np.array([label for _, label in pairs])
    if labels.any():
        expected, before = 0.0, 0
        for limit in sorted(set(scores.tolist()), reverse=True):
            above = scores >= limit
            hits = int(labels[above].sum())
            expected += (hits - before) * hits / int(above.sum())
            before = hits
        assert average_precision(scores, labels) == pytest.approx(expected / labels.sum())


def test_average_precision_of_a_perfect_and_of_a_constant_score() -> None:
    labels = np.array([0, 1, 0, 1])
    assert average_precision(labels.astype(float), labels) == 1.0
    assert average_precision(np.zeros(4), labels) == 0.5


@given(st.lists(st.integers(0, 1), max_size=30))
def test_segments_cover_the_labels_and_nothing_else(labels: list[int]) -> None:
    found = segments(np.array(labels, dtype=np.int64))
    covered = [place for first, end in found for place in range(first, end)]
    assert covered == [place for place, label in enumerate(labels) if label]
    assert all(first < end for first, end in found)
    assert all(left[1] < right[0] for left, right in pairwise(found))


@pytest.mark.parametrize(
    ("alarmed", "labels", "expected"),
    [
        ([1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], 2),  # each silences three points
        ([1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0], 2),
        ([1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0], 1),
        ([0, 0, 1, 0, 1, 0], [0, 0, 1, 0, 0, 0], 0),  # the echo of a labelled point
        ([0, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0], 1),  # a label that was not found excuses nothing
    ],
)
def test_false_episodes_by_hand(alarmed: list[int], labels: list[int], expected: int) -> None:
    assert false_episodes(np.array(alarmed, dtype=bool), np.array(labels), 3) == expected


def test_recall_counts_segments_over_all_series() -> None:
    labels = [np.array([0, 1, 1, 0, 1]), np.array([0, 0, 0, 0, 0]), np.array([1, 0, 0, 0, 0])]
    alarmed = [
        np.array([0, 0, 1, 0, 0], dtype=bool),
        np.array([0, 0, 1, 0, 0], dtype=bool),
        np.array([1, 0, 0, 0, 0], dtype=bool),
    ]
    found = recall_at(alarmed, labels, 4.0, draws=200, seed=1, threshold=2.0)
    assert (found.share, found.segments, found.false_a_day, found.threshold) == (2 / 3, 3, 0.25, 2.0)
    assert found.mean == 0.75
    assert found.low <= found.share <= found.high


def test_the_threshold_spends_the_budget_and_not_more() -> None:
    rng = np.random.default_rng(1)
    scores = [rng.random(2000) for _ in range(4)]
    labels = [np.zeros(2000, dtype=np.int64)] * 4
    threshold = threshold_for(scores, labels, 10.0, 3.0)
    spent = sum(false_episodes(one >= threshold, label) for one, label in zip(scores, labels, strict=True))
    assert 24 <= spent <= 30


def test_a_detector_that_can_not_keep_the_budget_never_alarms() -> None:
    assert threshold_for([np.ones(1000)], [np.zeros(1000, dtype=np.int64)], 1.0, 0.5) == np.inf


def test_intervals_hold_their_value_and_repeat() -> None:
    mean, low, high = mean_interval([0.1, 0.5, 0.9, 0.4], 500, 3)
    assert mean == pytest.approx(0.475)
    assert low < mean < high
    share, least, most = share_interval([1, 5, 0], [10, 10, 80], 500, 3)
    assert least < share == 0.06 < most
    assert mean_interval([0.1, 0.5, 0.9, 0.4], 500, 3) == (mean, low, high)
