"""Serves an ASGI application on the running event loop, beside everything else on it."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.settings import Address

STARTED_POLL_S = 0.005


@dataclass(frozen=True, slots=True)
class AsgiLimits:
    """Limits of an HTTP listener. Above `connections_max` open connections, new requests are answered 503."""

    connections_max: int = 1024
    backlog_max: int = 2048
    keep_alive_s: int = 75
    graceful_stop_s: int = 2
    head_bytes_max: int = 64 * 1024
    head_timeout_s: float = 10.0


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with bounds for a request's head: its parser limits neither its size nor the time it takes.

    A head that is too long or too slow ends the connection; its pieces would be joined in quadratic time.
    """

    head_limits = AsgiLimits()
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection that says nothing is a slow head too."""
        super().connection_made(transport)
        self._expect_head()

    def on_message_begin(self) -> None:
        """The next request of the connection."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is over; bodies have limits of their own."""
        self._stop_timer()
        self._head_bytes = 0
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is expected any more."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes in while a head is expected."""
        if self._head_timer is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > self.head_limits.head_bytes_max:
            self.transport.abort()

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_limits.head_timeout_s, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: uvicorn's own would replace our handlers and raise the signal again after its end."""
        yield


def listen(address: Address, what: str, backlog: int) -> socket.socket:
    """A listening socket; raises OSError with a text that names the address and what it is for."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, place = found[0]
        return socket.create_server(place[:2], family=family, backlog=backlog)
    except OSError as error:
        reason = "another program listens there" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
        raise OSError(error.errno, f"cannot listen on {address.text} for {what}: {reason}") from None


class AsgiServer:
    """Async context manager: listening inside, drained and closed after. `port` is the one that was bound.

    X-Forwarded-* headers are never believed: the peer is who connected. Raises OSError for an address that is not to be had.
    """

    def __init__(self, app: ASGIApp, *, address: Address, what: str, limits: AsgiLimits) -> None:
        self._app, self._address, self._what, self._limits = app, address, what, limits
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        listener = listen(self._address, self._what, self._limits.backlog_max)
        self.port = int(listener.getsockname()[1])
        config = uvicorn.Config(
            cast(Callable[..., Any], answered_when_stopped(self._app)),  # uvicorn spells the same protocol otherwise
            http=type("Protocol", (_Protocol,), {"head_limits": self._limits}),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=self._limits.backlog_max,
            limit_concurrency=self._limits.connections_max,
            timeout_keep_alive=self._limits.keep_alive_s,
            timeout_graceful_shutdown=self._limits.graceful_stop_s,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve([listener]), name=f"asgi {self._what}")
        while not self._server.started and not self._task.done():  # noqa: ASYNC110  # uvicorn sets a plain attribute
            await asyncio.sleep(STARTED_POLL_S)
        if self._task.done():
            listener.close()
            await self._task
        return self

    async def failed(self) -> None:
        """Return only when the server has stopped; raise what stopped it."""
        assert self._task is not None  # noqa: S101  # set on entering
        await asyncio.shield(self._task)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop accepting, let requests end within the limit, answer the rest 503, close. Harmless when repeated."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await asyncio.gather(self._task, return_exceptions=True)
            self._server = None


def answered_when_stopped(app: ASGIApp) -> ASGIApp:
    """`app`, but a request that is cut off before its answer began is answered 503: nothing of it was acknowledged.

    Without this the server would answer 500 in our name, and an OTLP sender drops what was answered 500.
    """

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watch(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await app(scope, receive, watch)
        except asyncio.CancelledError:
            if begun:
                raise
            headers = [(b"retry-after", b"1"), (b"connection", b"close"), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

    return run
