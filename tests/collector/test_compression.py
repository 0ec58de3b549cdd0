"""gzip bodies under a limit that holds for what comes out."""

import gzip
import time
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from collector.otlp.compression import GZIP_MEMBERS_MAX, gunzip, unpacker
from driftlock.errors import InvalidArgument, PayloadTooLarge, UnsupportedEncoding

MIB = 1024 * 1024


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_all_members_are_decoded(parts: list[bytes]) -> None:
    assert gunzip(b"".join(map(gzip.compress, parts)), 10_000) == b"".join(parts)


def test_large_bodies_over_many_pieces() -> None:
    data = bytes(range(256)) * 4096 * 2
    stored = gzip.compress(data, 0)
    assert gunzip(stored + stored, 4 * MIB) == data + data


def test_the_limit_is_exact() -> None:
    body = gzip.compress(b"x" * 1000)
    assert gunzip(body, 1000) == b"x" * 1000
    with pytest.raises(PayloadTooLarge, match="999 bytes after decompression"):
        gunzip(body, 999)
    with pytest.raises(PayloadTooLarge):
        gunzip(body + gzip.compress(b"y"), 1000)


def test_a_bomb_stops_at_the_limit() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(MIB)) for _ in range(200)) + packer.flush()
    started = time.monotonic()
    with pytest.raises(PayloadTooLarge):
        gunzip(bomb, MIB)
    assert time.monotonic() - started < 1


def test_members_max() -> None:
    empty = gzip.compress(b"", mtime=0)
    assert gunzip(empty * GZIP_MEMBERS_MAX, 10) == b""
    with pytest.raises(InvalidArgument, match="members"):
        gunzip(empty * (GZIP_MEMBERS_MAX + 1), 10)


WHOLE = gzip.compress(b"some text that is long enough to be cut" * 20, mtime=0)


@pytest.mark.parametrize(
    "damaged",
    [
        WHOLE[:-1],
        WHOLE[:5],
        WHOLE + b"garbage",
        WHOLE + b"\x1f",
        WHOLE[:-8] + bytes(8),
        b"not gzip",
        zlib.compress(b"zlib, not gzip"),
        WHOLE[:20] + b"\xff\xff\xff" + WHOLE[23:],
    ],
)
def test_damage_is_final(damaged: bytes) -> None:
    with pytest.raises(InvalidArgument) as refused:
        gunzip(damaged, MIB)
    assert not isinstance(refused.value, PayloadTooLarge)


def test_gzip_is_never_undone_twice() -> None:
    once = gzip.compress(b"x")
    assert gunzip(gzip.compress(once), MIB) == once


@pytest.mark.parametrize("codings", [[], [""], ["identity"], ["Identity "]])
def test_identity(codings: list[str]) -> None:
    assert unpacker(codings, 10) is None


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", " GZIP "])
def test_gzip(coding: str) -> None:
    unpack = unpacker([coding], 10)
    assert unpack is not None
    assert unpack(gzip.compress(b"abc")) == b"abc"


def test_zstd() -> None:
    unpack = unpacker(["ZSTD"], 10)
    assert unpack is not None
    assert unpack(zstandard.ZstdCompressor().compress(b"abc")) == b"abc"
    with pytest.raises(PayloadTooLarge):
        unpack(zstandard.ZstdCompressor().compress(b"abc" * 4))


@pytest.mark.parametrize("codings", [["gzip, gzip"], ["gzip", "gzip"], ["gzip, identity"], ["br"], ["deflate"], ["zstd, gzip"]])
def test_other_codings_are_named_unsupported(codings: list[str]) -> None:
    with pytest.raises(UnsupportedEncoding, match="gzip, zstd or identity"):
        unpacker(codings, 10)
