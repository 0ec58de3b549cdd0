"""The ways to the database: a small pool of connections for each kind of work, with a circuit breaker of its own.

Kinds of work do not share connections, so none of them can take those of another: whoever asks too much of the database waits
among its own. They do not share breakers either, because a server may have no connection left for one and still serve those
that another has. A breaker counts what says that the way is gone: a login that fails while the lane has no connection at all,
a connection that is lost in use, a server that is silent beyond its own timeouts. Slowness, conflicts, refused data and
waiting for a connection of a busy lane never open it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from driftlock.errors import DriftlockError, Unavailable
from driftlock.storage.breaker import Breaker, State
from driftlock.storage.faults import AWAY, RETRY_AFTER_MS, is_outage, translate

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

API_ROLE = "driftlock_api"
NODE_ROLE = "driftlock_node"
# A role, a database or the server may have been given synchronous_commit = off since the start. Every other value waits for
# the disk at least, and some for standbys, which is not ours to undo.
KEEP = "select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'"


# asyncpg asks the database for what it does not know of array types, in several round trips, when a statement first has one:
# far from the database that takes longer than a statement may.
ARRAYS = (
    "select $1::uuid[], $2::text[], $3::bytea[], $4::bigint[], $5::integer[], $6::smallint[], $7::boolean[], $8::float8[], "
    "$9::timestamptz[]"
)


class Lane(StrEnum):
    """Kinds of work. All but `API` are the node's own and see all tenants."""

    API = "api"
    NODE = "node"  # tenants, new streams, configuration, ledger, readiness
    KEYS = "keys"  # who is asking, and what may not be kept of what they send
    APPEND = "append"  # commits of the journal
    APPLY = "apply"  # reading the journal, committing steps, retention


SPARED = frozenset({Lane.NODE, Lane.KEYS, Lane.APPEND})
"""Lanes whose idle connections stay open: one of them goes on with the work while another logs in again."""
INTROSPECTS = frozenset({Lane.NODE, Lane.APPEND, Lane.APPLY})
"""Lanes whose statements take whole columns."""
MEND_PAUSE_S = 0.01
INACTIVE_S = 300.0
"""So long an idle connection of the others stays open."""


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """Of one lane; see `driftlock.storage.pool.PoolLimits`. Statements end after `statement_timeout_ms` on the server."""

    connections_max: int
    statement_timeout_ms: int
    waiters_max: int
    acquire_timeout_ms: int
    connect_timeout_ms: int
    probe_ms: int
    grace_ms: int


class Way:
    """An async context manager around the pool of one lane. `on_change(state)` is told what its breaker does."""

    def __init__(
        self, dsn: str, lane: Lane, limits: LaneLimits, on_change: Callable[[State], None], *, keeps_commits: bool = True
    ) -> None:
        """Nothing is opened before it is entered. `keeps_commits`: no connection may forget what it commits, see `KEEP`."""
        self._dsn = dsn
        self._keeps_commits = keeps_commits
        self._lane = lane
        self._limits = limits
        self._on_change = on_change
        # More failures than connections: to lose all of them at once is no outage yet, the next login will tell.
        self._breaker = Breaker(
            lambda: asyncio.get_running_loop().time(),
            failures_max=limits.connections_max + 2,
            probe_ms=limits.probe_ms,
            on_change=self._changed,
        )
        self._why = "the database is away; retry"
        self._pool: Pool | None = None
        self._waiting: set[asyncio.Task[Connection]] = set()
        self._prober: asyncio.Task[None] | None = None
        self._probes: set[asyncio.Task[None]] = set()
        self._mending: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Make the pool, without a connection yet."""
        limits = self._limits
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=limits.connections_max,
            max_inactive_connection_lifetime=0.0 if self._lane in SPARED else INACTIVE_S,
            reset=_reset,
            connect=self._connect,
            **self._options(),
        )

    async def close(self) -> None:
        """Close all connections; what is still running on them is cut off. Safe to call twice."""
        pool, self._pool = self._pool, None
        tasks = [*self._waiting, *self._probes, *self._mending, *([] if self._prober is None else [self._prober])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if pool is not None:
            pool.terminate()
            with contextlib.suppress(Exception):  # closing a broken connection has nothing left to tell
                await pool.close()

    async def renew(self) -> None:
        """Let every connection that is open by now be replaced before its next use."""
        if self._pool is not None:
            await self._pool.expire_connections()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection of this lane. What fails inside is translated: raises `driftlock.errors`, or what is none of ours."""
        pool = self._pool
        if pool is None:
            raise Unavailable("the database is not open; retry", retry_after_ms=RETRY_AFTER_MS)
        if not self._breaker.closed:
            raise Unavailable(self._why, retry_after_ms=RETRY_AFTER_MS)
        try:
            connection = await self._acquire(pool)
            try:
                yield connection
            except Exception as error:
                self._note(error)
                raise
            else:
                self._breaker.succeeded()
            finally:
                # Giving a broken connection back raises; the error that broke it is the one to report.
                broken = _is_broken(connection)
                with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                    await pool.release(connection, timeout=self._limits.grace_ms / 1000)
                if broken and self._lane in SPARED:
                    self._mend(pool)
        except Exception as error:
            translated = translate(error)
            if translated is None or translated is error:
                raise
            raise translated from error

    def _mend(self, pool: Pool) -> None:
        """Log in again in the background, in place of a connection that broke: the next call takes the spare meanwhile.

        Far from the database a login takes several times as long as a statement.
        """
        task = asyncio.ensure_future(self._log_in_again(pool))
        self._mending.add(task)
        task.add_done_callback(self._mending.discard)

    async def _log_in_again(self, pool: Pool) -> None:
        """Ask for all connections at once: the pool gives out those that are open first, and logs in for the last."""
        await asyncio.sleep(MEND_PAUSE_S)  # the call that comes next is to have a spare
        asking = [self._open_one(pool) for _ in range(self._limits.connections_max)]
        await asyncio.gather(*asking)

    async def _open_one(self, pool: Pool) -> None:
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            connection = await self._attempt(pool)
            await asyncio.sleep(MEND_PAUSE_S)
            await pool.release(connection)

    def _note(self, error: Exception) -> None:
        """What a failure of a statement says about the way: it is gone, or it works, since the server has answered."""
        if is_outage(error):
            self._breaker.failed()
        elif isinstance(error, asyncpg.PostgresError):
            self._breaker.succeeded()

    async def _acquire(self, pool: Pool) -> Connection:
        """A connection within `acquire_timeout_ms`; an attempt that is slower goes on and serves a later call."""
        if len(self._waiting) >= self._limits.waiters_max:
            raise Unavailable("too many calls wait for the database; retry", retry_after_ms=RETRY_AFTER_MS)
        task: asyncio.Task[Connection] = asyncio.ensure_future(self._attempt(pool))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        try:
            done, _ = await asyncio.wait({task}, timeout=self._limits.acquire_timeout_ms / 1000)
        except asyncio.CancelledError:
            task.add_done_callback(lambda late: _give_back(pool, late))
            raise
        if not done:
            task.add_done_callback(lambda late: _give_back(pool, late))
            if pool.get_size() == self._limits.connections_max:
                raise Unavailable("all connections to the database are busy; retry", retry_after_ms=RETRY_AFTER_MS)
            raise AWAY("")
        return task.result()

    async def _attempt(self, pool: Pool) -> Connection:
        # Longer than a login may take, so that the login itself ends, and says how.
        connection: Connection = await pool.acquire(timeout=(self._limits.connect_timeout_ms + self._limits.grace_ms) / 1000)
        return connection

    async def _connect(self, *arguments: Any, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
        """Log in for the pool, and note how it went."""
        try:
            connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(*arguments, **options)
            await _prepared(connection, keeps_commits=self._keeps_commits, introspects=self._lane in INTROSPECTS)
        except Exception as error:
            self._explain(error)
            if self._pool is not None and self._pool.get_size() == 0:
                self._breaker.failed()
            raise
        self._breaker.succeeded()
        return connection

    def _options(self) -> dict[str, Any]:
        """What every login of this lane comes with."""
        timeout_ms = self._limits.statement_timeout_ms
        return {
            "timeout": self._limits.connect_timeout_ms / 1000,
            "command_timeout": (timeout_ms + self._limits.grace_ms) / 1000,
            "server_settings": {
                "role": API_ROLE if self._lane is Lane.API else NODE_ROLE,
                "statement_timeout": str(timeout_ms),
                "lock_timeout": str(timeout_ms),
                "idle_in_transaction_session_timeout": str(2 * timeout_ms),
                "timezone": "UTC",
                "application_name": f"driftlock-{self._lane}",
            },
        }

    def _explain(self, error: Exception) -> None:
        translated = translate(error)
        if isinstance(translated, DriftlockError):
            self._why = translated.message

    def _changed(self, state: State) -> None:
        if state is State.OPEN and (self._prober is None or self._prober.done()):
            self._prober = asyncio.ensure_future(self._probe_until_closed())
        self._on_change(state)

    async def _probe_until_closed(self) -> None:
        """Try the way until it is there again."""
        while not self._breaker.closed:
            if self._breaker.begin_probe():
                probe = asyncio.ensure_future(self._probe())
                self._probes.add(probe)
                probe.add_done_callback(self._probes.discard)
            await asyncio.sleep(self._limits.probe_ms / 1000)

    async def _probe(self) -> None:
        """Log in and leave: connections for work are the pool's affair."""
        connection: asyncpg.Connection[asyncpg.Record] | None = None
        try:
            connection = await asyncpg.connect(self._dsn, **self._options())
        except Exception as error:
            self._explain(error)
        finally:
            self._breaker.end_probe(well=connection is not None)
        if connection is not None:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                await connection.close(timeout=self._limits.grace_ms / 1000)


def _is_broken(connection: Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # it left the pool as it broke
        return True


async def _prepared(connection: "asyncpg.Connection[asyncpg.Record]", *, keeps_commits: bool, introspects: bool) -> None:
    """Do what a new connection has to do once, before somebody waits for it."""
    try:
        if keeps_commits:
            await connection.execute(KEEP)
        if introspects:
            await connection.prepare(ARRAYS)
    except BaseException:
        connection.terminate()
        raise


async def _reset(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Do nothing: asyncpg has ended what was left open, and nothing else of ours outlives its transaction.

    Its own way takes a round trip after each use, as long as the use itself.
    """


def _give_back(pool: Pool, late: asyncio.Task[Connection]) -> None:
    """Return the connection of an attempt whose caller has left."""
    if not late.cancelled() and late.exception() is None:
        releasing = asyncio.ensure_future(pool.release(late.result()))
        releasing.add_done_callback(lambda done: done.cancelled() or done.exception())
