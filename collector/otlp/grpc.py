"""OTLP/gRPC: the three Export services and grpc.health.v1 on one port.

Messages are taken as raw bytes by generic handlers: only so can one bad record be told from a bad request, and only so
can no exception reach grpc.aio, which would send its text to the client under a status that makes clients drop data.

The handlers are registered as streaming ones, which look the same on the wire: so they run as soon as a call's metadata are
there, know who is calling and whether there is room before they ask for the message, and may stop waiting for it. A unary
handler only runs when the whole message is in memory, and one that never comes is waited for as long as the connection lasts.
"""

import asyncio
import errno
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, Self

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from collector.admission import Slot
from collector.auth import Credentials, Sender, grpc_peer, header, presented_keys
from collector.otlp.export import SERVICES, Exporter
from collector.otlp.grpc_tls import GrpcTls, peer_names
from collector.otlp.reading import Readers, ReadingLimits
from collector.otlp.status import ANSWERS, grpc_trailers
from driftlock.accounts.metering import Refusal
from driftlock.engine.event import Signal
from driftlock.errors import DriftlockError, InvalidArgument, Unavailable

GRPCIO_MIN = (1, 84)
TLS_SETTINGS = "the files of DRIFTLOCK_OTLP_TLS_CERT_FILE, DRIFTLOCK_OTLP_TLS_KEY_FILE or DRIFTLOCK_OTLP_TLS_CLIENT_CA_FILE"
PARTING_MS = 100
"""So long answers are kept back before a stop: most senders wait for one by then."""
TOLD_MS = 30
"""And so long after it began, until all connections have been told."""
NAMES = tuple(service.name for service in SERVICES.values())
_SERVING = health_pb2.HealthCheckResponse.SERVING
_Context = grpc.aio.ServicerContext[bytes, bytes]


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """Limits of connections and calls; times are in ms.

    `rpc_deadline_ms`: from a call's metadata to its answer; what was admitted by then goes on, unanswered.
    `connections_max`: open at a time; beyond, new ones are closed at once. `handshake_timeout_ms`: for TLS and HTTP/2 to begin.
    `streams_max`: calls at a time on a connection. `stream_window_bytes`: of a call, what may be sent before its sender is
    known and admitted.
    A connection ends `connection_age_max_ms` after its start, so that senders behind a load balancer spread again, and
    then has `connection_age_grace_ms` to finish its calls.
    """

    rpc_deadline_ms: int = 30 * 1000
    connections_max: int = 1024
    handshake_timeout_ms: int = 10 * 1000
    streams_max: int = 128
    stream_window_bytes: int = 256 * 1024
    metadata_bytes_max: int = 16 * 1024
    connection_idle_max_ms: int = 5 * 60 * 1000
    connection_age_max_ms: int = 30 * 60 * 1000
    connection_age_grace_ms: int = 30 * 1000
    keepalive_time_ms: int = 20 * 1000
    keepalive_timeout_ms: int = 20 * 1000
    ping_interval_min_ms: int = 10 * 1000
    ping_strikes_max: int = 2

    def __post_init__(self) -> None:
        """Refuse limits that limit nothing."""
        for name in self.__dataclass_fields__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")


def check_grpcio(version: str) -> None:
    """Raise RuntimeError for a grpcio that inflates a whole compressed message before it looks at its size."""
    found = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if found < GRPCIO_MIN:
        wanted = ".".join(map(str, GRPCIO_MIN))
        raise RuntimeError(
            f"grpcio {version} is too old: install grpcio>={wanted}, earlier ones can be made to run out of memory"
        )


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A call that is read: who sent it, its message, to be taken out by who goes on with it, and its slot."""

    sender: Sender
    message: list[bytes]
    slot: Slot


class OtlpGrpcServer:
    """An async context manager: serving inside, stopped gracefully after. `port` is the one that was bound.

    `listen` may be called before it is entered: connections then wait until they are served. `reuse_port` lets another
    process of the same user listen on the same port, if it says so too.
    `address` is `host:port`; port 0 takes a free one. `tls` None: without TLS. `reflection` serves the descriptors of the
    services (grpc.reflection.v1alpha) to anybody who can connect. Raises RuntimeError for a grpcio that is too old and
    OSError when the address can not be bound.
    """

    def __init__(
        self,
        exporter: Exporter,
        *,
        address: str,
        limits: GrpcLimits,
        grace_s: float = 8.0,
        tls: GrpcTls | None = None,
        reflection: bool = False,
        reuse_port: bool = False,
        reading: ReadingLimits | None = None,
    ) -> None:
        self._exporter = exporter
        self._address = address
        self._grace_s = grace_s
        self._tls = tls
        self._reflection = reflection
        self._deadline_ms = limits.rpc_deadline_ms
        self._readers = Readers(reading or ReadingLimits())
        self._options = _options(limits, exporter.limits.request_bytes_max, reuse_port=reuse_port)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs lack it
        self._server: grpc.aio.Server | None = None
        self._serving = False
        self._parting: asyncio.Event | None = None
        self.port = 0

    async def listen(self) -> None:
        """Take the address; raises as entering does."""
        if self._server is not None:
            return
        check_grpcio(grpc.__version__)
        server = grpc.aio.server(options=self._options)
        for signal, service in SERVICES.items():
            handler = grpc.stream_unary_rpc_method_handler(self._handler(signal))
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.name, {"Export": handler}),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._reflection:
            reflection.enable_server_reflection((*NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        try:
            if self._tls is None:
                self.port = server.add_insecure_port(self._address)
            else:
                self.port = server.add_secure_port(self._address, self._tls.credentials())
        except RuntimeError:
            self.port = 0
        if not self.port:
            # gRPC tells only its own log what it could not do.
            doubt = "" if self._tls is None else f" If not, gRPC can not use {TLS_SETTINGS}."
            why = f"cannot listen on {self._address} for OTLP/gRPC: is another server running there?{doubt}"
            raise OSError(errno.EADDRINUSE, why)
        self._server = server

    async def __aenter__(self) -> Self:
        await self.listen()
        assert self._server is not None  # noqa: S101  # listening by now
        await self._server.start()
        self._serving = True
        for name in ("", *NAMES):
            await self._health.set(name, _SERVING)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def drain(self) -> None:
        """Say NOT_SERVING to health checks and turn new requests away; connections stay open."""
        self._exporter.admission.drain()
        await self._health.enter_graceful_shutdown()

    async def stop(self) -> None:
        """Drain, let calls in flight end within the grace, then close. Harmless when repeated.

        gRPC answers CANCELLED to a call that comes after the stop began, and not every sender tries again after that. So
        answers are kept back a moment: a sender that waits for one sends nothing, and gets the GOAWAY before it.
        """
        server, self._server = self._server, None
        if server is None:
            return
        await self.drain()
        if not self._serving:
            await server.start()  # only a server that was started can be stopped, and gives its port back
        self._parting = asyncio.Event()
        await asyncio.sleep(PARTING_MS / 1000 if self._serving else 0)
        stopping = asyncio.ensure_future(server.stop(self._grace_s if self._serving else 0))
        await asyncio.sleep(TOLD_MS / 1000)
        self._parting.set()
        await stopping
        await self._exporter.settle(self._grace_s)

    def _handler(self, signal: Signal) -> Callable[[object, _Context], Awaitable[bytes]]:
        exporter = self._exporter

        async def export(_: object, context: _Context) -> bytes:
            try:
                answer = await self._answer(signal, context)
                await self._parted()
                return answer
            except DriftlockError as error:
                # Its traceback names this frame, which names it: a cycle that would keep the message alive.
                failure = error.with_traceback(None)
            except asyncio.CancelledError:
                if _cancelled():
                    raise  # the sender has gone, or its deadline has passed
                # Something that was waited for was cancelled: without an answer the sender would wait for ever.
                failure = exporter.refusal(signal, Unavailable("the server is stopping; send again", reason=Refusal.DRAINING))
            except Exception as error:
                failure = exporter.refusal(signal, error)
            await self._parted()
            return await _abort(context, failure)

        return export

    async def _parted(self) -> None:
        """Keep an answer back until its sender has been told to connect anew: see `stop`."""
        if self._parting is not None:
            await self._parting.wait()

    async def _answer(self, signal: Signal, context: _Context) -> bytes:
        exporter, ends_at = self._exporter, asyncio.get_running_loop().time() + self._deadline_ms / 1000
        try:
            async with asyncio.timeout_at(ends_at) as limit:
                arrived = await self._receive(signal, context, limit)
        except TimeoutError:
            late = self._late("the message did not arrive")
            if asyncio.get_running_loop().time() < ends_at:
                late = Unavailable("the message came slowly while others waited for their turn; send the same bytes again")
            late.reason = Refusal.TOO_SLOW
            raise exporter.refusal(signal, late) from None
        try:
            async with asyncio.timeout_at(ends_at):
                return await exporter.export(signal, arrived.sender, arrived.message.pop(), arrived.slot)
        except TimeoutError:  # not counted as refused: the request goes on, and is counted by what becomes of it
            error = self._late("the records were not journaled")
            error.retry_after_ms = exporter.admission.retry_hint_ms()
            raise error from None

    async def _receive(self, signal: Signal, context: _Context, limit: asyncio.Timeout) -> "_Arrived":
        """Read a call's message in its turn; `limit` is the timeout around this."""
        exporter = self._exporter
        sender = await exporter.authenticate(signal, self._credentials(context))
        slot = exporter.admit(signal, 0, sender)
        try:
            async with self._readers.turn(sender.tenant_id, limit):
                message = await context.read()
            if isinstance(message, bytes):
                slot.grow(len(message))
        except Exception as error:
            slot.close()
            raise exporter.refusal(signal, error, sender) from None
        except asyncio.CancelledError:
            slot.close()
            raise
        if not isinstance(message, bytes):  # none was sent, or the transport has refused it: too large, a bomb, damaged
            slot.close()
            text = "the call has no message; send one Export request"
            raise exporter.refusal(signal, InvalidArgument(text, reason=Refusal.TRANSPORT), sender)
        return _Arrived(sender, [message], slot)

    def _late(self, what: str) -> Unavailable:
        return Unavailable(f"{what} within {self._deadline_ms} ms (rpc_deadline_ms); send the same bytes again")

    def _credentials(self, context: _Context) -> Credentials:
        """What the call shows. A browser can not speak gRPC to another site's name, so there is no host to be checked."""
        metadata: Sequence[tuple[str, str | bytes]] = list(context.invocation_metadata() or ())
        return Credentials(
            presented=presented_keys(metadata),
            peer=grpc_peer(context.peer()),
            host="localhost",
            origin=header(metadata, "origin"),
            certificate=peer_names(context.auth_context()) if self._tls is not None and self._tls.client_auth else None,
        )


async def _abort(context: _Context, error: DriftlockError) -> NoReturn:
    await context.abort(ANSWERS[error.code].grpc, error.message, grpc_trailers(error))


def _cancelled() -> bool:
    """Whether the running task itself was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _options(limits: GrpcLimits, request_bytes_max: int, *, reuse_port: bool = False) -> list[tuple[str, Any]]:
    return [
        ("grpc.so_reuseport", int(reuse_port)),  # else a second server on the port is a mistake and must be seen
        ("grpc.max_receive_message_length", request_bytes_max),
        ("grpc.max_allowed_incoming_connections", limits.connections_max),
        ("grpc.server_handshake_timeout_ms", limits.handshake_timeout_ms),
        ("grpc.max_concurrent_streams", limits.streams_max),
        ("grpc.http2.lookahead_bytes", limits.stream_window_bytes),
        ("grpc.http2.bdp_probe", 0),  # it would let everybody send 4 MiB unasked; a message that is asked for has its own room
        ("grpc.max_metadata_size", limits.metadata_bytes_max),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes_max),
        ("grpc.max_connection_idle_ms", limits.connection_idle_max_ms),
        ("grpc.max_connection_age_ms", limits.connection_age_max_ms),
        ("grpc.max_connection_age_grace_ms", limits.connection_age_grace_ms),
        ("grpc.keepalive_time_ms", limits.keepalive_time_ms),
        ("grpc.keepalive_timeout_ms", limits.keepalive_timeout_ms),
        ("grpc.http2.ping_timeout_ms", limits.keepalive_timeout_ms),  # a ping of the flow control may be on its way instead
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", limits.ping_interval_min_ms),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", limits.ping_interval_min_ms),
        ("grpc.http2.max_ping_strikes", limits.ping_strikes_max),
    ]
