"""Detection profiles: the built-in ones, and the one that each stream has."""

from api import models, views
from api.endpoint import Call, Endpoint, Reply, pointer
from api.etag import ETAG_HEADER, check_if_match, etag_of
from api.overrides import given, overridden
from api.ports import StreamRow
from api.problems import BadMembers, ProblemMember
from api.profile_models import ProfileChange, ProfileList, Range
from api.routes.streams import find_stream, is_of_traces
from driftlock.accounts.keys import Scope
from driftlock.engine.profile import DEFAULT_PROFILE, OVERRIDE_RANGES, PROFILES, Profile, restarts_calibration
from driftlock.errors import Conflict

PATH = "/v1/streams/{stream}/profile"
PATH_PARAMETERS = {"stream": "Id or slug of the stream."}
ATTEMPTS_MAX = 5
UNCHANGED = "nothing has changed: this profile was in force already"
JUDGED = "windows that end in events received from now on are judged with it; calibration goes on"
RESTARTED = (
    "it holds for events received from now on; sizes, codec or masks have changed, so earlier windows can not be compared with "
    "later ones and calibration starts again"
)


JUDGED_TRACES = "traces that are over from now on are judged with it; calibration goes on"
OF_TRACES = frozenset({"p_value_threshold", "alerts_per_day_max"})
"""Members that mean something for a stream of traces. The others are about lines."""


async def list_profiles(call: Call) -> Reply:
    """The built-in profiles, the most sensitive first, and what a custom one may be made of."""
    return Reply(
        ProfileList(
            profiles=tuple(views.listed_profile(value) for value in PROFILES.values()),
            default=DEFAULT_PROFILE,
            ranges={name: Range(min=low, max=high) for name, (low, high) in OVERRIDE_RANGES.items()},
            codecs=tuple(views.codec_levels(codec) for codec in call.deps.detector.codecs),
            masks=views.mask_limits(),
        )
    )


async def get_profile(call: Call) -> Reply:
    """The profile of one stream."""
    row = await find_stream(call.deps, call.principal.tenant_id, call.path("stream"))
    profile = views.profile(row.profile)
    return Reply(models.StreamProfile(stream=views.stream_ref(row), profile=profile), headers={ETAG_HEADER: etag_of(profile)})


async def change_profile(call: Call) -> Reply:
    """Give a stream another profile; the one in force again changes nothing."""
    change, tenant_id = call.body(ProfileChange), call.principal.tenant_id
    for attempt in range(1, ATTEMPTS_MAX + 1):  # what is set is laid over what is in force, so that has to be still in force
        row = await find_stream(call.deps, tenant_id, call.path("stream"))
        if is_of_traces(row):
            _refuse_members_of_lines(change)
        check_if_match(call, etag_of(views.profile(row.profile)))
        wanted = overridden(_base(row, change), given(change))
        try:
            if wanted != row.profile:
                await call.deps.stream_settings.configure(tenant_id, row.stream_id, wanted, row.profile, call.actor)
            break
        except Conflict:
            if attempt == ATTEMPTS_MAX:
                raise
    of_traces = is_of_traces(row)
    restarts = not of_traces and restarts_calibration(row.profile, wanted)
    judged = JUDGED_TRACES if of_traces else RESTARTED if restarts else JUDGED
    return Reply(
        models.ChangedStreamProfile(
            stream=views.stream_ref(row),
            profile=views.profile(wanted),
            changed=wanted != row.profile,
            calibration_restarts=restarts,
            effect=UNCHANGED if wanted == row.profile else judged,
        ),
        headers={ETAG_HEADER: etag_of(views.profile(wanted))},
    )


def _refuse_members_of_lines(change: ProfileChange) -> None:
    wrong = sorted(given(change).keys() - OF_TRACES)
    if wrong:
        detail = f"is about lines and does nothing in a stream of traces, which has {' and '.join(sorted(OF_TRACES))}"
        raise BadMembers([ProblemMember(detail=detail, pointer=pointer(name)) for name in wrong])


def _base(row: StreamRow, change: ProfileChange) -> Profile:
    """What the change starts from; raise `BadMembers` for a name that is no built-in profile's."""
    if "profile" not in change.model_fields_set:
        return row.profile
    if change.profile not in PROFILES:
        detail = f"must be one of {', '.join(PROFILES)}; a custom profile is made by setting its values"
        raise BadMembers([ProblemMember(detail=detail, pointer="/profile")])
    return PROFILES[change.profile]


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/profiles",
        "listProfiles",
        "profiles",
        "The built-in detection profiles, and the allowed values of custom ones",
        list_profiles,
        {200: ProfileList},
    ),
    Endpoint(
        "GET",
        PATH,
        "getStreamProfile",
        "profiles",
        "The profile of a stream",
        get_profile,
        {200: models.StreamProfile},
        scope=Scope.READ,
        path_parameters=PATH_PARAMETERS,
        etag=True,
    ),
    Endpoint(
        "PATCH",
        PATH,
        "changeStreamProfile",
        "profiles",
        "Give a stream another profile",
        change_profile,
        {200: models.ChangedStreamProfile},
        scope=Scope.ADMIN,
        request=ProfileChange,
        path_parameters=PATH_PARAMETERS,
        etag=True,
    ),
)
