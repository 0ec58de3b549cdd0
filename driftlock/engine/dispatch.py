"""The applier: reads what the journal committed, folds it on worker threads, and commits what came out. The only asyncio here.

    journal rows --by stream--> worker threads (stream folds) --in journal order--> tenant folds --> one step, all or nothing

Recovery is the same road: rows from the oldest needed checkpoint on are folded again, and nothing that was already
committed is committed twice.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol
from uuid import UUID

from driftlock.engine.correlate import Correlator, latest
from driftlock.engine.folding import Emitted, Folder, Resident
from driftlock.engine.limits import SECOND_NS, Limits
from driftlock.engine.ports import (
    Checkpoint,
    IncidentRow,
    JournalReader,
    JournalRow,
    RowKind,
    StateStore,
    Step,
    StepCommitter,
)
from driftlock.engine.records import Damaged, decode_budget, decode_clock
from driftlock.errors import Internal, Unavailable

STOPPED = "scoring has stopped; the records are journaled and will be scored after a restart"


class ClockJournal(Protocol):
    """Where the wall clock is written down."""

    async def append_clock(self, now_ns: int) -> int:
        """Journal what the clock says; returns the row's position."""
        ...


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """Bounds of the applier. Times are in ns, sizes in bytes of journal bodies or of resident states."""

    read_bytes_max: int = 4 * 1024 * 1024
    threads: int = 2
    checkpoint_bytes: int = 1024 * 1024
    checkpoint_period_ns: int = 30 * SECOND_NS
    resident_streams_max: int = 1000
    step_checkpoints_max: int = 200
    clock_period_ns: int = 5 * SECOND_NS
    retry_delay_s: float = 0.5


@dataclass(slots=True, eq=False)
class _Waiter:
    seq: int
    done: "asyncio.Future[None]"


@dataclass(slots=True)
class _Tenant:
    """A tenant fold in memory: `seq` is its checkpoint's position, `changed` whether anything but progress moved it since.

    `lost`: its checkpoint could not be read, so its budget is to be had from its next row.
    """

    fold: Correlator
    seq: int
    changed: bool = False
    lost: bool = False


class Dispatcher:
    """Owns every fold of this process. An async context manager: start recovers, stop commits what is dirty.

    `now_ns` is used for clock records and for the pace of checkpoints, never inside a fold. `on_step` sees each committed
    step, `on_fault` each row or state that had to be given up, as a line for the log.
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
    ) -> None:
        """Take every part from outside.

        `recovery_seq`: rows after it are folded again; `applied_seq`: up to it everything is committed already;
        `tenant_ids`: tenants whose incidents may be open, to be loaded at the start.
        """
        self._reader = reader
        self._states = states
        self._committer = committer
        self._clock_journal = clock_journal
        self._now_ns = now_ns
        self._limits = limits
        self._bounds = dispatch_limits
        self._on_step = on_step
        self._on_fault = on_fault
        self._threads = ThreadPoolExecutor(dispatch_limits.threads, thread_name_prefix="fold")
        self._folders = [Folder(seed, limits, on_fault) for _ in range(dispatch_limits.threads)]
        self._residents: OrderedDict[UUID, Resident] = OrderedDict()
        self._tenants: dict[UUID, _Tenant] = {}
        self._read_seq = recovery_seq
        self._applied_seq = applied_seq
        self._tenant_ids = tenant_ids
        self._waiters: list[_Waiter] = []
        self._wake = asyncio.Event()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Dispatcher":
        await self._load_tenants(set(self._tenant_ids))
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
            for folder in self._folders:
                folder.abandon()
            self._threads.shutdown(wait=False, cancel_futures=True)

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
        now_ns = self._now_ns()
        return max((tenant.fold.budget_spent_share(now_ns) for tenant in self._tenants.values()), default=0.0)

    async def failed(self) -> None:
        """Never return while all is well; raise what stopped the applier: the process must not go on without it."""
        await asyncio.gather(*(asyncio.shield(task) for task in self._tasks))

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
                    continue
            except Unavailable as error:
                if not away:
                    self._on_fault(f"scoring waits for the database, records are still journaled when it answers: {error}")
                away = True
                # The folds have moved on already, so the very same step is committed when the database is back.
                if self._stopping:
                    return
                await asyncio.sleep(self._bounds.retry_delay_s)
                continue
            if self._stopping:
                return
            await self._wake.wait()

    async def _next_step(self) -> Step | None:
        """Fold what the journal holds beyond our position; with nothing there, save what is due; else None."""
        while rows := await self._reader.read(self._read_seq, self._bounds.read_bytes_max):
            recovering = [row for row in rows if row.seq <= self._applied_seq]
            if not recovering:
                return await self._step(rows)
            await self._fold(recovering)
        if self._read_seq < self._applied_seq:
            raise Internal(f"the journal ends at {self._read_seq} but {self._applied_seq} is applied: restore a backup")
        return await self._saving_step()

    async def _fold(self, rows: Sequence[JournalRow]) -> tuple[dict[int, Emitted], tuple[IncidentRow, ...]]:
        """Bring every fold past consecutive rows. A row at or before a fold's checkpoint is skipped by that fold."""
        by_stream: dict[UUID, list[JournalRow]] = {}
        for row in rows:
            if row.stream_id is not None:
                by_stream.setdefault(row.stream_id, []).append(row)
        missing = [stream_id for stream_id in by_stream if stream_id not in self._residents]
        checkpoints = await self._states.load_streams(missing) if missing else {}
        await self._load_tenants({row.tenant_id for row in rows if row.tenant_id is not None} - self._tenants.keys())
        emitted = await self._fold_streams(by_stream, checkpoints)
        incidents = self._correlate(rows, emitted)
        self._read_seq = rows[-1].seq
        return emitted, incidents

    async def _step(self, rows: Sequence[JournalRow]) -> Step:
        """Fold rows that nobody has applied yet; what came out, to be committed. While recovering nothing is saved."""
        emitted, incidents = await self._fold(rows)
        touched = {row.stream_id for row in rows if row.stream_id is not None}
        streams, tenants = await self._due_checkpoints(everything=False)
        return Step(
            from_seq=self._applied_seq,
            to_seq=self._read_seq,
            findings=tuple(finding for entry in emitted.values() for finding in entry.findings),
            incidents=incidents,
            events=tuple(event for entry in emitted.values() for event in entry.events),
            streams=tuple(self._residents[stream_id].status() for stream_id in sorted(touched)),
            stream_checkpoints=streams,
            tenant_checkpoints=tenants,
        )

    async def _load_tenants(self, tenant_ids: set[UUID]) -> None:
        found = await self._states.load_tenants(sorted(tenant_ids)) if tenant_ids else {}
        for tenant_id in tenant_ids:
            tenant = self._tenants[tenant_id] = _Tenant(Correlator(tenant_id, self._limits), 0)
            checkpoint = found.get(tenant_id)
            if checkpoint is not None:
                tenant.seq = checkpoint.seq
                try:
                    tenant.fold.restore(checkpoint.state)
                except Damaged as error:
                    tenant.lost = True
                    what = "incidents and the counting of alerts start anew"
                    self._on_fault(f"incident state of tenant {tenant_id} is lost, {what}: {error}")

    async def _fold_streams(
        self, by_stream: Mapping[UUID, list[JournalRow]], checkpoints: Mapping[UUID, Checkpoint]
    ) -> dict[int, Emitted]:
        """Each stream belongs to one thread; which one does not matter to its fold."""
        shares: list[list[UUID]] = [[] for _ in self._folders]
        for stream_id in by_stream:
            shares[stream_id.int % len(shares)].append(stream_id)
        loop = asyncio.get_running_loop()
        now_ns = self._now_ns()

        def work(folder: Folder, share: list[UUID]) -> tuple[list[Resident], dict[int, Emitted]]:
            residents, emitted = [], {}
            for stream_id in share:
                rows = by_stream[stream_id]
                resident = self._residents.get(stream_id) or folder.load(rows[0], checkpoints.get(stream_id), now_ns)
                emitted.update(folder.fold(resident, rows))
                residents.append(resident)
            return residents, emitted

        jobs = [
            loop.run_in_executor(self._threads, work, folder, share)
            for folder, share in zip(self._folders, shares, strict=True)
            if share
        ]
        emitted: dict[int, Emitted] = {}
        for residents, part in await asyncio.gather(*jobs):
            emitted.update(part)
            for resident in residents:
                self._residents[resident.stream_id] = resident
                self._residents.move_to_end(resident.stream_id)
        return dict(sorted(emitted.items()))

    def _correlate(self, rows: Sequence[JournalRow], emitted: Mapping[int, Emitted]) -> tuple[IncidentRow, ...]:
        """Feed the tenant folds in journal order."""
        changed: list[IncidentRow] = []
        for row in rows:
            if row.kind is RowKind.CLOCK:
                now_ns = self._clock_of(row)
                for tenant in self._tenants.values():
                    if tenant.fold.waiting and row.seq > tenant.seq:
                        changed.extend(tenant.fold.clock(now_ns))
                        tenant.changed = True
            elif row.tenant_id is not None:
                tenant = self._tenants[row.tenant_id]
                if tenant.lost and row.budget is not None:
                    tenant.fold.set_budget(row.budget)
                    tenant.lost, tenant.changed = False, True
                if row.seq <= tenant.seq:
                    continue
                if row.kind is RowKind.BUDGET:
                    self._budget(tenant, row)
                elif row.seq in emitted:
                    entry = emitted[row.seq]
                    changed.extend(tenant.fold.derived(entry.stream_id, entry.progress, entry.flags))
                    tenant.changed = tenant.changed or bool(entry.flags)
        return tuple(latest(changed))

    def _budget(self, tenant: _Tenant, row: JournalRow) -> None:
        try:
            tenant.fold.set_budget(decode_budget(row.body))
        except Damaged as error:
            self._on_fault(f"budget row {row.seq} of tenant {row.tenant_id} is damaged: {error}")
            if row.budget is not None:
                tenant.fold.set_budget(row.budget)
        tenant.changed = True

    def _clock_of(self, row: JournalRow) -> int:
        try:
            return decode_clock(row.body)
        except Damaged as error:
            self._on_fault(f"clock row {row.seq} is skipped: {error}")
            return 0

    async def _due_checkpoints(self, *, everything: bool) -> tuple[dict[tuple[UUID, UUID], Checkpoint], dict[UUID, Checkpoint]]:
        """Streams that are due or have to leave memory; and their tenants, which must never stand behind their streams."""
        now_ns = self._now_ns()
        surplus = len(self._residents) - self._bounds.resident_streams_max
        due = []
        for number, resident in enumerate(self._residents.values()):
            old = now_ns - resident.saved_ns >= self._bounds.checkpoint_period_ns
            large = resident.dirty_bytes >= self._bounds.checkpoint_bytes
            if resident.dirty_bytes and (everything or old or large or number < surplus):
                due.append(resident)
        del due[self._bounds.step_checkpoints_max :]

        def save() -> dict[tuple[UUID, UUID], Checkpoint]:
            return {(resident.tenant_id, resident.stream_id): self._folders[0].save(resident, now_ns) for resident in due}

        streams = await asyncio.get_running_loop().run_in_executor(self._threads, save) if due else {}
        owners = {resident.tenant_id for resident in due}
        owners.update(tenant_id for tenant_id, tenant in self._tenants.items() if tenant.changed)
        tenants = {}
        for tenant_id in sorted(owners):
            tenant = self._tenants[tenant_id]
            tenant.seq, tenant.changed = self._read_seq, False
            tenants[tenant_id] = Checkpoint(self._read_seq, tenant.fold.to_bytes())
        return streams, tenants

    async def _saving_step(self) -> Step | None:
        streams, tenants = await self._due_checkpoints(everything=self._stopping)
        if not streams and not tenants:
            return None
        return Step(self._applied_seq, self._applied_seq, stream_checkpoints=streams, tenant_checkpoints=tenants)

    def _committed(self, step: Step) -> None:
        self._applied_seq = step.to_seq
        for _ in range(len(self._residents) - self._bounds.resident_streams_max):
            oldest = next(iter(self._residents.values()))
            if oldest.dirty_bytes:
                break
            del self._residents[oldest.stream_id]
        for waiter in [waiter for waiter in self._waiters if waiter.seq <= self._applied_seq]:
            self._waiters.remove(waiter)
            if not waiter.done.done():
                waiter.done.set_result(None)
        self._on_step(step)

    async def _tick_for_ever(self) -> None:
        """Write the clock down while something waits for it, and let the applier save what is due."""
        while True:
            await asyncio.sleep(self._bounds.clock_period_ns / SECOND_NS)
            if any(tenant.fold.waiting for tenant in self._tenants.values()):
                with contextlib.suppress(Unavailable):
                    await self._clock_journal.append_clock(self._now_ns())
            self._wake.set()
