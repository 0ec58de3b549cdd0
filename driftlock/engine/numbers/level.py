"""How strict a stream's profile is, as the level at which a number alarms."""

import math

from cbad_cy.series import ALARM_LEVEL

LEVEL_A_DECADE = 0.85
"""How much higher the level is for alarms ten times rarer: so much does a point's level rise when all its evidence does."""

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
