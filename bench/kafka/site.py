"""A broker, a PostgreSQL and workers on a machine of their own, and what each of them uses of its processors."""

import asyncio
import os
import secrets
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from bench.ingest.processes import cpu_s
from bench.kafka.load import PARTITIONS, tenants
from driftlock.accounts.plans import ENTERPRISE
from driftlock.storage.datafolder import APP_ROLE
from driftlock.storage.embedded import EmbeddedPostgres
from driftlock.storage.migrate import migrate
from driftlock.storage.pool import Database
from driftlock.storage.tenants import Tenants
from tests.conftest import Cluster, Urls
from tests.kafka.broker import Broker
from tests.kafka.workers import FINDINGS, WorkerProcess

STANDING = """
select (select coalesce(sum(next_offset), 0) from driftlock.source_position)::bigint as offsets,
       (select sum(next_seq - 1) from driftlock.journal_shard)::bigint as journaled,
       (select sum(applied_seq) from driftlock.journal_position)::bigint as applied
"""
SCORED = "select coalesce(sum(events), 0)::bigint from driftlock.stream_status"
POLL_S = 0.05
LAG_S = 300.0
Rows = list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds so far: workers' together, PostgreSQL's, the broker's."""

    workers_s: float
    database_s: float
    broker_s: float

    def since(self, before: "Used") -> "Used":
        """The difference."""
        return Used(self.workers_s - before.workers_s, self.database_s - before.database_s, self.broker_s - before.broker_s)

    @property
    def all_s(self) -> float:
        """All of it."""
        return self.workers_s + self.database_s + self.broker_s


@dataclass
class Site:
    """One broker and one PostgreSQL. Databases are copies of one that has shards and tenants."""

    home: Path
    broker: Broker
    cluster: Cluster
    folder: Path
    template: str = "bench"
    workers: list["Worker"] = field(default_factory=list)
    made: int = 0

    async def database(self) -> Urls:
        """A database in which nothing was journaled yet."""
        self.made += 1
        await self.cluster.administer(f"create database bench_{self.made} template {self.template}")
        return self.cluster.urls(f"bench_{self.made}")

    def topic(self, partitions: int = PARTITIONS) -> str:
        """An empty one."""
        self.made += 1
        name = f"bench-{self.made}"
        self.broker.create_topic(name, partitions)
        return name

    def worker(self, urls: Urls, topic: str, cores: Collection[int] = (), **variables: str) -> "Worker":
        """One that runs, on some processors alone."""
        self.made += 1
        known = {"DRIFTLOCK_JOURNAL_BYTES_MAX": "8GiB", "DRIFTLOCK_KAFKA_GROUP": f"group-{topic}", **variables}
        made = Worker(self.home / f"worker-{self.made}.out", urls, self.broker, topic, PARTITIONS, **known)
        with on(cores):
            made.start(wait=False)
        self.workers.append(made)
        return made

    def used(self) -> Used:
        """So far; of workers that are gone nothing."""
        broker = self.broker.process
        return Used(
            sum(cpu_s(worker.pid) for worker in self.workers),
            sum(cpu_s(pid, children=True) for pid in self.postgres()),
            0.0 if broker is None else cpu_s(broker.pid),
        )

    def postgres(self) -> list[int]:
        """Processes of the database."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and str((entry / "cwd").readlink()) == str(self.folder):
                    found.append(int(entry.name))
        return found

    def pin(self, cores: Collection[int]) -> None:
        """Let the broker and the database run on these processors alone."""
        broker = [] if self.broker.process is None else [self.broker.process.pid]
        for pid in (*broker, *self.postgres()):
            for task in Path(f"/proc/{pid}/task").iterdir():
                with suppress(OSError):
                    os.sched_setaffinity(int(task.name), cores)

    def stop_workers(self) -> None:
        """All of them, by SIGTERM."""
        for worker in self.workers:
            worker.stop()
        self.workers.clear()


class Worker(WorkerProcess):
    """A worker of the tests, which can be looked at."""

    @property
    def pid(self) -> int:
        """Of its process."""
        if self.process is None:
            raise RuntimeError("the worker was not started")
        return self.process.pid

    def alive(self) -> None:
        """Leave the benchmark when it is gone."""
        if self.process is not None and self.process.poll() is not None:
            sys.exit(self.output.read_text())


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a database is."""

    offsets: int
    journaled: int
    applied: int


class Looker:
    """One connection that looks at a database, so that looking costs little."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """It stays the caller's."""
        self.connection = connection

    async def standing(self) -> Standing:
        """Now."""
        row = await self.connection.fetchrow(STANDING)
        if row is None:
            raise RuntimeError("no answer")
        return Standing(**row)

    async def findings(self) -> list[tuple[object, ...]]:
        """All that was found, without ids of this database."""
        return [tuple(row) for row in await self.connection.fetch(FINDINGS)]

    async def scored(self) -> int:
        """Records."""
        value: int = await self.connection.fetchval(SCORED)
        return value

    async def done(self, workers: Iterable[Worker], offsets: int) -> Standing:
        """Wait until all messages are journaled and scored."""
        return await self._until(workers, lambda it: it.offsets >= offsets and it.applied >= it.journaled, POLL_S)

    async def _until(self, workers: Iterable[Worker], reached: Callable[[Standing], bool], pause_s: float) -> Standing:
        end_s = time.monotonic() + LAG_S
        while True:
            found = await self.standing()
            if reached(found):
                return found
            for worker in workers:
                worker.alive()
            if time.monotonic() > end_s:
                sys.exit(f"not done after {LAG_S:.0f} s: {found}")
            await asyncio.sleep(pause_s)


@asynccontextmanager
async def looking(urls: Urls) -> AsyncIterator[Looker]:
    """At a database, as its owner."""
    connection = await asyncpg.connect(urls.owner)
    try:
        yield Looker(connection)
    finally:
        await connection.close()


@contextmanager
def on(cores: Collection[int]) -> Iterator[None]:
    """What is started meanwhile runs on these processors alone; none: on all that this process has."""
    before = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@asynccontextmanager
async def opened(home: Path) -> AsyncIterator[Site]:
    """Everything that the parts run on; it ends with them."""
    data = home / "database"
    async with EmbeddedPostgres(data, token_bytes=secrets.token_bytes, settings={"max_connections": "120"}) as embedded:
        cluster = Cluster(embedded)
        await cluster.administer("create database bench")
        urls = cluster.urls("bench")
        await migrate(urls.owner, APP_ROLE)
        connection = await asyncpg.connect(urls.owner)
        await connection.fetchval("select driftlock.journal_add_shards($1)", PARTITIONS)
        async with Database(urls.app) as database:
            for tenant in tenants():
                await Tenants(database).create(tenant.name, plan=ENTERPRISE)
        for tenant in tenants():
            await connection.execute("update driftlock.tenants set id = $1 where name = $2", tenant.tenant_id, tenant.name)
        await connection.close()
        with Broker(home) as broker:
            site = Site(home, broker, cluster, (data / "postgres" / "cluster").resolve())
            try:
                yield site
            finally:
                for worker in site.workers:
                    worker.close()


def median(values: Iterable[float]) -> float:
    """Of at least one."""
    return statistics.median(values)
