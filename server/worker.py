"""The worker: records come from partitions of a topic, become rows of the journal's shards, and are scored.

    Kafka -> consumer -> owners of shards (journal, detection) -> PostgreSQL      health and metrics on the HTTP address

Any number of workers run beside each other; the group gives each its share of the partitions.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from structlog.typing import FilteringBoundLogger

import driftlock
from cbad_cy.codec import Codec
from collector.kafka.assignment import ConsumerLimits
from collector.kafka.client_settings import KafkaConnection
from collector.kafka.consumer import PartitionConsumer
from collector.kafka.topics import TopicRefused, ensure_topic
from driftlock.engine.ports import Step
from driftlock.engine.profile import DEFAULT_CODEC
from driftlock.errors import Unavailable
from driftlock.storage.controls import Controls
from driftlock.storage.pool import Database, PoolLimits
from driftlock.storage.shared_journal import SharedJournal
from driftlock.storage.startup import StartupRefused
from server.addresses import Address
from server.asgi import AsgiServer
from server.asgi_protocol import AsgiLimits
from server.database import DatabaseUrls, prepare
from server.evidence import EvidenceKeeper, open_evidence
from server.health import health_app
from server.outage import OutageReport
from server.ownership import Share, fold_limits
from server.partition_table import PartitionTable
from server.process import StopSignals, until
from server.settings import Settings
from server.shard_owner import WorkerParts
from server.shards import MIB, check_shards, check_spread, shard_limits
from server.spread_work import spread_work
from server.telemetry import Telemetry
from server.worker_chores import chores
from server.worker_metrics import WorkerCounters, WorkerGauges

LEAVE_S = 6.0
DECODE_THREADS = 2
RESIDENT_STREAMS_MIN = 100
HEARTBEATS_A_SESSION = 6


@dataclass(frozen=True, slots=True)
class Worker:
    """What a running worker is; `watched` must not end while it works. `join` begins, `leave` gives all partitions back."""

    http: Address | None
    watched: dict[str, Callable[[], Awaitable[None]]]
    join: Callable[[], Awaitable[None]]
    leave: Callable[[], Awaitable[None]]


async def run_worker(settings: Settings, log: FilteringBoundLogger, announce: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM. `announce` prints for people. Raises the reason of a failed start or run."""
    began_s = time.monotonic()
    with StopSignals(announce) as signals:
        working = asyncio.create_task(_run(settings, log, announce, signals.requested, began_s))
        interrupted = asyncio.create_task(signals.requested.wait())
        await asyncio.wait({working, interrupted}, return_when=asyncio.FIRST_COMPLETED)
        interrupted.cancel()
        await working


async def _run(
    settings: Settings, log: FilteringBoundLogger, announce: Callable[[str], None], stop: asyncio.Event, began_s: float
) -> None:
    async with open_worker(settings, log) as worker:
        if stop.is_set():
            return
        await worker.join()
        startup_ms = round((time.monotonic() - began_s) * 1000)
        where = "" if worker.http is None else f"\n  health  {worker.http.text}\n"
        announce(f"Driftlock {driftlock.__version__} worker has joined after {startup_ms} ms.\n{where}")
        log.info("ready", startup_ms=startup_ms, topic=settings.kafka_topic, group=settings.kafka_group)
        try:
            ending = await until(stop, worker.watched)
        finally:
            log.info("leaving the group")
            await worker.leave()
    log.info(ending.value)


@asynccontextmanager
async def open_worker(settings: Settings, log: FilteringBoundLogger) -> AsyncIterator[Worker]:
    """Everything of a worker, before it joins the group.

    Raises `StartupRefused`, `Unavailable`, OSError for an address that is not to be had.
    """
    connection, urls = _needed(settings)
    codec = Codec(DEFAULT_CODEC)
    telemetry = Telemetry(version=driftlock.__version__, codec=codec.name, codec_version=codec.version)
    async with AsyncExitStack() as stack:
        await prepare(urls, settings.unsafe_database, lambda what: log.warning("unsafe database", what=what))
        await asyncio.to_thread(_ensure, connection, settings)
        database = await stack.enter_async_context(_database(settings, urls, telemetry, log))
        await check_shards(database, settings.kafka_partitions)
        placement = await check_spread(database, settings)
        evidence = open_evidence(settings, database, fold_limits(settings), log)
        limits = shard_limits(settings)
        shared = SharedJournal(database, journal_bytes_max=limits.journal_bytes_max, placement=placement)
        decoding = ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode")
        stack.callback(decoding.shutdown, wait=False, cancel_futures=True)
        counters = WorkerCounters(telemetry.registry)
        table = PartitionTable(
            WorkerParts(
                settings=settings,
                database=database,
                controls=Controls(shared),
                telemetry=telemetry,
                counters=counters,
                topic=settings.kafka_topic,
                placement=placement,
                share=partial(_share, settings),
                on_step=partial(_stepped, telemetry, evidence),
                evidence=evidence is not None,
                decoding=decoding,
                log=log,
            )
        )
        consumer = table.consumer = _consumer(connection, settings, table)
        WorkerGauges(telemetry.registry, lambda: consumer.seen, table.rows)
        leaving = asyncio.Event()
        checks: dict[str, Callable[[], Awaitable[None]]] = {
            "database": database.ping,
            "kafka": partial(_joined, consumer),
            "serving": partial(_serving, leaving),
        }
        watched: dict[str, Callable[[], Awaitable[None]]] = {
            "the consumer": consumer.failed,
            "the partitions": table.failed,
            "the watch of the shards": table.watch,
            **spread_work(placement, database, table, log),
            **chores(database, shared, telemetry.registry, counters, log, strict=not settings.may_forget),
            **({} if evidence is None else {"evidence": evidence.run}),
        }
        http = None
        if settings.http is not None:
            app = health_app(checks, telemetry.render, log)
            server = AsgiServer(app, address=settings.http, what="health", limits=AsgiLimits())
            await stack.enter_async_context(server)
            watched["health"] = server.failed
            http = replace(settings.http, port=server.port)

        async def join() -> None:
            consumer.start()

        async def leave() -> None:
            leaving.set()
            await consumer.stop(LEAVE_S)

        yield Worker(http, watched, join, leave)


def _needed(settings: Settings) -> tuple[KafkaConnection, DatabaseUrls]:
    """What a worker can not do without. Raises `StartupRefused`."""
    connection = settings.kafka
    if connection is None:
        raise StartupRefused("DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS is not set: a worker takes its records from Kafka")
    if settings.database_url is None:
        raise StartupRefused(
            "DATABASE_URL is not set: a worker shares its database with gateways and other workers, so it needs a PostgreSQL "
            "that all of them reach, not the embedded one"
        )
    return connection, DatabaseUrls(settings.database_url, settings.migrate_database_url)


def _client_id() -> str:
    return f"driftlock-worker-{socket.gethostname()}"


def _ensure(connection: KafkaConnection, settings: Settings) -> None:
    partitions, replication = settings.kafka_partitions, settings.kafka_replication
    try:
        ensure_topic(connection, settings.kafka_topic, partitions, replication, client_id=_client_id())
    except TopicRefused as error:
        raise StartupRefused(str(error)) from None


def _database(settings: Settings, urls: DatabaseUrls, telemetry: Telemetry, log: FilteringBoundLogger) -> Database:
    """As a server's, with more ways for steps and appends: each shard has its own."""
    limits = PoolLimits(node_connections_max=8, append_connections_max=6, apply_connections_max=6)
    return Database(urls.app, limits=limits, on_change=OutageReport(telemetry, log), keeps_commits=not settings.may_forget)


def _share(settings: Settings, partition: int) -> Share:
    """What the owner of one partition may take: one thread, and its part of what all partitions may take."""
    limits, partitions = shard_limits(settings), settings.kafka_partitions
    streams = max(RESIDENT_STREAMS_MIN, settings.resident_streams // partitions)
    backlog = min(limits.journal_bytes_max // 2, max(MIB, settings.backlog_bytes_max // partitions))
    return Share(partition + 1, 1, streams, backlog, limits)


def _consumer(connection: KafkaConnection, settings: Settings, table: PartitionTable) -> PartitionConsumer:
    session_ms = settings.kafka_session_seconds * 1000
    configuration: dict[str, object] = {
        **connection.options(_client_id()),
        "group.id": settings.kafka_group,
        "session.timeout.ms": session_ms,
        "heartbeat.interval.ms": session_ms // HEARTBEATS_A_SESSION,
    }
    if settings.kafka_instance_id is not None:
        configuration["group.instance.id"] = settings.kafka_instance_id
    limits = ConsumerLimits()
    return PartitionConsumer(configuration, settings.kafka_topic, table, limits=limits, monotonic_s=time.monotonic)


def _stepped(telemetry: Telemetry, evidence: EvidenceKeeper | None, step: Step) -> None:
    """What a committed step changes for those who watch."""
    telemetry.committed(step)
    if evidence is not None:
        evidence.stepped(step)


async def _joined(consumer: PartitionConsumer) -> None:
    if not consumer.seen.joined:
        raise Unavailable("the group has not given out its partitions yet")
    if consumer.seen.away:
        raise Unavailable("no broker answers")


async def _serving(leaving: asyncio.Event) -> None:
    if leaving.is_set():
        raise Unavailable("the worker is stopping")
