"""Unpacking of gzip, zstd and lz4 streams in bounded memory: a bomb costs time, a damaged end is an error."""

import io
import zlib
from collections.abc import Callable
from typing import Protocol, cast

import lz4.frame
import zstandard

PROBE_BYTES = 64 * 1024
ZSTD_WINDOW_BYTES_MAX = 128 * 1024 * 1024  # what `zstd --long` writes
GZIP_WBITS = 31  # zlib: a gzip header, and a checksum at the end
STEP_BYTES = 1024  # a zstd block of 3 bytes can hold 128 KiB of zeros: small steps bound the memory to some 45 MiB
GZIP, ZSTD, LZ4 = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"
MAGIC_BYTES_MAX = 4


class DamagedFrame(Exception):
    """A packed stream says something impossible."""


UNPACK_ERRORS = (OSError, EOFError, zlib.error, zstandard.ZstdError, DamagedFrame)


class Source(Protocol):
    """Anything that hands out what it has, and waits only when it has nothing."""

    def read1(self, size: int = -1, /) -> bytes:
        """At most `size` bytes by at most one read of the file beneath; b"" at the end."""
        ...


class _Counting(io.RawIOBase):
    """A raw stream that counts what is read through it, for the progress of compressed files; it can look at its head."""

    def __init__(self, source: Source, count: Callable[[int], None]) -> None:
        self._source, self._count = source, count
        self._head = b""

    def magic(self) -> bytes:
        """The first bytes, as many as are needed to tell the coding: a pipe is never waited for in vain."""
        while len(self._head) < MAGIC_BYTES_MAX and any(magic.startswith(self._head) for magic in (GZIP, ZSTD, LZ4)):
            data = self._source.read1(MAGIC_BYTES_MAX - len(self._head))
            if not data:
                break
            self._head += data
        return self._head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        data = self._head[: len(view)] or self._source.read1(len(view))
        self._head = self._head[len(data) :]
        view[: len(data)] = data
        self._count(len(data))
        return len(data)


class _Frame(Protocol):
    """The decoder of one frame."""

    @property
    def eof(self) -> bool:
        """Whether the frame is complete."""
        ...

    @property
    def unused_data(self) -> bytes | None:
        """What came after its end."""
        ...

    def decompress(self, data: bytes, /) -> bytes:
        """The content of the next bytes."""
        ...


class _Frames(io.RawIOBase):
    """The content of all frames of a stream; a missing end is an `EOFError`, which the libraries' own readers hide."""

    def __init__(self, source: io.BufferedReader, name: str, start: Callable[[], _Frame]) -> None:
        self._source, self._name, self._start = source, name, start
        self._frame: _Frame | None = None
        self._fed = b""
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        while not self._ready:
            if not self._fed:
                self._fed = self._source.read1(STEP_BYTES)
            if not self._fed:
                if self._frame is not None:
                    raise EOFError(f"the last {self._name} frame has no end")
                return 0
            if self._frame is None:
                self._fed = self._fed.lstrip(b"\0")  # padding of tapes and block devices
                if not self._fed:
                    continue
                self._frame = self._start()
            self._ready = self._frame.decompress(self._fed)
            self._fed = self._frame.unused_data or b""
            if self._frame.eof:
                self._frame = None
        given = self._ready[: len(view)]
        view[: len(given)] = given
        self._ready = self._ready[len(given) :]
        return len(given)


class _Lz4Frame:
    """One lz4 frame; the library reports damage as a `RuntimeError`, which would hide a bug of ours."""

    def __init__(self) -> None:
        self._decompressor = lz4.frame.LZ4FrameDecompressor()

    @property
    def eof(self) -> bool:
        return bool(self._decompressor.eof)

    @property
    def unused_data(self) -> bytes | None:
        return cast("bytes | None", self._decompressor.unused_data)

    def decompress(self, data: bytes, /) -> bytes:
        try:
            return cast(bytes, self._decompressor.decompress(data))
        except RuntimeError as error:
            raise DamagedFrame(str(error)) from None


def unpacked(source: Source, count: Callable[[int], None]) -> io.BufferedReader:
    """The uncompressed bytes of `source`; the coding is told by its magic bytes, not by a file's name.

    `count` is told the bytes taken from `source`. Reading raises one of `UNPACK_ERRORS` for unreadable or damaged input.
    `read1` of the result hands out what there is, so lines of a live pipe are read as they come.
    """
    raw = _Counting(source, count)
    magic = raw.magic()
    stream = _buffered(raw)
    if magic.startswith(GZIP):
        return _buffered(_Frames(stream, "gzip", lambda: zlib.decompressobj(GZIP_WBITS)))
    if magic == ZSTD:
        zstd = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX)
        return _buffered(_Frames(stream, "zstd", zstd.decompressobj))
    if magic == LZ4:
        return _buffered(_Frames(stream, "lz4", _Lz4Frame))
    return stream


def _buffered(raw: io.RawIOBase) -> io.BufferedReader:
    return io.BufferedReader(raw, PROBE_BYTES)
