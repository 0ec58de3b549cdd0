"""API keys over REST: shown once, never more than their maker has, and gone when they are revoked."""

import httpx
import pytest

from driftlock.accounts.keys import Scope, parse
from tests.api.conftest import Service
from tests.api.fakes import OTHER_TENANT, TENANT, key
from tests.api.key_fakes import FakeKeys

PATH = "/v1/api-keys"
NEW = {"name": "ci", "scopes": ["ingest", "read"]}


async def create(client: httpx.AsyncClient, body: object = None, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(PATH, json=body or NEW, headers=sent)


async def test_a_key_is_made_shown_once_and_works(service: Service) -> None:
    made = await create(service.client)
    body = made.json()
    assert (made.status_code, made.headers["location"]) == (201, f"{PATH}/{body['api_key']['id']}")
    assert parse(body["key"]) == body["api_key"]["id"]
    assert body["key"].startswith("dl_live_")
    shown = await service.client.get(made.headers["location"])
    assert shown.json() == body["api_key"]
    assert body["api_key"]["status"] == "active"
    assert body["api_key"]["scopes"] == ["ingest", "read"]
    assert body["key"] not in shown.text + (await service.client.get(PATH)).text
    assert (await service.client.get("/v1/streams", headers={"X-Api-Key": body["key"]})).status_code == 200
    assert (await service.client.get(PATH, headers={"X-Api-Key": body["key"]})).status_code == 403


async def test_the_kept_answer_has_no_key_in_it(service: Service) -> None:
    first = await create(service.client, Idempotency_Key="k")
    again = await create(service.client, Idempotency_Key="k")
    assert (again.status_code, again.json()) == (201, first.json() | {"key": None})
    assert first.json()["key"] not in repr(service.deps.idempotency)
    assert len((await service.client.get(PATH)).json()["api_keys"]) == 1


async def test_nobody_gives_what_they_have_not(service: Service) -> None:
    service.directory.add("admin", TENANT, {Scope.ADMIN})
    refused = await create(service.client, {"scopes": ["admin", "read"]}, X_Api_Key=key("admin"))
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (403, "/scopes")
    made = (await create(service.client, {"scopes": ["read"]})).json()
    rotated = await service.client.post(f"{PATH}/{made['api_key']['id']}/rotate", json={}, headers={"X-Api-Key": key("admin")})
    assert rotated.status_code == 403
    assert (await create(service.client, {"scopes": ["admin"]}, X_Api_Key=key("admin"))).status_code == 201


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["read", "read"]}, "/scopes"),
        ({"scopes": ["all"]}, "/scopes/0"),
        ({"name": "x"}, "/scopes"),
        ({"scopes": ["read"], "name": "a\nb"}, "/name"),
        ({"scopes": ["read"], "name": "x" * 65}, "/name"),
        ({"scopes": ["read"], "kind": "local"}, "/kind"),
        ({"scopes": ["read"], "stream": "checkout"}, "/stream"),
        ({"scopes": ["ingest"], "stream": "\u200b"}, "/stream"),
        ({"scopes": ["ingest"], "stream": "x" * 65}, "/stream"),
        ({"scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"scopes": ["read"], "expires_at": "tomorrow"}, "/expires_at"),
        ({"scopes": ["read"], "requests_per_minute": 0}, "/requests_per_minute"),
        ({"scopes": ["read"], "secret": "x"}, "/secret"),
    ],
    ids=str,
)
async def test_what_is_no_key(service: Service, body: object, pointer: str) -> None:
    refused = await create(service.client, body)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, pointer)
    assert (await service.client.get(PATH)).json()["api_keys"] == []


async def test_a_key_that_is_bound_to_a_stream_expires_and_is_slow(service: Service) -> None:
    body = {"scopes": ["ingest"], "stream": "checkout", "expires_at": "2030-01-01T00:00:00Z", "requests_per_minute": 5}
    made = (await create(service.client, body | {"kind": "test"})).json()
    shown = made["api_key"]
    assert made["key"].startswith("dl_test_")
    assert {name: shown[name] for name in body} == body


async def test_a_rotated_key_and_its_successor(service: Service) -> None:
    old = (await create(service.client)).json()
    place = f"{PATH}/{old['api_key']['id']}/rotate"
    answer = await service.client.post(place, json={"overlap_seconds": 3600}, headers={"Idempotency-Key": "k"})
    made = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"{PATH}/{made['api_key']['id']}")
    assert made["api_key"]["replaces"] == old["api_key"]["id"] == made["replaced"]["id"]
    assert made["replaced"]["expires_at"] == "2027-01-15T09:00:00.123456Z"
    for text in (old["key"], made["key"]):
        assert (await service.client.get("/v1/streams", headers={"X-Api-Key": text})).status_code == 200
    again = await service.client.post(place, json={"overlap_seconds": 3600}, headers={"Idempotency-Key": "k"})
    assert again.json() == made | {"key": None}
    for wrong in (-1, 30 * 86_400 + 1):
        assert (await service.client.post(place, json={"overlap_seconds": wrong})).status_code == 400


async def test_a_revoked_key(service: Service) -> None:
    made = (await create(service.client)).json()
    place = f"{PATH}/{made['api_key']['id']}"
    for _ in range(2):
        gone = await service.client.delete(place)
        assert (gone.status_code, gone.content) == (204, b"")
    assert (await service.client.get(place)).json()["status"] == "revoked"
    assert (await service.client.get("/v1/streams", headers={"X-Api-Key": made["key"]})).status_code == 401
    assert (await service.client.post(f"{place}/rotate", json={})).status_code == 409


async def test_keys_of_others_are_not_there(service: Service) -> None:
    theirs = (await create(service.client, X_Api_Key=key("other"))).json()["api_key"]["id"]
    for answer in (
        await service.client.get(f"{PATH}/{theirs}"),
        await service.client.delete(f"{PATH}/{theirs}"),
        await service.client.post(f"{PATH}/{theirs}/rotate", json={}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    keys = service.deps.keys
    assert isinstance(keys, FakeKeys)
    assert [row.revoked_at for row in keys.rows[OTHER_TENANT]] == [None]


async def test_pages_of_keys(service: Service) -> None:
    made = [(await create(service.client)).json()["api_key"]["id"] for _ in range(5)]
    found: list[str] = []
    query = "?limit=2"
    while query:
        page = (await service.client.get(PATH + query)).json()
        found += [row["id"] for row in page["api_keys"]]
        query = f"?limit=2&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert found == made[::-1]


async def test_changes_of_keys_are_signed(service: Service) -> None:
    made = (await create(service.client, Idempotency_Key="k")).json()
    await service.client.delete(f"{PATH}/{made['api_key']['id']}")
    keys = service.deps.keys
    assert isinstance(keys, FakeKeys)
    assert [(actor.kind, actor.network, actor.claim is None) for actor in keys.actors] == [
        ("key", "127.0.0.0/24", False),
        ("key", "127.0.0.0/24", True),
    ]


async def test_keys_are_for_administrators(service: Service) -> None:
    for name in ("reader", "writer"):
        headers = {"X-Api-Key": key(name)}
        assert (await service.client.get(PATH, headers=headers)).status_code == 403
        assert (await create(service.client, X_Api_Key=key(name))).status_code == 403
