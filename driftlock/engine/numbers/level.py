"""The level at which a number alarms: how strict the stream's profile is, and how many series it has.

Each series is judged by its own past, so the false alarms of a stream grow with the number of its series. The more series it
has, the stronger the points of one must be, so that they grow more slowly; what is weak in many series is seen by pooling them.
"""

import math

from cbad_cy.series import ALARM_LEVEL

LEVEL_A_DECADE = 0.85
"""How much higher the level is for alarms ten times rarer: so much does a point's level rise when all its evidence does."""

FREE_SERIES = 10
"""So many learned series cost nothing."""

BALANCED_P_VALUE = 0.05
"""The threshold for which `cbad_cy.series.ALARM_LEVEL` stands: that of the profile `balanced`."""


def alarm_level(p_value_threshold: float) -> float:
    """The level from which on points alarm: `ALARM_LEVEL` + `LEVEL_A_DECADE` log10(`BALANCED_P_VALUE` / threshold).

    It says how profiles stand to each other; the threshold is no promise about numbers, of which a series has far more than
    windows. Rounded to thousandths, so that it is the same on every machine.

    >>> [alarm_level(threshold) for threshold in (0.10, 0.05, 0.01)]
    [2.594, 2.85, 3.444]
    """
    return round(ALARM_LEVEL + LEVEL_A_DECADE * math.log10(BALANCED_P_VALUE / p_value_threshold), 3)


def series_term(learned: int) -> float:
    """What many series add to the level: `LEVEL_A_DECADE` log10(learned series / `FREE_SERIES`), nothing below.

    As if the threshold were divided by it. Made noise of seven kinds alarms a half as often with 100 series as with 10, a third
    as often with 1,000: no series is silenced, and the rest is left to the alert budget. Rounded to thousandths.

    >>> [series_term(learned) for learned in (0, 10, 20, 100, 20_000)]
    [0.0, 0.0, 0.256, 0.85, 2.806]
    """
    return round(LEVEL_A_DECADE * math.log10(max(1.0, learned / FREE_SERIES)), 3)
