"""What the tests of codecs share: the table's rows beside libraries that make the same frames, levels, and texts."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Protocol

import pytest
import zstandard
from lz4 import library_version_string

from cbad_cy import reference
from cbad_cy.codec import CODECS
from tests.cbad_cy.liblz4 import Liblz4
from tests.cbad_cy.libz import Libz
from tests.cbad_cy.libzstd import Libzstd


class Library(Protocol):
    """A compressor as everybody calls it: fresh each time, frames and all."""

    version: str

    def compress(self, data: bytes, level: int, dictionary: bytes | None = None) -> bytes: ...

    def decompress(self, frame: bytes, bytes_max: int, dictionary: bytes = b"") -> bytes: ...


LIBRARIES: dict[str, Callable[[], Library]] = {"zstd": Libzstd, "lz4": Liblz4, "gzip": Libz}
ORACLES = {
    "zstd": (reference.zstd_size, ".".join(map(str, zstandard.ZSTD_VERSION))),
    "lz4": (reference.lz4_size, library_version_string()),
    "gzip": (reference.gzip_size, Libz().version),
}
EMPTY_BYTES = {"statistical": 1, "zstd": 5, "lz4": 1, "gzip": 2}
LEVELS = {"statistical": (1,), "zstd": (1, 3, 9), "lz4": (1,), "gzip": (1, 4, 6, 9)}
RULERS = [(name, level) for name, levels in LEVELS.items() for level in levels]
PAST = b"\n".join(b"user %d opened /srv/data/%d.csv in %d ms" % (i % 7, i % 11, i * i % 97) for i in range(1000))
TRAINED_MAGIC = b"\x37\xa4\x30\xec"

every_codec = pytest.mark.parametrize("name", CODECS)
COMPRESSORS = [(name, level) for name, level in RULERS if name in LIBRARIES]
every_ruler = pytest.mark.parametrize(("name", "level"), RULERS, ids=[f"{name}-{level}" for name, level in RULERS])
every_compressor = pytest.mark.parametrize(
    ("name", "level"), COMPRESSORS, ids=[f"{name}-{level}" for name, level in COMPRESSORS]
)


def slices(text: bytes, size: int, step: int) -> tuple[array[int], array[int]]:
    starts = array("I", range(0, max(1, len(text) - size + 1), step))
    return starts, array("I", [min(len(text), start + size) for start in starts])


def noise(size: int, seed: int) -> bytes:
    """Bytes without repetitions to find: the top bytes of a linear congruential sequence."""
    found = bytearray()
    for _ in range(size):
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        found.append(seed >> 56)
    return bytes(found)


# Where compressors change their ways: no text, texts below any match, 4 KiB (a table of lz4 is copied), look-backs, blocks.
SIZES = (0, 1, 4, 7, 8, 12, 13, 100, 4095, 4096, 4097, 9000, 32767, 32768, 32769, 65535, 65536, 65547, 131073, 200_000)
NOISE = noise(1 << 17, 3)
LONG = b"".join(b"%d: %b" % (i, PAST[i * 40 % 30_000 :][:300]) + NOISE[i * 90 : i * 90 + 90] for i in range(800))
