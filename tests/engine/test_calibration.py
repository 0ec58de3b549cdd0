"""How many events verdicts need, and when what they promise is no longer kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.calibration import (
    WATCHED_WINDOWS,
    CalibrationWatch,
    Episode,
    events_until_calibrated,
    events_until_first_alarm,
    reference_sizes,
)
from driftlock.engine.limits import Limits
from driftlock.engine.profile import PROFILES, BadOverride, custom


def test_stated_events() -> None:
    limits = Limits()
    assert {name: events_until_first_alarm(profile, limits) for name, profile in PROFILES.items()} == {
        "sensitive": 1280,
        "balanced": 1500,
        "strict": 8980,
    }
    assert events_until_calibrated(PROFILES["balanced"], limits) == 5000
    assert events_until_calibrated(PROFILES["strict"], limits) == 8980


def test_the_question_that_can_answer_first_says_how_many_events_are_needed() -> None:
    """With a hop as wide as the window novelty needs its 100 windows of 50; what is missing needs 8 times 500 events."""
    assert events_until_first_alarm(custom(PROFILES["balanced"], {"hop_size": 50}), Limits()) == 4000
    wide = custom(PROFILES["balanced"], {"hop_size": 50, "p_value_threshold": 0.01})
    assert events_until_first_alarm(wide, Limits()) == 26 * 500  # a p-value of 1/400 takes 24 blocks, 1/16 of their rank


def test_blocks_and_lag_cover_a_window_however_deep_windows_overlap() -> None:
    limits = Limits()
    assert reference_sizes(PROFILES["balanced"], limits) == (1000, 5, 5)
    assert reference_sizes(custom(PROFILES["balanced"], {"hop_size": 50}), limits) == (1000, 5, 5)
    assert reference_sizes(custom(PROFILES["balanced"], {"hop_size": 3}), limits) == (3400, 17, 17)


@pytest.mark.parametrize(
    ("changes", "member", "told"),
    [
        ({"window_size": 400, "hop_size": 19}, "hop_size", "at least 20 for window_size = 400"),
        ({"codec_level": 2}, "codec_level", "must be from 1 to 1 for statistical"),
        ({"codec": "zstd", "codec_level": 10}, "codec_level", "must be from 1 to 9 for zstd"),
        ({"window_size": 400, "permutations_max": 2501, "hop_size": 400}, "permutations_max", "at most 2500"),
        ({"p_value_threshold": 0.009}, "p_value_threshold", "must be from 0.01 to 0.5"),
        ({"p_value_threshold": 0.01, "permutations_max": 98}, "permutations_max", "too few"),
        ({"window_size": 401}, "window_size", "must be from 5 to 400"),
        ({"baseline_size": 49}, "baseline_size", "at least window_size = 50"),
        ({"codec": "rar"}, "codec", "must be one of statistical, zstd, lz4, gzip"),
        ({"nonsense": 1}, "nonsense", "is unknown"),
    ],
)
def test_what_costs_too_much_or_can_never_alarm_is_refused(changes: dict[str, object], member: str, told: str) -> None:
    with pytest.raises(BadOverride) as refused:
        custom(PROFILES["balanced"], changes)
    assert told in refused.value.members[member]


# ---- whether p-values keep what they promise -----------------------------------------------------------------------


def test_one_flagged_window_too_many_is_told_once() -> None:
    watch = CalibrationWatch()
    assert [window for window in range(60) if watch.flag(window, 0.05, promised=True)] == [50]
    assert watch.degraded
    assert watch.share == 0.06


def test_nothing_is_broken_that_was_not_promised() -> None:
    watch = CalibrationWatch()
    assert not any(watch.flag(window, 0.05, promised=False) for window in range(60))
    assert not watch.degraded
    assert watch.flag(60, 0.05, promised=True)


def test_flagged_windows_far_apart_are_never_too_many() -> None:
    watch = CalibrationWatch()
    assert not any(watch.flag(window, 0.05, promised=True) for window in range(0, 100_000, 20))
    assert len(watch.flagged) == 50


@given(st.lists(st.integers(1, 60), min_size=60, max_size=200), st.sampled_from([0.01, 0.05, 0.07, 0.1]))
def test_the_window_of_recovery_is_known_beforehand(gaps: list[int], p_value_threshold: float) -> None:
    watch, window = CalibrationWatch(), 0
    for gap in gaps:
        window += gap
        watch.flag(window, p_value_threshold, promised=True)
    due = watch.recovers_at(p_value_threshold)
    if due is None:
        assert not watch.degraded
        return
    before = [number for number in watch.flagged if number > due - 1 - WATCHED_WINDOWS]
    assert len(before) > p_value_threshold * WATCHED_WINDOWS
    assert not watch.look(due - 1, p_value_threshold)
    assert watch.look(due, p_value_threshold)
    assert not watch.degraded
    assert watch.recovers_at(p_value_threshold) is None


def test_a_restored_watch_goes_on() -> None:
    watch, other = CalibrationWatch(), CalibrationWatch()
    for window in range(60):
        watch.flag(window, 0.05, promised=True)
    other.restore(list(watch.flagged), told=True, degraded=watch.degraded)
    assert other.recovers_at(0.05) == watch.recovers_at(0.05) == 1009
    assert other.told


def test_an_episode_ends_when_a_whole_baseline_has_passed() -> None:
    episode = Episode(first_event=1000, last_window=70, known=frozenset())
    assert episode.settles_at(PROFILES["balanced"]) == 70 + 45
    assert episode.settles_at(PROFILES["strict"]) == 70 + 45
    assert episode.settles_at(custom(PROFILES["balanced"], {"hop_size": 7})) == 70 + 65
