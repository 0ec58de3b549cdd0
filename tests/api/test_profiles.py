"""Profiles over REST: the built-in ones, and the one that each stream has."""

from pathlib import Path
from typing import Any

import httpx
import pytest

import cbad_cy.codec
from api.models import ChangedStreamProfile, StreamProfile
from api.ports import StreamRow
from api.profile_models import ProfileChange, ProfileList
from driftlock.accounts.actor import ActorKind
from driftlock.accounts.keys import Scope
from driftlock.engine.calibration import events_until_calibrated, events_until_first_alarm
from driftlock.engine.event import Signal, StreamKey, trace_stream_key
from driftlock.engine.limits import Limits
from driftlock.engine.masks import CLASSES
from driftlock.engine.profile import DEFAULT_CODEC, OVERRIDE_RANGES, PROFILES, Profile
from driftlock.errors import Unavailable
from tests.api.conftest import CODECS, Service
from tests.api.fakes import OTHER_TENANT, TENANT, FakeHouse, key, make_stream, stream_id_of
from tests.api.redaction_fakes import FakeStreamSettings

KEY = StreamKey(Signal.LOGS, "checkout")
PATH = "/v1/streams/checkout/profile"
REST = Path(__file__).parent.parent.parent / "docs" / "rest.md"


@pytest.fixture
def stream(service: Service) -> StreamRow:
    return add(service.house)


def add(house: FakeHouse) -> StreamRow:
    row = make_stream(stream_id_of(TENANT, KEY), "checkout", KEY)
    house.stream_rows[TENANT][row.stream_id] = row
    return row


async def patch(service: Service, body: object, path: str = PATH, name: str = "good") -> httpx.Response:
    return await service.client.patch(path, json=body, headers={"X-Api-Key": key(name)})


def values(body: Any) -> Profile:
    return Profile(**body["profile"] | {"masks": tuple(body["profile"]["masks"])})


async def test_profiles_are_listed_with_what_custom_ones_may_be_made_of(service: Service) -> None:
    body = ProfileList.model_validate_json((await service.client.get("/v1/profiles")).content)
    needs = {"events_until_first_alarm", "events_until_calibrated"}
    assert [Profile(**profile.model_dump(exclude=needs)) for profile in body.profiles] == list(PROFILES.values())
    for profile, engines in zip(body.profiles, PROFILES.values(), strict=True):
        assert profile.events_until_first_alarm == events_until_first_alarm(engines, Limits())
        assert profile.events_until_calibrated == events_until_calibrated(engines, Limits())
    assert body.default == "balanced"
    assert {name: (allowed.min, allowed.max) for name, allowed in body.ranges.items()} == dict(OVERRIDE_RANGES)
    assert [codec.name for codec in body.codecs] == [codec.name for codec in CODECS]
    assert (body.masks.masks_max, body.masks.pattern_bytes_max, body.masks.name_bytes_max) == (16, 128, 16)
    assert (body.masks.elements_max, body.masks.run_bytes_max, body.masks.classes) == (16, 4096, tuple(CLASSES))
    assert (body.codecs[1].level_min, body.codecs[1].level_max, body.codecs[1].level_default) == (-5, 19, 3)


async def test_a_stream_has_the_default_profile_until_it_gets_another(service: Service, stream: StreamRow) -> None:
    response = await service.client.get(PATH)
    body = StreamProfile.model_validate_json(response.content)
    assert (body.stream.id, body.stream.slug) == (stream.stream_id, "checkout")
    assert values(response.json()) == PROFILES["balanced"]
    assert (await patch(service, {"profile": "strict"})).status_code == 200
    for path in (PATH, f"/v1/streams/{stream.stream_id}/profile", "/v1/streams/checkout"):
        assert values((await service.client.get(path)).json()) == PROFILES["strict"]
    assert values((await service.client.get("/v1/streams")).json()["streams"][0]) == PROFILES["strict"]


async def test_a_change_says_what_it_means(service: Service, stream: StreamRow) -> None:
    response = await patch(service, {"profile": "strict", "codec": "lz4"})
    body = ChangedStreamProfile.model_validate_json(response.content)
    assert (body.stream.id, body.stream.slug) == (stream.stream_id, "checkout")
    assert (body.changed, body.calibration_restarts) == (True, True)
    assert "calibration starts again" in body.effect
    profile = Profile("custom", 0.45, 0.01, 800, 100, 20, "lz4")
    assert service.house.configured == [(stream.stream_id, profile)]
    assert values(response.json()) == profile


async def test_a_change_says_who_made_it_and_none_says_nothing(service: Service, stream: StreamRow) -> None:
    settings = service.deps.stream_settings
    assert isinstance(settings, FakeStreamSettings)
    for _ in range(2):
        assert (await patch(service, {"ncd_threshold": 0.2})).status_code == 200
    ((verb, changed, actor),) = settings.noted
    assert (verb, changed, actor.kind) == ("changed", stream.stream_id, ActorKind.KEY)


async def test_thresholds_do_not_restart_calibration(service: Service, stream: StreamRow) -> None:
    body = (await patch(service, {"ncd_threshold": 0.4, "permutations_max": 99})).json()
    assert (body["changed"], body["calibration_restarts"]) == (True, False)
    assert "calibration goes on" in body["effect"]
    assert values(body) == Profile("custom", 0.4, 0.05, 400, 50, 10, permutations_max=99)


@pytest.mark.parametrize(
    "body", [{}, {"profile": "balanced"}, {"window_size": 50}, {"ncd_threshold": 0.3, "codec": DEFAULT_CODEC}]
)
async def test_the_profile_in_force_again_changes_nothing(service: Service, stream: StreamRow, body: object) -> None:
    answer = (await patch(service, body)).json()
    assert (answer["changed"], answer["calibration_restarts"], service.house.configured) == (False, False, [])
    assert values(answer) == PROFILES["balanced"]


async def test_changes_add_up_and_a_built_in_profile_resets_them(service: Service, stream: StreamRow) -> None:
    await patch(service, {"hop_size": 5})
    assert values((await patch(service, {"window_size": 25})).json()) == Profile("custom", 0.30, 0.05, 400, 25, 5)
    assert values((await patch(service, {"profile": "sensitive"})).json()) == PROFILES["sensitive"]


async def test_the_values_of_a_built_in_profile_have_its_name(service: Service, stream: StreamRow) -> None:
    await patch(service, {"hop_size": 5})
    assert values((await patch(service, {"hop_size": 10})).json()) == PROFILES["balanced"]


async def test_another_codec_has_its_own_default_level(service: Service, stream: StreamRow) -> None:
    assert values((await patch(service, {"codec": "zstd", "codec_level": 3})).json()).codec_level == 3
    profile = values((await patch(service, {"codec": "gzip"})).json())
    assert (profile.codec, profile.codec_level) == ("gzip", 0)


async def test_masks_are_replaced_as_a_whole_and_restart_calibration(service: Service, stream: StreamRow) -> None:
    masks = ["order-{digits}{as:ORDER}", "user={word}"]
    answer = (await patch(service, {"masks": masks})).json()
    assert (answer["profile"]["masks"], answer["profile"]["name"]) == (masks, "custom")
    assert (answer["changed"], answer["calibration_restarts"]) == (True, True)
    assert (await patch(service, {"masks": masks})).json()["changed"] is False
    assert (await service.client.get(PATH)).json()["profile"]["masks"] == masks
    assert (await patch(service, {"ncd_threshold": 0.4})).json()["profile"]["masks"] == masks
    assert (await patch(service, {"masks": masks[:1]})).json()["profile"]["masks"] == masks[:1]
    assert values((await patch(service, {"profile": "balanced"})).json()) == PROFILES["balanced"]


async def test_a_level_that_is_the_default_by_another_name_restarts_nothing(service: Service, stream: StreamRow) -> None:
    level = stream.profile.level
    assert (await patch(service, {"codec_level": level})).json()["calibration_restarts"] is False


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"profile": "lenient"}, ["/profile"]),
        ({"profile": "custom"}, ["/profile"]),
        ({"profile": None}, ["/profile"]),
        ({"ncd_threshold": 0, "window_size": 1}, ["/ncd_threshold", "/window_size"]),
        ({"ncd_threshold": "0.3"}, ["/ncd_threshold"]),
        ({"p_value_threshold": 1e308}, ["/p_value_threshold"]),
        ({"window_size": True}, ["/window_size"]),
        ({"baseline_size": 30}, ["/baseline_size"]),
        ({"profile": "strict", "hop_size": 101}, ["/hop_size"]),
        ({"codec": "rar"}, ["/codec"]),
        ({"codec": "lz4", "codec_level": 99}, ["/codec_level"]),
        ({"masks": ["order-{digit}"]}, ["/masks"]),
        ({"masks": ["order-{digits}"] * 2}, ["/masks"]),
        ({"masks": "order-{digits}"}, ["/masks"]),
        ({"masks": [1]}, ["/masks/0"]),
        ({"name": "mine"}, ["/name"]),
        ({"level": 3}, ["/level"]),
        ([], [""]),
    ],
)
async def test_a_wrong_change_is_refused_where_it_is_wrong(
    service: Service, stream: StreamRow, body: object, pointers: list[str]
) -> None:
    response = await patch(service, body)
    assert response.status_code == 400
    assert [member["pointer"] for member in response.json()["errors"]] == pointers
    assert service.house.configured == []
    assert service.house.stream_rows[TENANT][stream.stream_id].profile == PROFILES["balanced"]


@pytest.fixture
def traces(service: Service) -> StreamRow:
    key_of_traces = trace_stream_key("prod")
    row = make_stream(stream_id_of(TENANT, key_of_traces), "_traces.prod", key_of_traces)
    service.house.stream_rows[TENANT][row.stream_id] = row
    return row


TRACES_PATH = "/v1/streams/_traces.prod/profile"
OF_LINES = {
    "ncd_threshold": 0.4,
    "baseline_size": 800,
    "window_size": 40,
    "hop_size": 5,
    "codec": "lz4",
    "codec_level": 1,
    "permutations_max": 99,
    "group_by": "trace_id",
    "masks": ["order-{digits}"],
}


@pytest.mark.parametrize(("name", "value"), OF_LINES.items(), ids=OF_LINES)
async def test_what_is_about_lines_is_refused_for_a_stream_of_traces(
    service: Service, traces: StreamRow, name: str, value: object
) -> None:
    for body in ({name: value}, {"profile": "strict", "p_value_threshold": 0.02, name: value}):
        response = await patch(service, body, TRACES_PATH)
        assert response.status_code == 400
        [problem] = response.json()["errors"]
        assert problem["pointer"] == f"/{name}"
        assert "does nothing in a stream of traces" in problem["detail"]
    assert service.house.configured == []


async def test_every_member_is_about_lines_or_means_something_for_traces() -> None:
    assert OF_LINES.keys() | {"p_value_threshold", "alerts_per_day_max", "profile"} == ProfileChange.model_fields.keys()
    for member in OF_LINES:
        assert f"`{member}`" in REST.read_text()


@pytest.mark.parametrize("body", [{"p_value_threshold": 0.02}, {"alerts_per_day_max": 3}, {"profile": "strict"}])
async def test_a_stream_of_traces_goes_on_under_another_profile(service: Service, traces: StreamRow, body: object) -> None:
    answer = (await patch(service, body, TRACES_PATH)).json()
    assert (answer["changed"], answer["calibration_restarts"]) == (True, False)
    assert "traces" in answer["effect"]
    assert "calibration goes on" in answer["effect"]
    assert [stream_id for stream_id, _ in service.house.configured] == [traces.stream_id]
    assert (await patch(service, body, TRACES_PATH)).json()["changed"] is False


@pytest.mark.parametrize("name", ["nope", "00000000-0000-0000-0000-000000000007", "%00", "x" * 5000])
async def test_an_unknown_stream_is_not_found(service: Service, name: str) -> None:
    path = f"/v1/streams/{name}/profile"
    assert (await service.client.get(path)).status_code == 404
    assert (await patch(service, {"profile": "strict"}, path)).status_code == 404


async def test_another_tenants_stream_is_not_found(service: Service, stream: StreamRow) -> None:
    for path in (PATH, f"/v1/streams/{stream.stream_id}/profile"):
        assert (await service.client.get(path, headers={"X-Api-Key": key("other")})).status_code == 404
        assert (await patch(service, {"profile": "strict"}, path, "other")).status_code == 404
    assert service.house.configured == []
    assert service.house.stream_rows[OTHER_TENANT] == {}


async def test_changing_needs_the_scope_admin_and_looking_the_scope_read(service: Service, stream: StreamRow) -> None:
    assert (await patch(service, {"profile": "strict"}, name="reader")).status_code == 403
    assert (await patch(service, {"profile": "strict"}, name="writer")).status_code == 403
    assert [
        (await service.client.get(PATH, headers={"X-Api-Key": key(name)})).status_code for name in ("reader", "writer")
    ] == [
        200,
        403,
    ]


async def test_a_key_that_is_bound_to_a_stream_changes_no_profile(service: Service, stream: StreamRow) -> None:
    service.directory.add("bound", TENANT, {Scope.ADMIN, Scope.READ}, stream="checkout")
    assert (await patch(service, {"profile": "strict"}, name="bound")).status_code == 403
    assert (await service.client.get(PATH, headers={"X-Api-Key": key("bound")})).status_code == 403


async def test_a_journal_that_can_not_be_written_is_a_retryable_problem(service: Service, stream: StreamRow) -> None:
    service.house.failure = Unavailable("the journal is full; retry", retry_after_ms=1500)
    response = await patch(service, {"profile": "strict"})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")


@pytest.mark.parametrize(("name", "allowed"), OVERRIDE_RANGES.items(), ids=OVERRIDE_RANGES)
def test_the_documented_ranges_are_true(name: str, allowed: tuple[float, float]) -> None:
    [row] = [line for line in REST.read_text().splitlines() if line.startswith(f"| `{name}` |")]
    assert f"| {allowed[0]:,} to {allowed[1]:,}".removesuffix(".0") in row


def test_the_documented_codecs_are_true() -> None:
    [row] = [line for line in REST.read_text().splitlines() if line.startswith("| `codec` |")]
    assert row == f"| `codec` | {', '.join(f'`{name}`' for name in cbad_cy.codec.CODECS)} |"
