import gzip
import json
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import click
import lz4.frame
import pytest
import zstandard
from click.testing import CliRunner, Result

from driftlock.engine.canonical import CanonicalLimits, Cuts
from driftlock.engine.limits import Limits
from driftlock.engine.offline import Offline
from driftlock.engine.profile import custom
from server.cli import main
from server.logfile.reader import LogFile
from server.offline.batches import line_batch, stream_of
from server.report.series import POINTS_MAX
from tests.e2e.harness import COMMAND, ROOT, environment
from tests.server.offline_runs import FIRST_S, SMALL, SMALL_OPTIONS, texts

COUNT = 900


def detect(*arguments: str, data: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["detect", *arguments], input=data)


def small(*arguments: str, data: bytes | None = None) -> Result:
    return detect(*SMALL_OPTIONS, *arguments, data=data)


def stamped(lines: Iterable[str]) -> str:
    stamps = (time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(FIRST_S + index)) for index in range(10**9))
    return "".join(f"{stamp} {line}\n" for stamp, line in zip(stamps, lines, strict=False))


LOG = stamped(texts(COUNT)).encode()


def write(path: Path, data: bytes = LOG) -> str:
    path.write_bytes(data)
    return str(path)


def test_findings_are_the_engines_canonical_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "shop.log")
    done = small("--json", path)
    assert done.exit_code == 0, done.stderr
    lines = [line for portion in LogFile(path, 0).portions() for line in portion]
    run = Offline(SMALL, seed=0, limits=Limits())
    expected = run.take(stream_of("shop"), line_batch(lines, CanonicalLimits(), Cuts()))
    assert done.stdout.encode().splitlines() == [finding.canonical() for _, finding in expected]
    assert len(expected) > 3
    assert "900 lines read" in done.stderr


def test_every_packing_gives_the_same_findings(tmp_path: Path) -> None:
    plain = small("--json", "--service", "x", write(tmp_path / "a")).stdout
    for pack in (lambda data: gzip.compress(data, mtime=0), zstandard.ZstdCompressor().compress, lz4.frame.compress):
        assert small("--json", "--service", "x", write(tmp_path / "b", pack(LOG))).stdout == plain
    assert small("--json", "--service", "x", "-", data=LOG).stdout == plain
    assert plain


def test_the_table_tells_the_incidents_and_marks_novel_bytes(tmp_path: Path) -> None:
    done = small(write(tmp_path / "shop.log"))
    assert done.exit_code == 0
    assert "[Brackets] mark bytes" in done.stdout
    assert "what is unusual" in done.stdout
    assert "2023-11-14 22:" in done.stdout
    assert "shop is provisional: 4,100 more events until it is calibrated" in done.stdout
    shown = small("--show", "1", write(tmp_path / "shop.log")).stdout
    assert ", the 1 strangest shown" in shown


def test_several_files_are_several_streams_or_one(tmp_path: Path) -> None:
    half = LOG.index(b"\n", len(LOG) // 2) + 1
    paths = write(tmp_path / "a.log", LOG[:half]), write(tmp_path / "b.log", LOG[half:])
    together = small("--json", "--service", "shop", *paths)
    assert together.stdout == small("--json", write(tmp_path / "shop.log")).stdout
    other = write(tmp_path / "other.log", stamped(texts(COUNT, seed=9)).encode())
    names = {json.loads(line)["stream"] for line in small("--json", write(tmp_path / "shop.log"), other).stdout.splitlines()}
    assert names == {"logs:shop", "logs:other"}


def test_a_quiet_input_says_so(tmp_path: Path) -> None:
    done = small(write(tmp_path / "calm.log", stamped(["GET / 200"] * 600).encode()))
    assert done.exit_code == 0
    assert "calm: nothing in these lines that the stream's past does not explain." in done.stdout


def test_a_short_input_says_what_it_lacks(tmp_path: Path) -> None:
    done = detect(write(tmp_path / "app.log"))
    assert done.exit_code == 0
    assert "app has 900 events; verdicts need 1,500 (events_until_first_alarm of profile balanced)" in done.stdout
    assert "--quick" in done.stdout
    assert "nothing in these lines" not in done.stdout
    done = detect("--json", write(tmp_path / "app.log"))
    assert done.stdout == ""
    assert "app has 900 events" in done.stderr


def test_quick_judges_a_short_input(tmp_path: Path) -> None:
    lines = [*(["GET /cart 200"] * 70), *(f"certificate refused by gateway rogue-{index}" for index in range(10))]
    path = write(tmp_path / "app.log", stamped(lines).encode())
    done = detect("--quick", path)
    assert done.exit_code == 0, done.stderr
    assert "certificate refused" in done.stdout
    assert "app has 80 events: the first 40 are the past" in done.stdout
    found = [json.loads(line) for line in detect("--quick", "--json", path).stdout.splitlines()]
    assert found
    assert all(item["last_event"] >= 70 for item in found)
    assert {item["calibration"] for item in found} == {"provisional"}


def test_quick_has_limits(tmp_path: Path) -> None:
    done = detect("--quick", write(tmp_path / "app.log", b"line\n" * 5))
    assert (done.exit_code, "5 events are too few" in done.stderr) == (1, True)
    done = detect("--quick", write(tmp_path / "app.log", b"line\n" * 20_001))
    assert (done.exit_code, "more than 20,000 events (events_max)" in done.stderr) == (1, True)
    done = detect("--quick", "--plot", str(tmp_path / "x.svg"), write(tmp_path / "app.log"))
    assert (done.exit_code, "--quick has none" in done.stderr) == (2, True)


def test_the_plot_is_drawn_and_the_same_every_time(tmp_path: Path) -> None:
    path = write(tmp_path / "shop.log")
    for name in ("one.svg", "two.svg"):
        assert small("--plot", str(tmp_path / name), path).exit_code == 0
    drawn = (tmp_path / "one.svg").read_bytes()
    assert drawn == (tmp_path / "two.svg").read_bytes()
    assert b">shop</text>" in drawn
    assert drawn.count(b"<circle") == 2 * len(small("--json", path).stdout.splitlines())
    assert POINTS_MAX > COUNT


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\n \n", "has no lines"),
        (b"\x7fELF\x00\x01", "is binary"),
        (gzip.compress(LOG, mtime=0)[:-9], "is damaged after"),
        (b"\x28\xb5\x2f\xfdjunk", "is damaged"),
        ("text".encode("utf-16"), "iconv"),
    ],
    ids=["empty", "blank", "binary", "cut gzip", "no zstd", "utf-16"],
)
def test_an_unusable_file_is_one_line(tmp_path: Path, content: bytes, told: str) -> None:
    done = detect(write(tmp_path / "x.log", content))
    assert (done.exit_code, done.stdout) == (1, "")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_missing_files_and_folders_are_one_line(tmp_path: Path) -> None:
    good = write(tmp_path / "good.log")
    for path, told in ((tmp_path / "missing", "there is no such file"), (tmp_path, "is a folder")):
        done = detect(good, str(path))
        assert (done.exit_code, done.stdout) == (1, "")
        assert told in done.stderr
        assert len(done.stderr.splitlines()) == 1
    done = detect("-", data=b"")
    assert (done.exit_code, "standard input is empty" in done.stderr) == (1, True)


def test_what_was_found_before_the_damage_is_shown(tmp_path: Path) -> None:
    source = texts(5000)
    packed = gzip.compress(stamped(source).encode(), mtime=0)
    done = small(write(tmp_path / "shop.log.gz", packed[:-9]))
    assert done.exit_code == 1
    assert "[Brackets] mark bytes" in done.stdout
    assert "is damaged after" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--hop=60",), "--hop is 60, at most window_size = 50"),
        (("--ncd-threshold=7", "--window=1"), "--ncd-threshold must be from 0.01 to 1.0; --window must be from 5 to 400"),
        (("--level=99",), "--level must be from"),
        (("--codec=rot13",), "'--codec': 'rot13' is not one of"),
        (("--baseline=many",), "'--baseline': 'many' is not a valid integer"),
        (("--plot=x.pdf",), "'--plot': name the file .svg or .png"),
        (("--base-time=yesterday",), "'--base-time': use a time such as"),
        (("--seed=-1",), "'--seed': -1 is not in the range"),
        (("--mask=order-{digit}",), "--mask mask 1, character 7: {digit} is unknown; choose of"),
    ],
    ids=range(9),
)
def test_a_wrong_option_is_named(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    done = detect(*arguments, write(tmp_path / "x.log"))
    assert done.exit_code == 2
    assert told in " ".join(done.stderr.split())


def test_the_codec_and_its_level_are_in_the_findings(tmp_path: Path) -> None:
    done = small("--json", "--codec=gzip", "--level=9", write(tmp_path / "x.log"))
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(item["codec"], item["codec_level"], item["profile"]) for item in found} == {("gzip", 9, "custom")}


def test_masks_are_those_of_the_engine(tmp_path: Path) -> None:
    masks = ["{lower:9}{as:WORD}", "item {digits}"]
    path = write(tmp_path / "shop.log")
    done = small("--json", *(f"--mask={mask}" for mask in masks), path)
    lines = [line for portion in LogFile(path, 0).portions() for line in portion]
    run = Offline(custom(SMALL, {"masks": masks}), seed=0, limits=Limits())
    expected = run.take(stream_of("shop"), line_batch(lines, CanonicalLimits(), Cuts()))
    assert done.stdout.encode().splitlines() == [finding.canonical() for _, finding in expected]
    assert done.stdout != small("--json", path).stdout


def test_a_log_line_can_not_act_on_the_terminal(tmp_path: Path) -> None:
    hostile = [*texts(200), *(f"\x1b[2Jevil {index} \u202e" for index in range(20))]
    done = small(write(tmp_path / "x\x1b[2J.log", stamped(hostile).encode()))
    assert done.exit_code == 0
    assert "\x1b" not in done.output
    assert "\\x1b[2J" in done.output


def test_ctrl_c_shows_what_was_found_so_far() -> None:
    command = [*COMMAND, "detect", *SMALL_OPTIONS, "-"]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(LOG)
        process.stdin.flush()
        wait_until_idle(process.pid)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert b"[Brackets] mark bytes" in output
    assert b"Traceback" not in errors


def test_findings_of_a_live_pipe_come_while_it_is_open() -> None:
    command = [*COMMAND, "detect", "--json", *SMALL_OPTIONS, "-"]
    with subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(LOG)
        process.stdin.flush()
        first = json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(30) == 0
    assert first["stream"] == "logs:stdin"


def wait_until_idle(pid: int) -> None:
    """Until a process has used no more CPU time for half a second, having used some."""
    used = 0
    while True:
        time.sleep(0.5)
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        now = int(fields[11]) + int(fields[12])
        if now == used > 0 and fields[0] == "S":
            return
        used = now


@pytest.mark.parametrize("name", ["detect", "score"])
def test_every_option_is_documented(name: str) -> None:
    page = (ROOT / "docs" / "offline.md").read_text()
    command = main.get_command(click.Context(main), name)
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert f"{parameter.opts[0]}`" in page or f"{parameter.opts[0]} " in page or f"no-{parameter.opts[0][2:]}`" in page


def test_without_a_terminal_there_is_one_line_a_file_and_no_bar(tmp_path: Path) -> None:
    [line] = small(write(tmp_path / "x.log")).stderr.splitlines()
    assert "x.log: 900 lines read in" in line
