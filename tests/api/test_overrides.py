"""From members of a body to a profile."""

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from api.overrides import check_stream_members, given, overridden
from api.problems import BadMembers
from api.profile_models import ConfigOverride, ProfileChange
from driftlock.engine.profile import PROFILES, Profile, custom, restarts_calibration

BALANCED, STRICT = PROFILES["balanced"], PROFILES["strict"]
CUSTOM = custom(BALANCED, {"codec": "gzip", "codec_level": 3})
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "ncd_threshold": st.floats(allow_nan=True),
        "p_value_threshold": st.floats(0, 1),
        "baseline_size": st.integers(0, 6000),
        "window_size": st.integers(0, 500),
        "hop_size": st.integers(0, 500),
        "codec": st.sampled_from(["zstd", "gzip", "rar"]),
        "codec_level": st.integers(-2, 30),
        "permutations_max": st.integers(0, 20_000),
        "alerts_per_day_max": st.integers(-1, 2000),
        "masks": st.lists(st.sampled_from(["order-{digits}", "user={word}", "{digit}"])).map(tuple),
    },
)


def pointers(error: pytest.ExceptionInfo[BadMembers]) -> list[str | None]:
    return [member.pointer for member in error.value.members]


def test_only_what_a_body_sets_is_given() -> None:
    assert given(ConfigOverride()) == {}
    assert given(ProfileChange(profile="strict", hop_size=10)) == {"hop_size": 10}


@drawn(VALUES)
def test_a_profile_is_allowed_or_its_wrong_members_are_named(changes: dict[str, object]) -> None:
    profile, wrong = _attempt(changes)
    if profile is None:
        assert wrong <= {f"/x/{name}" for name in (*changes, "codec_level", "hop_size", "baseline_size")}
        assert wrong
    else:
        assert {name: getattr(profile, name) for name in changes} == changes
        assert overridden(profile, {}) == profile


def _attempt(changes: dict[str, object]) -> tuple[Profile | None, set[str | None]]:
    try:
        return overridden(BALANCED, changes, "x"), set()
    except BadMembers as error:
        return None, {member.pointer for member in error.members}


def test_values_of_a_built_in_profile_get_its_name_back() -> None:
    assert overridden(custom(BALANCED, {"hop_size": 5}), {"hop_size": 10}).name == "balanced"
    assert overridden(BALANCED, {"hop_size": 5}).name == "custom"


def test_members_of_the_stream_have_to_be_its_own() -> None:
    check_stream_members(CUSTOM, {"codec": "gzip", "window_size": 50, "ncd_threshold": 0.9}, "x")
    with pytest.raises(BadMembers, match="PATCH") as error:
        check_stream_members(CUSTOM, {"codec": "zstd", "codec_level": 0, "window_size": 50}, "x")
    assert pointers(error) == ["/x/codec", "/x/codec_level"]


def test_masks_are_the_streams_own() -> None:
    masked = custom(BALANCED, {"masks": ["order-{digits}"]})
    check_stream_members(masked, {"masks": ["order-{digits}"]}, "x")
    with pytest.raises(BadMembers, match="PATCH") as error:
        check_stream_members(masked, {"masks": []}, "x")
    assert pointers(error) == ["/x/masks"]


def test_wrong_masks_are_told_together() -> None:
    with pytest.raises(BadMembers) as error:
        overridden(BALANCED, {"masks": ["order-{digits}", "order-{digit}", "a={word"]})
    assert pointers(error) == ["/masks"]
    told = str(error.value.members[0].detail)
    assert told.startswith("mask 2, character 7: {digit} is unknown; choose of {digits}, ")
    assert "; mask 3, character 3: { is never closed" in told


@pytest.mark.parametrize(
    ("changes", "restarts"),
    [
        ({}, False),
        ({"ncd_threshold": 0.4, "p_value_threshold": 0.02, "permutations_max": 50, "alerts_per_day_max": 3}, False),
        ({"codec_level": BALANCED.level}, False),
        ({"codec": "gzip"}, True),
        ({"baseline_size": 401}, True),
        ({"window_size": 51}, True),
        ({"hop_size": 11}, True),
        ({"masks": []}, False),
        ({"masks": ["order-{digits}"]}, True),
    ],
)
def test_what_changes_sizes_codec_or_masks_restarts_calibration(changes: dict[str, object], restarts: bool) -> None:
    assert restarts_calibration(BALANCED, custom(BALANCED, changes)) is restarts
    assert restarts_calibration(custom(BALANCED, changes), BALANCED) is restarts


def test_another_level_of_the_same_codec_restarts_calibration() -> None:
    gzip = custom(BALANCED, {"codec": "gzip"})
    assert not restarts_calibration(gzip, custom(gzip, {"codec_level": gzip.level}))
    assert restarts_calibration(gzip, custom(gzip, {"codec_level": gzip.level + 1}))
