"""A shard of the journal as its owner has it: taken over, applied, watched and kept small.

`driftlock serve` owns shard 0, `driftlock worker` one shard for each partition that it has.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar

from structlog.typing import FilteringBoundLogger

from driftlock.engine.dispatch import ClockJournal, Dispatcher
from driftlock.engine.limits import SECOND_NS, DispatchLimits, Limits
from driftlock.engine.ports import Step
from driftlock.errors import Conflict, DriftlockError, Unavailable
from driftlock.storage.backlog import Backlog
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.eras import EraJournal, read_eras
from driftlock.storage.identity import check_not_replaced
from driftlock.storage.journal import Journal, JournalLimits
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database, Lane
from driftlock.storage.recent import RecentBatches
from driftlock.storage.recovery import recovery_position, tenants_with_state
from driftlock.storage.retention import Retention
from driftlock.storage.shard import ONLY_SHARD, Shard
from server.begin_era import begin_era
from server.detection import Detection, quiet_when, running_dispatcher
from server.settings import Settings
from server.telemetry import Telemetry

RETENTION_PERIOD_S = 10.0
OWNER_POLL_S = 1.0  # how soon an idle process notices that another one has taken over; a busy one is told by its next append
TAKE_OVER_PATIENCE_S = 30.0
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
class Share:
    """The shard that is owned, and what its owner may take of the process; see the settings of the same names."""

    shard: int
    threads: int
    resident_streams: int
    backlog_bytes_max: int
    limits: JournalLimits


class OwnedJournal(ClockJournal, Protocol):
    """What the owner of a shard appends with."""

    @property
    def recent(self) -> RecentBatches:
        """Batches that were committed by it."""
        ...


AnyJournal = TypeVar("AnyJournal", bound=OwnedJournal)
MakeJournal = Callable[[Shard, Callable[[int], None], JournalLimits, Backlog], AnyJournal]
"""Made of the shard, what is told the position after every commit, limits, and what is told how much waits."""


def whole_journal(database: Database) -> MakeJournal[Journal]:
    """The journal of a process that receives."""

    def make(shard: Shard, on_commit: Callable[[int], None], limits: JournalLimits, backlog: Backlog) -> Journal:
        return Journal(database, shard, node=socket.gethostname(), on_commit=on_commit, limits=limits, backlog=backlog)

    return make


class Ownership(Generic[AnyJournal]):
    """The right to a shard of the journal, and what is done with it. `detection` runs once records are taken.

    `stack` gets what has to be closed, in the order in which it was opened. `on_step` is told of every committed step.
    `evidence`: whether checkpoints that evidence is made of are kept until it is. `share` None: shard 0, with all that the
    settings allow.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        telemetry: Telemetry,
        log: FilteringBoundLogger,
        stack: AsyncExitStack,
        on_step: Callable[[Step], None],
        make_journal: MakeJournal[AnyJournal],
        *,
        evidence: bool,
        share: Share | None = None,
        stop_s: float = DISPATCH_STOP_S,
    ) -> None:
        """Nothing is taken before `take_over`. A stop may take `stop_s` to save what is learned; the rest is read again."""
        self._settings, self._database, self._telemetry, self._log, self._stack = settings, database, telemetry, log, stack
        self._on_step, self._stop_s = on_step, stop_s
        self._applying = database.reserved(Lane.APPLY)
        self._share = share or _whole(settings)
        self._limits = self._share.limits
        self.shard = Shard(database, self._share.shard)
        self.progress = Progress()
        self.backlog = Backlog(bytes_max=self._share.backlog_bytes_max, seconds_max=settings.backlog_seconds_max)
        self.journal = make_journal(self.shard, self.progress.committed, self._limits, self.backlog)
        self._rows = JournalRows(self._applying, self.shard.number, recent=self.journal.recent, owner=self.shard)
        self._checkpoints = Checkpoints(self._applying, self.shard, evidence=evidence)
        self.detection = Detection(self._recover, log)

    @property
    def watched(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What must not end while the process serves."""
        return {**self.work, "the watch of the journal's owner": partial(_watch_owner, self.shard, self.not_replaced)}

    @property
    def work(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """The same, for one that is told of other owners."""
        return {
            "detection": self.detection.run,
            "retention": partial(_retain, _retention(self._applying, self.shard, self._limits), self._log),
        }

    async def take_over(self) -> None:
        """Own the shard: the process before is fenced."""
        await _acquire(self.shard, self._log)
        await begin_era(EraJournal(self._applying, self.shard), self._telemetry, self._log)
        self.progress.committed(await self._rows.last_seq())
        self.detection.found(await self._rows.applied_seq())
        await self.backlog.load(self._applying, self.shard.number)

    async def not_replaced(self) -> None:
        """Raise `Conflict` when the database is an older one."""
        await check_not_replaced(self._database, self.shard, self.progress.last_seq, self.detection.applied_seq)

    async def _recover(self) -> Dispatcher:
        """The folds as the process before has left them, running."""
        dispatcher = await self._dispatcher()
        await self._stack.enter_async_context(quiet_when(self.shard.fenced))
        await self._stack.enter_async_context(running_dispatcher(dispatcher, self._stop_s, self._log))
        self.progress.wake = dispatcher.wake
        return dispatcher

    async def _dispatcher(self) -> Dispatcher:
        """A dispatcher that goes on where the process before has stopped."""
        settings, share, log = self._settings, self._share, self._log
        return Dispatcher(
            reader=self._rows,
            states=self._checkpoints,
            committer=self._checkpoints,
            clock_journal=self.journal,
            recovery_seq=await recovery_position(self._database, self._checkpoints, share.shard),
            applied_seq=await self._rows.applied_seq(),
            tenant_ids=await tenants_with_state(self._database, share.shard),
            now_ns=time.time_ns,
            seed=settings.seed,
            limits=fold_limits(settings),
            dispatch_limits=DispatchLimits(
                threads=share.threads,
                resident_streams_max=share.resident_streams,
                step_pause_s=STEP_PAUSE_S,
            ),
            on_step=self._stepped,
            on_fault=lambda what: log.error("state given up", what=what),
            on_wait=lambda why: log.warning("scoring waits for the database", why=why),
            eras=await read_eras(self._database, share.shard),
        )

    def _stepped(self, step: Step) -> None:
        self.backlog.applied(step.to_seq)
        self._on_step(step)


def _whole(settings: Settings) -> Share:
    """All that the settings allow, for shard 0."""
    limits = JournalLimits(
        journal_bytes_max=settings.journal_bytes_max,
        dedup_window_ms=settings.dedup_window_seconds * 1000,
        drain_timeout_ms=DRAIN_TIMEOUT_MS,
    )
    return Share(ONLY_SHARD, settings.worker_threads, settings.resident_streams, settings.backlog_bytes_max, limits)


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


async def _acquire(shard: Shard, log: FilteringBoundLogger) -> None:
    """Take the journal over. The transaction of an owner that is frozen in the middle of a step is ended."""
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
            with contextlib.suppress(Unavailable):
                if ended := await shard.put_out():
                    log.warning("ended transactions that held the journal", transactions=ended)


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
