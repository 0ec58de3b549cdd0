"""How strict a profile is, as a level."""

import doctest

from cbad_cy.series import ALARM_LEVEL
from driftlock.engine.numbers import level
from driftlock.engine.numbers.level import FREE_SERIES, LEVEL_A_DECADE, alarm_level, series_term
from driftlock.engine.profile import OVERRIDE_RANGES, PROFILES


def test_the_examples_are_true() -> None:
    assert doctest.testmod(level).failed == 0


def test_profiles_stand_in_their_order_and_balanced_is_the_default() -> None:
    sensitive, balanced, strict = (
        alarm_level(PROFILES[name].p_value_threshold) for name in ("sensitive", "balanced", "strict")
    )
    assert sensitive < balanced == ALARM_LEVEL < strict


def test_no_allowed_threshold_gives_a_level_that_is_none() -> None:
    assert all(alarm_level(threshold) > 1 for threshold in OVERRIDE_RANGES["p_value_threshold"])


def test_ten_times_as_many_series_cost_a_decade() -> None:
    terms = [series_term(learned) for learned in (0, FREE_SERIES, 10 * FREE_SERIES, 100 * FREE_SERIES)]
    assert terms == [0.0, 0.0, LEVEL_A_DECADE, 2 * LEVEL_A_DECADE]
    assert all(series_term(learned) <= series_term(learned + 1) for learned in range(300))
