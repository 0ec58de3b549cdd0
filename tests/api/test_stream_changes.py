"""Streams that people make, set and delete."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from driftlock.accounts.actor import ActorKind
from driftlock.engine.event import Signal, StreamKey
from tests.api.conftest import Service
from tests.api.fakes import OTHER_TENANT, TENANT, key
from tests.api.redaction_fakes import FakeStreamSettings

SHOP = {"service": "cart"}


def noted(service: Service) -> list[str]:
    fake = service.deps.stream_settings
    assert isinstance(fake, FakeStreamSettings)
    return [verb for verb, _, _ in fake.noted]


async def test_a_stream_is_made_before_its_first_record(service: Service) -> None:
    wanted = SHOP | {"profile": "strict", "masks": ["o-{digits}"], "display_name": "Cart", "retention_days": 7}
    made = await service.client.post("/v1/streams", json=wanted)
    assert made.status_code == 201
    body = made.json()
    assert made.headers["Location"] == f"/v1/streams/{body['id']}"
    assert (body["display_name"], body["retention_days"], body["signal"]) == ("Cart", 7, "logs")
    assert (body["profile"]["ncd_threshold"], body["profile"]["masks"]) == (0.45, ["o-{digits}"])
    assert (await service.client.get(made.headers["Location"])).json() == body
    assert noted(service) == ["created", "changed"]
    again = await service.client.post("/v1/streams", json=wanted)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("wrong", "member"),
    [
        ({"service": ""}, "service"),
        ({"service": " cart"}, "service"),
        ({"service": "_traces"}, "service"),
        ({"service": "x" * 257}, "service"),
        ({"namespace": "a\nb"}, "namespace"),
        ({"signal": "profiles"}, "signal"),
        ({"display_name": "a\tb"}, "display_name"),
        ({"display_name": "ä" * 129}, "display_name"),
        ({"retention_days": 0}, "retention_days"),
        ({"retention_days": 31}, "retention_days"),
        ({"profile": "of mine"}, "profile"),
        ({"hop_size": 0}, "hop_size"),
        ({"masks": ["x"]}, "masks"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_is_wrong_with_a_new_stream_is_pointed_at(service: Service, wrong: dict[str, Any], member: str) -> None:
    answer = await service.client.post("/v1/streams", json=SHOP | wrong)
    assert answer.status_code == 400
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{member}"]
    assert service.house.stream_rows[TENANT] == {}


async def test_an_account_that_is_full(service: Service) -> None:
    service.house.full = True
    answer = await service.client.post("/v1/streams", json=SHOP)
    assert (answer.status_code, answer.json()["code"]) == (403, "quota_exhausted")


async def test_settings_change_alone(service: Service) -> None:
    stream = (await service.client.post("/v1/streams", json=SHOP)).json()
    path = f"/v1/streams/{stream['id']}"
    changed = (await service.client.patch(path, json={"display_name": "Cart", "alerts_per_day_max": 3})).json()
    assert (changed["display_name"], changed["profile"]["alerts_per_day_max"]) == ("Cart", 3)
    assert changed["profile"]["window_size"] == stream["profile"]["window_size"]
    assert (await service.client.patch(path, json={"retention_days": 30})).json()["retention_days"] == 30
    assert (await service.client.patch(path, json={"retention_days": None})).json()["retention_days"] is None
    assert (await service.client.patch(path, json={"display_name": ""})).json()["display_name"] == ""
    assert (await service.client.patch(path, json={})).json()["profile"]["alerts_per_day_max"] == 3
    for body, member in (
        ({"retention_days": 31}, "/retention_days"),
        ({"alerts_per_day_max": -1}, "/alerts_per_day_max"),
        ({"slug": "x"}, "/slug"),
    ):
        answer = await service.client.patch(path, json=body)
        assert [error["pointer"] for error in answer.json()["errors"]] == [member]


async def test_a_stream_is_deleted_once(service: Service) -> None:
    stream = (await service.client.post("/v1/streams", json=SHOP)).json()
    gone = await service.client.delete(f"/v1/streams/{stream['id']}")
    assert gone.status_code == 202
    assert gone.json() == {"id": stream["id"], "slug": stream["slug"], "status": "deleting"}
    assert (await service.client.delete(f"/v1/streams/{stream['id']}")).status_code == 404
    assert (await service.client.get("/v1/streams")).json()["streams"] == []
    assert (await service.client.post("/v1/streams", json=SHOP)).status_code == 201


async def test_a_stream_that_was_changed_since_it_was_read_is_not_deleted(service: Service) -> None:
    path = f"/v1/streams/{(await service.client.post('/v1/streams', json=SHOP)).json()['id']}"
    read = (await service.client.get(path)).headers["ETag"]
    now = (await service.client.patch(path, json={"display_name": "Cart"})).headers["ETag"]
    late = await service.client.delete(path, headers={"If-Match": read})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert (await service.client.get(path)).json()["display_name"] == "Cart"
    assert (await service.client.delete(path, headers={"If-Match": now})).status_code == 202


async def test_another_tenants_stream_is_not_there(service: Service) -> None:
    foreign = service.house._stream(OTHER_TENANT, StreamKey(Signal.LOGS, "theirs")).stream_id
    assert (await service.client.patch(f"/v1/streams/{foreign}", json={"display_name": "x"})).status_code == 404
    assert (await service.client.delete(f"/v1/streams/{foreign}")).status_code == 404
    assert foreign in service.house.stream_rows[OTHER_TENANT]


@pytest.mark.parametrize("name", ["reader", "writer"])
async def test_streams_are_changed_by_those_who_administer(service: Service, name: str) -> None:
    headers = {"X-Api-Key": key(name)}
    stream = service.house._stream(TENANT, StreamKey(Signal.LOGS, "ours")).stream_id
    assert (await service.client.post("/v1/streams", json=SHOP, headers=headers)).status_code == 403
    assert (await service.client.patch(f"/v1/streams/{stream}", json={}, headers=headers)).status_code == 403
    assert (await service.client.delete(f"/v1/streams/{stream}", headers=headers)).status_code == 403


def renamed_meanwhile(service: Service, stream_id: str) -> None:
    """Somebody else changes the stream after it was read for the change, and before that is made."""
    fake, rows = service.deps.stream_settings, service.house.stream_rows[TENANT]
    assert isinstance(fake, FakeStreamSettings)

    def rename() -> None:
        rows[UUID(stream_id)] = replace(rows[UUID(stream_id)], display_name="theirs")

    fake.meanwhile = rename


@pytest.mark.parametrize(
    "body", [{"display_name": "mine"}, {"alerts_per_day_max": 3}, {"retention_days": 3, "alerts_per_day_max": 3}]
)
async def test_a_change_in_between_is_not_overwritten(service: Service, body: dict[str, Any]) -> None:
    made = (await service.client.post("/v1/streams", json=SHOP)).json()
    path = f"/v1/streams/{made['id']}"
    read = (await service.client.get(path)).headers["ETag"]
    renamed_meanwhile(service, made["id"])
    for answer in (
        await service.client.patch(path, json=body, headers={"If-Match": read}),
        await service.client.delete(path, headers={"If-Match": read}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed")
    now = (await service.client.get(path)).json()
    assert (now["display_name"], now["retention_days"], now["profile"]) == ("theirs", None, made["profile"])
    any_state = {"If-Match": "*"}
    assert (await service.client.patch(path, json=body, headers=any_state)).status_code == 200
    assert (await service.client.delete(path, headers=any_state)).status_code == 202


async def test_a_stream_that_events_create_is_noted_once(service: Service) -> None:
    for name in ("cart", "cart", "till"):
        assert (await service.client.post("/v1/detect", json={"stream_id": name, "events": ["x"]})).status_code == 200
    fake = service.deps.stream_settings
    assert isinstance(fake, FakeStreamSettings)
    assert [(verb, actor.kind) for verb, _, actor in fake.noted] == [("created", ActorKind.KEY)] * 2
    assert (await service.client.post("/v1/streams", json={"service": "shop"})).status_code == 201
    await service.client.post("/v1/detect", json={"stream_id": "shop", "events": ["x"]})
    assert noted(service) == ["created"] * 3
