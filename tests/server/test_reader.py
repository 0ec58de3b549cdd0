import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from server.logfile.jsonlines import JSON_DEPTH_MAX
from server.logfile.reader import LINE_BYTES_MAX, Line, LogFile
from server.logfile.source import LogFileError

BASE = 1_700_000_000_000_000_000
LINES = [f"2024-05-01 10:00:{number % 60:02d} INFO job {number} done" for number in range(5000)]
PLAIN = "\n".join(LINES).encode() + b"\n"


def lines_of(file: LogFile) -> list[Line]:
    return [line for portion in file.portions() for line in portion]


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize(
    "pack",
    [
        bytes,
        gzip.compress,
        lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
        zstd,
        lambda data: zstd(data[:1000]) + zstd(data[1000:]),
        lz4.frame.compress,
        lambda data: lz4.frame.compress(data[:1000]) + lz4.frame.compress(data[1000:]),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b"\n", b"\r\n"),
    ],
    ids=["plain", "gzip", "gzip members", "zstd", "zstd frames", "lz4", "lz4 frames", "byte order mark", "crlf"],
)
def test_every_packing_gives_the_same_lines(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "app.log.1"
    path.write_bytes(pack(PLAIN))
    file = LogFile(str(path), BASE)
    file.check()
    assert [line.body for line in lines_of(file)] == LINES
    assert file.counts.lines == file.counts.stamped == len(LINES)
    assert file.input.bytes_read == path.stat().st_size == file.input.size_bytes
    assert file.input.stem == "app"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"\n \n\r\n", "has no lines"),
        (b"\x7fELF\x00\x01", "binary"),
        (gzip.compress(b"a\x00b", mtime=0), "binary"),
        ("text".encode("utf-16"), "iconv"),
        (gzip.compress(PLAIN, mtime=0)[:-9], "is damaged after"),
        (zstd(PLAIN)[:-9], "is damaged"),
        (lz4.frame.compress(PLAIN)[:-9], "is damaged after"),
        (b"\x1f\x8bnot gzip at all", "is damaged"),
        (b"\x28\xb5\x2f\xfdnot zstd at all", "is damaged"),
        (b"\x04\x22\x4d\x18not lz4 at all", "is damaged"),
        (b"a line\n" * 100 + b"\x00\n", "binary"),
    ],
    # Names instead of contents: gzip writes the time into its header, and two test processes must agree on the ids.
    ids=[
        "nothing",
        "gzip of nothing",
        "blank",
        "binary",
        "gzip of binary",
        "utf-16",
        "cut gzip",
        "cut zstd",
        "cut lz4",
        "no gzip",
        "no zstd",
        "no lz4",
        "binary after some lines",
    ],
)
def test_unusable_files_say_why(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    file = LogFile(str(path), BASE)
    with pytest.raises(LogFileError, match=told) as caught:
        lines_of(file)
    assert str(path) in str(caught.value)


def test_missing_files_and_folders_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(LogFileError, match="no such file"):
        LogFile(str(tmp_path / "missing"), BASE).check()
    with pytest.raises(LogFileError, match="is a folder"):
        LogFile(str(tmp_path), BASE).check()


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(PLAIN))))
    file = LogFile("-", BASE)
    file.check()
    assert [line.body for line in lines_of(file)] == LINES
    assert file.input.stem == "stdin"
    assert file.input.size_bytes is None


def test_json_lines(tmp_path: Path) -> None:
    records: list[object] = [
        {"time": 1_226_262_930.5, "text": "block received", "node": 7},
        {"@timestamp": "2024-05-01T10:00:00Z", "event": {"kind": "deny"}},
        {"text": "2024-05-01 11:00:00 its own time", "time": None},
        {"level": "info"},
        "only text",
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    file = LogFile(str(path), BASE)
    lines = lines_of(file)
    assert [line.body for line in lines] == [
        "block received",
        {"event": {"kind": "deny"}},
        "2024-05-01 11:00:00 its own time",
        {"level": "info"},
        '"only text"',
    ]
    assert [line.attributes for line in lines] == [{"node": 7}, {}, {"time": None}, {}, {}]
    assert [line.time_ns // 10**6 for line in lines[:3]] == [1_226_262_930_500, 1_714_557_600_000, 1_714_561_200_000]
    assert file.counts.not_json == 1


def test_too_deep_json_is_text(tmp_path: Path) -> None:
    deep = "[" * JSON_DEPTH_MAX + "]" * JSON_DEPTH_MAX
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n{"a": ' + deep + "}\n" + '{"a": ' + "[" * 100_000 + "\n")
    file = LogFile(str(path), BASE)
    assert [isinstance(line.body, str) for line in lines_of(file)] == [False, True, True]
    assert file.counts.not_json == 2


def test_a_long_line_is_cut_at_its_limit_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("a" * (LINE_BYTES_MAX - 1) + "é" + "b" * 200_000 + "\nnext\n" + "c" * LINE_BYTES_MAX + "\n")
    file = LogFile(str(path), BASE)
    assert [line.body for line in lines_of(file)] == ["a" * (LINE_BYTES_MAX - 1), "next", "c" * LINE_BYTES_MAX]
    assert file.counts.cut == 1


def test_invalid_utf8_is_replaced_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"caf\xe9\n")
    file = LogFile(str(path), BASE)
    assert [line.body for line in lines_of(file)] == ["caf\ufffd"]
    assert file.counts.not_utf8 == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.characters(blacklist_characters="\x00\n\r", blacklist_categories=("Cs",)), min_size=1), min_size=1),
    st.integers(1, 40),
)
def test_nothing_is_lost_or_reordered(tmp_path_factory: pytest.TempPathFactory, texts: list[str], bytes_max: int) -> None:
    path = tmp_path_factory.mktemp("reader") / "x"
    path.write_bytes("\n".join(["start", *texts]).encode())
    file = LogFile(str(path), BASE, line_bytes_max=bytes_max)
    lines = lines_of(file)
    assert [line.position for line in lines] == list(range(len(lines)))
    assert len(lines) + file.counts.blank == len(texts) + 1
    assert all(len(str(line.body).encode()) <= bytes_max for line in lines)
    full = [text.encode() for text in ["start", *texts]]
    expected = [text[:bytes_max].decode("utf-8", "ignore") for text in full]
    assert [str(line.body) for line in lines] == [text for text in expected if text.encode().strip()]
