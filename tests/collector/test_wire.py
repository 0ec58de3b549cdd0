"""Reading envelopes and repairing messages, against the protobuf library as the oracle."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint

from collector.otlp.decode import decode
from collector.otlp.limits import OtlpLimits
from collector.otlp.sanitize import TooManyElements, encode_varint, sanitize
from collector.otlp.wire import Malformed, next_field, varint
from collector.redact import NoRedaction
from collector.routing import ResourceRouter
from driftlock.engine.canonical import Cuts, TooDeep
from driftlock.engine.event import Signal
from driftlock.errors import InvalidArgument
from tests.collector.oracle.records import log_record
from tests.collector.oracle.values import parse
from tests.collector.oracle.wire import LEN, Tally, split
from tests.collector.otlp_requests import add_logs, log, message

LIMITS = OtlpLimits()
text = st.text(max_size=30)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | text | st.binary(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=8
)
records = st.builds(
    log,
    values,
    st.integers(0, 2**64 - 1),
    st.dictionaries(text, values, max_size=4),
    severity_text=text,
    severity_number=st.integers(0, 30),
    event_name=text,
    trace_id=st.binary(max_size=20),
)
resources = st.dictionaries(st.sampled_from(["service.name", "service.namespace", "host.name", "other"]), values, max_size=4)


@settings(max_examples=60)
@given(st.lists(st.tuples(resources, st.lists(records, max_size=4)), max_size=4))
def test_the_walk_agrees_with_the_protobuf_library(groups: list[tuple[dict[str, object], list[LogRecord]]]) -> None:
    request = ExportLogsServiceRequest()
    for resource, members in groups:
        add_logs(request, *members, resource=resource)
    body = request.SerializeToString()
    decoded = decode(body, Signal.LOGS, LIMITS, ResourceRouter(), NoRedaction())
    expected = [
        log_record(record, LIMITS, Cuts())[0].encode()
        for group in ExportLogsServiceRequest.FromString(body).resource_logs
        for scope in group.scope_logs
        for record in scope.log_records
    ]
    assert sorted(line for part in decoded.batches for line in part.batch.lines()) == sorted(expected)
    assert decoded.rejected == {}


@given(records)
def test_sanitizing_a_good_message_changes_nothing(record: LogRecord) -> None:
    cuts = Cuts()
    unknown = b"\xf8\x06\x01\xfa\x06\x02hi"  # is left out
    sanitized = sanitize(LogRecord.DESCRIPTOR, record.SerializeToString() + unknown, LIMITS, cuts)
    assert LogRecord.FromString(sanitized) == record
    assert cuts == Cuts()


@given(st.binary(max_size=100))
def test_sanitized_messages_are_parseable_or_named(noise: bytes) -> None:
    with contextlib.suppress(Malformed, TooDeep, TooManyElements):
        parse(LogRecord, noise, LIMITS, Cuts())


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
def test_varints(value: int, rest: bytes) -> None:
    encoded = encode_varint(value)
    assert varint(encoded + rest, 0) == (value, len(encoded))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9, b"\xff" * 10 + b"\x01", b"\x80" * 10 + b"\x00"])
def test_varints_that_do_not_end(data: bytes) -> None:
    with pytest.raises(Malformed):
        varint(data, 0)


def test_long_tags_and_lengths_are_read_too() -> None:
    body = b"\x8a\x00\x01a" + b"\x0a\x81\x00b" + b"\x0a\x81\x80\x00c" + message(1, b"d" * 200) + message(1, b"e" * 20_000)
    found: list[tuple[int, int]] = []
    assert split(body, (0, len(body)), 1, found, Tally("parts", 10)) == []
    assert [body[start:end][:1] for start, end in found] == [b"a", b"b", b"c", b"d", b"e"]
    assert [end - start for start, end in found] == [1, 1, 1, 200, 20_000]


def test_the_tally_runs_over_several_messages() -> None:
    body, found, tally = message(1, b"") * 3, list[tuple[int, int]](), Tally("parts", 5)
    split(body, (0, 6), 1, found, tally)
    assert tally.count == 3
    with pytest.raises(InvalidArgument, match="more than 5 parts"):
        split(body, (0, 6), 1, [], tally)


def test_other_fields_are_bounded() -> None:
    body = b"\x10\x01" * 5000
    with pytest.raises(InvalidArgument, match="more than 4096 fields"):
        split(body, (0, len(body)), 1, [], Tally("parts", 10))


def test_a_field_may_not_reach_past_its_message() -> None:
    body = message(1, b"abcdef")
    with pytest.raises(Malformed):
        next_field(body, 0, 5)
    with pytest.raises(Malformed):
        split(body, (0, 5), 1, [], Tally("parts", 10))
    assert next_field(body, 0, 8) == (1, LEN, 2, 8)


def test_groups_nest_only_so_deep() -> None:
    deep = b"\x0b" * 100 + b"\x0c" * 100
    with pytest.raises(Malformed):
        next_field(deep, 0, len(deep))
    shallow = b"\x0b" * 20 + b"\x0c" * 20
    assert next_field(shallow, 0, 40)[3] == 40


def test_packed_numbers_count_as_elements() -> None:
    point = message(8, message(2, b"\x01" * 8_000))
    with pytest.raises(TooManyElements):
        sanitize(ExponentialHistogramDataPoint.DESCRIPTOR, point, OtlpLimits(record_elements_max=900), Cuts())
    sanitize(ExponentialHistogramDataPoint.DESCRIPTOR, point, OtlpLimits(record_elements_max=1100), Cuts())
