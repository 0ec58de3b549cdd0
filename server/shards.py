"""Which shard of the journal a partition of the topic is, and what one of them may take: the same in every process."""

from uuid import UUID

from collector.kafka.partitions import partition_of
from driftlock.engine.event import trace_stream_key
from driftlock.storage.journal_limits import JournalLimits
from driftlock.storage.pool import Database
from driftlock.storage.shard_standing import read_standings
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


def home(partitions: int, tenant_id: UUID) -> int:
    """The shard to which the first records of a tenant will come."""
    return partition_of(tenant_id, trace_stream_key(""), partitions) + 1  # whatever its streams are called


def shard_limits(settings: Settings) -> JournalLimits:
    """Of one shard: what the settings allow is for all of them."""
    partitions = settings.kafka_partitions
    return JournalLimits(
        journal_bytes_max=max(SHARD_BYTES_MIN, settings.journal_bytes_max // partitions),
        dedup_window_ms=settings.dedup_window_seconds * 1000,
        recent_bytes_max=RECENT_BYTES_MAX // partitions,
        drain_timeout_ms=DRAIN_TIMEOUT_MS,
    )
