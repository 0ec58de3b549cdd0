"""What the official SDK measures, encoded, decoded and brought to plain numbers: it is what was measured."""

import random
import statistics
from array import array
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, UpDownCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from cbad_cy.points import ROLES, Points
from collector.otlp.decode import decode
from collector.otlp.limits import OtlpLimits
from collector.redact import NoRedaction
from collector.routing import ResourceRouter
from driftlock.engine.canonical import shown_name
from driftlock.engine.event import RecordBatch, Signal

DELTA, CUMULATIVE = AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE
BOUNDS = [2.0**k for k in range(-12, 13)]
ROUNDS = 15


def taken(points: Points, batch: RecordBatch) -> dict[str, dict[str, float]]:
    """Numbers of one batch by series and role."""
    result = points.take(
        array("Q", batch.series_index),
        batch.times_ns,
        batch.starts_ns,
        batch.point_kinds,
        batch.values,
        batch.counts,
        batch.sums,
        batch.shape_sizes,
        batch.shape_at,
        batch.shape,
    )
    told: dict[str, dict[str, float]] = {shown_name(series): {} for series in batch.series}
    for record, part, value in zip(result.record, result.part, result.values, strict=True):
        told[shown_name(batch.series[batch.series_index[record] - 1])][ROLES[part]] = value
    return told


@pytest.mark.parametrize("temporality", [DELTA, CUMULATIVE])
@pytest.mark.parametrize(
    ("aggregation", "error"),
    [(ExplicitBucketHistogramAggregation(BOUNDS), 1.0), (ExponentialBucketHistogramAggregation(), 0.1)],
    ids=["explicit", "exponential"],
)
def test_numbers_of_the_sdk_are_those_that_were_measured(
    temporality: AggregationTemporality, aggregation: Any, error: float
) -> None:
    """The exponential one changes its scale and range as values come; that is neither a reset nor a change of shape."""
    reader = InMemoryMetricReader(dict.fromkeys((Counter, Histogram, UpDownCounter), temporality))
    provider = MeterProvider(
        [reader], Resource({}), views=[View(instrument_type=Histogram, aggregation=aggregation)], shutdown_on_exit=False
    )
    meter = provider.get_meter("test")
    requests, latency, open_files = meter.create_counter("c"), meter.create_histogram("h"), meter.create_up_down_counter("u")
    source, points, times, files = random.Random(7), Points(series_max=10), array("Q"), 0
    for round_number in range(ROUNDS):
        values = [source.lognormvariate(0.0, 1.5 if round_number < ROUNDS - 1 else 0.1) for _ in range(400)]
        for value in values:
            latency.record(value)
        requests.add(30)
        change = source.randrange(-5, 6)
        files += change
        open_files.add(change)
        request = encode_metrics(reader.get_metrics_data()).SerializeToString()  # type: ignore[arg-type]
        (part,) = decode(request, Signal.METRICS, OtlpLimits(), ResourceRouter(), NoRedaction()).batches
        told = taken(points, part.batch)
        times.append(part.batch.times_ns[0])
        assert told["u"] == {"": change if temporality is DELTA else files}
        if round_number == 0 and temporality is CUMULATIVE:
            assert (told["c"], told["h"]) == ({}, {})
            continue
        begun = dict(zip(map(shown_name, part.batch.series), part.batch.starts_ns, strict=True)) if temporality is DELTA else {}
        for series, count in (("c", 30), ("h", 400)):
            assert told[series]["rate"] * (times[-1] - (begun[series] if begun else times[-2])) / 1e9 == pytest.approx(count)
        assert told["h"]["mean"] == pytest.approx(statistics.fmean(values))
        assert told["h"]["p50"] == pytest.approx(statistics.median(values), rel=error)
        assert told["h"]["p99"] == pytest.approx(sorted(values)[395], rel=2 * error)
        assert ("shape" in told["h"]) == (round_number >= (9 if temporality is DELTA else 10))
        usual = told["h"].get("shape", 0.0) < 120
        assert usual == (round_number < ROUNDS - 1)
    provider.shutdown()
