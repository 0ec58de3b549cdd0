"""From the key of a stream to its id, created on first sight, remembered for the next request."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from driftlock.engine.event import StreamKey
from driftlock.errors import InvalidArgument, Unavailable
from driftlock.storage.faults import RETRY_AFTER_MS
from driftlock.storage.pool import Connection, Database
from driftlock.storage.shard import ONLY_SHARD
from driftlock.storage.slugs import slug, unique_slug

KEY_PART_BYTES_MAX = 256
RESOLVE = "select stream_id, overflow from driftlock.streams_resolve($1, $2, $3, $4, $5, $6, $7, $8, $9)"


@dataclass(frozen=True, slots=True)
class StreamId:
    """Where records of a key go: its own stream, or `overflow`, the stream shared by keys beyond the tenant's cap."""

    stream_id: UUID
    overflow: bool


@dataclass(slots=True)
class _Turns:
    """Who may ask for streams of one tenant, and how many want to."""

    free: asyncio.Semaphore
    users: int = 0


class StreamIds:
    """Resolver with a bounded memory of `entries_max` keys.

    Keys in the overflow are not remembered: a flood of new names must not push the good ones out, and a raised cap works
    at once. The database creates streams of a tenant one after the other, so more than `tenant_calls_max` calls for one tenant
    would only keep connections from the others: the rest wait `turn_timeout_ms` for their turn, without a connection.
    """

    def __init__(
        self,
        database: Database,
        *,
        entries_max: int,
        shard: int = ONLY_SHARD,
        home: Callable[[UUID], int] | None = None,
        tenant_calls_max: int = 2,
        turn_timeout_ms: int = 2_000,
    ) -> None:
        """Starts knowing nothing. `shard` is the one of the journal to which all of them belong.

        `home` tells the shard of a tenant's fold (None: the same one).
        """
        self._shard = shard
        self._home = home
        self._tenant_calls_max = tenant_calls_max
        self._turn_timeout_s = turn_timeout_ms / 1000
        self._turns: dict[UUID, _Turns] = {}
        self._database = database
        self._entries_max = entries_max
        self._known: OrderedDict[tuple[UUID, StreamKey], UUID] = OrderedDict()
        self._forgotten = 0  # how often something was forgotten: what was asked for before is not remembered after

    def __len__(self) -> int:
        """Keys remembered."""
        return len(self._known)

    async def resolve(self, tenant_id: UUID, keys: Sequence[StreamKey]) -> list[StreamId]:
        """The streams of `keys`, in their order; at most one call of the database.

        Raises `NotFound` for an unknown tenant, `InvalidArgument` for a key that can not be one and for a stream of another
        shard, `Unavailable`.
        """
        found = self._recall(tenant_id, keys)
        if len(found) < len(set(keys)):
            async with self._turn(tenant_id):
                found = self._recall(tenant_id, keys)  # what others of this tenant have asked for is known by now
                unknown = [key for key in dict.fromkeys(keys) if key not in found]
                if unknown:
                    forgotten = self._forgotten
                    fresh = dict(zip(unknown, await self._ask(tenant_id, unknown), strict=True))
                    if forgotten == self._forgotten:
                        self._remember(tenant_id, fresh)
                    found |= fresh
        return [found[key] for key in keys]

    def forget(self, tenant_id: UUID) -> None:
        """Drop what is remembered of a tenant, whose streams turned out to be gone; answers that are under way, too."""
        self._forgotten += 1
        for entry in [entry for entry in self._known if entry[0] == tenant_id]:
            del self._known[entry]

    @contextlib.asynccontextmanager
    async def _turn(self, tenant_id: UUID) -> AsyncIterator[None]:
        turns = self._turns.setdefault(tenant_id, _Turns(asyncio.Semaphore(self._tenant_calls_max)))
        turns.users += 1
        try:
            try:
                async with asyncio.timeout(self._turn_timeout_s):
                    await turns.free.acquire()
            except TimeoutError:
                raise Unavailable("new streams wait for the database; retry", retry_after_ms=RETRY_AFTER_MS) from None
            try:
                yield
            finally:
                turns.free.release()
        finally:
            turns.users -= 1
            if not turns.users:
                del self._turns[tenant_id]

    def _recall(self, tenant_id: UUID, keys: Sequence[StreamKey]) -> dict[StreamKey, StreamId]:
        found = {}
        for key in keys:
            if (stream_id := self._known.get((tenant_id, key))) is not None:
                self._known.move_to_end((tenant_id, key))
                found[key] = StreamId(stream_id, overflow=False)
        return found

    def _remember(self, tenant_id: UUID, fresh: Mapping[StreamKey, StreamId]) -> None:
        for key, stream in fresh.items():
            if not stream.overflow:
                self._known[tenant_id, key] = stream.stream_id
        while len(self._known) > self._entries_max:
            self._known.popitem(last=False)

    async def _ask(self, tenant_id: UUID, keys: list[StreamKey]) -> list[StreamId]:
        for key in keys:
            _check(key)
        # Sorted, so that two requests that create the same streams lock in the same order.
        order = sorted(range(len(keys)), key=keys.__getitem__)
        ordered = [keys[index] for index in order]
        columns = (
            [key.signal.value for key in ordered],
            [key.service for key in ordered],
            [key.namespace for key in ordered],
            [key.environment for key in ordered],
            [slug(key) for key in ordered],
            [unique_slug(key) for key in ordered],
            self._shard,
            self._shard if self._home is None else self._home(tenant_id),
        )

        async def work(connection: Connection) -> list[StreamId]:
            return [StreamId(row[0], row[1]) for row in await connection.fetch(RESOLVE, tenant_id, *columns)]

        found = await self._database.node(work)
        by_key = dict(zip(ordered, found, strict=True))
        return [by_key[key] for key in keys]


def _check(key: StreamKey) -> None:
    if not key.service:
        raise InvalidArgument("a stream needs a service name or a stream id")
    for part in (key.service, key.namespace, key.environment):
        if len(part.encode("utf-8", "replace")) > KEY_PART_BYTES_MAX:
            raise InvalidArgument(f"a part of a stream's key is over {KEY_PART_BYTES_MAX} bytes: shorten {part[:40]!r}...")
