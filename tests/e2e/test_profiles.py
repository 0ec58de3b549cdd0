"""Every stream is judged by its own profile, also after a restart, and a request by its own thresholds."""

import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.e2e.harness import Server, shop_log, stormy

pytestmark = pytest.mark.e2e
Make = Callable[..., Server]
STRICT_LZ4 = {
    "name": "custom",
    "ncd_threshold": 0.45,
    "p_value_threshold": 0.01,
    "baseline_size": 800,
    "window_size": 100,
    "hop_size": 20,
    "codec": "lz4",
    "codec_level": 0,
    "permutations_max": 1000,
    "alerts_per_day_max": 24,
    "masks": [],
    "group_by": "",
}
REQUEST_EVENTS = 5000


def detect(server: Server, stream: str, events: list[str], **members: object) -> list[dict[str, Any]]:
    """Send events; the anomalies that end in them."""
    found = []
    for start in range(0, len(events), REQUEST_EVENTS):
        body = {"stream_id": stream, "events": events[start : start + REQUEST_EVENTS], **members}
        response = httpx.post(f"{server.rest}/v1/detect", json=body, timeout=30)
        assert response.status_code == 200, response.text
        found += response.json()["anomalies"]
    return found


def change(server: Server, stream: str, body: dict[str, object]) -> dict[str, Any]:
    response = httpx.patch(f"{server.rest}/v1/streams/{stream}/profile", json=body, timeout=10)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_findings_carry_the_profile_of_their_stream_also_after_a_restart(make_server: Make) -> None:
    server = make_server()
    server.start()
    lines = stormy(shop_log(23_000, odd_at=30_000), 22_000, 22_300)
    detect(server, "shop", lines[:10])
    answer = change(server, "shop", {"profile": "strict", "codec": "lz4"})
    assert (answer["profile"], answer["changed"], answer["calibration_restarts"]) == (STRICT_LZ4, True, True)
    assert change(server, "shop", {"profile": "strict", "codec": "lz4"})["changed"] is False
    assert detect(server, "shop", lines[10:10_000]) == detect(server, "shop", lines[10_000:20_000]) == []
    server.signal(signal.SIGTERM)
    server.start()
    assert server.get("/v1/streams/shop")["profile"] == STRICT_LZ4
    found = detect(server, "shop", lines[20_000:])
    assert found
    for anomaly in found:
        assert (anomaly["codec"]["name"], anomaly["profile"]) == ("lz4", "custom")
        assert (anomaly["ncd_threshold"], anomaly["p_value_threshold"]) == (0.45, 0.01)
        assert anomaly["last_event"] - anomaly["first_event"] == 99
    assert server.get("/v1/streams/shop/profile")["profile"] == STRICT_LZ4


def test_thresholds_of_a_request_hold_for_that_request(server: Server) -> None:
    lines = stormy(shop_log(3_400, odd_at=20_000), 3_000, 3_200)
    streams = {"own": {}, "lenient": {"config_override": {"ncd_threshold": 1.0}}}
    for stream in streams:
        assert detect(server, stream, lines[:3_000]) == []
    found = {stream: detect(server, stream, lines[3_000:3_200], **members) for stream, members in streams.items()}
    assert found["own"]
    assert {anomaly["ncd_threshold"] for anomaly in found["own"]} == {0.3}
    assert [anomaly for anomaly in found["lenient"] if anomaly["ncd"] < 1.0] == []
    assert server.get("/v1/streams/lenient/profile")["profile"]["ncd_threshold"] == 0.3


def test_a_request_creates_a_stream_with_its_own_sizes(server: Server) -> None:
    override: dict[str, object] = {"baseline_size": 100, "window_size": 20, "hop_size": 5, "codec": "gzip"}
    lines = stormy(shop_log(2_000, odd_at=20_000), 1_800, 1_900)
    found = detect(server, "small", lines, config_override=override)
    assert {(anomaly["codec"]["name"], anomaly["last_event"] - anomaly["first_event"]) for anomaly in found} == {("gzip", 19)}
    refused = httpx.post(
        f"{server.rest}/v1/detect",
        json={"stream_id": "small", "events": ["x"], "config_override": {"window_size": 50}},
        timeout=10,
    )
    assert refused.status_code == 400
    assert [member["pointer"] for member in refused.json()["errors"]] == ["/config_override/window_size"]
