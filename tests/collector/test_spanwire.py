"""Columns that put spans together to traces, from wire bytes, against the protobuf library as the oracle."""

from __future__ import annotations

import contextlib
from array import array
from typing import NamedTuple

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.otlp.envelope import Envelope
from collector.otlp.limits import OPERATION_BYTES_CEILING, OtlpLimits
from collector.otlp.spanwire import NAME_BYTES_READ, SpanColumns, SpansRead, read_spans
from collector.otlp.wire import Malformed
from driftlock.engine.event import SpanMark
from tests.collector.oracle.traces import is_sampled
from tests.collector.otlp_requests import message
from tests.collector.span_reading import columns_of, read_alone
from tests.collector.span_wire import PARENT, SPAN, TRACE, damaged, states, times, wire


class Row(NamedTuple):
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    start_ns: int
    duration_ns: int
    mark: int
    name: bytes
    kind: int


def rows(columns: SpanColumns) -> list[Row]:
    return [
        Row(
            columns.trace_ids[16 * i : 16 * i + 16],
            columns.span_ids[8 * i : 8 * i + 8],
            columns.parent_ids[8 * i : 8 * i + 8],
            columns.starts_ns[i],
            columns.durations_ns[i],
            columns.marks[i],
            *columns.names[columns.operations[i] - 1][1:],
        )
        for i in range(len(columns.marks))
    ]


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
            columns_of(body)
        return False
    assert rows(columns_of(body)) == expected(span)
    return True


@settings(max_examples=100, deadline=None)
@given(wire)
def test_what_the_library_reads_is_read_alike(body: bytes) -> None:
    agree(body)


@settings(max_examples=100, deadline=None)
@given(damaged())
@example(message(1, TRACE) + message(2, SPAN) + b"\x2a\x05abc")
@example(message(1, TRACE) + message(2, SPAN) + b"\x83\x01\x00\x00\x84\x01")  # a field 0 in a group
def test_damaged_messages(body: bytes) -> None:
    agree(body)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60))
def test_noise(noise: bytes) -> None:
    agree(noise)
    agree(message(1, TRACE) + message(2, SPAN) + noise)


names = st.sampled_from(["", "GET /a", "é" * 200, "x" * 255 + "é", "x" * 300]) | st.text(max_size=12)


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
    columns = columns_of(*(span.SerializeToString() for span in spans))
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
            read_alone(body)


def test_the_place_of_the_damage_is_told() -> None:
    with pytest.raises(Malformed, match=f"near byte {len(IDS) + 8}"):
        read_alone(IDS, IDS + b"\x00")


def asked(places: list[int], count: int, stream: int = 0, streams: int = 1, environment: int = 0) -> object:
    one = array("i", [stream])
    envelope = Envelope([b""], array("I", [count]), array("q", places))
    zero = array("I", [0])
    return read_spans(b"\x30\x01\x30\x01", envelope, one, zero, streams, array("i", [environment]), zero, 1, OtlpLimits())


@pytest.mark.parametrize("place", [(0, 5), (-1, 2), (3, 2), (5, 5)])
def test_places_outside_of_the_request_are_refused(place: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="outside"):
        asked(list(place), 1)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([0, 2], 2), "places"),
        (([0, 2, 2], 1), "places"),
        (([0, 2], 1, 1), "resource 0 goes to"),
        (([0, 2], 1, 0, 0), "resource 0 goes to"),
        (([0, 2], 1, 0, 1, 1), "resource 0 goes to"),
        (([0, 2], 1, 0, 1, -1), "resource 0 goes to"),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(arguments: tuple[list[int], int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        asked(*arguments)


def test_there_is_one_entry_a_resource() -> None:
    zero, none = array("i", [0]), array("I", [0])
    envelope = Envelope([b""], array("I", [0]), array("q"))
    for wrong in range(4):
        arrays = [zero[:0] if wrong == 0 else zero, none[:0] if wrong == 1 else none]
        more = [zero[:0] if wrong == 2 else zero, none[:0] if wrong == 3 else none]
        with pytest.raises(ValueError, match="one entry a resource"):
            read_spans(b"", envelope, arrays[0], arrays[1], 1, more[0], more[1], 1, OtlpLimits())


def test_nothing_gives_empty_columns() -> None:
    nothing = SpanColumns(b"", b"", b"", array("Q"), array("Q"), b"", array("I"), [], array("I"), array("I"))
    assert columns_of() == columns_of(b"") == nothing
    empty = Envelope([], array("I"), array("q"))
    assert read_spans(b"", empty, array("i"), array("I"), 0, array("i"), array("I"), 0, OtlpLimits()) == SpansRead(
        [], [], (0, 0, 0, 0, 0), (0, 0, 0), True
    )


# ---- streams and environments ----------------------------------------------------------------------------------------


def test_spans_are_parted_by_stream_and_by_environment() -> None:
    """Resources of one stream or environment need not stand next to each other; those without a stream are not looked at."""
    ids = message(1, TRACE) + message(2, SPAN)
    made = [
        [ids + message(5, b"a"), message(5, b"lost")],
        [b"\x00"],
        [ids + message(5, b"b")],
        [],
        [ids + message(5, b"a")] * 2,
    ]
    request, places = b"", array("q")
    for body in (body for group in made for body in group):
        places.extend([len(request), len(request) + len(body)])
        request += body
    envelope = Envelope([b""] * 5, array("I", map(len, made)), places)
    read = read_spans(
        request,
        envelope,
        array("i", [1, -1, 0, 0, 1]),
        array("I", [1, 0, 1, 0, 2]),
        3,
        array("i", [0, 7, 1, 1, 0]),
        array("I", [5, 9, 6, 6, 5]),
        2,
        OtlpLimits(),
    )
    first, second, third = read.columns
    assert (first.text, first.trace_ids, list(first.instance_index)) == (b"b", TRACE, [1])
    assert (second.text, list(second.lengths), list(second.instance_index)) == (b"alostaa", [1, 4, 1, 1], [1, 1, 2, 2])
    assert (second.trace_ids, second.span_ids) == (TRACE + bytes(16) + TRACE * 2, SPAN + bytes(8) + SPAN * 2)
    assert (third.text, len(third.lengths), third.trace_ids) == (b"", 0, b"")
    one, two = read.traces
    assert (list(one.operations), one.names, list(one.resources), list(one.counts)) == ([1] * 3, [(5, b"a", 0)], [0, 4], [1, 2])
    assert (list(two.operations), two.names, list(two.resources), list(two.counts)) == ([1], [(6, b"b", 0)], [2], [1])


def test_ids_that_no_span_has_are_left_out() -> None:
    read = read_alone(message(1, bytes(16)), message(2, SPAN))
    assert (read.columns[0].trace_ids, read.columns[0].span_ids) == (b"", bytes(8) + SPAN)
    assert read.traces[0].marks == b""


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
    (row,) = rows(columns_of(span.SerializeToString()))
    assert row.mark == (SpanMark.SAMPLED if sampled else 0)
    assert is_sampled(trace_state) is sampled


def test_trace_flags_say_nothing_about_probability() -> None:
    """Some SDKs leave the flag `sampled` unset in spans that they export."""
    for flags in (0, 1, 0x100, 0x301):
        (row,) = rows(columns_of(Span(trace_id=TRACE, span_id=SPAN, flags=flags).SerializeToString()))
        assert not row.mark & SpanMark.SAMPLED


# ---- operations -----------------------------------------------------------------------------------------------------


def test_many_names_are_told_apart() -> None:
    wanted = [f"operation {number}".encode() for number in range(3000)]
    columns = columns_of(*(IDS + message(5, name) for name in (*wanted, *wanted)))
    assert [row.name for row in rows(columns)] == [*wanted, *wanted]
    assert [name for _, name, _ in columns.names] == wanted


def operation_hash(name: bytes) -> int:
    """What the kernel makes of a name of kind 0, service 0 and environment 0."""
    factor, mask = 0x9E3779B97F4A7C15, 2**64 - 1
    value = len(name) * factor & mask
    for at in range(0, len(name) - len(name) % 8, 8):
        value = (value ^ int.from_bytes(name[at : at + 8], "little")) * factor & mask
        value ^= value >> 29
    value = (value ^ int.from_bytes(name[len(name) - len(name) % 8 :], "little")) * factor & mask
    return value ^ value >> 32


def test_names_that_share_a_place_are_told_apart_though_not_always_found_again() -> None:
    wanted = [name for name in (b"n%d" % number for number in range(30_000)) if operation_hash(name) & 255 == 7][:50]
    assert len(wanted) == 50
    columns = columns_of(*(IDS + message(5, name) for name in (*wanted, *wanted)))
    assert [row.name for row in rows(columns)] == [*wanted, *wanted]
    assert 50 < len(columns.names) <= 100


def test_kinds_make_operations_and_only_the_beginning_of_a_name_counts() -> None:
    long = b"x" * NAME_BYTES_READ
    bodies = [message(5, long), message(5, long + b"y"), message(5, long) + b"\x30\x02", b"\x30\x02", b""]
    columns = columns_of(*(IDS + body for body in bodies))
    assert list(columns.operations) == [1, 1, 2, 3, 4]
    assert columns.names == [(0, long, 0), (0, long, 2), (0, b"", 2), (0, b"", 0)]


def test_services_make_operations() -> None:
    ids = message(1, TRACE) + message(2, SPAN)
    envelope = Envelope([b""] * 3, array("I", [1] * 3), array("q", [0, len(ids)] * 3))
    zero, none = array("i", [0] * 3), array("I", [0] * 3)
    read = read_spans(ids, envelope, zero, none, 1, zero, array("I", [3, 0, 3]), 1, OtlpLimits())
    assert (list(read.traces[0].operations), read.traces[0].names) == ([1, 2, 1], [(3, b"", 0), (0, b"", 0)])


def test_enough_of_a_name_is_read_for_its_limit() -> None:
    """A character that begins before the limit is read to its end."""
    assert OPERATION_BYTES_CEILING + len("😀".encode()) - 1 == NAME_BYTES_READ
