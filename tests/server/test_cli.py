import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.cli import main


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "Run":
    monkeypatch.setenv("DRIFTLOCK_DATA_DIR", str(tmp_path / "data"))
    return Run()


class Run:
    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments))


def test_every_verb_has_help(run: Run) -> None:
    listed = run("--help").output
    for verb in ("serve", "detect", "score", "replay", "migrate", "tenant", "key", "doctor", "version"):
        assert verb in listed
        assert run(verb, "--help").exit_code == 0
    for group, verbs in {"tenant": ("create", "list", "delete"), "key": ("create", "list", "revoke")}.items():
        for verb in verbs:
            assert run(group, verb, "--help").exit_code == 0


def test_version_needs_no_settings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLOCK_NONSENSE", "1")
    done = run("version")
    assert done.exit_code == 0
    assert "zstd" in done.output


@pytest.mark.parametrize("verb", [("serve",), ("doctor",), ("tenant", "list"), ("migrate",), ("replay", "x")])
def test_a_wrong_setting_stops_every_verb_with_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DRIFTLOCK_SEED", "many")
    done = run(*verb)
    assert done.exit_code == 1
    assert done.output == "Error: DRIFTLOCK_SEED='many' is not usable: use a whole number from 0 to 9223372036854775807\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--endpoint", "localhost:8080"), "use http://host:port or https://host:port"),
        (("--otlp-endpoint", "localhost"), "use host:port"),
        (("--base-time", "yesterday"), "use a time such as"),
        (("--batch", "0"), "0 is not in the range"),
        (("--show", "5000"), "5000 is not in the range"),
    ],
)
def test_replay_options_are_checked(run: Run, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    path = tmp_path / "x.log"
    path.write_text("line\n")
    done = run("replay", *arguments, str(path))
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())


def test_a_file_name_can_not_act_on_the_terminal(run: Run) -> None:
    done = run("replay", "x\x1b[2J")
    assert done.exit_code == 1
    assert "\x1b" not in done.output
    assert "there is no such file" in done.output


def test_doctor_says_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DRIFTLOCK_DATA_DIR", str(tmp_path / "file" / "data"))
    monkeypatch.setenv("DRIFTLOCK_HTTP_ADDR", "192.0.2.1:8080")
    done = run("doctor")
    assert done.exit_code == 1
    assert "fail  data folder" in done.output
    assert "or set DRIFTLOCK_HTTP_ADDR" in done.output
    assert "ok    python" in done.output


def test_deleting_a_tenant_asks_first(run: Run) -> None:
    done = CliRunner().invoke(main, ["tenant", "delete", "acme"], input="n\n")
    assert done.exit_code == 1
    assert "Delete tenant 'acme'" in done.output


@pytest.mark.parametrize("command", [["detect", "--json"], ["score"]])
def test_output_that_can_not_be_written_is_one_line(command: list[str], tmp_path: Path) -> None:
    lines = tmp_path / "app.log"
    lines.write_text("".join(json.dumps({"text": f"line {number}"}) + "\n" for number in range(3000)))
    driftlock = str(Path(sys.executable).parent / "driftlock")
    options = ["--quick"] if command[0] == "detect" else []
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [driftlock, *command, *options, str(lines)], stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)
    if command[0] == "score":
        assert (done.returncode, done.stderr) == (1, "Error: the output can not be written: No space left on device\n")


def test_a_closed_standard_output_is_one_line() -> None:
    driftlock = str(Path(sys.executable).parent / "driftlock")
    done = subprocess.run(["sh", "-c", f"{driftlock} version >&-"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "standard output is closed; give it a file, or /dev/null\n")


def test_a_key_is_bound_to_a_stream_that_can_be_named(run: Run) -> None:
    done = run("key", "create", "--stream", "\u202e ")
    assert done.exit_code == 2
    assert "a stream's id holds a printable character" in done.output
