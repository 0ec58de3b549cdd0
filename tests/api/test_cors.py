"""REST from web pages: off unless origins are listed, and never a way to pass for the local user."""

from collections.abc import Callable

import httpx
import pytest

from api import cors
from api.headers import ANSWERED
from driftlock.accounts.keys import ALL_SCOPES, Principal
from server.setting_table import SETTINGS
from tests.api.conftest import Service
from tests.api.fakes import TENANT, RecordingAccess

PAGE, STRANGER = "https://app.example", "https://evil.example"
Client = Callable[..., httpx.AsyncClient]
ASKED = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,if-match,content-type"}


async def test_a_listed_page_is_told_what_it_may_send_without_a_credential(with_deps: Client) -> None:
    async with with_deps(name=None, cors_origins=(PAGE,)) as client:
        answer = await client.options("/v1/streams/x/profile", headers={"Origin": PAGE, **ASKED})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    assert "if-match" in answer.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in answer.headers
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize(("path", "status"), [("/v1/version", 200), ("/v1/streams", 401), ("/nowhere", 404)])
async def test_a_listed_page_may_read_answers_and_errors(with_deps: Client, path: str, status: int) -> None:
    async with with_deps(name=None, cors_origins=(PAGE,)) as client:
        answer = await client.get(path, headers={"Origin": PAGE})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, PAGE)
    assert "x-request-id" in answer.headers["access-control-expose-headers"]


async def test_other_pages_may_not(with_deps: Client) -> None:
    async with with_deps(cors_origins=(PAGE,)) as client:
        asked = await client.options("/v1/streams", headers={"Origin": STRANGER, **ASKED})
        answer = await client.get("/v1/streams", headers={"Origin": STRANGER})
    assert (asked.status_code, asked.headers["content-type"]) == (403, "application/problem+json")
    assert "access-control-allow-origin" not in asked.headers
    assert "access-control-allow-origin" not in answer.headers


async def test_a_page_that_is_not_listed_is_told_its_origin_and_the_setting(with_deps: Client) -> None:
    async with with_deps(cors_origins=(PAGE,)) as client:
        asked = await client.options("/v1/streams", headers={"Origin": STRANGER, **ASKED, "X-Request-ID": "mine"})
    problem = asked.json()
    assert (problem["code"], problem["instance"], problem["request_id"]) == ("origin_not_allowed", "/v1/streams", "mine")
    assert STRANGER in problem["detail"]
    assert cors.SETTING in problem["detail"]
    assert cors.SETTING in {setting.name for setting in SETTINGS}
    assert "Origin" in asked.headers["vary"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"Access-Control-Request-Method": "TRACE"}, "TRACE"),
        ({"Access-Control-Request-Headers": "if-match,x-odd"}, "the headers x-odd;"),
        ({"Access-Control-Request-Private-Network": "true"}, "private"),
    ],
    ids=range(3),
)
async def test_a_listed_page_is_told_what_it_may_not_send(with_deps: Client, changed: dict[str, str], said: str) -> None:
    async with with_deps(cors_origins=(PAGE,)) as client:
        asked = await client.options("/v1/streams", headers={"Origin": PAGE, **ASKED, **changed})
    assert (asked.status_code, asked.json()["code"]) == (400, "invalid_argument")
    assert said in asked.json()["detail"]
    assert asked.headers["access-control-allow-origin"] == PAGE


async def test_pages_may_read_every_header_that_answers_have(with_deps: Client) -> None:
    async with with_deps(cors_origins=(PAGE,)) as client:
        answer = await client.get("/v1/version", headers={"Origin": PAGE})
    exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert exposed == {header.name.lower() for header in ANSWERED}


async def test_it_is_off_unless_origins_are_listed(service: Service) -> None:
    asked = await service.client.options("/v1/streams", headers={"Origin": PAGE, **ASKED})
    assert asked.status_code == 405
    assert not any(name.startswith("access-control") for name in asked.headers)


@pytest.mark.parametrize("origin", [PAGE, STRANGER, "null"])
async def test_no_foreign_page_passes_for_the_local_user(service: Service, with_deps: Client, origin: str) -> None:
    access = RecordingAccess(service.directory, Principal(TENANT, ALL_SCOPES))
    async with with_deps(name=None, access=access, cors_origins=(PAGE,)) as client:
        assert (await client.get("/v1/streams")).status_code == 200
        assert (await client.get("/v1/streams", headers={"Origin": origin})).status_code == 401
        made = await client.post("/v1/api-keys", json={"scopes": ["admin"]}, headers={"Origin": origin})
    assert made.status_code == 401
