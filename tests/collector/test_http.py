"""OTLP/HTTP as a client sees it."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import zstandard
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from collector.admission import AdmissionLimits
from collector.otlp.http import HttpLimits, create_app
from collector.otlp.limits import OtlpLimits
from driftlock.engine.event import Signal
from driftlock.errors import DriftlockError, QuotaExhausted, RateLimited, Unavailable
from tests.collector.fakes import KEY, Bench, bench
from tests.collector.otlp_requests import log, logs, message, nested, raw_logs, timed

HELLO = logs(log("hello")).SerializeToString()
HEADERS = {"content-type": "application/x-protobuf", "x-api-key": KEY}
SMALL = OtlpLimits(request_bytes_max=64 * 1024)


class Client:
    def __init__(self, client: httpx.AsyncClient, parts: Bench) -> None:
        self.client, self.parts = client, parts

    async def post(self, body: Any = HELLO, path: str = "/v1/logs", **headers: str) -> httpx.Response:
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(path, content=body, headers=HEADERS | changed)


@asynccontextmanager
async def connected(*arguments: Any, http: HttpLimits | None = None, **parts: Any) -> AsyncIterator[Client]:
    async with bench(*arguments, **parts) as made:
        transport = httpx.ASGITransport(create_app(made.exporter, http or HttpLimits()), client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:4318") as client:
            yield Client(client, made)


def status_of(response: httpx.Response) -> Status:
    assert response.headers["content-type"] == "application/x-protobuf"
    return Status.FromString(response.content)


async def test_records_arrive() -> None:
    async with connected() as client:
        response = await client.post()
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["content-type"] == "application/x-protobuf"
        assert client.parts.intake.lines() == ["hello"]
        (seen,) = client.parts.authenticator.seen
        assert (seen.peer, seen.host, seen.presented) == ("127.0.0.1", "localhost:4318", (KEY,))


@pytest.mark.parametrize("signal", list(Signal))
async def test_empty_requests_are_ok(signal: Signal) -> None:
    async with connected() as client:
        response = await client.post(b"", f"/v1/{signal}")
        assert (response.status_code, response.content) == (200, b"")


async def test_partial_success() -> None:
    async with connected() as client:
        response = await client.post(raw_logs(timed(message(5, nested(60))), timed(b"")))
        assert response.status_code == 200
        assert ExportLogsServiceResponse.FromString(response.content).partial_success.rejected_log_records == 1


@pytest.mark.parametrize("coding", ["gzip", "x-gzip"])
async def test_gzip_with_several_members(coding: str) -> None:
    body = gzip.compress(HELLO) + gzip.compress(logs(log("again")).SerializeToString())
    async with connected() as client:
        assert (await client.post(body, content_encoding=coding)).status_code == 200
        assert client.parts.intake.lines() == ["hello", "again"]


@pytest.mark.parametrize("body", [gzip.compress(HELLO, mtime=0)[:-3], HELLO, gzip.compress(HELLO, mtime=0) + b"x"])
async def test_damaged_gzip_is_final(body: bytes) -> None:
    async with connected() as client:
        response = await client.post(body, content_encoding="gzip")
        assert (response.status_code, status_of(response).code) == (400, 3)
        assert client.parts.intake.submissions == []
        assert client.parts.admission.bytes == 0


async def test_gzip_of_gzip_is_not_undone_twice() -> None:
    async with connected() as client:
        assert (await client.post(gzip.compress(gzip.compress(HELLO)), content_encoding="gzip")).status_code == 400


async def test_zstd_with_several_frames() -> None:
    pack = zstandard.ZstdCompressor().compress
    async with connected() as client:
        response = await client.post(pack(HELLO) + pack(logs(log("again")).SerializeToString()), content_encoding="zstd")
        assert response.status_code == 200
        assert client.parts.intake.lines() == ["hello", "again"]
        assert (await client.post(pack(HELLO)[:-1], content_encoding="zstd")).status_code == 400


@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip, zstd", "deflate", "br"])
async def test_other_codings_are_415(coding: str) -> None:
    async with connected() as client:
        response = await client.post(content_encoding=coding)
        assert (response.status_code, response.headers["accept-encoding"]) == (415, "gzip, zstd, identity")
        assert "gzip" in status_of(response).message


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/x-protobuffer", "text/json", "application/jsonl"])
async def test_other_types_are_415(content_type: str) -> None:
    async with connected() as client:
        response = await client.post(content_type=content_type, content_encoding="br")
        assert response.status_code == 415
        assert "application/x-protobuf or application/json" in status_of(response).message
        assert "accept-encoding" not in response.headers  # the codings are not what was wrong
        assert client.parts.meter.counts == {("logs", "refused", "unsupported_type"): 1}


@pytest.mark.parametrize(
    "headers", [{"x_api_key": "wrong"}, {"authorization": "Bearer other"}, {"authorization": "Basic eA=="}]
)
async def test_without_a_good_key_nothing_is_read(headers: dict[str, str]) -> None:
    async def body() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    async with connected() as client:
        response = await client.post(body(), **headers)
        assert (response.status_code, status_of(response).code) == (401, 16)
        assert response.headers["www-authenticate"] == "Bearer"


async def chunks(*parts: bytes, pause_s: float = 0) -> AsyncIterator[bytes]:
    for part in parts:
        await asyncio.sleep(pause_s)
        yield part


async def test_request_bytes_max_declared_streamed_and_inflated() -> None:
    async with connected(SMALL) as client:
        for body, headers in (
            (bytes(64 * 1024 + 1), {}),
            (chunks(bytes(64 * 1024), b"x"), {}),
            (gzip.compress(bytes(64 * 1024 + 1), mtime=0), {"content_encoding": "gzip"}),
            (zstandard.ZstdCompressor().compress(bytes(64 * 1024 + 1)), {"content_encoding": "zstd"}),
            (gzip.compress(bytes(64 * 1024), mtime=0) + gzip.compress(b"x", mtime=0), {"content_encoding": "gzip"}),
            (HELLO, {"content_length": "9" * 30}),
        ):
            response = await client.post(body, **headers)
            assert (response.status_code, status_of(response).code) == (413, 8)
            assert status_of(response).details == []
            assert (client.parts.admission.requests, client.parts.admission.bytes) == (0, 0)


async def test_a_content_length_that_is_no_number_is_400() -> None:
    async with connected() as client:
        assert (await client.post(content_length="-1")).status_code == 400


async def test_streamed_bodies_are_whole() -> None:
    async with connected() as client:
        assert (await client.post(chunks(HELLO[:5], HELLO[5:]))).status_code == 200
        assert client.parts.intake.lines() == ["hello"]


SLOW = {
    "grace": HttpLimits(body_grace_ms=60),
    "rate": HttpLimits(body_grace_ms=10, body_rate_min_bytes_per_s=100),
    "whole": HttpLimits(body_timeout_ms=60, body_rate_min_bytes_per_s=1),
}


@pytest.mark.parametrize("limit", list(SLOW))
async def test_slow_bodies_are_to_be_sent_again(limit: str) -> None:
    async def dribble() -> AsyncIterator[bytes]:
        yield HELLO[:2]
        await asyncio.sleep(0.04)
        yield HELLO[2:4]
        if limit == "whole":
            yield bytes(1000)
        await asyncio.sleep(0.1)
        pytest.fail("waited for the rest")

    async with connected(http=SLOW[limit]) as client:
        response = await client.post(dribble())
        assert (response.status_code, response.headers["retry-after"], response.headers["connection"]) == (503, "1", "close")
        assert "came too slowly" in status_of(response).message
        assert client.parts.admission.requests == 0


async def test_a_body_that_is_fast_enough_may_take_longer_than_the_grace() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield HELLO[:20]
        await asyncio.sleep(0.1)
        yield HELLO[20:]

    async with connected(http=HttpLimits(body_grace_ms=20, body_rate_min_bytes_per_s=50)) as client:
        assert (await client.post(body())).status_code == 200


async def test_streamed_bytes_are_admitted_as_they_come() -> None:
    async with connected(OtlpLimits(request_bytes_max=100), AdmissionLimits(bytes_max=200)) as client:
        with client.parts.admission.admit(150):
            response = await client.post(chunks(bytes(40), bytes(40)))
            assert response.status_code == 503
        assert client.parts.admission.bytes == 0


@pytest.mark.parametrize(
    ("error", "http", "retry_after"),
    [
        (Unavailable("away", retry_after_ms=2100), 503, "3"),
        (RateLimited("slower", retry_after_ms=10), 429, "1"),
        (QuotaExhausted("until the first"), 403, None),
        (RuntimeError("secret"), 500, None),
    ],
)
async def test_errors_carry_their_status_and_hint(error: Exception, http: int, retry_after: str | None) -> None:
    async with connected() as client:
        client.parts.intake.error = error
        response = await client.post()
        assert (response.status_code, response.headers.get("retry-after")) == (http, retry_after)
        status = status_of(response)
        assert "secret" not in status.message
        if isinstance(error, DriftlockError):
            assert status.message == error.message
        assert any(detail.Is(RetryInfo.DESCRIPTOR) for detail in status.details) is (retry_after is not None)


async def test_draining_is_503() -> None:
    async with connected() as client:
        client.parts.admission.drain()
        response = await client.post()
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert response.headers["connection"] == "close"


async def test_request_timeout_ms() -> None:
    async with connected(http=HttpLimits(request_timeout_ms=20)) as client:
        client.parts.intake.gate = asyncio.Event()
        response = await client.post()
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert "within 20 ms" in status_of(response).message
        client.parts.intake.gate.set()
        await client.parts.exporter.settle(5)
        assert client.parts.meter.counts["logs", "accepted", "records"] == 1  # the resend will be a duplicate


async def test_other_paths_and_methods() -> None:
    async with connected() as client:
        assert (await client.post(path="/v1/profiles")).status_code == 404
        response = await client.client.get("/v1/logs")
        assert (response.status_code, response.headers["allow"], status_of(response).code) == (405, "POST", 12)


async def test_damaged_protobuf_is_400() -> None:
    async with connected() as client:
        response = await client.post(b"\x0a\x7f")
        assert (response.status_code, status_of(response).code) == (400, 3)


async def test_one_gate_for_both_transports() -> None:
    async with connected(OtlpLimits(), AdmissionLimits(requests_max=1)) as client:
        with client.parts.admission.admit(0):
            assert (await client.post()).status_code == 503
        assert (await client.post()).status_code == 200


@pytest.mark.parametrize("name", ["body_timeout_ms", "body_grace_ms", "body_rate_min_bytes_per_s", "request_timeout_ms"])
def test_a_limit_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        HttpLimits(**{name: 0})
