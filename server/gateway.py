"""The gateway: OTLP in, Kafka out. It decodes, redacts and routes as a server does, and keeps nothing.

    doors (OTLP/gRPC, OTLP/HTTP) -> messages -> Kafka      keys and redaction rules come from the database

A request is acknowledged once the brokers have all of it. Any number of gateways run beside each other.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import grpc
from structlog.typing import FilteringBoundLogger

import driftlock
from cbad_cy.codec import Codec
from collector.kafka.client_settings import KafkaConnection
from collector.kafka.topics import ensure_topic
from collector.otlp.grpc import check_grpcio
from driftlock.engine.profile import DEFAULT_CODEC
from driftlock.errors import Unavailable
from driftlock.storage.key_directory import KeyUse
from driftlock.storage.pool import Database, Lane
from driftlock.storage.redaction import RedactionTable
from driftlock.storage.startup import StartupRefused
from server.addresses import Address
from server.asgi import AsgiServer
from server.database import DatabaseUrls, prepare
from server.health import beside, health_app
from server.kafka_intake import client_id, records_intake
from server.ledger import keep_ledger
from server.local import open_access
from server.otlp_doors import Door, Ingest, Watched, asgi_limits, listen_at, open_otlp_doors, stop_all
from server.outage import OutageReport
from server.process import StopSignals, until
from server.redaction import watch_rules
from server.settings import Settings
from server.shards import check_spread
from server.telemetry import Telemetry, TimedIntake
from server.topic_gate import TopicGate
from server.traffic import keep_traffic

ROLE = "gateway"
NOTICE_S = 1.0  # between "not ready" and closing the doors, for load balancers to notice
LOOK_S = 3.0  # for one look at the topic; without a broker the doors open after it, and refuse


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a running gateway is; `watched` must not end while it serves."""

    otlp_grpc: Address | None
    otlp_http: Address | None
    http: Address | None
    watched: Watched
    serve: Callable[[], Awaitable[None]]
    drain: Callable[[], Awaitable[None]]

    def endpoints(self) -> dict[str, str]:
        """Addresses by what they are."""
        found = {"otlp_grpc": self.otlp_grpc, "otlp_http": self.otlp_http, "http": self.http}
        return {name: address.text for name, address in found.items() if address is not None}


async def run_gateway(settings: Settings, log: FilteringBoundLogger, announce: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM. `announce` prints for people. Raises the reason of a failed start or run."""
    began_s = time.monotonic()
    try:
        check_grpcio(grpc.__version__)
    except RuntimeError as error:
        raise StartupRefused(str(error)) from None
    ready = asyncio.Event()
    with StopSignals(announce) as signals:
        serving = asyncio.create_task(_run(settings, log, announce, signals.requested, ready, began_s))
        interrupted = asyncio.create_task(signals.requested.wait())
        await asyncio.wait({serving, interrupted}, return_when=asyncio.FIRST_COMPLETED)
        interrupted.cancel()
        if signals.requested.is_set() and not ready.is_set():
            serving.cancel()  # stopped while starting: what is half made is undone
            await asyncio.wait({serving})
            if serving.cancelled():
                return
        await serving


async def _run(
    settings: Settings,
    log: FilteringBoundLogger,
    announce: Callable[[str], None],
    stop: asyncio.Event,
    ready: asyncio.Event,
    began_s: float,
) -> None:
    async with open_gateway(settings, log) as gateway:
        await gateway.serve()
        ready.set()
        startup_ms = round((time.monotonic() - began_s) * 1000)
        where = "\n".join(f"  {name:<10} {address}" for name, address in gateway.endpoints().items())
        announce(f"Driftlock {driftlock.__version__} gateway is ready after {startup_ms} ms.\n\n{where}\n")
        log.info("ready", startup_ms=startup_ms, topic=settings.kafka_topic, **gateway.endpoints())
        try:
            ending = await until(stop, gateway.watched)
        finally:
            log.info("draining")
            await gateway.drain()
        addresses = (gateway.otlp_grpc, gateway.otlp_http, gateway.http)
        if any(address is not None and not address.loopback for address in addresses):
            await asyncio.sleep(NOTICE_S)
    log.info(ending.value)


@asynccontextmanager
async def open_gateway(settings: Settings, log: FilteringBoundLogger) -> AsyncIterator[Gateway]:
    """Everything of a gateway, listening; connections wait until `serve`.

    Raises `StartupRefused`, `Unavailable`, OSError for an address that is not to be had.
    """
    connection, urls = _needed(settings)
    codec = Codec(DEFAULT_CODEC)
    telemetry = Telemetry(version=driftlock.__version__, codec=codec.name, codec_version=codec.version)
    async with AsyncExitStack() as stack:
        await prepare(urls, settings.unsafe_database, lambda what: log.warning("unsafe database", what=what))
        outages, keeps = OutageReport(telemetry, log), not settings.may_forget
        database = await stack.enter_async_context(Database(urls.app, on_change=outages, keeps_commits=keeps))
        meter, ledger = keep_ledger(database, telemetry, log, by_tenant=settings.metrics_tenants)
        stack.push_async_callback(ledger.close)
        key_use = KeyUse(database)
        access, _ = await open_access(settings, database, key_use.note)
        rules = RedactionTable(database.reserved(Lane.KEYS), time.monotonic)
        await check_spread(database, settings)
        intake = await _intake(connection, settings, telemetry, log, stack)
        timed = TimedIntake(intake, telemetry, time.monotonic)
        draining = asyncio.Event()

        async def serving() -> None:
            if draining.is_set():
                raise Unavailable("the gateway is stopping")

        checks = {"database": database.ping, "kafka": intake.ping, "serving": serving}
        health = health_app(checks, telemetry.render, log)
        alone = settings.http is None  # one port for all
        ingest = Ingest(database, timed, access, rules, meter)
        wrapped = partial(beside, health=health) if alone else lambda app: app
        otlp = await stack.enter_async_context(open_otlp_doors(settings, ingest, log, wrapped))
        doors, watched, http = list(otlp.doors), dict(otlp.watched), None
        if settings.http is not None:
            server = AsgiServer(health, address=settings.http, what="health", limits=asgi_limits(settings))
            await listen_at(server, doors, stack)
            watched["health"] = server.failed
            http = replace(settings.http, port=server.port)

        async def drain() -> None:
            draining.set()
            await otlp.drain()

        watched["the topic"] = intake.watch
        watched["the use of API keys"] = partial(keep_traffic, database, key_use, log)
        watched["the watch of redaction rules"] = partial(watch_rules, rules)
        watched["the ledger"] = ledger.run
        try:
            yield Gateway(otlp.grpc, otlp.http, http, watched, partial(_enter, stack, doors), drain)
        finally:
            await stop_all(*doors)


async def _enter(stack: AsyncExitStack, doors: list[Door]) -> None:
    """Answer, those first who have waited since the doors were made."""
    for door in doors:
        await stack.enter_async_context(door)


def _needed(settings: Settings) -> tuple[KafkaConnection, DatabaseUrls]:
    """What a gateway can not do without. Raises `StartupRefused`."""
    connection = settings.kafka
    if connection is None:
        raise StartupRefused("DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS is not set: a gateway hands records over to Kafka")
    if settings.database_url is None:
        raise StartupRefused(
            "DATABASE_URL is not set: a gateway shares its database with workers and other gateways, so it needs a PostgreSQL "
            "that all of them reach, not the embedded one"
        )
    if settings.otlp_grpc is None and settings.otlp_http is None:
        raise StartupRefused("DRIFTLOCK_OTLP_GRPC_ADDR and DRIFTLOCK_OTLP_HTTP_ADDR are both off: nothing could come in")
    return connection, DatabaseUrls(settings.database_url, settings.migrate_database_url)


async def _intake(
    connection: KafkaConnection, settings: Settings, telemetry: Telemetry, log: FilteringBoundLogger, stack: AsyncExitStack
) -> TopicGate:
    """The way into Kafka. Raises `StartupRefused` for a topic that can not be used; one that nobody can tell of yet may be."""
    producing = records_intake(connection, settings, telemetry, ROLE)
    ensure = partial(
        ensure_topic,
        connection,
        settings.kafka_topic,
        settings.kafka_partitions,
        settings.kafka_replication,
        client_id=client_id(ROLE),
        timeout_s=LOOK_S,
    )
    intake = TopicGate(producing, ensure, log)
    await intake.look()
    await stack.enter_async_context(producing)
    return intake
