"""A real PostgreSQL for every test that wants one: one cluster a session, and an empty migrated database a test.

Making a database costs ten times what emptying one does, so tests share one unless they ask for their own.
"""

import itertools
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio

from driftlock.storage.datafolder import APP_ROLE
from driftlock.storage.embedded import EmbeddedPostgres
from driftlock.storage.migrate import migrate
from driftlock.storage.pool import Database

SHARED = "shared"
EMPTY = """
delete from driftlock.tenants;
delete from driftlock.users;
delete from driftlock.journal;
delete from driftlock.journal_request;
delete from driftlock.journal_slot;
delete from driftlock.journal_quarantine;
delete from driftlock.journal_moved;
delete from driftlock.journal_identity;
delete from driftlock.journal_era;
delete from driftlock.source_position;
delete from driftlock.source_gap;
delete from driftlock.bridged_position;
delete from driftlock.dead_letters;
delete from driftlock.spread;
delete from driftlock.shard_clock;
update driftlock.journal_shard set epoch = 0, next_seq = 1, truncated_seq = 0, bytes = 0,
  slot = 0, slot_first_seq = 1, slot_bytes = 0, slot_newest_ns = 0, slot_since_ns = 0;
update driftlock.journal_position set epoch = 0, applied_seq = 0;
"""


@dataclass
class Cluster:
    """A running embedded server with a migrated database."""

    postgres: EmbeddedPostgres
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def urls(self, name: str) -> "Urls":
        return Urls(with_database(self.postgres.owner_dsn, name), with_database(self.postgres.app_dsn, name))

    async def create(self) -> "Urls":
        """A new database without a schema."""
        name = f"test_{next(self.numbers)}"
        await self.administer(f"create database {name}")
        return self.urls(name)

    async def drop(self, urls: "Urls") -> None:
        await self.administer(f"drop database {urlsplit(urls.owner).path[1:]} with (force)")

    async def administer(self, sql: str) -> None:
        connection = await asyncpg.connect(with_database(self.postgres.owner_dsn, "postgres"))
        try:
            await connection.execute(sql)
        finally:
            await connection.close()


@dataclass(frozen=True)
class Urls:
    """Connection strings of one database."""

    owner: str
    app: str


def with_database(dsn: str, name: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with EmbeddedPostgres(tmp_path_factory.mktemp("cluster"), token_bytes=secrets.token_bytes) as postgres:
        running = Cluster(postgres)
        await running.administer(f"create database {SHARED}")
        await migrate(running.urls(SHARED).owner, APP_ROLE)
        yield running


@pytest_asyncio.fixture
async def database_urls(cluster: Cluster) -> Urls:
    """A migrated database without rows."""
    urls = cluster.urls(SHARED)
    connection = await asyncpg.connect(urls.owner)
    await connection.execute(EMPTY)
    await connection.close()
    return urls


@pytest_asyncio.fixture
async def empty_database_urls(cluster: Cluster) -> AsyncIterator[Urls]:
    """A fresh database without a schema."""
    urls = await cluster.create()
    yield urls
    await cluster.drop(urls)


@pytest_asyncio.fixture
async def database(database_urls: Urls) -> AsyncIterator[Database]:
    """Pools of a migrated database without rows."""
    async with Database(database_urls.app) as opened:
        yield opened


@pytest_asyncio.fixture
async def owner(database_urls: Urls) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A superuser's connection to the same database, for looking behind the scenes and for breaking things."""
    connection = await asyncpg.connect(database_urls.owner)
    yield connection
    await connection.close()
