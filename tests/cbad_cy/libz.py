"""Python's zlib: the deflate streams whose sizes `cbad_cy.codec` reports, from a fresh object each time."""

from __future__ import annotations

import zlib


class Libz:
    """The calls that the tests need."""

    def __init__(self) -> None:
        self.version = zlib.ZLIB_RUNTIME_VERSION

    def compress(self, data: bytes, level: int, dictionary: bytes | None = None) -> bytes:
        """A deflate stream without header and checksum."""
        given = () if dictionary is None else (dictionary,)
        stream = zlib.compressobj(level, zlib.DEFLATED, -15, zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY, *given)
        return stream.compress(data) + stream.flush()

    def decompress(self, frame: bytes, bytes_max: int, dictionary: bytes = b"") -> bytes:
        """The text of a stream; fails when it is damaged, cut short or longer than `bytes_max`."""
        # raw inflate takes no more than its look-back
        stream = zlib.decompressobj(-15, zdict=dictionary[-32768:])
        text = stream.decompress(frame, bytes_max + 1)
        assert stream.eof
        assert len(text) <= bytes_max
        return text
