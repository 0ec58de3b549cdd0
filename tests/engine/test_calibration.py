"""How many events verdicts need."""

import pytest

from driftlock.engine.calibration import events_until_calibrated, events_until_first_alarm, reference_sizes
from driftlock.engine.limits import Limits
from driftlock.engine.profile import PROFILES, BadOverride, custom


def test_stated_events() -> None:
    limits = Limits()
    assert {name: events_until_first_alarm(profile, limits) for name, profile in PROFILES.items()} == {
        "sensitive": 1230,
        "balanced": 2450,
        "strict": 20900,
    }
    assert events_until_calibrated(PROFILES["balanced"], limits) == 5000
    assert events_until_calibrated(PROFILES["strict"], limits) == 20900


def test_blocks_and_lag_cover_a_window_however_deep_windows_overlap() -> None:
    limits = Limits()
    assert reference_sizes(PROFILES["balanced"], limits) == (1000, 5, 5)
    assert reference_sizes(custom(PROFILES["balanced"], {"hop_size": 50}), limits) == (1000, 5, 5)
    assert reference_sizes(custom(PROFILES["balanced"], {"hop_size": 3}), limits) == (3400, 17, 17)


@pytest.mark.parametrize(
    ("changes", "member", "told"),
    [
        ({"window_size": 400, "hop_size": 19}, "hop_size", "at least 20 for window_size = 400"),
        ({"codec_level": 10}, "codec_level", "must be from 1 to 9 for zstd"),
        ({"window_size": 400, "permutations_max": 2501, "hop_size": 400}, "permutations_max", "at most 2500"),
        ({"p_value_threshold": 0.009}, "p_value_threshold", "must be from 0.01 to 0.5"),
        ({"p_value_threshold": 0.01, "permutations_max": 98}, "permutations_max", "too few"),
        ({"window_size": 401}, "window_size", "must be from 5 to 400"),
        ({"baseline_size": 49}, "baseline_size", "at least window_size = 50"),
        ({"codec": "rar"}, "codec", "must be one of zstd, lz4, gzip"),
        ({"nonsense": 1}, "nonsense", "is unknown"),
    ],
)
def test_what_costs_too_much_or_can_never_alarm_is_refused(changes: dict[str, object], member: str, told: str) -> None:
    with pytest.raises(BadOverride) as refused:
        custom(PROFILES["balanced"], changes)
    assert told in refused.value.members[member]
