"""The bridge: topics of other producers in, our own topic out. It decodes, redacts and routes as a gateway does.

    foreign topics -> consumers -> exporter -> messages -> our topic      rules and dead letters are in the database

Any number of bridges run beside each other; the group of each topic gives each its share of the partitions.
"""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Never

from structlog.typing import FilteringBoundLogger

import driftlock
from cbad_cy.codec import Codec
from collector.admission import Admission, AdmissionLimits
from collector.auth import Credentials
from collector.kafka.assignment import ConsumerLimits
from collector.kafka.client_settings import KafkaConnection
from collector.kafka.consumer import PartitionConsumer
from collector.kafka.group_offsets import GroupOffsets
from collector.kafka.producer import KafkaIntake
from collector.otlp.encodings import JSON, encodings
from collector.otlp.export import Exporter, Unpack
from collector.otlp.limits import OtlpLimits
from collector.routing import ResourceRouter
from driftlock.accounts.metering import IngestMeter
from driftlock.engine.event import Signal
from driftlock.engine.ports import Intake
from driftlock.engine.profile import DEFAULT_CODEC
from driftlock.errors import Unauthenticated, Unavailable
from driftlock.storage.dead_letters import DeadLetters
from driftlock.storage.pool import Database, Lane
from driftlock.storage.redaction import RedactionTable
from driftlock.storage.startup import StartupRefused
from driftlock.storage.tenants import Tenants
from server.addresses import Address
from server.asgi import AsgiServer
from server.asgi_protocol import AsgiLimits
from server.bridge_lines import LineReader
from server.bridge_metrics import BridgeCounters, BridgeGauges
from server.bridge_partition import BridgeParts
from server.bridge_sources import Format, InitialOffset, Source
from server.bridge_table import BridgeTable
from server.database import DatabaseUrls, prepare
from server.health import health_app
from server.kafka_intake import client_id, ensure_records, records_intake
from server.ledger import keep_ledger
from server.otlp_doors import Watched
from server.outage import OutageReport
from server.process import StopSignals, until
from server.redaction import watch_rules
from server.settings import Settings
from server.shards import check_spread
from server.telemetry import Telemetry, TimedIntake

ROLE = "bridge"
GROUPS = {Signal.LOGS: b"resourceLogs", Signal.METRICS: b"resourceMetrics", Signal.TRACES: b"resourceSpans"}
LEAVE_S = 6.0
DECODE_THREADS = 2
HEARTBEATS_A_SESSION = 6
TENANTS_PERIOD_S = 10.0
METADATA_MS = 10_000  # how soon topics and partitions are noticed that were not there
IN_FLIGHT_BYTES_MAX, IN_FLIGHT_BYTES_MIN = 64 * 1024**2, 2 * 1024**2


@dataclass(frozen=True, slots=True)
class Bridge:
    """What a running bridge is; `watched` must not end while it works. `join` begins, `leave` gives all partitions back."""

    http: Address | None
    watched: Watched
    join: Callable[[], None]
    leave: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all sources share."""

    connection: KafkaConnection
    settings: Settings
    telemetry: Telemetry
    database: Database
    kafka: KafkaIntake
    rules: RedactionTable
    meter: IngestMeter
    threads: ThreadPoolExecutor
    log: FilteringBoundLogger


class _Nobody:
    """Implements `Authenticator`: whose a message is follows from its topic, and nobody else can come in."""

    async def sender(self, credentials: Credentials) -> Never:  # noqa: ARG002
        """Refuse."""
        raise Unauthenticated("a bridge takes no requests")


async def run_bridge(settings: Settings, log: FilteringBoundLogger, announce: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM. `announce` prints for people. Raises the reason of a failed start or run."""
    began_s = time.monotonic()
    with StopSignals(announce) as signals:
        async with open_bridge(settings, log) as bridge:
            if signals.requested.is_set():
                return
            bridge.join()
            startup_ms = round((time.monotonic() - began_s) * 1000)
            where = "" if bridge.http is None else f"\n  health  {bridge.http.text}\n"
            announce(f"Driftlock {driftlock.__version__} bridge has joined after {startup_ms} ms.\n{where}")
            log.info("ready", startup_ms=startup_ms, topics=[source.topic for source in settings.kafka_sources or ()])
            try:
                ending = await until(signals.requested, bridge.watched)
            finally:
                log.info("leaving the groups")
                await bridge.leave()
        log.info(ending.value)


@asynccontextmanager
async def open_bridge(settings: Settings, log: FilteringBoundLogger) -> AsyncIterator[Bridge]:
    """Everything of a bridge, before it joins the groups.

    Raises `StartupRefused`, `Unavailable`, OSError for an address that is not to be had.
    """
    connection, urls, sources = _needed(settings)
    codec = Codec(DEFAULT_CODEC)
    telemetry = Telemetry(version=driftlock.__version__, codec=codec.name, codec_version=codec.version)
    async with AsyncExitStack() as stack:
        await prepare(urls, settings.unsafe_database, lambda what: log.warning("unsafe database", what=what))
        await asyncio.to_thread(ensure_records, connection, settings, ROLE)
        outages, keeps = OutageReport(telemetry, log), not settings.may_forget
        database = await stack.enter_async_context(Database(urls.app, on_change=outages, keeps_commits=keeps))
        await check_spread(database, settings)
        await _check_tenants(database, sources)
        meter, ledger = keep_ledger(database, telemetry, log, by_tenant=settings.metrics_tenants)
        stack.push_async_callback(ledger.close)
        rules = RedactionTable(database.reserved(Lane.KEYS), time.monotonic)
        kafka = await stack.enter_async_context(records_intake(connection, settings, telemetry, ROLE))
        threads = ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode")
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        shared = _Shared(connection, settings, telemetry, database, kafka, rules, meter, threads, log)
        made = _sources(shared, sources)
        consumers = {parts.source.topic: _consumer(connection, settings, parts, len(sources)) for parts in made}
        BridgeGauges(telemetry.registry, lambda: {topic: consumer.seen for topic, consumer in consumers.items()})
        leaving = asyncio.Event()
        checks: dict[str, Callable[[], Awaitable[None]]] = {
            "database": database.ping,
            "kafka": partial(_joined, kafka, consumers),
            "serving": partial(_serving, leaving),
        }
        watched: Watched = {f"the consumer of {topic}": consumer.failed for topic, consumer in consumers.items()}
        watched["the watch of redaction rules"] = partial(watch_rules, rules)
        watched["the watch of tenants"] = partial(_watch_tenants, Tenants(database), made)
        watched["the ledger"] = ledger.run
        http = None
        if settings.http is not None:
            app = health_app(checks, telemetry.render, log)
            server = AsgiServer(app, address=settings.http, what="health", limits=AsgiLimits())
            await stack.enter_async_context(server)
            watched["health"] = server.failed
            http = replace(settings.http, port=server.port)

        def join() -> None:
            for consumer in consumers.values():
                consumer.start()

        async def leave() -> None:
            leaving.set()
            await asyncio.gather(*(consumer.stop(LEAVE_S) for consumer in consumers.values()))

        yield Bridge(http, watched, join, leave)


def _sources(shared: _Shared, sources: tuple[Source, ...]) -> list[BridgeParts]:
    """What the partitions of each source work with."""
    settings, telemetry = shared.settings, shared.telemetry
    router, admission = ResourceRouter(settings.routing), _admission(settings)
    limits = OtlpLimits(request_bytes_max=settings.request_bytes_max)

    def exporter(intake: Intake) -> Exporter:
        return Exporter(
            intake=TimedIntake(intake, telemetry, time.monotonic),
            authenticator=_Nobody(),
            admission=admission,
            router=router,
            redaction=shared.rules,
            limits=limits,
            meter=shared.meter,
            executor=shared.threads,
            now_ns=time.time_ns,
        )

    counters, letters = BridgeCounters(telemetry.registry), DeadLetters(shared.database)
    transcoders = encodings(limits)[JSON].transcoders
    return [
        BridgeParts(
            source=source,
            kafka=shared.kafka,
            exporter=exporter,
            transcode=partial(_from_json, transcoders, source.signal) if source.format is Format.OTLP_JSON else None,
            lines=None if source.format.otlp else LineReader(source, router),
            offsets=_offsets(shared.connection, settings, source),
            keep=letters.keep,
            decoding=shared.threads,
            counters=counters,
            gone=asyncio.Event(),
            log=shared.log,
        )
        for source in sources
    ]


def _from_json(transcoders: Mapping[Signal, Unpack], signal: Signal, body: bytes) -> bytes:
    """A request in protobuf: rotel writes the list in a request without the object around it."""
    if body.lstrip()[:1] == b"[":
        body = b'{"%s":%s}' % (GROUPS[signal], body)
    return transcoders[signal](body)


def _needed(settings: Settings) -> tuple[KafkaConnection, DatabaseUrls, tuple[Source, ...]]:
    """What a bridge can not do without. Raises `StartupRefused`."""
    connection, sources = settings.kafka, settings.kafka_sources
    if connection is None:
        raise StartupRefused("DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS is not set: a bridge reads and writes topics of Kafka")
    if sources is None:
        raise StartupRefused("DRIFTLOCK_KAFKA_SOURCES is not set: it says which topics a bridge reads, and whose they are")
    if any(source.topic == settings.kafka_topic for source in sources):
        raise StartupRefused(
            f"DRIFTLOCK_KAFKA_SOURCES names {settings.kafka_topic}, the topic that carries our own records: remove it"
        )
    if settings.database_url is None:
        raise StartupRefused(
            "DATABASE_URL is not set: a bridge shares its database with workers, so it needs a PostgreSQL that all of them "
            "reach, not the embedded one"
        )
    return connection, DatabaseUrls(settings.database_url, settings.migrate_database_url), sources


async def _check_tenants(database: Database, sources: tuple[Source, ...]) -> None:
    tenants = Tenants(database)
    for source in sources:
        if await tenants.get(source.tenant) is None:
            raise StartupRefused(
                f"DRIFTLOCK_KAFKA_SOURCES: there is no tenant {source.tenant}, whose the topic {source.topic} is to be; see "
                "`driftlock tenant list`"
            )


async def _watch_tenants(tenants: Tenants, made: list[BridgeParts], period_s: float = TENANTS_PERIOD_S) -> None:
    """Notice tenants that are gone: what workers could only set aside is not handed over. It never returns."""
    while True:
        await asyncio.sleep(period_s)
        for parts in made:
            try:
                if not parts.gone.is_set() and await tenants.get(parts.source.tenant) is None:
                    parts.gone.set()
            except Unavailable:
                break  # whoever has something to write says so


def _admission(settings: Settings) -> Admission:
    """As at the doors of a gateway."""
    default = AdmissionLimits()
    needed = math.ceil(2 * settings.request_bytes_max / default.tenant_share_max)
    return Admission(replace(default, bytes_max=max(default.bytes_max, needed)), random.random)


def _group(settings: Settings, source: Source) -> str:
    """One group for each topic: what happens to one does not hold up the others."""
    return f"{settings.kafka_bridge_group}.{source.topic}"


def _offsets(connection: KafkaConnection, settings: Settings, source: Source) -> GroupOffsets:
    latest = source.initial_offset is InitialOffset.LATEST
    return GroupOffsets(connection, client_id(ROLE), _group(settings, source), source.topic, latest=latest)


def _consumer(connection: KafkaConnection, settings: Settings, parts: BridgeParts, sources: int) -> PartitionConsumer:
    session_ms = settings.kafka_session_seconds * 1000
    configuration: dict[str, object] = {
        **connection.options(client_id(ROLE)),
        "group.id": _group(settings, parts.source),
        "session.timeout.ms": session_ms,
        "heartbeat.interval.ms": session_ms // HEARTBEATS_A_SESSION,
        "topic.metadata.refresh.interval.ms": METADATA_MS,
    }
    room = max(IN_FLIGHT_BYTES_MIN, IN_FLIGHT_BYTES_MAX // sources)
    default = ConsumerLimits()
    limits = replace(default, in_flight_bytes_max=room, partition_bytes_max=min(default.partition_bytes_max, room))
    table = BridgeTable(parts)
    table.consumer = PartitionConsumer(configuration, parts.source.topic, table, limits=limits, monotonic_s=time.monotonic)
    return table.consumer


async def _joined(kafka: KafkaIntake, consumers: dict[str, PartitionConsumer]) -> None:
    await kafka.ping()
    for topic, consumer in consumers.items():
        if not consumer.seen.joined:
            raise Unavailable(f"the group of {topic} has not given out its partitions yet")
        if consumer.seen.away:
            raise Unavailable("no broker answers")


async def _serving(leaving: asyncio.Event) -> None:
    if leaving.is_set():
        raise Unavailable("the bridge is stopping")
