import gzip
import json
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from driftlock.engine.limits import Limits
from server.cli import main
from tests.e2e.harness import COMMAND, environment

COUNT, FIRST_S = 500, 1_700_000_000


def lines(count: int = COUNT) -> list[bytes]:
    source = random.Random(2)
    made = []
    for index in range(count):
        value = round(source.gauss(100, 1), 3) + (80 if index in (400, 480) else 0)
        made.append(json.dumps({"time": FIRST_S + 60 * index, "value": value, "series": "cpu{pod=a}"}).encode() + b"\n")
    return made


DATA = b"".join(lines())


def score(*arguments: str, data: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["score", "--signal=metrics", *arguments], input=data)


def objects(output: bytes | str) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in output.splitlines()]


WHOLE = score(data=DATA)


def test_standard_input_is_the_default_and_files_are_the_same(tmp_path: Path) -> None:
    assert WHOLE.exit_code == 0, WHOLE.stderr
    assert WHOLE.stderr == ""
    assert {item["type"] for item in objects(WHOLE.stdout)} == {"point", "finding", "incident"}
    (tmp_path / "one").write_bytes(b"".join(lines()[:200]))
    (tmp_path / "two").write_bytes(gzip.compress(b"".join(lines()[200:]), mtime=0))
    assert score("-", data=DATA).stdout == WHOLE.stdout
    assert score(str(tmp_path / "one"), str(tmp_path / "two")).stdout == WHOLE.stdout


def test_the_jump_is_found_and_explained() -> None:
    found = [item for item in objects(WHOLE.stdout) if item["type"] == "finding"]
    [jump] = [item for item in found if item["verdict"]["first_event"] == 400]
    assert jump["verdict"]["explanation"].startswith("`cpu{pod=a}`")
    assert jump["verdict"]["series"][0]["value"] > 170 > 110 > jump["verdict"]["series"][0]["high"]
    assert jump["incident"] in {item["id"] for item in objects(WHOLE.stdout) if item["type"] == "incident"}


def test_an_unusual_line_changes_nothing_for_the_others() -> None:
    """Lines are read many at once; these make it read them one by one."""
    spaced = b"".join(b" " + line if index % 7 == 0 else line for index, line in enumerate(lines()))
    assert score(data=b"\n\n" + spaced).stdout == WHOLE.stdout


def test_what_was_no_number_is_told() -> None:
    rest = objects(score(data=b'{"time": 1, "value": null}\n{"time": 2, "value": NaN}\n{"time": 3, "value": 4}\n').stdout)
    assert [(item["status"], item["value"]) for item in rest] == [("not_finite", None), ("not_finite", None), ("learning", 4.0)]
    assert {item["series"] for item in rest} == {"default"}


def test_findings_alone() -> None:
    told = objects(score("--no-events", data=DATA).stdout)
    assert told == [item for item in objects(WHOLE.stdout) if item["type"] != "point"]


def test_an_empty_input_gives_an_empty_output() -> None:
    done = score(data=b"\n\n")
    assert (done.exit_code, done.output) == (0, "")


def test_a_live_pipe_is_answered_point_by_point() -> None:
    command = [*COMMAND, "score", "--signal=metrics"]
    with subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for index, line in enumerate(lines(3)):
            process.stdin.write(line)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["point"] == index
        process.stdin.close()
        assert process.wait(30) == 0


def test_ctrl_c_ends_the_run() -> None:
    command = [*COMMAND, "score", "--signal=metrics"]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(lines(1)[0])
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, b"")


@pytest.mark.parametrize("bad", [b"no json\n", b'{"value": 7}\n', b"[]\n"], ids=["no json", "no time", "no object"])
def test_a_bad_line_stops_the_run_and_is_named(bad: bytes) -> None:
    done = score(data=b"".join([*lines()[:100], b"\n", bad, *lines()[100:]]))
    assert done.exit_code == 1
    [line] = done.stderr.splitlines()
    assert "standard input, line 102 " in line
    assert "--skip-bad" in line
    assert done.stdout.splitlines() == WHOLE.stdout.splitlines()[:100]


def test_bad_lines_can_be_left_out_and_are_counted() -> None:
    done = score("--skip-bad", data=b"".join([b"{\n", *lines()[:100], b"7\n", *lines()[100:], b'{"time": 7}']))
    assert done.exit_code == 0
    assert done.stdout == WHOLE.stdout
    assert done.stderr.startswith("3 lines skipped; the first: standard input, line 1 is not JSON")


def test_too_many_series_stop_the_run_even_when_bad_lines_are_skipped() -> None:
    most = Limits().series_max
    many = b"".join(b'{"time":1,"value":1,"series":"s%d"}\n' % index for index in range(most + 1))
    done = score("--skip-bad", "--no-events", data=many)
    assert done.exit_code == 1
    assert f"line {most + 1}: there are more than {most} series (series_max)" in done.stderr


def test_unusable_files_are_one_line(tmp_path: Path) -> None:
    for path, told in ((tmp_path / "missing", "no such file"), (tmp_path, "is a folder")):
        done = score(str(path))
        assert (done.exit_code, told in done.stderr, len(done.stderr.splitlines())) == (1, True, 1)


@pytest.mark.parametrize(
    "option",
    [
        *("--seed=0", "--codec=zstd", "--level=3", "--baseline=400", "--window=50", "--hop=10", "--ncd-threshold=0.3"),
        *("--group-by=trace_id", "--permutations=99", "--mask={hex}"),
    ],
)
def test_options_about_lines_are_refused(option: str) -> None:
    done = score(option, data=DATA)
    assert done.exit_code == 2
    assert f"{option.partition('=')[0]} is about lines of text: leave it out, or use --signal logs" in done.stderr


def test_a_stricter_threshold_scores_lower() -> None:
    def scores(*options: str) -> list[float]:
        return [item["score"] for item in objects(score(*options, data=DATA).stdout) if item["type"] == "point"]

    balanced = scores()
    assert scores("--p-value=0.05") == balanced
    assert scores("--profile=strict") == scores("--p-value=0.01")
    assert sum(scores("--p-value=0.01")) < sum(balanced) < sum(scores("--profile=sensitive"))


def test_a_budget_marks_incidents() -> None:
    marks = [item["over_budget"] for item in objects(score("--budget=0", data=DATA).stdout) if item["type"] == "incident"]
    assert marks
    assert set(marks) == {True}


def test_the_numbers_can_be_drawn(tmp_path: Path) -> None:
    for name, head in (("x.svg", b"<svg"), ("x.png", b"\x89PNG")):
        done = score("--no-events", "--plot", str(tmp_path / name), data=DATA)
        assert (done.exit_code, done.stderr) == (0, "")
        assert (tmp_path / name).read_bytes().startswith(head)
    assert "cpu{pod=a}" in (tmp_path / "x.svg").read_text()
    assert done.stdout == score("--no-events", data=DATA).stdout


def test_series_that_are_not_drawn_are_told(tmp_path: Path) -> None:
    many = b"".join(b'{"time":1,"value":1,"series":"s%d"}\n' % index for index in range(21))
    done = score("--no-events", "--plot", str(tmp_path / "x.svg"), data=many)
    assert done.exit_code == 0
    assert done.stderr == "20 of 21 series are drawn, those with the strongest alarms; give fewer series to see others\n"


def test_a_picture_that_can_not_be_drawn_is_told_before_the_run(tmp_path: Path) -> None:
    done = score("--plot", str(tmp_path / "x.pdf"), data=DATA)
    assert (done.exit_code, "name the file .svg or .png" in done.stderr, done.stdout) == (2, True, "")
    (tmp_path / "x.svg").mkdir()
    done = score("--plot", str(tmp_path / "x.svg"), data=DATA)
    assert (done.exit_code, "can not be written" in done.stderr) == (1, True)


def test_a_picture_of_lines_is_another_command(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["score", "--plot", str(tmp_path / "x.svg")], input=b'"a"\n')
    assert (done.exit_code, "driftlock detect --plot" in done.stderr) == (2, True)
