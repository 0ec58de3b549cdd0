"""The envelope of an OTLP request, read from its wire bytes without building an object for each part.

Requests of all signals have one shape: resources (field 1) hold a resource (1) and scopes (2), scopes hold records (2);
metrics hold their data points one message deeper. Counting here, before parsing, is what keeps a request of a few
megabytes from becoming millions of objects; parsing record by record is what keeps one bad record from failing the rest.
Encoding: Protocol Buffers documentation, "Encoding".
"""

from dataclasses import dataclass

from collector.otlp.limits import OtlpLimits
from collector.otlp.wire import LEN, Field, Malformed, next_field, varint
from driftlock.errors import InvalidArgument

RESOURCE, SCOPES, RECORDS = 1, 2, 2
_OTHERS_MAX = 4096  # fields of an envelope message beside the repeated one: OTLP defines three

Span = tuple[int, int]  # start and end of a message's bytes in the request


@dataclass(frozen=True, slots=True)
class ResourceSpan:
    """One resource: its own bytes, and where its records lie, in order."""

    resource: bytes
    records: list[Span]


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
                        size, begin = varint(data, position + 1, 5)
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
