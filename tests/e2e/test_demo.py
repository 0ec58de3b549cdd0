"""The demo of a real server: anonymous, limited, and without a trace."""

from collections.abc import Callable

import httpx
import pytest

from tests.e2e.harness import Server, shop_log

pytestmark = pytest.mark.e2e


def test_the_demo_finds_what_is_new_and_keeps_nothing(make_server: Callable[..., Server]) -> None:
    server = make_server(
        DRIFTLOCK_DEMO_REQUESTS_PER_MINUTE="2",
        DRIFTLOCK_DEMO_GLOBAL_REQUESTS_PER_MINUTE="4",
        DRIFTLOCK_TRUSTED_PROXIES="127.0.0.1",
    )
    server.start()
    events = shop_log(200, 150)

    def post(forwarded: str = "") -> httpx.Response:
        headers = {"X-Forwarded-For": forwarded} if forwarded else {}
        return httpx.post(f"{server.rest}/v1/demo/detect", json={"events": events}, headers=headers, timeout=10)

    answer = post()
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert any("refused certificate" in found["explanation"] for found in body["anomalies"])
    assert all(found["last_event"] >= 150 for found in body["anomalies"])
    assert (body["remaining"], answer.headers["RateLimit-Policy"]) == (1, '"network";q=2;w=60, "global";q=4;w=60')
    assert server.get("/v1/streams")["streams"] == []
    assert server.metric("driftlock_journal_position") == 0

    assert post().json()["anomalies"] == body["anomalies"]
    refused = post()
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 30
    assert post("192.0.2.1, 203.0.113.9").status_code == 200, "another client behind the proxy"


def test_a_server_without_it_answers_404(make_server: Callable[..., Server]) -> None:
    server = make_server(DRIFTLOCK_DEMO="off")
    server.start()
    assert httpx.post(f"{server.rest}/v1/demo/detect", json={"events": ["x"] * 16}, timeout=10).status_code == 404
    assert "/v1/demo/detect" not in server.get("/v1/openapi.json")["paths"]
