"""Bodies of OTLP/HTTP over real sockets: what lies about its length, comes too slowly, or holds other things than content."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from google.rpc.status_pb2 import Status

from collector.otlp.http import HttpLimits, create_app
from collector.otlp.limits import OtlpLimits
from server.addresses import Address
from server.asgi import AsgiServer
from server.asgi_protocol import AsgiLimits
from tests.collector.fakes import KEY, Bench, bench
from tests.collector.otlp_requests import log, logs

HELLO = logs(log("hello")).SerializeToString()
JSON_HELLO = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1","body":{"stringValue":"hello"}}]}]}]}'


@dataclass
class Served:
    port: int
    parts: Bench

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, *pieces: bytes, pause_s: float = 0) -> bytes:
        """Everything that is answered until the server ends the connection."""
        reader, writer = await self.open()
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        return answer


@asynccontextmanager
async def served(http: HttpLimits | None = None, asgi: AsgiLimits | None = None) -> AsyncIterator[Served]:
    async with bench(OtlpLimits(request_bytes_max=1024 * 1024)) as parts:
        app = create_app(parts.exporter, http or HttpLimits())
        limits = asgi or AsgiLimits()
        async with AsgiServer(app, address=Address("127.0.0.1", 0), what="OTLP/HTTP", limits=limits) as server:
            yield Served(server.port, parts)


def head(*headers: str, key: str = KEY) -> bytes:
    fixed = ["POST /v1/logs HTTP/1.1", "Host: localhost", "Content-Type: application/x-protobuf", f"X-Api-Key: {key}"]
    return "\r\n".join([*fixed, *headers, "", ""]).encode()


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%s\r\n%s\r\n" % (len(data), extension, data)


async def test_chunked_bodies_with_extensions_and_trailers() -> None:
    async with served() as server:
        body = chunk(HELLO[:7], b";name=value") + chunk(HELLO[7:]) + b"0\r\nX-Trailer: 1\r\n\r\n"
        answer = await server.say(head("Transfer-Encoding: chunked", "Connection: close") + body)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert server.parts.intake.lines() == ["hello"]


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 5"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: -5",),
        ("Content-Length: +5",),
        ("Content-Length: 5, 5",),
        ("Content-Length: 99999999999999999999",),
        ("Transfer-Encoding: gzip",),
        ("Transfer-Encoding: chunked, identity",),
        ("X : y",),
        ("X: a\0b",),
    ],
)
async def test_heads_that_two_servers_might_read_differently_end_the_connection(headers: tuple[str, ...]) -> None:
    async with served() as server:
        smuggled = head(f"Content-Length: {len(HELLO)}") + HELLO
        answer = await server.say(head(*headers) + b"0\r\n\r\n" + smuggled)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") == 1
        assert server.parts.intake.submissions == []


@pytest.mark.parametrize("sizes", [b"x\r\n", b"-1\r\n", b"0x5\r\n", b"fffffffffffffffff\r\n", b"5 \n", b"2\r\nabc\r\n"])
async def test_chunks_without_a_proper_size_end_the_connection(sizes: bytes) -> None:
    async with served() as server:
        answer = await server.say(head("Transfer-Encoding: chunked") + sizes + b"0\r\n\r\n" + head("Content-Length: 0"))
        assert answer.count(b"HTTP/1.1 4") == 1
        assert server.parts.intake.submissions == []


@pytest.mark.parametrize("what", ["extension", "trailers", "chunk"])
async def test_what_is_around_a_body_is_limited(what: str) -> None:
    endless = {"extension": (b"5;", b"x" * 1000), "trailers": (b"0\r\n", b"x: y\r\n" * 200), "chunk": (b"", b"0" * 1000)}
    begin, more = endless[what]
    async with served(asgi=AsgiLimits(head_bytes_max=100_000)) as server:
        reader, writer = await server.open()
        writer.write(head("Transfer-Encoding: chunked") + begin)

        async def flood() -> None:
            for _ in range(2000):
                writer.write(more)
                await writer.drain()
                await asyncio.sleep(0)
            await reader.read()  # the server's end, if it was not noticed before
            raise ConnectionResetError

        with pytest.raises(ConnectionError):
            await flood()
        writer.close()
        assert server.parts.intake.submissions == []


async def test_many_small_chunks_are_fine() -> None:
    async with served(asgi=AsgiLimits(head_bytes_max=1000)) as server:
        body = b"".join(chunk(HELLO[place : place + 1]) for place in range(len(HELLO))) + chunk(b"\x1a\x03abc" * 500)
        answer = await server.say(head("Transfer-Encoding: chunked", "Connection: close") + body + b"0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")


async def test_more_than_the_declared_length_is_another_request() -> None:
    async with served() as server:
        answer = await server.say(head(f"Content-Length: {len(HELLO)}") + HELLO + b"\x00\x01\x02garbage\r\n\r\n")
        assert [line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")][-1].startswith(b"HTTP/1.1 400 ")
        assert server.parts.intake.lines() in ([], ["hello"])


async def test_less_than_the_declared_length_is_nothing() -> None:
    async with served() as server:
        _, writer = await server.open()
        writer.write(head(f"Content-Length: {len(HELLO) + 1}") + HELLO)
        await writer.drain()
        await asyncio.sleep(0.05)
        assert server.parts.admission.requests == 1
        writer.close()
        async with asyncio.timeout(5):
            while server.parts.admission.requests:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert server.parts.intake.submissions == []
        assert server.parts.admission.bytes == 0


async def test_a_body_that_is_too_slow_is_answered_retryably_and_ends_the_connection() -> None:
    async with served(HttpLimits(body_grace_ms=200)) as server:
        answer = await server.say(head("Content-Length: 1000"), b"x", pause_s=0.05)
        lines, _, body = answer.partition(b"\r\n\r\n")
        assert lines.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in lines
        assert b"connection: close" in lines
        assert "came too slowly" in Status.FromString(body).message
        assert server.parts.admission.requests == 0


async def test_the_rest_of_a_body_that_was_refused_early_is_waited_for_but_not_for_ever() -> None:
    async with served(asgi=AsgiLimits(body_linger_s=0.3)) as server:
        reader, writer = await server.open()
        writer.write(head("Content-Length: 1000", key="wrong"))
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 401 ")
        for _ in range(4):
            writer.write(b"x")
            await asyncio.sleep(0.05)
        assert not reader.at_eof()
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()


async def test_a_refused_request_leaves_its_connection_open_for_the_next() -> None:
    async with served(asgi=AsgiLimits(body_linger_s=0.1)) as server:
        large = head(f"Content-Length: {2 * 1024 * 1024}") + bytes(2 * 1024 * 1024)
        good = head(f"Content-Length: {len(HELLO)}", "Connection: close") + HELLO
        answer = await server.say(large, good, pause_s=0.2)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"HTTP/1.1 200 " in answer
        assert server.parts.intake.lines() == ["hello"]


async def test_who_expects_100_continue_is_told_before_sending() -> None:
    async with served() as server:
        reader, writer = await server.open()
        writer.write(head(f"Content-Length: {len(HELLO)}", "Expect: 100-continue", "Connection: close"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(HELLO)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        refused = await server.say(head("Content-Length: 9999999", "Expect: 100-continue", "Connection: close"))
        assert refused.startswith(b"HTTP/1.1 413 ")


async def test_both_encodings_on_one_connection() -> None:
    async with served() as server, httpx.AsyncClient(base_url=f"http://localhost:{server.port}") as client:
        for body, encoding in (
            (HELLO, "application/x-protobuf"),
            (JSON_HELLO, "application/json"),
            (HELLO, "application/x-protobuf"),
        ):
            answer = await client.post("/v1/logs", content=body, headers={"content-type": encoding, "x-api-key": KEY})
            assert (answer.status_code, answer.headers["content-type"]) == (200, encoding)
        assert server.parts.intake.lines() == ["hello", "hello"]  # the third is a resend of the first
