"""OTLP/gRPC over a real socket, as a client sees it."""

import asyncio
import gzip
import resource
import socket
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from collector.admission import AdmissionLimits
from collector.otlp.export import SERVICES
from collector.otlp.grpc import GrpcLimits, OtlpGrpcServer, check_grpcio
from collector.otlp.limits import MIB, OtlpLimits
from driftlock.engine.event import Signal
from driftlock.errors import DriftlockError, PermissionDenied, QuotaExhausted, RateLimited, Unavailable
from tests.collector.fakes import KEY, Bench, bench, grpc_bench
from tests.collector.otlp_requests import log, logs, message, nested, raw_logs, timed

AUTH = (("x-api-key", KEY),)
HELLO = logs(log("hello")).SerializeToString()
SMALL = OtlpLimits(request_bytes_max=64 * 1024)
NAMES = ["", *(service.name for service in SERVICES.values())]


class Client:
    """Calls Export and health on a channel; `last` is the server behind it."""

    def __init__(self, channel: grpc.aio.Channel, parts: Bench, server: OtlpGrpcServer) -> None:
        self.channel, self.parts, self.server = channel, parts, server
        self.health = health_pb2_grpc.HealthStub(channel)

    async def export(self, body: bytes, signal: Signal = Signal.LOGS, metadata: Any = AUTH, **options: Any) -> bytes:
        call = self.channel.unary_unary(f"/{SERVICES[signal].name}/Export")
        answer: bytes = await call(body, metadata=metadata, **options)
        return answer

    async def failure(self, body: bytes = HELLO, **options: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.export(body, **options)
        return raised.value

    async def serving(self, name: str) -> int:
        answer = await self.health.Check(health_pb2.HealthCheckRequest(service=name))
        return int(answer.status)


@asynccontextmanager
async def connected(*arguments: Any, **parts: Any) -> AsyncIterator[Client]:
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with (
        grpc_bench(*arguments, **parts) as (made, server),
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel,
    ):
        yield Client(channel, made, server)


def retry_ms(error: grpc.aio.AioRpcError) -> int | None:
    """The RetryInfo of a failed call; None when there is none."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            info = RetryInfo()
            status = Status.FromString(value)
            assert status.code == error.code().value[0]
            assert status.message == error.details()
            if any(detail.Unpack(info) for detail in status.details):
                return info.retry_delay.ToMilliseconds()
    return None


@pytest.mark.parametrize("signal", list(Signal))
async def test_empty_requests_are_ok(signal: Signal) -> None:
    async with connected() as client:
        assert await client.export(b"", signal) == b""
        assert client.parts.intake.submissions == []


@pytest.mark.parametrize("metadata", [AUTH, (("authorization", f"Bearer {KEY}"),)])
async def test_records_arrive(metadata: Any) -> None:
    async with connected() as client:
        assert await client.export(HELLO, metadata=metadata) == b""
        assert client.parts.intake.lines() == ["hello"]
        (seen,) = client.parts.authenticator.seen
        assert (seen.peer, seen.host, seen.origin, seen.presented) == ("127.0.0.1", "localhost", "", (KEY,))


async def test_partial_success() -> None:
    async with connected() as client:
        answer = await client.export(raw_logs(timed(message(5, nested(60))), timed(message(5, b"\x0a\x02ok"))))
        response = ExportLogsServiceResponse.FromString(answer)
        assert response.partial_success.rejected_log_records == 1
        assert client.parts.intake.lines() == ["ok"]


async def test_gzip() -> None:
    body = logs(*(log(f"line {number}") for number in range(2000))).SerializeToString()
    async with connected() as client:
        await client.export(body, compression=grpc.Compression.Gzip)
        assert client.parts.intake.submissions[0].records == 2000


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_request_bytes_max_is_final_and_keeps_the_connection(compression: grpc.Compression) -> None:
    async with connected(SMALL) as client:
        error = await client.failure(bytes(64 * 1024 + 1), compression=compression)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry_ms(error) is None
        assert await client.export(HELLO) == b""


@pytest.mark.parametrize("metadata", [(), (("x-api-key", "wrong"),), (*AUTH, ("authorization", "Bearer other"))])
async def test_without_a_good_key_nothing_is_accepted(metadata: Any) -> None:
    async with connected() as client:
        error = await client.failure(metadata=metadata)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert retry_ms(error) is None
        assert client.parts.intake.submissions == []


@pytest.mark.parametrize(
    ("error", "code", "wait_ms"),
    [
        (Unavailable("the database is away", retry_after_ms=2500), grpc.StatusCode.UNAVAILABLE, 2500),
        (Unavailable("no hint"), grpc.StatusCode.UNAVAILABLE, 1000),
        (RateLimited("slower"), grpc.StatusCode.UNAVAILABLE, 1000),
        (QuotaExhausted("until the first"), grpc.StatusCode.RESOURCE_EXHAUSTED, None),
        (PermissionDenied("needs ingest"), grpc.StatusCode.PERMISSION_DENIED, None),
    ],
)
async def test_errors_carry_their_status_and_hint(error: DriftlockError, code: grpc.StatusCode, wait_ms: int | None) -> None:
    async with connected() as client:
        client.parts.intake.error = error
        failure = await client.failure()
        assert (failure.code(), failure.details(), retry_ms(failure)) == (code, error.message, wait_ms)


@pytest.mark.parametrize("place", ["intake", "authenticator", "now_ns", "router"])
async def test_no_bug_becomes_unknown_or_shows_its_text(place: str) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("secret")

    class Broken:
        route = staticmethod(broken)

    other: dict[str, Any] = {"now_ns": {"now_ns": broken}, "router": {"router": Broken()}}.get(place, {})
    async with connected(**other) as client:
        if place in {"intake", "authenticator"}:
            getattr(client.parts, place).error = RuntimeError("secret")
        failure = await client.failure()
        assert failure.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in str(failure.details())
        assert client.parts.meter.counts == {("logs", "refused", "internal"): 1}
        assert client.parts.admission.requests == 0


async def test_damaged_protobuf_is_final() -> None:
    async with connected() as client:
        failure = await client.failure(b"\x0a\x7f")
        assert failure.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert retry_ms(failure) is None


async def test_overload_asks_to_come_back() -> None:
    async with connected(OtlpLimits(), AdmissionLimits(requests_max=1, retry_after_ms=700)) as client:
        client.parts.intake.gate = asyncio.Event()
        first = asyncio.create_task(client.export(HELLO))
        await client.parts.intake.entered.wait()
        failure = await client.failure()
        assert (failure.code(), retry_ms(failure)) == (grpc.StatusCode.UNAVAILABLE, 700)
        client.parts.intake.gate.set()
        assert await first == b""


async def test_a_deadline_does_not_undo_what_was_admitted() -> None:
    async with connected() as client:
        client.parts.intake.gate = asyncio.Event()
        failure = await client.failure(timeout=0.2)
        assert failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.sleep(0.05)
        client.parts.intake.gate.set()
        await client.parts.exporter.settle(5)
        assert client.parts.intake.lines() == ["hello"]
        assert await client.export(HELLO) == b""  # the resend
        assert client.parts.intake.lines() == ["hello"]


@pytest.mark.parametrize(
    "method",
    [
        "/opentelemetry.proto.collector.logs.v1.LogsService/Import",
        "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
        "/nothing",
    ],
)
async def test_unknown_methods_are_unimplemented(method: str) -> None:
    async with connected() as client:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await client.channel.unary_unary(method)(b"", metadata=AUTH)
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_metadata_bytes_max() -> None:
    async with connected() as client:
        failure = await client.failure(metadata=(("x-api-key", "k" * 20_000),))
        assert failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert client.parts.authenticator.seen == []


async def test_binary_junk_as_a_key() -> None:
    async with connected() as client:
        failure = await client.failure(metadata=(("x-api-key-bin", b"\x00\xff"), ("authorization", "~~ junk {}")))
        assert failure.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_health_follows_draining() -> None:
    async with connected() as client:
        assert [await client.serving(name) for name in NAMES] == [health_pb2.HealthCheckResponse.SERVING] * 4
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await client.serving("nothing")
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        await client.server.drain()
        assert [await client.serving(name) for name in NAMES] == [health_pb2.HealthCheckResponse.NOT_SERVING] * 4
        failure = await client.failure()
        assert failure.code() is grpc.StatusCode.UNAVAILABLE
        assert retry_ms(failure) == 1000


async def test_stopping_lets_calls_in_flight_end_and_is_idempotent() -> None:
    async with connected() as client:
        client.parts.intake.gate = asyncio.Event()
        call = asyncio.create_task(client.export(HELLO))
        await client.parts.intake.entered.wait()
        stop = asyncio.create_task(client.server.stop())
        await asyncio.sleep(0.05)
        assert not stop.done()
        client.parts.intake.gate.set()
        assert await call == b""
        await stop
        await client.server.stop()
        assert client.parts.intake.lines() == ["hello"]


async def test_concurrent_calls() -> None:
    async with connected() as client:
        bodies = [logs(log(f"call {number}")).SerializeToString() for number in range(100)]
        assert await asyncio.gather(*map(client.export, bodies)) == [b""] * 100
        assert sorted(client.parts.intake.lines()) == sorted(f"call {number}" for number in range(100))


async def test_streams_over_the_limit_are_refused_retryably() -> None:
    async with connected() as client:
        client.parts.intake.gate = asyncio.Event()
        calls = [asyncio.create_task(client.export(logs(log(f"call {number}")).SerializeToString())) for number in range(200)]
        async with asyncio.timeout(30):
            while client.parts.admission.requests < GrpcLimits().streams_max:  # noqa: ASYNC110 - a number has no event
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert client.parts.admission.requests == GrpcLimits().streams_max
        client.parts.intake.gate.set()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert len(client.parts.intake.submissions) == 200 - len(refused)
        assert {answer.code() for answer in refused} <= {grpc.StatusCode.UNAVAILABLE}


async def test_a_busy_port_is_one_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with bench() as parts:
            with pytest.raises(OSError, match=f"cannot listen on {address}"):
                await OtlpGrpcServer(parts.exporter, address=address, limits=GrpcLimits()).__aenter__()


async def test_two_servers_can_not_share_a_port() -> None:
    async with grpc_bench() as (parts, server):
        with pytest.raises(OSError, match="cannot listen"):
            await OtlpGrpcServer(parts.exporter, address=f"127.0.0.1:{server.port}", limits=GrpcLimits()).__aenter__()


@pytest.mark.parametrize("version", ["1.83.9", "1.9.0", "0.99"])
def test_an_old_grpcio_is_refused(version: str) -> None:
    with pytest.raises(RuntimeError, match=r"install grpcio>=1\.84"):
        check_grpcio(version)


@pytest.mark.parametrize("version", ["1.84.0", "1.85.1rc1", "2.0.0", grpc.__version__])
def test_a_new_grpcio_is_accepted(version: str) -> None:
    check_grpcio(version)


@pytest.mark.parametrize("name", list(GrpcLimits.__dataclass_fields__))
def test_a_limit_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        GrpcLimits(**{name: 0})


FRAME_BYTES = 16384  # what any HTTP/2 server takes


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


async def raw_call(port: int, payload: bytes, encoding: str) -> bytes:
    """What the server answers to a message marked as compressed; grpcio's own client can not send a damaged one."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/{SERVICES[Signal.LOGS].name}/Export",
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
        "grpc-encoding": encoding,
        "x-api-key": KEY,
    }
    literals = b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in headers.items()
    )
    body = b"\x01" + struct.pack(">I", len(payload)) + payload
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
    answer = await reader.read(65536)  # the server's settings, with a window of 4 MiB
    writer.write(frame(4, 1, 0, b"") + frame(1, 4, 1, literals))  # acknowledged: the window is open
    for start in range(0, len(body), FRAME_BYTES):
        piece = body[start : start + FRAME_BYTES]
        writer.write(frame(0, int(start + len(piece) == len(body)), 1, piece))
    async with asyncio.timeout(5):
        while b"grpc-message" not in answer:
            answer += await reader.read(65536)
    writer.close()
    await writer.wait_closed()
    return answer


PACKED = gzip.compress(logs(log("x" * 200)).SerializeToString(), mtime=0)


async def test_a_hand_made_gzip_call_is_understood() -> None:
    async with connected() as client:
        assert b"grpc-status\x010" in await raw_call(client.server.port, PACKED, "gzip")
        assert client.parts.intake.lines() == ["x" * 200]


@pytest.mark.parametrize(
    ("payload", "encoding"),
    [
        (PACKED[:-6] + b"\xff" + PACKED[-5:], "gzip"),
        (PACKED[:-9], "gzip"),
        (PACKED + PACKED, "gzip"),
        (PACKED, "zstd"),
    ],
)
async def test_what_can_not_be_decompressed_is_refused_whole(payload: bytes, encoding: str) -> None:
    """The transport answers INTERNAL, which OTLP clients do not retry, before our handler hears of the call."""
    async with connected() as client:
        assert b"grpc-status\x0213" in await raw_call(client.server.port, payload, encoding)
        assert client.parts.intake.submissions == []


async def test_a_gzip_bomb_is_not_inflated() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(MIB)) for _ in range(200)) + packer.flush()
    assert len(bomb) < MIB
    async with connected() as client:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = await raw_call(client.server.port, bomb, "gzip")
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert b"grpc-status\x018" in answer  # RESOURCE_EXHAUSTED
        assert b"grpc-status-details-bin" not in answer
        assert grown_kib < (16 + 32) * 1024
