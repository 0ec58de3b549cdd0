"""The official Collector, built by `make peers`, sending to a server of ours."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import make_server as make_server
from tests.e2e.harness import ROOT, environment

COLLECTOR = ROOT / "build" / "peers" / "otelcol" / "otelcol-peer"
STOP_S = 20.0


@pytest.fixture
def start_collector(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], "subprocess.Popen[bytes]"]]:
    """Starts a Collector with a configuration (JSON is YAML); it is stopped when the test ends, and its log is shown."""
    if not COLLECTOR.exists():
        pytest.fail(f"{COLLECTOR.relative_to(ROOT)} is not there: these tests are run by `make peers`, which builds it")
    started: list[subprocess.Popen[bytes]] = []
    output = tmp_path / "collector.out"

    def start(configuration: dict[str, Any]) -> "subprocess.Popen[bytes]":
        path = tmp_path / f"collector-{len(started)}.yaml"
        path.write_text(json.dumps(configuration))
        with output.open("ab") as written:
            command = [str(COLLECTOR), "--config", f"file:{path}"]
            started.append(subprocess.Popen(command, env=environment(), stdout=written, stderr=written))
        return started[-1]

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
            continue
        process.kill()
        process.wait()
    if output.exists():
        sys.stderr.write(output.read_text()[-10_000:])
