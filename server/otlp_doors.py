"""Where OTLP comes in, over gRPC and HTTP: what a server and a gateway share, whatever becomes of the records behind it."""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

import collector.otlp.http
from collector.admission import Admission, AdmissionLimits
from collector.auth import IngestAccess
from collector.otlp.export import Exporter
from collector.otlp.grpc import GrpcLimits, OtlpGrpcServer
from collector.otlp.grpc_tls import GrpcTls
from collector.otlp.http import HttpLimits
from collector.otlp.limits import OtlpLimits
from collector.redact import Redaction
from collector.routing import ResourceRouter
from driftlock.accounts.access import Access
from driftlock.accounts.certificates import ClientTable
from driftlock.accounts.metering import IngestMeter
from driftlock.engine.ports import Intake
from driftlock.storage.pool import Database
from driftlock.storage.startup import StartupRefused
from driftlock.storage.tenants import Tenants
from server.addresses import Address
from server.asgi import AsgiServer
from server.asgi_protocol import AsgiLimits
from server.settings import Settings
from server.tls import CLIENTS, TlsFiles, TlsStore, open_tls

RECEIVER_GRACE_S = 2.0
DECODE_THREADS = 2
Door = OtlpGrpcServer | AsgiServer
Watched = dict[str, Callable[[], Awaitable[None]]]


@dataclass(frozen=True, slots=True)
class Ingest:
    """What receivers work with: who may send, what must not be kept, who counts, and where records go."""

    database: Database
    intake: Intake
    access: Access
    redaction: Redaction
    meter: IngestMeter


@dataclass(frozen=True, slots=True)
class OtlpDoors:
    """Addresses as bound (None = switched off); `doors` listen, and answer once they are entered, in their order.

    `drain`: nothing new is taken, what is under way goes on.
    """

    grpc: Address | None
    http: Address | None
    doors: tuple[Door, ...]
    watched: Watched
    drain: Callable[[], Awaitable[None]] = field(repr=False)


@asynccontextmanager
async def open_otlp_doors(
    settings: Settings,
    ingest: Ingest,
    log: FilteringBoundLogger,
    wrapped: Callable[[ASGIApp], ASGIApp] = lambda app: app,
) -> AsyncIterator[OtlpDoors]:
    """The listeners of OTLP; connections wait until they are entered. `wrapped` may put more beside OTLP/HTTP on its address.

    Raises OSError for an address that is not to be had, `StartupRefused`, `Unavailable`.
    """
    watched: Watched = {}
    async with AsyncExitStack() as stack:
        threads = ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode")
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)  # nobody waits for their results any more
        tls = await _tls(settings, ingest.database, log)
        if tls is not None:
            watched["TLS files"] = tls.watch
        exporter = _exporter(settings, ingest, threads, tls)
        doors: list[Door] = []
        grpc_server, grpc_address, http_address = None, None, None
        if settings.otlp_grpc is not None:
            grpc_server = OtlpGrpcServer(
                exporter,
                address=settings.otlp_grpc.text,
                limits=GrpcLimits(),
                grace_s=RECEIVER_GRACE_S,
                tls=None if tls is None else GrpcTls(tls.identity),
                reflection=settings.otlp_reflection,
                reuse_port=settings.reuse_port,
            )
            await listen_at(grpc_server, doors, stack)
            grpc_address = replace(settings.otlp_grpc, port=grpc_server.port)
        if settings.otlp_http is not None:
            app = wrapped(collector.otlp.http.create_app(exporter, HttpLimits(), settings.otlp_cors_origins))
            context = None if tls is None else tls.context()
            limits, reuse_port = asgi_limits(settings), settings.reuse_port
            address = settings.otlp_http
            http_server = AsgiServer(app, address=address, what="OTLP/HTTP", limits=limits, tls=context, reuse_port=reuse_port)
            await listen_at(http_server, doors, stack)
            watched["OTLP/HTTP"] = http_server.failed
            http_address = replace(settings.otlp_http, port=http_server.port)

        async def drain() -> None:
            exporter.admission.drain()
            if grpc_server is not None:
                await grpc_server.drain()

        yield OtlpDoors(grpc_address, http_address, tuple(doors), watched, drain)


def asgi_limits(settings: Settings) -> AsgiLimits:
    """Limits of the HTTP ports."""
    return AsgiLimits(unlimited_peers=settings.trusted_proxies)


async def listen_at(door: Door, doors: list[Door], stack: AsyncExitStack) -> None:
    """Take the door's address, to be given back even if it is never served."""
    await door.listen()
    stack.push_async_callback(door.stop)
    doors.append(door)


async def stop_all(*doors: Door) -> None:
    """All at once: the slowest sender of each door would else be waited for one after the other."""
    await asyncio.gather(*(door.stop() for door in doors))


async def _tls(settings: Settings, database: Database, log: FilteringBoundLogger) -> TlsStore | None:
    """Certificates of the OTLP ports; None where they are without TLS. Raises `StartupRefused`, `Unavailable`."""
    if settings.otlp_tls_cert is None or settings.otlp_tls_key is None:
        return None
    tenants = Tenants(database)

    async def check(clients: ClientTable) -> None:
        for tenant_id in sorted(clients.tenant_ids):
            if await tenants.get(tenant_id) is None:
                raise StartupRefused(f"{CLIENTS}: there is no tenant {tenant_id}; see `driftlock tenant list`")

    files = TlsFiles(settings.otlp_tls_cert, settings.otlp_tls_key, settings.otlp_tls_client_ca, settings.otlp_tls_clients)
    return await open_tls(files, check, log)


def _exporter(settings: Settings, ingest: Ingest, threads: ThreadPoolExecutor, tls: TlsStore | None) -> Exporter:
    """What OTLP/gRPC and OTLP/HTTP share: one gate, one decoder, one intake."""
    default = AdmissionLimits()
    needed = math.ceil(2 * settings.request_bytes_max / default.tenant_share_max)  # a request, packed and unpacked
    admission = Admission(replace(default, bytes_max=max(default.bytes_max, needed)), random.random)
    return Exporter(
        intake=ingest.intake,
        authenticator=IngestAccess(ingest.access, lambda: datetime.now(UTC), (lambda: None) if tls is None else tls.clients),
        admission=admission,
        router=ResourceRouter(settings.routing),
        redaction=ingest.redaction,
        limits=OtlpLimits(request_bytes_max=settings.request_bytes_max),
        meter=ingest.meter,
        executor=threads,
        now_ns=time.time_ns,
    )
