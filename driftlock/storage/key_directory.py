"""Keys by their id for whoever has to recognise one: remembered for seconds, and when each was last used."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from driftlock.accounts.keys import KeyRecord, Scope
from driftlock.storage.pool import Connection, Database

LOOK_UP = """
select k.*, t.plan from driftlock.api_keys k join driftlock.tenants t on t.id = k.tenant_id where k.id = $1
"""
USED = """
update driftlock.api_keys k set last_used_at = u.at
  from unnest($1::text[], $2::timestamptz[]) as u (id, at)
 where k.id = u.id and (k.last_used_at is null or k.last_used_at < u.at)
"""
KEYS_USED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class _Remembered:
    record: KeyRecord | None
    at: datetime


class CachedKeyDirectory:
    """Implements `driftlock.accounts.access.KeyDirectory`: answers, unknown ids included, are remembered for `age_max`.

    So a revoked key stops within `age_max` on every process. Concurrent lookups of one id share one query. Of a key in use it
    is asked again at half that age, so that nobody waits for the database, which may be far away.
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

    @property
    def asking(self) -> int:
        """Ids that the database is being asked for."""
        return len(self._asking)

    async def lookup(self, key_id: str, now: datetime) -> KeyRecord | None:
        """The record of a key, at most `age_max` old. Raises `Unavailable`."""
        known = self._known.get(key_id)
        # A clock that was set back must not keep an answer alive: the distance counts, in both directions.
        if known is not None and abs(now - known.at) <= self._age_max:
            if known.record is not None and 2 * abs(now - known.at) > self._age_max and key_id not in self._asking:
                self._begin(key_id, now)
            return known.record
        return await asyncio.shield(self._asking.get(key_id) or self._begin(key_id, now))

    def _begin(self, key_id: str, now: datetime) -> "asyncio.Task[KeyRecord | None]":
        task = self._asking[key_id] = asyncio.ensure_future(self._find(key_id, now))
        task.add_done_callback(lambda done: self._asked(key_id, done))
        return task

    async def _find(self, key_id: str, now: datetime) -> KeyRecord | None:
        """Ask, and remember the answer, which is as old as the question."""
        record = await self._ask(key_id)
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
            return await connection.fetchrow(LOOK_UP, key_id)

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
            row["name"],
            row["requests_per_minute"],
            row["plan"],
        )


class KeyUse:
    """When keys were last used: noted in memory by requests, written together now and then."""

    def __init__(self, database: Database, keys_max: int = KEYS_USED_MAX) -> None:
        """Further keys than `keys_max` between two writes are not noted; they are the next time."""
        self._database = database
        self._keys_max = keys_max
        self._used: dict[str, datetime] = {}

    def __len__(self) -> int:
        """Keys that wait to be written."""
        return len(self._used)

    def note(self, key_id: str, now: datetime) -> None:
        """A key was good."""
        if key_id in self._used or len(self._used) < self._keys_max:
            self._used[key_id] = now

    async def write(self) -> int:
        """Write down what was noted: one write for each key, however often it was used. Raises `Unavailable`.

        What can not be written is noted again, unless there is something newer.
        """
        used, self._used = self._used, {}
        if not used:
            return 0
        # In one order in all processes, so that two of them never wait for each other.
        ids = sorted(used)
        try:
            await self._database.node(lambda connection: connection.execute(USED, ids, [used[key_id] for key_id in ids]))
        except Exception:
            self._used = {**used, **self._used}
            raise
        return len(ids)
