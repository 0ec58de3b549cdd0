"""One input as the user named it: a file or standard input, unpacked, its errors in one line that says what to do."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from server.logfile.unpack import UNPACK_ERRORS, Source, unpacked

PORTION_BYTES = 256 * 1024


class LogFileError(Exception):
    """An input can not be read; the text is one line that says why and what to do."""


@dataclass(slots=True)
class Input:
    """`name` is a path, or `-` for standard input. `bytes_read` counts the file as stored, for its progress."""

    name: str
    bytes_read: int = 0

    @property
    def shown(self) -> str:
        """How messages call it."""
        return "standard input" if self.name == "-" else self.name

    @property
    def stem(self) -> str:
        """The default name of its stream: the file's name without folders and endings; `stdin` for standard input."""
        return "stdin" if self.name == "-" else Path(self.name).name.split(".")[0] or Path(self.name).name

    @property
    def size_bytes(self) -> int | None:
        """Bytes of the file as stored, None for standard input and pipes."""
        path = Path(self.name)
        return path.stat().st_size if self.name != "-" and path.is_file() else None

    def check(self) -> bool:
        """Whether looking at its beginning takes nothing away; raises `LogFileError` for what is missing, or a folder."""
        if self.name == "-":
            return False
        path = Path(self.name)
        if not path.exists():
            raise LogFileError(f"{self.name}: there is no such file")
        if path.is_dir():
            raise LogFileError(f"{self.name} is a folder; name its files")
        return path.is_file()

    def portions(self) -> Iterator[bytes]:
        """Its unpacked bytes, as they come. Raises `LogFileError` when they can not be read, or are damaged."""
        self.bytes_read = given = 0
        try:
            with ExitStack() as stack:
                # Both are buffered readers; typeshed knows only one of them as such.
                file = sys.stdin.buffer if self.name == "-" else stack.enter_context(Path(self.name).open("rb"))
                stream = unpacked(cast(Source, file), self._count)
                while data := stream.read1(PORTION_BYTES):
                    given += len(data)
                    yield data
        except UNPACK_ERRORS as error:
            if isinstance(error, OSError):
                raise LogFileError(f"{self.shown} can not be read: {error.strerror or error}") from None
            where = f" after {given:,} unpacked bytes" if given else ""
            advice = "unpack it with gzip, zstd or lz4 to see how far it is good"
            raise LogFileError(f"{self.shown} is damaged{where}: {error}; {advice}") from None

    def _count(self, data_bytes: int) -> None:
        self.bytes_read += data_bytes
