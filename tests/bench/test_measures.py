import random
from math import inf, isnan, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.quality.measures import (
    Ranking,
    alarm_bound,
    empirical_threshold,
    f1,
    incident_sizes,
    run_weights,
    stratified_recall,
    threshold_at,
    wilson,
)

SCORES = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 1)), min_size=2, max_size=40)


def slow_best_f1(scores: list[int], labels: list[int]) -> float:
    best = 0.0
    for limit in set(scores):
        hits = sum(label for score, label in zip(scores, labels, strict=True) if score >= limit)
        false = sum(1 - label for score, label in zip(scores, labels, strict=True) if score >= limit)
        best = max(best, f1(hits, false, sum(labels)))
    return best


@given(SCORES)
def test_best_f1_is_that_of_trying_every_threshold(pairs: list[tuple[int, int]]) -> None:
    scores, labels = [score for score, _ in pairs], [label for _, label in pairs]
    assert Ranking(scores, labels).best_f1() == pytest.approx(slow_best_f1(scores, labels))


@given(SCORES)
def test_auroc_counts_pairs(pairs: list[tuple[int, int]]) -> None:
    anomalies = [score for score, label in pairs if label]
    normals = [score for score, label in pairs if not label]
    if anomalies and normals:
        wins = sum((a > b) + 0.5 * (a == b) for a in anomalies for b in normals) / (len(anomalies) * len(normals))
        assert Ranking([score for score, _ in pairs], [label for _, label in pairs]).auroc() == pytest.approx(wins)


@given(SCORES, st.integers(-1, 9))
def test_f1_and_false_positive_rate_at_a_threshold(pairs: list[tuple[int, int]], limit: int) -> None:
    found = Ranking([score for score, _ in pairs], [label for _, label in pairs]).at(limit)
    hits = sum(label for score, label in pairs if score > limit)
    false = sum(1 - label for score, label in pairs if score > limit)
    normals = sum(1 - label for _, label in pairs)
    assert found[0] == pytest.approx(f1(hits, false, sum(label for _, label in pairs)))
    assert found[1] == pytest.approx(false / normals if normals else 0.0)


@given(SCORES, st.data())
def test_weights_are_repetitions(pairs: list[tuple[int, int]], data: st.DataObject) -> None:
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(pairs), max_size=len(pairs)))
    repeated = [pair for pair, count in zip(pairs, times, strict=True) for _ in range(count)]
    if sum(label for _, label in repeated):
        weighted = Ranking([score for score, _ in pairs], [label for _, label in pairs])
        plain = Ranking([score for score, _ in repeated], [label for _, label in repeated])
        assert weighted.best_f1(np.asarray(times, dtype=np.float64)) == pytest.approx(plain.best_f1())


def test_a_conformal_threshold_keeps_its_rate() -> None:
    rng = random.Random(1)
    alarms = 0
    for _ in range(4000):
        scores = [rng.random() for _ in range(40)]
        alarms += rng.random() > threshold_at(scores, 0.1)
    assert alarms / 4000 == pytest.approx(0.1, abs=0.02)  # four standard errors


def test_too_few_normals_give_no_threshold() -> None:
    assert threshold_at([1.0] * 50, 0.01) == inf


@given(st.lists(st.integers(0, 20), min_size=1), st.floats(0, 0.9))
def test_an_empirical_threshold_is_exceeded_at_most_as_often_as_asked(scores: list[int], rate: float) -> None:
    limit = empirical_threshold(scores, rate)
    assert sum(score > limit for score in scores) <= rate * len(scores)
    lower = [score for score in scores if score < limit]
    if lower:  # and no lower one would do
        assert sum(score > max(lower) for score in scores) > rate * len(scores)


def test_runs_are_drawn_together() -> None:
    for weights in run_weights(100, 10, 20, seed=1):
        assert weights.sum() == 100
        changes = np.flatnonzero(np.diff(weights))
        assert len(changes) <= 20  # 10 runs have 20 ends
    assert all((a == b).all() for a, b in zip(run_weights(50, 5, 3, seed=2), run_weights(50, 5, 3, seed=2), strict=True))


def test_a_bound_without_incidents_is_that_of_none_seen() -> None:
    exact = -log(0.05) * 5 / 1000  # no incident in 1,000 windows, five windows each
    assert alarm_bound([], 1000, 5, 20_000, seed=1) == pytest.approx(exact, rel=0.05)


def test_incidents_that_come_in_long_runs_are_bounded_less_tightly() -> None:
    singles, runs = [1] * 40, [20, 20]
    assert alarm_bound(runs, 1000, 5, 4000, seed=1) > 1.3 * alarm_bound(singles, 1000, 5, 4000, seed=1) > 0.04


def test_the_bound_covers_the_truth_of_a_compound_poisson_process() -> None:
    rng, held = random.Random(3), 0
    sizes = [1, 2, 9]
    for trial in range(200):
        count = sum(rng.random() < 0.004 for _ in range(2000))
        held += alarm_bound([rng.choice(sizes) for _ in range(count)], 2000, 5, 300, seed=trial) >= 0.004 * 4
    assert held / 200 >= 0.9


def test_alarms_within_the_gap_are_one_incident() -> None:
    alarms = [True, True, False, False, True, False, False, False, False, True]
    assert incident_sizes(alarms, 3) == [3, 1]
    assert incident_sizes([False] * 5, 3) == []


def test_recall_is_resampled_within_streams() -> None:
    share, low, high = stratified_recall([[True] * 10, [False] * 10], 200, seed=1)
    assert (share, low, high) == (0.5, 0.5, 0.5)  # every draw has half of each stream
    share, low, high = stratified_recall([[True, False] * 10], 500, seed=1)
    assert share == 0.5
    assert 0.2 < low < 0.4
    assert 0.6 < high < 0.8


def test_recall_that_is_perfect_on_few_positions_is_not_certain() -> None:
    assert stratified_recall([[True] * 10], 200, seed=1) == (1.0, *wilson(1.0, 10))
    assert wilson(1.0, 10)[0] < 0.75
    assert isnan(stratified_recall([[]], 200, seed=1)[0])
