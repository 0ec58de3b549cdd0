"""How many events a stream needs before its p-values can speak, and before they hold what they promise."""

from cbad_cy.rank import BLOCKS_MIN
from driftlock.engine.limits import Limits
from driftlock.engine.profile import Profile


def reference_sizes(profile: Profile, limits: Limits) -> tuple[int, int, int]:
    """(windows kept, windows of a block, newest windows left out) of the past that a window is ranked in.

    A window is never compared with one that shares its events, and a block never covers less than a window does: where
    windows overlap more than `block_windows` deep, blocks and lag grow with the overlap, and so does what is kept.
    """
    overlap = -(-profile.window_size // profile.hop_size)
    block = max(limits.block_windows, overlap)
    return limits.reference_windows_max // limits.block_windows * block, block, max(limits.lag_windows, overlap)


def events_until_first_alarm(profile: Profile, limits: Limits) -> int:
    """Events a stream must have before this profile can alarm at all: p can not be below 2/(blocks + 1).

    >>> from driftlock.engine.profile import PROFILES
    >>> events_until_first_alarm(PROFILES["balanced"], Limits())
    2450
    """
    blocks = BLOCKS_MIN
    while 2 / (blocks + 1) > profile.p_value_threshold:
        blocks += 1
    _, block, lag = reference_sizes(profile, limits)
    windows = blocks * block + lag
    return profile.baseline_size + profile.window_size + windows * profile.hop_size


def events_until_calibrated(profile: Profile, limits: Limits) -> int:
    """Events after which verdicts are no longer provisional."""
    return max(limits.calibrated_events_min, events_until_first_alarm(profile, limits))
