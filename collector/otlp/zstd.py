"""zstd bodies under limits that hold for what comes out, and for the memory that it takes (RFC 8878; RFC 9659 for HTTP).

The frames and blocks of a body are walked before anything is decompressed: only so it is known whether the body is whole, what
its frames demand, and that nothing stands behind them. A library that is handed the body takes the size that a frame
declares for granted, and says nothing of a frame that ends too early.
"""

from dataclasses import dataclass

import zstandard

from driftlock.errors import InvalidArgument, PayloadTooLarge

ZSTD_FRAMES_MAX = 1024
ZSTD_BLOCKS_MAX = 128 * 1024
"""Of all frames; a block has up to 128 KiB, or one flush of the sender."""
ZSTD_WINDOW_BYTES_MAX = 8 * 1024 * 1024
"""How far back a frame may refer; what RFC 9659 allows in HTTP."""
_PIECE_BYTES = 1024 * 1024
_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_RESERVED, _RLE = 3, 1  # types of blocks


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a body: where it begins and ends, and its number of blocks; `content_bytes` are None if it does not tell."""

    begin: int
    end: int
    blocks: int
    content_bytes: int | None

    @property
    def skippable(self) -> bool:
        """Whether it holds something that is not content."""
        return not self.blocks


def unzstd(data: bytes, bytes_max: int) -> bytes:
    """The content of all frames of a zstd body, one after another; skippable frames have none.

    Raises `PayloadTooLarge` as soon as more than `bytes_max` bytes are declared or come out, and `InvalidArgument` for a
    damaged or truncated body, for anything behind its last frame, for more than `ZSTD_FRAMES_MAX` frames or `ZSTD_BLOCKS_MAX`
    blocks, for a window over `ZSTD_WINDOW_BYTES_MAX`, and for a dictionary, which can not be known here.
    """
    frames = _frames(data)
    if sum(frame.content_bytes or 0 for frame in frames) > bytes_max:
        raise _too_large(bytes_max)
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX)
    out = bytearray()
    for frame in frames:
        if not frame.skippable:
            _decompress(decompressor, data[frame.begin : frame.end], out, bytes_max)
    return bytes(out)


def _decompress(decompressor: zstandard.ZstdDecompressor, frame: bytes, out: bytearray, bytes_max: int) -> None:
    try:
        with decompressor.stream_reader(frame) as reader:
            while piece := reader.read(min(_PIECE_BYTES, bytes_max + 1 - len(out))):
                out += piece
                if len(out) > bytes_max:
                    raise _too_large(bytes_max)
    except zstandard.ZstdError:
        raise _damaged() from None


def _frames(data: bytes) -> list[Frame]:
    frames: list[Frame] = []
    position, blocks_left = 0, ZSTD_BLOCKS_MAX
    while position < len(data):
        if len(frames) == ZSTD_FRAMES_MAX:
            raise InvalidArgument(f"the zstd body has more than {ZSTD_FRAMES_MAX} frames; do not resend it")
        frame = _frame(data, position, blocks_left)
        frames.append(frame)
        blocks_left -= frame.blocks
        position = frame.end
    return frames


def _frame(data: bytes, begin: int, blocks_max: int) -> Frame:
    if int.from_bytes(_piece(data, begin, 4), "little") in _SKIPPABLE:
        end = begin + 8 + int.from_bytes(_piece(data, begin + 4, 4), "little")
        _piece(data, end, 0)
        return Frame(begin, end, 0, 0)
    if data[begin : begin + 4] != _MAGIC:
        raise _damaged()
    descriptor = _piece(data, begin + 4, 1)[0]
    position = begin + 5
    single_segment = bool(descriptor >> 5 & 1)
    window_bytes = None
    if not single_segment:
        window_bytes = _window_bytes(_piece(data, position, 1)[0])
        position += 1
    if descriptor & 3:
        raise InvalidArgument("the zstd body needs a dictionary; compress without one; do not resend it")
    size_bytes = (int(single_segment), 2, 4, 8)[descriptor >> 6]
    content_bytes = None
    if size_bytes:
        content_bytes = int.from_bytes(_piece(data, position, size_bytes), "little") + (256 if size_bytes == 2 else 0)
        position += size_bytes
    window = content_bytes if window_bytes is None else window_bytes
    position, blocks = _blocks(data, position, blocks_max)
    end = position + (4 if descriptor >> 2 & 1 else 0)
    _piece(data, end, 0)
    if window is not None and window > ZSTD_WINDOW_BYTES_MAX:
        raise InvalidArgument(
            f"the zstd body needs a window of more than {ZSTD_WINDOW_BYTES_MAX} bytes; use a lower level; do not resend it"
        )
    return Frame(begin, end, blocks, content_bytes)


def _window_bytes(descriptor: int) -> int:
    base = 1 << 10 + (descriptor >> 3)
    return base + base // 8 * (descriptor & 7)


def _blocks(data: bytes, position: int, blocks_max: int) -> tuple[int, int]:
    """Where the blocks of a frame end, and how many they are; each says whether it is the last one."""
    for number in range(1, blocks_max + 1):
        header = int.from_bytes(_piece(data, position, 3), "little")
        kind = header >> 1 & 3
        if kind == _RESERVED:
            raise _damaged()
        position += 3 + (1 if kind == _RLE else header >> 3)
        if header & 1:
            return position, number
    raise InvalidArgument(f"the zstd body has more than {ZSTD_BLOCKS_MAX} blocks; do not resend it")


def _piece(data: bytes, position: int, size: int) -> bytes:
    if position + size > len(data):
        raise InvalidArgument("the zstd body is truncated; do not resend it")
    return data[position : position + size]


def _too_large(bytes_max: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is larger than {bytes_max} bytes after decompression; send smaller batches")


def _damaged() -> InvalidArgument:
    return InvalidArgument("the body is not valid zstd; do not resend it")
