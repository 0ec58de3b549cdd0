"""How many events a stream needs before its p-values can speak, and before they hold what they promise."""

from cbad_cy.rank import BLOCKS_MIN
from driftlock.engine.limits import Limits
from driftlock.engine.profile import Profile


def events_until_first_alarm(profile: Profile, limits: Limits) -> int:
    """Events a stream must have before this profile can alarm at all: p can not be below 2/(blocks + 1).

    >>> from driftlock.engine.profile import PROFILES
    >>> events_until_first_alarm(PROFILES["balanced"], Limits())
    2450
    """
    blocks = BLOCKS_MIN
    while 2 / (blocks + 1) > profile.p_value_threshold:
        blocks += 1
    windows = blocks * limits.block_windows + limits.lag_windows
    return profile.baseline_size + profile.window_size + windows * profile.hop_size


def events_until_calibrated(profile: Profile, limits: Limits) -> int:
    """Events after which verdicts are no longer provisional."""
    return max(limits.calibrated_events_min, events_until_first_alarm(profile, limits))
