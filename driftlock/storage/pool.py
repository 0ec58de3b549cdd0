"""Connections: a lane for requests of one tenant, others for the node's own work, and errors in our own words.

All log in as one role that can do nothing by itself and take on `driftlock_api` or `driftlock_node` for good as they connect.
Nothing here waits long: while the database is away every call fails within `acquire_timeout_ms`, and at once as soon as that
is known; it is noticed within `probe_ms` that the database is back.
"""

import contextlib
import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

from driftlock.errors import Unavailable
from driftlock.storage.breaker import State
from driftlock.storage.faults import CONFLICTS, RETRY_AFTER_MS, sqlstate_of
from driftlock.storage.lanes import API_ROLE, NODE_ROLE, Connection, Lane, LaneLimits, Way

__all__ = ["API_ROLE", "NODE_ROLE", "Connection", "Database", "Lane", "PoolLimits"]

TRIES_MAX = 4  # one, and three more after serialization failures and deadlocks
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Sizes in connections, times in ms.

    Each lane has connections of its own, opened as they are needed; together they are what one process takes of the server's
    `max_connections`. `acquire_timeout_ms` is how long a call waits for a connection; a connection attempt goes on for
    `connect_timeout_ms` in the background, so that a slow way to the database still gets through. `waiters_max` bounds
    the calls of a lane that wait. Statement timeouts are the server's; the client gives up `grace_ms` later. `probe_ms` apart
    a database that is away is looked for.
    """

    api_connections_max: int = 8
    node_connections_max: int = 4
    keys_connections_max: int = 3
    append_connections_max: int = 3
    apply_connections_max: int = 3
    waiters_max: int = 256
    acquire_timeout_ms: int = 900
    connect_timeout_ms: int = 20_000
    api_statement_timeout_ms: int = 2_000
    node_statement_timeout_ms: int = 5_000
    probe_ms: int = 200
    grace_ms: int = 1_000

    def of(self, lane: Lane) -> LaneLimits:
        """Those of one lane."""
        sizes = {
            Lane.API: self.api_connections_max,
            Lane.NODE: self.node_connections_max,
            Lane.KEYS: self.keys_connections_max,
            Lane.APPEND: self.append_connections_max,
            Lane.APPLY: self.apply_connections_max,
        }
        return LaneLimits(
            sizes[lane],
            self.api_statement_timeout_ms if lane is Lane.API else self.node_statement_timeout_ms,
            self.waiters_max,
            self.acquire_timeout_ms,
            self.connect_timeout_ms,
            self.probe_ms,
            self.grace_ms,
        )


class Database:
    """Async context manager; `dsn` is the application's. Entering it does not need the database to be there.

    `on_change(lane, state)` is told when the way to the database is lost or found; it must not raise. With `keeps_commits` a
    connection that would answer a commit before it is on disk is made to wait for it.
    """

    def __init__(
        self,
        dsn: str,
        *,
        limits: PoolLimits | None = None,
        on_change: Callable[[Lane, State], None] = lambda _lane, _state: None,
        keeps_commits: bool = True,
    ) -> None:
        """Nothing is opened before it is entered."""
        self._dsn = dsn
        self._keeps_commits = keeps_commits
        self._limits = limits or PoolLimits()
        self._on_change = on_change
        self._ways: dict[Lane, Way] = {}
        self._lane = Lane.NODE

    def reserved(self, lane: Lane) -> Self:
        """The same database to someone whose own work, `node`, has connections reserved: those of `lane`.

        Only the original may be entered, and it holds for both.
        """
        view = copy.copy(self)
        view._lane = lane  # noqa: SLF001  # its own class
        return view

    async def __aenter__(self) -> Self:
        """Make the pools."""
        for lane in Lane:
            told = _told(self._on_change, lane)
            way = Way(self._dsn, lane, self._limits.of(lane), told, keeps_commits=self._keeps_commits)
            await way.open()
            self._ways[lane] = way
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections; what is still running on them is cut off."""
        for way in self._ways.values():
            await way.close()
        self._ways.clear()

    @contextlib.asynccontextmanager
    async def tenant(self, tenant_id: UUID, *, read_only: bool = True) -> AsyncIterator[Connection]:
        """A connection inside a transaction that sees and writes the rows of one tenant and no others.

        Raises `driftlock.errors` only: `Unavailable` when the database is away, busy or slower than its timeout.
        """
        async with self._connection(Lane.API) as connection, connection.transaction(readonly=read_only):
            await connection.execute("select set_config('driftlock.tenant_id', $1, true)", str(tenant_id))
            yield connection

    async def node(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """`work(connection)` as the node, outside a transaction, tried again after conflicts between transactions.

        Each statement of `work` is its own transaction unless it opens one. Raises as `tenant` does.
        """
        for left in reversed(range(TRIES_MAX)):
            try:
                async with self._connection(self._lane) as connection:
                    return await work(connection)
            except Unavailable as error:
                if left == 0 or error.__cause__ is None or sqlstate_of(error.__cause__) not in CONFLICTS:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    async def renew(self) -> None:
        """Let every connection that is open by now be replaced before its next use, so that it gets the settings of now."""
        for way in self._ways.values():
            await way.renew()

    async def ping(self) -> None:
        """One round trip as the node; raises `Unavailable`. For readiness checks."""
        await self.node(lambda connection: connection.execute("select 1"))

    @contextlib.asynccontextmanager
    async def _connection(self, lane: Lane) -> AsyncIterator[Connection]:
        way = self._ways.get(lane)
        if way is None:
            raise Unavailable("the database is not open; retry", retry_after_ms=RETRY_AFTER_MS)
        async with way.connection() as connection:
            yield connection


def _told(on_change: Callable[[Lane, State], None], lane: Lane) -> Callable[[State], None]:
    return lambda state: on_change(lane, state)
