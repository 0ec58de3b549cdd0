"""Records for shards of the journal that other processes own: appended under the shard's lock, with the epoch in force.

What REST is asked to score comes this way where the processes that answer own no shard. The owner finds the rows where it
finds those that it has appended itself; it is not told, so it has to look. Each request is a transaction of its own: for a few
of them and not for a flood, which is to come through Kafka.
"""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from driftlock.engine import records
from driftlock.engine.event import StreamKey
from driftlock.engine.ports import Receipt, Submission
from driftlock.errors import Internal, KeyReused, NotFound, Unavailable
from driftlock.storage.appending import Pending, columns, encode
from driftlock.storage.faults import RETRY_AFTER_MS
from driftlock.storage.journal import APPEND, DUPLICATE, KEY_REUSED
from driftlock.storage.journal_limits import JournalLimits
from driftlock.storage.placement import OneShard, Placement, shard_of
from driftlock.storage.pool import Connection, Database, Lane
from driftlock.storage.shared_journal import LOCK, OF_TENANT
from driftlock.storage.stream_ids import StreamIds


class SharedIntake:
    """Implements `Intake` of `driftlock.engine.ports` without owning a shard. `node` names this process in the meter.

    `placement` (None: all in shard 0) tells where a tenant without a home and new streams go; it has to be where their other
    records will come to. The streams of a request lie in one shard.
    """

    def __init__(self, database: Database, *, node: str, limits: JournalLimits, placement: Placement | None = None) -> None:
        self._database = database
        self._appending = database.reserved(Lane.APPEND)
        self._node = node
        self._limits = limits
        self._placement = placement or OneShard()
        self._stream_ids: dict[tuple[int, int], StreamIds] = {}

    async def submit(self, submission: Submission) -> Receipt:
        """Return when the records are on disk, at the position of their shard that the receipt says.

        Raises `Unavailable` (database away, the shard's journal full), `NotFound` (no such tenant), `InvalidArgument` (a key or
        value that can not be stored), `KeyReused`.
        """
        parts = [part for part in submission.batches if len(part.batch)]
        if not parts:
            return Receipt(seq=0, records=0)
        shard, home = await self._shard(submission.tenant_id, [part.key for part in parts])
        ids = self._ids(shard, home)
        streams = await ids.resolve(submission.tenant_id, [part.key for part in parts])
        bodies = await asyncio.to_thread(encode, parts, records.body_compressor())
        pending = Pending(
            submission,
            parts,
            [stream.stream_id for stream in streams],
            [part.records for part in parts],
            [len(part.batch.text) for part in parts],
            bodies,
            sum(part.records for part, stream in zip(parts, streams, strict=True) if stream.overflow),
            sum(map(len, bodies)),
        )
        try:
            became, seq = await self._appending.node(lambda connection: self._append(connection, shard, pending))
        except NotFound:
            ids.forget(submission.tenant_id)  # one of its streams is another by now
            raise
        if became == KEY_REUSED:
            raise KeyReused("this Idempotency-Key came with another request before; use a new one")
        duplicate = became == DUPLICATE
        return Receipt(
            seq=seq,
            records=0 if duplicate else sum(pending.counts),
            duplicate=duplicate,
            overflowed=0 if duplicate else pending.overflowed,
            stream_ids=tuple(pending.streams),
        )

    async def _append(self, connection: Connection, shard: int, pending: Pending) -> tuple[int, int]:
        async with connection.transaction():
            epoch = await connection.fetchval(LOCK, shard)
            if epoch is None:
                raise Unavailable(
                    f"shard {shard} of the journal is not there: run `driftlock migrate --shards {shard}` or more",
                    retry_after_ms=RETRY_AFTER_MS,
                )
            window_ns, bytes_max = self._limits.dedup_window_ms * 1_000_000, self._limits.journal_bytes_max
            [row] = await connection.fetch(APPEND, shard, epoch, self._node, window_ns, bytes_max, *columns([pending]))
        return row["outcome"], row["seq"]

    async def _shard(self, tenant_id: UUID, keys: Sequence[StreamKey]) -> tuple[int, int]:
        """The shard of all of `keys`, and that of the tenant's fold."""
        placement = self._placement
        home: int | None = await self._database.node(
            lambda connection: connection.fetchval(OF_TENANT, tenant_id, placement.home(tenant_id))
        )
        if home is None:
            raise NotFound("there is no such tenant")
        shards = {shard_of(placement, tenant_id, home, key) for key in keys}
        if len(shards) > 1:
            raise Internal("a request whose streams lie in several shards can not be journaled in one transaction")
        return shards.pop(), home

    def _ids(self, shard: int, home: int) -> StreamIds:
        """Streams of a shard, a bounded memory of them for each."""
        if (shard, home) not in self._stream_ids:
            entries_max = self._limits.stream_cache_entries_max
            self._stream_ids[shard, home] = StreamIds(
                self._database, entries_max=entries_max, shard=shard, home=lambda _tenant_id: home
            )
        return self._stream_ids[shard, home]
