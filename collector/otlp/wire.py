"""The envelope of an OTLP request, read from its wire bytes without building an object for each part.

Requests of all signals have one shape: resources (field 1) hold a resource (1) and scopes (2), scopes hold records (2);
metrics hold their data points one message deeper. Counting here, before parsing, is what keeps a request of a few
megabytes from becoming millions of objects; parsing record by record is what keeps one bad record from failing the rest.
Encoding: Protocol Buffers documentation, "Encoding".
"""

from dataclasses import dataclass

from collector.otlp.limits import OtlpLimits
from driftlock.errors import InvalidArgument

VARINT, FIXED64, LEN, START_GROUP, END_GROUP, FIXED32 = range(6)
RESOURCE, SCOPES, RECORDS = 1, 2, 2
_GROUP_DEPTH_MAX = 64
_OTHERS_MAX = 4096  # fields of an envelope message beside the repeated one: OTLP defines three

Span = tuple[int, int]  # start and end of a message's bytes in the request
Field = tuple[int, int, int, int]  # number, wire type, start and end of the value


class Malformed(InvalidArgument):
    """The bytes are not a protobuf message: nothing behind the damage can be trusted, so the request is refused whole."""

    def __init__(self, where: int) -> None:
        super().__init__(f"the request is not a valid OTLP protobuf message (near byte {where}); do not resend it")


@dataclass(frozen=True, slots=True)
class ResourceSpan:
    """One resource: its own bytes, and where its records lie, in order."""

    resource: bytes
    records: list[Span]


def varint(data: bytes, position: int) -> tuple[int, int]:
    """The value at `position` and the position after it; raises `Malformed` past ten bytes or past the end."""
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
            if shift > 63:
                raise Malformed(start)
    except IndexError:
        raise Malformed(start) from None


def next_field(data: bytes, position: int, end: int) -> Field:
    """The field at `position` of a message that ends at `end`; groups, which OTLP does not use, are one field each."""
    start = position
    tag, position = varint(data, position)
    number, wire_type = tag >> 3, tag & 7
    if number == 0 or number > 0x1FFF_FFFF:
        raise Malformed(start)
    if wire_type == VARINT:
        after = varint(data, position)[1]
    elif wire_type == FIXED64:
        after = position + 8
    elif wire_type == LEN:
        size, position = varint(data, position)
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
        tag, after_tag = varint(data, position)
        if tag & 7 == END_GROUP:
            if open_groups.pop() != tag >> 3:
                raise Malformed(position)
            position = after_tag
        elif tag & 7 == START_GROUP:
            open_groups.append(tag >> 3)
            position = after_tag
        else:
            position = next_field(data, position, end)[3]
    return position


@dataclass(slots=True)
class Tally:
    """How many of one kind of message a whole request holds so far, and how many it may."""

    what: str
    count_max: int
    count: int = 0


def split(data: bytes, place: Span, number: int, found: list[Span], tally: Tally) -> list[Field]:
    """Append the messages in field `number` (below 16) of the message at `place` to `found`, in order; return the others.

    Raises `InvalidArgument` when the tally is over. This loop sees every record of a request, so it reads the usual tag
    and lengths of one or two bytes itself and leaves the rest to `next_field`.
    """
    position, end = place
    others: list[Field] = []
    before = len(found)
    room = before + tally.count_max - tally.count
    tag = number << 3 | LEN
    try:
        while position < end:
            if data[position] == tag:
                size = data[position + 1]
                begin = position + 2
                if size > 0x7F:
                    if data[begin] < 0x80:
                        size = size & 0x7F | data[begin] << 7
                        begin += 1
                    else:
                        size, begin = varint(data, position + 1)
                position = begin + size
                if position > end:
                    raise Malformed(begin)
                found.append((begin, position))
            else:
                field = next_field(data, position, end)
                position = field[3]
                if field[0] == number and field[1] == LEN:
                    found.append((field[2], position))
                elif len(others) < _OTHERS_MAX:
                    others.append(field)
                else:
                    raise InvalidArgument(
                        f"a message has more than {_OTHERS_MAX} fields beside its {tally.what}; do not resend"
                    )
            if len(found) > room:
                raise InvalidArgument(f"the request holds more than {tally.count_max} {tally.what}; send smaller batches")
    except IndexError:
        raise Malformed(position) from None
    tally.count += len(found) - before
    return others


def joined(data: bytes, fields: list[Field], number: int) -> bytes:
    """All occurrences of the message field `number`: concatenated messages are the merged message."""
    return b"".join([data[start:end] for field, wire_type, start, end in fields if field == number and wire_type == LEN])


def resources(data: bytes, limits: OtlpLimits, records: Tally) -> list[ResourceSpan]:
    """The resources of a request with the places of their records, of which `records` is the tally."""
    tops: list[Span] = []
    split(data, (0, len(data)), 1, tops, Tally("resources", limits.containers_max))
    scope_tally = Tally("scopes", limits.containers_max)
    result: list[ResourceSpan] = []
    for top in tops:
        scopes: list[Span] = []
        others = split(data, top, SCOPES, scopes, scope_tally)
        spans: list[Span] = []
        for scope in scopes:
            split(data, scope, RECORDS, spans, records)
        result.append(ResourceSpan(joined(data, others, RESOURCE), spans))
    return result
