"""Serves an ASGI application on the running event loop, beside everything else on it."""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, cast

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.addresses import Address
from server.asgi_protocol import AsgiLimits, answer_unavailable, protocol

STARTED_POLL_S = 0.005


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: uvicorn's own would replace our handlers and raise the signal again after its end."""
        yield


def listen(address: Address, what: str, backlog: int, *, reuse_port: bool = False) -> socket.socket:
    """A listening socket; raises OSError with a text that names the address and what it is for."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, place = found[0]
        listening = socket.create_server(place[:2], family=family, backlog=backlog, reuse_port=reuse_port)
        # Connections inherit it. Without, the loop of the standard library would let the end of each answer wait 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        reason = "another program listens there" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
        raise OSError(error.errno, f"cannot listen on {address.text} for {what}: {reason}") from None


class AsgiServer:
    """Async context manager: serving inside, drained and closed after. `port` is the one that was bound.

    `listen` may be called before it is entered: connections then wait until they are served. `reuse_port` lets another
    process of the same user listen on the same port, if it says so too.
    X-Forwarded-* headers are never believed: the peer is who connected. With `tls` only TLS is spoken; the names in a client's
    certificate, where one is required, are the extension `CLIENT_CERTIFICATE` of the scope.
    Raises OSError for an address that is not to be had.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        address: Address,
        what: str,
        limits: AsgiLimits,
        tls: ssl.SSLContext | None = None,
        reuse_port: bool = False,
    ) -> None:
        self._app, self._address, self._what, self._limits, self._tls = app, address, what, limits, tls
        self._reuse_port = reuse_port
        self._listener: socket.socket | None = None
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self.port = 0

    async def listen(self) -> None:
        """Take the address; raises OSError when it is not to be had."""
        if self._listener is None:
            backlog = self._limits.backlog_max
            self._listener = listen(self._address, self._what, backlog, reuse_port=self._reuse_port)
            self.port = int(self._listener.getsockname()[1])

    async def __aenter__(self) -> Self:
        await self.listen()
        assert self._listener is not None  # noqa: S101  # listening by now
        tls = self._tls
        limits = self._limits
        config = uvicorn.Config(
            cast(Callable[..., Any], answered_when_stopped(self._app)),  # uvicorn spells the same protocol otherwise
            http=protocol(limits),
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=limits.backlog_max,
            timeout_keep_alive=limits.keep_alive_s,
            timeout_graceful_shutdown=limits.graceful_stop_s,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve([self._listener]), name=f"asgi {self._what}")
        while not self._server.started and not self._task.done():  # noqa: ASYNC110  # uvicorn sets a plain attribute
            await asyncio.sleep(STARTED_POLL_S)
        if self._task.done():
            self._listener.close()
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
        if self._listener is not None:
            self._listener.close()


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
            await answer_unavailable(send)

    return run
