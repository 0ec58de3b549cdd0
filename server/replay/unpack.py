"""Unpacking of gzip and zstd streams in bounded memory: a bomb costs time, a damaged end is an error."""

import gzip
import io
import zlib
from collections.abc import Callable
from typing import BinaryIO, cast

import zstandard

PROBE_BYTES = 64 * 1024
ZSTD_WINDOW_BYTES_MAX = 128 * 1024 * 1024  # what `zstd --long` writes
ZSTD_STEP_BYTES = 1024  # a block of 3 bytes can hold 128 KiB of zeros: small steps bound the memory to some 45 MiB
UNPACK_ERRORS = (OSError, EOFError, zlib.error, zstandard.ZstdError)


class _Counting(io.RawIOBase):
    """A raw stream that counts what is read through it, for the progress of compressed files."""

    def __init__(self, source: BinaryIO, count: Callable[[int], None]) -> None:
        self._source, self._count = source, count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        data = self._source.read(len(view))
        view[: len(data)] = data
        self._count(len(data))
        return len(data)


class _ZstdFrames(io.RawIOBase):
    """The content of all zstd frames of a stream; a missing end is an `EOFError`, which the library's reader hides."""

    def __init__(self, source: io.BufferedReader) -> None:
        self._source = source
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX)
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._fed = b""
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        while not self._ready:
            if not self._fed:
                self._fed = self._source.read(ZSTD_STEP_BYTES)
            if not self._fed:
                if self._frame is not None:
                    raise EOFError("the last zstd frame has no end")
                return 0
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            self._ready = self._frame.decompress(self._fed)
            self._fed = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        given = self._ready[: len(view)]
        view[: len(given)] = given
        self._ready = self._ready[len(given) :]
        return len(given)


def unpacked(source: BinaryIO, count: Callable[[int], None]) -> io.BufferedReader:
    """The uncompressed bytes of `source`; the coding is told by its magic bytes, not by a file's name.

    `count` is told the bytes taken from `source`. Reading raises one of `UNPACK_ERRORS` for unreadable or damaged input.
    """
    stream: io.BufferedReader = io.BufferedReader(_Counting(source, count), PROBE_BYTES)
    magic = stream.peek(4)[:4]
    if magic.startswith(b"\x1f\x8b"):
        return io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=stream, mode="rb")), PROBE_BYTES)
    if magic == b"\x28\xb5\x2f\xfd":
        return io.BufferedReader(_ZstdFrames(stream), PROBE_BYTES)
    return stream
