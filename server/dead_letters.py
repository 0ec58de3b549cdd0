"""Whether a dead letter can be sent again: to which partition, or why not yet."""

from collections.abc import Sequence
from dataclasses import dataclass

from collector.kafka.message import BadMessage, decode
from collector.kafka.partitions import partition_of
from driftlock.storage.dead_letters import DeadLetters

NOT_KEPT = "it is not kept as it came"


@dataclass(frozen=True, slots=True)
class Sendable:
    """A message of ours with the partition of its stream, where workers look for it."""

    partition: int


async def resendable(
    letters: DeadLetters,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes | None]],
    partitions: int,
    spread: int,
) -> Sendable | str:
    """Where a message goes, or why a worker would set it aside once more: it can not be read, or its tenant is elsewhere.

    Raises `Unavailable`.
    """
    try:
        submission = decode(value, headers)
    except BadMessage as error:
        return f"it can not be read: {error.reason}"
    tenant_id, key = submission.tenant_id, submission.batches[0].key
    there, shard = await letters.home_of(tenant_id)
    if not there:
        return f"there is no tenant {tenant_id}"
    home = partition_of(tenant_id, key, partitions) + 1
    if shard is not None and shard != home:
        return f"its tenant belongs to shard {shard}, not to {home}: see `driftlock tenant move`"
    return Sendable(partition_of(tenant_id, key, partitions, spread))
