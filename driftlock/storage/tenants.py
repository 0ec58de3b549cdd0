"""Tenants: whose records they are. Used by the operator's commands and at start, never by a tenant's request."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from driftlock.accounts.plans import FREE, PLANS
from driftlock.accounts.plans import LOCAL as LOCAL_PLAN
from driftlock.errors import Conflict, InvalidArgument
from driftlock.storage.deletion import Deletions
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Connection, Database

LOCAL = "local"
DELETED = "deleted-"
NAME_BYTES_MAX = 256
STREAMS_MAX_DEFAULT = 10_000
DEDUP_WINDOW_NS_MAX = 24 * 3600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant; `streams` of at most `streams_max` exist.

    `dedup_window_ns` is how long its requests are remembered (None: as long as the server says).
    """

    tenant_id: UUID
    name: str
    plan: str
    streams: int
    streams_max: int
    created_at: datetime
    dedup_window_ns: int | None = None


class Tenants:
    """All tenants but those that are being deleted, as the node sees them.

    Every method raises `Unavailable` when the database is away.
    """

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def create(self, name: str, *, plan: str = FREE, streams_max: int = STREAMS_MAX_DEFAULT) -> Tenant:
        """A new tenant. Raises `Conflict` when the name is taken, `InvalidArgument` when it can not be one."""
        check_name(name)
        if plan not in PLANS:
            raise InvalidArgument(f"there is no such plan; choose one of {', '.join(PLANS)}")
        if streams_max < 1:
            raise InvalidArgument("streams_max must be at least 1")
        row = await self._one(
            "insert into driftlock.tenants (name, plan, streams_max) values ($1, $2, $3) on conflict (name) do nothing "
            "returning *",
            name,
            plan,
            streams_max,
        )
        if row is None:
            raise Conflict(f"there is a tenant called {name!r} already")
        return _tenant(row)

    async def ensure_local(self) -> Tenant:
        """The tenant of the embedded default, made on first use."""
        found = await self.find(LOCAL)
        if found is not None:
            return found
        try:
            return await self.create(LOCAL, plan=LOCAL_PLAN)
        except Conflict:  # made by another process in the meantime
            found = await self.find(LOCAL)
            if found is None:
                raise
            return found

    async def find(self, name: str) -> Tenant | None:
        """The tenant of that name."""
        row = await self._one("select * from driftlock.tenants where name = $1 and closed_at is null", name)
        return None if row is None else _tenant(row)

    async def find_closed(self, name: str) -> UUID | None:
        """The id of the tenant that is being deleted and is called so by now, `deleted-` and its id."""
        row = await self._one("select id from driftlock.tenants where name = $1 and closed_at is not null", name)
        return None if row is None else row["id"]

    async def get(self, tenant_id: UUID) -> Tenant | None:
        """The tenant of that id."""
        row = await self._one("select * from driftlock.tenants where id = $1 and closed_at is null", tenant_id)
        return None if row is None else _tenant(row)

    async def list(self, *, limit: int = 200, after: str | None = None) -> list[Tenant]:
        """One page by name, ascending; `after` is the last name of the page before."""
        sql = "select * from driftlock.tenants where name > coalesce($1, '') and closed_at is null order by name limit $2"

        async def work(connection: Connection) -> list[asyncpg.Record]:
            return await connection.fetch(sql, after, check_limit(limit))

        return [_tenant(row) for row in await self._database.node(work)]

    async def set_dedup_window(self, tenant_id: UUID, window_ns: int | None) -> bool:
        """Let resends of the tenant be recognised for so long from the next request on; 0 = never, None = as the server says.

        False when there is no such tenant. Raises `InvalidArgument` for more than 24 hours.
        """
        if window_ns is not None and not 0 <= window_ns <= DEDUP_WINDOW_NS_MAX:
            raise InvalidArgument("a tenant's window of resends is 0 to 24 hours")
        sql = "update driftlock.tenants set dedup_window_ns = $2 where id = $1 and closed_at is null returning *"
        return await self._one(sql, tenant_id, window_ns) is not None

    async def delete(self, tenant_id: UUID) -> bool:
        """Delete a tenant with all that is its own: keys, streams, findings, and its records in the journal.

        False when there is none. It is closed first: nothing of it is taken in any more, its keys are gone and its name is
        free. The rest goes bite by bite, and appends and steps wait for one at most. What is left by a call that does not come
        to its end is deleted by the next one, or by `Deletions`.
        """
        deletions = Deletions(self._database)
        if not await deletions.close(tenant_id):
            return False
        await deletions.empty(tenant_id)
        return True

    async def _one(self, sql: str, *values: object) -> asyncpg.Record | None:
        async def work(connection: Connection) -> asyncpg.Record | None:
            return await connection.fetchrow(sql, *values)

        return await self._database.node(work)


def check_name(name: str) -> None:
    """Raises `InvalidArgument` for what can not be a tenant's name."""
    if not 1 <= len(name.encode("utf-8", "replace")) <= NAME_BYTES_MAX or not name.isprintable():
        raise InvalidArgument(f"a tenant's name has 1 to {NAME_BYTES_MAX} bytes, all printable")
    if name.startswith(DELETED):
        raise InvalidArgument(f"names that begin with {DELETED!r} are those of tenants that are being deleted: use another")


def _tenant(row: asyncpg.Record) -> Tenant:
    return Tenant(
        row["id"],
        row["name"],
        row["plan"],
        row["streams"],
        row["streams_max"],
        row["created_at"],
        row["dedup_window_ns"],
    )
