"""Versions of services on their way into the journal."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.otlp.decode import decode
from collector.otlp.limits import OtlpLimits
from collector.otlp.senders import VERSIONS_MAX, Senders
from collector.redact import NoRedaction
from collector.routing import ResourceRouter
from driftlock.engine.event import RecordBatch, Signal
from tests.collector.otlp_requests import add_logs, log


def versions_of(batch: RecordBatch) -> list[str]:
    """The version of each record, "" = none."""
    if not batch.version_index:
        return [*batch.versions, ""][:1] * len(batch)
    return [batch.versions[number - 1] if number else "" for number in batch.version_index]


def instances_of(batch: RecordBatch) -> list[str]:
    if not batch.instance_index:
        return [""] * len(batch)
    return [batch.instances[number - 1] if number else "" for number in batch.instance_index]


def logs_of(*resources: tuple[str, str], records: int = 2, redactor: object = None) -> RecordBatch:
    """Records of one service, some of each (version, instance)."""
    request = ExportLogsServiceRequest()
    for number, (version, instance) in enumerate(resources):
        resource = {"service.name": "shop"}
        resource |= {"service.version": version} if version else {}
        resource |= {"host.name": instance} if instance else {}
        add_logs(request, *(log(f"line {number} {line}") for line in range(records)), resource=resource)
    decoded = decode(request.SerializeToString(), Signal.LOGS, OtlpLimits(), ResourceRouter(), redactor or NoRedaction())  # type: ignore[arg-type]
    (part,) = decoded.batches
    return part.batch


def test_one_version_is_told_once() -> None:
    batch = logs_of(("1.0", "a"), ("1.0", "b"), ("1.0", ""))
    assert (batch.versions, batch.version_index) == (("1.0",), array("I"))
    assert instances_of(batch) == ["a", "a", "b", "b", "", ""]


def test_without_versions_there_is_no_column() -> None:
    batch = logs_of(("", "a"), ("", "b"))
    assert (batch.versions, batch.version_index, batch.instance_index) == ((), array("I"), array("I", [1, 1, 2, 2]))


def test_a_rollout_in_one_request_keeps_order_instances_and_versions() -> None:
    batch = logs_of(("1.0", "a"), ("2.0", "b"), ("", "a"), ("1.0", "a"), ("2.0", ""))
    assert [line.split()[1] for line in batch.lines()] == [b"0", b"0", b"1", b"1", b"2", b"2", b"3", b"3", b"4", b"4"]
    assert versions_of(batch) == ["1.0", "1.0", "2.0", "2.0", "", "", "1.0", "1.0", "2.0", "2.0"]
    assert instances_of(batch) == ["a", "a", "b", "b", "a", "a", "a", "a", "", ""]


@given(st.lists(st.tuples(st.sampled_from(["", "1", "2"]), st.sampled_from(["", "a", "b"])), min_size=1, max_size=9))
def test_what_is_sent_is_what_is_told(resources: list[tuple[str, str]]) -> None:
    batch = logs_of(*resources, records=1)
    assert list(zip(versions_of(batch), instances_of(batch), strict=True)) == resources


def test_versions_max() -> None:
    batch = logs_of(*((f"v{number}", "") for number in range(VERSIONS_MAX + 1)), records=1)
    assert len(batch.versions) == VERSIONS_MAX
    assert versions_of(batch)[-2:] == [f"v{VERSIONS_MAX - 1}", ""]


def test_points_and_spans_have_versions_too() -> None:
    metrics = ExportMetricsServiceRequest()
    spans = ExportTraceServiceRequest()
    for version in ("1.0", "2.0"):
        of_metrics, of_spans = metrics.resource_metrics.add(), spans.resource_spans.add()
        for resource in (of_metrics.resource, of_spans.resource):
            for name, value in {"service.name": "shop", "service.version": version, "host.name": "h"}.items():
                resource.attributes.add(key=name).value.string_value = value
        metric = of_metrics.scope_metrics.add().metrics.add(name="cpu")
        metric.gauge.data_points.add(time_unix_nano=5, as_double=1.0)
        of_spans.scope_spans.add().spans.add(
            name="GET", trace_id=b"t" * 16, span_id=version.encode().ljust(8), start_time_unix_nano=5, end_time_unix_nano=6
        )
    for signal, request in ((Signal.METRICS, metrics), (Signal.TRACES, spans)):
        decoded = decode(request.SerializeToString(), signal, OtlpLimits(), ResourceRouter(), NoRedaction())
        batch = decoded.batches[0].batch
        assert versions_of(batch) == ["1.0", "2.0"]
        assert instances_of(batch) == ["h", "h"]


@pytest.mark.parametrize("instances_max", [1, 9])
def test_numbers_are_the_instances_while_there_is_one_version(instances_max: int) -> None:
    senders = Senders(instances_max)
    assert [senders.add("a", "1"), senders.add("b", "1"), senders.add("a", "1")] == [0, 1, 0]
    assert senders.numbers() == array("I", [1, 2 if instances_max > 1 else 0])
