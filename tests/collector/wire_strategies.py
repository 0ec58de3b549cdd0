"""OTLP messages as wire bytes, right and wrong, for hypothesis: what no library would write, but may be sent."""

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.collector.otlp_requests import length

VARINT, FIXED64, LEN, START_GROUP, END_GROUP, FIXED32 = range(6)

Bytes = SearchStrategy[bytes]


def tag(number: int, wire_type: int, padding: int = 0) -> bytes:
    """A field's tag, in more bytes than it needs where `padding` says so."""
    return padded(number << 3 | wire_type, padding)


def padded(value: int, padding: int = 0) -> bytes:
    """A varint with so many superfluous bytes."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    for _ in range(padding):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


def field(number: int, data: bytes) -> bytes:
    """A length-delimited field."""
    return tag(number, LEN) + length(data) + data


def fields(number: int, data: Bytes) -> Bytes:
    return data.map(lambda value: field(number, value))


integers = st.one_of(
    st.integers(0, 30), st.integers(0, 2**64 - 1), st.sampled_from([2**31, 2**32, 2**32 + 1, 2**63, 2**64 - 1])
)
varints = st.builds(padded, integers, st.sampled_from([0] * 9 + [1, 2, 9])).map(
    lambda value: value if len(value) <= 10 else padded(2**64 - 1)
)
fixed64 = st.binary(min_size=8, max_size=8)
numbers = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 31, 32, 33, 100, 2**29 - 1])

texts = st.one_of(
    st.text(max_size=12).map(str.encode),
    st.sampled_from(
        [b"", b"a", b"b", b"k", b"key", b"key.a", b"longer.key.one", b"longer.key.two", b"_truncated", b"service.name"]
    ),
    st.sampled_from(
        [b"\xff", b"k\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"ok \x80 ok", b"\xf0\x9f", b"\xf0\x9f\x98\x80", b"\xc3\xa4" * 9]
    ),
    st.integers(120, 140).map(lambda size: b"x" * size),
    st.binary(max_size=8),
)
"""Strings, most of them UTF-8."""


_in_groups = st.sampled_from(
    [b"", b"\x08\x01", b"\x00\x01", b"\x12\x02hi", b"\x0b\x0c", b"\x03\x04", b"\x0d1234", b"\xf9\x0612345678"]
)
_forms = st.one_of(
    st.tuples(st.just(VARINT), varints),
    st.tuples(st.just(FIXED64), fixed64),
    st.tuples(st.just(FIXED32), st.binary(min_size=4, max_size=4)),
    st.tuples(st.just(LEN), st.binary(max_size=6)),
    st.tuples(st.just(START_GROUP), st.lists(_in_groups, max_size=3).map(b"".join)),
)


def _of_form(number: int, form: tuple[int, bytes]) -> bytes:
    """A field of that number, wire type and value; a group, which may hold a field 0, ends."""
    wire_type, value = form
    if wire_type == LEN:
        value = length(value) + value
    elif wire_type == START_GROUP:
        value += tag(number, END_GROUP)
    return tag(number, wire_type) + value


strange = st.builds(_of_form, numbers, _forms)
"""Fields that are not known, or known with another wire type; those of right form may happen to be known."""

broken = st.sampled_from(
    [
        *(
            b"\x0a",
            b"\x0a\x05abc",
            b"\x00\x01",
            b"\x0f",
            b"\x0e",
            b"\x0c",
            b"\x0b\x08\x01",
            b"\x0b\x14",
            b"\x09\x01",
            b"\x0d\x01",
        ),
        *(b"\x08" + b"\xff" * 10 + b"\x01", b"\x0a" + b"\xff" * 9 + b"\x01", b"\x0a\x80\x80\x80\x80\x80\x00"),
        *(b"\x88\x80\x80\x80\x80\x00\x01", b"\xff\xff\xff\xff\x7f\x01", b"\x0b" * 70 + b"\x0c" * 70),
    ]
)
"""Nothing that is protobuf."""


def messages(*known: Bytes, strange_share: int = 8) -> Bytes:
    """A message of these fields in any order and number; a few others may stand between them."""
    usual = st.one_of(*known)
    return st.lists(st.one_of(*[usual] * strange_share, strange), max_size=6).map(b"".join)


def key_values(values: Bytes) -> Bytes:
    usual = st.builds(lambda key, value: field(1, key) + field(2, value), texts, values)
    return st.one_of(usual, usual, messages(fields(1, texts), fields(2, values)))


def extend(values: Bytes) -> Bytes:
    """AnyValues that hold others."""
    arrays = fields(5, messages(fields(1, values)))
    maps = fields(6, messages(fields(1, key_values(values))))
    several = st.lists(st.one_of(arrays, maps, scalars), max_size=4).map(b"".join)
    return st.one_of(arrays, maps, several)


scalars = st.one_of(
    fields(1, texts),
    varints.map(lambda value: tag(2, VARINT) + value),
    varints.map(lambda value: tag(3, VARINT) + value),
    fixed64.map(lambda value: tag(4, FIXED64) + value),
    fields(7, st.binary(max_size=20)),
    varints.map(lambda value: tag(8, VARINT) + value),
    st.just(b""),
)
any_values = st.recursive(scalars, extend, max_leaves=12)
attributes = key_values(any_values)


def deep(levels: int, kinds: Callable[[int], int], core: bytes = b"\x0a\x01x") -> bytes:
    """An AnyValue of so many levels; `kinds` says of each whether it is an array (5) or a map (6)."""
    value = core
    for level in range(levels - 1):
        inner = value if kinds(level) == 5 else field(1, b"k") + field(2, value)
        value = field(kinds(level), field(1, inner))
    return value
