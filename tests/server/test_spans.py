"""Lines of spans: what is read of them, what is refused, and that it is what a server's doors make of the same spans."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.otlp.decode import decode
from collector.otlp.limits import OtlpLimits
from collector.redact import NoRedaction
from collector.routing import ResourceRouter
from driftlock.engine.canonical import CanonicalLimits
from driftlock.engine.event import RecordBatch, Signal, SpanMark, StreamKey, trace_stream_key
from server.offline.events import LINE_BYTES_MAX, STREAMS_MAX, BadLine, TooManyStreams
from server.offline.span_batches import TRACES, batches_of
from server.offline.spans import KINDS, SPELLINGS_MAX, STATUSES, SpanLine, SpanReader

LEAST = {"time": 1_700_000_000, "service": "cart", "name": "GET /", "dur_us": 5}
TRACE, SPAN, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"


def read(**members: Any) -> SpanLine:
    return SpanReader(CanonicalLimits()).span(json.dumps(LEAST | members).encode())


def test_members_are_taken_apart() -> None:
    span = read(
        time="2023-11-14T22:13:20.000000123Z",
        trace=TRACE.upper(),
        span=SPAN,
        parent=PARENT,
        kind="server",
        status="ERROR no such item",
        dur_us=12.5,
        attributes={"http": {"route": "/"}, "n": 3},
        instance="pod-1",
        events=[{"name": "exception", "attributes": {"exception.type": "KeyError"}}, {}],
    )
    assert span == SpanLine(
        service="cart",
        text=b"SERVER GET / ERROR no such item http.route=/ n=3 event: exception exception.type=KeyError event: ",
        time_ns=1_700_000_000_000_000_123,
        trace=bytes.fromhex(TRACE),
        span=bytes.fromhex(SPAN),
        parent=bytes.fromhex(PARENT),
        duration_ns=12_500,
        mark=2 | SpanMark.ERROR,
        operation="cart\x1fGET /\x1f2",
        instance="pod-1",
    )
    assert span.placed


def test_what_is_not_said_is_unknown() -> None:
    span = read(attributes=None, parent=None, kind="", status=None)
    assert (span.text, span.trace, span.span, span.parent, span.mark, span.instance) == (b"GET /", b"", b"", b"", 0, "")
    assert not span.placed


@pytest.mark.parametrize("kind", range(6))
def test_kinds_and_states_have_names_and_numbers(kind: int) -> None:
    name = KINDS[kind]
    assert read(kind=kind) == read(kind=name) == read(kind=name.upper()) == read(kind=f"SPAN_KIND_{name.upper()}")
    state = STATUSES[kind % 3]
    assert read(status=kind % 3) == read(status=state) == read(status=f"STATUS_CODE_{state.upper()}")
    assert read(kind=kind).mark == kind


def test_short_ids_are_filled_up_and_zeros_are_none() -> None:
    assert read(trace="ab", span="1").trace == bytes(15) + b"\xab"
    assert read(trace="0" * 32, span="0", parent="00").trace == b""
    assert not read(trace="0", span="1").placed
    assert not read(trace="1", span="").placed


def test_a_span_that_ends_before_it_starts_lasted_no_time_and_is_marked() -> None:
    for dur_us in (-1, -0.25, -(10**400), float("-inf")):
        span = read(dur_us=dur_us)
        assert (span.duration_ns, span.mark) == (0, SpanMark.BACKWARDS)


BAD = [
    ("plain text", "is not JSON"),
    (b'{"name": "caf\xe9"}', "is not UTF-8"),
    ("[" * 100_000, "nested too deeply"),
    ('["GET"]', "is not a JSON object"),
    ("{}", 'has no "time"'),
    (LEAST | {"extra": 1}, 'has a member "extra", which spans do not have; put it into "attributes"'),
    (LEAST | {"time": "noon"}, 'has a "time" that can not be read'),
    (LEAST | {"time": 1e12}, 'has a "time" that is outside the years 1970 to 2115'),
    (LEAST | {"time": 4_607_280_000}, 'has a "time" that is outside the years 1970 to 2115'),
    (LEAST | {"service": 7}, 'has a "service" that is not a string'),
    (LEAST | {"service": "\u202e"}, 'has a "service" without a printable character'),
    (LEAST | {"service": "x" * 257}, "of more than 256 bytes"),
    (LEAST | {"name": None}, 'has a "name" that is not a string'),
    (LEAST | {"trace": "xyz"}, 'has a "trace" that is not a string of at most 32 hexadecimal digits'),
    (LEAST | {"trace": TRACE + "0"}, 'has a "trace" that is not a string of at most 32 hexadecimal digits'),
    (LEAST | {"span": 7}, 'has a "span" that is not a string of at most 16 hexadecimal digits'),
    (LEAST | {"parent": "b7 ad"}, 'has a "parent" that is not'),
    (LEAST | {"kind": "servant"}, 'has a "kind" that is none of unspecified, internal, server, client, producer, consumer'),
    (LEAST | {"kind": 6}, 'has a "kind" that is none of'),
    (LEAST | {"status": True}, 'has a "status" that is none of unset, ok, error'),
    (LEAST | {"dur_us": "5"}, 'has a "dur_us" that is not a number'),
    (LEAST | {"dur_us": True}, 'has a "dur_us" that is not a number'),
    ('{"time": 1, "service": "a", "name": "b", "dur_us": NaN}', 'has a "dur_us" that is not a number'),
    (LEAST | {"dur_us": 10**400}, 'has a "dur_us" of more than 292 years'),
    (LEAST | {"dur_us": 1e30}, 'has a "dur_us" of more than 292 years'),
    (LEAST | {"attributes": []}, 'has "attributes" of a span that are not an object'),
    (LEAST | {"events": {}}, 'has "events" that are not a list'),
    (LEAST | {"events": [{"text": 1}]}, 'has an event that is not an object with "name" and "attributes"'),
    (LEAST | {"events": [{"attributes": 1}]}, 'has "attributes" of an event that are not an object'),
    (b"{" + b" " * LINE_BYTES_MAX + b"}", "is longer than 1048576 bytes (line_bytes_max)"),
]


@pytest.mark.parametrize(("line", "told"), BAD, ids=range(len(BAD)))
def test_what_is_no_span_is_refused_with_a_reason(line: Any, told: str) -> None:
    raw = line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
    with pytest.raises(BadLine) as raised:
        SpanReader(CanonicalLimits()).span(raw)
    assert told in str(raised.value)


def test_values_nested_too_deeply_are_refused() -> None:
    value: object = 1
    for _ in range(20):
        value = {"a": value}
    with pytest.raises(BadLine, match="nested deeper"):
        read(attributes=value)


def test_services_are_bounded() -> None:
    reader = SpanReader(CanonicalLimits(), services_max=2)
    for service in ("a", "b", " a ", "b"):
        reader.span(json.dumps(LEAST | {"service": service}).encode())
    with pytest.raises(TooManyStreams, match="more than 2 services"):
        reader.span(json.dumps(LEAST | {"service": "c"}).encode())
    assert STREAMS_MAX == 1000


def test_spellings_are_bounded() -> None:
    """However many ways there are to write a name, `SPELLINGS_MAX` of them are remembered; others are known all the same."""
    reader = SpanReader(CanonicalLimits(), services_max=1)
    held = []
    for number in range(SPELLINGS_MAX + 50):
        pad = " " * (number % 70) + "\t" * (number // 70)
        assert reader.span(json.dumps(LEAST | {"service": f"{pad}cart"}).encode()).service == "cart"
        held.append(reader.spellings)
    assert held[:2] == [1, 2]
    assert held[SPELLINGS_MAX - 1 :] == [SPELLINGS_MAX] * 51
    assert SPELLINGS_MAX == 4096


def test_nobody_is_called_as_the_stream_of_traces_is() -> None:
    span = read(service="_traces", trace=TRACE, span=SPAN)
    assert list(batches_of([span])) == [StreamKey(Signal.TRACES, "__traces"), TRACES]
    assert trace_stream_key("") == TRACES


texts = st.text(max_size=12)
attributes = st.dictionaries(st.text("abc.", max_size=3), st.one_of(texts, st.booleans(), st.integers(-99, 2**60)), max_size=3)
SPANS = st.lists(
    st.fixed_dictionaries(
        {
            "time": st.integers(1, 2**32),
            "service": st.sampled_from(["cart", "shop", "_traces", "käse"]),
            "name": texts,
            "dur_us": st.integers(-5, 10**9),
            "trace": st.sampled_from(["0" * 32, TRACE, TRACE[::-1]]),
            "span": st.sampled_from(["0" * 16, SPAN, SPAN[::-1]]),
            "parent": st.sampled_from(["", PARENT]),
            "kind": st.integers(0, 5),
            "status": st.integers(0, 2),
            "attributes": attributes,
            "instance": st.sampled_from(["", "pod-1", "pod-2"]),
            "events": st.lists(st.fixed_dictionaries({"name": texts, "attributes": attributes}), max_size=2),
        }
    ),
    min_size=1,
    max_size=5,
)


def put(attributes: dict[str, Any], into: Any) -> None:
    for key, value in attributes.items():
        member = {bool: "bool_value", int: "int_value", str: "string_value"}[type(value)]
        setattr(into.add(key=key).value, member, value)


def export(spans: list[dict[str, Any]]) -> bytes:
    """The same spans as an exporter sends them, each with a resource of its own."""
    request = ExportTraceServiceRequest()
    for it in spans:
        group = request.resource_spans.add()
        put(
            {"service.name": it["service"]} | ({"service.instance.id": it["instance"]} if it["instance"] else {}),
            group.resource.attributes,
        )
        start_ns = it["time"] * 10**9
        span = group.scope_spans.add().spans.add(
            trace_id=bytes.fromhex(it["trace"]),
            span_id=bytes.fromhex(it["span"]),
            parent_span_id=bytes.fromhex(it["parent"]),
            name=it["name"],
            kind=Span.SpanKind.ValueType(it["kind"]),
            start_time_unix_nano=start_ns,
            end_time_unix_nano=start_ns + it["dur_us"] * 1000,
        )
        span.status.code = it["status"]
        put(it["attributes"], span.attributes)
        for event in it["events"]:
            put(event["attributes"], span.events.add(name=event["name"]).attributes)
    return request.SerializeToString()


def shown(batch: RecordBatch) -> list[tuple[object, ...]]:
    """A batch record by record, whatever numbers its names have."""
    rows: list[tuple[object, ...]] = []
    for index, line in enumerate(batch.lines()):
        instance = batch.instance_index[index] if batch.instance_index else 0
        series = batch.series_index[index] if batch.series_index else 0
        parts = (batch.trace_ids[16 * index :][:16], batch.span_ids[8 * index :][:8], batch.parent_ids[8 * index :][:8])
        more = (batch.durations_ns[index], batch.span_marks[index]) if batch.span_marks else ()
        names = (batch.instances[instance - 1] if instance else "", batch.series[series - 1] if series else "")
        rows.append((line, batch.times_ns[index], *names, *parts, *more))
    return rows


@given(SPANS)
def test_spans_become_what_they_become_at_a_server(spans: list[dict[str, Any]]) -> None:
    reader = SpanReader(CanonicalLimits())
    offline = batches_of([reader.span(json.dumps(it).encode()) for it in spans])
    served = decode(export(spans), Signal.TRACES, OtlpLimits(), ResourceRouter(), NoRedaction())
    assert served.accepted == len(spans)
    assert {part.key: shown(part.batch) for part in served.batches} == {key: shown(it) for key, it in offline.items()}
