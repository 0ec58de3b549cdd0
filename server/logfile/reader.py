"""Records of log files: plain text or JSON lines, each with its time.

A line is cut at `line_bytes_max`. What is not text (NUL bytes, UTF-16) is refused at once instead of being scored as noise.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from server.logfile.jsonlines import json_object, split_object
from server.logfile.lines import BYTE_ORDER_MARK, cut, split_lines
from server.logfile.source import Input, LogFileError
from server.logfile.timestamps import Stamper

LINE_BYTES_MAX = 64 * 1024
HEAD_BYTES = 64 * 1024  # so much of the beginning tells whether it is text at all
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
NOTHING: Mapping[str, object] = MappingProxyType({})


class Line(NamedTuple):
    """One record of a file: its index, its time, its text or a JSON object without text, and the fields beside the text."""

    position: int
    time_ns: int
    body: str | Mapping[str, object]
    attributes: Mapping[str, object]


@dataclass(slots=True)
class LineCounts:
    """What the reader met, in lines."""

    lines: int = 0
    blank: int = 0
    cut: int = 0
    not_utf8: int = 0
    not_json: int = 0  # lines of a JSON file that were not JSON objects and were taken as text
    stamped: int = 0


class LogFile:
    """The records of one input, `-` for standard input. `base_ns` is explained at `Stamper`."""

    def __init__(self, name: str, base_ns: int, *, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self.input = Input(name)
        self.counts = LineCounts()
        self._base_ns, self._line_bytes_max = base_ns, line_bytes_max

    def check(self) -> None:
        """Raise `LogFileError` at once for what is plainly unusable: no such file, a folder, empty, binary."""
        if self.input.check():
            head, _ = self._head(Input(self.input.name).portions(), whole=True)
            self._is_json(head)

    def portions(self) -> Iterator[list[Line]]:
        """All records in file order, in lists of those that could be read without waiting for more.

        Raises `LogFileError` for unreadable, empty, binary or damaged input.
        """
        self.input.check()
        data = self.input.portions()
        head, more = self._head(data, whole=False)
        json_lines = self._is_json(head)
        stamper = Stamper(self._base_ns)
        probed = 0
        for raw in split_lines(chain([head], data) if more else [head], self._line_bytes_max):
            for line in raw if probed < HEAD_BYTES else ():
                if probed < HEAD_BYTES:
                    self._check_text(line)
                probed += len(line) + 1
            records = [self._record(line, stamper, json_lines) for line in self._filled(raw)]
            self.counts.stamped = stamper.stamped
            if records:
                yield records
        if self.counts.lines == 0:
            raise LogFileError(f"{self.input.shown} has no lines")

    def _head(self, data: Iterator[bytes], *, whole: bool) -> tuple[bytes, bool]:
        """The beginning, up to the end of the first line with content (`whole`: all of it), and whether there is more."""
        head = b""
        for portion in data:
            head += portion
            if len(head) >= HEAD_BYTES or (not whole and b"\n" in head.lstrip()):
                return head, True
        return head, False

    def _is_json(self, head: bytes) -> bool:
        """Whether an input that begins with `head` is JSON lines; raises `LogFileError` when it is no text."""
        if not head:
            raise LogFileError(f"{self.input.shown} is empty")
        if head.startswith(UTF16_MARKS):
            raise LogFileError(f"{self.input.shown} is UTF-16; convert it with: iconv -f UTF-16 -t UTF-8")
        self._check_text(head[:HEAD_BYTES])
        first = head.removeprefix(BYTE_ORDER_MARK).lstrip().split(b"\n", 1)[0][: self._line_bytes_max + 1]
        if len(first) > self._line_bytes_max or len(first) >= HEAD_BYTES - 3:  # too long to be parsed: its beginning decides
            return first.startswith(b"{")
        return first.startswith(b"{") and json_object(first.decode("utf-8", "replace")) is not None

    def _check_text(self, data: bytes) -> None:
        if b"\x00" in data:
            raise LogFileError(f"{self.input.shown} is binary, not lines of text (plain, .gz, .zst and .lz4 files are read)")

    def _filled(self, raw: Sequence[bytes]) -> Sequence[bytes]:
        """Lines that are not blank, cut at the limit."""
        if max(map(len, raw), default=0) > self._line_bytes_max:
            kept = [cut(line, self._line_bytes_max) for line in raw]
            self.counts.cut += sum(len(short) < len(line) for short, line in zip(kept, raw, strict=True))
        else:
            kept = list(raw)
        filled = [line for line in kept if line and not line.isspace()]
        self.counts.blank += len(kept) - len(filled)
        return filled

    def _record(self, data: bytes, stamper: Stamper, json_lines: bool) -> Line:
        counts = self.counts
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = data.decode(errors="replace")
            counts.not_utf8 += 1
        index = counts.lines
        counts.lines += 1
        found = json_object(text) if json_lines else None
        if found is None:
            counts.not_json += json_lines
            return Line(index, stamper.stamp(text, index), text, NOTHING)
        body, attributes, own_ns = split_object(found)
        return Line(index, stamper.stamp(body if isinstance(body, str) else "", index, own_ns), body, attributes)
