"""Where requests come in: OTLP/gRPC, OTLP/HTTP and REST, all on one event loop, over the pipeline."""

import asyncio
import contextlib
import math
import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from structlog.typing import FilteringBoundLogger

import api.app
import collector.otlp.http
import driftlock
from api.app import ApiDeps, CodecInfo, DemoRules, DetectorInfo, VersionInfo
from api.traffic import RateRules
from cbad_cy.codec import CODECS
from collector.admission import Admission, AdmissionLimits
from collector.auth import IngestAccess
from collector.otlp.export import Exporter
from collector.otlp.grpc import GrpcLimits, OtlpGrpcServer
from collector.otlp.grpc_tls import GrpcTls
from collector.otlp.http import HttpLimits
from collector.otlp.limits import OtlpLimits
from collector.routing import ResourceRouter
from driftlock.accounts.certificates import ClientTable
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES, level_range
from driftlock.errors import Unavailable
from driftlock.storage.accounts import Accounts
from driftlock.storage.anchors import Anchors
from driftlock.storage.anomalies import Anomalies
from driftlock.storage.audit import AuditLog
from driftlock.storage.budgets import Budgets
from driftlock.storage.datafolder import write_private
from driftlock.storage.drift import DriftHours
from driftlock.storage.excerpts import Excerpts
from driftlock.storage.idempotency import IdempotentRequests
from driftlock.storage.incidents import Incidents
from driftlock.storage.keys import Keys
from driftlock.storage.known_requests import KnownRequests
from driftlock.storage.readback import Readback
from driftlock.storage.service_graphs import ServiceGraphs
from driftlock.storage.startup import StartupRefused
from driftlock.storage.stream_events import StreamEvents
from driftlock.storage.streams import Streams
from driftlock.storage.tenants import Tenants
from server.addresses import Address
from server.asgi import AsgiServer
from server.asgi_protocol import AsgiLimits
from server.firebase import CERTIFICATES_URL
from server.people import open_people
from server.pipeline import Pipeline
from server.settings import Settings
from server.tls import CLIENTS, TlsFiles, TlsStore, open_tls
from server.views import view_deps

RECEIVER_GRACE_S = 2.0
DECODE_THREADS = 2
DEMO_THREADS = 2
READBACK_THREADS = 2
CURSOR_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Doors:
    """Addresses as bound (None = switched off), and what must not end while the process serves."""

    otlp_grpc: Address | None
    otlp_http: Address | None
    rest: Address | None
    watched: dict[str, Callable[[], Awaitable[None]]]
    serve: Callable[[], Awaitable[None]] = field(repr=False)
    drain: Callable[[], Awaitable[None]] = field(repr=False)


@asynccontextmanager
async def open_doors(
    settings: Settings, pipeline: Pipeline, log: FilteringBoundLogger, certificates_url: str = CERTIFICATES_URL
) -> AsyncIterator[Doors]:
    """All listeners; closed gracefully. Connections wait until `serve`. Raises OSError for an address that is not to be had.

    `certificates_url`: where the keys of the sign-in provider are published.
    """
    watched: dict[str, Callable[[], Awaitable[None]]] = {}
    async with AsyncExitStack() as stack:
        threads = ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode")
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)  # nobody waits for their results any more
        tls = await _tls(settings, pipeline, log)
        if tls is not None:
            watched["TLS files"] = tls.watch
        exporter = _exporter(settings, pipeline, threads, tls)
        grpc_server, otlp_grpc, otlp_http, rest = None, None, None, None
        doors: list[OtlpGrpcServer | AsgiServer] = []
        limits = AsgiLimits(unlimited_peers=settings.trusted_proxies)
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
            await _listen(grpc_server, doors, stack)
            otlp_grpc = replace(settings.otlp_grpc, port=grpc_server.port)
        if settings.otlp_http is not None:
            app = collector.otlp.http.create_app(exporter, HttpLimits(), settings.otlp_cors_origins)
            context = None if tls is None else tls.context()
            address, reuse_port = settings.otlp_http, settings.reuse_port
            http_server = AsgiServer(app, address=address, what="OTLP/HTTP", limits=limits, tls=context, reuse_port=reuse_port)
            await _listen(http_server, doors, stack)
            watched["OTLP/HTTP"] = http_server.failed
            otlp_http = replace(settings.otlp_http, port=http_server.port)
        if settings.http is not None:
            demo = _demo(settings, stack)
            people = await stack.enter_async_context(open_people(settings, pipeline.database, certificates_url))
            readback = ThreadPoolExecutor(READBACK_THREADS, thread_name_prefix="readback")
            stack.callback(readback.shutdown, wait=False, cancel_futures=True)
            app = api.app.create_app(replace(_deps(settings, pipeline, demo, readback, log), people=people))
            rest_server = AsgiServer(app, address=settings.http, what="REST", limits=limits, reuse_port=settings.reuse_port)
            await _listen(rest_server, doors, stack)
            watched["REST"] = rest_server.failed
            rest = replace(settings.http, port=rest_server.port)

        async def serve() -> None:
            """Answer, those first who have waited since the doors were made."""
            for door in doors:
                await stack.enter_async_context(door)

        async def drain() -> None:
            """Not ready, NOT_SERVING, and no new records; what is under way goes on."""
            pipeline.draining.set()
            pipeline.live.wake_all()
            exporter.admission.drain()
            if grpc_server is not None:
                await grpc_server.drain()

        try:
            yield Doors(otlp_grpc, otlp_http, rest, watched, serve, drain)
        finally:  # all at once: the slowest sender of each door would else be waited for one after the other
            await asyncio.gather(*(door.stop() for door in doors))


async def _listen(door: OtlpGrpcServer | AsgiServer, doors: list[OtlpGrpcServer | AsgiServer], stack: AsyncExitStack) -> None:
    """Take the door's address, to be given back even if it is never served."""
    await door.listen()
    stack.push_async_callback(door.stop)
    doors.append(door)


async def _tls(settings: Settings, pipeline: Pipeline, log: FilteringBoundLogger) -> TlsStore | None:
    """Certificates of the OTLP ports; None where they are without TLS. Raises `StartupRefused`, `Unavailable`."""
    if settings.otlp_tls_cert is None or settings.otlp_tls_key is None:
        return None
    tenants = Tenants(pipeline.database)

    async def check(clients: ClientTable) -> None:
        for tenant_id in sorted(clients.tenant_ids):
            if await tenants.get(tenant_id) is None:
                raise StartupRefused(f"{CLIENTS}: there is no tenant {tenant_id}; see `driftlock tenant list`")

    files = TlsFiles(settings.otlp_tls_cert, settings.otlp_tls_key, settings.otlp_tls_client_ca, settings.otlp_tls_clients)
    return await open_tls(files, check, log)


def _exporter(settings: Settings, pipeline: Pipeline, threads: ThreadPoolExecutor, tls: TlsStore | None) -> Exporter:
    """What OTLP/gRPC and OTLP/HTTP share: one gate, one decoder, one intake."""
    default = AdmissionLimits()
    needed = math.ceil(2 * settings.request_bytes_max / default.tenant_share_max)  # a request, packed and unpacked
    admission = Admission(replace(default, bytes_max=max(default.bytes_max, needed)), random.random)
    return Exporter(
        intake=pipeline.intake,
        authenticator=IngestAccess(pipeline.access, lambda: datetime.now(UTC), (lambda: None) if tls is None else tls.clients),
        admission=admission,
        router=ResourceRouter(settings.routing),
        redaction=pipeline.care.redaction,
        limits=OtlpLimits(request_bytes_max=settings.request_bytes_max),
        meter=pipeline.meter,
        executor=threads,
        now_ns=time.time_ns,
    )


def _deps(
    settings: Settings, pipeline: Pipeline, demo: DemoRules | None, readback: Executor, log: FilteringBoundLogger
) -> ApiDeps:
    """What REST is made with; `readback` are threads for what the journal is asked for."""

    async def serving() -> None:
        if pipeline.draining.is_set():
            raise Unavailable("the server is stopping")

    async def scored(seq: int) -> None:
        """Wait for a position, but not longer than this process takes requests."""
        waits = [asyncio.ensure_future(pipeline.detection.scored(seq)), asyncio.ensure_future(pipeline.draining.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not waits[0].done():
                raise Unavailable("the server is stopping; the records are journaled")
            waits[0].result()
        finally:
            for wait in waits:
                wait.cancel()

    codec = pipeline.codec
    return ApiDeps(
        intake=pipeline.intake,
        meter=pipeline.meter,
        configurator=pipeline.configurator,
        requests=KnownRequests(pipeline.database),
        streams=Streams(pipeline.database),
        anomalies=Anomalies(pipeline.database),
        incidents=Incidents(pipeline.database),
        stream_events=StreamEvents(pipeline.database),
        service_graphs=ServiceGraphs(pipeline.database),
        budgets=Budgets(pipeline.database),
        views=view_deps(pipeline.database, pipeline.live),
        feedback=pipeline.teaching.feedback,
        tuning=pipeline.teaching.tuning,
        readback=Readback(Excerpts(pipeline.database, readback), Anomalies(pipeline.database), readback),
        evidence=pipeline.evidence,
        anchors=Anchors(pipeline.database, pipeline.controls),
        drift=DriftHours(pipeline.database),
        redaction=pipeline.care.redaction,
        stream_settings=pipeline.care.settings,
        accounts=Accounts(pipeline.database),
        audit=AuditLog(pipeline.database),
        access=pipeline.access,
        keys=Keys(pipeline.database),
        scored=scored,
        readiness={"database": pipeline.database.ping, "serving": serving},
        metrics=pipeline.telemetry.render,
        detector=DetectorInfo(PROFILES[DEFAULT_PROFILE], codec.name, codec.level, codec.version, _codecs()),
        version=VersionInfo(driftlock.__version__, pipeline.schema_version),
        now_ns=time.time_ns,
        randomness=os.urandom,
        cursor_key=cursor_key(settings),
        log=log,
        trusted_proxies=settings.trusted_proxies,
        demo=demo,
        idempotency=IdempotentRequests(pipeline.database),
        rates=_rates(settings),
        cors_origins=settings.cors_origins,
    )


def _rates(settings: Settings) -> RateRules | None:
    """How often clients may ask; None where that is switched off."""
    if not settings.rate_limits:
        return None
    return RateRules(
        time.monotonic_ns,
        network_requests_per_minute=settings.rate_limit_network_per_minute,
        network_failures_per_minute=settings.rate_limit_failures_per_minute,
    )


def _codecs() -> tuple[CodecInfo, ...]:
    """What streams may be compressed with."""
    return tuple(CodecInfo(name, *level_range(name), row.level, row.version) for name, row in CODECS.items())


def _demo(settings: Settings, stack: AsyncExitStack) -> DemoRules | None:
    """The rules of the demo and threads of its own; None where it is switched off."""
    if not settings.demo:
        return None
    return DemoRules(
        requests_per_minute=settings.demo_requests_per_minute,
        global_requests_per_minute=settings.demo_global_requests_per_minute,
        trusted_proxies=settings.trusted_proxies,
        monotonic_ns=time.monotonic_ns,
        executor=stack.enter_context(ThreadPoolExecutor(DEMO_THREADS, thread_name_prefix="demo")),
    )


def cursor_key(settings: Settings) -> bytes:
    """The key that signs list cursors: kept in the data folder beside the embedded database, else one of this process.

    With an external database nothing on disk is ours, so a client that pages through a restart begins again.
    """
    if not settings.embedded:
        return secrets.token_bytes(CURSOR_KEY_BYTES)
    path = settings.data_dir / "cursor-key"
    with contextlib.suppress(OSError, ValueError):
        found = bytes.fromhex(path.read_text("ascii"))
        if len(found) == CURSOR_KEY_BYTES:
            return found
    fresh = secrets.token_bytes(CURSOR_KEY_BYTES)
    write_private(path, fresh.hex())
    return fresh
