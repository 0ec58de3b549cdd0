"""The examples of docs/client.md against a real server, in their order, each a program of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import ROOT, Server

pytestmark = pytest.mark.e2e


def test_the_examples_of_the_client_run(server: Server, tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs/client.md").read_text(), re.DOTALL)
    assert len(examples) == 6
    variables = server.environment | {
        "PYTHONPATH": str(ROOT / "client/src"),
        "DRIFTLOCK_ENDPOINT": server.rest,
        "NO_PROXY": "*",
    }
    printed = []
    for number, example in enumerate(examples):
        program = tmp_path / f"example_{number}.py"
        program.write_text(example)
        command = [sys.executable, "-W", "error", str(program)]
        done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{example}\n{done.stderr}"
        printed.append(done.stdout)
    detected, listed, changed, anomalies, event, logged = printed
    assert "card reader" in detected
    assert listed.startswith("till ")
    assert changed.startswith("precondition_failed ")
    assert "card reader" in anomalies
    assert event.startswith("1 ")
    assert logged == ""
    [shop] = [stream for slug, stream in server.streams().items() if slug == "shop"]
    assert shop["events"] == 1
