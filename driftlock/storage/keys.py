"""API keys: stored as digests, made, rotated and revoked by their tenant, with every change in the audit log."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from driftlock.accounts.actor import Actor, ActorKind
from driftlock.accounts.keys import KeyKind, MintedKey, Scope
from driftlock.accounts.plans import REQUESTS_PER_MINUTE_MAX
from driftlock.errors import Conflict, InvalidArgument, NotFound, PermissionDenied
from driftlock.storage.audit import note
from driftlock.storage.key_directory import CachedKeyDirectory
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Connection, Database

__all__ = ["CachedKeyDirectory", "Keys", "NewKey", "StoredKey"]

NAME_BYTES_MAX = 256
KEYS_MAX = 1_000
"""Keys of one tenant that work."""
KEY_ROWS_MAX = 10_000
"""Keys of one tenant, with those that were revoked or have expired and are not forgotten yet."""
OVERLAP_MAX = timedelta(days=30)
FORGOTTEN_AFTER = timedelta(days=90)
COMMAND = Actor(ActorKind.COMMAND, name="driftlock key")

INSERT = """
insert into driftlock.api_keys
  (id, tenant_id, kind, digest, name, scopes, stream, expires_at, created_by, replaces, requests_per_minute)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
returning *
"""
COUNT = """
select count(*) as rows, count(*) filter (where revoked_at is null and (expires_at is null or expires_at > now())) as live
  from driftlock.api_keys where tenant_id = $1
"""
LOCK = "select pg_advisory_xact_lock(hashtextextended('driftlock.api_keys ' || $1::uuid::text, 0))"
LIST = """
select * from driftlock.api_keys where $2::timestamptz is null or (created_at, id) < ($2, $3)
 order by created_at desc, id desc limit $1
"""
GET = "select * from driftlock.api_keys where id = $1"
LOCKED = "select * from driftlock.api_keys where id = $1 for update"
REVOKE = """
update driftlock.api_keys set revoked_at = now() where id = $1 and revoked_at is null returning name
"""
EXPIRE = """
update driftlock.api_keys set expires_at = least(coalesce(expires_at, 'infinity'), now() + $2::interval)
 where id = $1 returning *
"""
FORGET = """
delete from driftlock.api_keys where id = any (array(
  select id from driftlock.api_keys
   where least(coalesce(revoked_at, 'infinity'), coalesce(expires_at, 'infinity')) < now() - $1::interval limit $2))
returning 1
"""


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key is to be. `stream` binds it to the stream of that id; `expires_at` None: never."""

    kind: KeyKind
    name: str
    scopes: frozenset[Scope]
    stream: str | None = None
    expires_at: datetime | None = None
    requests_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as its tenant sees it: everything but the key. `last_used_at` lags by a minute or so."""

    key_id: str
    kind: KeyKind
    name: str
    scopes: frozenset[Scope]
    stream: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    created_by: str = ""
    replaces: str | None = None
    requests_per_minute: int | None = None
    last_used_at: datetime | None = None


class Keys:
    """The keys of one tenant at a time. Every method raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def insert(
        self,
        tenant_id: UUID,
        minted: MintedKey,
        *,
        kind: KeyKind,
        name: str,
        scopes: Collection[Scope],
        stream: str | None = None,
        expires_at: datetime | None = None,
        requests_per_minute: int | None = None,
        actor: Actor = COMMAND,
    ) -> StoredKey:
        """Store a new key. Raises `Conflict` for an id that exists or too many keys, `NotFound` for an unknown tenant.

        Raises `InvalidArgument` for what can not be a key's.
        """
        new = NewKey(kind, name, frozenset(scopes), stream, expires_at, requests_per_minute)
        _check(new)
        async with self._database.tenant(tenant_id, read_only=False) as connection:
            row = await _insert(connection, tenant_id, minted, new, actor, replaces=None)
            await note(connection, tenant_id, actor, "key.created", minted.key_id, _told(new))
        return _stored(row)

    async def list(self, tenant_id: UUID, *, limit: int = 200, after: tuple[datetime, str] | None = None) -> list[StoredKey]:
        """One page by (created_at, id), newest first, revoked keys included."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(LIST, check_limit(limit), *(after or (None, None)))
        return [_stored(row) for row in rows]

    async def get(self, tenant_id: UUID, key_id: str) -> StoredKey | None:
        """One key."""
        async with self._database.tenant(tenant_id) as connection:
            row = await connection.fetchrow(GET, key_id)
        return None if row is None else _stored(row)

    async def revoke(self, tenant_id: UUID, key_id: str, actor: Actor = COMMAND) -> bool:
        """Revoke a key for good; False when this tenant has none of that id. Works everywhere within the cache's age."""
        async with self._database.tenant(tenant_id, read_only=False) as connection:
            revoked = await connection.fetchrow(REVOKE, key_id)
            if revoked is None:
                return await connection.fetchrow(GET, key_id) is not None
            await note(connection, tenant_id, actor, "key.revoked", key_id, {"name": revoked["name"]})
        return True

    async def rotate(
        self,
        tenant_id: UUID,
        key_id: str,
        minted: MintedKey,
        *,
        overlap: timedelta,
        at_most: Collection[Scope] = tuple(Scope),
        actor: Actor = COMMAND,
    ) -> tuple[StoredKey, StoredKey]:
        """A new key with the rights of another one, which lives on for `overlap`: (the new one, the old one).

        A key that expires is followed by one that lives as long as it was to live. Raises `NotFound`, `Conflict` for a key that
        does not work any more, `PermissionDenied` for one with rights beyond `at_most`, `InvalidArgument`.
        """
        if not timedelta(0) <= overlap <= OVERLAP_MAX:
            raise InvalidArgument(f"the old key may live on for 0 to {OVERLAP_MAX.days} days")
        async with self._database.tenant(tenant_id, read_only=False) as connection:
            row = await connection.fetchrow(LOCKED, key_id)
            if row is None:
                raise NotFound("there is no such API key")
            old, now = _stored(row), await connection.fetchval("select now()")
            if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
                raise Conflict("this API key was revoked or has expired: create a new one")
            if not old.scopes <= frozenset(at_most):
                raise PermissionDenied("this API key has scopes that yours has not: rotate it with one that has them")
            lives_until = None if old.expires_at is None else now + (old.expires_at - old.created_at)
            new = NewKey(old.kind, old.name, old.scopes, old.stream, lives_until, old.requests_per_minute)
            made = await _insert(connection, tenant_id, minted, new, actor, replaces=key_id)
            ending = await connection.fetchrow(EXPIRE, key_id, overlap)
            told = {"replaces": key_id, "overlap_seconds": int(overlap.total_seconds()), **_told(new)}
            await note(connection, tenant_id, actor, "key.rotated", minted.key_id, told)
        assert ending is not None  # noqa: S101  # the row is locked
        return _stored(made), _stored(ending)


async def forget_keys(database: Database, rows_max: int = 1_000) -> int:
    """Forget keys that have not worked for `FORGOTTEN_AFTER`, one bite of `rows_max`. Raises `Unavailable`."""

    async def work(connection: Connection) -> int:
        return len(await connection.fetch(FORGET, FORGOTTEN_AFTER, rows_max))

    return await database.node(work)


def _check(new: NewKey) -> None:
    if not new.scopes:
        raise InvalidArgument(f"a key needs at least one scope of {', '.join(Scope)}")
    if len(new.name.encode("utf-8", "replace")) > NAME_BYTES_MAX or not new.name.isprintable():
        raise InvalidArgument(f"a key's name has at most {NAME_BYTES_MAX} bytes, all printable")
    if new.requests_per_minute is not None and not 1 <= new.requests_per_minute <= REQUESTS_PER_MINUTE_MAX:
        raise InvalidArgument(f"a key may ask 1 to {REQUESTS_PER_MINUTE_MAX} times a minute")


async def _insert(
    connection: Connection, tenant_id: UUID, minted: MintedKey, new: NewKey, actor: Actor, replaces: str | None
) -> asyncpg.Record:
    await connection.execute(LOCK, tenant_id)  # so that two of them do not count the same rows
    count = await connection.fetchrow(COUNT, tenant_id)
    assert count is not None  # noqa: S101  # a count always is
    if count["live"] >= KEYS_MAX or count["rows"] >= KEY_ROWS_MAX:
        limits = f"{KEYS_MAX:,} API keys that work, and {KEY_ROWS_MAX:,} with those of the last {FORGOTTEN_AFTER.days} days"
        raise Conflict(f"an account has at most {limits}: revoke some, or bring fewer into being")
    row = await connection.fetchrow(
        INSERT,
        minted.key_id,
        tenant_id,
        new.kind.value,
        minted.digest,
        new.name,
        sorted(scope.value for scope in new.scopes),
        new.stream,
        new.expires_at,
        f"{actor.kind}:{actor.id}" if actor.id else actor.kind.value,
        replaces,
        new.requests_per_minute,
    )
    assert row is not None  # noqa: S101  # an insert without a conflict clause returns its row or raises
    return row


def _told(new: NewKey) -> dict[str, object]:
    """What the audit log says of a key."""
    return {
        "name": new.name,
        "kind": new.kind.value,
        "scopes": sorted(scope.value for scope in new.scopes),
        "stream": new.stream,
        "expires_at": None if new.expires_at is None else new.expires_at.isoformat(),
    }


def _stored(row: asyncpg.Record) -> StoredKey:
    return StoredKey(
        row["id"],
        KeyKind(row["kind"]),
        row["name"],
        frozenset(map(Scope, row["scopes"])),
        row["stream"],
        row["created_at"],
        row["expires_at"],
        row["revoked_at"],
        row["created_by"],
        row["replaces"],
        row["requests_per_minute"],
        row["last_used_at"],
    )
