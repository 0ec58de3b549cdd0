"""What clients may change of a detection profile: from members of a body to a `Profile`, or to problems that point at them."""

from collections.abc import Mapping
from dataclasses import fields, replace

from api.endpoint import pointer
from api.problems import BadMembers, ProblemMember
from api.profile_models import ConfigOverride
from driftlock.engine.profile import PROFILES, BadOverride, Profile, custom

REQUEST_MEMBERS = frozenset({"ncd_threshold", "p_value_threshold"})
"""Members that can hold for one request. The others shape what a stream remembers, so they are the stream's."""


def given(override: ConfigOverride) -> dict[str, object]:
    """The members of a profile that a body sets, and no defaults."""
    names = {field.name for field in fields(Profile)} - {"name"}
    return {name: getattr(override, name) for name in sorted(override.model_fields_set & names)}


def overridden(base: Profile, changes: Mapping[str, object], *place: str) -> Profile:
    """`base` with `changes`; raise `BadMembers` that points at each wrong one below `place`.

    Values that are those of a built-in profile get its name back.
    """
    try:
        wanted = custom(base, changes)
    except BadOverride as error:
        raise BadMembers([_problem(detail, name, *place) for name, detail in error.members.items()]) from None
    return next((known for known in PROFILES.values() if replace(wanted, name=known.name) == known), wanted)


def check_stream_members(in_force: Profile, changes: Mapping[str, object], *place: str) -> None:
    """Raise `BadMembers` for every member that belongs to the stream and is not what is in force for it."""
    wanted = overridden(in_force, {name: value for name, value in changes.items() if name not in REQUEST_MEMBERS}, *place)
    wrong = [
        _problem(
            f"is {getattr(in_force, name)} for this stream and can not be overridden by a request; "
            "change it for good with PATCH /v1/streams/{id}/profile",
            name,
            *place,
        )
        for name in sorted(changes.keys() - REQUEST_MEMBERS)
        if getattr(wanted, name) != getattr(in_force, name)
    ]
    if wrong:
        raise BadMembers(wrong)


def _problem(detail: str, name: str, *place: str) -> ProblemMember:
    return ProblemMember(detail=detail, pointer=pointer(*place, name))
