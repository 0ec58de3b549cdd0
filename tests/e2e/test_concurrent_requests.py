"""Many requests at once share a commit and a step of detection: nothing is lost, and nothing is found twice."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.harness import Server, shop_log, stormy

pytestmark = pytest.mark.e2e
REQUESTS, LINES_A_REQUEST = 12, 50


def test_many_requests_at_once_into_one_stream(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "calm.log"
    path.write_text("\n".join(shop_log(4000, 10**9)))
    assert server.replay("--live", "--service", "burst", str(path)) == []

    def detect(request: int) -> dict[str, Any]:
        body = {"stream_id": "burst", "events": stormy(shop_log(LINES_A_REQUEST, 10**9, seed=request), 0)}
        response = httpx.post(f"{server.rest}/v1/detect", json=body, timeout=30)
        assert response.status_code == 200, response.text
        return dict(response.json())

    with ThreadPoolExecutor(REQUESTS) as together:
        answers = list(together.map(detect, range(REQUESTS)))
    assert [answer["processed"] for answer in answers] == [LINES_A_REQUEST] * REQUESTS
    assert server.ready()
    stream = server.streams()["burst"]
    assert stream["events"] == 4000 + REQUESTS * LINES_A_REQUEST
    found = server.get("/v1/anomalies", stream=stream["id"], limit="200")["anomalies"]
    assert len(found) == len({item["window"] for item in found}) > 1
