"""OTLP/gRPC as clients speak it: with grpcio, and by hand where grpcio would not do what a strange client does."""

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc

from collector.otlp.export import SERVICES
from collector.otlp.grpc import OtlpGrpcServer
from driftlock.engine.event import Signal
from tests.collector.fakes import KEY, Bench, grpc_bench
from tests.collector.otlp_requests import log, logs

AUTH = (("x-api-key", KEY),)
HELLO = logs(log("hello")).SerializeToString()


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


FRAME_BYTES = 16384  # what any HTTP/2 server takes
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, ACK, END_HEADERS = 1, 1, 4
EXPORT_HEADERS = {
    ":method": "POST",
    ":scheme": "http",
    ":path": f"/{SERVICES[Signal.LOGS].name}/Export",
    ":authority": "localhost",
    "content-type": "application/grpc",
    "te": "trailers",
    "x-api-key": KEY,
}


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """An HTTP/2 frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def header_block(headers: Mapping[str, str | bytes]) -> bytes:
    """Literal header fields without indexing (RFC 7541, section 6.2.2)."""
    texts = [text.encode() if isinstance(text, str) else text for pair in headers.items() for text in pair]
    block = b""
    for place, raw in enumerate(texts):
        size = bytes([len(raw)]) if len(raw) < 127 else b"\x7f" + varint(len(raw) - 127)  # a prefix of 7 bits
        block += (b"" if place % 2 else b"\x00") + size + raw
    return block


def grpc_message(payload: bytes, compressed: bool = False) -> bytes:
    """A length-prefixed message, as gRPC sends it in DATA frames."""
    return bytes([compressed]) + struct.pack(">I", len(payload)) + payload


class RawConnection:
    """An HTTP/2 connection whose frames are written by hand; `received` is all that came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self.received = b""

    def open_call(self, stream: int, **more: str | bytes) -> None:
        """HEADERS of an Export call without its message; of the names of `more`, `_` stands for `-`."""
        self.open_headers(stream, EXPORT_HEADERS | {name.replace("_", "-"): value for name, value in more.items()})

    def open_headers(self, stream: int, headers: Mapping[str, str | bytes]) -> None:
        """HEADERS of a call."""
        self.writer.write(frame(HEADERS, END_HEADERS, stream, header_block(headers)))

    def send(self, stream: int, body: bytes, *, ends: bool = False) -> None:
        """DATA of a call, whatever its window."""
        for start in range(0, len(body), FRAME_BYTES):
            piece = body[start : start + FRAME_BYTES]
            last = ends and start + len(piece) == len(body)
            self.writer.write(frame(DATA, END_STREAM if last else 0, stream, piece))

    async def until(self, wanted: bytes, timeout_s: float = 5) -> bytes:
        """What came, as soon as `wanted` is in it; EOFError when the connection ends before."""
        async with asyncio.timeout(timeout_s):
            while wanted not in self.received:
                piece = await self._reader.read(65536)
                if not piece:
                    raise EOFError(self.received)
                self.received += piece
        return self.received

    async def ended(self, timeout_s: float = 5) -> bytes:
        """What came until the server closed the connection."""
        async with asyncio.timeout(timeout_s):
            try:
                while piece := await self._reader.read(65536):
                    self.received += piece
            except ConnectionError:
                pass
        return self.received


@asynccontextmanager
async def raw_connection(port: int) -> AsyncIterator[RawConnection]:
    """A connection that has greeted, and is open for as much as the server takes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        connection = RawConnection(reader, writer)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
        connection.received += await reader.read(65536)  # the server's settings, with the window of a call
        writer.write(frame(SETTINGS, ACK, 0))  # acknowledged: the window is open
        yield connection
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def raw_call(port: int, payload: bytes, encoding: str) -> bytes:
    """What the server answers to a message marked as compressed; grpcio's own client can not send a damaged one."""
    async with raw_connection(port) as connection:
        connection.open_call(1, grpc_encoding=encoding)
        connection.send(1, grpc_message(payload, compressed=True), ends=True)
        return await connection.until(b"grpc-message")
