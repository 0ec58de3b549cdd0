"""If-Match: a change is made to what its client has read, or not at all."""

import pytest

from api.endpoint import Call, Endpoint, Reply
from api.etag import check_if_match, etag_of
from api.models import Check, Liveness
from driftlock.engine.event import Signal, StreamKey
from tests.api.conftest import Service
from tests.api.fakes import TENANT
from tests.api.serving import client_of

ALIVE = Liveness(status="ok")
TAG = etag_of(ALIVE)


async def change(call: Call) -> Reply:
    check_if_match(call, TAG)
    return Reply(ALIVE, headers={"ETag": TAG})


ENDPOINT = Endpoint("PATCH", "/x", "x", "x", "x", change, {200: Liveness}, etag=True)


def test_a_tag_is_of_the_value() -> None:
    assert TAG == etag_of(Liveness(status="ok")) == '"7bf1bc3824f3845d08ba72f6423986ec"'
    assert len({TAG, etag_of(Check(ok=True, detail=None)), etag_of(Check(ok=True, detail="x"))}) == 3


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ([], 200),
        ([TAG], 200),
        (["*"], 200),
        ([f'"other", {TAG}'], 200),
        (['"other"', TAG], 200),
        (['"a,b"  ,' + TAG], 200),
        (['"other"'], 412),
        ([f"W/{TAG}"], 412),
        ([TAG.upper()], 412),
        (["other"], 400),
        ([""], 400),
        (["*, " + TAG], 400),
        ([TAG + ","], 400),
        ([TAG.strip('"')], 400),
        (['"' + "x" * 1000 + '"'], 400),
    ],
    ids=str,
)
async def test_if_match(service: Service, sent: list[str], status: int) -> None:
    async with client_of(service.deps, ENDPOINT) as client:
        response = await client.patch("/x", headers=[("If-Match", value) for value in sent])
    assert response.status_code == status
    if status == 412:
        assert response.json()["code"] == "precondition_failed"
    if status == 400:
        assert response.json()["errors"][0]["parameter"] == "If-Match"


async def test_a_profile_changes_only_from_what_was_read(service: Service) -> None:
    service.house._stream(TENANT, StreamKey(Signal.LOGS, "checkout"))
    path, client = "/v1/streams/checkout/profile", service.client
    read = (await client.get(path)).headers["etag"]
    changed = await client.patch(path, json={"window_size": 25}, headers={"If-Match": read})
    assert changed.status_code == 200
    late = await client.patch(path, json={"window_size": 30}, headers={"If-Match": read})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    now = (await client.get(path)).headers["etag"]
    assert now == changed.headers["etag"] != read
    patch = {"Content-Type": "application/merge-patch+json", "If-Match": now}
    assert (await client.patch(path, content=b'{"window_size":30}', headers=patch)).status_code == 200
    assert [profile.window_size for _, profile in service.house.configured] == [25, 30]


async def test_a_merge_patch_is_for_patch(service: Service) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    assert (await service.client.post("/v1/detect", content=b'{"events":["a"]}', headers=headers)).status_code == 415


async def test_a_stream_changes_only_from_what_was_read(service: Service) -> None:
    service.house._stream(TENANT, StreamKey(Signal.LOGS, "checkout"))
    path, client = "/v1/streams/checkout", service.client
    read = (await client.get(path)).headers["etag"]
    await service.client.post("/v1/detect", json={"stream_id": "checkout", "events": ["a"]})
    assert (await client.get(path)).headers["etag"] == read, "events are nothing that a client changes"
    changed = await client.patch(path, json={"display_name": "Checkout"}, headers={"If-Match": read})
    assert changed.status_code == 200
    assert changed.headers["etag"] != read
    late = await client.patch(path, json={"display_name": "Other"}, headers={"If-Match": read})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
