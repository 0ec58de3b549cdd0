"""The gauges of what the database owes, and one log line for each warning when it comes up."""

import asyncio

from prometheus_client import CollectorRegistry
from structlog.testing import CapturingLogger

from driftlock.storage.debt import ArchiveState, Debt, TableDebt
from driftlock.storage.pool import Database
from server.database_debt import DebtMetrics, watch_debt


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
