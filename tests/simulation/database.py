"""A simulated PostgreSQL server, and the way to it: statements arrive late, and their answers sometimes not at all.

A statement belongs to the server from the moment it is sent: a client that is frozen, killed or cancelled meanwhile changes
nothing about it. Writes of a transaction take effect at its commit, under the row locks that it took; reads outside see none of
them before. Sources of the errors: PostgreSQL documentation, "PostgreSQL Error Codes" and "Client Connection Defaults".
"""

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from driftlock.errors import Unavailable
from driftlock.storage.faults import CONFLICTS, sqlstate_of, translate
from tests.simulation.loop import Process, SimLoop
from tests.simulation.statements import BEGIN, COMMIT, ROLLBACK, STATEMENTS, Statement
from tests.simulation.tables import Tables

Result = TypeVar("Result")
TRIES_MAX = 4  # as driftlock.storage.pool
LOCK_TIMEOUT_S = 5.0
IDLE_IN_TRANSACTION_S = 10.0


class Fault(StrEnum):
    """What goes wrong with one statement."""

    NONE = "none"
    LOST_BEFORE = "connection lost, not executed"
    LOST_AFTER = "connection lost, executed"
    LOST_LATE = "connection lost, executed later"
    TIMEOUT = "timeout of the client, executed"
    CANCELED = "timeout of the server, not executed"
    DISK_FULL = "disk full"
    CONFLICT = "serialization failure"
    CRASH_BEFORE = "process killed, not executed"
    CRASH_AFTER = "process killed, executed"
    STOP = "process told to stop at once, executed"


REFUSALS: dict[Fault, type[asyncpg.PostgresError]] = {
    Fault.CANCELED: asyncpg.QueryCanceledError,
    Fault.DISK_FULL: asyncpg.DiskFullError,
    Fault.CONFLICT: asyncpg.SerializationError,
}


class UnknownStatement(AssertionError):
    """A statement that the model does not have: teach it in tests/simulation/statements.py."""


class Session:
    """One connection as the server sees it. `writes` are those of the open transaction, None outside of one."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.ended = False
        self.failed = False
        self.writes: list[tuple[Statement, tuple[Any, ...]]] | None = None
        self.held: list[str] = []
        self.last_s = 0.0
        self.in_flight: Statement | None = None
        self.step: object = None  # what the transaction is about, for whoever watches commits


class Job:
    __slots__ = ("arguments", "fault", "future", "session", "statement")

    def __init__(
        self, session: Session, statement: Statement, arguments: tuple[Any, ...], future: "asyncio.Future[Any]", fault: Fault
    ) -> None:
        self.session, self.statement, self.arguments, self.future, self.fault = session, statement, arguments, future, fault


class Server:
    """`choose(number of the call, session, statement)` says what goes wrong; `watch` sees every statement that took effect.

    `killed` and `stopped` are called with the process that is to die or to stop. `rewrite` changes arguments as a broken server
    would, to see whether that is noticed.
    """

    def __init__(
        self,
        loop: SimLoop,
        rng: random.Random,
        tables: Tables,
        *,
        choose: Callable[[int, Session, Statement], Fault],
        watch: Callable[[Session, Statement, Any], None],
        killed: Callable[[Process], None],
        stopped: Callable[[Process], None],
        rewrite: Callable[[Tables, Statement, tuple[Any, ...]], tuple[Any, ...]] | None = None,
    ) -> None:
        self.loop, self.rng, self.tables = loop, rng, tables
        self.choose, self.watch, self.killed, self.stopped, self.rewrite = choose, watch, killed, stopped, rewrite
        self.up = True
        self.latency_s = 0.002
        self.calls = 0
        self.context = contextvars.Context()
        self._sessions: set[Session] = set()
        self._owners: dict[str, Session] = {}
        self._waiting: list[Job] = []

    async def connect(self, process: Process) -> Session:
        if process.doomed or not self.up:
            if not process.doomed:
                await asyncio.sleep(0.01 + self.rng.random() * 0.5)
            raise ConnectionRefusedError("simulated: nobody listens")
        session = Session(process)
        self._sessions.add(session)
        return session

    async def call(self, session: Session, statement: Statement, arguments: tuple[Any, ...]) -> Any:
        if session.process.doomed or session.ended:
            raise asyncpg.ConnectionDoesNotExistError("simulated: connection is closed")
        self.calls += 1
        fault = self.choose(self.calls, session, statement)
        future = self.loop.create_future()
        session.in_flight = statement
        job = Job(session, statement, arguments, future, fault)
        self.loop.call_later(self.rng.random() * self.latency_s, self._arrive, job, context=self.context)
        return await future

    def close(self, session: Session) -> None:
        """The client gives the connection back. What is on its way is still executed."""
        if session.in_flight is None:
            self._end(session)
        elif session.writes is not None and session.in_flight is not COMMIT:
            self.loop.call_later(self.latency_s, self._end, session, context=self.context)

    def stop(self) -> None:
        """An immediate stop: every transaction that has not committed never happened."""
        self.up = False
        for session in list(self._sessions):
            self._end(session)

    def start(self) -> None:
        self.up = True

    def _arrive(self, job: Job) -> None:
        session, fault = job.session, job.fault
        session.in_flight = None
        if session.ended or fault is Fault.LOST_BEFORE:
            self._end(session)
            _fail(job, asyncpg.ConnectionDoesNotExistError("simulated: connection was closed in the middle of operation"))
        elif fault is Fault.CRASH_BEFORE:
            self._end(session)
            self.killed(session.process)
        elif fault is Fault.LOST_LATE:
            _fail(job, asyncpg.ConnectionDoesNotExistError("simulated: connection was closed in the middle of operation"))
            job.fault = Fault.LOST_AFTER
            self.loop.call_later(0.05 + 3 * self.rng.random(), self._locked, job, context=self.context)
        elif session.failed and job.statement is not ROLLBACK:
            _fail(job, asyncpg.InFailedSQLTransactionError("simulated: current transaction is aborted"))
        elif fault in REFUSALS:
            self._refuse(job, REFUSALS[fault](f"simulated: {fault}"))
        else:
            self._locked(job)

    def _locked(self, job: Job) -> None:
        """Execute, if all row locks are to be had; else wait for them, keeping those that are."""
        session = job.session
        if session.ended:
            _fail(job, asyncpg.ConnectionDoesNotExistError("simulated: connection was closed"))
            return
        for lock in job.statement.locks:
            owner = self._owners.setdefault(lock, session)
            if owner is not session:
                self._wait(job, owner)
                return
            if lock not in session.held:
                session.held.append(lock)
        self._execute(job)

    def _wait(self, job: Job, owner: Session) -> None:
        self._waiting.append(job)
        self.loop.call_later(LOCK_TIMEOUT_S, self._give_up, job, context=self.context)
        idle_s = max(0.0, owner.last_s + IDLE_IN_TRANSACTION_S - self.loop.now_s)
        self.loop.call_later(idle_s, self._end_if_idle, owner, owner.last_s, context=self.context)

    def _give_up(self, job: Job) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
            self._refuse(job, asyncpg.LockNotAvailableError("simulated: canceling statement due to lock timeout"))

    def _end_if_idle(self, session: Session, last_s: float) -> None:
        if session.writes is not None and session.last_s == last_s:
            self._end(session)

    def _refuse(self, job: Job, error: asyncpg.PostgresError) -> None:
        if job.session.writes is None:
            self._release(job.session)
        elif job.statement is COMMIT:
            self._rollback(job.session)
        else:
            job.session.failed = True
        _fail(job, error)

    def _execute(self, job: Job) -> None:
        session, statement = job.session, job.statement
        session.last_s = self.loop.now_s
        arguments = job.arguments if self.rewrite is None else self.rewrite(self.tables, statement, job.arguments)
        try:
            result = self._effect(session, statement, arguments)
        except asyncpg.PostgresError as error:
            self._refuse(job, error)
            return
        if session.writes is None:
            self._release(session)
        self._answer(job, result)

    def _effect(self, session: Session, statement: Statement, arguments: tuple[Any, ...]) -> Any:
        if statement is BEGIN:
            session.writes = []
        elif statement is ROLLBACK:
            self._rollback(session)
        elif statement is COMMIT:
            writes, session.writes = session.writes or [], None
            for write, values in writes:
                self.watch(session, write, write.run(self.tables, *values))
            self.watch(session, COMMIT, None)
        elif session.writes is not None:
            session.writes.append((statement, arguments))
            return None if statement.check is None else statement.check(self.tables, *arguments)
        else:
            result = statement.run(self.tables, *arguments)
            self.watch(session, statement, result)
            return result
        return None

    def _answer(self, job: Job, result: Any) -> None:
        session, fault = job.session, job.fault
        if fault is Fault.CRASH_AFTER:
            self._end(session)
            self.killed(session.process)
        elif fault is Fault.LOST_AFTER:
            self._end(session)
            _fail(job, asyncpg.ConnectionDoesNotExistError("simulated: connection was closed in the middle of operation"))
        elif fault is Fault.TIMEOUT:
            _fail(job, TimeoutError("simulated: command timeout"))
        else:
            if not job.future.done():
                job.future.set_result(result)
            if fault is Fault.STOP:
                self.stopped(session.process)

    def _rollback(self, session: Session) -> None:
        session.writes, session.failed = None, False
        self._release(session)

    def _release(self, session: Session) -> None:
        if not session.held:
            return
        for lock in session.held:
            del self._owners[lock]
        session.held.clear()
        for job in list(self._waiting):
            if job in self._waiting:
                self._waiting.remove(job)
                self._locked(job)

    def _end(self, session: Session) -> None:
        if session.ended:
            return
        session.ended = True
        self._sessions.discard(session)
        self._rollback(session)
        for job in [job for job in self._waiting if job.session is session]:
            self._waiting.remove(job)
            _fail(job, asyncpg.ConnectionDoesNotExistError("simulated: connection was closed"))


def _fail(job: Job, error: Exception) -> None:
    if not job.future.done():
        job.future.set_exception(error)
        job.future.exception()  # the caller may have left


class SimConnection:
    """What our storage modules use of a connection."""

    def __init__(self, server: Server, session: Session) -> None:
        self._server, self._session = server, session

    async def fetch(self, sql: str, *arguments: Any, **_: Any) -> list[Any]:
        return await self._call(sql, arguments)  # type: ignore[no-any-return]

    async def fetchval(self, sql: str, *arguments: Any, **_: Any) -> Any:
        return await self._call(sql, arguments)

    fetchrow = fetchval

    async def execute(self, sql: str, *arguments: Any) -> None:
        await self._call(sql, arguments)

    async def _call(self, sql: str, arguments: tuple[Any, ...]) -> Any:
        statement = STATEMENTS.get(sql)
        if statement is None:
            raise UnknownStatement(sql)
        return await self._server.call(self._session, statement, arguments)

    @asynccontextmanager
    async def transaction(self, **_: bool) -> AsyncIterator[None]:
        await self._server.call(self._session, BEGIN, ())
        try:
            yield
        except BaseException:
            if not self._session.ended:
                await self._server.call(self._session, ROLLBACK, ())
            raise
        await self._server.call(self._session, COMMIT, ())


class SimDatabase:
    """The interface of `driftlock.storage.pool.Database` that the node's own modules use, for one simulated process."""

    def __init__(self, server: Server, process: Process) -> None:
        self._server, self._process = server, process
        self.step: object = None

    def reserved(self, _: object) -> "SimDatabase":
        """Every call has a connection of its own here."""
        return self

    @asynccontextmanager
    async def tenant(self, _: UUID) -> AsyncIterator[SimConnection]:
        """A transaction; which rows a tenant may see is not simulated."""
        try:
            session = await self._server.connect(self._process)
            try:
                connection = SimConnection(self._server, session)
                async with connection.transaction():
                    yield connection
            finally:
                self._server.close(session)
        except Exception as error:
            translated = translate(error)
            if translated is None or translated is error:
                raise
            raise translated from error

    async def node(self, work: Callable[[Any], Awaitable[Result]]) -> Result:
        for left in reversed(range(TRIES_MAX)):
            try:
                return await self._once(work)
            except Unavailable as error:
                if left == 0 or error.__cause__ is None or sqlstate_of(error.__cause__) not in CONFLICTS:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    async def _once(self, work: Callable[[Any], Awaitable[Result]]) -> Result:
        try:
            session = await self._server.connect(self._process)
            session.step = self.step
            try:
                return await work(SimConnection(self._server, session))
            finally:
                self._server.close(session)
        except Exception as error:
            translated = translate(error)
            if translated is None or translated is error:
                raise
            raise translated from error
