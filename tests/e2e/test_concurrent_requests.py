"""Many requests at once share a commit and a step of detection: what they find together is still found once, and whole."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.harness import Server, shop_log

pytestmark = pytest.mark.e2e
REQUESTS, LINES_A_REQUEST = 12, 50
KINDS = ("fan stalled in rack", "voltage dropped on rail", "checksum mismatch in sector", "link flapped at port")


def odd_lines(request: int) -> list[str]:
    """Lines of a kind that a shop's log never had."""
    kind = KINDS[request % len(KINDS)]
    return [f"CRITICAL {kind} {request * LINES_A_REQUEST + line}, halting unit" for line in range(LINES_A_REQUEST)]


def test_one_incident_over_many_requests_of_one_step(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "calm.log"
    path.write_text("\n".join(shop_log(4000, 10**9)))
    assert server.replay("--live", "--service", "burst", str(path)) == []

    def detect(request: int) -> dict[str, Any]:
        body = {"stream_id": "burst", "events": odd_lines(request)}
        response = httpx.post(f"{server.rest}/v1/detect", json=body, timeout=30)
        assert response.status_code == 200, response.text
        return dict(response.json())

    with ThreadPoolExecutor(REQUESTS) as together:
        answers = list(together.map(detect, range(REQUESTS)))
    assert all(answer["processed"] == LINES_A_REQUEST and answer["pending"] == 0 for answer in answers)
    assert server.ready()
    stream = server.streams()["burst"]
    assert stream["events"] == 4000 + REQUESTS * LINES_A_REQUEST
    found = server.get("/v1/anomalies", stream=stream["id"], limit="200")["anomalies"]
    assert len(found) == len({item["window"] for item in found}) > 1
    incidents = [item for item in server.get("/v1/incidents")["incidents"] if item["streams"][0]["slug"] == "burst"]
    assert sum(item["anomalies_count"] for item in incidents) == len(found)
    assert {item["incident_id"] for item in found} == {item["id"] for item in incidents}
