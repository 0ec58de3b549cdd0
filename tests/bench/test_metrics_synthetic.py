import numpy as np
import pytest

from bench.metrics.synthetic import BASES, CHANGES, DAY_POINTS, LEVEL_SIGMAS, USUAL, applies, case, usual

AGE = 600


def pair(base: str, change: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, float]:
    """Values with the change, without it (the same draws), and the scale."""
    made = case(base, change, AGE, seed)
    told = np.random.SeedSequence((list(USUAL).index(base), list(CHANGES).index(change), AGE, seed))
    series = usual(USUAL[base], AGE + CHANGES[change].points, np.random.default_rng(told))
    return made.values, series.values(), series.scale


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("base", BASES)
def test_nothing_changes_before_the_start(base: str, change: str) -> None:
    if applies(base, change, AGE):
        changed, plain, _ = pair(base, change)
        assert np.array_equal(changed[:AGE], plain[:AGE])
        assert len(changed) == AGE + CHANGES[change].points
        assert np.array_equal(changed, plain) == (change == "nothing")


def test_changes_are_as_big_as_they_say() -> None:
    for change, size, points in (("spike 6 sigma", 6, 1), ("shift 3 sigma", 3, 60), ("shift 5 sigma", 5, 60)):
        changed, plain, scale = pair("daily season", change)
        moved = np.abs(changed - plain)[AGE:] / scale
        assert moved[:points] == pytest.approx(size)
        assert not moved[points:].any()
    changed, plain, scale = pair("white noise", "drift 9 sigma a day")
    assert abs(changed - plain)[AGE + DAY_POINTS - 1] / scale == pytest.approx(9, rel=0.01)
    changed, plain, scale = pair("white noise", "variance x4")
    level = LEVEL_SIGMAS * scale
    assert changed[AGE:] - level == pytest.approx(2 * (plain[AGE:] - level))
    changed, _, _ = pair("white noise", "flatline")
    assert len(set(changed[AGE - 1 :].tolist())) == 1


def test_a_moved_season_is_that_of_half_a_day_before() -> None:
    changed, plain, scale = pair("daily season", "season moved by 12 h")
    noise_free = (changed - plain)[AGE:] / scale  # new season minus old season
    swing = np.ptp(noise_free)
    assert swing > 4  # the whole day's swing is 6 sigma at least, and most of it has period one day


@pytest.mark.parametrize("base", USUAL)
def test_noise_has_unit_variance_and_no_mean(base: str) -> None:
    rng = np.random.default_rng(5)
    noise = np.concatenate([usual(USUAL[base], 20_000, rng).noise for _ in range(5)])
    assert abs(noise.mean()) < 0.05
    assert 0.8 < noise.std() < 1.3  # Student's t with three degrees of freedom converges slowly


def test_weekends_are_flatter() -> None:
    series = usual(USUAL["weekly season"], 7 * DAY_POINTS, np.random.default_rng(3))
    weekend = (series.times_ns // 10**9 // 86400) % 7 >= 5
    assert np.ptp(series.season[weekend]) == pytest.approx(0.4 * np.ptp(series.season[~weekend]), rel=0.05)


def test_equal_seeds_give_equal_series_and_others_do_not() -> None:
    first, again, other = (case("weekly season", "nothing", AGE, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)


def test_a_season_can_not_move_before_it_was_there() -> None:
    assert not applies("white noise", "season moved by 12 h", 4000)
    assert not applies("daily season", "season moved by 12 h", DAY_POINTS)
    assert applies("daily season", "season moved by 12 h", DAY_POINTS + 12)
