"""Invitations to accounts: stored as digests, found by their token, gone once they are accepted."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import asyncpg

from driftlock.accounts.actor import Actor
from driftlock.accounts.invitations import VALID, MintedInvitation
from driftlock.accounts.keys import Role
from driftlock.accounts.people import INVITATIONS_MAX, MEMBERS_MAX, MEMBERSHIPS_MAX, Identity, check_invited
from driftlock.errors import Conflict, NotFound
from driftlock.storage.audit import note
from driftlock.storage.columns import text
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Connection, Database
from driftlock.storage.users import JOIN, MEMBERSHIPS, know

SELECT = "select i.id, i.email, i.role, i.invited_by, i.created_at, i.expires_at from driftlock.invitations i"
LIST = (
    SELECT + " where i.tenant_id = $1 and ($3::timestamptz is null or (i.created_at, i.id) < ($3, $4::uuid)) "
    "order by i.created_at desc, i.id desc limit $2"
)
# One at a time for each tenant, so that limits hold; a tenant that is closed has none.
OPEN = "select from driftlock.tenants t where t.id = $1 and t.closed_at is null for no key update"
EXPIRED = "delete from driftlock.invitations where tenant_id = $1 and expires_at <= $2"
COUNT = "select count(*) from driftlock.invitations where tenant_id = $1"
KNOWN = """
select exists (select from driftlock.members m join driftlock.users u on u.id = m.user_id
                where m.tenant_id = $1 and u.email = $2)
"""
CREATE = """
insert into driftlock.invitations (tenant_id, digest, email, role, invited_by, created_at, expires_at)
values ($1, $2, $3, $4, $5, $6, $7) returning id, email, role, invited_by, created_at, expires_at
"""
REVOKE = "delete from driftlock.invitations where tenant_id = $1 and id = $2 returning email"
FIND = "select i.id, i.tenant_id, i.email, i.role from driftlock.invitations i where i.digest = $1 and i.expires_at > $2"
ACCEPT = "delete from driftlock.invitations where id = $1"
# Others for the same address go with it: who is removed later must not come back by one of them, in another role.
OTHERS = "delete from driftlock.invitations where tenant_id = $1 and email = $2"
# Who is a member, and came by this very token: the audit log remembers what the invitation, which is gone, would say.
ACCEPTED = """
select m.tenant_id from driftlock.users u
  join driftlock.members m on m.user_id = u.id
  join driftlock.tenants t on t.id = m.tenant_id and t.closed_at is null
 where u.issuer = $1 and u.subject = $2
   and exists (select from driftlock.audit a
                where a.tenant_id = m.tenant_id and a.action = 'invitation.accepted' and a.target = u.id::text
                  and a.detail->>'token_sha256' = $3)
 limit 1
"""
IS_MEMBER = "select exists (select from driftlock.members where tenant_id = $1 and user_id = $2)"
MEMBERS = "select count(*) from driftlock.members where tenant_id = $1"
UNKNOWN = "there is no such invitation, or no longer: ask for a new one"


@dataclass(frozen=True, slots=True)
class InvitationRow:
    """An invitation that was not accepted yet; `invited_by` is how the one who invited is known."""

    invitation_id: UUID
    email: str
    role: Role
    invited_by: str
    created_at: datetime
    expires_at: datetime


class Invitations:
    """Invitations of one tenant at a time. Every method raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def create(
        self, tenant_id: UUID, minted: MintedInvitation, *, email: str, role: Role, now: datetime, actor: Actor
    ) -> InvitationRow:
        """Invite an address (as `check_email` returns it). Those that have expired make room.

        Raises `Conflict` for the address of a member, and when `INVITATIONS_MAX` are open; `NotFound` for a tenant that is
        gone.
        """

        async def work(connection: Connection) -> asyncpg.Record | None:
            async with connection.transaction():
                await _lock(connection, tenant_id)
                await connection.execute(EXPIRED, tenant_id, now)
                if await connection.fetchval(COUNT, tenant_id) >= INVITATIONS_MAX:
                    raise Conflict(f"{INVITATIONS_MAX} invitations are open (invitations_max): withdraw some first")
                if await connection.fetchval(KNOWN, tenant_id, email):
                    raise Conflict("somebody with this e-mail address is a member already", pointer="/email")
                invited_by = text(actor.name)
                values = (tenant_id, minted.digest, email, role.value, invited_by, now, now + VALID)
                row = await connection.fetchrow(CREATE, *values)
                assert row is not None  # noqa: S101  # an insert without a conflict clause returns its row or raises
                detail = {"email": email, "role": role.value}
                await note(connection, tenant_id, actor, "invitation.created", str(row["id"]), detail)
                return row

        row = await self._database.node(work)
        assert row is not None  # noqa: S101
        return _row(row)

    async def list(self, tenant_id: UUID, *, limit: int, after: tuple[datetime, UUID] | None = None) -> list[InvitationRow]:
        """One page by (created_at, id), the newest first, expired ones included."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(LIST, tenant_id, check_limit(limit), *(after or (None, None)))
        return [_row(row) for row in rows]

    async def revoke(self, tenant_id: UUID, invitation_id: UUID, actor: Actor) -> bool:
        """Withdraw an invitation; False when this tenant has none of that id."""

        async def work(connection: Connection) -> bool:
            async with connection.transaction():
                email = await connection.fetchval(REVOKE, tenant_id, invitation_id)
                if email is None:
                    return False
                await note(connection, tenant_id, actor, "invitation.revoked", str(invitation_id), {"email": email})
                return True

        return await self._database.node(work)

    async def accept(self, digest: bytes, identity: Identity, now: datetime, actor: Actor) -> UUID:
        """Make a person a member, and all invitations of the address to this tenant gone; returns the tenant.

        The same token again from the same person, as long as they are a member, changes nothing and gives the same tenant.
        Raises `NotFound` for a token that is unknown, used or expired, `PermissionDenied` for an invitation of another address
        and `Conflict` for a member and over the limits `MEMBERS_MAX` and `MEMBERSHIPS_MAX`: then it stays as it is.
        """

        async def work(connection: Connection) -> UUID:
            async with connection.transaction():
                found = await connection.fetchrow(FIND, digest, now)
                if found is None:
                    return await _accepted(connection, digest, identity)
                check_invited(identity, found["email"])
                tenant_id: UUID = found["tenant_id"]
                await _lock(connection, tenant_id)
                user_id = await know(connection, identity)
                if await connection.fetchval(IS_MEMBER, tenant_id, user_id):
                    if await connection.fetchval(ACCEPTED, *identity.key, digest.hex()) == tenant_id:
                        return tenant_id  # the same request was faster
                    raise Conflict("you are a member of this account already")
                if await connection.fetchval(MEMBERS, tenant_id) >= MEMBERS_MAX:
                    raise Conflict(f"this account has {MEMBERS_MAX} members (members_max): one has to leave first")
                if await connection.fetchval(MEMBERSHIPS, user_id) >= MEMBERSHIPS_MAX:
                    raise Conflict(f"you are in {MEMBERSHIPS_MAX} accounts (memberships_max): leave one first")
                if await connection.execute(ACCEPT, found["id"]) != "DELETE 1":  # somebody was faster
                    raise NotFound(UNKNOWN)
                await connection.execute(OTHERS, tenant_id, found["email"])
                await connection.execute(JOIN, tenant_id, user_id, found["role"], False)
                who = replace(actor, id=str(user_id))
                detail = {"invitation": str(found["id"]), "role": found["role"], "token_sha256": digest.hex()}
                await note(connection, tenant_id, who, "invitation.accepted", str(user_id), detail)
                return tenant_id

        return await self._database.node(work)


async def _accepted(connection: Connection, digest: bytes, identity: Identity) -> UUID:
    """The tenant that a person has joined with a token that is used up; raise `NotFound` for everybody else."""
    tenant_id: UUID | None = await connection.fetchval(ACCEPTED, *identity.key, digest.hex())
    if tenant_id is None:
        raise NotFound(UNKNOWN)
    return tenant_id


async def _lock(connection: Connection, tenant_id: UUID) -> None:
    if await connection.fetchrow(OPEN, tenant_id) is None:
        raise NotFound(UNKNOWN)


def _row(row: asyncpg.Record) -> InvitationRow:
    return InvitationRow(row["id"], row["email"], Role(row["role"]), row["invited_by"], row["created_at"], row["expires_at"])
