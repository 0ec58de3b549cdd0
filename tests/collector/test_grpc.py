"""OTLP/gRPC over a real socket, as a client sees it."""

import asyncio
import gc
import gzip
import socket
import tracemalloc
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from collector.admission import DRAINING_RETRY_AFTER_MS, AdmissionLimits
from collector.otlp.export import SERVICES
from collector.otlp.grpc import GrpcLimits, OtlpGrpcServer, check_grpcio
from collector.otlp.limits import MIB, OtlpLimits
from driftlock.engine.event import Signal
from tests.collector.fakes import KEY, bench, grpc_bench
from tests.collector.grpc_calls import AUTH, HELLO, connected, raw_call, retry_ms
from tests.collector.otlp_requests import log, logs, message, nested, raw_logs, timed

SMALL = OtlpLimits(request_bytes_max=64 * 1024)
NAMES = ["", *(service.name for service in SERVICES.values())]


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
        assert client.parts.meter.counts["logs", "refused", "transport"] == 1


@pytest.mark.parametrize("metadata", [(), (("x-api-key", "wrong"),), (*AUTH, ("authorization", "Bearer other"))])
async def test_without_a_good_key_nothing_is_accepted(metadata: Any) -> None:
    async with connected() as client:
        error = await client.failure(metadata=metadata)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert retry_ms(error) is None
        assert client.parts.intake.submissions == []


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


async def test_a_message_that_is_refused_is_not_kept() -> None:
    """An error that holds on to its frames would keep large messages until the next full collection."""
    room = AdmissionLimits(bytes_max=8 * MIB, tenant_share_max=0.2)
    async with connected(OtlpLimits(request_bytes_max=2 * MIB), room) as client:
        client.parts.intake.gate = asyncio.Event()
        first = asyncio.create_task(client.export(HELLO))
        await client.parts.intake.entered.wait()
        large = bytes(2 * MIB - 1)
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            for _ in range(3):
                assert (await client.failure(large)).code() is grpc.StatusCode.UNAVAILABLE
            assert tracemalloc.get_traced_memory()[0] < len(large)
        finally:
            tracemalloc.stop()
            gc.enable()
        client.parts.intake.gate.set()
        assert await first == b""


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
        assert retry_ms(failure) is None
        assert {seen.presented for seen in client.parts.authenticator.seen} <= {()}  # none of it came through
        assert client.parts.intake.submissions == []
        assert await client.export(HELLO) == b""


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
        assert retry_ms(failure) == DRAINING_RETRY_AFTER_MS


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


SERVICES_SHOWN = {*NAMES[1:], "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


@pytest.mark.parametrize("on", [True, False])
async def test_reflection_is_there_when_it_is_asked_for(on: bool) -> None:
    async with connected(reflection=on) as client:
        stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
        ask = reflection_pb2.ServerReflectionRequest
        if not on:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                [answer async for answer in stub.ServerReflectionInfo(iter([ask(list_services="")]))]
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
            return
        (listed,) = [answer async for answer in stub.ServerReflectionInfo(iter([ask(list_services="")]))]
        assert {service.name for service in listed.list_services_response.service} == SERVICES_SHOWN
        symbol = SERVICES[Signal.TRACES].name
        (found,) = [answer async for answer in stub.ServerReflectionInfo(iter([ask(file_containing_symbol=symbol)]))]
        assert b"ExportTraceServiceRequest" in found.file_descriptor_response.file_descriptor_proto[0]
