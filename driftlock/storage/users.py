"""People and the accounts they are in, as the node sees them: somebody is looked up before their tenant is known."""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from driftlock.accounts.actor import Actor
from driftlock.accounts.keys import KeyKind, MintedKey, Role, Scope
from driftlock.accounts.people import MEMBERSHIPS_MAX, NOBODY, Identity, Membership, Person, folded_email
from driftlock.errors import Conflict, Internal
from driftlock.storage.account_names import check_account_name, shown_name
from driftlock.storage.audit import note
from driftlock.storage.columns import text
from driftlock.storage.pool import Connection, Database
from driftlock.storage.tenants import STREAMS_MAX_DEFAULT

FIND = """
select u.id as user_id, t.id as tenant_id, t.name, t.plan, m.role, m.since
  from driftlock.users u
  left join (driftlock.members m join driftlock.tenants t on t.id = m.tenant_id and t.closed_at is null) on m.user_id = u.id
 where u.issuer = $1 and u.subject = $2
 order by m.since, t.id limit $3
"""
# Whoever signs up or joins at the same moment waits here for the first of them.
KNOW = """
insert into driftlock.users as u (issuer, subject, email, name) values ($1, $2, $3, $4)
on conflict (issuer, subject) do update set email = excluded.email, name = excluded.name returning u.id
"""
FOUNDED = """
select t.id as tenant_id, t.name, t.plan, m.role, m.since
  from driftlock.members m join driftlock.tenants t on t.id = m.tenant_id and t.closed_at is null
 where m.user_id = $1 and m.founder order by m.since limit 1
"""
MAKE = """
insert into driftlock.tenants (name, plan, streams_max) values ($1, $2, $3) on conflict (name) do nothing
returning id as tenant_id, name, plan, created_at as since
"""
# With its id behind the name, as `driftlock.storage.account_names` has it, which no other account has.
MAKE_DISTINCT = """
insert into driftlock.tenants (id, name, plan, streams_max)
select i.id, $1 || ' #' || replace(i.id::text, '-', ''), $2, $3 from (select driftlock.uuid_v7() as id) i
returning id as tenant_id, name, plan, created_at as since
"""
MEMBERSHIPS = "select count(*) from driftlock.members where user_id = $1"
JOIN = "insert into driftlock.members (tenant_id, user_id, role, founder) values ($1, $2, $3, $4)"
FIRST_KEY = """
insert into driftlock.api_keys (id, tenant_id, kind, digest, name, scopes, created_by) values ($1, $2, $3, $4, $5, $6, $7)
"""
RECORDS = """
select m.tenant_id, sum(m.records)::bigint as records from driftlock.meter m
 where m.tenant_id = any ($1::uuid[]) and m.hour >= $2 group by 1
"""
PLAN = "free"
FIRST_KEY_NAME = "first key"
FIRST_KEY_SCOPES = frozenset({Scope.INGEST, Scope.READ})


@dataclass(frozen=True, slots=True)
class SignedUp:
    """The account that a person has founded; `created`: just now, and its first key with it."""

    user_id: UUID
    membership: Membership
    created: bool


class Users:
    """All people. Every method raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def find(self, key: tuple[str, str]) -> Person:
        """The person whom an identity's `key` stands for, with their first `MEMBERSHIPS_MAX` accounts."""
        issuer, subject = key

        async def work(connection: Connection) -> list[asyncpg.Record]:
            return await connection.fetch(FIND, issuer, text(subject), MEMBERSHIPS_MAX)

        rows = await self._database.node(work)
        if not rows:
            return NOBODY
        return Person(rows[0]["user_id"], tuple(_membership(row) for row in rows if row["tenant_id"] is not None))

    async def sign_up(self, identity: Identity, name: str, minted: MintedKey, actor: Actor) -> SignedUp:
        """The account that the person has founded; if there is none it is made, they its owner, `minted` its first key.

        Signing up again, also at the same moment, finds it. Other accounts may be called the same. Raises
        `InvalidArgument` for what can be no name, `Conflict` for one that is not to be had.
        """
        check_account_name(name)

        async def work(connection: Connection) -> SignedUp:
            async with connection.transaction():
                user_id = await know(connection, identity)
                found = await connection.fetchrow(FOUNDED, user_id)
                if found is not None:
                    return SignedUp(user_id, _membership(found), created=False)
                if await connection.fetchval(MEMBERSHIPS, user_id) >= MEMBERSHIPS_MAX:
                    raise Conflict(f"you are in {MEMBERSHIPS_MAX} accounts (memberships_max): leave one first")
                made = await _made(connection, name)
                tenant_id = made["tenant_id"]
                await connection.execute(JOIN, tenant_id, user_id, Role.OWNER.value, True)
                scopes = sorted(scope.value for scope in FIRST_KEY_SCOPES)
                key = (minted.key_id, tenant_id, KeyKind.LIVE.value, minted.digest, FIRST_KEY_NAME, scopes)
                who = replace(actor, id=str(user_id))
                await connection.execute(FIRST_KEY, *key, f"{who.kind}:{who.id}")
                await note(connection, tenant_id, who, "account.created", str(tenant_id), {"name": name})
                await note(connection, tenant_id, who, "key.created", minted.key_id, {"name": FIRST_KEY_NAME, "scopes": scopes})
                founded = Membership(tenant_id, name, made["plan"], Role.OWNER, made["since"])
                return SignedUp(user_id, founded, created=True)

        return await self._database.node(work)

    async def records_since(self, tenant_ids: Collection[UUID], since: datetime) -> Mapping[UUID, int]:
        """Records of each tenant that were metered since then; those without any are left out."""

        async def work(connection: Connection) -> list[asyncpg.Record]:
            return await connection.fetch(RECORDS, list(tenant_ids), since)

        return {row["tenant_id"]: row["records"] for row in await self._database.node(work)}


async def know(connection: Connection, identity: Identity) -> UUID:
    """The id of a person, who is from now on, until the transaction ends, nobody else's to change."""
    values = (identity.issuer, text(identity.subject), text(folded_email(identity.email)), text(identity.name))
    user_id: UUID = await connection.fetchval(KNOW, *values)
    return user_id


@dataclass(frozen=True, slots=True)
class _Remembered:
    person: Person
    at: datetime


class CachedPeople:
    """People by what they are known by, remembered for `age_max`, so that a lost membership is lost everywhere within it.

    Concurrent lookups of one person share one query.
    """

    def __init__(self, users: Users, *, age_max: timedelta = timedelta(seconds=5), entries_max: int = 10_000) -> None:
        """Starts knowing nobody."""
        self._users = users
        self._age_max = age_max
        self._entries_max = entries_max
        self._known: OrderedDict[tuple[str, str], _Remembered] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Task[Person]] = {}
        self._forgotten = 0

    def __len__(self) -> int:
        """People remembered."""
        return len(self._known)

    def forget(self) -> None:
        """Remember nobody, and do not believe what is being asked either: it may be older than what has just changed."""
        self._forgotten += 1
        self._known.clear()
        self._asking.clear()

    async def lookup(self, key: tuple[str, str], now: datetime) -> Person:
        """The person of a key, at most `age_max` old. Raises `Unavailable`."""
        known = self._known.get(key)
        # A clock that was set back must not keep an answer alive: the distance counts, in both directions.
        if known is not None and abs(now - known.at) <= self._age_max:
            return known.person
        forgotten, task = self._forgotten, self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.ensure_future(self._users.find(key))
            task.add_done_callback(lambda done: self._asked(key, done))
        person = await asyncio.shield(task)
        if forgotten != self._forgotten:
            return person  # right for a request that came before the change, and not to be kept
        self._known[key] = _Remembered(person, now)
        self._known.move_to_end(key)
        while len(self._known) > self._entries_max:
            self._known.popitem(last=False)
        return person

    def _asked(self, key: tuple[str, str], done: "asyncio.Task[Person]") -> None:
        if self._asking.get(key) is done:
            del self._asking[key]
        if not done.cancelled():
            done.exception()  # mark it as seen, for callers that have left


async def _made(connection: Connection, name: str) -> asyncpg.Record:
    """A new account, by its name alone where no other one is called so."""
    made = await connection.fetchrow(MAKE, name, PLAN, STREAMS_MAX_DEFAULT)
    if made is None:
        made = await connection.fetchrow(MAKE_DISTINCT, name, PLAN, STREAMS_MAX_DEFAULT)
    if made is None:
        raise Internal("an account was not made")
    return made


def _membership(row: asyncpg.Record) -> Membership:
    name = shown_name(row["name"], row["tenant_id"])
    return Membership(row["tenant_id"], name, row["plan"], Role(row["role"]), row["since"])
