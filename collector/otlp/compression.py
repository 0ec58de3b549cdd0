"""Content codings of OTLP/HTTP bodies, with a limit that holds for what comes out (RFC 9110 "Content Codings", RFC 1952).

deflate is not read: senders disagree on whether it has a zlib header, and none needs it.
"""

import zlib
from collections.abc import Callable, Sequence
from functools import partial

from collector.otlp.zstd import unzstd
from driftlock.errors import InvalidArgument, PayloadTooLarge, UnsupportedEncoding

ACCEPTED_CODINGS = "gzip, zstd, identity"
"""What is read, as an Accept-Encoding header says it."""
GZIP_MEMBERS_MAX = 1024
_PIECE_BYTES = 64 * 1024
_GZIP_ONLY = zlib.MAX_WBITS | 16


def unpacker(codings: Sequence[str], bytes_max: int) -> Callable[[bytes], bytes] | None:
    """What undoes the Content-Encoding headers of a request: None when there is nothing to undo.

    Raises `UnsupportedEncoding` for an unknown coding and for more than one.
    """
    names = [name.strip().lower() for header in codings for name in header.split(",") if name.strip()]
    if names in ([], ["identity"]):
        return None
    if names in (["gzip"], ["x-gzip"]):
        return partial(gunzip, bytes_max=bytes_max)
    if names == ["zstd"]:
        return partial(unzstd, bytes_max=bytes_max)
    raise UnsupportedEncoding("send the body with Content-Encoding gzip, zstd or identity, and one of them only")


def gunzip(data: bytes, bytes_max: int) -> bytes:
    """All members of a gzip body, one after another.

    Raises `PayloadTooLarge` as soon as more than `bytes_max` bytes come out, and `InvalidArgument` for a damaged or
    truncated body, for anything behind its last member, and for more than `GZIP_MEMBERS_MAX` members.
    """
    out = bytearray()
    position = 0
    for _ in range(GZIP_MEMBERS_MAX):
        if position == len(data):
            return bytes(out)
        position = _member(data, position, out, bytes_max)
    if position == len(data):
        return bytes(out)
    raise InvalidArgument(f"the gzip body has more than {GZIP_MEMBERS_MAX} members; do not resend it")


def _member(data: bytes, position: int, out: bytearray, bytes_max: int) -> int:
    """Append one member's content to `out`; returns the position behind it. Small pieces keep what is copied small."""
    decoder = zlib.decompressobj(wbits=_GZIP_ONLY)
    try:
        while not decoder.eof:
            piece = decoder.unconsumed_tail
            if not piece:
                piece = data[position : position + _PIECE_BYTES]
                position += len(piece)
            if not piece:
                raise InvalidArgument("the gzip body is truncated; do not resend it")
            out += decoder.decompress(piece, bytes_max + 1 - len(out))
            if len(out) > bytes_max:
                raise PayloadTooLarge(f"the body is larger than {bytes_max} bytes after decompression; send smaller batches")
    except zlib.error:
        raise InvalidArgument("the body is not valid gzip; do not resend it") from None
    return position - len(decoder.unused_data)
