"""What the database owes, and whether it keeps what it commits: asked once a minute, and never by who collects metrics."""

import asyncio

from prometheus_client import CollectorRegistry, Gauge
from structlog.typing import FilteringBoundLogger

from driftlock.errors import DriftlockError
from driftlock.storage.checks import DANGERS, read_dangers
from driftlock.storage.debt import Debt, read_debt
from driftlock.storage.pool import Database

DEBT_PERIOD_S = 60.0
SAFETY_PERIOD_S = 60.0
COMMIT_PARAMETER = "synchronous_commit"


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


async def watch_safety(
    database: Database,
    registry: CollectorRegistry,
    log: FilteringBoundLogger,
    *,
    strict: bool,
    period_s: float = SAFETY_PERIOD_S,
) -> None:
    """For ever: ask for the parameters that a start is refused with, since some can be changed under a running server.

    One that is set so has 1 in the gauge and, where that is `strict`, an error in the log when it comes up; connections that
    answer commits too early are replaced then.
    """
    unsafe = Gauge(
        "driftlock_unsafe_database",
        "1 while PostgreSQL has a parameter that lets it forget or damage what was acknowledged.",
        ["parameter"],
        registry=registry,
    )
    for danger in DANGERS:
        unsafe.labels(danger.parameter)
    told: set[str] = set()
    while True:
        try:
            found = await read_dangers(database)
        except DriftlockError:
            pass  # as above
        else:
            for danger in DANGERS:
                unsafe.labels(danger.parameter).set(danger.parameter in found)
            if strict:
                for new in sorted(found.keys() - told):
                    log.error("unsafe database", what=found[new])
                if COMMIT_PARAMETER in found:
                    await database.renew()
            told = set(found)
        await asyncio.sleep(period_s)
