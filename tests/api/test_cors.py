"""REST from web pages: off unless origins are listed, and never a way to pass for the local user."""

from collections.abc import Callable

import httpx
import pytest

from driftlock.accounts.keys import ALL_SCOPES, Principal
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
    assert asked.status_code == 400
    assert "access-control-allow-origin" not in asked.headers
    assert "access-control-allow-origin" not in answer.headers


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
