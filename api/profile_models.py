"""Bodies about detection profiles; sizes are in events."""

from pydantic import Field, FiniteFloat

from api.body import Body, optional


class Profile(Body):
    """Thresholds, window geometry and codec; sizes are in events."""

    name: str = Field(description="Name of a built-in profile, or `custom`.")
    ncd_threshold: FiniteFloat = Field(description="A window alarms at this calibrated distance or more.")
    p_value_threshold: FiniteFloat = Field(description="And at this p-value or less.")
    baseline_size: int = Field(description="Accepted events that a window is compared with.")
    window_size: int
    hop_size: int = Field(description="Events from one window to the next.")
    codec: str = Field(description="The compressor.")
    codec_level: int = Field(description="Its level; 0 = its default.")
    permutations_max: int = Field(description="Bound of the permutation test of an anomaly.")
    alerts_per_day_max: int = Field(description="Incidents of the stream that may alert in any 24 hours of event time.")
    masks: tuple[str, ...] = Field(description="Looked for in every line before the built-in rules, the first one first.")
    group_by: str = Field(description="Which value makes records one interaction; empty = none does.")


class ListedProfile(Profile):
    """A built-in profile, and how many events a stream needs under it."""

    events_until_first_alarm: int = Field(description="Events of a stream until an alarm is possible at all.")
    events_until_calibrated: int = Field(description="Events of a stream until the stated false-alarm rate holds.")


class Range(Body):
    """Allowed values of a number, bounds included."""

    min: FiniteFloat
    max: FiniteFloat


class CodecLevels(Body):
    """A compressor and the levels it has."""

    name: str
    level_min: int
    level_max: int
    level_default: int = Field(description="What `codec_level` 0 stands for.")
    version: str


class MaskLimits(Body):
    """What masks may be made of."""

    masks_max: int
    pattern_bytes_max: int = Field(description="Of a mask's text in UTF-8.")
    name_bytes_max: int
    elements_max: int = Field(description="Classes, and stretches of characters between them, of one mask.")
    run_bytes_max: int = Field(description="Greatest length that a class may be given.")
    classes: tuple[str, ...] = Field(description="Names for braces, besides `until`, `within` and `as`.")


class ProfileList(Body):
    """The built-in profiles, and what a custom one may be made of."""

    profiles: tuple[ListedProfile, ...]
    default: str
    ranges: dict[str, Range] = Field(description="Allowed values by member.")
    codecs: tuple[CodecLevels, ...] = Field(description="Allowed values of `codec` and `codec_level`.")
    masks: MaskLimits = Field(description="Allowed values of `masks`.")


class ConfigOverride(Body):
    """Values that replace those of a profile; `GET /v1/profiles` has the allowed ranges."""

    ncd_threshold: FiniteFloat = optional("A window alarms at this calibrated distance or more.")
    p_value_threshold: FiniteFloat = optional("And at this p-value or less.")
    baseline_size: int = optional("Accepted events that a window is compared with.")
    window_size: int = optional("Events of a window.")
    hop_size: int = optional("Events from one window to the next.")
    codec: str = optional("The compressor.")
    codec_level: int = optional("Its level; 0 = its default.")
    permutations_max: int = optional("Bound of the permutation test of an anomaly.")
    alerts_per_day_max: int = optional("Incidents of the stream that may alert in any 24 hours of event time.")
    group_by: str = optional("What makes records one interaction: `trace_id`, `attribute:NAME` or `text:PREFIX`; empty = none.")
    masks: list[str] = optional("All masks of the stream, such as `order-{digits}{as:ORDER}`; an empty list removes them.")


class ProfileChange(ConfigOverride):
    """Another profile for a stream: a built-in one, values of its own, or values on top of a built-in one."""

    profile: str = optional("Name of a built-in profile, which sets all values first. Without it those in force stay.")
