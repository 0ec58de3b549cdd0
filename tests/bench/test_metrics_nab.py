import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.nab import PROFILES, Corpus, Profile, Series, point_values, probation

STANDARD = PROFILES["standard"]
TEN_TO_THIRTEEN = Series("s", np.arange(40), [(10, 13)])
IN_WINDOW = (1.0, 0.967_0, 0.859_8, 0.562_1)  # tanh(2.5 x) / tanh(2.5) at x = 1, 3/4, 1/2, 1/4
BEHIND = (0.682_3, 0.931_1, 0.986_6)  # tanh(2.5 x) at x = 1/3, 2/3, 1


def scores_at(*places: int, points: int = 40) -> np.ndarray:
    scores = np.zeros(points)
    scores[list(places)] = 1.0
    return scores


def raw(*places: int, profile: Profile = STANDARD) -> float:
    return Corpus([TEN_TO_THIRTEEN]).at_threshold([scores_at(*places)], 0.5, profile).raw


def test_points_are_worth_what_the_scaled_sigmoid_says() -> None:
    values, members = point_values(TEN_TO_THIRTEEN)
    assert values[:10].tolist() == [-1.0] * 10
    assert values[10:14] == pytest.approx(IN_WINDOW, abs=1e-4)
    assert values[14:17] == pytest.approx([-value for value in BEHIND], abs=1e-4)
    assert values[22] == pytest.approx(-math.tanh(7.5))  # three widths behind, still on the curve
    assert values[23:].tolist() == [-1.0] * 17
    assert np.flatnonzero(members == 0).tolist() == [10, 11, 12, 13]


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ((), -1.0),
        ((10,), 1.0),
        ((12,), 0.859_8),
        ((12, 13), 0.859_8),
        ((13, 11), 0.967_0),
        ((14,), -1.0 - 0.11 * 0.682_3),
        ((10, 14, 15), 1.0 - 0.11 * (0.682_3 + 0.931_1)),
        ((8, 30), -1.0 - 0.11 * 2),
        ((0, 5), -1.0),  # 15 % of 40 points are 6
        ((6,), -1.11),
    ],
)
def test_scores_by_hand(places: tuple[int, ...], expected: float) -> None:
    assert raw(*places) == pytest.approx(expected, abs=1e-4)


def test_profiles_weigh_missed_windows_and_false_points() -> None:
    low_false, low_missed = PROFILES["reward_low_FP_rate"], PROFILES["reward_low_FN_rate"]
    assert raw(30, profile=low_false) == pytest.approx(-1.22)
    assert raw(30, profile=low_missed) == pytest.approx(-2.11)


def test_a_hundred_is_perfect_and_zero_is_silent() -> None:
    corpus = Corpus([TEN_TO_THIRTEEN, Series("quiet", np.arange(20), [])])
    for profile in PROFILES.values():
        assert corpus.at_threshold([scores_at(10), np.zeros(20)], 0.5, profile).score == pytest.approx(100)
        assert corpus.at_threshold([np.zeros(40), np.zeros(20)], 0.5, profile).score == 0
    result = corpus.at_threshold([scores_at(10), scores_at(5, 6, points=20)], 0.5, STANDARD)
    assert result.score == pytest.approx(100 * (1.0 - 0.22 + 1) / 2)
    assert (result.windows_found, result.windows, result.false_points) == (1, 1, 2)


def test_the_best_threshold_is_one_for_all_series() -> None:
    first, second = np.zeros(40), np.zeros(40)
    first[10], second[10], second[25] = 0.4, 0.9, 0.6
    best = Corpus([TEN_TO_THIRTEEN, TEN_TO_THIRTEEN]).best([first, second], STANDARD)
    assert best.threshold == 0.4  # two windows are worth one false point
    assert best.raw == pytest.approx(2 - 0.11)


def test_a_false_point_may_not_be_worth_a_late_window() -> None:
    scores = scores_at(10)
    scores[[20, 21, 22, 24, 25, 26, 27, 28, 29, 30]] = 1.0
    scores *= 0.5
    costly = Profile(1.0, 1.0, 0.5)
    assert Corpus([TEN_TO_THIRTEEN]).best([scores], costly).threshold == math.inf  # better to say nothing


def test_times_may_repeat_and_step_back() -> None:
    times = np.array([0, 1, 2, 3, 3, 5, 4, 6, 7, 7, 8, 9])
    values, members = point_values(Series("s", times, [(3, 7)]))
    assert np.flatnonzero(members == 0).tolist() == [3, 4, 5, 6, 7, 8]
    assert values[9] == pytest.approx(-math.tanh(2.5 / 5))


@pytest.mark.parametrize("window", [(3, 3), (3, 99)])
def test_windows_that_can_not_be_scored_are_refused(window: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="s: a window"):
        point_values(Series("s", np.arange(10), [window]))


def test_scores_that_do_not_fit_are_refused() -> None:
    corpus = Corpus([TEN_TO_THIRTEEN])
    with pytest.raises(ValueError, match="one score for each"):
        corpus.best([np.zeros(39)], STANDARD)
    with pytest.raises(ValueError, match="finite"):
        corpus.best([np.full(40, math.nan)], STANDARD)


def test_a_corpus_needs_a_window() -> None:
    with pytest.raises(ValueError, match="needs a window"):
        Corpus([Series("s", np.arange(10), [])])


def test_probation_is_bounded() -> None:
    assert [probation(points) for points in (0, 6, 7, 4032, 5000, 22695)] == [0, 0, 1, 604, 750, 750]


def slow(series: list[Series], scores: list[np.ndarray], threshold: float, profile: Profile) -> float:
    total = 0.0
    for one, score in zip(series, scores, strict=True):
        found = [place for place in range(probation(len(score)), len(score)) if score[place] >= threshold]
        for first, last in one.windows:
            inside = [place for place in found if first <= place <= last]
            width = last - first + 1
            total += (
                profile.found * math.tanh(2.5 * (last - inside[0] + 1) / width) / math.tanh(2.5) if inside else -profile.missed
            )
        for place in found:
            if not any(first <= place <= last for first, last in one.windows):
                behind = [(place - last) / (last - first) for first, last in one.windows if last < place]
                total -= profile.false * (math.tanh(2.5 * behind[-1]) if behind and behind[-1] <= 3 else 1.0)
    return total


@given(st.data())
def test_the_sweep_is_that_of_scoring_every_threshold_apart(data: st.DataObject) -> None:
    series, scores = [], []
    for number in range(data.draw(st.integers(1, 3))):
        points = data.draw(st.integers(20, 60))
        edges = sorted(data.draw(st.sets(st.integers(9, points - 1), max_size=6)))
        windows = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False) if b > a]
        series.append(Series(str(number), np.arange(points), windows))
        scores.append(np.array(data.draw(st.lists(st.integers(0, 5), min_size=points, max_size=points)), dtype=np.float64))
    if any(one.windows for one in series):
        profile = data.draw(st.sampled_from(list(PROFILES.values())))
        corpus = Corpus(series)
        swept = corpus.sweep(scores, profile)
        for result in swept:
            assert result.raw == pytest.approx(slow(series, scores, result.threshold, profile))
            same = corpus.at_threshold(scores, result.threshold, profile)
            assert (same.windows_found, same.false_points) == (result.windows_found, result.false_points)
            assert same.score == pytest.approx(result.score)
        assert corpus.best(scores, profile).score == max(result.score for result in swept)
