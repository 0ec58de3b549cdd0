"""People in the database: one account for one person however often they sign up, owners that stay, invitations used once."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from driftlock.accounts.actor import Actor, ActorKind
from driftlock.accounts.invitations import VALID, mint_invitation
from driftlock.accounts.keys import KeyKind, Role, Scope, mint
from driftlock.accounts.people import INVITATIONS_MAX, MEMBERS_MAX, MEMBERSHIPS_MAX, NOBODY, Identity
from driftlock.errors import Conflict, EmailUnverified, InvalidArgument, NotFound, PermissionDenied
from driftlock.storage.accounts import Accounts
from driftlock.storage.audit import AuditLog
from driftlock.storage.invitations import Invitations
from driftlock.storage.keys import Keys
from driftlock.storage.members import Members
from driftlock.storage.pool import Database
from driftlock.storage.tenants import Tenants
from driftlock.storage.users import CachedPeople, SignedUp, Users

NOW = datetime(2027, 1, 1, tzinfo=UTC)
ACTOR = Actor(ActorKind.USER, "", "ada@example.com", "request", "192.0.2.0/24")


def identity(name: str, **changes: object) -> Identity:
    made = Identity("https://issuer.example", name, f"{name}@example.com", True, name.title(), 0)
    return replace(made, **changes)  # type: ignore[arg-type]  # a test names real fields


async def sign_up(database: Database, name: str, account: str | None = None, key: int = 1) -> SignedUp:
    minted = mint(KeyKind.LIVE, bytes([key]) * 30)
    return await Users(database).sign_up(identity(name), f"{name}'s" if account is None else account, minted, ACTOR)


async def join(database: Database, owner: SignedUp, name: str, role: Role = Role.MEMBER) -> UUID:
    """`name` accepts an invitation of the owner's account; the id of the person."""
    raw = name.encode().ljust(20, b"-")
    minted = mint_invitation(raw)
    invitations = Invitations(database)
    tenant_id = owner.membership.tenant_id
    await invitations.create(tenant_id, minted, email=f"{name}@example.com", role=role, now=NOW, actor=ACTOR)
    assert await invitations.accept(minted.digest, identity(name), NOW, ACTOR) == tenant_id
    user_id = (await Users(database).find(identity(name).key)).user_id
    assert user_id is not None
    return user_id


async def actions(database: Database, tenant_id: UUID) -> list[str]:
    return [row.action for row in reversed(await AuditLog(database).list(tenant_id, limit=200))]


async def test_signing_up_makes_an_account_with_an_owner_and_a_key(database: Database) -> None:
    found = await sign_up(database, "ada", "Analytical Engines")
    assert found.created
    assert (found.membership.tenant_name, found.membership.plan, found.membership.role) == (
        "Analytical Engines",
        "free",
        Role.OWNER,
    )
    tenant_id = found.membership.tenant_id
    (key,) = await Keys(database).list(tenant_id)
    assert (key.scopes, key.kind) == ({Scope.INGEST, Scope.READ}, KeyKind.LIVE)
    assert key.created_by == f"user:{found.user_id}"
    assert (await Users(database).find(identity("ada").key)).memberships == (found.membership,)
    entries = await AuditLog(database).list(tenant_id, limit=9)
    assert [entry.action for entry in reversed(entries)] == ["account.created", "key.created"]
    assert {entry.actor.id for entry in entries} == {str(found.user_id)}


async def test_sixteen_sign_ups_at_once_make_one_account(database: Database, owner: asyncpg.Connection) -> None:
    found = await asyncio.gather(*(sign_up(database, "ada", f"account {number}", number + 1) for number in range(16)))
    assert len({it.membership.tenant_id for it in found}) == 1
    assert [it.created for it in found].count(True) == 1
    assert await owner.fetchval("select count(*) from driftlock.tenants") == 1
    assert await owner.fetchval("select count(*) from driftlock.api_keys") == 1
    assert await owner.fetchval("select count(*) from driftlock.users") == 1


async def test_the_same_address_from_another_issuer_or_subject_is_somebody_else(database: Database) -> None:
    first = await sign_up(database, "ada")
    for number, other in enumerate((identity("ada", issuer="https://other.example"), identity("ada", subject="ada-2")), 2):
        minted = mint(KeyKind.LIVE, bytes([number]) * 30)
        found = await Users(database).sign_up(other, f"account {number}", minted, ACTOR)
        assert found.created
        assert found.membership.tenant_id != first.membership.tenant_id
        assert found.user_id != first.user_id


async def test_accounts_may_be_called_the_same(database: Database, owner: asyncpg.Connection) -> None:
    first, second = await sign_up(database, "ada", "same"), await sign_up(database, "eve", "same", 2)
    assert (second.created, second.membership.tenant_name) == (True, "same")
    tenant_id = second.membership.tenant_id
    assert tenant_id != first.membership.tenant_id
    assert (await Users(database).find(identity("eve").key)).memberships == (second.membership,)
    assert await owner.fetchval("select name from driftlock.tenants where id = $1", tenant_id) == f"same #{tenant_id.hex}"


async def test_a_name_that_can_not_be_one_makes_nothing(database: Database, owner: asyncpg.Connection) -> None:
    await sign_up(database, "ada", "mine")
    with pytest.raises(Conflict, match="data folder"):
        await sign_up(database, "eve", "local", 2)
    for name in ("", "x" * 223, "a\nb", "deleted-x"):
        with pytest.raises(InvalidArgument):
            await sign_up(database, "eve", name, 3)
    assert await Users(database).find(identity("eve").key) == NOBODY
    assert await owner.fetchval("select count(*) from driftlock.users") == 1


async def test_who_was_invited_can_still_found_an_account(database: Database) -> None:
    first = await sign_up(database, "ada")
    await join(database, first, "bob", Role.VIEWER)
    founded = await sign_up(database, "bob", key=2)
    assert founded.created
    again = await sign_up(database, "bob", key=3)
    assert (again.created, again.membership.tenant_id) == (False, founded.membership.tenant_id)
    mine = (await Users(database).find(identity("bob").key)).memberships
    assert [it.role for it in mine] == [Role.VIEWER, Role.OWNER]


async def test_members_are_listed_in_pages_and_change(database: Database) -> None:
    owner = await sign_up(database, "ada")
    tenant_id, members = owner.membership.tenant_id, Members(database)
    people = [await join(database, owner, name) for name in ("bob", "cy", "di")]
    first = await members.list(tenant_id, limit=3)
    assert [row.user_id for row in first] == [owner.user_id, *people[:2]]
    rest = await members.list(tenant_id, limit=3, after=(first[-1].since, first[-1].user_id))
    assert [(row.user_id, row.email, row.name) for row in rest] == [(people[2], "di@example.com", "Di")]
    assert await members.set_role(tenant_id, people[0], Role.VIEWER, ACTOR)
    row = await members.get(tenant_id, people[0])
    assert row is not None
    assert row.role is Role.VIEWER
    assert await members.remove(tenant_id, people[0], ACTOR)
    assert not await members.remove(tenant_id, people[0], ACTOR)
    assert await members.get(tenant_id, people[0]) is None
    assert (await actions(database, tenant_id))[-2:] == ["member.role_changed", "member.removed"]


async def test_the_last_owner_stays_one(database: Database) -> None:
    owner = await sign_up(database, "ada")
    tenant_id, members = owner.membership.tenant_id, Members(database)
    bob = await join(database, owner, "bob", Role.MEMBER)
    for change in (
        members.set_role(tenant_id, owner.user_id, Role.MEMBER, ACTOR),
        members.remove(tenant_id, owner.user_id, ACTOR),
    ):
        with pytest.raises(Conflict, match="last owner"):
            await change
    assert await members.set_role(tenant_id, owner.user_id, Role.OWNER, ACTOR)
    assert await members.set_role(tenant_id, bob, Role.OWNER, ACTOR)
    assert await members.remove(tenant_id, owner.user_id, ACTOR)


async def test_owners_who_lower_each_other_at_once_do_not_both_succeed(database: Database) -> None:
    owner = await sign_up(database, "ada")
    tenant_id, members = owner.membership.tenant_id, Members(database)
    others = [await join(database, owner, name, Role.OWNER) for name in ("bob", "cy")]
    everybody = [owner.user_id, *others]
    ends = await asyncio.gather(*(members.remove(tenant_id, each, ACTOR) for each in everybody), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["Conflict", "bool", "bool"]
    (left,) = await members.list(tenant_id, limit=9)
    assert left.role is Role.OWNER


async def test_nothing_is_kept_of_somebody_who_is_nowhere_a_member(database: Database, owner: asyncpg.Connection) -> None:
    first, second = await sign_up(database, "ada"), await sign_up(database, "bob", key=2)
    cy = await join(database, first, "cy")
    assert await Members(database).remove(first.membership.tenant_id, cy, ACTOR)
    assert await Users(database).find(identity("cy").key) == NOBODY
    bob = await join(database, first, "bob")
    assert bob == second.user_id
    assert await Tenants(database).delete(first.membership.tenant_id)
    assert [row["subject"] for row in await owner.fetch("select subject from driftlock.users")] == ["bob"]
    assert (await Users(database).find(identity("bob").key)).memberships == (second.membership,)


async def test_a_closed_account_is_nobodys_before_it_is_gone(database: Database) -> None:
    found = await sign_up(database, "ada", "mine")
    assert await Accounts(database).close(found.membership.tenant_id, "mine", ACTOR)
    person = await Users(database).find(identity("ada").key)
    assert (person.user_id, person.memberships) == (found.user_id, ())
    again = await sign_up(database, "ada", "mine", 2)
    assert again.created
    assert again.membership.tenant_id != found.membership.tenant_id


async def test_an_invitation_is_used_once(database: Database) -> None:
    owner = await sign_up(database, "ada")
    tenant_id, invitations, minted = owner.membership.tenant_id, Invitations(database), mint_invitation(bytes(20))
    row = await invitations.create(tenant_id, minted, email="bob@example.com", role=Role.VIEWER, now=NOW, actor=ACTOR)
    assert (row.email, row.role, row.expires_at) == ("bob@example.com", Role.VIEWER, NOW + timedelta(days=7))
    assert await invitations.list(tenant_id, limit=9) == [row]
    bob = identity("bob", email="Bob@example.com")
    ends = await asyncio.gather(*(invitations.accept(minted.digest, bob, NOW, ACTOR) for _ in range(4)), return_exceptions=True)
    assert ends == [tenant_id] * 4
    assert await invitations.accept(minted.digest, bob, NOW, ACTOR) == tenant_id
    assert await invitations.list(tenant_id, limit=9) == []
    with pytest.raises(NotFound):
        await invitations.accept(minted.digest, identity("eve", email="bob@example.com"), NOW, ACTOR)
    assert (await Users(database).find(bob.key)).memberships[0].role is Role.VIEWER
    assert (await actions(database, tenant_id))[-2:] == ["invitation.created", "invitation.accepted"]


async def test_whom_an_invitation_is_not_for(database: Database) -> None:
    owner = await sign_up(database, "ada")
    tenant_id, invitations, minted = owner.membership.tenant_id, Invitations(database), mint_invitation(bytes(20))
    row = await invitations.create(tenant_id, minted, email="bob@example.com", role=Role.OWNER, now=NOW, actor=ACTOR)
    with pytest.raises(PermissionDenied, match="another e-mail"):
        await invitations.accept(minted.digest, identity("eve"), NOW, ACTOR)
    with pytest.raises(EmailUnverified):
        await invitations.accept(minted.digest, identity("bob", email_verified=False), NOW, ACTOR)
    with pytest.raises(NotFound):
        await invitations.accept(minted.digest, identity("bob"), NOW + VALID, ACTOR)
    with pytest.raises(NotFound):
        await invitations.accept(bytes(32), identity("bob"), NOW, ACTOR)
    assert await Users(database).find(identity("bob").key) == NOBODY
    assert await invitations.revoke(tenant_id, row.invitation_id, ACTOR)
    assert not await invitations.revoke(tenant_id, row.invitation_id, ACTOR)
    with pytest.raises(NotFound):
        await invitations.accept(minted.digest, identity("bob"), NOW, ACTOR)


async def test_members_are_not_invited_again(database: Database) -> None:
    owner = await sign_up(database, "ada")
    tenant_id, invitations = owner.membership.tenant_id, Invitations(database)
    with pytest.raises(Conflict, match="member already"):
        await invitations.create(
            tenant_id, mint_invitation(bytes(20)), email="ada@example.com", role=Role.VIEWER, now=NOW, actor=ACTOR
        )
    first, second = mint_invitation(b"1" * 20), mint_invitation(b"2" * 20)
    for minted in (first, second):
        await invitations.create(tenant_id, minted, email="bob@example.com", role=Role.VIEWER, now=NOW, actor=ACTOR)
    await invitations.accept(first.digest, identity("bob"), NOW, ACTOR)
    assert await invitations.list(tenant_id, limit=9) == []
    with pytest.raises(NotFound):
        await invitations.accept(second.digest, identity("bob"), NOW, ACTOR)


async def test_who_was_removed_does_not_come_back_by_an_older_invitation(database: Database, owner: asyncpg.Connection) -> None:
    founder = await sign_up(database, "ada")
    tenant_id, invitations = founder.membership.tenant_id, Invitations(database)
    user_id = await join(database, founder, "bob")
    older = mint_invitation(b"older".ljust(20))
    # One that no check has seen: made for the address before its owner was a member, say by another process.
    await owner.execute(
        "insert into driftlock.invitations (tenant_id, digest, email, role, invited_by, created_at, expires_at) "
        "values ($1, $2, 'Bob@example.com', 'owner', '', $3, $4)",
        tenant_id,
        older.digest,
        NOW,
        NOW + VALID,
    )
    assert await Members(database).remove(tenant_id, user_id, ACTOR)
    assert await invitations.list(tenant_id, limit=9) == []
    with pytest.raises(NotFound):
        await invitations.accept(older.digest, identity("bob"), NOW, ACTOR)


FILL_INVITATIONS = """
insert into driftlock.invitations (tenant_id, digest, email, role, invited_by, created_at, expires_at)
select $1, sha256(n::text::bytea), 'a@b.c', 'viewer', '', $3, $4 from generate_series(1, $2::integer) n
"""
FILL_MEMBERS = """
with made as (
  insert into driftlock.users (issuer, subject, email, name) select 'x', n::text, '', '' from generate_series(1, $2::integer) n
  returning id)
insert into driftlock.members (tenant_id, user_id, role) select $1, id, 'viewer' from made
"""
FILL_MEMBERSHIPS = """
with made as (insert into driftlock.tenants (name) select 't' || n from generate_series(1, $2::integer) n returning id)
insert into driftlock.members (tenant_id, user_id, role) select id, $1, 'viewer' from made
"""


async def test_invitations_max(database: Database, owner: asyncpg.Connection) -> None:
    tenant_id, invitations = (await sign_up(database, "ada")).membership.tenant_id, Invitations(database)
    await owner.execute(FILL_INVITATIONS, tenant_id, INVITATIONS_MAX, NOW, NOW + VALID)
    minted = mint_invitation(bytes(20))
    with pytest.raises(Conflict, match="invitations_max"):
        await invitations.create(tenant_id, minted, email="bob@example.com", role=Role.VIEWER, now=NOW, actor=ACTOR)
    later = NOW + VALID  # those that have expired make room
    await invitations.create(tenant_id, minted, email="bob@example.com", role=Role.VIEWER, now=later, actor=ACTOR)
    assert len(await invitations.list(tenant_id, limit=9)) == 1


async def test_members_max(database: Database, owner: asyncpg.Connection) -> None:
    founded = await sign_up(database, "ada")
    await owner.execute(FILL_MEMBERS, founded.membership.tenant_id, MEMBERS_MAX - 1)
    with pytest.raises(Conflict, match="members_max"):
        await join(database, founded, "bob")


async def test_memberships_max(database: Database, owner: asyncpg.Connection) -> None:
    founded = await sign_up(database, "ada")
    bob = await join(database, founded, "bob")
    await owner.execute(FILL_MEMBERSHIPS, bob, MEMBERSHIPS_MAX - 1)
    assert len((await Users(database).find(identity("bob").key)).memberships) == MEMBERSHIPS_MAX
    other = await sign_up(database, "cy", key=2)
    with pytest.raises(Conflict, match="memberships_max"):
        await join(database, other, "bob")
    with pytest.raises(Conflict, match="memberships_max"):
        await sign_up(database, "bob", key=3)


async def test_another_tenants_people_are_not_there(database: Database) -> None:
    mine, other = await sign_up(database, "ada"), await sign_up(database, "eve", key=2)
    tenant_id, foreign = mine.membership.tenant_id, other.membership.tenant_id
    eve, members, invitations = other.user_id, Members(database), Invitations(database)
    assert await members.get(tenant_id, eve) is None
    assert not await members.set_role(tenant_id, eve, Role.VIEWER, ACTOR)
    assert not await members.remove(tenant_id, eve, ACTOR)
    minted = mint_invitation(bytes(20))
    row = await invitations.create(foreign, minted, email="bob@example.com", role=Role.VIEWER, now=NOW, actor=ACTOR)
    assert await invitations.list(tenant_id, limit=9) == []
    assert not await invitations.revoke(tenant_id, row.invitation_id, ACTOR)
    assert [it.user_id for it in await members.list(tenant_id, limit=9)] == [mine.user_id]
    async with database.tenant(tenant_id) as connection:
        assert [it["id"] for it in await connection.fetch("select id from driftlock.users")] == [mine.user_id]
    assert await actions(database, foreign) == ["account.created", "key.created", "invitation.created"]


async def test_records_of_a_month_are_counted_by_account(database: Database, owner: asyncpg.Connection) -> None:
    mine, other = [(await sign_up(database, name, key=key)).membership.tenant_id for key, name in ((1, "ada"), (2, "eve"))]
    rows = [(mine, "a", NOW, 5), (mine, "b", NOW, 7), (mine, "a", NOW - timedelta(hours=1), 100), (other, "a", NOW, 1)]
    for tenant_id, node, hour, records in rows:
        await owner.execute(
            "insert into driftlock.meter (tenant_id, node, hour, signal, records, bytes) values ($1, $2, $3, 'logs', $4, 1)",
            tenant_id,
            node,
            hour,
            records,
        )
    assert await Users(database).records_since([mine], NOW) == {mine: 12}


async def test_what_is_remembered_of_people_is_at_most_seconds_old(database: Database) -> None:
    people, key = CachedPeople(Users(database)), identity("ada").key
    assert await people.lookup(key, NOW) == NOBODY
    found = await sign_up(database, "ada")
    assert await people.lookup(key, NOW + timedelta(seconds=5)) == NOBODY
    for away in (timedelta(seconds=5.1), timedelta(seconds=-0.1)):
        assert (await people.lookup(key, NOW + away)).memberships == (found.membership,)
    bob = await join(database, found, "bob")
    known = await people.lookup(identity("bob").key, NOW)
    assert known.user_id == bob
    await Members(database).remove(found.membership.tenant_id, bob, ACTOR)
    assert await people.lookup(identity("bob").key, NOW) == known
    people.forget()
    assert await people.lookup(identity("bob").key, NOW) == NOBODY


async def test_a_lookup_that_a_change_overtakes_is_not_remembered(database: Database) -> None:
    people, key = CachedPeople(Users(database)), identity("ada").key
    asked = asyncio.ensure_future(people.lookup(key, NOW))
    await asyncio.sleep(0)
    people.forget()
    await asked
    assert len(people) == 0
    assert await people.lookup(key, NOW) == NOBODY
    assert len(people) == 1


async def test_only_so_many_people_are_remembered(database: Database) -> None:
    people = CachedPeople(Users(database), entries_max=2)
    for name in ("a", "b", "c"):
        await people.lookup(identity(name).key, NOW)
    assert len(people) == 2
