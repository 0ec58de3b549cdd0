"""Detection profiles."""

from api import models, views
from api.endpoint import Call, Endpoint, Reply
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES


async def list_profiles(call: Call) -> Reply:  # noqa: ARG001
    """The built-in profiles, the most sensitive first."""
    return Reply(
        models.ProfileList(profiles=tuple(views.profile(value) for value in PROFILES.values()), default=DEFAULT_PROFILE)
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/profiles",
        "listProfiles",
        "profiles",
        "The built-in detection profiles",
        list_profiles,
        {200: models.ProfileList},
    ),
)
