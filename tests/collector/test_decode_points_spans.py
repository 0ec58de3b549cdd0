"""Metric and trace requests to columns."""

import math
from array import array

import pytest
from google.protobuf.message import Message
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
    Summary,
    SummaryDataPoint,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.otlp.decode import Decoded, decode
from collector.otlp.limits import OtlpLimits
from collector.otlp.reasons import Reason
from collector.redact import NoRedaction
from collector.routing import ResourceRouter
from driftlock.engine.canonical import shown_name
from driftlock.engine.event import Signal, StreamKey
from driftlock.errors import InvalidArgument
from tests.collector.otlp_requests import T0, message, metrics, nested, pairs, spans

TRACE, SPAN = bytes(range(1, 17)), bytes(range(1, 9))


def run(request: Message | bytes, signal: Signal, limits: OtlpLimits | None = None) -> Decoded:
    body = request if isinstance(request, bytes) else request.SerializeToString()
    decoded = decode(body, signal, limits or OtlpLimits(), ResourceRouter(), NoRedaction())
    assert decoded.read == decoded.accepted + sum(decoded.rejected.values())
    return decoded


def lines(decoded: Decoded) -> list[str]:
    return [line.decode() for part in decoded.batches for line in part.batch.lines()]


def number(time_ns: int = T0, attributes: dict[str, object] | None = None, **fields: object) -> NumberDataPoint:
    return NumberDataPoint(time_unix_nano=time_ns, attributes=pairs(attributes or {}), **fields)  # type: ignore[arg-type]


def histogram(**fields: object) -> Metric:
    return Metric(name="h", histogram=Histogram(data_points=[HistogramDataPoint(time_unix_nano=T0, **fields)]))  # type: ignore[arg-type]


def exponential(**fields: object) -> Metric:
    point = ExponentialHistogramDataPoint(time_unix_nano=T0, **fields)  # type: ignore[arg-type]
    return Metric(name="e", exponential_histogram=ExponentialHistogram(data_points=[point]))


def test_number_points_have_series_and_values() -> None:
    gauge = Metric(name="cpu", gauge=Gauge(data_points=[number(attributes={"b": 1, "a": "x"}, as_double=0.5)]))
    counter = Metric(name="hits", sum=Sum(data_points=[number(as_int=7), number(T0 + 1, as_int=-9), number()]))
    (part,) = run(metrics(gauge, counter), Signal.METRICS).batches
    assert part.key == StreamKey(Signal.METRICS, "shop")
    assert list(part.batch.lines()) == [b"cpu{a=x,b=1}", b"hits", b"hits", b"hits"]
    assert tuple(map(shown_name, part.batch.series)) == ("cpu{a=x,b=1}", "hits")
    assert part.batch.series_index == array("I", [1, 2, 2, 2])
    assert list(part.batch.values[:3]) == [0.5, 7.0, -9.0]
    assert math.isnan(part.batch.values[3])
    assert part.batch.times_ns == array("Q", [T0, T0, T0 + 1, T0])
    assert (part.batch.trace_ids, part.batch.span_ids) == (b"", b"")


@pytest.mark.parametrize("value", [math.inf, -math.inf, -0.0, 5e-324, math.nan])
def test_any_double_is_a_value(value: float) -> None:
    (part,) = run(metrics(Metric(name="g", gauge=Gauge(data_points=[number(as_double=value)]))), Signal.METRICS).batches
    (found,) = part.batch.values
    assert math.isnan(found) if math.isnan(value) else (found, math.copysign(1, found)) == (value, math.copysign(1, value))


def test_a_point_without_recorded_value_is_not_a_zero() -> None:
    (part,) = run(metrics(Metric(name="g", gauge=Gauge(data_points=[number(as_double=0.0, flags=1)]))), Signal.METRICS).batches
    assert math.isnan(part.batch.values[0])


def test_shaped_points() -> None:
    summary = SummaryDataPoint(time_unix_nano=T0, count=2, sum=3.0, quantile_values=[{"quantile": 0.5, "value": 1.0}])
    request = metrics(
        histogram(count=3, sum=1.5, min=0.1, bucket_counts=[1, 2], explicit_bounds=[0.5]),
        histogram(count=3, attributes=pairs({"a": "b"})),
        exponential(count=4, scale=-2, zero_count=1, positive={"offset": -1, "bucket_counts": [1, 2]}),
        Metric(name="s", summary=Summary(data_points=[summary])),
        histogram(flags=1),
    )
    decoded = run(request, Signal.METRICS)
    assert lines(decoded) == [
        "h histogram count=3 sum=1.5 min=0.1 bounds=[0.5] buckets=[1,2]",
        "h{a=b} histogram count=3 bounds=[] buckets=[]",
        "e exponential_histogram count=4 scale=-2 zero_count=1 positive=-1:[1,2]",
        "s summary count=2 sum=3.0 quantiles=[0.5:1.0]",
        "h histogram no_recorded_value",
    ]
    (part,) = decoded.batches
    assert tuple(map(shown_name, part.batch.series)) == ("h", "h{a=b}", "e", "s")
    assert all(map(math.isnan, part.batch.values))


@pytest.mark.parametrize(
    "bad",
    [
        histogram(bucket_counts=[1, 2], explicit_bounds=[0.5, 0.6]),
        histogram(bucket_counts=[], explicit_bounds=[0.5]),
        histogram(bucket_counts=[1, 2]),
        histogram(bucket_counts=[0] * 10_001, explicit_bounds=[0.0] * 10_000),
        exponential(scale=2**31 - 1),
        exponential(scale=-(2**31)),
        exponential(negative={"bucket_counts": [1] * 10_001}),
        Metric(name="s", summary=Summary(data_points=[SummaryDataPoint(quantile_values=[{}] * 10_001)])),
    ],
)
def test_impossible_points_are_rejected_alone(bad: Metric) -> None:
    good = Metric(name="g", gauge=Gauge(data_points=[number(as_int=1)]))
    decoded = run(metrics(good, bad, good), Signal.METRICS)
    assert (decoded.accepted, decoded.rejected) == (2, {Reason.BAD_BUCKETS: 1})
    assert decoded.message.startswith("1 data points rejected: 1 bad_buckets: ")


def test_a_point_with_millions_of_buckets_is_not_built() -> None:
    packed = message(2, b"\x01" * 2_000_000)  # bucket_counts of one byte each on the wire, of eight in memory
    point = message(8, packed)  # positive
    body = message(1, message(2, message(2, message(1, b"e") + message(10, message(1, point)))))
    assert run(body, Signal.METRICS).rejected == {Reason.TOO_MANY_ELEMENTS: 1}


def test_points_are_counted_on_the_wire() -> None:
    gauge = Metric(name="g", gauge=Gauge(data_points=[number(), number()]))
    request = metrics(gauge, gauge)
    assert run(request, Signal.METRICS, OtlpLimits(records_max=4)).accepted == 4
    with pytest.raises(InvalidArgument, match="more than 3 data points"):
        run(request, Signal.METRICS, OtlpLimits(records_max=3))
    with pytest.raises(InvalidArgument, match="more than 1 metrics"):
        run(request, Signal.METRICS, OtlpLimits(containers_max=1))


def test_empty_metrics_are_empty() -> None:
    assert run(metrics(Metric(name="nothing"), Metric(name="g", gauge=Gauge())), Signal.METRICS) == Decoded()
    assert run(b"", Signal.METRICS) == Decoded()


def test_invalid_text_in_a_metric_is_repaired() -> None:
    attribute = message(7, message(1, b"k\xff") + message(2, message(1, b"v")))
    body = message(1, message(2, message(2, message(1, b"m\xff") + message(5, message(1, attribute)))))
    decoded = run(body, Signal.METRICS)
    assert lines(decoded) == ["m�{k�=v}"]
    assert decoded.cuts.replaced == 2


def test_a_deep_attribute_rejects_its_point_alone() -> None:
    deep = message(1, message(7, message(1, b"k") + message(2, nested(70))))
    body = message(1, message(2, message(2, message(1, b"m") + message(5, deep + message(1, b"")))))
    decoded = run(body, Signal.METRICS)
    assert (lines(decoded), decoded.rejected) == (["m"], {Reason.TOO_DEEP: 1})


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Span(name="GET /a", kind=Span.SPAN_KIND_SERVER), "SERVER GET /a"),
        (Span(name="x", status=Status(code=Status.STATUS_CODE_ERROR, message="boom")), "x ERROR boom"),
        (Span(name="x", kind=Span.SPAN_KIND_INTERNAL, status=Status(code=Status.STATUS_CODE_OK)), "INTERNAL x OK"),
        (Span(name="x", attributes=pairs({"b": 1, "a": [True]})), "x a=[true] b=1"),
        (
            Span(name="x", events=[Span.Event(name="retry", attributes=pairs({"n": 2})), Span.Event(name="end")]),
            "x event: retry n=2 event: end",
        ),
        (Span(name="x", kind=9, end_time_unix_nano=5, links=[Span.Link(trace_id=TRACE)]), "9 x"),  # type: ignore[arg-type]
        (Span(), ""),
    ],
)
def test_span_text(span: Span, expected: str) -> None:
    assert lines(run(spans(span), Signal.TRACES)) == [expected]


def test_span_columns() -> None:
    request = spans(
        Span(name="a", trace_id=TRACE, span_id=SPAN, start_time_unix_nano=T0, end_time_unix_nano=T0 - 1),
        Span(name="b", start_time_unix_nano=T0),
    )
    decoded = run(request, Signal.TRACES)
    part, _ = decoded.batches
    assert part.key == StreamKey(Signal.TRACES, "shop")
    assert (part.batch.trace_ids, part.batch.span_ids) == (TRACE + bytes(16), SPAN + bytes(8))
    assert part.batch.times_ns == array("Q", [T0, T0])
    assert decoded.timed


@pytest.mark.parametrize(
    "ids",
    [{"trace_id": TRACE + b"x"}, {"trace_id": b"x"}, {"span_id": SPAN[:7]}, {"parent_span_id": TRACE}],
)
def test_ids_of_a_wrong_length_reject_the_span_alone(ids: dict[str, bytes]) -> None:
    decoded = run(spans(Span(name="a", **ids), Span(name="b")), Signal.TRACES)  # type: ignore[arg-type]
    assert (lines(decoded), decoded.rejected) == (["b"], {Reason.BAD_ID: 1})
    assert decoded.message == "1 spans rejected: 1 bad_id: a trace id is 16 bytes and a span id 8"


def test_a_deep_event_attribute_rejects_the_span_alone() -> None:
    event = message(11, message(3, message(1, b"k") + message(2, nested(99))))
    body = message(1, message(2, message(2, event) + message(2, message(5, b"ok\xff"))))
    decoded = run(body, Signal.TRACES)
    assert (lines(decoded), decoded.rejected) == (["ok�"], {Reason.TOO_DEEP: 1})
