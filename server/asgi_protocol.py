"""The HTTP/1.1 side of one connection: uvicorn's protocol with the limits that it lacks."""

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any, cast

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.client_network import Network
from collector.auth import CLIENT_CERTIFICATE
from driftlock.accounts.certificates import PeerNames
from server.peers import Peers, Place, Refusal
from server.tls import names_of


@dataclass(frozen=True, slots=True)
class AsgiLimits:
    """Limits of an HTTP listener.

    Requests on connections above `connections_max`, or above `connections_per_peer_max` of one peer, are answered 503, and
    beyond `connections_refused_max` of those new connections are cut off without a word. A peer is an IPv4 address or
    an IPv6 /64; loopback and the networks `unlimited_peers` (load balancers, say) may open any number.
    `body_linger_s`: how long the rest of a body that was answered early may take. Of a chunked body, `head_bytes_max` and
    `chunk_overhead_max` bytes for each byte of content may be something else: sizes, extensions, trailers.
    """

    connections_max: int = 1024
    connections_per_peer_max: int = 64
    connections_refused_max: int = 256
    unlimited_peers: tuple[Network, ...] = ()
    backlog_max: int = 2048
    keep_alive_s: int = 75
    graceful_stop_s: int = 2
    head_bytes_max: int = 64 * 1024
    head_timeout_s: float = 10.0
    body_linger_s: float = 10.0
    chunk_overhead_max: int = 16


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with bounds for heads, for what is around bodies, and for connections: its parser has none.

    A head that is too long or too slow ends the connection; its pieces would be joined in quadratic time.
    """

    limits: AsgiLimits
    peers: Peers
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _body_expected = False
    _body_room = 0  # bytes beside the content that may still come
    _linger_timer: asyncio.TimerHandle | None = None
    _place: Place | None = None
    _peer_names: PeerNames | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection that says nothing is a slow head too."""
        super().connection_made(transport)
        self._place = self.peers.enter(self.client[0] if self.client else "")
        if self._place.refusal is Refusal.CUT_OFF:
            transport.abort()
            return
        if self._place.refusal is Refusal.ANSWERED:
            self.app = cast(Any, _busy)
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None and tls.context.verify_mode is ssl.CERT_REQUIRED:
            self._peer_names = names_of(tls.getpeercert() or {})
        self._expect_head()

    def on_message_begin(self) -> None:
        """The next request of the connection."""
        super().on_message_begin()
        if self._peer_names is not None:
            self.scope["extensions"] = {CLIENT_CERTIFICATE: self._peer_names}  # type: ignore[dict-item]  # ours
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is over; bodies have limits of their own."""
        self._stop_timer()
        self._head_bytes = 0
        self._body_expected = True
        self._body_room = self.limits.head_bytes_max
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Content of the body."""
        self._body_room += len(body) * (1 + self.limits.chunk_overhead_max)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._body_expected = False
        self._stop_linger()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request may be answered before its body is there; uvicorn would wait for the rest as long as any byte comes."""
        super().on_response_complete()
        if self._body_expected and self._linger_timer is None:
            self._linger_timer = self.loop.call_later(self.limits.body_linger_s, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is expected any more."""
        self._stop_timer()
        self._stop_linger()
        if self._place is not None:
            self._place.leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes in while a head is expected, or a body."""
        if self._head_timer is not None:
            self._head_bytes += len(data)
        elif self._body_expected:
            self._body_room -= len(data)
        super().data_received(data)
        too_long = self._head_timer is not None and self._head_bytes > self.limits.head_bytes_max
        if too_long or (self._body_expected and self._body_room < 0):
            self.transport.abort()

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.limits.head_timeout_s, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_linger(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None


def protocol(limits: AsgiLimits) -> type[HttpToolsProtocol]:
    """The protocol of one listener's connections."""
    peers = Peers(
        connections_max=limits.connections_max,
        connections_per_peer_max=limits.connections_per_peer_max,
        connections_refused_max=limits.connections_refused_max,
        unlimited=limits.unlimited_peers,
    )
    return type("Protocol", (_Protocol,), {"limits": limits, "peers": peers})


async def answer_unavailable(send: Send) -> None:
    """503, to be tried again on another connection."""
    headers = [(b"retry-after", b"1"), (b"connection", b"close"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # the shape of an application
    """Answer of a connection that is one too many: retryable, and the last on it."""
    await answer_unavailable(send)
