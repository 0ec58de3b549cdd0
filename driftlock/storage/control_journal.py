"""What is said of streams and tenants among their records: profiles, budgets, and whatever control records there are.

The owner of a shard says it (`driftlock.storage.journal`), or anybody under its lock (`driftlock.storage.shared_journal`).
"""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from uuid import UUID

from driftlock.engine import records
from driftlock.engine.event import StreamKey
from driftlock.engine.profile import Profile
from driftlock.errors import Conflict, NotFound
from driftlock.storage.beside import Beside, NotWritten, write_beside
from driftlock.storage.configuring import Configuration
from driftlock.storage.pool import Connection

SET_BUDGET = "select driftlock.journal_set_budget($1, $2, $3, $4, $5, $6, $7)"

Owner = tuple[int, int, int]
"""Shard, epoch and the most bytes of its journal: what statements of the owner begin with."""
Work = Callable[[Connection, Owner], Awaitable[int | None]]
"""Writes a row as the owner of a shard; the position, None where what it is about is not there."""


class ControlJournal(ABC):
    """Implements `Configurator` of `driftlock.engine.ports`, but for how a shard is found and written to."""

    @abstractmethod
    async def controlling(self, tenant_id: UUID, stream_id: UUID | None, work: Work) -> int | None:
        """Do `work` as the owner of the shard of a stream, or (`stream_id` None) of a tenant; what it returns.

        None also where there is no such stream, or tenant. Raises `Unavailable` while it can not be done, and whatever `work`
        raises.
        """

    @abstractmethod
    async def create_stream(self, tenant_id: UUID, key: StreamKey, profile: Profile) -> bool:
        """Create the stream of `key` with `profile` in force before its first record.

        False when there is a stream with records or a profile, or when the tenant may have no more streams: then nothing has
        changed. Raises `NotFound` (no such tenant), `InvalidArgument` (a key that can not be one), `Unavailable`.
        """

    @abstractmethod
    def forget_streams(self, tenant_id: UUID) -> None:
        """Ask again for the streams of a tenant: one of them is another by now."""

    async def configure(
        self,
        tenant_id: UUID,
        stream_id: UUID,
        profile: Profile,
        *,
        expected: Profile | None = None,
        beside: Beside | None = None,
    ) -> int:
        """Let `profile` hold for all records after the returned position; it is on disk then, and shown by `Streams`.

        The profile that is configured already leaves no row. `beside` writes what goes with it, in its transaction. Raises
        `NotFound` for a stream that the tenant does not have, `Conflict` when it has another profile than `expected` (None:
        whatever it has), `Unavailable` when nothing can be journaled, and whatever `beside` raises: then nothing has changed.
        """
        configuration = Configuration(tenant_id, stream_id, profile, expected=expected)
        try:
            seq = await self.controlling(
                tenant_id, stream_id, lambda connection, owner: configuration.work(owner, beside)(connection)
            )
        except NotWritten as refused:
            raise refused.error from None
        if seq is None:
            raise NotFound("there is no such stream")
        if seq < 0:
            raise Conflict("the profile of this stream has been changed meanwhile; read it and try again")
        return seq

    async def set_budget(self, tenant_id: UUID, alerts_per_day_max: int, *, beside: Beside | None = None) -> bool:
        """Let the tenant have at most so many alerts in any 24 hours of event time; on disk, and shown by `Budgets`, then.

        False when that holds already: it leaves no row. `beside` writes what goes with a row, in its transaction. Raises
        `NotFound` (no such tenant), `Unavailable` as `configure` does, and whatever `beside` raises: then nothing has changed.
        """
        body = records.encode_budget(alerts_per_day_max)

        async def alone(connection: Connection, owner: Owner) -> int | None:
            position: int | None = await connection.fetchval(
                SET_BUDGET, *owner, tenant_id, alerts_per_day_max, zlib.crc32(body), body
            )
            return position

        async def together(connection: Connection, owner: Owner) -> int | None:
            async with connection.transaction():
                position = await alone(connection, owner)
                if position is not None and position > 0:
                    await write_beside(beside, connection, position)
                return position

        try:
            seq = await self.controlling(tenant_id, None, alone if beside is None else together)
        except NotWritten as refused:
            raise refused.error from None
        if seq is None:
            raise NotFound("there is no such tenant")
        return seq > 0
