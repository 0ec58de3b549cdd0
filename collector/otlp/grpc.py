"""OTLP/gRPC: the three Export services and grpc.health.v1 on one port.

Messages are taken as raw bytes by generic handlers: only so can one bad record be told from a bad request, and only so
can no exception reach grpc.aio, which would send its text to the client under a status that makes clients drop data.
"""

import errno
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, Self

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from collector.auth import Credentials, grpc_peer, header, presented_keys
from collector.otlp.export import SERVICES, Exporter
from collector.otlp.status import ANSWERS, grpc_trailers
from driftlock.engine.event import Signal
from driftlock.errors import DriftlockError

GRPCIO_MIN = (1, 84)
_SERVING = health_pb2.HealthCheckResponse.SERVING
_Context = grpc.aio.ServicerContext[bytes, bytes]


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """Limits of connections; times are in ms.

    A connection ends `connection_age_max_ms` after its start, so that senders behind a load balancer spread again, and
    then has `connection_age_grace_ms` to finish its calls.
    """

    streams_max: int = 128
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


class OtlpGrpcServer:
    """An async context manager: serving inside, stopped gracefully after. `port` is the one that was bound.

    `address` is `host:port`; port 0 takes a free one. Raises RuntimeError for a grpcio that is too old and OSError when
    the address can not be bound.
    """

    def __init__(self, exporter: Exporter, *, address: str, limits: GrpcLimits, grace_s: float = 8.0) -> None:
        self._exporter = exporter
        self._address = address
        self._grace_s = grace_s
        self._options = _options(limits, exporter.limits.request_bytes_max)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs lack it
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        check_grpcio(grpc.__version__)
        server = grpc.aio.server(options=self._options)
        for signal, service in SERVICES.items():
            handler = grpc.unary_unary_rpc_method_handler(self._handler(signal))
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.name, {"Export": handler}),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        try:
            self.port = server.add_insecure_port(self._address)
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise OSError(errno.EADDRINUSE, f"cannot listen on {self._address} for OTLP/gRPC: is another server running there?")
        await server.start()
        self._server = server
        for name in ("", *(service.name for service in SERVICES.values())):
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
        """Drain, let calls in flight end within the grace, then close. Harmless when repeated."""
        server, self._server = self._server, None
        if server is None:
            return
        await self.drain()
        await server.stop(self._grace_s)
        await self._exporter.settle(self._grace_s)

    def _handler(self, signal: Signal) -> Callable[[bytes, _Context], Awaitable[bytes]]:
        exporter = self._exporter

        async def export(request: bytes, context: _Context) -> bytes:
            try:
                tenant_id = await exporter.authenticate(signal, _credentials(context))
                slot = exporter.admit(signal, len(request))
                return await exporter.export(signal, tenant_id, request, slot)
            except DriftlockError as error:
                failure = error
            except Exception as error:
                failure = exporter.refusal(signal, error)
            return await _abort(context, failure)

        return export


async def _abort(context: _Context, error: DriftlockError) -> NoReturn:
    await context.abort(ANSWERS[error.code].grpc, error.message, grpc_trailers(error))


def _credentials(context: _Context) -> Credentials:
    """What the call shows. A browser can not speak gRPC to another site's name, so there is no host to be checked."""
    metadata: Sequence[tuple[str, str | bytes]] = list(context.invocation_metadata() or ())
    return Credentials(
        presented=presented_keys(metadata),
        peer=grpc_peer(context.peer()),
        host="localhost",
        origin=header(metadata, "origin"),
    )


def _options(limits: GrpcLimits, request_bytes_max: int) -> list[tuple[str, Any]]:
    return [
        ("grpc.so_reuseport", 0),  # a second server on the port is a mistake and must be seen
        ("grpc.max_receive_message_length", request_bytes_max),
        ("grpc.max_concurrent_streams", limits.streams_max),
        ("grpc.max_metadata_size", limits.metadata_bytes_max),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes_max),
        ("grpc.max_connection_idle_ms", limits.connection_idle_max_ms),
        ("grpc.max_connection_age_ms", limits.connection_age_max_ms),
        ("grpc.max_connection_age_grace_ms", limits.connection_age_grace_ms),
        ("grpc.keepalive_time_ms", limits.keepalive_time_ms),
        ("grpc.keepalive_timeout_ms", limits.keepalive_timeout_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", limits.ping_interval_min_ms),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", limits.ping_interval_min_ms),
        ("grpc.http2.max_ping_strikes", limits.ping_strikes_max),
    ]
