"""Taking the journal over from an owner that holds it and does nothing any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from driftlock.errors import Unavailable
from driftlock.storage.lanes import NODE_ROLE
from driftlock.storage.pool import Database, PoolLimits
from driftlock.storage.shard import Shard
from tests.conftest import Urls

IDLE_MS = 200
HOLD = "select from driftlock.journal_shard for update"


@asynccontextmanager
async def frozen_owner(urls: Urls) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A client that sent half of a statement, to be analysed, in a transaction that holds the journal."""
    settings = {"role": NODE_ROLE, "statement_timeout": str(IDLE_MS), "idle_in_transaction_session_timeout": str(IDLE_MS)}
    connection = await asyncpg.connect(urls.app, server_settings=settings)
    try:
        await connection.execute("begin")
        await connection.execute(HOLD)
        await connection.prepare("select 1 + 1")
        yield connection
    finally:
        connection.terminate()


async def test_who_is_frozen_in_a_statement_is_put_out(database_urls: Urls) -> None:
    """The timeouts of the database do not end it: were that so, there would be nothing to put out."""
    limits = PoolLimits(node_statement_timeout_ms=300)
    async with Database(database_urls.app, limits=limits) as database, frozen_owner(database_urls):
        shard = Shard(database)
        await asyncio.sleep(5 * IDLE_MS / 1000)
        with pytest.raises(Unavailable):
            await shard.acquire()
        assert await shard.put_out(held_s_min=60.0) == 0
        assert await shard.put_out(held_s_min=0.5) == 1
        assert await shard.acquire() > 0


async def test_who_waits_for_the_journal_or_works_elsewhere_is_left_alone(database_urls: Urls) -> None:
    async with Database(database_urls.app) as database, frozen_owner(database_urls):
        waiting = asyncio.create_task(Shard(database).acquire())
        async with database.tenant(await database.node(lambda it: it.fetchval("select driftlock.uuid_v7()"))) as busy:
            await busy.fetch("select from driftlock.tenants")
            await asyncio.sleep(0.3)
            assert await Shard(database).put_out(held_s_min=0.1) == 1
            assert await busy.fetch("select from driftlock.tenants") == []
        assert await waiting > 0
