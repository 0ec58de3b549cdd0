"""Where a sign-in provider publishes the certificates of its keys: a small HTTP server on loopback."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.accounts.tokens import SigningKey


@dataclass
class CertificateServer:
    """Answers every GET with the certificates of `keys`, or with `body`; `asked` counts. It answers while `open` is set."""

    keys: Sequence[SigningKey] = ()
    cache_control: str = "public, max-age=20000, must-revalidate, no-transform"
    status: str = "200 OK"
    body: bytes | None = None
    extra: str = ""
    asked: int = 0
    url: str = ""
    open: asyncio.Event = field(default_factory=asyncio.Event)
    asking: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        self.asking.set()
        await self.open.wait()
        body = self.body
        if body is None:
            body = json.dumps({key.kid: key.certificate for key in self.keys}).encode()
        head = f"HTTP/1.1 {self.status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{self.extra}"
        writer.write(f"{head}Cache-Control: {self.cache_control}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def serve_certificates(*keys: SigningKey) -> AsyncIterator[CertificateServer]:
    """A running server of the certificates of `keys`."""
    serving = CertificateServer(keys)
    serving.open.set()
    server = await asyncio.start_server(serving.answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    serving.url = f"http://{host}:{port}/certificates"
    try:
        yield serving
    finally:
        serving.open.set()
        server.close()
