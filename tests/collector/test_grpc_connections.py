"""Limits of connections over real ones, with times shortened to milliseconds."""

import asyncio
import contextlib
import socket
import struct
import time

import pytest

from collector.otlp.grpc import GrpcLimits, _options
from collector.otlp.limits import MIB
from tests.collector.grpc_calls import (
    DATA,
    END_STREAM,
    GOAWAY,
    HELLO,
    PING,
    RST_STREAM,
    connected,
    frame,
    grpc_message,
    raw_connection,
)

STATUS_OK = b"grpc-status\x010"
CANCEL = struct.pack(">I", 8)


def frames(received: bytes) -> list[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of each whole frame."""
    found = []
    while len(received) >= 9:
        size = int.from_bytes(received[:3], "big")
        found.append((received[3], received[4], int.from_bytes(received[5:9], "big"), received[9 : 9 + size]))
        received = received[9 + size :]
    return found


def test_every_limit_is_handed_over() -> None:
    given = dict(_options(GrpcLimits(), 16 * MIB))
    assert given == {
        "grpc.so_reuseport": 0,
        "grpc.max_receive_message_length": 16 * MIB,
        "grpc.max_allowed_incoming_connections": 1024,
        "grpc.server_handshake_timeout_ms": 10_000,
        "grpc.max_concurrent_streams": 128,
        "grpc.http2.lookahead_bytes": 256 * 1024,
        "grpc.http2.bdp_probe": 0,
        "grpc.max_metadata_size": 16 * 1024,
        "grpc.absolute_max_metadata_size": 16 * 1024,
        "grpc.max_connection_idle_ms": 300_000,
        "grpc.max_connection_age_ms": 1_800_000,
        "grpc.max_connection_age_grace_ms": 30_000,
        "grpc.keepalive_time_ms": 20_000,
        "grpc.keepalive_timeout_ms": 20_000,
        "grpc.http2.ping_timeout_ms": 20_000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.min_ping_interval_without_data_ms": 10_000,
        "grpc.http2.min_recv_ping_interval_without_data_ms": 10_000,
        "grpc.http2.max_ping_strikes": 2,
    }
    assert GrpcLimits().rpc_deadline_ms == 30_000


async def test_the_settings_of_a_connection_name_its_limits() -> None:
    limits = GrpcLimits(streams_max=7, metadata_bytes_max=5000, stream_window_bytes=100_000)
    async with connected(grpc_limits=limits) as client, raw_connection(client.server.port) as connection:
        (settings,) = [payload for kind, flags, _, payload in frames(connection.received) if kind == 4 and not flags]
        found = dict(struct.iter_unpack(">HI", settings))
        # SETTINGS_MAX_CONCURRENT_STREAMS, SETTINGS_INITIAL_WINDOW_SIZE, SETTINGS_MAX_HEADER_LIST_SIZE
        assert (found[3], found[4], found[6]) == (7, 100_000, 5000)


async def test_streams_max() -> None:
    async with connected(grpc_limits=GrpcLimits(streams_max=2)) as client:
        async with raw_connection(client.server.port) as connection:
            for stream in (1, 3, 5):
                connection.open_call(stream)
            await connection.until(frame(RST_STREAM, 0, 5, struct.pack(">I", 7)))  # REFUSED_STREAM: safe to send again
            connection.writer.write(frame(DATA, END_STREAM, 1, grpc_message(HELLO)))
            await connection.until(STATUS_OK)
        assert client.parts.intake.lines() == ["hello"]


async def test_connection_age_max_ms_and_its_grace() -> None:
    limits = GrpcLimits(connection_age_max_ms=100, connection_age_grace_ms=300)
    async with connected(grpc_limits=limits) as client, raw_connection(client.server.port) as connection:
        client.parts.intake.gate = asyncio.Event()
        connection.open_call(1)
        connection.writer.write(frame(DATA, END_STREAM, 1, grpc_message(HELLO)))
        await client.parts.intake.entered.wait()
        await connection.until(b"max_age")
        client.parts.intake.gate.set()  # what was begun may end
        await connection.until(STATUS_OK)
        assert any(kind == GOAWAY for kind, *_ in frames(connection.received))


async def test_connection_age_grace_ms_ends_calls_that_take_longer() -> None:
    limits = GrpcLimits(connection_age_max_ms=50, connection_age_grace_ms=50)
    async with connected(grpc_limits=limits) as client, raw_connection(client.server.port) as connection:
        connection.open_call(1)
        assert STATUS_OK not in await connection.ended()
        async with asyncio.timeout(5):
            while client.parts.admission.requests:  # noqa: ASYNC110 - a number has no event
                await asyncio.sleep(0.005)


async def test_a_client_never_notices_the_age_of_its_connection() -> None:
    async with connected(grpc_limits=GrpcLimits(connection_age_max_ms=60)) as client:
        ends_s = time.monotonic() + 0.5
        while time.monotonic() < ends_s:
            assert await client.export(HELLO) == b""


async def test_connection_idle_max_ms() -> None:
    limits = GrpcLimits(connection_idle_max_ms=100)
    async with connected(grpc_limits=limits) as client, raw_connection(client.server.port) as connection:
        assert any(kind == GOAWAY for kind, *_ in frames(await connection.ended()))


async def test_keepalive_ends_a_connection_whose_other_end_is_gone() -> None:
    limits = GrpcLimits(keepalive_time_ms=100, keepalive_timeout_ms=100)
    async with connected(grpc_limits=limits) as client, raw_connection(client.server.port) as connection:
        connection.open_call(1)
        received = frames(await connection.ended())
        assert any(kind == PING and not flags for kind, flags, *_ in received)  # asked, and never answered


async def test_ping_strikes_end_a_flood() -> None:
    limits = GrpcLimits(ping_strikes_max=2)
    async with connected(grpc_limits=limits) as client, raw_connection(client.server.port) as connection:
        with contextlib.suppress(EOFError):
            for number in range(20):
                connection.writer.write(frame(PING, 0, 0, struct.pack(">Q", number)))
                await connection.until(frame(PING, 1, 0, struct.pack(">Q", number)))
        assert b"too_many_pings" in connection.received


async def test_pings_at_a_decent_pace_are_answered() -> None:
    limits = GrpcLimits(ping_interval_min_ms=20, ping_strikes_max=1)
    async with connected(grpc_limits=limits) as client, raw_connection(client.server.port) as connection:
        for number in range(6):
            connection.writer.write(frame(PING, 0, 0, struct.pack(">Q", number)))
            await asyncio.sleep(0.04)
        await connection.until(frame(PING, 1, 0, struct.pack(">Q", 5)))
        assert b"too_many_pings" not in connection.received


async def test_connections_max() -> None:
    async with connected(grpc_limits=GrpcLimits(connections_max=2)) as client:
        async with raw_connection(client.server.port), raw_connection(client.server.port):
            reader, writer = await asyncio.open_connection("127.0.0.1", client.server.port)
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
            async with asyncio.timeout(5):
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
            writer.close()
        assert await client.export(HELLO, timeout=10, wait_for_ready=True) == b""  # there is room again


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with connected(grpc_limits=GrpcLimits(handshake_timeout_ms=150)) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.server.port)
        async with asyncio.timeout(5):
            while await reader.read(1000):
                pass
        writer.close()


async def test_streams_that_are_opened_and_reset_at_once_leave_nothing() -> None:
    async with connected() as client:
        async with raw_connection(client.server.port) as connection:
            for stream in range(1, 4001, 2):
                connection.open_call(stream)
                connection.writer.write(frame(RST_STREAM, 0, stream, CANCEL))
            with contextlib.suppress(ConnectionError):  # the server may end such a connection
                await connection.writer.drain()
                await asyncio.sleep(0.2)
        assert await client.export(HELLO, timeout=10) == b""
        async with asyncio.timeout(5):
            while client.parts.admission.requests:  # noqa: ASYNC110 - a number has no event
                await asyncio.sleep(0.01)
        assert client.parts.admission.bytes == 0


@pytest.mark.parametrize("junk", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x00\x05hello", bytes(1000)])
async def test_other_protocols_disturb_nobody(junk: bytes) -> None:
    async with connected() as client:
        with socket.create_connection(("127.0.0.1", client.server.port)) as stranger:
            stranger.sendall(junk)
            assert await client.export(HELLO) == b""
