"""A server goes on with the deletion of tenants that a command has not finished."""

import asyncio
import io
import logging

import asyncpg
import structlog

from driftlock.storage.deletion import Deletions
from driftlock.storage.pool import Database
from driftlock.storage.tenants import Tenants
from server.pipeline import DELETION_PERIOD_S, finish_deletions
from tests.conftest import Urls


async def test_closed_tenants_go_and_others_stay(database: Database, owner: asyncpg.Connection) -> None:
    tenants = Tenants(database)
    kept, *gone = [(await tenants.create(name)).tenant_id for name in ("a", "b", "c")]
    for tenant_id in gone:
        await Deletions(database).close(tenant_id)
    finishing = asyncio.create_task(finish_deletions(Deletions(database), structlog.get_logger(), 0.01))
    async with asyncio.timeout(30):
        while await owner.fetchval("select count(*) from driftlock.tenants") > 1:  # noqa: ASYNC110  # the database tells nobody
            await asyncio.sleep(0.02)
    assert not finishing.done()
    finishing.cancel()
    assert [row["id"] for row in await owner.fetch("select id from driftlock.tenants")] == [kept]
    assert DELETION_PERIOD_S <= 60


async def test_a_database_that_is_away_is_told_and_waited_for(database_urls: Urls) -> None:
    told = io.StringIO()
    log = structlog.wrap_logger(
        structlog.PrintLogger(told), wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING), processors=[
            structlog.processors.JSONRenderer()
        ],
    )  # fmt: skip
    finishing = asyncio.create_task(finish_deletions(Deletions(Database(database_urls.app)), log, 0.01))  # it is not open
    async with asyncio.timeout(30):
        while "a tenant is not being deleted" not in told.getvalue():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert not finishing.done()
    finishing.cancel()
