"""From the key of a stream to its id, created on first sight, remembered for the next request."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from driftlock.engine.event import StreamKey
from driftlock.errors import InvalidArgument
from driftlock.storage.pool import Connection, Database
from driftlock.storage.slugs import slug, unique_slug

KEY_PART_BYTES_MAX = 256
RESOLVE = "select stream_id, overflow from driftlock.streams_resolve($1, $2, $3, $4, $5, $6, $7)"


@dataclass(frozen=True, slots=True)
class StreamId:
    """Where records of a key go: its own stream, or `overflow`, the stream shared by keys beyond the tenant's cap."""

    stream_id: UUID
    overflow: bool


class StreamIds:
    """Resolver with a bounded memory of `entries_max` keys.

    Keys in the overflow are not remembered: a flood of new names must not push the good ones out, and a raised cap works
    at once.
    """

    def __init__(self, database: Database, *, entries_max: int) -> None:
        """Starts knowing nothing."""
        self._database = database
        self._entries_max = entries_max
        self._known: OrderedDict[tuple[UUID, StreamKey], UUID] = OrderedDict()

    def __len__(self) -> int:
        """Keys remembered."""
        return len(self._known)

    async def resolve(self, tenant_id: UUID, keys: Sequence[StreamKey]) -> list[StreamId]:
        """The streams of `keys`, in their order; at most one call of the database.

        Raises `NotFound` for an unknown tenant, `InvalidArgument` for a key that can not be one, `Unavailable`.
        """
        unknown = [key for key in dict.fromkeys(keys) if not self._recall(tenant_id, key)]
        fresh = dict(zip(unknown, await self._ask(tenant_id, unknown), strict=True)) if unknown else {}
        resolved = [fresh[key] if key in fresh else StreamId(self._known[tenant_id, key], overflow=False) for key in keys]
        for key, stream in fresh.items():
            if not stream.overflow:
                self._known[tenant_id, key] = stream.stream_id
        while len(self._known) > self._entries_max:
            self._known.popitem(last=False)
        return resolved

    def forget(self, tenant_id: UUID) -> None:
        """Drop what is remembered of a tenant, whose streams turned out to be gone."""
        for entry in [entry for entry in self._known if entry[0] == tenant_id]:
            del self._known[entry]

    def _recall(self, tenant_id: UUID, key: StreamKey) -> bool:
        if (tenant_id, key) not in self._known:
            return False
        self._known.move_to_end((tenant_id, key))
        return True

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
