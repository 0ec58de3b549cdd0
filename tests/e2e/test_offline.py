"""The commands without a server say what a server says of the same lines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.rfc3339 import rfc3339
from tests.e2e.harness import Server, shop_log, stormy

pytestmark = pytest.mark.e2e
LINES, FIRST_S = 4000, 1_700_000_000
SAME = (
    *("window", "first_event", "last_event", "ncd", "ncd_threshold", "ncd_classical", "p_value", "p_value_threshold"),
    *("confidence", "ratio", "ratio_normal", "compression_ratio", "compression_ratio_normal", "entropy", "entropy_normal"),
    *("p_permutation", "permutations", "compression_ratio_p_value", "entropy_p_value"),
    *("profile", "late_events", "receive_timed", "explanation", "window_lines", "baseline_lines"),
)


def of_server(finding: dict[str, Any]) -> dict[str, Any]:
    """What REST shows of a finding's verdict."""
    kept = {name: finding[name] for name in SAME}
    lines = [
        {name: line[name] for name in ("event", "time", "text", "cost_bytes", "count")} | {"nearest": line["nearest"] or ""}
        for line in finding["lines"]
    ]
    return kept | {"seed": finding["seed"], "codec": finding["codec"]} | _times(finding["start"], finding["end"], lines)


def of_verdict(finding: dict[str, Any]) -> dict[str, Any]:
    """The same of a canonical finding."""
    kept = {name: finding[name] for name in SAME}
    lines = [
        {name: line[name] for name in ("event", "text", "cost_bytes", "count", "nearest")} | {"time": rfc3339(line["time_ns"])}
        for line in finding["lines"]
    ]
    codec = {"name": finding["codec"], "level": finding["codec_level"], "version": finding["codec_version"]}
    shown = _times(rfc3339(finding["start_ns"]), rfc3339(finding["end_ns"]), lines)
    return kept | {"seed": str(finding["seed"]), "codec": codec} | shown


def _times(start: str, end: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
    return {"start": start, "end": end, "lines": lines}


def json_lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def log() -> list[str]:
    return stormy(shop_log(LINES, 10**9), 2500, 2540)


@pytest.mark.parametrize("form", ["plain", "json"])
def test_detect_finds_what_a_replay_finds(make_server: Callable[..., Server], tmp_path: Path, form: str) -> None:
    server = make_server("seeded", DRIFTLOCK_SEED="42")
    server.start()
    path = tmp_path / "shop.log"
    if form == "plain":
        path.write_text("\n".join(log()) + "\n")
    else:
        records = [{"time": FIRST_S + n, "text": text, "node": {"zone": n % 3, "up": True}} for n, text in enumerate(log())]
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    replayed = server.replay(str(path))
    done = server.run("detect", "--json", "--seed", "42", str(path))
    assert done.returncode == 0, done.stderr
    offline = json_lines(done.stdout)
    assert {finding["stream"] for finding in offline} == {"logs:shop"}
    assert [of_verdict(finding) for finding in offline] == [of_server(finding) for finding in replayed]
    assert offline


def test_score_says_what_rest_says(server: Server, tmp_path: Path) -> None:
    records = [{"time": FIRST_S + number, "text": text, "zone": number % 3} for number, text in enumerate(log())]
    body = {"stream_id": "checkout", "events": records, "historical": True}
    answer = httpx.post(f"{server.rest}/v1/detect", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    found = [server.get(f"/v1/anomalies/{item['id']}") for item in answer.json()["anomalies"]]
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(record | {"stream": "checkout", "key": "k"}) + "\n" for record in records))
    done = server.run("score", "--no-events", str(path))
    assert done.returncode == 0, done.stderr
    told = json_lines(done.stdout)
    verdicts = [item["verdict"] for item in told if item["type"] == "finding"]
    assert [of_verdict(finding) for finding in verdicts] == [of_server(finding) for finding in found]
    assert verdicts
    incidents = [item for item in server.get("/v1/incidents")["incidents"] if item["streams"][0]["slug"] == "checkout"]
    expected = [(item["start"], item["end"], item["anomalies_count"], item["ncd_max"], item["title"]) for item in incidents]
    assert sorted(expected) == sorted(
        (item["start"], item["end"], item["findings"], item["ncd_max"], item["title"])
        for item in told
        if item["type"] == "incident"
    )


def test_detect_and_score_need_no_server_and_no_folder(tmp_path: Path) -> None:
    server = Server(tmp_path / "never" / "made")
    path = tmp_path / "shop.log"
    path.write_text("\n".join(log()) + "\n")
    assert server.run("detect", "--json", str(path)).stdout
    assert server.run("score", str(path), "--skip-bad").returncode == 0
    assert not (tmp_path / "never").exists()
