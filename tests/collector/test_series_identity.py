"""Metric points of different series stay apart, whatever makes them differ."""

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
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

from cbad_cy.codec import Codec
from collector.otlp.decode import Decoded, decode
from collector.otlp.limits import OtlpLimits
from collector.redact import StreamRules
from collector.routing import ResourceRouter
from driftlock.engine.canonical import IDENTITY_BYTES_MAX, shown_name
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.numbers.detector import NumberDetector
from driftlock.engine.profile import PROFILES
from driftlock.errors import InvalidArgument
from tests.collector.otlp_requests import T0, message, pairs
from tests.collector.replacing import Replacing

UNSET, DELTA, CUMULATIVE = AggregationTemporality.values()
NUMBER = NumberDataPoint(time_unix_nano=T0, as_double=1.0)


def gauge(attributes: Mapping[str, Any] | None = None, name: str = "x") -> Metric:
    point = NumberDataPoint(time_unix_nano=T0, as_double=1.0, attributes=pairs(attributes or {}))
    return Metric(name=name, gauge=Gauge(data_points=[point]))


def total(temporality: int, *, monotonic: bool) -> Metric:
    data = Sum(data_points=[NUMBER], aggregation_temporality=temporality, is_monotonic=monotonic)  # type: ignore[arg-type]
    return Metric(name="x", sum=data)


def histogram(temporality: int) -> Metric:
    points = [HistogramDataPoint(time_unix_nano=T0, count=1)]
    return Metric(name="x", histogram=Histogram(data_points=points, aggregation_temporality=temporality))  # type: ignore[arg-type]


def exponential(temporality: int) -> Metric:
    points = [ExponentialHistogramDataPoint(time_unix_nano=T0, count=1)]
    data = ExponentialHistogram(data_points=points, aggregation_temporality=temporality)  # type: ignore[arg-type]
    return Metric(name="x", exponential_histogram=data)


def request(*scopes: tuple[str, str, Metric]) -> bytes:
    """Metrics of one resource, each in a scope of that name and version."""
    whole = ExportMetricsServiceRequest()
    resource = whole.resource_metrics.add()
    resource.resource.attributes.extend(pairs({"service.name": "shop"}))
    for name, version, metric in scopes:
        scope = resource.scope_metrics.add()
        scope.scope.name, scope.scope.version = name, version
        scope.metrics.append(metric)
    return whole.SerializeToString()


def decoded(body: bytes, limits: OtlpLimits | None = None, rules: StreamRules | None = None) -> Decoded:
    return decode(body, Signal.METRICS, limits or OtlpLimits(), ResourceRouter(), rules)


def batch(*scopes: tuple[str, str, Metric]) -> RecordBatch:
    (part,) = decoded(request(*scopes)).batches
    return part.batch


def noted(one: RecordBatch) -> list[str]:
    """The names of the series by which a stream tells of them."""
    detector = NumberDetector(StreamKey(Signal.METRICS, "shop"), PROFILES["balanced"], 1, Limits())
    detector.fold(one, T0, Codec("statistical", 1))
    return [entry.name for entry in detector.memory.directory.entries.values()]


def test_a_new_version_of_a_library_goes_on_with_its_series() -> None:
    assert len(batch(("lib", "1", gauge()), ("lib", "2", gauge())).series) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("libA", "", gauge()), ("libB", "", gauge())),
        (("", "", gauge()), ("", "", total(CUMULATIVE, monotonic=True))),
        (("", "", gauge()), ("", "", total(CUMULATIVE, monotonic=False))),
        (("", "", total(DELTA, monotonic=True)), ("", "", total(CUMULATIVE, monotonic=True))),
        (("", "", total(DELTA, monotonic=False)), ("", "", total(DELTA, monotonic=True))),
        (("", "", histogram(DELTA)), ("", "", histogram(CUMULATIVE))),
        (("", "", histogram(DELTA)), ("", "", exponential(DELTA))),
        (("", "", gauge({"code": 200})), ("", "", gauge({"code": "200"}))),
        (("", "", gauge({"a": True})), ("", "", gauge({"a": "true"}))),
        (("", "", gauge({"a": 1, "b": "1"})), ("", "", gauge({"a": "1", "b": 1}))),
        (("", "", gauge({"a": ["1,2"]})), ("", "", gauge({"a": ["1", "2"]}))),
        (("", "", gauge({"a": "1,b=2"})), ("", "", gauge({"a": "1", "b": "2"}))),
        (("", "", gauge({"a": "1"})), ("", "", gauge(name="x{a=1}"))),
        (("l" * 1000, "", gauge()), ("l" * 1001, "", gauge())),
    ],
)
def test_series_that_differ_stay_apart(first: tuple[str, str, Metric], second: tuple[str, str, Metric]) -> None:
    one = batch(first, second, first)
    assert len(one.series) == 2
    assert list(one.series_index) == [1, 2, 1]
    for series, line in zip((*one.series, one.series[0]), one.lines(), strict=True):
        name = shown_name(series)
        assert line.decode().startswith(name)
        assert len(series.encode()) <= len(name.encode()) + 1 + IDENTITY_BYTES_MAX


def test_what_tells_series_apart_is_not_shown() -> None:
    one = batch(("libA", "1.0", gauge({"code": 200})), ("libB", "", gauge()))
    assert [line.decode() for line in one.lines()] == ["x{code=200}", "x"]
    assert one.series == ("x{code=200}\x1flibA\x1fg\x1fi", "x\x1flibB\x1fg")
    assert noted(one) == ["x{code=200}", "x"]
    assert noted(batch(("libA", "", gauge()), ("libB", "", gauge()))) == ["x", "x"]


def test_a_series_of_an_old_journal_is_its_own_name() -> None:
    one = batch(("", "", gauge({"a": "b"})))
    one.series = ("cpu{}",)
    assert noted(one) == ["cpu{}"]


def test_the_order_of_attributes_does_not_matter() -> None:
    attributes = {"a": 1, "b": "x", "c": [1, "2"], "d": {"e": 1, "f": "g"}}
    backwards = dict(reversed(attributes.items())) | {"d": {"f": "g", "e": 1}}
    assert len(batch(("", "", gauge(attributes)), ("", "", gauge(backwards))).series) == 1


def test_a_point_that_ends_its_series_ends_that_one() -> None:
    ends = NumberDataPoint(time_unix_nano=T0 + 1, flags=1)
    counter = Sum(data_points=[NUMBER, ends], aggregation_temporality=CUMULATIVE, is_monotonic=True)  # type: ignore[arg-type]
    assert len(batch(("lib", "1", Metric(name="x", sum=counter))).series) == 1


def test_all_types_of_metrics_have_a_letter() -> None:
    summary = Metric(name="x", summary=Summary(data_points=[SummaryDataPoint(time_unix_nano=T0)]))
    kinds = [gauge(), summary, histogram(DELTA), histogram(UNSET), exponential(DELTA), exponential(CUMULATIVE)]
    kinds += [total(temporality, monotonic=monotonic) for temporality in (DELTA, UNSET) for monotonic in (True, False)]
    letters = [series.rpartition("\x1f")[2] for series in batch(*(("", "", metric) for metric in kinds)).series]
    assert letters == ["g", "s", "H", "h", "E", "e", "d", "n", "c", "l"]


def test_a_scope_is_read_wherever_it_stands() -> None:
    """Fields of a message come in any order and in pieces, and of a repeated one the last counts."""
    metric = message(2, gauge().SerializeToString())
    for scope in (
        message(1, message(1, b"lib") + message(2, b"1")) + metric,
        metric + message(1, message(2, b"1") + message(1, b"old") + message(1, b"lib")),
        message(1, message(1, b"lib")) + metric + message(1, b"\x20\x05" + message(2, b"1")),
    ):
        (part,) = decoded(message(1, message(2, scope))).batches
        assert part.batch.series == ("x\x1flib\x1fg",)


def test_damaged_text_of_a_scope_is_repaired_and_counted() -> None:
    found = decoded(message(1, message(2, message(1, message(1, b"l\xff")) + message(2, gauge().SerializeToString()))))
    assert found.batches[0].batch.series == ("x\x1fl\ufffd\x1fg",)
    assert found.cuts.replaced == 1


def test_scopes_and_metrics_are_limited() -> None:
    body = request(("a", "", gauge()), ("b", "", gauge()))
    assert decoded(body, OtlpLimits(containers_max=2)).accepted == 2
    with pytest.raises(InvalidArgument, match="more than 1 scopes"):
        decoded(body, OtlpLimits(containers_max=1))


def test_names_and_scopes_are_redacted() -> None:
    found = decoded(request(("lib-secret", "secret", gauge({"k": "secret", "n": 1}))), rules=Replacing("secret"))
    assert found.batches[0].batch.series == ("x{k=***,n=1}\x1flib-***\x1fg\x1fsi",)
