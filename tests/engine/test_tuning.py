"""Thresholds move by feedback: slowly, within bounds, to fewer false alarms or more findings, and not twice for one label."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.event import TRACES_SERVICE, Signal, StreamKey
from driftlock.engine.lessons import Verdict
from driftlock.engine.profile import OVERRIDE_RANGES, PROFILES, Profile, custom
from driftlock.engine.tuning import (
    BOUNDS,
    COOLDOWN_NS,
    DAY_NS,
    DISTANCE,
    LABEL_DAYS_MAX,
    LABELS_MIN,
    RARITY,
    STEP_SHARE_MAX,
    Label,
    propose,
    tuned_members,
)
from driftlock.engine.verdict import Question

NOW_NS = 1_800_000_000 * 10**9
BALANCED = PROFILES["balanced"]
BOTH = (DISTANCE, RARITY)
FALSE, TRUE, EXPECTED = Verdict.FALSE_POSITIVE, Verdict.CONFIRMED, Verdict.EXPECTED


def label(verdict: Verdict, ncd: float = 0.35, p_value: float = 0.001, profile: Profile = BALANCED, **changes: object) -> Label:
    made = Label(verdict, Question.NOVELTY, ncd, p_value, profile.ncd_threshold, profile.p_value_threshold, NOW_NS - DAY_NS)
    return replace(made, **changes)  # type: ignore[arg-type]  # a test names real fields


WEAK = [label(FALSE)] * 18 + [label(TRUE, 0.9)] * 4
RARE = [label(FALSE, 0.9, 0.04)] * 18 + [label(TRUE, 0.9, 0.001)] * 4
GOOD = [label(TRUE, 0.4)] * 20


def test_most_false_alarms_are_weak_so_the_distance_grows_by_a_tenth_at_most() -> None:
    step = propose(BALANCED, BOTH, WEAK, NOW_NS, 0)
    assert step is not None
    assert (step.member, step.before, step.after) == (DISTANCE, 0.3, 0.33)
    assert step.profile == custom(BALANCED, {DISTANCE: 0.33})
    assert "18 of 22 judged findings" in step.reason
    assert "at 0.8 18 of them would not have been told, nor 0 of the confirmed ones" in step.reason


def test_most_false_alarms_are_common_so_the_p_value_falls() -> None:
    step = propose(BALANCED, BOTH, RARE, NOW_NS, 0)
    assert step is not None
    assert (step.member, step.after) == (RARITY, 0.045)


def test_where_confirmed_findings_would_be_lost_nothing_moves() -> None:
    mixed = [label(FALSE, 0.5)] * 12 + [label(TRUE, 0.4, 0.04)] * 9
    assert propose(BALANCED, BOTH, mixed, NOW_NS, 0) is None
    assert propose(BALANCED, BOTH, mixed + [label(FALSE, 0.35)] * 40, NOW_NS, 0) is not None


def test_only_confirmed_findings_let_more_be_told() -> None:
    near_distance = propose(BALANCED, BOTH, [label(TRUE, 0.31, 0.001)] * 20, NOW_NS, 0)
    near_p_value = propose(BALANCED, BOTH, [label(TRUE, 0.9, 0.049)] * 20, NOW_NS, 0)
    assert near_distance is not None
    assert near_p_value is not None
    assert (near_distance.member, near_distance.after) == (DISTANCE, 0.27)
    assert (near_p_value.member, near_p_value.after) == (RARITY, 0.055)
    assert "only 0 of 20" in near_p_value.reason
    in_between = [label(TRUE)] * 14 + [label(FALSE)] * 6
    assert propose(BALANCED, BOTH, in_between, NOW_NS, 0) is None


@pytest.mark.parametrize(
    "some",
    [
        WEAK[: LABELS_MIN - 1],
        [label(EXPECTED)] * 100,
        [replace(it, given_ns=NOW_NS - LABEL_DAYS_MAX * DAY_NS - 1) for it in WEAK],
        [replace(it, ncd_threshold=0.31) for it in WEAK],
        [replace(it, p_value_threshold=0.04) for it in WEAK],
    ],
    ids=["few", "expected", "old", "another distance", "another p-value"],
)
def test_labels_that_say_nothing_of_these_thresholds(some: list[Label]) -> None:
    assert propose(BALANCED, BOTH, some, NOW_NS, 0) is None


def test_after_any_change_the_profile_rests_for_a_day() -> None:
    assert propose(BALANCED, BOTH, WEAK, NOW_NS, NOW_NS - COOLDOWN_NS + 1) is None
    assert propose(BALANCED, BOTH, WEAK, NOW_NS, NOW_NS - COOLDOWN_NS) is not None


def test_labels_of_numbers_move_the_p_value_alone() -> None:
    numbers = [replace(it, question=Question.RATE, ncd_threshold=0.5, p_value=0.04) for it in WEAK[:18]] + WEAK[18:]
    step = propose(BALANCED, BOTH, numbers, NOW_NS, 0)
    assert step is not None
    assert step.member == RARITY
    assert propose(BALANCED, (DISTANCE,), numbers, NOW_NS, 0) is None


def test_which_thresholds_a_stream_has() -> None:
    assert tuned_members(StreamKey(Signal.LOGS, "shop")) == tuned_members(StreamKey(Signal.TRACES, "shop")) == BOTH
    assert tuned_members(StreamKey(Signal.METRICS, "shop")) == (RARITY,)
    assert tuned_members(StreamKey(Signal.TRACES, TRACES_SERVICE)) == (RARITY,)


def test_bounds_are_within_what_profiles_allow() -> None:
    assert BOUNDS == {DISTANCE: (0.05, 0.8), RARITY: (0.01, 0.2)}
    for member, (low, high) in BOUNDS.items():
        assert OVERRIDE_RANGES[member][0] <= low < high <= OVERRIDE_RANGES[member][1]
    beyond = custom(BALANCED, {DISTANCE: 0.9, RARITY: 0.3})
    assert propose(beyond, BOTH, [replace(it, ncd_threshold=0.9, p_value_threshold=0.3) for it in WEAK], NOW_NS, 0) is None


def test_a_threshold_at_its_bound_stays() -> None:
    at_the_end = custom(BALANCED, {DISTANCE: 0.05, RARITY: 0.2})
    assert propose(at_the_end, BOTH, [label(TRUE, profile=at_the_end)] * 20, NOW_NS, 0) is None


profiles = st.builds(
    lambda distance, rarity: custom(BALANCED, {DISTANCE: round(distance, 4), RARITY: round(rarity, 4)}),
    st.floats(0.01, 1.0),
    st.floats(0.01, 0.5),
)


@given(
    profiles,
    st.lists(
        st.tuples(
            st.sampled_from([*Verdict]), st.floats(0, 1), st.floats(0, 1), st.sampled_from([Question.NOVELTY, Question.RATE])
        ),
        min_size=20,
        max_size=40,
    ),
    st.randoms(use_true_random=False),
)
def test_every_step_is_small_and_within_bounds_whatever_was_said(
    profile: Profile, said: list[tuple[Verdict, float, float, Question]], order: object
) -> None:
    labels = [label(verdict, ncd, p, profile, question=question) for verdict, ncd, p, question in said]
    step = propose(profile, BOTH, labels, NOW_NS, 0)
    order.shuffle(labels)  # type: ignore[attr-defined]  # a Random
    assert propose(profile, BOTH, labels, NOW_NS, 0) == step
    if step is not None:
        low, high = BOUNDS[step.member]
        assert low <= step.before <= high
        assert low <= step.after <= high
        assert step.after != step.before
        assert abs(step.after - step.before) <= STEP_SHARE_MAX * step.before * (1 + 1e-4)
        assert step.profile == custom(profile, {step.member: step.after})
