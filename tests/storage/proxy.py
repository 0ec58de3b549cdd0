"""A TCP proxy in front of PostgreSQL that loses answers at chosen moments."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Forwards to the server of `dsn`; enter it and use `self.dsn` instead.

    `lose_answer_to(marker)`: the next message that contains `marker` reaches the server, its answer is swallowed, and
    both sides are cut off: the client can not know whether its statement was executed.
    """

    def __init__(self, dsn: str) -> None:
        self._target = urlsplit(dsn)
        self._marker: bytes | None = None
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.delay_s = 0.0

    @property
    def dsn(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        login = self._target.netloc.rpartition("@")[0]
        return urlunsplit(self._target._replace(netloc=f"{login}@127.0.0.1:{port}"))

    def lose_answer_to(self, marker: bytes) -> None:
        self._marker = marker

    @property
    def armed(self) -> bool:
        return self._marker is not None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers |= {writer, up_writer}
        lost = asyncio.Event()
        with contextlib.suppress(OSError):
            await asyncio.wait(
                {
                    asyncio.ensure_future(self._upstream(reader, up_writer, lost)),
                    asyncio.ensure_future(self._downstream(up_reader, writer, lost)),
                },
                return_when=asyncio.FIRST_COMPLETED,
            )
        for each in (writer, up_writer):
            each.transport.abort()
            self._writers.discard(each)

    async def _upstream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                if self._marker is not None and self._marker in chunk:
                    self._marker = None
                    lost.set()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(chunk)
                await writer.drain()

    async def _downstream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                if lost.is_set():
                    return  # executed, and nobody will hear of it
                writer.write(chunk)
                await writer.drain()
