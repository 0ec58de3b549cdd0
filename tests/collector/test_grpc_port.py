"""The port of OTLP/gRPC: who may listen on it beside another, what waits there, and how it is given back."""

import asyncio
import socket

import grpc
import pytest

from collector.otlp.grpc import GrpcLimits, OtlpGrpcServer
from tests.collector.fakes import KEY, bench
from tests.collector.otlp_requests import log, logs

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
HELLO = logs(log("hello")).SerializeToString()


async def send(port: int) -> bytes:
    # A pool of its own: channels to one address would else share their connection.
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        answer: bytes = await channel.unary_unary(EXPORT)(HELLO, metadata=(("x-api-key", KEY),), timeout=10)
        return answer


async def test_calls_wait_until_it_serves() -> None:
    async with bench() as parts:
        server = OtlpGrpcServer(parts.exporter, address="127.0.0.1:0", limits=GrpcLimits())
        await server.listen()
        sending = asyncio.create_task(send(server.port))
        await asyncio.sleep(0.2)
        assert not sending.done()
        async with server:
            assert await sending == b""


async def test_a_port_that_was_never_served_is_given_back() -> None:
    async with bench() as parts:
        server = OtlpGrpcServer(parts.exporter, address="127.0.0.1:0", limits=GrpcLimits())
        await server.listen()
        await server.stop()
        with socket.create_server(("127.0.0.1", server.port)):
            pass


async def test_two_share_a_port_only_if_both_say_so() -> None:
    async with bench() as parts, bench() as others:
        first = OtlpGrpcServer(parts.exporter, address="127.0.0.1:0", limits=GrpcLimits(), grace_s=0.2, reuse_port=True)
        async with first:
            address = f"127.0.0.1:{first.port}"
            with pytest.raises(OSError, match="cannot listen"):
                await OtlpGrpcServer(others.exporter, address=address, limits=GrpcLimits()).listen()
            second = OtlpGrpcServer(others.exporter, address=address, limits=GrpcLimits(), grace_s=0.2, reuse_port=True)
            await second.listen()
            assert second.port == first.port
            await first.stop()
            async with second:
                assert await send(second.port) == b""
        assert len(others.intake.submissions) == 1


async def test_a_sender_that_is_answered_while_it_stops_is_sent_elsewhere_first() -> None:
    """Senders that go on at once, on one connection each, are told UNAVAILABLE at worst: never CANCELLED."""
    async with bench() as parts:
        codes: set[grpc.StatusCode] = set()
        server = OtlpGrpcServer(parts.exporter, address="127.0.0.1:0", limits=GrpcLimits(), grace_s=1.0)
        async with server:
            options = [("grpc.use_local_subchannel_pool", 1)]

            async def send_on() -> None:
                async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
                    export = channel.unary_unary(EXPORT)
                    while True:
                        try:
                            await export(HELLO, metadata=(("x-api-key", KEY),), timeout=10)
                            codes.add(grpc.StatusCode.OK)
                        except grpc.aio.AioRpcError as error:
                            codes.add(error.code())
                            return

            senders = [asyncio.create_task(send_on()) for _ in range(8)]
            await asyncio.sleep(0.3)
            await server.stop()
            await asyncio.wait_for(asyncio.gather(*senders), 10)
        assert codes == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
