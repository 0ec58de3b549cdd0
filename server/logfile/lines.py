"""Bytes to lines, in the portions in which they come: nobody waits for a full buffer, and a line without an end is bounded."""

from collections.abc import Iterable, Iterator

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def split_lines(portions: Iterable[bytes], line_bytes_max: int) -> Iterator[list[bytes]]:
    r"""The lines that each portion completes, without their ends and without a byte order mark before the first.

    Of a line longer than `line_bytes_max` its first `line_bytes_max` + 1 or + 2 bytes are given: the caller sees that it is
    too long, and where to cut it; they are given at once, because its end may never come. Where portions begin and end
    changes no line.

    >>> list(split_lines([b"a\nb", b"c\r\n", b"d"], 100))
    [[b'a'], [b'bc'], [b'd']]
    """
    room = line_bytes_max + 2  # two more than the limit: a line of just that length may end in \r\n
    held, first, told = bytearray(), True, False  # `told`: the line at hand is too long and has been given already
    for portion in portions:
        head, *rest = portion.split(b"\n")
        held += head[: max(0, room - len(held))]
        if not rest:
            if len(held) == room and not told:
                yield [bytes(held).removeprefix(BYTE_ORDER_MARK if first else b"").rstrip(b"\r")]
                first, told = False, True
            continue
        lines = [bytes(held), *rest]
        held = bytearray(lines.pop()[:room])
        if told:
            told, lines = False, lines[1:]
        elif first:
            first, lines[0] = False, lines[0].removeprefix(BYTE_ORDER_MARK)
        if lines:
            yield [line[:room].rstrip(b"\r") for line in lines]
    if held and not told:
        yield [bytes(held.removeprefix(BYTE_ORDER_MARK) if first else held).rstrip(b"\r")]


def cut(line: bytes, bytes_max: int) -> bytes:
    """`line`, or its first `bytes_max` bytes less a UTF-8 character that would be cut in two.

    >>> cut("aé".encode(), 2)
    b'a'
    """
    if len(line) <= bytes_max:
        return line
    end = bytes_max
    while end > bytes_max - 4 and line[end] & 0xC0 == 0x80:
        end -= 1
    return line[:end]
