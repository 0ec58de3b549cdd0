"""OTLP/HTTP in JSON as a client sees it: read like protobuf, answered in JSON."""

import gzip
import json
from typing import Any

import pytest
import zstandard

from collector.otlp.limits import OtlpLimits
from driftlock.engine.event import Signal
from driftlock.errors import QuotaExhausted, Unavailable
from tests.collector.otlp_requests import length, message, raw_logs, timed
from tests.collector.test_http import Client, connected

TIME = "1780000000000000000"
JSON = "application/json"


def logs(*records: dict[str, Any]) -> bytes:
    service = [{"key": "service.name", "value": {"stringValue": "shop"}}]
    scopes = [{"logRecords": [{"timeUnixNano": TIME} | record for record in records]}]
    return json.dumps({"resourceLogs": [{"resource": {"attributes": service}, "scopeLogs": scopes}]}).encode()


def said(text: str) -> dict[str, Any]:
    return {"body": {"stringValue": text}}


async def post(client: Client, body: bytes, path: str = "/v1/logs", **headers: str) -> tuple[int, Any]:
    response = await client.post(body, path, content_type=headers.pop("content_type", JSON), **headers)
    assert response.headers["content-type"] == JSON
    return response.status_code, response.json()


@pytest.mark.parametrize("content_type", [JSON, "application/json; charset=utf-8", "Application/JSON"])
async def test_records_arrive(content_type: str) -> None:
    async with connected() as client:
        assert await post(client, logs(said("hello"), said("again")), content_type=content_type) == (200, {})
        assert client.parts.intake.lines() == ["hello", "again"]


@pytest.mark.parametrize("signal", list(Signal))
async def test_empty_requests_are_ok(signal: Signal) -> None:
    async with connected() as client:
        assert await post(client, b"{}", f"/v1/{signal}") == (200, {})
        assert client.parts.intake.submissions == []


async def test_large_requests_are_read_off_the_event_loop() -> None:
    async with connected() as client:
        assert await post(client, logs(*[said("x" * 100)] * 1000)) == (200, {})
        assert len(client.parts.intake.lines()) == 1000


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_compressed(coding: str) -> None:
    pack = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}[coding]
    async with connected() as client:
        assert await post(client, pack(logs(said("hello"))), content_encoding=coding) == (200, {})
        assert client.parts.intake.lines() == ["hello"]


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"stringValue": "x"}
    for _ in range(levels - 1):
        value = {"arrayValue": {"values": [value]}}
    return value


@pytest.mark.parametrize("levels", [16, 18, 19, 20, 21, 22, 60, 200])
async def test_too_deep_values_are_rejected_alone_as_in_protobuf(levels: int) -> None:
    value = b"\x0a\x01x"
    for _ in range(levels - 1):
        array = b"\x0a" + length(value) + value
        value = b"\x2a" + length(array) + array
    async with connected() as client:
        answer = await post(client, logs(said("good"), {"body": nested(levels)}))
        if levels == 16:
            assert answer == (200, {})
            return
        text = answer[1]["partialSuccess"].pop("errorMessage")
        assert "nested deeper than 16 levels" in text
        assert answer == (200, {"partialSuccess": {"rejectedLogRecords": "1"}})
        binary = await client.post(raw_logs(timed(message(5, b"\x0a\x04good")), timed(message(5, value))))
        assert text.encode() in binary.content
        assert client.parts.intake.lines() == ["good", "good"]


async def test_values_of_a_hundred_thousand_levels_are_rejected_alone() -> None:
    deep = '{"arrayValue":{"values":[' * 100_000 + "{}" + "]}}" * 100_000
    body = logs(said("good"), {"body": {"stringValue": "@"}}).replace(b'{"stringValue": "@"}', deep.encode())
    async with connected() as client:
        status, answer = await post(client, body)
        assert (status, answer["partialSuccess"]["rejectedLogRecords"]) == (200, "1")
        assert client.parts.intake.lines() == ["good"]


async def test_ids_of_a_wrong_length_reject_spans_and_are_absent_in_logs() -> None:
    span = {"traceId": "ab" * 16, "spanId": "cd" * 8, "name": "a", "startTimeUnixNano": TIME, "endTimeUnixNano": TIME}
    spans = {
        "resourceSpans": [{"scopeSpans": [{"spans": [span, span | {"traceId": "ab" * 15}, span | {"parentSpanId": "abc"}]}]}]
    }
    async with connected() as client:
        status, answer = await post(client, json.dumps(spans).encode(), "/v1/traces")
        assert (status, answer["partialSuccess"]["rejectedSpans"]) == (200, "2")
        assert await post(client, logs(said("hello") | {"traceId": "ab", "spanId": "c" * 15})) == (200, {})
        assert client.parts.intake.lines()[-1] == "hello"


async def test_half_a_surrogate_pair_is_replaced_and_counted() -> None:
    async with connected() as client:
        assert await post(client, logs(said("@")).replace(b"@", rb"a\ud800b")) == (200, {})
        assert client.parts.intake.lines() == ["a\ufffdb"]
        assert client.parts.meter.counts["logs", "altered", "replaced"] == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"[]", b'{"resourceLogs":1}', b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b'{"a":' + b"[" * 100_000],
)
async def test_what_is_no_request_is_400(body: bytes) -> None:
    async with connected() as client:
        status, answer = await post(client, body)
        assert (status, answer["code"]) == (400, 3)
        assert client.parts.intake.submissions == []
        assert client.parts.meter.counts == {("logs", "refused", "malformed"): 1}
        assert client.parts.admission.bytes == 0


async def test_a_wrong_type_is_named_in_the_details() -> None:
    async with connected() as client:
        status, answer = await post(client, logs({"severityNumber": "SEVERITY_NUMBER_INFO"}))
        (detail,) = answer["details"]
        (violation,) = detail["fieldViolations"]
        assert status == 400
        assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
        assert violation["field"] == "/resourceLogs/0/scopeLogs/0/logRecords/0/severityNumber"
        assert answer["message"] == violation["description"]
        assert answer["message"].startswith("resourceLogs[0].scopeLogs[0].logRecords[0].severityNumber must be a whole number")


async def test_what_is_retryable_says_when_in_json() -> None:
    async with connected() as client:
        client.parts.intake.error = Unavailable("away", retry_after_ms=2100)
        status, answer = await post(client, logs(said("hello")))
        assert (status, answer["code"], answer["message"]) == (503, 14, "away")
        assert answer["details"] == [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.100s"}]
        client.parts.intake.error = QuotaExhausted("until the first")
        assert await post(client, logs(said("hello"))) == (403, {"code": 8, "message": "until the first"})


async def test_every_refusal_is_in_json() -> None:
    async with connected(OtlpLimits(request_bytes_max=64 * 1024)) as client:
        assert (await post(client, b"{}", x_api_key="wrong"))[0] == 401
        assert (await post(client, b"{}", content_encoding="br"))[0] == 415
        assert (await post(client, b" " * 70_000))[0] == 413
        assert (await post(client, b"{}", "/v1/profiles"))[0] == 404
        response = await client.client.get("/v1/logs", headers={"content-type": JSON})
        assert (response.status_code, response.json()) == (405, {"code": 12, "message": "send POST"})


async def test_a_resend_is_recognised_by_its_bytes_and_spacing_makes_another_request() -> None:
    body = logs(said("hello"))
    async with connected() as client:
        for sent in (body, body, body + b" "):
            assert await post(client, sent) == (200, {})
        assert client.parts.intake.lines() == ["hello", "hello"]
        assert client.parts.meter.counts["logs", "duplicate", "records"] == 1


async def test_records_max_holds() -> None:
    async with connected(OtlpLimits(records_max=3)) as client:
        assert (await post(client, logs(*[said("x")] * 3)))[0] == 200
        status, answer = await post(client, logs(*[said("x")] * 4))
        assert (status, answer["message"]) == (400, "the request holds more than 3 log records; send smaller batches")


async def test_metrics_and_warnings() -> None:
    point = {"asDouble": 1.5, "timeUnixNano": TIME}
    metrics = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "cpu", "gauge": {"dataPoints": [point]}}]}]}]}
    async with connected() as client:
        client.parts.intake.overflowed = 1
        status, answer = await post(client, json.dumps(metrics).encode(), "/v1/metrics")
        assert (status, list(answer["partialSuccess"])) == (200, ["errorMessage"])  # a warning: nothing was rejected
        assert client.parts.intake.lines()[0].startswith("cpu")
