"""zstd bodies under limits that hold for what comes out, and for what it takes."""

import contextlib
import os
import struct
import time
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from collector.otlp.zstd import ZSTD_BLOCKS_MAX, ZSTD_FRAMES_MAX, unzstd
from driftlock.errors import InvalidArgument, PayloadTooLarge

MIB = 1024 * 1024
PLAIN = zstandard.ZstdCompressor()


def undeclared(data: bytes, *, level: int = 3, window_log: int = 0, checksum: bool = True) -> bytes:
    """A frame that does not say how large its content is."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, write_content_size=False, write_checksum=checksum, **({"window_log": window_log} if window_log else {})
    )
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return packer.compress(data) + packer.flush()


def skippable(content: bytes, variant: int = 0) -> bytes:
    return struct.pack("<II", 0x184D2A50 + variant, len(content)) + content


@given(st.lists(st.tuples(st.sampled_from("dus"), st.binary(max_size=300)), max_size=5))
def test_all_frames_are_decoded(parts: list[tuple[str, bytes]]) -> None:
    pack = {"d": PLAIN.compress, "u": undeclared, "s": skippable}
    body = b"".join(pack[kind](data) for kind, data in parts)
    assert unzstd(body, 10_000) == b"".join(data for kind, data in parts if kind != "s")


@pytest.mark.parametrize("level", [1, 3, 19, -5])
@pytest.mark.parametrize("checksum", [False, True])
def test_all_levels_and_sizes(level: int, checksum: bool) -> None:
    packer = zstandard.ZstdCompressor(level=level, write_checksum=checksum)
    for size in (0, 1, 255, 256, 65_791, 65_792, 3 * MIB):
        data = (b"some text %d " % size * (size // 8 + 1))[:size]
        assert unzstd(packer.compress(data), 3 * MIB) == data


@pytest.mark.parametrize("pack", [PLAIN.compress, undeclared])
def test_the_limit_is_exact(pack: Callable[[bytes], bytes]) -> None:
    body = pack(b"x" * 1000)
    assert unzstd(body, 1000) == b"x" * 1000
    with pytest.raises(PayloadTooLarge, match="999 bytes after decompression"):
        unzstd(body, 999)
    with pytest.raises(PayloadTooLarge):
        unzstd(body + pack(b"y"), 1000)


@pytest.mark.parametrize("declared", [False, True])
def test_a_bomb_stops_at_the_limit(declared: bool) -> None:
    packer = zstandard.ZstdCompressor(level=3).compressobj(size=200 * MIB if declared else -1)
    bomb = b"".join(packer.compress(bytes(MIB)) for _ in range(200)) + packer.flush()
    assert len(bomb) < 32 * 1024
    started = time.monotonic()
    with pytest.raises(PayloadTooLarge):
        unzstd(bomb, MIB)
    assert time.monotonic() - started < 1


def test_a_frame_that_declares_less_than_it_holds_is_damaged() -> None:
    body = bytearray(zstandard.ZstdCompressor(level=1).compress(b"abcdefgh" * 100))
    assert body[4] >> 6 == 1  # the size has two bytes, of which 256 is taken
    body[5:7] = (800 - 256 - 10).to_bytes(2, "little")
    with pytest.raises(InvalidArgument, match="not valid zstd"):
        unzstd(bytes(body), MIB)


def test_frames_max() -> None:
    for empty in (PLAIN.compress(b""), skippable(b"")):
        assert unzstd(empty * ZSTD_FRAMES_MAX, 10) == b""
        with pytest.raises(InvalidArgument, match="1024 frames"):
            unzstd(empty * (ZSTD_FRAMES_MAX + 1), 10)


def test_blocks_max() -> None:
    def empty_blocks(count: int) -> bytes:
        return b"\x28\xb5\x2f\xfd\x00\x50" + bytes(3) * (count - 1) + b"\x01\x00\x00"

    half = empty_blocks(ZSTD_BLOCKS_MAX // 2)
    assert unzstd(half + half, 10) == b""
    with pytest.raises(InvalidArgument, match="131072 blocks"):
        unzstd(half + half + empty_blocks(1), 10)


def test_window_bytes_max() -> None:
    data = os.urandom(100)
    assert unzstd(undeclared(data, window_log=23), 1000) == data
    for window_log in (24, 31):
        with pytest.raises(InvalidArgument, match="a window of more than 8388608 bytes"):
            unzstd(undeclared(data, window_log=window_log), 1000)
    large = bytes(8 * MIB + 1)
    one_segment = zstandard.ZstdCompressor(level=22).compress(large)
    with pytest.raises(InvalidArgument, match="a window of more than"):
        unzstd(one_segment, 16 * MIB)


def test_dictionaries_are_refused() -> None:
    dictionary = zstandard.train_dictionary(1024, [b"sample %d of a dictionary" % number * 3 for number in range(1000)])
    body = zstandard.ZstdCompressor(dict_data=dictionary).compress(b"sample 5 of a dictionary")
    with pytest.raises(InvalidArgument, match="needs a dictionary"):
        unzstd(body, 1000)


WHOLE = undeclared(b"some text that is long enough to be cut" * 20)


def test_a_truncated_body_is_final() -> None:
    for cut in range(1, len(WHOLE)):
        with pytest.raises(InvalidArgument, match="truncated"):
            unzstd(WHOLE[:cut], MIB)


@pytest.mark.parametrize(
    "damaged",
    [
        WHOLE + b"garbage",
        WHOLE + b"\x28",
        WHOLE[:-1] + bytes([WHOLE[-1] ^ 1]),
        WHOLE[:12] + b"\xff\xff\xff" + WHOLE[15:],
        b"\x28\xb5\x2f\xfd\x00\x50\x07\x00\x00",
        skippable(b"12345")[:-1],
        b"not zstd",
        b"\x28\xb5\x2f\xfe" + WHOLE[4:],
    ],
)
def test_damage_is_final(damaged: bytes) -> None:
    with pytest.raises(InvalidArgument) as refused:
        unzstd(damaged, MIB)
    assert not isinstance(refused.value, PayloadTooLarge)


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed_or_harmless(place: int, change: int) -> None:
    body = bytearray(WHOLE)
    body[place] ^= change
    with contextlib.suppress(InvalidArgument):
        assert unzstd(bytes(body), MIB) == b"some text that is long enough to be cut" * 20


def test_zstd_is_never_undone_twice() -> None:
    once = PLAIN.compress(b"x")
    assert unzstd(PLAIN.compress(once), MIB) == once
