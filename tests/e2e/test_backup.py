"""`driftlock backup` beside a server, `driftlock restore`, and a server that goes on from there; killed at any moment."""

import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.harness import COMMAND, STOP_S, Server, shop_log, verdict, wait_for

pytestmark = pytest.mark.e2e
ODD_AT = 1500


def killed(server: Server, delay_s: float, *arguments: str) -> bool:
    """Start a command and kill it after `delay_s`; whether it was still at work."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=server.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(delay_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait(STOP_S)
        return True
    return False


def test_backup_restore_and_on(make_server: Callable[..., Server], tmp_path: Path) -> None:
    archive, backup = tmp_path / "archive", tmp_path / "backup"
    archive.mkdir()
    server = make_server("first", DRIFTLOCK_ARCHIVE_DIR=str(archive))
    server.start()
    lines = shop_log(2000, ODD_AT)
    log = tmp_path / "shop.log"
    log.write_text("\n".join(lines[:1000]))
    server.replay(str(log))
    began = time.monotonic()
    made = server.run("backup", str(backup))
    took_s = time.monotonic() - began
    assert made.returncode == 0, made.stderr
    assert "verified" in made.stdout
    assert server.run("backup", str(backup)).stderr.startswith("Error: ")  # never over another one

    for share in (0.5, 0.8):
        cut = tmp_path / f"cut-{share}"
        killed(server, share * took_s, "backup", str(cut))
        if not cut.exists():  # else it was quicker this time
            assert "not a complete backup" in server.run("restore", f"{cut}.partial", "--data-dir", str(tmp_path / "x")).stderr
            assert server.run("backup", str(cut)).returncode == 0
        assert not Path(f"{cut}.partial").exists()

    log.write_text("\n".join(lines))
    server.replay(str(log))  # the first thousand once more, which is known, and a thousand new ones
    streams = {slug: stream["events"] for slug, stream in server.streams().items()}
    findings = [verdict(finding) for finding in server.get("/v1/anomalies")["anomalies"]]
    key = (server.data_dir / "api-key").read_text()
    assert server.signal(signal.SIGTERM) == 0

    target = make_server("restored", DRIFTLOCK_ARCHIVE_DIR=str(archive))
    restored = target.data_dir
    command = ("restore", str(backup), "--archive", str(archive), "--data-dir", str(restored))
    stopped = 0
    for delay_s in (0.3, took_s / 4):
        if killed(target, delay_s, *command):
            stopped += 1
            wait_for("PostgreSQL to follow its parent", lambda: not target.postgres(), STOP_S)
            assert not (restored / "postgres").exists()
        elif restored.exists():  # it was quicker this time
            shutil.rmtree(restored)
    assert stopped
    done = target.run(*command)
    assert done.returncode == 0, done.stderr
    assert "from timeline 1, journal position" in done.stdout
    assert (restored / "api-key").read_text() == key
    for name in ("api-key", "cursor-key", "postgres/app.password", "postgres/owner.password", "postgres/backup.password"):
        assert stat.S_IMODE((restored / name).stat().st_mode) == 0o600
    target.start()
    assert {slug: stream["events"] for slug, stream in target.streams().items()} == streams
    assert [verdict(finding) for finding in target.get("/v1/anomalies")["anomalies"]] == findings
    log.write_text("\n".join(shop_log(2200, ODD_AT)[2000:]))
    target.replay(str(log))
    [events] = [stream["events"] for stream in target.streams().values()]
    assert events == sum(streams.values()) + 200
    doctor = target.run("doctor")
    assert "bytes wait for the archive" in doctor.stdout
    assert "without a gap" in doctor.stdout
    assert len(list(archive.iterdir())) == 2  # each has a folder of its own

    again = make_server("again")
    command = ("restore", str(backup), "--archive", str(archive), "--data-dir", str(again.data_dir))
    assert "no timeline 2" in again.run(*command, "--timeline", "2").stderr
    done = again.run(*command)
    assert done.returncode == 0, done.stderr
    assert "goes on from the same database" in done.stdout
    assert "timeline 2, forked from 1 at 0/" in done.stdout

    assert target.signal(signal.SIGTERM) == 0
    del target.environment["DRIFTLOCK_ARCHIVE_DIR"]
    made = target.run("backup", str(tmp_path / "unarchived"))
    assert made.returncode == 0, made.stderr
    assert f"set DRIFTLOCK_ARCHIVE_DIR={archive}" in made.stderr
