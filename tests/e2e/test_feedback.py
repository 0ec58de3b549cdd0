"""What people say of a finding reaches the detector of a running server, and outlives it."""

import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.e2e.harness import Server, shop_log

pytestmark = pytest.mark.e2e
Make = Callable[..., Server]
QUIET, ODD = 3_000, 60


def detect(server: Server, stream: str, events: list[str]) -> list[dict[str, Any]]:
    response = httpx.post(f"{server.rest}/v1/detect", json={"stream_id": stream, "events": events}, timeout=30)
    assert response.status_code == 200, response.text
    return list(response.json()["anomalies"])


def judge(server: Server, anomaly: str, **body: object) -> dict[str, Any]:
    response = httpx.post(f"{server.rest}/v1/anomalies/{anomaly}/feedback", json=body, timeout=10)
    assert response.status_code == 200, response.text
    return dict(response.json())


def listed(server: Server, stream: str, *, silenced: bool) -> list[dict[str, Any]]:
    return list(server.get("/v1/anomalies", stream=stream, limit="200", silenced=str(silenced).lower())["anomalies"])


def test_feedback_silences_the_same_and_outlives_a_restart(make_server: Make) -> None:
    server = make_server()
    server.start()
    lines = shop_log(QUIET + ODD, odd_at=QUIET)
    assert detect(server, "taught", lines[:QUIET]) == detect(server, "untaught", lines[:QUIET]) == []
    first = next(found[0] for at in range(QUIET, QUIET + ODD, 10) if (found := detect(server, "taught", lines[at : at + 10])))
    sent = first["last_event"] + 1
    assert {it["id"] for it in judge(server, first["id"], verdict="false_positive", preview=True)["preview"]["silences"]} == {
        first["id"]
    }
    assert judge(server, first["id"], verdict="false_positive", note="a drill")["feedback"]["taught"]
    server.signal(signal.SIGTERM)
    server.start()
    rest = lines[sent - sent % 10 + (10 if sent % 10 else 0) :]
    told = detect(server, "taught", rest)
    assert detect(server, "untaught", lines[QUIET:])
    silent = listed(server, "taught", silenced=True)
    assert silent
    assert {it["silenced_by"] for it in silent} == {first["id"]}
    assert {it["incident_id"] for it in silent} == {None}
    assert not {it["id"] for it in silent} & {it["id"] for it in [*told, *listed(server, "taught", silenced=False)]}
    assert listed(server, "untaught", silenced=True) == []
    assert httpx.delete(f"{server.rest}/v1/anomalies/{first['id']}/feedback", timeout=10).status_code == 204


def test_a_profile_is_changed_and_put_back(server: Server) -> None:
    detect(server, "tuned", shop_log(10, odd_at=20))
    path = f"{server.rest}/v1/streams/tuned"
    assert httpx.patch(f"{path}/profile", json={"ncd_threshold": 0.4}, timeout=10).status_code == 200
    assert httpx.patch(f"{path}/tuning", json={"automatic": True}, timeout=10).json()["automatic"] is True
    [entry] = server.get("/v1/streams/tuned/tuning")["entries"]
    assert entry["changes"][1] == {"member": "ncd_threshold", "before": 0.3, "after": 0.4}
    assert httpx.post(f"{path}/tuning/{entry['n']}/undo", timeout=10).status_code == 200
    assert server.get("/v1/streams/tuned/profile")["profile"]["name"] == "balanced"
    assert httpx.post(f"{path}/tuning/{entry['n']}/undo", timeout=10).status_code == 409
