"""Spans of a request as columns of the traces of their environment."""

from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.auth import Sender
from collector.otlp.decode import Decoded, decode
from collector.otlp.limits import OtlpLimits
from collector.otlp.reasons import Reason
from collector.otlp.wire import Malformed
from collector.redact import StreamRules
from collector.routing import ResourceRouter
from driftlock.engine import records
from driftlock.engine.event import RecordBatch, Signal, SpanMark, StreamKey, trace_stream_key
from driftlock.engine.ports import StreamBatch, Submission
from tests.collector.fakes import NOW_NS, TENANT, bench
from tests.collector.otlp_requests import T0, message, nested, spans
from tests.collector.replacing import Replacing

TRACE, OTHER_TRACE = bytes(range(1, 17)), bytes(range(17, 33))
SPAN, PARENT = bytes(range(1, 9)), bytes(range(9, 17))


def run(
    *requests: ExportTraceServiceRequest | bytes, limits: OtlpLimits | None = None, rules: StreamRules | None = None
) -> Decoded:
    """Requests one after another are one request."""
    body = b"".join(each if isinstance(each, bytes) else each.SerializeToString() for each in requests)
    return decode(body, Signal.TRACES, limits or OtlpLimits(), ResourceRouter(), rules)


def traces(decoded: Decoded) -> RecordBatch:
    """The columns of the only environment."""
    (part,) = [part for part in decoded.batches if not part.records]
    assert part is decoded.batches[-1]
    return part.batch


def call(name: str = "a", **fields: Any) -> Span:
    given = {"trace_id": TRACE, "span_id": SPAN, "start_time_unix_nano": T0, "end_time_unix_nano": T0 + 5}
    return Span(name=name, **(given | fields))  # type: ignore[arg-type]


def resource(service: str, environment: str = "prod", **other: object) -> dict[str, object]:
    return {"service.name": service, "deployment.environment.name": environment} | other


def test_a_span_is_in_the_stream_of_its_service_and_in_the_traces_of_its_environment() -> None:
    server = call("GET /a", kind=2, status=Status(code=2), trace_state="ot=th:8", parent_span_id=PARENT)
    decoded = run(
        spans(server, call("b", kind=3), resource=resource("cart", **{"service.namespace": "shop", "host.name": "h1"}))
    )
    assert [part.key for part in decoded.batches] == [
        StreamKey(Signal.TRACES, "cart", "shop", "prod"),
        trace_stream_key("prod"),
    ]
    assert decoded.accepted == 2
    assert traces(decoded) == RecordBatch(
        lengths=array("I", [0, 0]),
        times_ns=array("Q", [T0, T0]),
        instances=("h1",),
        instance_index=array("I", [1, 1]),
        trace_ids=TRACE * 2,
        span_ids=SPAN * 2,
        series=("shop/cart\x1fGET /a\x1f2", "shop/cart\x1fb\x1f3"),
        series_index=array("I", [1, 2]),
        parent_ids=PARENT + bytes(8),
        durations_ns=array("Q", [5, 5]),
        span_marks=bytes([2 | SpanMark.ERROR | SpanMark.SAMPLED, 3]),
    )


def test_services_of_an_environment_meet_and_environments_do_not() -> None:
    decoded = run(
        spans(call("a"), resource=resource("front", **{"k8s.pod.name": "p1"})),
        spans(call("b"), resource=resource("front", "test")),
        spans(call("c"), resource=resource("back", **{"k8s.pod.name": "p2"})),
        spans(call("a"), resource=resource("front", **{"k8s.pod.name": "p1"})),
        spans(call("d"), resource=resource("back", **{"driftlock.stream_id": "mine"})),
        spans(call("e"), resource=resource("back", **{"driftlock.historical": True})),
    )
    keys = [(part.key, part.batch.historical) for part in decoded.batches]
    assert keys[-3:] == [(trace_stream_key("prod"), False), (trace_stream_key("test"), False), (trace_stream_key("prod"), True)]
    assert (StreamKey(Signal.TRACES, "mine"), False) in keys[:-3]
    prod, test, past = (part.batch for part in decoded.batches[-3:])
    assert prod.series == ("front\x1fa\x1f0", "back\x1fc\x1f0", "back\x1fd\x1f0")
    assert (prod.series_index, prod.instance_index) == (array("I", [1, 2, 1, 3]), array("I", [1, 2, 1, 0]))
    assert prod.instances == ("p1", "p2")
    assert (test.series, past.series) == (("front\x1fb\x1f0",), ("back\x1fe\x1f0",))
    assert decoded.accepted == 6


def test_environments_come_in_the_order_of_their_first_spans_with_a_place() -> None:
    decoded = run(
        spans(call("no ids", trace_id=b""), resource=resource("a", "first")),
        spans(call("b"), resource=resource("a", "second")),
        spans(call("c"), resource=resource("a", "first")),
    )
    assert [it.key.environment for it in decoded.batches if not it.records] == ["second", "first"]


def test_columns_survive_the_journal() -> None:
    batch = traces(run(spans(call("a"), call("b", kind=5), resource=resource("cart"))))
    assert records.decode(records.encode(batch)) == batch


async def test_a_span_is_counted_once() -> None:
    body = spans(call("a"), call("b"), Span(name="no ids", start_time_unix_nano=T0)).SerializeToString()
    async with bench() as parts:
        exporter, sender = parts.exporter, Sender(TENANT)
        slot = exporter.admit(Signal.TRACES, len(body), sender)
        assert await exporter.export(Signal.TRACES, sender, body, slot) == b""
        (submission,) = parts.intake.submissions
        assert [len(part.batch) for part in submission.batches] == [3, 2]
        assert submission.records == 3
        assert parts.meter.counts["traces", "accepted", "records"] == 3


def test_only_the_stream_of_traces_is_not_counted() -> None:
    batch = RecordBatch(lengths=array("I", [0]), times_ns=array("Q", [T0]))
    counted = {
        trace_stream_key("prod"): 0,
        trace_stream_key(""): 0,
        StreamKey(Signal.LOGS, "_traces"): 1,
        StreamKey(Signal.TRACES, "_traces", "shop"): 1,
        StreamKey(Signal.TRACES, "cart"): 1,
    }
    for key, count in counted.items():
        assert StreamBatch(key, batch).records == count
    parts = tuple(StreamBatch(key, batch) for key in counted)
    assert Submission(TENANT, Signal.TRACES, NOW_NS, parts).records == 3


# ---- spans that say odd things --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ids",
    [{"trace_id": b""}, {"trace_id": bytes(16)}, {"span_id": b""}, {"span_id": bytes(8)}, {"trace_id": b"", "span_id": b""}],
)
def test_a_span_without_ids_has_content_and_no_place_in_a_trace(ids: dict[str, bytes]) -> None:
    decoded = run(spans(call("lost", **ids), call("kept"), resource=resource("cart")))
    assert list(decoded.batches[0].batch.lines()) == [b"lost", b"kept"]
    assert traces(decoded).series == ("cart\x1fkept\x1f0",)
    assert (decoded.accepted, decoded.rejected) == (2, {})
    alone = run(spans(call("lost", **ids)))
    assert [part.key.service for part in alone.batches] == ["shop"]


@pytest.mark.parametrize(
    ("start", "end", "duration", "mark"),
    [
        (T0, T0, 0, 0),
        (T0, T0 + 7, 7, 0),
        (T0, T0 - 1, 0, SpanMark.BACKWARDS),
        (T0, 0, 0, SpanMark.BACKWARDS),
        (0, T0, 0, SpanMark.BACKWARDS),
        (0, 0, 0, SpanMark.BACKWARDS),
        (1, 2**64 - 1, 2**64 - 2, 0),
    ],
)
def test_times(start: int, end: int, duration: int, mark: int) -> None:
    batch = traces(run(spans(call(start_time_unix_nano=start, end_time_unix_nano=end))))
    assert (batch.times_ns[0], batch.durations_ns[0], batch.span_marks[0]) == (start, duration, mark)


@pytest.mark.parametrize(("kind", "told"), [(0, 0), (1, 1), (5, 5), (6, 0), (7, 0), (9, 0), (-1, 0), (2**31 - 1, 0)])
def test_unknown_kinds_are_none(kind: int, told: int) -> None:
    batch = traces(run(spans(call(kind=kind))))
    assert (batch.span_marks[0], batch.series[0][-1]) == (told, str(told))


def test_spans_that_are_their_own_ancestors_are_accepted() -> None:
    first, second = call(parent_span_id=PARENT), call(span_id=PARENT, parent_span_id=SPAN)
    batch = traces(run(spans(call(parent_span_id=SPAN), first, second)))
    assert batch.parent_ids == SPAN + PARENT + SPAN


def test_a_rejected_span_is_in_no_stream() -> None:
    deep = call("deep").SerializeToString() + message(9, message(1, b"k") + message(2, nested(70)))
    good = call("good").SerializeToString()
    body = message(
        1, message(2, message(2, deep) + message(2, call("id", trace_id=TRACE + b"x").SerializeToString()) + message(2, good))
    )
    decoded = run(body)
    assert decoded.rejected == {Reason.TOO_DEEP: 1, Reason.BAD_ID: 1}
    assert list(decoded.batches[0].batch.lines()) == [b"good"]
    assert traces(decoded).series == ("unknown_service\x1fgood\x1f0",)


def test_what_has_to_be_repaired_for_the_text_is_read_for_the_trace() -> None:
    raw = call("").SerializeToString() + message(5, b"caf\xff")
    large = call("large", trace_state="ot=th:8").SerializeToString() + message(15, message(2, b"x" * 200) + b"\x18\x02")
    decoded = run(message(1, message(2, message(2, raw) + message(2, large))))
    batch = traces(decoded)
    assert batch.series == ("unknown_service\x1fcaf\ufffd\x1f0", "unknown_service\x1flarge\x1f0")
    assert list(batch.span_marks) == [0, SpanMark.ERROR | SpanMark.SAMPLED]


@pytest.mark.parametrize(
    "bad",
    [
        b"\x00",
        b"\x30" + b"\xff" * 10 + b"\x01",
        b"\x2a\x05ab",
        b"\x0c",
        b"\x4b",
        b"\x0f",
        b"\x7a\x02\x18\x80",
        b"\x4b\x30\x01\x54",
    ],
)
def test_malformed_spans_end_the_request(bad: bytes) -> None:
    body = call().SerializeToString()
    with pytest.raises(Malformed):
        run(message(1, message(2, message(2, body) + message(2, body + bad))))


def test_unknown_fields_and_groups_are_skipped() -> None:
    odd = b"\xf8\x06\x01" + b"\xfa\x06\x02hi" + b"\x4b\x4b\x08\x01\x4c\x4c" + b"\x39" + bytes(8)[:0] + T0.to_bytes(8, "little")
    body = odd + call("a").SerializeToString() + odd
    batch = traces(run(message(1, message(2, message(2, body)))))
    assert (batch.series, batch.times_ns[0], batch.durations_ns[0]) == (("unknown_service\x1fa\x1f0",), T0, 5)


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("x" * 300, "x" * 256),
        ("é" * 200, "é" * 128),
        ("x" * 255 + "é", "x" * 255),
        ("x" * 253 + "😀", "x" * 253),
        ("x" * 252 + "😀", "x" * 252 + "😀"),
        ("a\x1fb", r"a\x1fb"),
        ("\x1f" * 100, r"\x1f" * 64),
        ("", ""),
        ("GET /login hunter2", "GET /login ***"),
    ],
)
def test_names_are_cut_redacted_and_never_hold_a_separator(name: str, kept: str) -> None:
    decoded = run(spans(call(name, kind=1), resource=resource("cart")), rules=Replacing("hunter2"))
    assert traces(decoded).series == (f"cart\x1f{kept}\x1f1",)
    assert decoded.cuts.truncated == 0  # the text has it whole


def test_instances_are_redacted() -> None:
    decoded = run(spans(call(), resource=resource("cart", **{"host.name": "hunter2-1"})), rules=Replacing("hunter2"))
    assert traces(decoded).instances == ("***-1",)


def test_operation_bytes_max() -> None:
    limits = OtlpLimits(operation_bytes_max=4)
    assert traces(run(spans(call("abcdef"), call("abcdxyz")), limits=limits)).series == ("shop\x1fabcd\x1f0",)
    with pytest.raises(ValueError, match="operation_bytes_max must be at most 256"):
        OtlpLimits(operation_bytes_max=257)


def test_operations_bytes_max() -> None:
    """Those beyond share one for each service and kind."""
    request = spans(*(call(f"n{number}", kind=number % 2) for number in range(6)), call("n0"), resource=resource("a"))
    limits = OtlpLimits(operations_bytes_max=3 * len("a|n0|0"))
    batch = traces(run(request, spans(call("n0"), call("other"), resource=resource("b")), limits=limits))
    assert batch.series == ("a\x1fn0\x1f0", "a\x1fn1\x1f1", "a\x1fn2\x1f0", "a\x1f\x1f1", "a\x1f\x1f0", "b\x1f\x1f0")
    assert list(batch.series_index) == [1, 2, 3, 4, 5, 4, 1, 6, 6]


def test_instances_max() -> None:
    requests = [spans(call(), resource=resource("a", **{"host.name": f"h{number}"})) for number in (1, 2, 3, 1)]
    batch = traces(run(*requests, limits=OtlpLimits(instances_max=2)))
    assert (batch.instances, list(batch.instance_index)) == (("h1", "h2"), [1, 2, 0, 1])


def test_streams_max_counts_the_streams_of_services_and_that_of_their_traces() -> None:
    requests = [spans(call(), resource=resource(service)) for service in "abca"]
    decoded = run(*requests, limits=OtlpLimits(streams_max=3))
    assert decoded.rejected == {Reason.TOO_MANY_STREAMS: 1}
    assert traces(decoded).series == ("a\x1fa\x1f0", "b\x1fa\x1f0")


@pytest.mark.parametrize("named", [{}, {"driftlock.stream_id": "shop"}], ids=["services", "one stream id"])
def test_streams_max_counts_the_traces_of_each_environment(named: dict[str, str]) -> None:
    requests = [spans(call(), resource=resource("a", environment, **named)) for environment in ("e1", "e2", "e3", "e1")]
    decoded = run(*requests, limits=OtlpLimits(streams_max=4 - len(named)))
    assert decoded.rejected == {Reason.TOO_MANY_STREAMS: 1}
    assert [it.key.environment for it in decoded.batches if not it.records] == ["e1", "e2"]
    assert decoded.accepted == 3


# ---- any requests ---------------------------------------------------------------------------------------------------

calls = st.builds(
    call,
    st.sampled_from(["a", "b", "", "x" * 300, "y\x1f"]),
    trace_id=st.sampled_from([b"", bytes(16), TRACE, OTHER_TRACE, TRACE + b"x"]),
    span_id=st.sampled_from([b"", SPAN, PARENT]),
    kind=st.integers(-1, 7),
    end_time_unix_nano=st.sampled_from([0, T0 - 1, T0, T0 + 9]),
)
groups = st.lists(
    st.tuples(st.sampled_from(["a", "b", "_traces"]), st.sampled_from(["", "prod"]), st.lists(calls, max_size=4)), max_size=4
)


@settings(max_examples=60, deadline=None)
@given(groups)
def test_columns_are_whole_and_hold_what_has_a_place(made: list[tuple[str, str, list[Span]]]) -> None:
    decoded = run(*(spans(*members, resource=resource(service, environment)) for service, environment, members in made))
    placed = {"": 0, "prod": 0}
    for _, environment, members in made:
        placed[environment] += sum(any(span.trace_id) and len(span.trace_id) == 16 and any(span.span_id) for span in members)
    found = {part.key.environment: part.batch for part in decoded.batches if not part.records}
    assert {environment: len(batch) for environment, batch in found.items()} == {k: v for k, v in placed.items() if v}
    for batch in found.values():
        count = len(batch)
        assert [len(column) for column in (batch.times_ns, batch.durations_ns, batch.series_index, batch.span_marks)] == [
            count
        ] * 4
        assert [len(column) // count for column in (batch.trace_ids, batch.span_ids, batch.parent_ids)] == [16, 8, 8]
        assert set(batch.series_index) == set(range(1, len(batch.series) + 1))
        assert len(set(batch.series)) == len(batch.series)
        for series, mark in {(batch.series[i - 1], mark) for i, mark in zip(batch.series_index, batch.span_marks, strict=True)}:
            service, name, kind = series.split("\x1f")
            assert service in {"a", "b", "__traces"}
            assert (len(name) <= 256, int(kind)) == (True, mark & SpanMark.KIND)
        assert records.decode(records.encode(batch)) == batch
    sent = sum(len(members) for _, _, members in made)
    assert decoded.accepted + sum(decoded.rejected.values()) == sent
