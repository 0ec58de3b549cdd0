"""A tenant, and an owner of the journal, in a fresh database."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest_asyncio

from driftlock.storage.journal import Journal
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.tenants import Tenants


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
