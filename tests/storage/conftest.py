"""A tenant, and an owner of the journal, in a fresh database."""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest_asyncio

from driftlock.storage.datafolder import APP_ROLE
from driftlock.storage.journal import Journal
from driftlock.storage.migrate import add_shards, migrate
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.tenants import Tenants
from tests.conftest import EMPTY, Cluster, Urls

SHARDS = 3


@pytest_asyncio.fixture
async def tenant(database: Database) -> UUID:
    return (await Tenants(database).ensure_local()).tenant_id


@pytest_asyncio.fixture
async def shard(database: Database) -> Shard:
    acquired = Shard(database)
    await acquired.acquire()
    return acquired


@pytest_asyncio.fixture
async def journal(database: Database, shard: Shard) -> AsyncIterator[Journal]:
    async with Journal(database, shard, node="node-1", on_commit=lambda _: None) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sharded_database(cluster: Cluster) -> AsyncIterator[Urls]:
    """A migrated database whose journal has shards besides shard 0."""
    urls = await cluster.create()
    await migrate(urls.owner, APP_ROLE)
    await add_shards(urls.owner, SHARDS)
    yield urls
    await cluster.drop(urls)


@pytest_asyncio.fixture
async def sharded_urls(sharded_database: Urls) -> Urls:
    """The same, without rows."""
    connection = await asyncpg.connect(sharded_database.owner)
    await connection.execute(EMPTY)
    await connection.close()
    return sharded_database


@pytest_asyncio.fixture
async def sharded(sharded_urls: Urls) -> AsyncIterator[Database]:
    """Pools of it."""
    async with Database(sharded_urls.app) as opened:
        yield opened


@pytest_asyncio.fixture
async def sharded_owner(sharded_urls: Urls) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A superuser's connection to it."""
    connection = await asyncpg.connect(sharded_urls.owner)
    yield connection
    await connection.close()
