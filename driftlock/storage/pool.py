"""Connections: one pool for requests of one tenant, one for the node's own work, and errors in our own words.

Both pools log in as one role that can do nothing by itself and take on `driftlock_api` or `driftlock_node` for good as
they connect. Nothing here waits long: while the database is away every call fails within `acquire_timeout_ms`, and the
first call after its return finds it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar
from uuid import UUID

import asyncpg

from driftlock.errors import Unavailable
from driftlock.storage.faults import AWAY, CONFLICTS, RETRY_AFTER_MS, sqlstate_of, translate

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

API_ROLE = "driftlock_api"
NODE_ROLE = "driftlock_node"
TRIES_MAX = 4  # one, and three more after serialization failures and deadlocks
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Sizes in connections, times in ms.

    `acquire_timeout_ms` is how long a call waits for a connection; a connection attempt goes on for
    `connect_timeout_ms` in the background, so that a slow way to the database still gets through. `waiters_max` bounds
    the calls that wait. Statement timeouts are the server's; the client gives up `grace_ms` later.
    """

    api_connections_max: int = 8
    node_connections_max: int = 6
    waiters_max: int = 256
    acquire_timeout_ms: int = 900
    connect_timeout_ms: int = 10_000
    api_statement_timeout_ms: int = 2_000
    node_statement_timeout_ms: int = 5_000
    grace_ms: int = 1_000


class Database:
    """Async context manager; `dsn` is the application's. Entering it does not need the database to be there."""

    def __init__(self, dsn: str, *, limits: PoolLimits | None = None) -> None:
        """Nothing is opened before it is entered."""
        self._dsn = dsn
        self._limits = limits or PoolLimits()
        self._pools: dict[str, Pool] = {}
        self._waiting: set[asyncio.Task[Connection]] = set()

    async def __aenter__(self) -> Self:
        """Make the pools."""
        limits = self._limits
        sizes = {
            API_ROLE: (limits.api_connections_max, limits.api_statement_timeout_ms),
            NODE_ROLE: (limits.node_connections_max, limits.node_statement_timeout_ms),
        }
        for role, (connections_max, timeout_ms) in sizes.items():
            self._pools[role] = await asyncpg.create_pool(
                self._dsn,
                min_size=0,
                max_size=connections_max,
                timeout=limits.connect_timeout_ms / 1000,
                reset=_reset,
                command_timeout=(timeout_ms + limits.grace_ms) / 1000,
                server_settings={
                    "role": role,
                    "statement_timeout": str(timeout_ms),
                    "lock_timeout": str(timeout_ms),
                    "idle_in_transaction_session_timeout": str(2 * timeout_ms),
                    "timezone": "UTC",
                    "application_name": role.replace("_", "-"),
                },
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections; what is still running on them is cut off."""
        for task in list(self._waiting):
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        for pool in self._pools.values():
            pool.terminate()
            with contextlib.suppress(Exception):  # closing a broken connection has nothing left to tell
                await pool.close()
        self._pools.clear()

    @contextlib.asynccontextmanager
    async def tenant(self, tenant_id: UUID, *, read_only: bool = True) -> AsyncIterator[Connection]:
        """A connection inside a transaction that sees and writes the rows of one tenant and no others.

        Raises `driftlock.errors` only: `Unavailable` when the database is away, busy or slower than its timeout.
        """
        async with self._connection(API_ROLE) as connection, connection.transaction(readonly=read_only):
            await connection.execute("select set_config('driftlock.tenant_id', $1, true)", str(tenant_id))
            yield connection

    async def node(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """`work(connection)` as the node, outside a transaction, tried again after conflicts between transactions.

        Each statement of `work` is its own transaction unless it opens one. Raises as `tenant` does.
        """
        for left in reversed(range(TRIES_MAX)):
            try:
                async with self._connection(NODE_ROLE) as connection:
                    return await work(connection)
            except Unavailable as error:
                if left == 0 or error.__cause__ is None or sqlstate_of(error.__cause__) not in CONFLICTS:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    async def ping(self) -> None:
        """One round trip as the node; raises `Unavailable`. For readiness checks."""
        await self.node(lambda connection: connection.execute("select 1"))

    @contextlib.asynccontextmanager
    async def _connection(self, role: str) -> AsyncIterator[Connection]:
        pool = self._pools.get(role)
        if pool is None:
            raise Unavailable("the database is not open; retry", retry_after_ms=RETRY_AFTER_MS)
        try:
            connection = await self._acquire(pool)
            try:
                yield connection
            finally:
                # Giving a broken connection back raises; the error that broke it is the one to report.
                with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                    await pool.release(connection, timeout=self._limits.grace_ms / 1000)
        except Exception as error:
            translated = translate(error)
            if translated is None or translated is error:
                raise
            raise translated from error

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
            raise AWAY("")
        return task.result()

    async def _attempt(self, pool: Pool) -> Connection:
        return await pool.acquire(timeout=self._limits.connect_timeout_ms / 1000)


async def _reset(_: "asyncpg.Connection") -> None:
    """Do nothing: asyncpg has ended what was left open, and nothing else of ours outlives its transaction.

    Its own way takes a round trip after each use, as long as the use itself.
    """


def _give_back(pool: Pool, late: asyncio.Task[Connection]) -> None:
    """Return the connection of an attempt whose caller has left."""
    if not late.cancelled() and late.exception() is None:
        releasing = asyncio.ensure_future(pool.release(late.result()))
        releasing.add_done_callback(lambda done: done.cancelled() or done.exception())
