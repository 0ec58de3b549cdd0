"""An account as its own people see it: what it is called, what it may do, what it has used, and its end."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID

import asyncpg

from driftlock.accounts.actor import Actor
from driftlock.errors import Conflict, InvalidArgument
from driftlock.storage.account_names import check_account_name, distinct_name, shown_name
from driftlock.storage.audit import note
from driftlock.storage.deletion import CLOSE
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Connection, Database
from driftlock.storage.tenants import DEDUP_WINDOW_NS_MAX, LOCAL

GET = """
select t.id, t.name, t.plan, t.streams, t.streams_max, t.created_at, t.dedup_window_ns
  from driftlock.tenants t where t.id = $1 and t.closed_at is null
"""
# Whoever changes the same account waits; records are taken in meanwhile.
LOCK = GET + " for no key update"
NAME = "update driftlock.tenants set name = $2 where id = $1"
WINDOW = "update driftlock.tenants set dedup_window_ns = $2 where id = $1"
# A tenant's days end at midnight UTC; every node has rows of its own.
USAGE = """
select (m.hour at time zone 'UTC')::date as day,
       coalesce(sum(m.records) filter (where m.signal = 'logs'), 0)::bigint as logs,
       coalesce(sum(m.records) filter (where m.signal = 'metrics'), 0)::bigint as metrics,
       coalesce(sum(m.records) filter (where m.signal = 'traces'), 0)::bigint as traces,
       coalesce(sum(m.bytes), 0)::bigint as bytes
  from driftlock.meter m
 where m.tenant_id = $1 and ($3::date is null or m.hour < ($3::date)::timestamp at time zone 'UTC')
 group by 1 order by 1 desc limit $2
"""


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account. `dedup_window_ns` is how long its requests are remembered, None: as long as the server says."""

    tenant_id: UUID
    name: str
    plan: str
    streams: int
    streams_max: int
    created_at: datetime
    dedup_window_ns: int | None


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What is to change of an account; `sets_window` says whether `dedup_window_ns` is meant, which may be None itself."""

    name: str | None = None
    sets_window: bool = False
    dedup_window_ns: int | None = None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What was metered in one day (UTC): records of each signal, and bytes of all of them before compression."""

    day: date
    logs: int
    metrics: int
    traces: int
    bytes: int


class Accounts:
    """One account at a time, by one of its own. Every method raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def get(self, tenant_id: UUID) -> AccountRow | None:
        """The account; None when it is being deleted."""
        async with self._database.tenant(tenant_id) as connection:
            row = await connection.fetchrow(GET, tenant_id)
        return None if row is None else _row(row)

    async def change(self, tenant_id: UUID, change: AccountChange, actor: Actor) -> AccountRow | None:
        """The account with `change`, which is noted as far as it changes anything; None when the account is gone.

        Other accounts may be called the same. Raises `Conflict` where an account may not be renamed, or not so, and
        `InvalidArgument` for values that can not be.
        """
        window_ns = change.dedup_window_ns
        if window_ns is not None and not 0 <= window_ns <= DEDUP_WINDOW_NS_MAX:
            raise InvalidArgument("the window of resends is 0 to 86400 seconds", pointer="/dedup_window_seconds")

        async def work(connection: Connection) -> asyncpg.Record | None:
            async with connection.transaction():
                row = await connection.fetchrow(LOCK, tenant_id)
                if row is None:
                    return None
                changed: dict[str, object] = {}
                name = shown_name(row["name"], tenant_id)
                if change.name is not None and change.name != name:
                    await _rename(connection, tenant_id, name, change.name)
                    changed["name"] = {"before": name, "after": change.name}
                if change.sets_window and window_ns != row["dedup_window_ns"]:
                    await connection.execute(WINDOW, tenant_id, window_ns)
                    changed["dedup_window_ns"] = {"before": row["dedup_window_ns"], "after": window_ns}
                if changed:
                    await note(connection, tenant_id, actor, "account.changed", str(tenant_id), changed)
                return await connection.fetchrow(GET, tenant_id)

        row = await self._database.node(work)
        return None if row is None else _row(row)

    async def close(self, tenant_id: UUID, name: str, actor: Actor) -> bool:
        """Begin to delete an account: nothing of it is taken in any more, its keys are gone and its name is free.

        The rest goes bite by bite in the background. False when it is closed already. Raises `InvalidArgument` unless `name` is
        its name, and `Conflict` for the local account, which belongs to the data folder.
        """

        async def work(connection: Connection) -> bool:
            async with connection.transaction():
                row = await connection.fetchrow(GET, tenant_id)
                if row is None:
                    return False
                if row["name"] == LOCAL:
                    raise Conflict(f"the account {LOCAL!r} belongs to the data folder: `driftlock tenant delete {LOCAL}` there")
                if shown_name(row["name"], tenant_id) != name:
                    raise InvalidArgument("give the name of the account, as GET /v1/account has it", pointer="/name")
                # Closing takes the lock of appends first, as they do; so nothing of the tenant is locked before it.
                await connection.execute(CLOSE, tenant_id)
                await note(connection, tenant_id, actor, "account.deleted", str(tenant_id), {"name": name})
                return True

        return await self._database.node(work)

    async def usage(self, tenant_id: UUID, *, limit: int, after: date | None = None) -> list[UsageRow]:
        """One page of days with records, the newest first; `after` is the last day of the page before."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(USAGE, tenant_id, check_limit(limit), after)
        return [UsageRow(**row) for row in rows]


async def _rename(connection: Connection, tenant_id: UUID, before: str, after: str) -> None:
    """Raises `Conflict` for a name that is not this account's to take or to give up, `InvalidArgument` for what can be none."""
    if before == LOCAL:
        raise Conflict(f"this is the account of the data folder: it keeps the name {LOCAL!r}", pointer="/name")
    check_account_name(after)
    try:
        async with connection.transaction():
            await connection.execute(NAME, tenant_id, after)
    except asyncpg.UniqueViolationError:
        await connection.execute(NAME, tenant_id, distinct_name(after, tenant_id))


def month_of(now: datetime) -> datetime:
    """When the calendar month (UTC) of `now` began."""
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _row(row: asyncpg.Record) -> AccountRow:
    return AccountRow(
        row["id"],
        shown_name(row["name"], row["id"]),
        row["plan"],
        row["streams"],
        row["streams_max"],
        row["created_at"],
        row["dedup_window_ns"],
    )
