"""A serving process in the simulation: the same parts as `server.pipeline` joins, over a simulated database."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.ports import Step
from driftlock.errors import Conflict, DriftlockError, Unavailable
from driftlock.storage.backlog import Backlog
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.controls import Controls
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.recovery import recovery_position, tenants_with_state
from driftlock.storage.retention import Retention
from driftlock.storage.shard import Shard
from tests.simulation.database import SimDatabase
from tests.simulation.loop import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")
RETENTION_PERIOD_S = 3.0
KEPT_MS = 4_000
SEED = 7


class WatchedCheckpoints(Checkpoints):
    """The real ones, that say to the database which step it is that they commit, for whoever watches."""

    async def commit(self, step: Step) -> None:
        self._database.step = step  # type: ignore[attr-defined]
        try:
            await super().commit(step)
        finally:
            self._database.step = None  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Parts:
    """What a process is made of; a broken part shows whether its absence is noticed."""

    journal: type[Journal] = Journal
    checkpoints: type[Checkpoints] = WatchedCheckpoints
    rows: type[JournalRows] = JournalRows
    controls: type[Controls] = Controls
    deduplicates: bool = True


class Node:
    """`main` runs until the process is told to stop, is killed, or has a reason to end by itself."""

    def __init__(self, world: "World", process: Process, parts: Parts) -> None:
        self.world = world
        self.process = process
        self.parts = parts
        self.journal: Journal | None = None
        self.dispatcher: Dispatcher | None = None
        self.rows: JournalRows | None = None
        self.main: asyncio.Task[None] | None = None
        self.fenced = False

    def start(self) -> None:
        self.main = self.world.loop.create_task(self._serve(), name=self.process.name, context=self.process.context.copy())

    @property
    def running(self) -> bool:
        return self.main is not None and not self.main.done() and not self.process.dead

    def handle(self, work: Callable[[Journal], Awaitable[T]], answer: "asyncio.Future[T | DriftlockError] | None") -> None:
        """A request has arrived; `answer` is told what became of it, if anybody waits."""
        self.world.loop.create_task(self._handle(work, answer), context=self.process.context.copy())

    async def _handle(
        self, work: Callable[[Journal], Awaitable[T]], answer: "asyncio.Future[T | DriftlockError] | None"
    ) -> None:
        task = asyncio.current_task()
        if answer is not None and task is not None:
            self.world.deadlines[answer] = task
        result: T | DriftlockError
        try:
            if self.journal is None:
                raise Unavailable("starting")
            result = await work(self.journal)
        except DriftlockError as error:
            result = error
        if answer is not None and not answer.done() and not self.process.doomed:
            answer.set_result(result)

    async def _serve(self) -> None:
        try:
            await self._open()
        except asyncio.CancelledError:
            pass
        except (Unavailable, Conflict) as error:
            self.world.note(f"{self.process.name} ends: {error}")
        except Exception as error:
            self.world.wrong(f"{self.process.name} fails: {error!r}")
        finally:
            self.journal = None

    async def _open(self) -> None:
        world, plan = self.world, self.world.plan
        database = SimDatabase(world.server, self.process)
        shard = Shard(database)  # type: ignore[arg-type]
        await shard.acquire()
        async with AsyncExitStack() as stack:
            wake: list[Callable[[], None]] = []

            def committed(_: int) -> None:
                for told in wake:
                    told()

            backlog = Backlog(bytes_max=plan.backlog_bytes_max, seconds_max=plan.backlog_seconds_max)
            journal = self.parts.journal(
                database,  # type: ignore[arg-type]
                shard,
                node="n",
                on_commit=committed,
                limits=plan.journal,
                backlog=backlog,
            )
            await backlog.load(database)  # type: ignore[arg-type]
            await stack.enter_async_context(journal)
            self.rows = rows = self.parts.rows(database, recent=journal.recent, owner=shard)  # type: ignore[arg-type]
            checkpoints = self.parts.checkpoints(database, shard, evidence=True)  # type: ignore[arg-type]
            dispatcher = Dispatcher(
                reader=rows,
                states=checkpoints,
                committer=checkpoints,
                clock_journal=journal,
                recovery_seq=await recovery_position(database, checkpoints),  # type: ignore[arg-type]
                applied_seq=await rows.applied_seq(),
                tenant_ids=await tenants_with_state(database),  # type: ignore[arg-type]
                now_ns=world.now_ns,
                seed=SEED,
                limits=plan.limits,
                dispatch_limits=plan.dispatch,
                on_step=lambda step: backlog.applied(step.to_seq),
                on_fault=self._fault,
            )
            wake.append(dispatcher.wake)
            await dispatcher.__aenter__()
            stack.push_async_callback(self._stop, dispatcher)
            self.dispatcher, self.journal = dispatcher, journal
            world.note(f"{self.process.name} serves, epoch {shard.epoch}, applied {dispatcher.applied_seq}")
            kept = plan.journal.journal_bytes_max // 2
            retention = Retention(database, shard, dedup_window_ms=KEPT_MS, bytes_kept=kept)  # type: ignore[arg-type]
            try:
                await _first_to_end(dispatcher.failed(), shard.fenced.wait(), self._retain(retention))
            finally:
                self.fenced = shard.fenced.is_set()

    async def _stop(self, dispatcher: Dispatcher) -> None:
        try:
            async with asyncio.timeout(self.world.stop_s):
                await dispatcher.__aexit__(None, None, None)
        except TimeoutError:
            self.world.note(f"{self.process.name} stops before everything is scored")

    async def _retain(self, retention: Retention) -> None:
        while True:
            await asyncio.sleep(RETENTION_PERIOD_S)
            try:
                await retention.truncate(self.world.now_ns())
                now_ns = self.world.now_ns()
                self.world.facts.forgot.append((self.world.tables.shard.next_seq - 1, now_ns))
                await retention.forget(now_ns)
            except Unavailable:
                continue

    def _fault(self, what: str) -> None:
        self.world.wrong(f"given up: {what}")


async def _first_to_end(*parts: object) -> None:
    tasks = [asyncio.ensure_future(part) for part in parts]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        task.result()
