"""The same records under the same stream key give the same findings, whichever way and in whatever portions they come."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.harness import Server, shop_log, stormy, verdict

pytestmark = pytest.mark.e2e
LINES, FIRST_S = 4000, 1_700_000_000


def records() -> list[dict[str, Any]]:
    return [{"time": FIRST_S + number, "text": text} for number, text in enumerate(stormy(shop_log(LINES, 10**9), 2500, 2540))]


def over_grpc(server: Server, folder: Path, batch: int) -> list[dict[str, Any]]:
    path = folder / "checkout.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records()))
    return server.replay("--batch", str(batch), str(path))


def over_rest(server: Server, batch: int) -> list[dict[str, Any]]:
    found = []
    everything = records()
    for start in range(0, LINES, batch):
        body = {"stream_id": "checkout", "events": everything[start : start + batch], "historical": True}
        answer = httpx.post(f"{server.rest}/v1/detect", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        found += [server.get(f"/v1/anomalies/{item['id']}") for item in answer.json()["anomalies"]]
    return sorted(found, key=lambda finding: int(finding["window"]))


def test_grpc_and_rest_agree_at_any_batch_size_and_thread_count(make_server: Callable[..., Server], tmp_path: Path) -> None:
    runs = []
    for name, threads, send in (
        ("grpc", "1", lambda server: over_grpc(server, tmp_path, 1000)),
        ("grpc-small", "4", lambda server: over_grpc(server, tmp_path, 37)),
        ("rest", "2", lambda server: over_rest(server, 1000)),
        ("rest-small", "1", lambda server: over_rest(server, 130)),
    ):
        server = make_server(name, DRIFTLOCK_WORKER_THREADS=threads)
        server.start()
        runs.append([verdict(finding) for finding in send(server)])
        server.close()
    assert runs[0]
    assert all(run == runs[0] for run in runs)


def test_another_seed_is_seen_in_the_findings(make_server: Callable[..., Server], tmp_path: Path) -> None:
    server = make_server("seeded", DRIFTLOCK_SEED="42")
    server.start()
    seeds = {finding["seed"] for finding in over_grpc(server, tmp_path, 1000)}
    assert len(seeds) == 1
    assert seeds != {None, "0"}
