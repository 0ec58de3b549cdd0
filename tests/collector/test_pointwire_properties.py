"""Native data points against the oracle: whatever a request of metrics holds, both say the same."""

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from collector.otlp.limits import OtlpLimits
from collector.otlp.pointwire import read_metrics
from driftlock.engine.canonical import CanonicalLimits
from tests.collector.otlp_requests import any_value, message
from tests.collector.points_both_ways import assert_same

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
UINT64 = st.one_of(st.integers(0, 9), st.integers(0, 2**64 - 1))
DOUBLE = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, 0.1, 1e16, float("inf"), float("-inf"), float("nan")]))
TEXT = st.one_of(st.sampled_from(["a", "b", "a.b", "", "x=,", '{"}\\', "\x1f", "é" * 9, "z" * 40]), st.text(max_size=12))
SCALAR: Any = st.one_of(TEXT, st.none(), st.booleans(), INT64, DOUBLE, st.binary(max_size=9))
VALUE = st.recursive(
    SCALAR, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)), max_leaves=8
)
ATTRIBUTE = st.builds(lambda key, value: KeyValue(key=key, value=any_value(value)), TEXT, st.one_of(TEXT, SCALAR, VALUE))
ATTRIBUTES = st.lists(ATTRIBUTE, max_size=6)
FLAGS = st.sampled_from([0, 0, 0, 1, 2, 3, 2**32 - 1])
TIME = st.one_of(st.just(0), st.integers(0, 2**64 - 1))
EXEMPLARS = st.lists(
    st.builds(m.Exemplar, filtered_attributes=ATTRIBUTES, as_double=DOUBLE, trace_id=st.binary(max_size=16)), max_size=2
)
COMMON: dict[str, Any] = {
    "attributes": ATTRIBUTES,
    "start_time_unix_nano": TIME,
    "time_unix_nano": TIME,
    "flags": FLAGS,
}
OPTIONAL = st.one_of(st.none(), DOUBLE)

NUMBER = st.one_of(
    st.builds(m.NumberDataPoint, as_double=DOUBLE, exemplars=EXEMPLARS, **COMMON),
    st.builds(m.NumberDataPoint, as_int=INT64, **COMMON),
    st.builds(m.NumberDataPoint, **COMMON),
)


@st.composite
def histogram_points(draw: st.DrawFn) -> m.HistogramDataPoint:
    bounds = draw(st.lists(DOUBLE, max_size=5))
    if draw(st.integers(0, 4)):
        bounds = sorted({bound for bound in bounds if bound == bound and bound != float("-inf")})
    counts = draw(st.lists(UINT64, min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    if not draw(st.integers(0, 4)):
        counts = counts[: draw(st.integers(0, 3))]
    return draw(
        st.builds(
            m.HistogramDataPoint,
            explicit_bounds=st.just(bounds),
            bucket_counts=st.just(counts),
            count=UINT64,
            sum=OPTIONAL,
            min=OPTIONAL,
            max=OPTIONAL,
            exemplars=EXEMPLARS,
            **COMMON,
        )
    )


BUCKETS = st.builds(
    m.ExponentialHistogramDataPoint.Buckets,
    offset=st.one_of(st.integers(-20, 20), st.integers(-9000, 9000), INT32),
    bucket_counts=st.lists(UINT64, max_size=40),
)
EXPONENTIAL = st.builds(
    m.ExponentialHistogramDataPoint,
    scale=st.one_of(st.integers(-4, 8), st.integers(-64, 64), st.integers(-66, 66)),
    positive=BUCKETS,
    negative=st.one_of(st.none(), BUCKETS),
    zero_count=UINT64,
    zero_threshold=st.one_of(st.just(0.0), st.floats(0, 10), DOUBLE),
    count=UINT64,
    sum=OPTIONAL,
    min=OPTIONAL,
    max=OPTIONAL,
    **COMMON,
)
QUANTILE = st.builds(m.SummaryDataPoint.ValueAtQuantile, quantile=DOUBLE, value=DOUBLE)
SUMMARY = st.builds(m.SummaryDataPoint, quantile_values=st.lists(QUANTILE, max_size=4), count=UINT64, sum=DOUBLE, **COMMON)

TEMPORALITY = st.integers(0, 2)
NAME = st.one_of(st.sampled_from(["cpu", "cpu", "{x}", "a\\b", "\x1f", "n" * 50]), TEXT)
METRIC = st.one_of(
    st.builds(m.Metric, name=NAME, gauge=st.builds(m.Gauge, data_points=st.lists(NUMBER, max_size=4))),
    st.builds(
        m.Metric,
        name=NAME,
        sum=st.builds(
            m.Sum, data_points=st.lists(NUMBER, max_size=3), aggregation_temporality=TEMPORALITY, is_monotonic=st.booleans()
        ),
    ),
    st.builds(
        m.Metric,
        name=NAME,
        histogram=st.builds(
            m.Histogram, data_points=st.lists(histogram_points(), max_size=3), aggregation_temporality=TEMPORALITY
        ),
    ),
    st.builds(
        m.Metric,
        name=NAME,
        exponential_histogram=st.builds(
            m.ExponentialHistogram, data_points=st.lists(EXPONENTIAL, max_size=3), aggregation_temporality=TEMPORALITY
        ),
    ),
    st.builds(m.Metric, name=NAME, summary=st.builds(m.Summary, data_points=st.lists(SUMMARY, max_size=3))),
    st.builds(m.Metric, name=NAME),
)
SCOPE = st.builds(
    m.ScopeMetrics,
    scope=st.one_of(st.none(), st.builds(InstrumentationScope, name=st.one_of(TEXT, st.just("scope" * 20)), version=TEXT)),
    metrics=st.lists(METRIC, max_size=3),
)
SERVICE = st.sampled_from(["shop", "cart", "shop"]).map(lambda name: KeyValue(key="service.name", value=any_value(name)))
HOST = st.sampled_from(["", "h1", "h2"]).map(lambda name: KeyValue(key="host.name", value=any_value(name)))
RESOURCE = st.builds(
    m.ResourceMetrics,
    resource=st.builds(lambda *pairs: Resource(attributes=pairs), SERVICE, HOST),
    scope_metrics=st.lists(SCOPE, max_size=3),
)
REQUEST = st.builds(ExportMetricsServiceRequest, resource_metrics=st.lists(RESOURCE, max_size=3))


def one(metric: m.Metric) -> bytes:
    group = m.ResourceMetrics(scope_metrics=[m.ScopeMetrics(metrics=[metric])])
    return ExportMetricsServiceRequest(resource_metrics=[group]).SerializeToString()


@SETTINGS
@given(REQUEST)
def test_whole_requests(request: ExportMetricsServiceRequest) -> None:
    assert_same(request.SerializeToString())


@SETTINGS
@given(REQUEST)
def test_envelopes_tell_what_is_where(request: ExportMetricsServiceRequest) -> None:
    data = request.SerializeToString()
    envelope = read_metrics(data, records_max=100, containers_max=100, limits=OtlpLimits())
    groups = request.resource_metrics
    assert envelope.resources == [group.resource.SerializeToString() for group in groups]
    metrics = [
        (number, metric.SerializeToString())
        for number, group in enumerate(groups)
        for each in group.scope_metrics
        for metric in each.metrics
    ]
    places = envelope.metrics
    assert [(places[i + 2], data[places[i] : places[i + 1]]) for i in range(0, len(places), 4)] == metrics
    assert len(envelope.scopes) == sum(len(group.scope_metrics) for group in groups)


@SETTINGS
@given(METRIC)
def test_one_metric(metric: m.Metric) -> None:
    assert_same(one(metric))


@SETTINGS
@given(st.lists(EXPONENTIAL, min_size=1, max_size=4), st.sampled_from([16, 20, 128]))
def test_exponential_histograms(points: list[m.ExponentialHistogramDataPoint], bounds_max: int) -> None:
    metric = m.Metric(name="x", exponential_histogram=m.ExponentialHistogram(data_points=points))
    assert_same(one(metric), OtlpLimits(exponential_bounds_max=bounds_max))


@SETTINGS
@given(
    REQUEST,
    st.builds(
        CanonicalLimits,
        body_bytes_max=st.integers(1, 90),
        value_bytes_max=st.integers(1, 20),
        key_bytes_max=st.integers(1, 9),
        attributes_max=st.integers(1, 4),
        depth_max=st.integers(1, 3),
    ),
    st.integers(1, 40),
    st.integers(1, 400),
    st.integers(1, 5),
)
def test_small_limits(
    request: ExportMetricsServiceRequest, text: CanonicalLimits, elements: int, text_bytes: int, buckets: int
) -> None:
    limits = OtlpLimits(text=text, record_elements_max=elements, text_bytes_max=text_bytes, buckets_max=buckets)
    data = request.SerializeToString()
    assert_same(data, replace(OtlpLimits(), text=text))
    assert_same(data, limits)


@SETTINGS
@given(REQUEST, st.integers(1, 4), st.integers(1, 4))
def test_small_tallies(request: ExportMetricsServiceRequest, containers: int, records: int) -> None:
    assert_same(request.SerializeToString(), OtlpLimits(containers_max=containers, records_max=records))


EDIT = st.tuples(st.sampled_from(["flip", "cut", "insert", "repeat"]), st.integers(0, 2**16), st.binary(min_size=1, max_size=4))


def mutated(data: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    for how, where, what in edits:
        at = where % (len(data) + 1)
        if how == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ what[0]]) + data[at + 1 :]
        elif how == "cut":
            data = data[:at] + data[at + len(what) :]
        elif how == "insert":
            data = data[:at] + what + data[at:]
        elif how == "repeat":
            data = data[:at] + data[at : at + what[0]] * 2 + data[at + what[0] :]
    return data


@SETTINGS
@given(REQUEST, st.lists(EDIT, min_size=1, max_size=3))
def test_mutated_bytes(request: ExportMetricsServiceRequest, edits: list[tuple[str, int, bytes]]) -> None:
    assert_same(mutated(request.SerializeToString(), edits))


@SETTINGS
@given(
    st.one_of(NUMBER, histogram_points(), EXPONENTIAL, SUMMARY), st.sampled_from([5, 7, 9, 10, 11]), st.lists(EDIT, max_size=3)
)
def test_mutated_points(point: Any, data: int, edits: list[tuple[str, int, bytes]]) -> None:
    """The edits are inside the point, whose lengths outside are right; and it may be read as one of another kind."""
    wire = mutated(point.SerializeToString(), edits)
    for number in (1, data, 2, 2, 1):  # data points, data, metrics, scopes, resources
        wire = message(number, wire)
    assert_same(wire)
