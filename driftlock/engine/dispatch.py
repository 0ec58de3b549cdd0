"""The applier: reads what the journal committed, folds it on worker threads, and commits what came out. The only asyncio here.

    journal rows --by stream--> worker threads (stream folds) --in journal order--> tenant folds --> one step, all or nothing

Recovery is the same road: rows from the oldest needed checkpoint on are folded again, and nothing that was already
committed is committed twice.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol
from uuid import UUID

from driftlock.engine.correlation.tenants import Correlated, Tenants
from driftlock.engine.era import Era, Eras
from driftlock.engine.folding import Emitted
from driftlock.engine.limits import SECOND_NS, DispatchLimits, Limits
from driftlock.engine.losses import Losses, ends_before
from driftlock.engine.ports import JournalReader, JournalRow, RowKind, StateStore, Step, StepCommitter
from driftlock.engine.records import Damaged, decode_era
from driftlock.engine.residents import Residents, records_bytes
from driftlock.engine.scores import added_up
from driftlock.errors import Internal, Unavailable

STOPPED = "scoring has stopped; the records are journaled and will be scored after a restart"


class ClockJournal(Protocol):
    """Where the wall clock is written down."""

    async def append_clock(self, now_ns: int) -> int:
        """Journal what the clock says; returns the row's position."""
        ...

    async def append_time(self, tenant_id: UUID, stream_id: UUID, now_ns: int) -> int | None:
        """Tell a stream what the clock says, as one of its own rows; returns its position, None when the stream is gone."""
        ...


@dataclass(slots=True, eq=False)
class _Waiter:
    seq: int
    done: "asyncio.Future[None]"


class Dispatcher:
    """Owns every fold of this process. An async context manager: start recovers, stop commits what is dirty.

    `now_ns` is used for clock records and for the pace of checkpoints, never inside a fold. `on_step` sees each committed
    step, `on_fault` each row or state that had to be given up, as a line for the log; `on_wait` why nothing can be read or
    committed now, once until it can again: nothing is given up then.
    """

    def __init__(
        self,
        *,
        reader: JournalReader,
        states: StateStore,
        committer: StepCommitter,
        clock_journal: ClockJournal,
        recovery_seq: int,
        applied_seq: int,
        tenant_ids: Sequence[UUID],
        now_ns: Callable[[], int],
        seed: int,
        limits: Limits,
        dispatch_limits: DispatchLimits,
        on_step: Callable[[Step], None],
        on_fault: Callable[[str], None],
        eras: Sequence[Era] = (),
        on_wait: Callable[[str], None] = lambda _why: None,
    ) -> None:
        """Take every part from outside.

        `recovery_seq`: rows after it are folded again; `applied_seq`: up to it everything is committed already;
        `tenant_ids`: tenants whose incidents may be open, to be loaded at the start; `eras`: all that the journal has begun,
        those whose records have left it too.
        """
        self._reader = reader
        self._committer = committer
        self._clock_journal = clock_journal
        self._now_ns = now_ns
        self._bounds = dispatch_limits
        self._on_step = on_step
        self._on_fault = on_fault
        self._on_wait = on_wait
        self._losses, self._eras = Losses(), Eras(eras)
        self._residents = Residents(
            states,
            seed=seed,
            limits=limits,
            bounds=dispatch_limits,
            on_fault=on_fault,
            losses=self._losses,
            eras=self._eras,
        )
        self._tenants = Tenants(states, limits=limits, bounds=dispatch_limits, on_fault=on_fault, losses=self._losses)
        self._read_seq = recovery_seq
        self._applied_seq = applied_seq
        self._tenant_ids = tenant_ids
        self._step_bytes = 0  # what the records of the last step take
        self._waiters: list[_Waiter] = []
        self._wake = asyncio.Event()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Dispatcher":
        await self._tenants.load(self._tenant_ids, self._now_ns())
        self._tasks = [asyncio.create_task(self._apply()), asyncio.create_task(self._tick_for_ever())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._wake.set()
        applier, ticker = self._tasks
        ticker.cancel()
        await asyncio.gather(ticker, return_exceptions=True)
        try:
            await applier
        finally:
            self._residents.close()

    @property
    def applied_seq(self) -> int:
        """Everything up to this journal position is folded and committed."""
        return self._applied_seq

    @property
    def resident_streams(self) -> int:
        """Stream folds in memory."""
        return len(self._residents)

    def alert_budget_spent_share(self) -> float:
        """Share of its alert budget that the tenant with the largest one has spent in the last 24 hours, 0 to 1."""
        return self._tenants.budget_spent_share(self._now_ns())

    async def failed(self) -> None:
        """Never return while all is well; raise what stopped the applier: the process must not go on without it."""
        waiting = set(self._tasks)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    def wake(self) -> None:
        """Tell the applier that the journal has grown."""
        self._wake.set()

    async def scored(self, seq: int) -> None:
        """Return when the journal position `seq` is folded and committed; raise `Unavailable` when the applier has stopped."""
        if seq <= self._applied_seq:
            return
        if self._tasks and self._tasks[0].done():
            raise Unavailable(STOPPED)
        waiter = _Waiter(seq, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            await waiter.done
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def _apply(self) -> None:
        try:
            await self._apply_for_ever()
        finally:
            for waiter in self._waiters:
                if not waiter.done.done():
                    waiter.done.set_exception(Unavailable(STOPPED))

    async def _apply_for_ever(self) -> None:
        step: Step | None = None
        away = False
        while True:
            self._wake.clear()
            try:
                step = step or await self._next_step()
                if step is not None:
                    await self._committer.commit(step)
                    self._committed(step)
                    step, away = None, False
                    await self._gather()
                    continue
            except Unavailable as error:
                if not away:
                    self._on_wait(error.message)
                away = True
                # The folds have moved on already, so the very same step is committed when the database is back.
                if self._stopping:
                    return
                await asyncio.sleep(self._bounds.retry_delay_s)
                continue
            if self._stopping:
                return
            await self._wake.wait()

    async def _gather(self) -> None:
        """Let rows come together after a small step: a step for each few of them would cost more than to fold them."""
        if self._bounds.step_pause_s and self._step_bytes <= self._bounds.inline_bytes and not self._stopping:
            await asyncio.sleep(self._bounds.step_pause_s)

    async def _next_step(self) -> Step | None:
        """Fold what the journal holds beyond our position; with nothing there, save what is due; else None."""
        while rows := await self._reader.read(self._read_seq, self._bounds.read_bytes_max):
            recovering = [row for row in rows if row.seq <= self._applied_seq]
            if not recovering:
                return await self._step(rows)
            await self._fold(recovering)
        if self._read_seq < self._applied_seq:
            raise Internal(ends_before(self._read_seq, self._applied_seq))
        return await self._saving_step()

    async def _fold(self, rows: Sequence[JournalRow]) -> tuple[dict[tuple[int, UUID], Emitted], Correlated]:
        """Bring every fold past consecutive rows. A row at or before a fold's checkpoint is skipped by that fold."""
        for row in rows:
            if row.kind is RowKind.ERA:
                self._check_era(row)
        await self._tenants.load({row.tenant_id for row in rows if row.tenant_id is not None}, self._now_ns())
        clocks = self._tenants.clocks(rows)
        emitted = await self._residents.fold(rows, clocks, self._tenants.due(clocks), self._now_ns())
        told = {place: entry for place, entry in emitted.items() if not entry.apart}
        correlated = self._tenants.correlate(rows, clocks, told)
        self._read_seq = rows[-1].seq
        return emitted, correlated

    def _check_era(self, row: JournalRow) -> None:
        """An era holds from a place before its record on, so folds must have known of it before they come here."""
        try:
            era = decode_era(row.body)
        except Damaged as error:
            self._losses.row(row)
            self._on_fault(f"era row {row.seq} is skipped, for the list of eras says the same: {error}")
            return
        if not self._eras.knows(era):
            raise Internal(f"journal row {row.seq} begins an era that is not in the list of eras: restore the whole database")

    async def _step(self, rows: Sequence[JournalRow]) -> Step:
        """Fold rows that nobody has applied yet; what came out, to be committed. While recovering nothing is saved."""
        self._step_bytes = sum(map(records_bytes, rows))
        emitted, correlated = await self._fold(rows)
        step = await self._save(everything=False)
        happened = tuple(event for entry in emitted.values() for event in entry.events)
        scores = added_up([row for entry in emitted.values() for row in entry.scores])
        return replace(
            step,
            from_seq=self._applied_seq,
            to_seq=self._read_seq,
            findings=correlated.findings,
            incidents=correlated.incidents,
            derived=correlated.derived,
            events=happened + step.events,
            scores=scores,
            anchors=tuple(row for entry in emitted.values() for row in entry.anchors),
            drift=tuple(row for entry in emitted.values() for row in entry.drift),
            anchors_lost=tuple(row for entry in emitted.values() for row in entry.anchors_lost),
            streams=self._residents.statuses({row.stream_id for row in rows if row.stream_id is not None}),
        )

    async def _save(self, *, everything: bool) -> Step:
        """A step that only saves what is due, where the folds stand now."""
        now_ns = self._now_ns()
        saved = await self._residents.save_due(now_ns, everything=everything)
        quarantined, told = self._losses.take(self._applied_seq)
        return Step(
            from_seq=self._applied_seq,
            to_seq=self._applied_seq,
            stream_checkpoints=saved.streams,
            series_checkpoints=saved.series,
            series_dropped=saved.dropped,
            graphs=saved.graphs,
            tenant_checkpoints=self._tenants.save(
                {tenant_id for tenant_id, _ in saved.streams}, self._read_seq, now_ns, everything=everything
            ),
            events=told,
            quarantined=quarantined,
        )

    async def _saving_step(self) -> Step | None:
        step = await self._save(everything=self._stopping)
        saves = step.stream_checkpoints or step.tenant_checkpoints or step.events or step.quarantined
        return step if saves else None

    def _committed(self, step: Step) -> None:
        self._applied_seq = step.to_seq
        self._residents.trim()
        for waiter in [waiter for waiter in self._waiters if waiter.seq <= self._applied_seq]:
            self._waiters.remove(waiter)
            if not waiter.done.done():
                waiter.done.set_result(None)
        self._on_step(step)

    async def _tick_for_ever(self) -> None:
        """Write the clock down while something waits for it, and let the applier save what is due."""
        started_ns = self._now_ns()
        while True:
            await asyncio.sleep(self._bounds.clock_period_ns / SECOND_NS)
            with contextlib.suppress(Unavailable):
                await self._tell_time(self._now_ns(), started_ns)
            self._wake.set()

    async def _tell_time(self, now_ns: int, started_ns: int) -> None:
        if now_ns >= started_ns + self._bounds.close_settle_ns:
            for tenant_id, stream_id in self._tenants.closing(now_ns):
                await self._clock_journal.append_time(tenant_id, stream_id, now_ns)
        if now_ns < started_ns + self._bounds.settle_ns:
            now_ns = self._tenants.before_silence(now_ns)
        if self._tenants.waiting_at(now_ns):
            await self._clock_journal.append_clock(now_ns)
