"""The installed libzstd through ctypes: the frames whose sizes `cbad_cy.codec` reports, from a fresh context each time."""

from __future__ import annotations

import ctypes
import ctypes.util

import zstandard

_LEVEL, _CONTENT_SIZE, _CHECKSUM, _DICTIONARY_ID, _FORMAT = 100, 200, 201, 202, 10
_BY_COPY, _RAW_CONTENT = 0, 1


class _Memory(ctypes.Structure):
    _fields_ = [("allocate", ctypes.c_void_p), ("free", ctypes.c_void_p), ("opaque", ctypes.c_void_p)]


class Libzstd:
    """The calls that the tests need."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("zstd")
        assert name is not None, "libzstd is not installed: apt install libzstd1"
        self.shared_object = ctypes.CDLL(name)
        for function in ("createCCtx", "createCCtxParams", "createCDict_advanced2"):
            getattr(self.shared_object, f"ZSTD_{function}").restype = ctypes.c_void_p
        for function in ("compressBound", "compress2", "CCtx_setParameter", "CCtx_refCDict", "CCtxParams_init"):
            getattr(self.shared_object, f"ZSTD_{function}").restype = ctypes.c_size_t
        self.shared_object.ZSTD_versionString.restype = ctypes.c_char_p
        self.version = self.shared_object.ZSTD_versionString().decode()

    def compress(self, data: bytes, level: int, dictionary: bytes | None = None) -> bytes:
        """A frame without magic number, checksum, content size and dictionary id."""
        zstd = self.shared_object
        context = ctypes.c_void_p(zstd.ZSTD_createCCtx())
        prepared = None
        for parameter, value in ((_LEVEL, level), (_FORMAT, 1), (_CONTENT_SIZE, 0), (_CHECKSUM, 0), (_DICTIONARY_ID, 0)):
            self.check(zstd.ZSTD_CCtx_setParameter(context, parameter, value))
        if dictionary is not None:
            parameters = ctypes.c_void_p(zstd.ZSTD_createCCtxParams())
            self.check(zstd.ZSTD_CCtxParams_init(parameters, level))
            prepared = ctypes.c_void_p(
                zstd.ZSTD_createCDict_advanced2(
                    dictionary, ctypes.c_size_t(len(dictionary)), _BY_COPY, _RAW_CONTENT, parameters, _Memory()
                )
            )
            zstd.ZSTD_freeCCtxParams(parameters)
            self.check(zstd.ZSTD_CCtx_refCDict(context, prepared))
        target = ctypes.create_string_buffer(zstd.ZSTD_compressBound(ctypes.c_size_t(len(data))) + 64)
        size = zstd.ZSTD_compress2(context, target, ctypes.c_size_t(len(target)), data, ctypes.c_size_t(len(data)))
        self.check(size)
        zstd.ZSTD_freeCCtx(context)
        if prepared is not None:
            zstd.ZSTD_freeCDict(prepared)
        return target.raw[:size]

    def decompress(self, frame: bytes, bytes_max: int, dictionary: bytes | None = None) -> bytes:
        """The text of a frame, by another build of libzstd; fails when it is damaged or longer than `bytes_max`."""
        past = None if dictionary is None else zstandard.ZstdCompressionDict(dictionary, zstandard.DICT_TYPE_RAWCONTENT)
        reader = zstandard.ZstdDecompressor(dict_data=past, format=zstandard.FORMAT_ZSTD1_MAGICLESS)
        return reader.decompress(frame, max_output_size=bytes_max + 1)

    def check(self, code: int) -> None:
        assert not self.shared_object.ZSTD_isError(ctypes.c_size_t(code))
