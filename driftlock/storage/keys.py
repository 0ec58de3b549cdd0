"""API keys: stored as digests, looked up by their id, remembered for seconds."""

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from driftlock.accounts.keys import KeyKind, KeyRecord, MintedKey, Scope
from driftlock.errors import InvalidArgument
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Connection, Database

NAME_BYTES_MAX = 256


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as its tenant sees it: everything but the key."""

    key_id: str
    kind: KeyKind
    name: str
    scopes: frozenset[Scope]
    stream: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


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
    ) -> StoredKey:
        """Store a new key. Raises `Conflict` for an id that exists, `NotFound` for an unknown tenant, `InvalidArgument`."""
        if not scopes:
            raise InvalidArgument(f"a key needs at least one scope of {', '.join(Scope)}")
        if len(name.encode("utf-8", "replace")) > NAME_BYTES_MAX or not name.isprintable():
            raise InvalidArgument(f"a key's name has at most {NAME_BYTES_MAX} bytes, all printable")
        async with self._database.tenant(tenant_id, read_only=False) as connection:
            row = await connection.fetchrow(
                "insert into driftlock.api_keys (id, tenant_id, kind, digest, name, scopes, stream, expires_at) "
                "values ($1, $2, $3, $4, $5, $6, $7, $8) returning *",
                minted.key_id,
                tenant_id,
                kind.value,
                minted.digest,
                name,
                sorted(scope.value for scope in scopes),
                stream,
                expires_at,
            )
        assert row is not None  # noqa: S101  # an insert without a conflict clause returns its row or raises
        return _stored(row)

    async def list(self, tenant_id: UUID, *, limit: int = 200, after: tuple[datetime, str] | None = None) -> list[StoredKey]:
        """One page by (created_at, id), newest first, revoked keys included."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(
                "select * from driftlock.api_keys "
                "where $2::timestamptz is null or (created_at, id) < ($2, $3) order by created_at desc, id desc limit $1",
                check_limit(limit),
                *(after or (None, None)),
            )
        return [_stored(row) for row in rows]

    async def revoke(self, tenant_id: UUID, key_id: str) -> bool:
        """Revoke a key for good; False when this tenant has none of that id. Works everywhere within the cache's age."""
        async with self._database.tenant(tenant_id, read_only=False) as connection:
            found = await connection.fetchval(
                "update driftlock.api_keys set revoked_at = coalesce(revoked_at, now()) where id = $1 returning 1", key_id
            )
        return found is not None


@dataclass(frozen=True, slots=True)
class _Remembered:
    record: KeyRecord | None
    at: datetime


class CachedKeyDirectory:
    """Implements `driftlock.accounts.access.KeyDirectory`: answers, unknown ids included, are remembered for `age_max`.

    So a revoked key stops within `age_max` on every process. Concurrent lookups of one id share one query.
    """

    def __init__(self, database: Database, *, age_max: timedelta = timedelta(seconds=5), entries_max: int = 10_000) -> None:
        """Starts knowing nothing."""
        self._database = database
        self._age_max = age_max
        self._entries_max = entries_max
        self._known: OrderedDict[str, _Remembered] = OrderedDict()
        self._asking: dict[str, asyncio.Task[KeyRecord | None]] = {}

    def __len__(self) -> int:
        """Ids remembered."""
        return len(self._known)

    async def lookup(self, key_id: str, now: datetime) -> KeyRecord | None:
        """The record of a key, at most `age_max` old. Raises `Unavailable`."""
        known = self._known.get(key_id)
        # A clock that was set back must not keep an answer alive: the distance counts, in both directions.
        if known is not None and abs(now - known.at) <= self._age_max:
            return known.record
        task = self._asking.get(key_id)
        if task is None:
            task = self._asking[key_id] = asyncio.ensure_future(self._ask(key_id))
            task.add_done_callback(lambda done: self._asked(key_id, done))
        record = await asyncio.shield(task)
        self._known[key_id] = _Remembered(record, now)
        self._known.move_to_end(key_id)
        while len(self._known) > self._entries_max:
            self._known.popitem(last=False)
        return record

    def _asked(self, key_id: str, done: "asyncio.Task[KeyRecord | None]") -> None:
        del self._asking[key_id]
        if not done.cancelled():
            done.exception()  # mark it as seen, for callers that have left

    async def _ask(self, key_id: str) -> KeyRecord | None:
        async def work(connection: Connection) -> asyncpg.Record | None:
            return await connection.fetchrow("select * from driftlock.api_keys where id = $1", key_id)

        row = await self._database.node(work)
        if row is None:
            return None
        return KeyRecord(
            row["id"],
            row["tenant_id"],
            row["digest"],
            frozenset(map(Scope, row["scopes"])),
            row["stream"],
            row["expires_at"],
            row["revoked_at"] is not None,
        )


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
    )
