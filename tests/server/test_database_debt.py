"""The gauges of what the database owes, and one log line for each warning when it comes up."""

import asyncio
from urllib.parse import urlsplit

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import CapturingLogger

from driftlock.storage.debt import ArchiveState, Debt, TableDebt
from driftlock.storage.pool import Database
from server.database_debt import DebtMetrics, watch_debt, watch_safety
from tests.conftest import Urls


def values(registry: CollectorRegistry) -> dict[str, float]:
    return {
        f"{sample.name}{''.join(sample.labels.values())}": sample.value
        for metric in registry.collect()
        for sample in metric.samples
    }


def test_the_gauges() -> None:
    registry = CollectorRegistry()
    metrics = DebtMetrics(registry)
    tables = (TableDebt("meter", 1, 7, 8192, 30), TableDebt("journal", 1, 9, 4096, 50))
    metrics.show(Debt(tables, ArchiveState(failing=True, failures=1, waiting_bytes=5, file="x")))
    assert values(registry) == {
        "driftlock_dead_rowsmeter": 7,
        "driftlock_dead_rowsjournal": 9,
        "driftlock_table_bytesmeter": 8192,
        "driftlock_table_bytesjournal": 4096,
        "driftlock_oldest_transaction_age": 50,
        "driftlock_archive_failing": 1,
        "driftlock_archive_waiting_bytes": 5,
    }
    metrics.show(Debt(tables[:1], None))
    assert values(registry)["driftlock_archive_failing"] == 0
    assert values(registry)["driftlock_oldest_transaction_age"] == 30


async def test_it_is_asked_in_the_background_and_outlives_the_database(database: Database) -> None:
    registry, log = CollectorRegistry(), CapturingLogger()
    async with asyncio.timeout(10):
        task = asyncio.create_task(watch_debt(database, DebtMetrics(registry), log, period_s=0.01))
        while "driftlock_table_bytesjournal" not in values(registry):  # noqa: ASYNC110  # nobody announces it
            await asyncio.sleep(0.01)
        await database.__aexit__(None, None, None)
        await asyncio.sleep(0.05)
        assert not task.done()
        task.cancel()
    assert log.calls == []  # nothing is owed


async def until(registry: CollectorRegistry, sample: str, value: float) -> None:
    async with asyncio.timeout(10):
        while values(registry).get(sample) != value:  # noqa: ASYNC110  # nobody announces it
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("strict", [True, False], ids=["refused", "tolerated"])
async def test_a_parameter_that_was_made_unsafe_meanwhile_is_told(
    database_urls: Urls, owner: "asyncpg.Connection[asyncpg.Record]", strict: bool
) -> None:
    registry, log = CollectorRegistry(), CapturingLogger()
    place, sample = f"database {urlsplit(database_urls.app).path[1:]}", "driftlock_unsafe_databasezero_damaged_pages"
    async with Database(database_urls.app) as database:
        task = asyncio.create_task(watch_safety(database, registry, log, strict=strict, period_s=0.01))
        try:
            await until(registry, sample, 0)
            await owner.execute(f"alter {place} set zero_damaged_pages = on")
            await database.renew()
            await until(registry, sample, 1)
            await owner.execute(f"alter {place} reset zero_damaged_pages")
            await database.renew()
            await until(registry, sample, 0)
        finally:
            await owner.execute(f"alter {place} reset zero_damaged_pages")
            task.cancel()
            await asyncio.wait([task])
    said = [(call.method_name, call.kwargs["what"].partition(",")[0]) for call in log.calls]
    assert said == ([("error", "zero_damaged_pages is on")] if strict else [])


async def test_connections_that_have_begun_to_forget_are_replaced(database: Database) -> None:
    """A reload of the server's configuration changes connections that are open."""
    registry, log, sample = CollectorRegistry(), CapturingLogger(), "driftlock_unsafe_databasesynchronous_commit"
    await database.node(lambda connection: connection.execute("set synchronous_commit = off"))
    task = asyncio.create_task(watch_safety(database, registry, log, strict=True, period_s=0.01))
    async with asyncio.timeout(10):
        while not log.calls:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await until(registry, sample, 0)
    task.cancel()
    assert await database.node(lambda connection: connection.fetchval("show synchronous_commit")) == "on"
    assert len(log.calls) == 1
