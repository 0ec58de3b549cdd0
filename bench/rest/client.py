"""A small HTTP/1.1 client that costs little beside the server it measures: one connection, kept, one request at a time."""

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

READ_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; RuntimeError with what was said instead when it is no success."""
        if self.status not in (200, 201, 202):
            raise RuntimeError(f"{self.status}: {self.body[:500]!r}")
        return json.loads(self.body)


@dataclass
class Client:
    """Async context manager. `headers` are sent with every request."""

    port: int
    headers: Mapping[str, str] = field(default_factory=dict)
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        self._streams = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._streams is not None:
            self._streams[1].close()
            with contextlib.suppress(OSError):
                await self._streams[1].wait_closed()

    async def get(self, path: str) -> Answer:
        """GET."""
        return await self.send(self.encoded("GET", path))

    async def post(self, path: str, body: object) -> Answer:
        """POST a JSON body."""
        return await self.send(self.encoded("POST", path, json.dumps(body).encode()))

    def encoded(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
        """A request as it is sent."""
        named = {"Host": f"127.0.0.1:{self.port}", **self.headers, **(headers or {})}
        if method != "GET":
            named |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body

    async def send(self, request: bytes) -> Answer:
        """Send, and read the whole answer."""
        if self._streams is None:
            raise RuntimeError("the client is not entered")
        reader, writer = self._streams
        writer.write(request)
        async with asyncio.timeout(READ_TIMEOUT_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
            if headers.get("transfer-encoding") == "chunked":
                body = await _chunks(reader)
            else:
                body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(head[0].split(" ", 2)[1]), headers, body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    pieces = []
    while size := int(await reader.readline(), 16):
        pieces.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(pieces)


@dataclass(frozen=True)
class Timed:
    """Latencies of requests in ms, and how long all of them took."""

    ms: tuple[float, ...]
    seconds: float
    statuses: tuple[int, ...] = ()

    @property
    def per_s(self) -> float:
        """Requests a second."""
        return len(self.ms) / self.seconds

    def quantile(self, share: float) -> float:
        """The latency that this share of the requests does not exceed, in ms."""
        ordered = sorted(self.ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def failures(self) -> int:
        """Answers that are no success."""
        return sum(status not in (200, 201) for status in self.statuses)


async def repeated(client: Client, request: bytes, times: int) -> Timed:
    """One request after the other over one connection."""
    taken, statuses = [], []
    began = time.perf_counter()
    for _ in range(times):
        start = time.perf_counter()
        answer = await client.send(request)
        taken.append(1000 * (time.perf_counter() - start))
        statuses.append(answer.status)
    return Timed(tuple(taken), time.perf_counter() - began, tuple(statuses))
