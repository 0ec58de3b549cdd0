"""Which partition the records of a stream go to. Never to be changed: a stream's past lies where this says."""

from uuid import UUID
from zlib import crc32

from driftlock.engine.event import StreamKey


def partition_of(tenant_id: UUID, key: StreamKey, partitions: int, spread: int = 1) -> int:
    """The partition, from 0 up to `partitions`, of a tenant's stream.

    `spread` is over how many partitions, one beside the other, the streams of a tenant lie; with 1 they share one.
    Raises ValueError for a `spread` that is not from 1 to `partitions`.

    >>> partition_of(UUID(int=7), StreamKey(Signal("logs"), "checkout", "shop", "prod"), 16)
    6
    """
    if not 1 <= spread <= partitions:
        raise ValueError(f"spread must be from 1 to the number of partitions, which is {partitions}")
    return (crc32(tenant_id.bytes) + crc32(key.text.encode()) % spread) % partitions
