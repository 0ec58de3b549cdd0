"""The middle of a serving process: database, journal and dispatcher, joined and kept clean. Receivers hand over to it."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from structlog.typing import FilteringBoundLogger

import driftlock
from cbad_cy.codec import Codec
from driftlock.accounts.access import Access
from driftlock.accounts.metering import IngestMeter
from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.limits import SECOND_NS, DispatchLimits, Limits
from driftlock.engine.ports import Configurator, Step
from driftlock.engine.profile import DEFAULT_CODEC
from driftlock.errors import Conflict, DriftlockError, Unavailable
from driftlock.storage.backlog import Backlog
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.deletion import Deletions
from driftlock.storage.eras import EraJournal, read_eras
from driftlock.storage.identity import check_not_replaced
from driftlock.storage.journal import Journal, JournalLimits
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database, Lane
from driftlock.storage.recovery import recovery_position, tenants_with_state
from driftlock.storage.retention import Retention
from driftlock.storage.shard import Shard
from server.begin_era import begin_era
from server.database import DatabaseUrls, prepare
from server.database_debt import DebtMetrics, watch_debt, watch_safety
from server.detection import Detection, quiet_when, running_dispatcher
from server.ledger import LedgerKeeper, keep_ledger
from server.local import LocalTenant, open_access
from server.outage import OutageReport
from server.settings import Settings
from server.telemetry import Telemetry, TimedIntake

RETENTION_PERIOD_S = 10.0
DELETION_PERIOD_S = 20.0  # how soon a deletion that a command did not finish goes on
OWNER_POLL_S = 1.0  # how soon an idle process notices that another one has taken over; a busy one is told by its next append
TAKE_OVER_PATIENCE_S = 30.0  # longer than the database lets a transaction idle
TAKE_OVER_PAUSE_S = 0.5
DRAIN_TIMEOUT_MS = 2000
DISPATCH_STOP_S = 3.0
STEP_PAUSE_S = 0.02  # what a verdict may wait for others when records come in small requests


@dataclass(slots=True)
class Progress:
    """How far the journal reaches; whoever folds it is woken when it grows."""

    last_seq: int = 0
    wake: Callable[[], None] = field(default=lambda: None)

    def committed(self, seq: int) -> None:
        """The journal reaches up to `seq`."""
        self.last_seq = max(self.last_seq, seq)
        self.wake()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What receivers and REST are made with. `watched` must not end while the process serves.

    Nothing is taken, and nothing changes for a process that serves now, before `take_over`; afterwards `fenced` is set when
    another process has done the same. `not_replaced` raises `Conflict` when the database is an older one.
    """

    database: Database
    intake: TimedIntake
    configurator: Configurator
    detection: Detection
    telemetry: Telemetry
    meter: IngestMeter
    ledger: LedgerKeeper
    access: Access
    local: LocalTenant | None
    schema_version: int
    codec: Codec
    watched: dict[str, Callable[[], Awaitable[None]]]
    take_over: Callable[[], Awaitable[None]]
    not_replaced: Callable[[], Awaitable[None]]
    fenced: asyncio.Event
    draining: asyncio.Event


@asynccontextmanager
async def open_pipeline(settings: Settings, urls: DatabaseUrls, log: FilteringBoundLogger) -> AsyncIterator[Pipeline]:
    """Everything between the database and the receivers, ready to take over. Raises `StartupRefused`, `Unavailable`."""
    codec = Codec(DEFAULT_CODEC)
    telemetry = Telemetry(version=driftlock.__version__, codec=codec.name, codec_version=codec.version)
    async with AsyncExitStack() as stack:
        schema_version = await prepare(urls, settings.unsafe_database, lambda what: log.warning("unsafe database", what=what))
        database = await stack.enter_async_context(_database(settings, urls, telemetry, log))
        applying = database.reserved(Lane.APPLY)
        meter, ledger = keep_ledger(database, telemetry, log, by_tenant=settings.metrics_tenants)
        stack.push_async_callback(ledger.close)
        access, local = await open_access(settings, database)
        shard = Shard(database)
        progress = Progress()
        backlog = Backlog(bytes_max=settings.backlog_bytes_max, seconds_max=settings.backlog_seconds_max)
        limits = _journal_limits(settings)
        node = socket.gethostname()
        journal = Journal(database, shard, node=node, on_commit=progress.committed, limits=limits, backlog=backlog)
        rows, checkpoints = JournalRows(applying, recent=journal.recent, owner=shard), Checkpoints(applying, shard)

        async def take_over() -> None:
            """Own the journal: the process before is fenced, and records are taken from here on."""
            await _acquire(shard, log)
            await begin_era(EraJournal(applying, shard), telemetry, log)
            progress.committed(await rows.last_seq())
            detection.found(await rows.applied_seq())
            await backlog.load(applying)
            await stack.enter_async_context(journal)

        async def recover() -> Dispatcher:
            """The folds as the process before has left them, running."""
            on_step = partial(_stepped, telemetry, backlog)
            dispatcher = await _dispatcher(settings, database, (rows, checkpoints, journal), on_step, log)
            await stack.enter_async_context(quiet_when(shard.fenced))
            await stack.enter_async_context(running_dispatcher(dispatcher, DISPATCH_STOP_S, log))
            progress.wake = dispatcher.wake
            return dispatcher

        async def not_replaced() -> None:
            await check_not_replaced(database, shard, progress.last_seq, detection.applied_seq)

        detection = Detection(recover, log)
        _publish(telemetry, journal, detection, progress)
        _publish_backlog(telemetry, backlog)
        await _connect(database)
        yield Pipeline(
            database=database,
            intake=TimedIntake(journal, telemetry, time.monotonic),
            configurator=journal,
            detection=detection,
            telemetry=telemetry,
            meter=meter,
            ledger=ledger,
            access=access,
            local=local,
            schema_version=schema_version,
            codec=codec,
            watched={
                "detection": detection.run,
                "the watch of the journal's owner": partial(_watch_owner, shard, not_replaced),
                "retention": partial(_retain, _retention(applying, shard, limits), log),
                "the deletion of tenants": partial(finish_deletions, Deletions(database), log),
                **_watches_of_database(settings, database, telemetry, log),
                "the ledger": ledger.run,
            },
            take_over=take_over,
            not_replaced=not_replaced,
            fenced=shard.fenced,
            draining=asyncio.Event(),
        )


def _database(settings: Settings, urls: DatabaseUrls, telemetry: Telemetry, log: FilteringBoundLogger) -> Database:
    return Database(urls.app, on_change=OutageReport(telemetry, log), keeps_commits=not settings.may_forget)


def _watches_of_database(
    settings: Settings, database: Database, telemetry: Telemetry, log: FilteringBoundLogger
) -> dict[str, Callable[[], Awaitable[None]]]:
    registry, strict = telemetry.registry, not settings.may_forget
    return {
        "the debt of the database": partial(watch_debt, database, DebtMetrics(registry), log),
        "the safety of the database": partial(watch_safety, database, registry, log, strict=strict),
    }


async def _connect(database: Database) -> None:
    """Open connections of each kind: what takes time comes before another process has to stop for us."""
    await asyncio.gather(*(database.reserved(lane).ping() for lane in (Lane.NODE, Lane.KEYS, Lane.APPEND, Lane.APPLY)))


async def _dispatcher(
    settings: Settings,
    database: Database,
    parts: tuple[JournalRows, Checkpoints, Journal],
    on_step: Callable[[Step], None],
    log: FilteringBoundLogger,
) -> Dispatcher:
    """A dispatcher that goes on where the process before has stopped."""
    rows, checkpoints, journal = parts
    return Dispatcher(
        reader=rows,
        states=checkpoints,
        committer=checkpoints,
        clock_journal=journal,
        recovery_seq=await recovery_position(database, checkpoints),
        applied_seq=await rows.applied_seq(),
        tenant_ids=await tenants_with_state(database),
        now_ns=time.time_ns,
        seed=settings.seed,
        limits=fold_limits(settings),
        dispatch_limits=DispatchLimits(
            threads=settings.worker_threads,
            resident_streams_max=settings.resident_streams,
            step_pause_s=STEP_PAUSE_S,
        ),
        on_step=on_step,
        on_fault=lambda what: log.error("state given up", what=what),
        on_wait=lambda why: log.warning("scoring waits for the database", why=why),
        eras=await read_eras(database),
    )


def _journal_limits(settings: Settings) -> JournalLimits:
    return JournalLimits(
        journal_bytes_max=settings.journal_bytes_max,
        dedup_window_ms=settings.dedup_window_seconds * 1000,
        drain_timeout_ms=DRAIN_TIMEOUT_MS,
    )


def _retention(database: Database, shard: Shard, limits: JournalLimits) -> Retention:
    return Retention(
        database,
        shard,
        dedup_window_ms=limits.dedup_window_ms,
        bytes_kept=limits.journal_bytes_max // 2,  # the rest is for what waits to be applied
    )


def fold_limits(settings: Settings) -> Limits:
    """Limits of the folds, as far as settings say."""
    return Limits(
        trace_linger_ns=settings.trace_linger_seconds * SECOND_NS, trace_idle_ns=settings.trace_idle_seconds * SECOND_NS
    )


def _stepped(telemetry: Telemetry, backlog: Backlog, step: Step) -> None:
    """What a committed step changes for those who watch."""
    telemetry.committed(step)
    backlog.applied(step.to_seq)


async def _acquire(shard: Shard, log: FilteringBoundLogger) -> None:
    """Take the journal over. An owner that is frozen in a step holds its position until the database ends the transaction."""
    end_s = time.monotonic() + TAKE_OVER_PATIENCE_S
    while True:
        try:
            await shard.acquire()
            return
        except Unavailable as error:
            if time.monotonic() >= end_s:
                raise
            log.warning("waiting for the process before to let the journal go", why=error.message)
            await asyncio.sleep(TAKE_OVER_PAUSE_S)


async def _watch_owner(shard: Shard, not_replaced: Callable[[], Awaitable[None]]) -> None:
    """Notice even with nothing to write that another process owns the journal, or that the database is an older one."""
    while True:
        await asyncio.sleep(OWNER_POLL_S)
        with contextlib.suppress(Unavailable):  # whoever has something to write says so
            await not_replaced()
            await shard.verify()


async def _retain(retention: Retention, log: FilteringBoundLogger) -> None:
    """Keep the journal small for ever."""
    while True:
        await asyncio.sleep(RETENTION_PERIOD_S)
        try:
            await retention.truncate(time.time_ns())
            await retention.forget(time.time_ns())
        except Conflict:
            raise
        except DriftlockError as error:  # no reason to take no more records
            log.warning("the journal is not being truncated", why=error.message)


async def finish_deletions(deletions: Deletions, log: FilteringBoundLogger, period_s: float = DELETION_PERIOD_S) -> None:
    """Empty tenants that were closed by a command which ended before it was done. It never returns."""
    while True:
        await asyncio.sleep(period_s)
        try:
            for tenant_id in await deletions.closed():
                await deletions.empty(tenant_id)
        except DriftlockError as error:  # no reason to take no more records
            log.warning("a tenant is not being deleted", why=error.message)


def _publish_backlog(telemetry: Telemetry, backlog: Backlog) -> None:
    """How much waits to be scored."""
    telemetry.gauge("journal_lag_bytes", "Bytes of journal rows that are not scored yet.", lambda: backlog.bytes)
    telemetry.gauge(
        "journal_lag_seconds",
        "How long ago the first record that is not scored yet was received.",
        lambda: backlog.seconds(time.time_ns()),
    )


def _publish(telemetry: Telemetry, journal: Journal, detection: Detection, progress: Progress) -> None:
    """What is read from its owner whenever metrics are collected."""
    telemetry.gauge("queued_requests", "Requests waiting for a commit.", lambda: journal.queued_requests)
    telemetry.gauge("queued_bytes", "Compressed bytes waiting for a commit.", lambda: journal.queued_bytes)
    telemetry.gauge("journal_position", "Position of the newest journal row.", lambda: progress.last_seq)
    telemetry.gauge(
        "journal_lag_rows", "Journal rows that are not scored yet.", lambda: max(0, progress.last_seq - detection.applied_seq)
    )
    telemetry.gauge(
        "alert_budget_spent_ratio",
        "Share of its alert budget that the tenant with the largest one has spent in 24 hours.",
        detection.alert_budget_spent_share,
    )
    telemetry.gauge("resident_streams", "Streams with their state in memory.", lambda: detection.resident_streams)
