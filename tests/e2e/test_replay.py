"""Replays through real processes: what goes in is scored, listed and explained, whatever happens in between."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.harness import COMMAND, Server, shop_log, stormy, verdict, wait_for

pytestmark = pytest.mark.e2e
LINES, ODD_AT = 6000, 4000
ACCEPTED = 'driftlock_accepted_records_total{signal="logs"}'  # counted anew by each process


def write(path: Path, lines: list[str]) -> str:
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_an_odd_stretch_is_found_and_its_bytes_are_shown(server: Server, tmp_path: Path) -> None:
    path = write(tmp_path / "shop.log", shop_log(LINES, ODD_AT))
    done = server.run("replay", path)
    assert done.returncode == 0, done.stderr
    assert "6,000 lines acknowledged" in done.stderr
    assert "[" in done.stdout
    assert "gateway refused certificate" in done.stdout.replace("\n", "")

    stream = server.streams()["shop"]
    assert (stream["events"], stream["pending"], stream["status"]) == (LINES, 0, "ready")
    assert stream["first_event"].startswith("2024-05-01T10:00:00")
    found = server.get("/v1/anomalies", stream=stream["id"])["anomalies"]
    assert found
    assert all(item["last_event"] >= ODD_AT and item["first_event"] < ODD_AT + 200 for item in found)
    detail = server.get(f"/v1/anomalies/{found[-1]['id']}")
    novel = [piece["text"] for line in detail["lines"] for piece in line["segments"] if piece["novel"]]
    assert any("gateway refused certificate" in text for text in novel)
    assert detail["start"].startswith("2024-05-01T10:")
    assert server.get("/v1/incidents")["incidents"]


def test_a_server_killed_in_the_middle_loses_nothing_and_finds_the_same(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    path = write(tmp_path / "shop.log", shop_log(LINES * 2, ODD_AT))
    calm = make_server("calm")
    calm.start()
    expected = calm.replay(path)
    calm.close()

    shaken = make_server("shaken")
    shaken.start()
    command = [*COMMAND, "replay", "--json", "--batch", "60", path]
    with subprocess.Popen(command, env=shaken.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as replay:
        for crash in ("first", "second"):
            wait_for(f"lines before the {crash} crash", lambda: shaken.metric(ACCEPTED) >= LINES / 4)
            assert replay.poll() is None, "the replay was over before the server was killed"
            shaken.kill()
            shaken.start()
        output, errors = replay.communicate(timeout=120)
    assert replay.returncode == 0, errors
    assert shaken.streams()["shop"]["events"] == LINES * 2
    findings = shaken.get("/v1/anomalies", limit="200")["anomalies"]
    details = [shaken.get(f"/v1/anomalies/{item['id']}") for item in reversed(findings)]
    assert len(output.splitlines()) == len(details) == len(expected) > 0
    by_window = {finding["window"]: verdict(finding) for finding in details}
    assert by_window == {finding["window"]: verdict(finding) for finding in expected}


def test_a_storm_over_many_minutes_is_a_few_whole_incidents(server: Server, tmp_path: Path) -> None:
    """Small batches, sent faster than findings are made: one step closes many minutes of the same incident."""
    path = write(tmp_path / "storm.log", stormy(shop_log(12_000, 10**9), 4000, 9000))
    assert len(server.replay("--batch", "100", path)) > 10  # before the storm has become the stream's normal
    assert server.ready()
    stream = server.streams()["storm"]
    assert stream["events"] == 12_000
    incidents = [
        item for item in server.get("/v1/incidents", limit="200")["incidents"] if item["streams"][0]["slug"] == "storm"
    ]
    found = server.get("/v1/anomalies", stream=stream["id"], limit="200")["anomalies"]
    assert len(found) == len({item["window"] for item in found})
    assert sum(item["anomalies_count"] for item in incidents) == len(found)
    assert {item["incident_id"] for item in found} == {item["id"] for item in incidents}
    assert len(incidents) < len(found)


def test_only_new_findings_are_shown_and_the_service_can_be_named(server: Server, tmp_path: Path) -> None:
    path = write(tmp_path / "x.log", shop_log(LINES, ODD_AT))
    assert server.replay("--service", "named", path)
    calm = write(tmp_path / "y.log", shop_log(500, 10**9, seed=8))
    assert server.replay("--service", "named", calm) == []
    assert server.streams()["named"]["events"] == LINES + 500


def test_repeated_lines_are_not_mistaken_for_resends(server: Server, tmp_path: Path) -> None:
    path = write(tmp_path / "same.log", ["2024-05-01 10:00:00 INFO tick"] * 1000)
    server.replay("--batch", "100", path)
    assert server.streams()["same"]["events"] == 1000


def test_standard_input(server: Server) -> None:
    done = subprocess.run(
        [*COMMAND, "replay", "--service", "piped", "-"],
        input="\n".join(shop_log(300, 10**9)),
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing in these lines" in done.stdout
    assert server.streams()["piped"]["events"] == 300


def test_unusable_files_and_servers_are_one_line(make_server: Callable[..., Server], tmp_path: Path) -> None:
    server = make_server()
    (tmp_path / "empty").write_text("")
    for name, told in (("missing", "no such file"), ("empty", "is empty")):
        done = server.run("replay", str(tmp_path / name))
        assert (done.returncode, told in done.stderr) == (1, True)
        assert len(done.stderr.splitlines()) == 1
    done = server.run("replay", write(tmp_path / "x.log", ["line"]))
    assert done.returncode == 1
    assert "is the server running?" in done.stderr
