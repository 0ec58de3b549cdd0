"""The options of commands that run the engine themselves: a profile and what differs from it."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cbad_cy.codec import CODECS
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES, BadOverride, Profile, custom

Command = TypeVar("Command", bound=Callable[..., Any])

# Option, member of the profile, type, help.
OVERRIDES: tuple[tuple[str, str, Any, str], ...] = (
    ("--codec", "codec", click.Choice(list(CODECS)), "Compressor that measures."),
    ("--level", "codec_level", int, "Its level; 0 is its default."),
    ("--baseline", "baseline_size", int, "Events of the past that a window is compared with."),
    ("--window", "window_size", int, "Events in a window."),
    ("--hop", "hop_size", int, "Events from one window to the next."),
    ("--ncd-threshold", "ncd_threshold", float, "Least calibrated distance of a finding, 0 to 1."),
    ("--p-value", "p_value_threshold", float, "Largest p-value of a finding."),
    ("--group-by", "group_by", str, "Value that makes lines one interaction: trace_id, attribute:NAME or text:PREFIX."),
    ("--permutations", "permutations_max", int, "Most draws of a finding's permutation test."),
)

MASK = "--mask"


def engine_options(command: Command) -> Command:
    """`--profile`, `--seed`, `--mask` and an option for each value that a profile may have changed; see `chosen_profile`."""
    command = click.option(
        MASK,
        "masks",
        multiple=True,
        metavar="MASK",
        help="Replaced in every line, such as 'order-{hex}{as:ORDER}'. Repeatable.",
    )(command)
    for option, member, kind, told in reversed(OVERRIDES):
        command = click.option(option, member, type=kind, help=f"{told} Default: the profile's.")(command)
    seed = click.option(
        "--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="As DRIFTLOCK_SEED of a server."
    )
    profile = click.option("--profile", default=DEFAULT_PROFILE, show_default=True, type=click.Choice(list(PROFILES)))
    return profile(seed(command))


def chosen_profile(name: str, overrides: dict[str, object]) -> Profile:
    """The profile of that name with the overrides that are given; a wrong one ends the command and names its option."""
    try:
        return custom(PROFILES[name], {member: value for member, value in overrides.items() if value not in (None, ())})
    except BadOverride as error:
        options = {member: option for option, member, _, _ in OVERRIDES} | {"masks": MASK}
        told = "; ".join(f"{options[member]} {detail}" for member, detail in error.members.items())
        raise click.UsageError(f"Invalid value: {told}") from None
