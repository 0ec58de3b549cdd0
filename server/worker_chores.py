"""What a database needs from time to time, done by workers where there is no server: several may do it beside each other."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from functools import partial

from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from driftlock.errors import DriftlockError
from driftlock.storage.dead_letters import DeadLetters
from driftlock.storage.deletion import Deletions
from driftlock.storage.expiry import FindingExpiry
from driftlock.storage.pool import Database
from driftlock.storage.shared_journal import SharedJournal
from driftlock.storage.source_positions import SourcePositions
from driftlock.storage.stream_deletion import StreamDeletions
from driftlock.storage.tuning import Tuning
from server.database_debt import DebtMetrics, watch_debt, watch_safety
from server.pipeline import finish_deletions
from server.redaction import expire_findings, finish_streams
from server.tuning import Tuner
from server.views import forget_views
from server.worker_metrics import WorkerCounters

EXPIRY_PERIOD_S = 600.0
LEFT_PERIOD_S = 30.0


def chores(
    database: Database,
    shared: SharedJournal,
    registry: CollectorRegistry,
    counters: WorkerCounters,
    log: FilteringBoundLogger,
    *,
    strict: bool,
) -> dict[str, Callable[[], Awaitable[None]]]:
    """What must not end while the process works. `strict`: whether a database that may forget is an error."""
    return {
        "the retention of views": partial(forget_views, database, log),
        "the deletion of tenants": partial(finish_deletions, Deletions(database), log),
        "the deletion of streams": partial(finish_streams, StreamDeletions(database), log),
        "the expiry of findings": partial(expire_findings, FindingExpiry(database), log),
        "the expiry of dead letters": partial(expire_dead_letters, DeadLetters(database), log),
        "what was left out": partial(watch_left_out, database, counters),
        "the tuning of thresholds": Tuner(Tuning(database, shared), log, time.time_ns).run,
        "the debt of the database": partial(watch_debt, database, DebtMetrics(registry), log),
        "the safety of the database": partial(watch_safety, database, registry, log, strict=strict),
    }


async def expire_dead_letters(letters: DeadLetters, log: FilteringBoundLogger, period_s: float = EXPIRY_PERIOD_S) -> None:
    """Delete dead letters that nobody has wanted for long. It never returns."""
    while True:
        await asyncio.sleep(period_s)
        try:
            gone = await letters.expire()
            if gone:
                log.info("dead letters are over", letters=gone)
        except DriftlockError as error:  # no reason to take no more records
            log.warning("dead letters that are over stay", why=error.message)


async def watch_left_out(database: Database, counters: WorkerCounters, period_s: float = LEFT_PERIOD_S) -> None:
    """Publish what is no row of the journal, of all workers: counts of one process end with it. It never returns."""
    letters, positions = DeadLetters(database), SourcePositions(database)
    while True:
        with contextlib.suppress(DriftlockError):  # the database is away, which others report: the last numbers stay
            counters.dead_letters.set(await letters.count())
            counters.gaps.set(await positions.gap_count())
        await asyncio.sleep(period_s)
