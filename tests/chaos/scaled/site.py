"""A site that is spread over processes: made, and looked at from outside.

Feeder ──OTLP/HTTP──> gateway ──> topic ──> workers ──> PostgreSQL <── api <── Asker
                                    └─────> one worker, later and undisturbed ──> a copy of the database as it was at first
"""

import random
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from confluent_kafka import Consumer, KafkaError, TopicPartition

from collector.kafka.partitions import partition_of
from driftlock.accounts.keys import RANDOMNESS_BYTES, KeyKind, Scope, mint
from driftlock.accounts.plans import ENTERPRISE
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES, custom
from driftlock.storage.keys import Keys
from driftlock.storage.pool import Database
from driftlock.storage.shared_journal import SharedJournal
from driftlock.storage.tenants import Tenants
from tests.chaos.cluster import Cluster, blocking, query
from tests.chaos.scaled.feeding import Asker, Customer, Feeder
from tests.chaos.workload import PROFILE
from tests.conftest import Urls
from tests.e2e.harness import free_port
from tests.kafka.broker import Broker
from tests.kafka.workers import WorkerProcess

PARTITIONS, WORKERS, SESSION_S = 8, 3, 3
TOPIC = "driftlock.records"
COPY = "undisturbed"
REST_S = 0.25
END_S = 20.0
CONNECTIONS = "300"
"""Of the database: a worker takes up to 31, the others up to 21 each (docs/kafka.md)."""
JOURNAL_BYTES_MAX = 2**32


class Gateway(WorkerProcess):
    """`driftlock gateway`; `otlp_port` is where it takes OTLP/HTTP."""

    command = "gateway"
    otlp_port = 0


class Api(WorkerProcess):
    """`driftlock api`."""

    command = "api"


@dataclass
class ScaledSite:
    """What faults are done to. `workers` are those that are to run, `frozen` those of them that do not at the moment."""

    folder: Path
    cluster: Cluster
    broker: Broker
    urls: Urls
    gateway: Gateway
    api: Api
    rng: random.Random
    customers: list[Customer]
    feeders: list[Feeder]
    asker: Asker
    workers: list[WorkerProcess] = field(default_factory=list)
    made: list[WorkerProcess] = field(default_factory=list)

    def worker(self, urls: Urls) -> WorkerProcess:
        """A further one, not started; it ends with the site."""
        output = self.folder / f"worker-{len(self.made)}.out"
        made = WorkerProcess(output, urls, self.broker, TOPIC, PARTITIONS, **settings())
        self.made.append(made)
        return made

    def join(self) -> WorkerProcess:
        """A further worker that takes part."""
        self.workers.append(self.worker(self.urls))
        self.workers[-1].start(wait=False)
        return self.workers[-1]

    def offsets(self) -> dict[int, int]:
        """The next offset of each partition, as far as the database is there to say."""
        rows = query(self.urls.owner, "select partition, next_offset from driftlock.source_position")
        return {row["partition"]: row["next_offset"] for row in rows}


def settings() -> dict[str, str]:
    """Of workers."""
    return {"DRIFTLOCK_KAFKA_SESSION_SECONDS": str(SESSION_S), "DRIFTLOCK_DEDUP_WINDOW_SECONDS": "3600"}


def named(dsn: str, database: str) -> str:
    """The connection string of another database of the same cluster."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


def ends(broker: Broker) -> dict[int, int]:
    """The offset after the last message of each partition, found by reading all of them."""
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "ends", "enable.partition.eof": True})
    found: dict[int, int] = {}
    try:
        consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
        last = dict.fromkeys(range(PARTITIONS), 0)
        while len(found) < PARTITIONS:
            message = consumer.poll(END_S)
            assert message is not None, "the broker does not say where the topic ends"
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            if message.error() is None:
                last[partition] = (offset or 0) + 1
            elif message.error().code() == KafkaError._PARTITION_EOF:
                found[partition] = last[partition]
    finally:
        consumer.close()
    return found


@contextmanager
def open_scaled_site(folder: Path, *, seed: int) -> Iterator[ScaledSite]:
    """A site in `folder`, at work: its customers send already. However it ends, all of it ends."""
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(folder / "cluster", settings={"max_connections": CONNECTIONS}))
        broker = stack.enter_context(Broker(folder))
        broker.create_topic(TOPIC, PARTITIONS)
        urls = Urls(cluster.owner_dsn, cluster.app_dsn)
        cluster.query("select driftlock.journal_add_shards($1)", PARTITIONS)
        customers = blocking(lambda: _customers(urls.app))
        blocking(lambda: _copy(urls))
        port = free_port()
        doors = {"DRIFTLOCK_OTLP_HTTP_ADDR": f"127.0.0.1:{port}", "DRIFTLOCK_OTLP_GRPC_ADDR": "off"}
        gateway = Gateway(folder / "gateway.out", urls, broker, TOPIC, PARTITIONS, **settings(), **doors)
        api = Api(folder / "api.out", urls, broker, TOPIC, PARTITIONS, **settings())
        feeders = [Feeder(it, port, seed=seed, rest_s=REST_S) for it in customers]
        asker = Asker(customers[0], lambda: api.port)
        site = ScaledSite(folder, cluster, broker, urls, gateway, api, random.Random(seed), customers, feeders, asker)
        stack.callback(lambda: [process.close() for process in (gateway, api, *site.made)])
        for _ in range(WORKERS):
            site.join()
        api.start()
        gateway.start()
        for sending in (*feeders, asker):
            stack.enter_context(sending)
        yield site


async def _customers(dsn: str) -> list[Customer]:
    """One for each partition, with a stream of a small profile."""
    profile = custom(PROFILES[DEFAULT_PROFILE], PROFILE)
    found: dict[int, Customer] = {}
    async with Database(dsn) as database:
        tenants = Tenants(database)
        while len(found) < PARTITIONS:
            made = await tenants.create(f"tenant {len(found)} {secrets.token_hex(4)}", plan=ENTERPRISE)
            partition = partition_of(made.tenant_id, StreamKey(Signal.LOGS, "any"), PARTITIONS)
            if partition in found:
                continue
            key = mint(KeyKind.LIVE, secrets.token_bytes(RANDOMNESS_BYTES))
            scopes = [Scope.INGEST, Scope.READ]
            await Keys(database).insert(made.tenant_id, key, kind=KeyKind.LIVE, name="chaos", scopes=scopes)
            found[partition] = customer = Customer(partition, made.tenant_id, key.text)
            journal = SharedJournal(database, journal_bytes_max=JOURNAL_BYTES_MAX, home=lambda _, at=partition: at + 1)  # type: ignore[misc]
            await journal.create_stream(made.tenant_id, StreamKey(Signal.LOGS, customer.service), profile)
    return [found[partition] for partition in sorted(found)]


async def _copy(urls: Urls) -> None:
    connection = await asyncpg.connect(named(urls.owner, "postgres"))
    try:
        await connection.execute(f"create database {COPY} template {urlsplit(urls.owner).path[1:]}")
    finally:
        await connection.close()
