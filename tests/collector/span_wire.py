"""Strategies for the wire bytes of spans: every field in every form that the protobuf library reads, and what it skips."""

import struct

from hypothesis import strategies as st

from collector.otlp.sanitize import encode_varint
from tests.collector.otlp_requests import T0, message

TRACE, SPAN, PARENT = bytes(range(1, 17)), bytes(range(1, 9)), bytes(range(9, 17))


def field(number: int, wire_type: int, value: bytes) -> bytes:
    return encode_varint(number << 3 | wire_type) + value


def padded(value: int, more: int) -> bytes:
    """A varint in more bytes than it needs."""
    raw = bytearray(encode_varint(value))
    for _ in range(min(more, 10 - len(raw))):
        raw[-1] |= 0x80
        raw.append(0)
    return bytes(raw)


def lengthy(number: int, value: bytes, more: int) -> bytes:
    """A field whose length takes more bytes than it needs."""
    return field(number, 2, padded(len(value), min(more, 5 - len(encode_varint(len(value))))) + value)


def named_as(name: str, strategy: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """The strategy, shown by a name: written out, one of this size is not worth its text."""

    def draw(draw: st.DrawFn) -> bytes:
        return draw(strategy)

    draw.__name__ = draw.__qualname__ = name
    return st.composite(draw)()


def several(fields: st.SearchStrategy[bytes], most: int) -> st.SearchStrategy[bytes]:
    """So many fields one after another."""
    return st.lists(fields, max_size=most).map(b"".join)


numbers = st.sampled_from([0, 1, 2, 5, 6, 9, 127, 128, 2**31 - 1, 2**31, 2**32, 2**32 + 2, 2**63, 2**64 - 1]) | st.integers(
    0, 2**64 - 1
)
varints = st.builds(padded, numbers, st.integers(0, 9))
times = st.sampled_from([0, 1, T0, T0 + 1, 2**63, 2**64 - 1]) | st.integers(T0, T0 + 1000)
ids = st.sampled_from([b"", TRACE, SPAN, PARENT, bytes(16), bytes(8), TRACE + b"x", SPAN[:7]])
texts = (
    st.sampled_from(
        [b"", b"GET /a", b"a=b", b"exception", "é\U0001f600".encode(), b"x" * 255 + "é".encode(), "é".encode() * 200]
    )
    | st.text(max_size=12).map(str.encode)
    | st.binary(max_size=6)
    | st.sampled_from([b"caf\xff", b"\xed\xa0\x80x", b"\xf0\x9f\x98", b"\xc0\x80", b"ab\xe2\x82"])
)
keys = st.sampled_from(
    [b"", b"a", b"b", b"a.b", b"http.route", b"_truncated", b"exception.type", b"exception.message", b"exception.stacktrace"]
) | texts.filter(lambda key: len(key) < 30)
states = st.sampled_from(
    [
        "ot=th:8",
        "ot=th:0",
        "ot=p:1;r:62",
        "a=b,ot=rv:1;th:c ",
        "ot=th:",
        "ot=p:64",
        "ot=p:0",
        "ot=p:63",
        "x@ot=th:8",
        " ot=th:F",
    ]
) | st.text(alphabet="ot=thp:;,08fF \t", max_size=24)
doubles = st.floats().map(lambda value: struct.pack("<d", value)) | st.binary(min_size=8, max_size=8)

scalars = st.one_of(
    st.builds(lengthy, st.just(1), texts, st.integers(0, 2)),
    st.builds(field, st.sampled_from([2, 3, 8]), st.just(0), varints),
    st.builds(field, st.just(4), st.just(1), doubles),
    st.builds(lengthy, st.just(7), st.binary(max_size=6), st.just(0)),
)


def _pair(value: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    usual = st.builds(lambda key, one: message(1, key) + message(2, one), keys, value)
    parts = st.one_of(
        keys.map(lambda key: message(1, key)), value.map(lambda one: message(2, one)), varints.map(lambda raw: field(3, 0, raw))
    )
    return usual | usual | several(parts, 4)


def _nested(value: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    array = several(value.map(lambda one: message(1, one)), 3).map(lambda body: message(5, body))
    entries = several(_pair(value).map(lambda one: message(1, one)), 3).map(lambda body: message(6, body))
    return several(st.one_of(scalars, array, entries, array, entries), 3)


values = named_as("values", scalars | scalars | st.recursive(scalars | st.just(b""), _nested, max_leaves=8))
attributes = named_as("attributes", _pair(values))

frames = st.sampled_from(["\tat a.B.c(B.java:1)", "Caused by: E: x", "Caused by: É", "...", "", "é" * 30, "x" * 90])
stacks = st.lists(frames, max_size=40).map(lambda lines: "\n".join(lines).encode())
told = st.one_of(
    st.builds(lambda stack: message(1, b"exception.stacktrace") + message(2, message(1, stack)), stacks),
    st.builds(
        lambda key, text: message(1, key) + message(2, message(1, text)),
        st.sampled_from([b"exception.type", b"exception.message"]),
        texts,
    ),
    attributes,
)
event_names = texts.map(lambda name: message(2, name))
exceptions = several(told.map(lambda pair: message(3, pair)), 4).map(lambda body: message(2, b"exception") + body)
events = named_as(
    "events",
    exceptions
    | st.builds(lambda name, body: name + body, event_names, several(attributes.map(lambda pair: message(3, pair)), 3))
    | several(
        st.one_of(event_names, attributes.map(lambda pair: message(3, pair)), varints.map(lambda raw: field(4, 0, raw))), 4
    ),
)
links = several(
    st.one_of(
        st.builds(message, st.sampled_from([1, 2, 3]), texts),
        attributes.map(lambda pair: message(4, pair)),
        varints.map(lambda raw: field(5, 0, raw)),
    ),
    3,
)
statuses = several(
    st.builds(lambda code: field(3, 0, padded(code, 0)), st.sampled_from([0, 1, 2, 3, 2**32 + 2, 2**64 - 1]))
    | texts.map(lambda text: message(2, text))
    | st.builds(lambda value: field(3, 1, value), st.binary(min_size=8, max_size=8)),
    3,
)
usual = named_as(
    "usual",
    st.one_of(
        st.builds(message, st.sampled_from([1, 2, 4]), ids),
        states.map(lambda text: message(3, text.encode())),
        st.builds(lengthy, st.just(5), texts, st.integers(0, 3)),
        varints.map(lambda value: field(6, 0, value)),
        st.builds(lambda number, time: field(number, 1, time.to_bytes(8, "little")), st.sampled_from([7, 8]), times),
        statuses.map(lambda body: message(15, body)),
        attributes.map(lambda body: message(9, body)),
        attributes.map(lambda body: message(9, body)),
        events.map(lambda body: message(11, body)),
        events.map(lambda body: message(11, body)),
        links.map(lambda body: message(13, body)),
    ),
)
odd = st.one_of(
    st.builds(lambda number, value: field(number, 0, value), st.integers(1, 40), varints),
    st.builds(lambda number, value: field(number, 1, value), st.integers(1, 40), st.binary(min_size=8, max_size=8)),
    st.builds(lambda number, value: field(number, 5, value), st.integers(1, 40), st.binary(min_size=4, max_size=4)),
    st.builds(lambda number, value: lengthy(number, value, 2), st.integers(17, 2**29 - 1), st.binary(max_size=9)),
)
groups = st.builds(
    lambda number, inner: field(number, 3, b"".join(inner)) + field(number, 4, b""),
    st.integers(1, 40),
    st.lists(st.recursive(usual | odd, lambda more: more.map(lambda raw: field(9, 3, raw) + field(9, 4, b""))), max_size=3),
)
named = st.just(message(1, TRACE) + message(2, SPAN))
wire = st.tuples(named | st.just(b""), st.lists(usual | usual | usual | odd | groups, max_size=12)).map(
    lambda parts: parts[0] + b"".join(parts[1])
)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes] = wire) -> bytes:
    """A message that is cut off somewhere, or of which one byte is another one."""
    body = draw(whole)
    at = draw(st.integers(0, len(body)))
    if draw(st.booleans()) or at == len(body):
        return body[:at]
    return body[:at] + bytes([draw(st.integers(0, 255))]) + body[at + 1 :]
