"""The installed liblz4 through ctypes: the blocks whose sizes `cbad_cy.codec` reports, from a fresh stream each time.

The shared library can only load a dictionary into the stream that compresses, where the codec attaches a prepared one.
"""

from __future__ import annotations

import ctypes
import ctypes.util


class Liblz4:
    """The calls that the tests need."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("lz4")
        assert name is not None, "liblz4 is not installed: apt install liblz4-1"
        self.shared_object = ctypes.CDLL(name)
        self.shared_object.LZ4_createStream.restype = ctypes.c_void_p
        self.shared_object.LZ4_versionString.restype = ctypes.c_char_p
        self.version = self.shared_object.LZ4_versionString().decode()

    def compress(self, data: bytes, level: int, dictionary: bytes | None = None) -> bytes:
        """One block; `level` is 1."""
        assert level == 1
        lz4 = self.shared_object
        stream = ctypes.c_void_p(lz4.LZ4_createStream())
        if dictionary is not None and lz4.LZ4_loadDict(stream, dictionary, len(dictionary)) == 0:
            lz4.LZ4_freeStream(stream)
            return self.compress(data, level)
        target = ctypes.create_string_buffer(lz4.LZ4_compressBound(len(data)))
        size = lz4.LZ4_compress_fast_continue(stream, data, target, len(data), len(target), level)
        lz4.LZ4_freeStream(stream)
        assert size > 0
        return target.raw[:size]

    def decompress(self, frame: bytes, bytes_max: int, dictionary: bytes = b"") -> bytes:
        """The text of a block; fails when it is damaged or longer than `bytes_max`."""
        target = ctypes.create_string_buffer(bytes_max + 1)
        size = self.shared_object.LZ4_decompress_safe_usingDict(
            frame, target, len(frame), bytes_max, dictionary, len(dictionary)
        )
        assert size >= 0
        return target.raw[:size]
