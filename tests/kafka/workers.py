"""What tests of workers share: a database with shards, worker processes, messages to them, and what came out."""

import asyncio
import itertools
import signal
import subprocess
import time
from array import array
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx
import pytest
import pytest_asyncio
from confluent_kafka import Producer

from collector.kafka.message import KafkaMessage, encode
from collector.kafka.partitions import partition_of
from driftlock.accounts.plans import ENTERPRISE
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.ports import StreamBatch, Submission
from driftlock.storage.datafolder import APP_ROLE
from driftlock.storage.migrate import migrate
from driftlock.storage.pool import Database
from driftlock.storage.tenants import Tenants
from tests.conftest import Cluster, Urls
from tests.e2e.harness import ANSWER_S, COMMAND, START_S, STOP_S, environment, free_port, freeze, shop_log, stormy, wait_for
from tests.kafka.broker import Broker

PARTITIONS = 4
SESSION_S = 2
PATIENT = {"DRIFTLOCK_KAFKA_SESSION_SECONDS": "30"}
"""For what is counted of one worker: on a busy machine it may lose its partitions in a short session, and begin anew."""
TEMPLATE = "workers_template"
BATCH = 100
LINES, ODD = 3000, 2000
FIRST_NS = 1_700_000_000_000_000_000


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template(cluster: Cluster) -> str:
    """A migrated database with shards, to be copied. A module that imports it makes it anew."""
    await cluster.administer(f"drop database if exists {TEMPLATE}")
    await cluster.administer(f"create database {TEMPLATE}")
    owner = cluster.urls(TEMPLATE).owner
    await migrate(owner, APP_ROLE)
    connection = await asyncpg.connect(owner)
    await connection.fetchval("select driftlock.journal_add_shards($1)", PARTITIONS)
    await connection.close()
    return TEMPLATE


@dataclass
class Site:
    """A database and a broker; topics are named by who asks."""

    broker: Broker
    cluster: Cluster
    home: Path
    made: list["WorkerProcess"] = field(default_factory=list)
    databases: list[Urls] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def database(self) -> Urls:
        """An empty database with shards."""
        name = f"workers_{self.broker.port}_{next(self.numbers)}"
        await self.cluster.administer(f"create database {name} template {TEMPLATE}")
        self.databases.append(self.cluster.urls(name))
        return self.databases[-1]

    @asynccontextmanager
    async def away(self, urls: Urls) -> AsyncIterator[None]:
        """Nobody gets to the database, and whoever was there is sent away."""
        name = urlsplit(urls.owner).path[1:]
        await self.cluster.administer(f"alter database {name} allow_connections false")
        await Outcome(self.cluster.urls("postgres")).ask(END, name)
        try:
            yield
        finally:
            await self.cluster.administer(f"alter database {name} allow_connections true")

    def topic(self, partitions: int) -> str:
        name = f"topic-{next(self.numbers)}"
        self.broker.create_topic(name, partitions)
        return name

    def worker(self, urls: Urls, topic: str, partitions: int, **variables: str) -> "WorkerProcess":
        made = WorkerProcess(self.home / f"worker-{next(self.numbers)}.out", urls, self.broker, topic, partitions, **variables)
        self.made.append(made)
        return made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def reference(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What one worker that nothing disturbs finds in what `feed` sends."""
    home = tmp_path_factory.mktemp("reference")
    with Broker(home) as broker:
        site = Site(broker, cluster, home)
        urls, topic = await site.database(), site.topic(PARTITIONS)
        await feed(urls, Sender(broker, topic, PARTITIONS))
        worker = site.worker(urls, topic, PARTITIONS)
        worker.start(wait=False)
        outcome = Outcome(urls)
        await outcome.until("all is scored", scored=PARTITIONS * LINES, behind=0)
        found = await outcome.findings()
        worker.close()
        await cluster.drop(urls)
    assert len({finding[:2] for finding in found}) == PARTITIONS
    return found


@pytest_asyncio.fixture
async def site(broker: Broker, cluster: Cluster, template: str, tmp_path: Path) -> AsyncIterator[Site]:
    """Everything stops with the test."""
    running = Site(broker, cluster, tmp_path)
    yield running
    for worker in running.made:
        worker.close()
    for urls in running.databases:
        await cluster.drop(urls)


class WorkerProcess:
    """`driftlock worker`, or another command that has its settings."""

    command = "worker"

    def __init__(self, output: Path, urls: Urls, broker: Broker, topic: str, partitions: int, **variables: str) -> None:
        self.output = output
        self.port = free_port()
        known = {
            "DATABASE_URL": urls.app,
            "DRIFTLOCK_HTTP_ADDR": f"127.0.0.1:{self.port}",
            "DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS": broker.address,
            "DRIFTLOCK_KAFKA_TOPIC": topic,
            "DRIFTLOCK_KAFKA_PARTITIONS": str(partitions),
            "DRIFTLOCK_KAFKA_SESSION_SECONDS": str(SESSION_S),
        }
        self.environment = environment(**{**known, **variables})
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen([*COMMAND, self.command], env=self.environment, stdout=output, stderr=output)
        if wait:
            wait_for("the worker to be ready", self.ready)

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=ANSWER_S).status_code == 200
        except httpx.HTTPError:
            return False

    def metrics(self) -> dict[str, float]:
        """Every sample by its name with labels; empty while it does not answer."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=ANSWER_S).text
        except httpx.HTTPError:
            return {}
        lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def partitions(self) -> int:
        """Those that it has taken over."""
        found = self.metrics()
        opening = found.get('driftlock_worker_paused_partitions{limit="opening"}', 0)
        return int(found.get("driftlock_worker_partitions", 0) - opening)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def freeze(self) -> None:
        """It stands still until SIGCONT."""
        assert self.process is not None
        freeze(self.process)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_S)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the command line with this worker's settings."""
        return subprocess.run(
            [*COMMAND, *arguments], env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )


class Sender:
    """Puts messages into a topic as a gateway does."""

    def __init__(self, broker: Broker, topic: str, partitions: int, spread: int = 1) -> None:
        self._topic, self._partitions, self._spread = topic, partitions, spread
        self._producer = Producer({"bootstrap.servers": broker.address, "enable.idempotence": True, "acks": "all"})

    def send(self, submission: Submission) -> None:
        for message in encode(submission):
            self.put(message, partition_of(submission.tenant_id, message.stream, self._partitions, self._spread))

    def all(self, these: Sequence[Submission]) -> None:
        for it in these:
            self.send(it)
        self.flush()

    def put(self, message: KafkaMessage, partition: int) -> None:
        self.raw(partition, message.value, message.headers, message.key)

    def raw(self, partition: int, value: bytes, headers: Sequence[tuple[str, bytes]] = (), key: bytes | None = None) -> None:
        self._producer.produce(self._topic, value, key, partition, headers=list(headers))

    def flush(self) -> None:
        assert self._producer.flush(START_S) == 0


def tenant_id(number: int) -> UUID:
    """The id of the tenant `tenant-<number>`, whose records lie in that partition of `PARTITIONS`."""
    of = (UUID(int=found) for found in itertools.count(1))
    return next(it for it in of if partition_of(it, StreamKey(Signal.LOGS, "any", "", ""), PARTITIONS) == number)


async def tenant(urls: Urls, number: int) -> UUID:
    """Make it."""
    name = f"tenant-{number}"
    async with Database(urls.app) as database:
        await Tenants(database).create(name, plan=ENTERPRISE)
    await Outcome(urls).ask("update driftlock.tenants set id = $1 where name = $2", tenant_id(number), name)
    return tenant_id(number)


async def records(urls: Urls) -> list[Submission]:
    """The same ones for every database: a log of a tenant in each partition, in turns. The tenants are there then."""
    made = [submissions(await tenant(urls, number), f"shop-{number}", LINES, ODD, number) for number in range(PARTITIONS)]
    return [it for together in zip(*made, strict=True) for it in together]


async def feed(urls: Urls, sender: "Sender") -> None:
    """Send all of them."""
    sender.all(await records(urls))


def submissions(of: UUID, service: str, lines: int, odd_at: int | None = None, seed: int = 7) -> list[Submission]:
    """A service's log, with nonsense from `odd_at` on, as requests of `BATCH` records."""
    texts = shop_log(lines, 10**9, seed)
    if odd_at is not None:
        texts = stormy(texts, odd_at, odd_at + 40, seed)
    made = []
    for number, start in enumerate(range(0, lines, BATCH)):
        part = [text.encode() for text in texts[start : start + BATCH]]
        batch = RecordBatch(
            text=b"".join(part),
            lengths=array("I", map(len, part)),
            times_ns=array("Q", [FIRST_NS + 10**9 * (start + at) for at in range(len(part))]),
            historical=True,
        )
        key = StreamKey(Signal.LOGS, service, "", "")
        request = f"{service}-{number}".encode().ljust(16, b".")
        made.append(Submission(of, Signal.LOGS, time.time_ns(), (StreamBatch(key, batch),), request))
    return made


FINDINGS = """
select t.name, s.slug, a.window_no, a.start_ns, a.end_ns, a.first_event, a.last_event, a.ncd, a.p_value, a.confidence,
       a.explanation, a.question, a.body
  from driftlock.anomalies a join driftlock.streams s on s.id = a.stream_id
  join driftlock.tenants t on t.id = a.tenant_id order by t.name, s.slug, a.window_no, a.question, a.body
"""
END = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1"
COUNTS = """
select (select coalesce(sum(records), 0) from driftlock.journal where kind = 0)::bigint as journaled,
       (select count(*) from driftlock.journal where kind = 0) as rows,
       (select coalesce(sum(records), 0) from driftlock.meter)::bigint as metered,
       (select coalesce(sum(events), 0) from driftlock.stream_status)::bigint as scored,
       (select coalesce(sum(next_offset), 0) from driftlock.source_position)::bigint as offsets,
       (select count(*) from driftlock.dead_letters where state = 'dead') as dead,
       (select count(*) from driftlock.journal_shard s join driftlock.journal_position p using (shard)
         where s.next_seq - 1 > p.applied_seq) as behind,
       (select sum(next_seq - 1) from driftlock.journal_shard)::bigint as position,
       (select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()) as waiting
"""


class Outcome:
    """What is in a database, seen by its owner."""

    def __init__(self, urls: Urls) -> None:
        self._urls = urls

    async def ask(self, sql: str, *arguments: object) -> list[Any]:
        connection = await asyncpg.connect(self._urls.owner)
        try:
            return [tuple(row) for row in await connection.fetch(sql, *arguments)]
        finally:
            await connection.close()

    @asynccontextmanager
    async def held(self, sql: str) -> AsyncIterator[None]:
        """Hold what a statement locks."""
        connection = await asyncpg.connect(self._urls.owner)
        try:
            async with connection.transaction():
                await connection.execute(sql)
                yield
        finally:
            await connection.close()

    async def counts(self) -> dict[str, int]:
        connection = await asyncpg.connect(self._urls.owner)
        try:
            row = await connection.fetchrow(COUNTS)
            assert row is not None
            return dict(row)
        finally:
            await connection.close()

    async def until(self, what: str, timeout_s: float = START_S, **wanted: int) -> dict[str, int]:
        """Wait until the counts are these."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found = await self.counts()
            if {**found, **wanted} == found:
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"{what}: {found}, not {wanted}")

    async def beyond(self, what: str, timeout_s: float = START_S, **least: int) -> dict[str, int]:
        """Wait until the counts are larger than these."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found = await self.counts()
            if all(found[name] > count for name, count in least.items()):
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"{what}: {found}, not more than {least}")

    async def findings(self) -> list[Any]:
        return await self.ask(FINDINGS)
