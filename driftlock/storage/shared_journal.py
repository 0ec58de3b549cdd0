"""Control records for shards of the journal that other processes own: appended under the shard's lock, with the epoch in force.

The owner reads them as it reads its own rows; it is not told, so it has to look.
"""

from uuid import UUID

from driftlock.engine.event import StreamKey
from driftlock.engine.profile import Profile
from driftlock.errors import NotFound, Unavailable
from driftlock.storage.configuring import Configuration
from driftlock.storage.control_journal import ControlJournal, Work
from driftlock.storage.faults import RETRY_AFTER_MS
from driftlock.storage.placement import OneShard, Placement, shard_of
from driftlock.storage.pool import Connection, Database
from driftlock.storage.stream_ids import StreamIds

OF_STREAM = "select s.shard from driftlock.streams s where s.tenant_id = $1 and s.id = $2"
OF_TENANT = "select coalesce(t.shard, $2::integer) from driftlock.tenants t where t.id = $1 and t.closed_at is null"
# What the owner holds as it appends: nothing gets between the epoch and the row.
LOCK = "select s.epoch from driftlock.journal_shard s where s.shard = $1 for update"


class SharedJournal(ControlJournal):
    """Implements `Configurator` of `driftlock.engine.ports` without owning a shard. Raises `Unavailable`, never of a take-over.

    What is said of a stream goes to the stream's shard, what is said of a tenant to that of its streams.
    """

    def __init__(self, database: Database, *, journal_bytes_max: int, placement: Placement | None = None) -> None:
        """`journal_bytes_max` is the most that a shard's journal may have in bytes, as for its owner.

        `placement` (None: all in shard 0) tells where a tenant without a home and new streams go; it has to be where their
        records will come to.
        """
        self._database = database
        self._bytes_max = journal_bytes_max
        self._placement = placement or OneShard()

    async def controlling(self, tenant_id: UUID, stream_id: UUID | None, work: Work) -> int | None:
        """See `ControlJournal`."""

        async def locked(connection: Connection) -> int | None:
            async with connection.transaction():
                shard = await self._shard(connection, tenant_id, stream_id)
                if shard is None:
                    return None
                epoch = await connection.fetchval(LOCK, shard)
                if epoch is None:
                    raise Unavailable(
                        f"shard {shard} of the journal is not there: run `driftlock migrate --shards {shard}` or more",
                        retry_after_ms=RETRY_AFTER_MS,
                    )
                return await work(connection, (shard, epoch, self._bytes_max))

        return await self._database.node(locked)

    async def create_stream(self, tenant_id: UUID, key: StreamKey, profile: Profile) -> bool:
        """See `ControlJournal`."""
        home = await self._database.node(lambda connection: self._shard(connection, tenant_id, None))
        if home is None:
            raise NotFound("there is no such tenant")
        shard = shard_of(self._placement, tenant_id, home, key)
        (stream,) = await StreamIds(self._database, entries_max=0, shard=shard, home=lambda _: home).resolve(tenant_id, [key])
        if stream.overflow:
            return False
        fresh = Configuration(tenant_id, stream.stream_id, profile, fresh=True)
        done = await self.controlling(tenant_id, stream.stream_id, lambda connection, owner: fresh.work(owner)(connection))
        return done is not None

    def forget_streams(self, tenant_id: UUID) -> None:
        """Nothing is remembered here. Whoever journals records finds out by itself: see `driftlock.storage.sourced`."""

    async def _shard(self, connection: Connection, tenant_id: UUID, stream_id: UUID | None) -> int | None:
        of = (OF_TENANT, tenant_id, self._placement.home(tenant_id)) if stream_id is None else (OF_STREAM, tenant_id, stream_id)
        shard: int | None = await connection.fetchval(*of)
        return shard
