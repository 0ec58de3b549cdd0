"""OTLP/HTTP from web pages: off unless origins are listed, and never a way around the key."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from collector.auth import IngestAccess
from collector.otlp.http import HttpLimits, create_app
from driftlock.accounts.access import Access
from driftlock.accounts.keys import KeyRecord, Principal, Scope
from driftlock.accounts.origins import ORIGINS_MAX, parse_named_origins, parse_origins
from tests.collector.fakes import KEY, TENANT, bench
from tests.collector.otlp_requests import log, logs

PAGE = "https://shop.example"
HELLO = logs(log("hello")).SerializeToString()
ASKED = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-api-key"}


class NoKeys:
    async def lookup(self, key_id: str, now: datetime) -> KeyRecord | None:  # noqa: ARG002
        return None


@asynccontextmanager
async def connected(origins: Sequence[str], **parts: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with bench(**parts) as made:
        transport = httpx.ASGITransport(create_app(made.exporter, HttpLimits(), origins), client=("127.0.0.1", 1))
        headers = {"content-type": "application/x-protobuf"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:4318", headers=headers) as client:
            yield client


@pytest.mark.parametrize(("origins", "allowed"), [((PAGE,), PAGE), (("*",), "*"), (("https://a.example", PAGE), PAGE)])
async def test_a_listed_page_may_ask_send_and_read(origins: Sequence[str], allowed: str) -> None:
    async with connected(origins) as client:
        asked = await client.options("/v1/logs", headers=ASKED | {"origin": PAGE})
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, allowed)
        assert asked.headers["access-control-allow-methods"] == "POST"
        assert {"authorization", "content-encoding", "content-type", "x-api-key"} <= set(
            asked.headers["access-control-allow-headers"].lower().split(", ")
        )
        assert asked.headers["access-control-max-age"] == "7200"
        assert "access-control-allow-credentials" not in asked.headers
        sent = await client.post("/v1/logs", content=HELLO, headers={"origin": PAGE, "x-api-key": KEY})
        assert (sent.status_code, sent.headers["access-control-allow-origin"]) == (200, allowed)
        assert sent.headers["access-control-expose-headers"] == "retry-after"


async def test_errors_can_be_read_too() -> None:
    async with connected((PAGE,)) as client:
        for path, headers, status in (
            ("/v1/logs", {}, 401),
            ("/v1/logs", {"content-type": "a/b", "x-api-key": KEY}, 415),
            ("/x", {}, 404),
        ):
            answer = await client.post(path, content=b"\xff", headers={"origin": PAGE} | headers)
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, PAGE)


async def test_other_pages_may_not() -> None:
    async with connected((PAGE,)) as client:
        for origin in ("https://evil.example", "null", "http://shop.example", "https://shop.example.evil.example"):
            asked = await client.options("/v1/logs", headers=ASKED | {"origin": origin})
            assert asked.status_code == 400
            assert "access-control-allow-origin" not in asked.headers
            sent = await client.post("/v1/logs", content=HELLO, headers={"origin": origin})
            assert "access-control-allow-origin" not in sent.headers


async def test_off_by_default() -> None:
    async with connected(()) as client:
        asked = await client.options("/v1/logs", headers=ASKED | {"origin": PAGE})
        assert asked.status_code == 405
        sent = await client.post("/v1/logs", content=HELLO, headers={"origin": PAGE, "x-api-key": KEY})
        assert not [name for name in (*asked.headers, *sent.headers) if name.startswith("access-control")]


async def test_a_page_without_a_key_is_not_the_anonymous_local_sender() -> None:
    anonymous = Principal(TENANT, frozenset({Scope.INGEST}), None)
    access = IngestAccess(Access(NoKeys(), anonymous=anonymous), lambda: datetime(2026, 1, 1, tzinfo=UTC))
    async with connected(("*",), authenticator=access) as client:
        assert (await client.post("/v1/logs", content=HELLO)).status_code == 200
        for origin in (PAGE, "null", "http://localhost.evil.example"):
            assert (await client.post("/v1/logs", content=HELLO, headers={"origin": origin})).status_code == 401
        assert (await client.post("/v1/logs", content=HELLO, headers={"host": "rebound.example"})).status_code == 401


def test_parse_origins() -> None:
    assert parse_origins("off") == ()
    assert parse_origins("*") == ("*",)
    assert parse_origins(f"{PAGE} ,http://[::1]:3000") == (PAGE, "http://[::1]:3000")


@pytest.mark.parametrize(
    "text",
    [
        "shop.example",
        f"{PAGE}/",
        f"{PAGE}/path",
        f"{PAGE}:443",
        "http://a:80",
        "ftp://a",
        "https://A.example",
        f"*,{PAGE}",
        "none",
        "",
        "https://*.example/",
        "https://user@a.example",
        "https://a.example:x",
        "null",
        ",".join([PAGE] * (ORIGINS_MAX + 1)),
    ],
)
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(ValueError, match=r"origins"):
        parse_origins(text)


def test_where_every_origin_is_named_there_is_no_star() -> None:
    assert parse_named_origins("off") == ()
    assert parse_named_origins(PAGE) == (PAGE,)
    with pytest.raises(ValueError, match="each one has to be named"):
        parse_named_origins("*")
