"""Detection profiles: how far a window must be from normal, and how rare, before it is a finding; and their overrides."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

from cbad_cy.codec import CODECS
from driftlock.engine.interaction_key import wrong_group_by
from driftlock.engine.masks import wrong_masks
from driftlock.errors import InvalidArgument

DEFAULT_CODEC = "statistical"
CUSTOM = "custom"


@dataclass(frozen=True, slots=True)
class Profile:
    """Thresholds, window geometry and codec of a stream.

    A window alarms when its calibrated distance is at least `ncd_threshold` (0 = as explainable as usual, 1 = nothing
    is explained) and its p-value at most `p_value_threshold`. Sizes are in events: `window_size` events are compared with
    the `baseline_size` accepted ones before them, every `hop_size` events. `codec_level` 0 is the codec's own default.
    `permutations_max` bounds the permutation test of a finding (its p-value is at least 1/(1 + permutations_max)).
    `alerts_per_day_max` is the stream's alert budget: so many of its incidents may alert in any 24 hours of event time.
    `group_by` says which value makes records one interaction (see `driftlock.engine.interaction_key`; "" = none does).
    `masks` are looked for in every line before the built-in rules (see `driftlock.engine.masks`), the first one first.
    """

    name: str
    ncd_threshold: float
    p_value_threshold: float
    baseline_size: int
    window_size: int
    hop_size: int
    codec: str = DEFAULT_CODEC
    codec_level: int = 0
    permutations_max: int = 1000
    alerts_per_day_max: int = 24
    masks: tuple[str, ...] = ()
    group_by: str = ""

    @property
    def level(self) -> int:
        """The compression level in force."""
        return self.codec_level or CODECS[self.codec].level


def restarts_calibration(before: Profile, after: Profile) -> bool:
    """Whether a stream that changes from one to the other has to learn anew: other sizes, codec or masks, other numbers."""
    measured = ("baseline_size", "window_size", "hop_size", "codec", "level", "masks")
    return any(getattr(before, name) != getattr(after, name) for name in measured)


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("sensitive", 0.20, 0.10, 200, 30, 10),
        Profile("balanced", 0.30, 0.05, 400, 50, 10),
        Profile("strict", 0.45, 0.01, 800, 100, 20),
    )
}
DEFAULT_PROFILE = "balanced"

LEVEL_MAX = 9
"""Highest compression level of a profile: beyond it a level costs ten times as much and tells windows apart no better."""

OVERLAP_MAX = 20
"""Most windows that one event may be in: each of them compresses it again."""

WINDOW_DRAWS_MAX = 1_000_000
"""Most events that the permutation test of one finding may draw, `window_size` times `permutations_max`."""

OVERRIDE_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "ncd_threshold": (0.01, 1.0),
        "p_value_threshold": (0.01, 0.5),  # 200 blocks of past windows can not say less
        "baseline_size": (20, 5000),
        "window_size": (5, 400),
        "hop_size": (1, 400),
        "permutations_max": (19, 10_000),
        "alerts_per_day_max": (0, 1000),
    }
)
"""Allowed values, bounds included, of every number that a custom profile may set."""


class BadOverride(InvalidArgument):
    """One or more values of a custom profile are not allowed; `members` maps each member's name to what is wrong with it."""

    def __init__(self, members: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {detail}" for name, detail in members.items()))
        self.members = dict(members)


def custom(base: Profile, changes: Mapping[str, object]) -> Profile:
    """`base` with some of its values changed; it is called `custom` unless nothing differs. Raises `BadOverride`.

    >>> custom(PROFILES["balanced"], {"window_size": 25}).name
    'custom'
    >>> custom(PROFILES["balanced"], {"window_size": 50}).name
    'balanced'
    >>> custom(PROFILES["balanced"], {"hop_size": 60})
    Traceback (most recent call last):
    driftlock.engine.profile.BadOverride: hop_size: is 60, at most window_size = 50, or events between windows go untested
    """
    known = {field.name for field in fields(Profile)} - {"name"}
    wrong = {name: f"is unknown; choose of {', '.join(sorted(known))}" for name in changes if name not in known}
    wrong |= {name: detail for name, value in changes.items() if name in known and (detail := _wrong(name, value))}
    if wrong:
        raise BadOverride(wrong)
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()}
    changed = replace(base, **values)  # type: ignore[arg-type]
    if "codec" in changes and "codec_level" not in changes and changed.codec != base.codec:
        changed = replace(changed, codec_level=0)
    wrong = _inconsistent(changed)
    if wrong:
        raise BadOverride(wrong)
    return base if changed == base else replace(changed, name=CUSTOM)


def _wrong(name: str, value: object) -> str:
    """What is wrong with one value by itself; "" if nothing is."""
    if name == "codec":
        return "" if isinstance(value, str) and value in CODECS else f"must be one of {', '.join(CODECS)}"
    if name == "codec_level":
        return (
            "" if isinstance(value, int) and not isinstance(value, bool) else "must be a whole number; 0 is the default level"
        )
    if name == "masks":
        return wrong_masks(value)
    if name == "group_by":
        return wrong_group_by(value)
    low, high = OVERRIDE_RANGES[name]
    whole = isinstance(high, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return f"must be a {'whole ' if whole else ''}number from {low} to {high}"
    return "" if low <= value <= high else f"must be from {low} to {high}"


def level_range(codec: str) -> tuple[int, int]:
    """Lowest and highest compression level of profiles with this codec."""
    row = CODECS[codec]
    return row.level_min, min(LEVEL_MAX, row.level_max)


def _inconsistent(profile: Profile) -> dict[str, str]:
    """What does not fit together, by member."""
    wrong = {}
    low, high = level_range(profile.codec)
    if profile.codec_level and not low <= profile.codec_level <= high:
        wrong["codec_level"] = f"must be from {low} to {high} for {profile.codec}, or 0 for its default"
    if profile.hop_size > profile.window_size:
        wrong["hop_size"] = (
            f"is {profile.hop_size}, at most window_size = {profile.window_size}, or events between windows go untested"
        )
    if profile.window_size > OVERLAP_MAX * profile.hop_size:
        least = -(-profile.window_size // OVERLAP_MAX)
        wrong["hop_size"] = (
            f"is {profile.hop_size}, at least {least} for window_size = {profile.window_size}, or it costs too much"
        )
    draws = WINDOW_DRAWS_MAX // profile.window_size
    if profile.permutations_max > draws:
        wrong["permutations_max"] = f"is {profile.permutations_max}, at most {draws} for window_size = {profile.window_size}"
    if (1 + profile.permutations_max) * profile.p_value_threshold < 1:
        reached = f"p_value_threshold = {profile.p_value_threshold} is not reached by 1 / (1 + permutations_max)"
        wrong["permutations_max"] = f"is {profile.permutations_max}, too few: {reached}"
    if profile.baseline_size < profile.window_size:
        wrong["baseline_size"] = (
            f"is {profile.baseline_size}, at least window_size = {profile.window_size}: a window is compared with more"
        )
    return wrong
