"""The way between servers and PostgreSQL, which can be cut, slow, lossy, and lose an answer at the worst moment."""

import asyncio
import contextlib
import random
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from tests.chaos.cluster import Cluster
from tests.chaos.wire import READY, Frontend
from tests.e2e.harness import free_port

CHUNK_BYTES = 256 * 1024
HOST = "127.0.0.1"


class Link:
    """A TCP proxy in front of a cluster, on a thread of its own. A context manager; all methods may be called from any thread.

    `delay_s`: each answer of PostgreSQL comes so much later. `reset_share`: that share of answers is a broken connection.
    """

    def __init__(self, cluster: Cluster, *, seed: int = 0) -> None:
        self.port = free_port()
        self.delay_s = 0.0
        self.reset_share = 0.0
        self.lost_answers = 0
        self._cluster = cluster
        self._rng = random.Random(seed)
        self._cut = False
        self._held = asyncio.Event()
        self._held.set()
        self._marker = b""
        self._losing = 0  # answers to lose from now on
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self._listening = threading.Event()
        self._stop = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(10), "the link does not listen"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def dsn(self, role: str = "app") -> str:
        """Connection string through the link, of the role that serves (`app`) or migrates (`owner`)."""
        direct = urlsplit({"app": self._cluster.app_dsn, "owner": self._cluster.owner_dsn}[role])
        return urlunsplit(direct._replace(netloc=direct.netloc.replace(f":{self._cluster.port}", f":{self.port}")))

    def cut(self) -> None:
        """Break all connections, and each new one at once, until `mend`."""
        self._cut = True
        self._loop.call_soon_threadsafe(self._break_all)

    def mend(self) -> None:
        """Undo `cut` and `hold`."""
        self._cut = False
        self._loop.call_soon_threadsafe(self._held.set)

    def hold(self) -> None:
        """Let nothing through in either direction, while connections stay, until `mend`."""
        self._loop.call_soon_threadsafe(self._held.clear)

    def lose_answer_to(self, marker: bytes, times: int = 1) -> None:
        """Forward the next statements with `marker` in their text, break the connection once PostgreSQL has committed.

        `lost_answers` counts how often that has happened.
        """
        self._marker, self._losing = marker, times

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, HOST, self.port, limit=CHUNK_BYTES)
        self._listening.set()
        await self._stop.wait()
        server.close()
        self._break_all()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _break_all(self) -> None:
        for writer in list(self._writers):
            _break(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            _break(writer)
            return
        with contextlib.suppress(OSError, asyncio.CancelledError):
            try:
                back_reader, back = await asyncio.open_connection(HOST, self._cluster.port, limit=CHUNK_BYTES)
            except OSError:
                _break(writer)
                return
            pair = {writer, back}
            self._writers |= pair
            lose = asyncio.Event()  # set while the answer that is on its way is to be lost
            ways = [
                asyncio.create_task(self._forth(reader, back, Frontend(), lose)),
                asyncio.create_task(self._back(back_reader, writer, lose)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                self._writers -= pair
                for side in pair:
                    _break(side)

    async def _forth(
        self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, frontend: Frontend, lose: asyncio.Event
    ) -> None:
        while piece := await reader.read(CHUNK_BYTES):
            await self._held.wait()
            if frontend.take(piece, self._marker) and self._marker and self._losing > 0:
                self._losing -= 1
                lose.set()
            back.write(piece)
            await back.drain()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lose: asyncio.Event) -> None:
        tail = b""
        while piece := await reader.read(CHUNK_BYTES):
            await self._held.wait()
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if lose.is_set():
                tail = (tail + piece)[-len(READY) :]
                if tail == READY:
                    self.lost_answers += 1
                    return
                continue
            if self.reset_share and self._rng.random() < self.reset_share:
                return
            writer.write(piece)
            await writer.drain()


def _break(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(Exception):
        writer.transport.abort()
