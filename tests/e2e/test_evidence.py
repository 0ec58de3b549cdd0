"""A finding of a running server is judged again on another machine: elsewhere, without the server, from a file."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.harness import Server, shop_log, stormy, wait_for

pytestmark = pytest.mark.e2e
Make = Callable[..., Server]
ROOT = Path(__file__).parent.parent.parent


def verify(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """`driftlock verify` as a stranger runs it: nothing of the server's environment, another seed of hashes."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "99", "TZ": "Pacific/Chatham"}
    command = [sys.executable, "-c", "from server.cli import main; main()", "verify", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False, timeout=120)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def evidence_of(server: Server, anomaly: dict[str, Any]) -> httpx.Response:
    return httpx.get(f"{server.rest}/v1/anomalies/{anomaly['id']}/evidence", timeout=30)


def is_ready(server: Server, anomaly: dict[str, Any]) -> bool:
    return bool(server.get(f"/v1/anomalies/{anomaly['id']}")["signed_evidence"]["state"] == "ready")


def test_a_verdict_is_reproduced_from_its_file(make_server: Make, tmp_path: Path) -> None:
    server = make_server()
    server.start()
    lines = stormy(shop_log(3_200, odd_at=30_000), 3_000, 3_100)
    for start in range(0, len(lines), 400):
        body = {"stream_id": "shop", "events": lines[start : start + 400]}
        response = httpx.post(f"{server.rest}/v1/detect", json=body, timeout=30)
        assert response.status_code == 200, response.text
    anomalies = server.get("/v1/anomalies")["anomalies"]
    assert len(anomalies) >= 2
    for anomaly in anomalies:
        wait_for("evidence", partial(is_ready, server, anomaly))
        response = evidence_of(server, anomaly)
        assert response.status_code == 200, response.text
        (tmp_path / response.headers["Content-Disposition"].split('"')[1]).write_bytes(response.content)
    files = sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".evidence")
    assert len(files) == len(anomalies)
    [key] = server.get("/v1/evidence-keys")["keys"]
    code, told = verify(tmp_path, files[0], "--endpoint", server.rest, "--chain", ".")
    assert (code, told["result"]) == (0, "reproduced"), told
    assert told["evidence"]["key_id"] == key["key_id"]
    shown = server.get(f"/v1/anomalies/{told['finding_id']}")
    assert shown["explanation"] == told["finding"]["explanation"]
    assert shown["signed_evidence"]["digest"] == told["evidence"]["digest"]
