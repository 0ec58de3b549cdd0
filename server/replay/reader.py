"""Lines of log files: plain text or JSON lines, optionally gzip or zstd, from a path or standard input.

A line is cut at `line_bytes_max`. What is not text (NUL
bytes, UTF-16) is refused at once instead of being scored as noise.
"""

import gzip
import io
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from server.replay.timestamps import Stamper, parse_iso, parse_number
from server.replay.unpack import PROBE_BYTES, UNPACK_ERRORS, unpacked

LINE_BYTES_MAX = 64 * 1024
JSON_DEPTH_MAX = 16
TIME_FIELDS = ("time", "timestamp", "@timestamp", "ts")
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class ReplayError(Exception):
    """A file can not be replayed; the text is one line that says why and what to do."""


@dataclass(frozen=True, slots=True)
class Line:
    """One record of a file: `body` is its text or a JSON object without text, `attributes` the fields beside the text."""

    index: int
    time_ns: int
    body: str | Mapping[str, object]
    attributes: Mapping[str, object]


@dataclass(slots=True)
class ReadCounts:
    """What the reader met: `bytes_read` counts the file as stored (compressed), the rest counts lines."""

    bytes_read: int = 0
    lines: int = 0
    blank: int = 0
    cut: int = 0
    not_utf8: int = 0
    not_json: int = 0  # lines of a JSON file that were not JSON objects and were taken as text
    stamped: int = 0


@dataclass(slots=True)
class LineFile:
    """One input: `name` as the user wrote it, `-` for standard input. `base_ns` is explained at `Stamper`."""

    name: str
    base_ns: int
    line_bytes_max: int = LINE_BYTES_MAX
    counts: ReadCounts = field(default_factory=ReadCounts)

    @property
    def stem(self) -> str:
        """The default service name: the file's name without folders and endings; `stdin` for standard input."""
        return "stdin" if self.name == "-" else Path(self.name).name.split(".")[0] or Path(self.name).name

    @property
    def size_bytes(self) -> int | None:
        """Bytes of the file as stored, None for standard input and pipes."""
        path = Path(self.name)
        return path.stat().st_size if self.name != "-" and path.is_file() else None

    def check(self) -> None:
        """Raise `ReplayError` at once for what is plainly unusable: no such file, a folder, empty, binary."""
        if self.name == "-":
            return
        path = Path(self.name)
        if not path.exists():
            raise ReplayError(f"{self.name}: there is no such file")
        if path.is_dir():
            raise ReplayError(f"{self.name} is a folder; name its files")
        if not path.is_file():
            return  # a pipe: probing would take bytes away from the reading
        try:
            with self._opened() as stream:
                self._probe(stream)
        except UNPACK_ERRORS as error:
            raise self._explain(error) from None

    def lines(self) -> Iterator[Line]:
        """All records in file order. Raises `ReplayError` for unreadable, empty, binary or damaged input."""
        try:
            with self._opened() as stream:
                json_lines = self._probe(stream)
                yield from self._records(stream, json_lines)
        except UNPACK_ERRORS as error:
            raise self._explain(error) from None
        if self.counts.lines == 0:
            raise ReplayError(f"{self._shown} has no lines")

    @property
    def _shown(self) -> str:
        return "standard input" if self.name == "-" else self.name

    def _explain(self, error: Exception) -> ReplayError:
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            return ReplayError(f"{self._shown} can not be read: {error.strerror or error}")
        read = f" after {self.counts.lines} lines" if self.counts.lines else ""
        return ReplayError(f"{self._shown} is damaged{read}: {error}; unpack it with gzip or zstd to see how far it is good")

    @contextmanager
    def _opened(self) -> Iterator[io.BufferedReader]:
        def count(data_bytes: int) -> None:
            self.counts.bytes_read += data_bytes

        self.counts.bytes_read = 0
        with ExitStack() as stack:
            if self.name == "-":
                source = cast(BinaryIO, sys.stdin.buffer)
            else:
                source = cast(BinaryIO, stack.enter_context(Path(self.name).open("rb")))
            yield unpacked(source, count)

    def _probe(self, stream: io.BufferedReader) -> bool:
        """Look at the beginning without consuming it; whether the file is JSON lines."""
        head = stream.peek(PROBE_BYTES)
        if not head:
            raise ReplayError(f"{self._shown} is empty")
        if head.startswith(UTF16_MARKS):
            raise ReplayError(f"{self._shown} is UTF-16; convert it with: iconv -f UTF-16 -t UTF-8")
        if b"\x00" in head:
            raise ReplayError(f"{self._shown} is binary, not lines of text (plain, .gz and .zst files are read)")
        first = head.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0]
        if len(first) >= PROBE_BYTES - 3:  # an object longer than the probe: its beginning decides
            return first.startswith(b"{")
        return first.startswith(b"{") and _json_object(first.decode("utf-8", "replace")) is not None

    def _records(self, stream: io.BufferedReader, json_lines: bool) -> Iterator[Line]:
        stamper = Stamper(self.base_ns)
        counts = self.counts
        for data in self._raw_lines(stream):
            try:
                text = data.decode("utf-8")
            except UnicodeDecodeError:
                text = data.decode("utf-8", "replace")
                counts.not_utf8 += 1
            found = _json_object(text) if json_lines else None
            counts.not_json += json_lines and found is None
            body, attributes, own_ns = _split(found) if found is not None else (text, {}, None)
            time_ns = stamper.stamp(body if isinstance(body, str) else "", counts.lines, own_ns)
            yield Line(counts.lines, time_ns, body, attributes)
            counts.lines += 1
            counts.stamped = stamper.stamped

    def _raw_lines(self, stream: io.BufferedReader) -> Iterator[bytes]:
        """Lines without their ends and without blank ones, cut at `line_bytes_max`."""
        first = True
        while data := stream.readline(self.line_bytes_max + 2):
            rest = data
            while not rest.endswith(b"\n") and (rest := stream.readline(PROBE_BYTES)):
                pass  # the tail of a line that is cut
            if first:
                data, first = data.removeprefix(b"\xef\xbb\xbf"), False
            line = data.rstrip(b"\r\n")
            if len(line) > self.line_bytes_max:
                self.counts.cut += 1
                line = _cut(line, self.line_bytes_max)
            if not line.strip():
                self.counts.blank += 1
                continue
            yield line


def _cut(data: bytes, bytes_max: int) -> bytes:
    """At most `bytes_max` bytes of longer `data`, not ending inside a UTF-8 character."""
    end = bytes_max
    while end > bytes_max - 4 and data[end] & 0xC0 == 0x80:
        end -= 1
    return data[:end]


def _json_object(text: str) -> dict[str, object] | None:
    """The JSON object that a line holds, None if it holds anything else or is nested too deeply."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and _depth_ok(found) else None


def _depth_ok(value: object) -> bool:
    level: list[object] = [value]
    for _ in range(JSON_DEPTH_MAX):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return True
    return False


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _split(found: dict[str, object]) -> tuple[str | Mapping[str, object], Mapping[str, object], int | None]:
    """(body, attributes, time): an object with `text` is that text and its other fields; any other object is the body."""
    own_ns = None
    for name in TIME_FIELDS:
        value = found.get(name)
        if isinstance(value, str):
            own_ns = parse_iso(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            own_ns = parse_number(value)
        if own_ns is not None:
            found = {key: kept for key, kept in found.items() if key != name}
            break
    text = found.get("text")
    if isinstance(text, str):
        return text, {key: kept for key, kept in found.items() if key != "text"}, own_ns
    return found, {}, own_ns
