"""The middle of a serving process: database, journal and dispatcher, joined and kept clean. Receivers hand over to it."""

import asyncio
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
from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.limits import SECOND_NS, DispatchLimits, Limits
from driftlock.engine.ports import Configurator
from driftlock.engine.profile import DEFAULT_CODEC
from driftlock.errors import Conflict, Unavailable
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.faults import FENCED
from driftlock.storage.journal import Journal, JournalLimits
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.recovery import recovery_position, tenants_with_state
from driftlock.storage.retention import Retention
from driftlock.storage.shard import Shard
from server.database import DatabaseUrls, prepare
from server.local import LocalTenant, open_access
from server.settings import Settings
from server.telemetry import Telemetry, TimedIntake

RETENTION_PERIOD_S = 10.0  # also how soon an idle process notices that another one has taken over
RETENTION_ROWS_MAX = 2000
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
    """What receivers and REST are made with. `watched` must not end while the process serves."""

    database: Database
    intake: TimedIntake
    configurator: Configurator
    dispatcher: Dispatcher
    telemetry: Telemetry
    access: Access
    local: LocalTenant | None
    schema_version: int
    codec: Codec
    watched: dict[str, Callable[[], Awaitable[None]]]
    draining: asyncio.Event


@asynccontextmanager
async def open_pipeline(settings: Settings, urls: DatabaseUrls, log: FilteringBoundLogger) -> AsyncIterator[Pipeline]:
    """Everything between the database and the receivers, running. Raises `StartupRefused`, `Unavailable`."""
    codec = Codec(DEFAULT_CODEC)
    telemetry = Telemetry(version=driftlock.__version__, codec=codec.name, codec_version=codec.version)
    async with AsyncExitStack() as stack:
        schema_version = await prepare(urls)
        database = await stack.enter_async_context(Database(urls.app))
        access, local = await open_access(settings, database)
        shard = Shard(database)
        await shard.acquire()
        progress = Progress()
        limits = JournalLimits(journal_bytes_max=settings.journal_bytes_max)
        journal = await stack.enter_async_context(
            Journal(database, shard, node=socket.gethostname(), on_commit=progress.committed, limits=limits)
        )
        rows, checkpoints = JournalRows(database, recent=journal.recent), Checkpoints(database, shard)
        progress.committed(await rows.last_seq())
        dispatcher = Dispatcher(
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
            on_step=telemetry.committed,
            on_fault=lambda what: log.error("state given up", what=what),
        )
        progress.wake = dispatcher.wake
        await stack.enter_async_context(running_dispatcher(dispatcher, DISPATCH_STOP_S, log))
        _publish(telemetry, journal, dispatcher, progress)
        retention = Retention(
            database,
            shard,
            dedup_window_ms=limits.dedup_window_ms,
            bytes_kept=limits.journal_bytes_max // 2,  # the rest is for what waits to be applied
            rows_max=RETENTION_ROWS_MAX,
        )
        yield Pipeline(
            database=database,
            intake=TimedIntake(journal, telemetry, time.monotonic),
            configurator=journal,
            dispatcher=dispatcher,
            telemetry=telemetry,
            access=access,
            local=local,
            schema_version=schema_version,
            codec=codec,
            watched={
                "detection": dispatcher.failed,
                "the journal": partial(_fenced, shard),
                "retention": partial(_retain, retention, log),
            },
            draining=asyncio.Event(),
        )


def fold_limits(settings: Settings) -> Limits:
    """Limits of the folds, as far as settings say."""
    return Limits(
        trace_linger_ns=settings.trace_linger_seconds * SECOND_NS, trace_idle_ns=settings.trace_idle_seconds * SECOND_NS
    )


@asynccontextmanager
async def running_dispatcher(dispatcher: Dispatcher, stop_s: float, log: FilteringBoundLogger) -> AsyncIterator[None]:
    """The dispatcher, running; its stop is cut off after `stop_s`, which loses nothing: the journal has it all.

    A dispatcher that failed raises its error once more when it is left. The error that ended the process names the part
    that failed, so that one goes on and the dispatcher's is only logged.
    """
    await dispatcher.__aenter__()
    try:
        yield
    except BaseException:
        try:
            await _stop(dispatcher, stop_s, log)
        except Exception as error:
            log.error("detection has failed", exc_info=error)
        raise
    else:
        await _stop(dispatcher, stop_s, log)


async def _stop(dispatcher: Dispatcher, stop_s: float, log: FilteringBoundLogger) -> None:
    try:
        async with asyncio.timeout(stop_s):
            await dispatcher.__aexit__(None, None, None)
    except TimeoutError:
        log.warning("stopped before everything was scored; the rest follows at the next start")


async def _fenced(shard: Shard) -> None:
    """Wait until another process owns the journal, which is the end of this one."""
    await shard.fenced.wait()
    raise Conflict(FENCED)


async def _retain(retention: Retention, log: FilteringBoundLogger) -> None:
    """Keep the journal small for ever."""
    while True:
        await asyncio.sleep(RETENTION_PERIOD_S)
        try:
            while await retention.truncate(time.time_ns()) >= RETENTION_ROWS_MAX:
                pass
        except Unavailable as error:
            log.warning("the journal is not being truncated", why=error.message)


def _publish(telemetry: Telemetry, journal: Journal, dispatcher: Dispatcher, progress: Progress) -> None:
    """What is read from its owner whenever metrics are collected."""
    telemetry.gauge("queued_requests", "Requests waiting for a commit.", lambda: journal.queued_requests)
    telemetry.gauge("queued_bytes", "Compressed bytes waiting for a commit.", lambda: journal.queued_bytes)
    telemetry.gauge("journal_position", "Position of the newest journal row.", lambda: progress.last_seq)
    telemetry.gauge(
        "journal_lag_rows", "Journal rows that are not scored yet.", lambda: max(0, progress.last_seq - dispatcher.applied_seq)
    )
    telemetry.gauge(
        "alert_budget_spent_ratio",
        "Share of its alert budget that the tenant with the largest one has spent in 24 hours.",
        dispatcher.alert_budget_spent_share,
    )
    telemetry.gauge("resident_streams", "Streams with their state in memory.", lambda: dispatcher.resident_streams)
