"""Fields of a protobuf message on the wire, read in Python: what is needed to look into a message that can not be parsed.

Requests are read by the native readers; only the rare resource that is huge or damaged comes here.
Encoding: Protocol Buffers documentation, "Encoding".
"""

from driftlock.errors import InvalidArgument

VARINT, FIXED64, LEN, START_GROUP, END_GROUP, FIXED32 = range(6)
_GROUP_DEPTH_MAX = 64

Field = tuple[int, int, int, int]  # number, wire type, start and end of the value


class Malformed(InvalidArgument):
    """The bytes are not a protobuf message: nothing behind the damage can be trusted, so the request is refused whole."""

    def __init__(self, where: int) -> None:
        super().__init__(f"the request is not a valid OTLP protobuf message (near byte {where}); do not resend it")


def varint(data: bytes, position: int, bytes_max: int = 10) -> tuple[int, int]:
    """The value at `position` and the position after it; raises `Malformed` past so many bytes or past the end."""
    value = shift = 0
    start = position
    try:
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, position
            shift += 7
            if shift >= 7 * bytes_max:
                raise Malformed(start)
    except IndexError:
        raise Malformed(start) from None


def next_field(data: bytes, position: int, end: int, *, in_group: bool = False) -> Field:
    """The field at `position` of a message that ends at `end`; groups, which OTLP does not use, are one field each.

    In a group, which is skipped, the protobuf library minds no number 0.
    """
    start = position
    tag, position = varint(data, position, 5)
    number, wire_type = tag >> 3, tag & 7
    if (number == 0 and not in_group) or number > 0x1FFF_FFFF:
        raise Malformed(start)
    if wire_type == VARINT:
        after = varint(data, position)[1]
    elif wire_type == FIXED64:
        after = position + 8
    elif wire_type == LEN:
        size, position = varint(data, position, 5)
        after = position + size
    elif wire_type == FIXED32:
        after = position + 4
    elif wire_type == START_GROUP:
        after = _group_end(data, position, end, number)
    else:
        raise Malformed(start)
    if after > end:
        raise Malformed(start)
    return number, wire_type, position, after


def _group_end(data: bytes, position: int, end: int, number: int) -> int:
    """Position after the end tag of a group whose start tag was just read."""
    open_groups = [number]
    while open_groups:
        if position >= end or len(open_groups) > _GROUP_DEPTH_MAX:
            raise Malformed(position)
        tag, after_tag = varint(data, position, 5)
        if tag >> 32:
            raise Malformed(position)
        if tag & 7 == END_GROUP:
            if open_groups.pop() != tag >> 3:
                raise Malformed(position)
            position = after_tag
        elif tag & 7 == START_GROUP:
            open_groups.append(tag >> 3)
            position = after_tag
        else:
            position = next_field(data, position, end, in_group=True)[3]
    return position
