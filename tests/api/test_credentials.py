from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest

from api.rfc3339 import ns_of_datetime
from driftlock.accounts.keys import ALL_SCOPES, Principal
from tests.api.conftest import Service
from tests.api.fakes import NOW_NS, TENANT, RecordingAccess, key

READS = ["/v1/anomalies", "/v1/incidents", "/v1/streams"]
OPEN = ["/livez", "/readyz", "/metrics", "/v1/version", "/v1/profiles", "/v1/openapi.json"]
WithDeps = Callable[..., httpx.AsyncClient]


@pytest.mark.parametrize(
    ("headers", "presented"),
    [
        ([("X-Api-Key", "k1")], ["k1"]),
        ([("x-api-key", " k1 ")], ["k1"]),
        ([("Authorization", "Bearer k1")], ["k1"]),
        ([("Authorization", "bearer   k1")], ["k1"]),
        ([("X-Api-Key", "k1"), ("Authorization", "Bearer k2")], ["k1", "k2"]),
        ([("X-Api-Key", "k1"), ("X-Api-Key", "k2")], ["k1", "k2"]),
        ([("Authorization", "Basic abc")], ["Basic abc"]),
        ([("Authorization", "")], [""]),
        ([("X-Api-Key", "")], [""]),
        ([], []),
    ],
)
async def test_every_credential_is_presented(
    service: Service, with_deps: WithDeps, headers: list[tuple[str, str]], presented: list[str]
) -> None:
    async with with_deps(name=None) as client:
        response = await client.get("/v1/streams", headers=headers)
    assert response.status_code == 401
    assert service.access.seen[-1]["presented"] == presented


async def test_the_surroundings_are_told(service: Service) -> None:
    await service.client.get("/v1/streams", headers={"Origin": "http://evil.example"})
    seen = service.access.seen[-1]
    assert (seen["peer"], seen["host"], seen["origin"]) == ("127.0.0.1", "127.0.0.1:8080", "http://evil.example")
    assert isinstance(seen["now"], datetime)
    assert seen["now"].tzinfo is UTC
    assert ns_of_datetime(seen["now"]) == NOW_NS // 1000 * 1000


@pytest.mark.parametrize("path", READS)
async def test_reading_needs_a_key_with_the_scope(with_deps: WithDeps, path: str) -> None:
    async with with_deps(name=None) as client:
        assert (await client.get(path)).status_code == 401
        assert (await client.get(path, headers={"X-Api-Key": "wrong"})).status_code == 401
        refused = await client.get(path, headers={"X-Api-Key": key("writer")})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert "'read'" in refused.json()["detail"]
        assert (await client.get(path, headers={"X-Api-Key": key("reader")})).status_code == 200
        assert (await client.get(path, headers={"Authorization": f"Bearer {key('reader')}"})).status_code == 200


async def test_detecting_needs_a_key_with_the_scope(service: Service, with_deps: WithDeps) -> None:
    body = {"events": ["a"]}
    async with with_deps(name=None) as client:
        assert (await client.post("/v1/detect", json=body)).status_code == 401
        assert (await client.post("/v1/detect", json=body, headers={"X-Api-Key": key("reader")})).status_code == 403
        assert service.house.submissions == []
        assert (await client.post("/v1/detect", json=body, headers={"X-Api-Key": key("writer")})).status_code == 200


async def test_a_body_is_not_read_for_a_stranger(with_deps: WithDeps) -> None:
    async with with_deps(name=None) as client:
        assert (await client.post("/v1/detect", content=b"not json")).status_code == 401


async def test_every_refusal_reads_the_same(with_deps: WithDeps) -> None:
    async with with_deps(name=None) as client:
        answers = [
            await client.get("/v1/streams", headers=headers) for headers in ({}, {"X-Api-Key": "x"}, {"X-Api-Key": "y" * 9999})
        ]
    assert len({answer.json()["detail"] for answer in answers}) == 1
    assert all("Bearer" in answer.headers["WWW-Authenticate"] for answer in answers)


@pytest.mark.parametrize("path", OPEN)
async def test_some_paths_need_no_key(service: Service, with_deps: WithDeps, path: str) -> None:
    async with with_deps(name=None) as client:
        assert (await client.get(path)).status_code == 200
    assert service.access.seen == []


async def test_without_a_key_the_local_tenant_may_be_meant(service: Service, with_deps: WithDeps) -> None:
    access = RecordingAccess(service.directory, anonymous=Principal(TENANT, ALL_SCOPES))
    async with with_deps(name=None, access=access) as client:
        assert (await client.get("/v1/streams")).status_code == 200
        assert (await client.get("/v1/streams", headers={"Authorization": "Basic abc"})).status_code == 401
        assert (await client.get("/v1/streams", headers={"Origin": "http://evil.example"})).status_code == 401
        assert (await client.get("/v1/streams", headers={"Host": "evil.example"})).status_code == 401


async def test_another_tenants_things_are_not_found(service: Service) -> None:
    other = {"X-Api-Key": key("other")}
    assert (await service.client.post("/v1/detect", json={"events": ["a"]}, headers=other)).status_code == 200
    stream = (await service.client.get("/v1/streams", headers=other)).json()["streams"][0]
    for path in (f"/v1/streams/{stream['id']}", f"/v1/streams/{stream['slug']}", f"/v1/anomalies?stream={stream['id']}"):
        assert (await service.client.get(path)).status_code == 404
    assert (await service.client.get("/v1/streams")).json()["streams"] == []


async def test_a_malformed_key_is_refused_without_a_look_up(service: Service, with_deps: WithDeps) -> None:
    async with with_deps(name=None) as client:
        assert (await client.get("/v1/streams", headers={"X-Api-Key": "dl_live_nope"})).status_code == 401
    assert service.directory.seen == []


async def test_a_key_in_the_query_string_is_no_credential(with_deps: WithDeps) -> None:
    async with with_deps(name=None) as client:
        assert (await client.get("/v1/streams", params={"api_key": key("good")})).status_code == 401


async def test_a_bound_key_writes_to_its_stream_only(service: Service) -> None:
    service.directory.add("bound", TENANT, ALL_SCOPES, stream="checkout")
    bound = {"X-Api-Key": key("bound")}
    for body in ({"events": ["a"]}, {"stream_id": "checkout", "events": ["a"]}):
        answer = await service.client.post("/v1/detect", json=body, headers=bound)
        assert (answer.status_code, answer.json()["stream"]["slug"]) == (200, "checkout")
    refused = await service.client.post("/v1/detect", json={"stream_id": "other", "events": ["a"]}, headers=bound)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (403, "/stream_id")
    assert (await service.client.get("/v1/streams", headers=bound)).status_code == 403
