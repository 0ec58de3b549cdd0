"""Where requests come in: OTLP/gRPC, OTLP/HTTP and REST, all on one event loop, over the pipeline."""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from uuid import UUID

from structlog.typing import FilteringBoundLogger

import api.app
import driftlock
from api.app import ApiDeps, CodecInfo, DemoRules, DetectorInfo, VersionInfo
from api.traffic import RateRules
from cbad_cy.codec import CODECS
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
from driftlock.storage.pool import Database
from driftlock.storage.readback import Readback
from driftlock.storage.service_graphs import ServiceGraphs
from driftlock.storage.shared_secrets import shared_secret
from driftlock.storage.stream_events import StreamEvents
from driftlock.storage.streams import Streams
from server.addresses import Address
from server.asgi import AsgiServer
from server.firebase import CERTIFICATES_URL
from server.otlp_doors import Ingest, asgi_limits, listen_at, open_otlp_doors, stop_all
from server.people import open_people
from server.pipeline import Served
from server.settings import Settings
from server.views import view_deps

DEMO_THREADS = 2
READBACK_THREADS = 2
CURSOR_KEY, CURSOR_KEY_BYTES = "list cursors", 32


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
    settings: Settings, pipeline: Served, log: FilteringBoundLogger, certificates_url: str = CERTIFICATES_URL
) -> AsyncIterator[Doors]:
    """All listeners; closed gracefully. Connections wait until `serve`. Raises OSError for an address that is not to be had.

    `certificates_url`: where the keys of the sign-in provider are published.
    """
    async with AsyncExitStack() as stack:
        otlp = await stack.enter_async_context(open_otlp_doors(settings, _ingest(pipeline), log))
        rest, watched, doors = None, dict(otlp.watched), list(otlp.doors)
        if settings.http is not None:
            demo = _demo(settings, stack)
            people = await stack.enter_async_context(open_people(settings, pipeline.database, certificates_url))
            readback = ThreadPoolExecutor(READBACK_THREADS, thread_name_prefix="readback")
            stack.callback(readback.shutdown, wait=False, cancel_futures=True)
            key = await cursor_key(settings, pipeline.database)
            app = api.app.create_app(replace(_deps(settings, pipeline, demo, readback, key, log), people=people))
            limits, reuse_port = asgi_limits(settings), settings.reuse_port
            rest_server = AsgiServer(app, address=settings.http, what="REST", limits=limits, reuse_port=reuse_port)
            await listen_at(rest_server, doors, stack)
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
            await otlp.drain()

        try:
            yield Doors(otlp.grpc, otlp.http, rest, watched, serve, drain)
        finally:
            await stop_all(*doors)


def _ingest(pipeline: Served) -> Ingest:
    return Ingest(pipeline.database, pipeline.intake, pipeline.access, pipeline.care.redaction, pipeline.meter)


def _deps(
    settings: Settings, pipeline: Served, demo: DemoRules | None, readback: Executor, key: bytes, log: FilteringBoundLogger
) -> ApiDeps:
    """What REST is made with; `readback` are threads for what the journal is asked for, `key` signs cursors."""

    async def serving() -> None:
        if pipeline.draining.is_set():
            raise Unavailable("the server is stopping")

    async def scored(stream_id: UUID, seq: int) -> None:
        """Wait for a position, but not longer than this process takes requests."""
        waits = [asyncio.ensure_future(pipeline.scored(stream_id, seq)), asyncio.ensure_future(pipeline.draining.wait())]
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
        cursor_key=key,
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


async def cursor_key(settings: Settings, database: Database) -> bytes:
    """The key that signs list cursors: beside the embedded database, else in the database, for all processes of it.

    Raises `Unavailable`.
    """
    fresh = secrets.token_bytes(CURSOR_KEY_BYTES)
    if not settings.embedded:
        return await shared_secret(database, CURSOR_KEY, fresh)
    path = settings.data_dir / "cursor-key"
    with contextlib.suppress(OSError, ValueError):
        found = bytes.fromhex(path.read_text("ascii"))
        if len(found) == CURSOR_KEY_BYTES:
            return found
    write_private(path, fresh.hex())
    return fresh
