"""What the database owes, as metrics: asked for once a minute in the background, and never by who collects metrics."""

import asyncio

from prometheus_client import CollectorRegistry, Gauge
from structlog.typing import FilteringBoundLogger

from driftlock.errors import DriftlockError
from driftlock.storage.debt import Debt, read_debt
from driftlock.storage.pool import Database

DEBT_PERIOD_S = 60.0


class DebtMetrics:
    """Gauges in `registry`. The tables are ours and few, so they may be a label."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """They are 0 until the first `show`."""
        self._dead = Gauge("driftlock_dead_rows", "Dead rows that VACUUM has not removed yet.", ["table"], registry=registry)
        self._bytes = Gauge("driftlock_table_bytes", "Size of a table with its indexes.", ["table"], registry=registry)
        self._age = Gauge(
            "driftlock_oldest_transaction_age",
            "Transactions since the oldest one that is not frozen; PostgreSQL stops at 2^31.",
            registry=registry,
        )
        self._failing = Gauge("driftlock_archive_failing", "1 while the log can not be archived.", registry=registry)
        self._waiting = Gauge("driftlock_archive_waiting_bytes", "Log that waits for the archive.", registry=registry)

    def show(self, debt: Debt) -> None:
        """Publish this."""
        for table in debt.tables:
            self._dead.labels(table.name).set(table.dead_rows)
            self._bytes.labels(table.name).set(table.bytes)
        self._age.set(max((table.transaction_age for table in debt.tables), default=0))
        self._failing.set(debt.archive is not None and debt.archive.failing)
        self._waiting.set(debt.archive.waiting_bytes if debt.archive is not None else 0)


async def watch_debt(
    database: Database, metrics: DebtMetrics, log: FilteringBoundLogger, period_s: float = DEBT_PERIOD_S
) -> None:
    """For ever: ask, publish, and log each warning when it comes up."""
    told: set[str] = set()
    while True:
        try:
            debt = await read_debt(database)
        except DriftlockError:
            pass  # the database is away, which others report; the metrics keep what they had
        else:
            metrics.show(debt)
            warnings = debt.warnings()
            for new in sorted(warnings.keys() - told):
                log.warning("the database is in debt", what=warnings[new])
            told = set(warnings)
        await asyncio.sleep(period_s)
