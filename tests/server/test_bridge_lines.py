"""Messages that are one record each, as requests of OTLP."""

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from collector.kafka.consumer import Taken
from collector.routing import ResourceRouter
from server.bridge_lines import BadLine, LineReader, LineRecord
from server.bridge_sources import parse_sources

TIME_MS = 1_700_000_000_000
MEMBERS = {"topic": "app", "tenant": "00000000-0000-0000-0000-000000000007", "format": "json", "service": "rest"}


def reader(**members: str) -> LineReader:
    (source,) = parse_sources(json.dumps([{**MEMBERS, **members}]))
    return LineReader(source, ResourceRouter())


def taken(value: Any, offset: int = 0, **headers: str) -> Taken:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Taken(offset, None, raw, tuple((name, text.encode()) for name, text in headers.items()), 1, TIME_MS)


def read(one: LineReader, it: Taken) -> LineRecord:
    found = one.record(it)
    assert found is not None
    return found


@pytest.mark.parametrize("labels", [{"k8s": {"app": "cart"}}, {"k8s.app": "cart"}])
def test_a_field_names_the_stream(labels: dict[str, Any]) -> None:
    found = read(reader(stream_id_field="k8s.app"), taken({**labels, "text": "hi"}))
    assert dict(found.attributes) == {"service.name": "rest", "driftlock.stream_id": "cart"}


def test_a_header_goes_before_a_field_and_the_service_behind_both() -> None:
    one = reader(stream_id_field="app", stream_id_header="stream", namespace="shop", environment="prod")
    assert dict(read(one, taken({"app": "cart"}, stream="till")).attributes)["driftlock.stream_id"] == "till"
    assert dict(read(one, taken({"app": []})).attributes) == {
        "service.name": "rest",
        "service.namespace": "shop",
        "deployment.environment.name": "prod",
    }


@pytest.mark.parametrize(
    ("value", "time_ns"),
    [
        ({"t": {"at": "2023-11-14T22:13:21Z"}}, 1_700_000_001 * 10**9),
        ({"t": {"at": 1_700_000_002}}, 1_700_000_002 * 10**9),
        ({"ts": 1_700_000_003.0}, 1_700_000_003 * 10**9),
        ({"t": {"at": "soon"}}, TIME_MS * 10**6),
        ({}, TIME_MS * 10**6),
    ],
)
def test_the_time_is_the_fields_a_known_ones_or_kafkas(value: dict[str, Any], time_ns: int) -> None:
    assert read(reader(timestamp_field="t.at"), taken(value)).record.time_unix_nano == time_ns


def test_the_message_is_the_text_and_the_rest_are_attributes() -> None:
    record = read(reader(message_field="log.msg"), taken({"log": {"msg": "hi", "by": "me"}, "n": 7})).record
    assert record.body.string_value == "hi"
    assert [(each.key, each.value.WhichOneof("value")) for each in record.attributes] == [
        ("log", "kvlist_value"),
        ("n", "int_value"),
    ]


def test_without_a_message_the_object_is_the_record() -> None:
    record = read(reader(message_field="msg"), taken({"n": 7})).record
    assert [each.key for each in record.body.kvlist_value.values] == ["n"]


@pytest.mark.parametrize("raw", [b"no json", b"[1]", b"\xff", b"1", b"[" * 5000])
def test_what_is_no_object_is_told(raw: bytes) -> None:
    with pytest.raises(BadLine):
        reader().record(taken(raw))


def test_text_is_a_line_and_an_empty_one_is_none() -> None:
    one = reader(format="text")
    assert read(one, taken(b"caf\xc3\xa9 \xff\r\n")).record.body.string_value == "café \ufffd"
    assert one.record(taken(b"\n")) is None
    assert one.record(taken(b"")) is None


def test_records_of_a_stream_keep_their_order_and_their_places() -> None:
    one = reader(stream_id_field="app")
    records = [read(one, taken({"app": app, "text": str(at)}, at)) for at, app in enumerate("abcab")]
    found = one.request(records)
    assert {key.service: list(offsets) for key, offsets in found.offsets.items()} == {"a": [0, 3], "b": [1, 4], "c": [2]}
    request = ExportLogsServiceRequest.FromString(found.body)
    bodies = [it.body.string_value for group in request.resource_logs for it in group.scope_logs[0].log_records]
    assert bodies == ["0", "3", "1", "4", "2"]


def test_resources_that_are_one_stream_share_its_order() -> None:
    one = reader(stream_id_field="app")
    records = [read(one, taken({"app": app}, at)) for at, app in enumerate(("a", "a ", "a"))]  # spelled otherwise
    assert [list(offsets) for offsets in one.request(records).offsets.values()] == [[0, 1, 2]]
