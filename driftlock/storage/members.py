"""The members of accounts. What is read is the tenant's own by row security; what is changed is checked in one transaction."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from driftlock.accounts.actor import Actor
from driftlock.accounts.keys import Role
from driftlock.accounts.people import check_owner_left
from driftlock.storage.audit import note
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Connection, Database

SELECT = """
select m.user_id, u.email, u.name, m.role, m.since from driftlock.members m join driftlock.users u on u.id = m.user_id
"""
LIST = (
    SELECT + " where m.tenant_id = $1 and ($3::timestamptz is null or (m.since, m.user_id) > ($3, $4::uuid)) "
    "order by m.since, m.user_id limit $2"
)
GET = SELECT + " where m.tenant_id = $1 and m.user_id = $2"
# All owners, so that two of them who lower each other do it one after the other; and whoever is concerned.
LOCK = """
select m.user_id, m.role from driftlock.members m
 where m.tenant_id = $1 and (m.role = 'owner' or m.user_id = $2) order by m.user_id for update
"""
SET_ROLE = "update driftlock.members set role = $3 where tenant_id = $1 and user_id = $2"
REMOVE = "delete from driftlock.members where tenant_id = $1 and user_id = $2"
# Only the case of ASCII letters is overlooked, as when an invitation is accepted.
UNINVITE = """
delete from driftlock.invitations i using driftlock.users u
 where i.tenant_id = $1 and u.id = $2 and lower(i.email collate "C") = lower(u.email collate "C")
"""


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A member of an account."""

    user_id: UUID
    email: str
    name: str
    role: Role
    since: datetime


class Members:
    """The members of one tenant at a time. Every method raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def list(self, tenant_id: UUID, *, limit: int, after: tuple[datetime, UUID] | None = None) -> list[MemberRow]:
        """One page by (since, user id), ascending; `after` is the position of the last member of the page before."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(LIST, tenant_id, check_limit(limit), *(after or (None, None)))
        return [_row(row) for row in rows]

    async def get(self, tenant_id: UUID, user_id: UUID) -> MemberRow | None:
        """One member; None when there is none of that id."""
        async with self._database.tenant(tenant_id) as connection:
            row = await connection.fetchrow(GET, tenant_id, user_id)
        return None if row is None else _row(row)

    async def set_role(self, tenant_id: UUID, user_id: UUID, role: Role, actor: Actor) -> bool:
        """Give a member another role; False when there is none of that id. Raises `Conflict` for the last owner."""

        async def change(connection: Connection, before: Role) -> None:
            await connection.execute(SET_ROLE, tenant_id, user_id, role.value)
            detail = {"before": before.value, "after": role.value}
            await note(connection, tenant_id, actor, "member.role_changed", str(user_id), detail)

        return await self._change(tenant_id, user_id, change, keeps_owner=role is Role.OWNER)

    async def remove(self, tenant_id: UUID, user_id: UUID, actor: Actor) -> bool:
        """Take a member out of the account; False when there is none of that id. Raises `Conflict` for the last owner.

        Invitations of the address that are open go, too, so that nobody comes back by an older one.
        """

        async def change(connection: Connection, before: Role) -> None:
            await connection.execute(UNINVITE, tenant_id, user_id)
            await connection.execute(REMOVE, tenant_id, user_id)
            await note(connection, tenant_id, actor, "member.removed", str(user_id), {"role": before.value})

        return await self._change(tenant_id, user_id, change, keeps_owner=False)

    async def _change(
        self, tenant_id: UUID, user_id: UUID, change: Callable[[Connection, Role], Awaitable[None]], *, keeps_owner: bool
    ) -> bool:
        async def work(connection: Connection) -> bool:
            async with connection.transaction():
                rows = await connection.fetch(LOCK, tenant_id, user_id)
                roles = {row["user_id"]: Role(row["role"]) for row in rows}
                if user_id not in roles:
                    return False
                if not keeps_owner:
                    check_owner_left([each for each, role in roles.items() if role is Role.OWNER], user_id)
                await change(connection, roles[user_id])
                return True

        return await self._database.node(work)


def _row(row: asyncpg.Record) -> MemberRow:
    return MemberRow(row["user_id"], row["email"], row["name"], Role(row["role"]), row["since"])
