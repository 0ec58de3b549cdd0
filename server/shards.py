"""Which shard of the journal a partition of the topic is, and what one of them may take: the same in every process."""

from dataclasses import dataclass
from uuid import UUID

from collector.kafka.partitions import partition_of
from driftlock.engine.event import StreamKey, trace_stream_key
from driftlock.storage.journal_limits import JournalLimits
from driftlock.storage.pool import Database
from driftlock.storage.shard_standing import read_standings
from driftlock.storage.spread import settle_spread
from driftlock.storage.startup import StartupRefused
from server.ownership import DRAIN_TIMEOUT_MS
from server.settings import Settings

MIB = 1024**2
SHARD_BYTES_MIN = 16 * MIB
RECENT_BYTES_MAX = 64 * MIB


async def check_shards(database: Database, partitions: int) -> None:
    """Refuse a database that has not a shard for each partition. Raises `StartupRefused`, `Unavailable`."""
    wanted = range(1, partitions + 1)
    found = await read_standings(database, wanted)
    if len(found) < len(wanted):
        raise StartupRefused(
            f"the database has {len(found)} of the {partitions} shards that the partitions need: "
            f"run `driftlock migrate --shards {partitions}`"
        )


@dataclass(frozen=True, slots=True)
class KafkaPlacement:
    """Implements `driftlock.storage.placement.Placement` for shards that are those of partitions."""

    partitions: int
    spread: int

    def home(self, tenant_id: UUID) -> int:
        """See `Placement`."""
        return partition_of(tenant_id, trace_stream_key(""), self.partitions) + 1  # whatever its streams are called

    def shard(self, tenant_id: UUID, key: StreamKey) -> int:
        """See `Placement`."""
        return partition_of(tenant_id, key, self.partitions, self.spread) + 1

    def together(self, home: int) -> list[int]:
        """The shards that streams of the tenants of a home lie in."""
        return [(home - 1 + place) % self.partitions + 1 for place in range(self.spread)]


async def check_spread(database: Database, settings: Settings) -> KafkaPlacement:
    """Where streams lie, as it was said once for this database. Raises `StartupRefused` for other settings, `Unavailable`."""
    wanted = settings.kafka_tenant_spread
    if wanted > settings.kafka_partitions:
        raise StartupRefused(
            f"DRIFTLOCK_KAFKA_TENANT_SPREAD is {wanted}, more than DRIFTLOCK_KAFKA_PARTITIONS, which is "
            f"{settings.kafka_partitions}"
        )
    spread = await settle_spread(database, wanted)
    if spread != wanted:
        raise StartupRefused(
            f"the streams of a tenant of this database lie in {spread} partitions: set DRIFTLOCK_KAFKA_TENANT_SPREAD={spread} "
            "in every process, or use another database and another topic"
        )
    return KafkaPlacement(settings.kafka_partitions, spread)


def shard_limits(settings: Settings) -> JournalLimits:
    """Of one shard: what the settings allow is for all of them."""
    partitions = settings.kafka_partitions
    return JournalLimits(
        journal_bytes_max=max(SHARD_BYTES_MIN, settings.journal_bytes_max // partitions),
        dedup_window_ms=settings.dedup_window_seconds * 1000,
        recent_bytes_max=RECENT_BYTES_MAX // partitions,
        drain_timeout_ms=DRAIN_TIMEOUT_MS,
    )
