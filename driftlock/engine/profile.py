"""Detection profiles: how far a window must be from normal, and how rare, before it is a finding."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """Thresholds and window geometry of a stream.

    A window alarms when its calibrated distance is at least `ncd_threshold` (0 = as explainable as usual, 1 = nothing
    is explained) and its p-value at most `p_value_threshold`. Sizes are in events: `window_size` events are compared with
    the `baseline_size` accepted ones before them, every `hop_size` events.
    """

    name: str
    ncd_threshold: float
    p_value_threshold: float
    baseline_size: int
    window_size: int
    hop_size: int


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("sensitive", 0.20, 0.10, 200, 30, 10),
        Profile("balanced", 0.30, 0.05, 400, 50, 10),
        Profile("strict", 0.45, 0.01, 800, 100, 20),
    )
}
DEFAULT_PROFILE = "balanced"
