import gzip
import json
import random
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from server.cli import main
from tests.e2e.harness import COMMAND, environment
from tests.server.offline_runs import FIRST_S, SMALL_OPTIONS, texts

COUNT = 900


def lines(count: int = COUNT) -> list[bytes]:
    return [
        json.dumps({"time": FIRST_S + index, "text": text, "stream": "shop", "key": f"k{index}"}).encode() + b"\n"
        for index, text in enumerate(texts(count))
    ]


DATA = b"".join(lines())


def score(*arguments: str, data: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["score", *SMALL_OPTIONS, *arguments], input=data)


def objects(output: bytes | str) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in output.splitlines()]


WHOLE = score(data=DATA)


def test_standard_input_is_the_default_and_files_are_the_same(tmp_path: Path) -> None:
    assert WHOLE.exit_code == 0, WHOLE.stderr
    assert WHOLE.stderr == ""
    assert {item["type"] for item in objects(WHOLE.stdout)} == {"event", "window", "finding", "incident"}
    (tmp_path / "one").write_bytes(b"".join(lines()[:200]))
    (tmp_path / "two").write_bytes(gzip.compress(b"".join(lines()[200:]), mtime=0))
    assert score("-", data=DATA).stdout == WHOLE.stdout
    assert score(str(tmp_path / "one"), str(tmp_path / "two")).stdout == WHOLE.stdout


def test_a_mask_makes_events_cheaper_that_differ_in_what_it_masks() -> None:
    names = ["".join(random.Random(index).choices("abcdefghijkl", k=6)) for index in range(300)]
    data = b"".join(json.dumps(f"order of {name} accepted").encode() + b"\n" for name in names)
    plain, masked = (objects(score(*options, data=data).stdout) for options in ((), ("--mask=of {lower:6}{as:BUYER}",)))
    bits = [sum(item["bits"] for item in found if item["type"] == "event") for found in (plain, masked)]
    assert bits[1] < bits[0] * 2 / 3


def test_an_empty_input_gives_an_empty_output() -> None:
    done = score(data=b"\n\n")
    assert (done.exit_code, done.output) == (0, "")


def through_a_pipe(portions: Sequence[bytes]) -> bytes:
    """The output for portions that are written one after another."""
    command = [*COMMAND, "score", *SMALL_OPTIONS]
    with subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        for portion in portions:
            process.stdin.write(portion)
            process.stdin.flush()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output


def test_how_a_pipe_is_written_changes_no_byte() -> None:
    assert through_a_pipe([DATA[at : at + 301] for at in range(0, len(DATA), 301)]) == WHOLE.stdout.encode()


def test_a_live_pipe_is_answered_in_time() -> None:
    """Each window is answered as soon as its last line is there, long before a buffer is full or the input ends."""
    command = [*COMMAND, "score", *SMALL_OPTIONS, "--no-events"]
    with subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"".join(lines()[:38]))
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["last_event"] == 37
        for index in range(38, 41):
            process.stdin.write(lines()[index])
            process.stdin.flush()
        assert json.loads(process.stdout.readline())["last_event"] == 40
        process.stdin.close()
        assert process.wait(30) == 0


def test_ctrl_c_ends_the_run() -> None:
    command = [*COMMAND, "score", *SMALL_OPTIONS]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(DATA)
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, b"")


@pytest.mark.parametrize("bad", [b"no json\n", b'{"text": 7}\n', b"[]\n"], ids=["no json", "bad text", "no object"])
def test_a_bad_line_stops_the_run_and_is_named(bad: bytes) -> None:
    done = score(data=b"".join([*lines()[:100], b"\n", bad, *lines()[100:]]))
    assert done.exit_code == 1
    [line] = done.stderr.splitlines()
    assert "standard input, line 102 " in line
    assert "--skip-bad" in line
    whole = WHOLE.stdout.splitlines()
    before = done.stdout.splitlines()
    assert before == whole[: len(before)]
    assert before


def test_bad_lines_can_be_left_out_and_are_counted() -> None:
    done = score("--skip-bad", data=b"".join([b"{\n", *lines()[:100], b"7\n", *lines()[100:], b'{"text": "cut']))
    assert done.exit_code == 0
    assert done.stdout == WHOLE.stdout
    assert done.stderr == "3 lines skipped; the first: " + done.stderr.partition("the first: ")[2]
    assert "standard input, line 1 is not JSON" in done.stderr


def test_too_many_streams_stop_the_run_even_when_bad_lines_are_skipped() -> None:
    many = b"".join(b'{"text": "a", "stream": "s%d"}\n' % index for index in range(1001))
    done = score("--skip-bad", data=many)
    assert done.exit_code == 1
    assert "line 1001: there are more than 1000 streams (streams_max)" in done.stderr


def test_unusable_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(gzip.compress(DATA, mtime=0)[:-9])
    for path, told in ((tmp_path / "missing", "no such file"), (tmp_path, "is a folder"), (tmp_path / "cut", "is damaged")):
        done = score(str(path))
        assert (done.exit_code, told in done.stderr) == (1, True)
        assert len(done.stderr.splitlines()) == 1


def test_a_hostile_line_can_not_act_on_the_terminal() -> None:
    done = score(data=b'{"time": "\\u001b[2J"}\n\x1b[2J\n')
    assert done.exit_code == 1
    assert "\x1b" not in done.output


def test_a_budget_marks_incidents() -> None:
    marks = [item.get("over_budget") for item in objects(score("--budget=1", data=DATA).stdout) if item["type"] == "incident"]
    assert marks == [False] + [True] * (len(marks) - 1)
    assert len(marks) > 1
    assert all("over_budget" not in item for item in objects(WHOLE.stdout))
    done = score("--budget=-1", data=DATA)
    assert (done.exit_code, "'--budget': -1 is not in the range" in done.stderr) == (2, True)


def test_a_wrong_option_is_named() -> None:
    done = score("--window=1", data=DATA)
    assert (done.exit_code, "--window must be from 5 to 400" in done.stderr) == (2, True)
