"""Texts of spans from wire bytes, against the decoder that reads as the specification says."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.otlp.limits import OtlpLimits
from collector.redact import NoRedaction
from collector.routing import ResourceRouter
from driftlock.engine.canonical import CanonicalLimits
from driftlock.engine.event import Signal
from driftlock.errors import InvalidArgument
from tests.collector.oracle.decode import decode
from tests.collector.oracle.exceptions import stack_text
from tests.collector.otlp_requests import T0, message, nested, pairs, spans
from tests.collector.span_reading import Outcome, lines_of, read, read_alone
from tests.collector.span_wire import damaged, field, stacks, wire

SMALL = CanonicalLimits(body_bytes_max=40, value_bytes_max=20, key_bytes_max=8, attributes_max=3, depth_max=3)
LIMITS = (
    OtlpLimits(),
    OtlpLimits(text=SMALL, stack_end_chars_max=9, causes_max=2),
    OtlpLimits(record_elements_max=9, text_bytes_max=60),
    OtlpLimits(
        text=CanonicalLimits(body_bytes_max=60, value_bytes_max=200, key_bytes_max=12, attributes_max=2, depth_max=1),
        stack_end_chars_max=40,
        text_bytes_max=300,
    ),
)


def by_oracle(request: bytes, limits: OtlpLimits) -> Outcome | None:
    """None = not protobuf."""
    try:
        told = decode(request, Signal.TRACES, limits, ResourceRouter(), NoRedaction())
    except InvalidArgument:
        return None
    return Outcome(told.batches, {str(reason): count for reason, count in told.rejected.items()}, told.cuts, told.timed)


def agree(request: bytes, limits: OtlpLimits) -> None:
    expected = by_oracle(request, limits)
    try:
        found = read(request, limits)
    except InvalidArgument:
        assert expected is None
        return
    assert found == expected


def request_of(*bodies: bytes) -> bytes:
    return message(1, b"".join(message(2, message(2, body)) for body in bodies))


# ---- any spans ------------------------------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(st.lists(wire, min_size=1, max_size=3), st.sampled_from(LIMITS))
def test_any_spans(bodies: list[bytes], limits: OtlpLimits) -> None:
    agree(request_of(*bodies), limits)


@settings(max_examples=120, deadline=None)
@given(damaged(), wire, st.sampled_from(LIMITS))
@example(message(5, b"x") + message(11, b"\x83\x01\x00\x00\x84\x01"), b"", LIMITS[0])  # a field 0 in a group
@example(message(11, b"\x00"), b"", LIMITS[0])
def test_damaged_spans(broken: bytes, whole: bytes, limits: OtlpLimits) -> None:
    agree(request_of(whole, broken, whole), limits)


@settings(deadline=None)
@given(st.binary(max_size=60), st.sampled_from([5, 9, 11, 13, 15]))
def test_noise(noise: bytes, number: int) -> None:
    for body in (noise, message(number, noise), message(11, message(3, noise))):
        agree(request_of(body), LIMITS[0])


resources = st.sampled_from(
    [
        {"service.name": "a"},
        {"service.name": "b", "host.name": "h1"},
        {"service.name": "b", "host.name": "h2"},
        {"service.name": "a", "deployment.environment.name": "test"},
        {"service.name": "a", "driftlock.historical": True},
    ]
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(resources, st.lists(wire, max_size=3)), max_size=6))
def test_many_resources(made: list[tuple[dict[str, object], list[bytes]]]) -> None:
    """Streams and environments are taken apart, each in the order of the request."""
    request = b""
    for resource, bodies in made:
        scope = b"".join(message(2, body) for body in bodies)
        request += message(1, spans(resource=resource).resource_spans[0].SerializeToString() + message(2, scope))
    agree(request, LIMITS[0])


# ---- exceptions -------------------------------------------------------------------------------------------------------


def exception(stack: str, type_: str = "E", told: str = "m") -> Span.Event:
    attributes = {"exception.type": type_, "exception.message": told, "exception.stacktrace": stack}
    return Span.Event(name="exception", attributes=pairs({key: text for key, text in attributes.items() if text}))


def texts(*made: Span, limits: OtlpLimits | None = None) -> list[str]:
    return lines_of(read_alone(*(each.SerializeToString() for each in made), limits=limits))


@settings(max_examples=120, deadline=None)
@given(stacks.map(bytes.decode) | st.text(alphabet="ab\né\U0001f600", max_size=200), st.integers(1, 60), st.integers(1, 5))
@example("\n" + "a" * 40, 5, 1)
@example("a" * 40 + "\n", 5, 1)
@example("a" * 8 + "\nCaused by: \nCaused by: \nCaused by: x\n" + "b" * 8, 8, 4)
@example("aaaaa\nCaused by: b", 3, 1)
def test_stack_traces(stack: str, end_chars: int, causes: int) -> None:
    limits = OtlpLimits(stack_end_chars_max=end_chars, causes_max=causes)
    expected = f"exception E: m {stack_text(stack, limits)}" if stack else "exception E: m"
    assert texts(Span(events=[exception(stack)]), limits=limits) == [expected]


def test_the_status_message_and_exceptions_fill_one_value() -> None:
    limits = OtlpLimits(text=CanonicalLimits(value_bytes_max=24))
    made = Span(
        name="x" * 30,
        status=Status(code=2, message="é" * 20),  # type: ignore[arg-type]
        events=[exception("", "A", ""), exception("", "é" * 9, ""), Span.Event(name="retry")],
    )
    expected = f"{'x' * 24} ERROR {'é' * 12} exception A event: retry _truncated=true"
    assert texts(made, limits=limits) == [expected]
    # an exception that is cut counts by its characters
    made = Span(events=[exception("", "é" * 20, ""), exception("", "B", "")])
    assert texts(made, limits=limits) == [f"exception {'é' * 7}"]
    made = Span(events=[exception("", "é" * 3, ""), exception("", "B", "")])
    assert texts(made, limits=limits) == ["exception ééé exception B"]
    made = Span(events=[exception("", "é" * 3, ""), exception("", "BB", "")])
    assert texts(made, limits=limits) == ["exception ééé"]


@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_events_end_where_a_body_would(count: int) -> None:
    limits = OtlpLimits(text=CanonicalLimits(body_bytes_max=30))
    made = Span(name="é" * 20, attributes=pairs({"k": "v"}), events=[Span.Event(name="é")] * count)
    kept = min(count, 2)  # 20 + 3 characters, then 7 an event: a third one would come after more than 30
    line = "é" * 20 + " k=v" + " event: é" * kept + (" _truncated=true" if count > kept else "")
    assert texts(made, limits=limits) == [line]


def test_characters_of_many_events_are_counted_once() -> None:
    """The text is over its limit in bytes, not in characters: it is not counted again for each event."""
    limits = OtlpLimits(text=CanonicalLimits(body_bytes_max=100_000), record_elements_max=10**6)
    body = message(5, "é".encode() * 30_000) + (message(11, message(2, "éé".encode()))) * 20_000
    read = read_alone(body, limits=limits)
    assert lines_of(read)[0].endswith(" éé _truncated=true")
    assert read.cuts == (1, 0, 0)


# ---- one span beside others ---------------------------------------------------------------------------------------------


def test_a_rejected_span_leaves_nothing_behind() -> None:
    good = Span(name="good", start_time_unix_nano=T0, trace_id=bytes(range(16)), span_id=bytes(range(8))).SerializeToString()
    deep = message(5, b"deep") + message(9, message(1, b"k") + message(2, nested(70)))
    bodies = [good, deep, good + b"\x0a\x01x", good + b"\x22\x01x", good + message(5, b"y" * 100), good]
    read = read_alone(*bodies, limits=OtlpLimits(text_bytes_max=50))
    assert lines_of(read) == ["good", "good"]
    assert read.rejected == (1, 0, 2, 0, 1)
    assert len(read.traces[0].marks) == 2
    assert read.timed


def test_record_elements_max() -> None:
    made = Span(name="x", attributes=pairs({"a": 1, "b": 2})).SerializeToString()  # 1 + 2 x (attribute, key, value, number)
    limits = OtlpLimits(record_elements_max=8)
    assert read_alone(made, limits=OtlpLimits(record_elements_max=9)).rejected == (0, 0, 0, 0, 0)
    assert read_alone(made, made, limits=limits).rejected == (0, 2, 0, 0, 0)


def test_text_bytes_max_is_for_the_whole_request() -> None:
    made = [Span(name="x" * size).SerializeToString() for size in (4, 4, 3, 2, 1)]
    read = read_alone(*made, limits=OtlpLimits(text_bytes_max=10))
    assert lines_of(read) == ["xxxx", "xxxx", "xx"]
    assert read.rejected == (0, 0, 0, 0, 2)


def test_one_span_without_a_start_makes_a_request_untimed() -> None:
    timed, untimed = Span(start_time_unix_nano=1).SerializeToString(), Span(name="x").SerializeToString()
    assert read_alone(timed, timed).timed
    assert not read_alone(timed, untimed).timed
    assert read_alone(timed, untimed + b"\x0a\x01x").timed  # it is rejected


def test_a_text_that_is_not_utf8_is_repaired_and_counted() -> None:
    body = message(5, b"caf\xff") + message(9, message(1, b"k\xff") + message(2, message(1, b"\xe2\x82")))
    body += message(11, message(2, b"e\xff")) + message(15, message(2, b"\xff")) + message(13, message(3, b"\xff"))
    read = read_alone(body)
    assert lines_of(read) == ["caf\ufffd \ufffd k\ufffd=\ufffd event: e\ufffd"]
    assert read.cuts == (0, 0, 6)


# ---- rules of the wire ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (message(5, b"a") + message(5, b"b"), "b"),
        (b"\x30\x02\x30\x03", "CLIENT"),
        (b"\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "-1"),
        (b"\x30\x82\x80\x80\x80\x10", "SERVER"),  # 2**32 + 2
        (message(15, message(2, b"m") + b"\x18\x02") + message(15, b"\x18\x01"), "OK m"),  # merged
        (message(15, b"\x18\x03"), "3"),
        (message(15, b"\x18\x00"), ""),
        (message(11, message(2, b"exception") + message(2, b"e")), "event: e"),
        (message(11, b""), "event: "),
        (message(11, message(2, b"e")) + message(11, message(2, b"exception")), "exception event: e"),
        (message(9, message(1, b"k") + message(2, b"\x18\x01") + message(2, b"\x0a\x01x")), "k=x"),
        (message(9, message(1, b"k") + message(2, b"\x18\x01") + message(2, b"")), "k=1"),
        (message(9, message(1, b"k") + message(2, b"\x10\x02")), "k=true"),
        (message(9, message(1, b"k")) * 2, "k="),
        (field(5, 0, b"\x01") + field(6, 2, b"\x01x") + field(15, 5, bytes(4)), ""),  # of another wire type
        (b"\x2b\x2a\x01x\x2c" + message(5, b"y"), "y"),  # a group
    ],
)
def test_rules_of_the_wire(body: bytes, line: str) -> None:
    assert lines_of(read_alone(body)) == [line]
    agree(request_of(body), LIMITS[0])
