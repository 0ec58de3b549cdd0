"""Spans from wire bytes, against the protobuf library as the oracle."""

from __future__ import annotations

import contextlib
import re
from array import array
from collections.abc import Callable
from typing import NamedTuple

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.otlp.limits import OPERATION_BYTES_CEILING
from collector.otlp.sanitize import encode_varint
from collector.otlp.spanwire import NAME_BYTES_READ, SpanColumns, read_spans
from collector.otlp.wire import Malformed
from driftlock.engine.event import SpanMark
from tests.collector.otlp_requests import T0, message, pairs

TRACE, SPAN, PARENT = bytes(range(1, 17)), bytes(range(1, 9)), bytes(range(9, 17))


class Row(NamedTuple):
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    start_ns: int
    duration_ns: int
    mark: int
    name: bytes
    kind: int


def read(*spans: bytes) -> SpanColumns:
    """The columns of spans that lie one after another in a request, with something else around each."""
    request, places = b"", []
    for span in spans:
        places.append((len(request) + 3, len(request) + 3 + len(span)))
        request += b"\xff\xff\xff" + span + b"\xff\xff"
    return read_spans(request, places)


def rows(columns: SpanColumns) -> list[Row]:
    return [
        Row(
            columns.trace_ids[16 * i : 16 * i + 16],
            columns.span_ids[8 * i : 8 * i + 8],
            columns.parent_ids[8 * i : 8 * i + 8],
            columns.starts_ns[i],
            columns.durations_ns[i],
            columns.marks[i],
            *columns.names[columns.operations[i]],
        )
        for i in range(len(columns.marks))
    ]


def is_sampled(trace_state: str) -> bool:
    for entry in trace_state.split(","):
        key, _, value = entry.strip(" \t").partition("=")
        for part in value.split(";") if key == "ot" else ():
            if (found := re.fullmatch("th:([0-9a-fA-F]{1,14})", part)) and int(found[1], 16) > 0:
                return True
            if (found := re.fullmatch("p:([0-9]{1,2})", part)) and 0 < int(found[1]) < 64:
                return True
    return False


def expected(span: Span) -> list[Row]:
    """What the columns should say of a parsed span; nothing if it has no place in a trace."""
    if len(span.trace_id) != 16 or len(span.span_id) != 8 or not any(span.trace_id) or not any(span.span_id):
        return []
    if len(span.parent_span_id) not in (0, 8):
        return []
    kind = span.kind if 0 <= span.kind <= 5 else 0
    mark = kind
    if span.status.code == Status.STATUS_CODE_ERROR:
        mark |= SpanMark.ERROR
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    backwards = start == 0 or end < start
    if backwards:
        mark |= SpanMark.BACKWARDS
    if is_sampled(span.trace_state):
        mark |= SpanMark.SAMPLED
    parent = span.parent_span_id or bytes(8)
    duration = 0 if backwards else end - start
    return [Row(span.trace_id, span.span_id, parent, start, duration, mark, span.name.encode()[:NAME_BYTES_READ], kind)]


def agree(body: bytes) -> bool:
    """Whether the library accepts the bytes; then they have to be read, and alike. What it refuses may be read or refused."""
    try:
        span = Span.FromString(body)
    except DecodeError:
        with contextlib.suppress(Malformed):
            read(body)
        return False
    assert rows(read(body)) == expected(span)
    return True


# ---- what may come over the wire ------------------------------------------------------------------------------------


def field(number: int, wire_type: int, value: bytes) -> bytes:
    return encode_varint(number << 3 | wire_type) + value


def padded(value: int, more: int) -> bytes:
    """A varint in more bytes than it needs."""
    raw = bytearray(encode_varint(value))
    for _ in range(min(more, 10 - len(raw))):
        raw[-1] |= 0x80
        raw.append(0)
    return bytes(raw)


numbers = st.sampled_from([0, 1, 2, 5, 6, 9, 127, 128, 2**31 - 1, 2**31, 2**32, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
times = st.sampled_from([0, 1, T0, T0 + 1, 2**63, 2**64 - 1]) | st.integers(T0, T0 + 1000)
names = st.sampled_from(["", "GET /a", "é" * 200, "x" * 255 + "é", "x" * 300]) | st.text(max_size=12)
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
varints = st.builds(padded, numbers, st.integers(0, 9))
ids = st.sampled_from([b"", TRACE, SPAN, PARENT, bytes(16), bytes(8), TRACE + b"x", SPAN[:7]])
statuses = st.lists(
    st.builds(lambda code: field(3, 0, padded(code, 0)), st.sampled_from([0, 1, 2, 3, 2**32 + 2, 2**64 - 1]))
    | st.just(field(2, 2, b"\x04boom"))
    | st.builds(lambda value: field(3, 1, value), st.binary(min_size=8, max_size=8)),
    max_size=3,
).map(b"".join)
usual = st.one_of(
    st.builds(lambda number, raw: message(number, raw), st.sampled_from([1, 2, 4]), ids),
    st.builds(lambda text: message(3, text.encode()), states),
    st.builds(lambda text: message(5, text.encode()), names),
    st.builds(lambda value: field(6, 0, value), varints),
    st.builds(lambda number, time: field(number, 1, time.to_bytes(8, "little")), st.sampled_from([7, 8]), times),
    st.builds(lambda body: field(15, 2, encode_varint(len(body)) + body), statuses),
    st.builds(
        lambda attributes: Span(attributes=pairs(attributes)).SerializeToString(), st.dictionaries(names, names, max_size=2)
    ),
)
odd = st.one_of(
    st.builds(lambda number, value: field(number, 0, value), st.integers(1, 40), varints),
    st.builds(lambda number, value: field(number, 1, value), st.integers(1, 40), st.binary(min_size=8, max_size=8)),
    st.builds(lambda number, value: field(number, 5, value), st.integers(1, 40), st.binary(min_size=4, max_size=4)),
    st.builds(
        lambda number, value: field(number, 2, padded(len(value), 2) + value), st.integers(17, 2**29 - 1), st.binary(max_size=9)
    ),
)
groups = st.builds(
    lambda number, inner: field(number, 3, b"".join(inner)) + field(number, 4, b""),
    st.integers(1, 40),
    st.lists(st.recursive(usual | odd, lambda more: more.map(lambda raw: field(9, 3, raw) + field(9, 4, b""))), max_size=3),
)
named = st.just(message(1, TRACE) + message(2, SPAN))
wire = st.tuples(named | st.just(b""), st.lists(usual | odd | groups, max_size=10)).map(
    lambda parts: parts[0] + b"".join(parts[1])
)


@settings(max_examples=150, deadline=None)
@given(wire)
def test_what_the_library_reads_is_read_alike(body: bytes) -> None:
    agree(body)


@settings(max_examples=150, deadline=None)
@given(wire, st.data())
@example(message(1, TRACE) + message(2, SPAN) + b"\x2a\x05abc", None)
@example(message(1, TRACE) + message(2, SPAN) + b"\x83\x01\x00\x00\x84\x01", None)  # a field 0 in a group
def test_damaged_messages(body: bytes, data: st.DataObject | None) -> None:
    if data is not None:
        body = data.draw(
            st.integers(0, len(body)).map(lambda end: body[:end])
            | st.tuples(st.integers(0, max(0, len(body) - 1)), st.integers(0, 255)).map(
                lambda change: body[: change[0]] + bytes([change[1]]) + body[change[0] + 1 :]
            )
        )
    agree(body)


@given(st.binary(max_size=60))
def test_noise(noise: bytes) -> None:
    agree(noise)
    agree(message(1, TRACE) + message(2, SPAN) + noise)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.builds(
            Span,
            trace_id=st.sampled_from([TRACE, bytes(16), b""]),
            span_id=st.sampled_from([SPAN, PARENT]),
            parent_span_id=st.sampled_from([b"", PARENT]),
            name=names,
            kind=st.integers(0, 5),
            start_time_unix_nano=times,
            end_time_unix_nano=times,
            trace_state=states,
            status=st.builds(Status, code=st.integers(0, 2), message=names),
        ),
        max_size=20,
    )
)
def test_whole_spans_in_their_order(spans: list[Span]) -> None:
    columns = read(*(span.SerializeToString() for span in spans))
    assert rows(columns) == [row for span in spans for row in expected(span)]
    assert len(columns.names) == len({(row.name, row.kind) for row in rows(columns)})


# ---- what is not protobuf -------------------------------------------------------------------------------------------

IDS = message(1, TRACE) + message(2, SPAN)


@pytest.mark.parametrize(
    "bad",
    [
        b"\x00",  # field number 0
        b"\x08" + b"\xff" * 10 + b"\x01",  # a varint of more than ten bytes
        b"\x30" + b"\x80" * 10 + b"\x00",
        b"\x30",  # a varint that is not there
        b"\x2a\x05ab",  # a length past the end
        b"\x2a\xff\xff\xff\xff\x0f",
        b"\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x39\x01\x02",  # a time of two bytes
        b"\x55\x01",
        b"\x0c",  # the end of a group that did not begin
        b"\x4b",  # a group that does not end
        b"\x4b\x54",  # one that ends as another
        b"\x0b" * 200 + b"\x0c" * 200,  # groups too deep
        b"\x0e",  # wire types that do not exist
        b"\x0f",
        b"\x7a\x02\x18\x80",  # damage inside a status
        b"\x7a\x01\x00",
        b"\xff\xff\xff\xff\xff\x01\x00",  # a tag over 32 bits
    ],
)
def test_malformed_bytes_are_named(bad: bytes) -> None:
    for body in (bad, IDS + bad):
        with pytest.raises(DecodeError):
            Span.FromString(body)
        with pytest.raises(Malformed, match="near byte 3"):
            read(body)


def test_the_place_of_the_damage_is_told() -> None:
    with pytest.raises(Malformed, match=f"near byte {len(IDS) + 8}"):
        read(IDS, IDS + b"\x00")


@pytest.mark.parametrize("place", [(0, 5), (-1, 2), (3, 2), (5, 5)])
def test_places_outside_of_the_request_are_refused(place: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="outside"):
        read_spans(b"\x30\x01\x30\x01", [place])


def test_nothing_gives_empty_columns() -> None:
    nothing = SpanColumns(b"", b"", b"", array("Q"), array("Q"), b"", array("I"), [])
    assert read_spans(b"", []) == read_spans(b"abc", []) == read_spans(b"", [(0, 0)]) == nothing


# ---- sampling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trace_state", "sampled"),
    [
        ("", False),
        ("ot=th:0", False),  # all of them
        ("ot=th:00000000000000", False),
        ("ot=th:8", True),
        ("ot=th:00000000000001", True),
        ("ot=th:fd70a4", True),
        ("ot=th:FD70A4", True),
        ("ot=rv:6e6d1a75832a2f;th:c", True),
        ("vendor=1, ot=th:c\t,b=2", True),
        ("ot=th:000000000000001", False),  # 15 digits are not a threshold
        ("ot=th:g", False),
        ("ot=th:", False),
        ("ot=p:0;r:3", False),
        ("ot=p:3;r:5", True),
        ("ot=p:63", True),  # kept although the probability sampler would not have
        ("ot=p:64", False),
        ("ot=p:-1", False),
        ("ot=p:1000", False),
        ("ot=p:", False),
        ("th:8", False),
        ("xot=th:8", False),
        ("tenant@ot=th:8", False),
        ("ot=rv:th:8", False),
        ("ot=", False),
        (",,ot=;;p:1", True),
    ],
)
def test_the_trace_state_says_whether_all_traces_are_sent(trace_state: str, sampled: bool) -> None:
    span = Span(trace_id=TRACE, span_id=SPAN, start_time_unix_nano=1, end_time_unix_nano=1, trace_state=trace_state)
    (row,) = rows(read(span.SerializeToString()))
    assert row.mark == (SpanMark.SAMPLED if sampled else 0)
    assert is_sampled(trace_state) is sampled


def test_trace_flags_say_nothing_about_probability() -> None:
    """Some SDKs leave the flag `sampled` unset in spans that they export."""
    for flags in (0, 1, 0x100, 0x301):
        (row,) = rows(read(Span(trace_id=TRACE, span_id=SPAN, flags=flags).SerializeToString()))
        assert not row.mark & SpanMark.SAMPLED


# ---- operations -----------------------------------------------------------------------------------------------------


def slot_of(mask: int) -> Callable[[bytes], int]:
    """Where the kernel begins to look for a name of kind 0."""

    def slot(name: bytes) -> int:
        value = 2166136261
        for byte in (*name, 0):
            value = (value ^ byte) * 16777619 & 0xFFFF_FFFF
        return (value ^ value >> 15) & mask

    return slot


def test_many_names_are_told_apart() -> None:
    wanted = [f"operation {number}".encode() for number in range(3000)]
    columns = read(*(IDS + message(5, name) for name in (*wanted, *wanted)))
    assert [row.name for row in rows(columns)] == [*wanted, *wanted]
    assert [name for name, _ in columns.names] == wanted


def test_names_that_share_a_place_are_told_apart_though_not_always_found_again() -> None:
    slot = slot_of(255)
    wanted = [name for name in (b"n%d" % number for number in range(20_000)) if slot(name) == 7][:50]
    columns = read(*(IDS + message(5, name) for name in (*wanted, *wanted)))
    assert [row.name for row in rows(columns)] == [*wanted, *wanted]
    assert 50 < len(columns.names) <= 100


def test_kinds_make_operations_and_only_the_beginning_of_a_name_counts() -> None:
    long = b"x" * NAME_BYTES_READ
    bodies = [message(5, long), message(5, long + b"y"), message(5, long) + b"\x30\x02", b"\x30\x02", b""]
    columns = read(*(IDS + body for body in bodies))
    assert list(columns.operations) == [0, 0, 1, 2, 3]
    assert columns.names == [(long, 0), (long, 2), (b"", 2), (b"", 0)]


def test_enough_of_a_name_is_read_for_its_limit() -> None:
    """A character that begins before the limit is read to its end."""
    assert OPERATION_BYTES_CEILING + len("😀".encode()) - 1 == NAME_BYTES_READ
