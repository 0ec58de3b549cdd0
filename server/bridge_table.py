"""The partitions of a source, each with its work: begun, begun anew after failures, and stopped when a partition goes."""

import asyncio
from collections.abc import Mapping, Sequence

from collector.kafka.consumer import PartitionConsumer, Read
from driftlock.errors import Unavailable
from server.bridge_partition import BridgePartition, BridgeParts

PAUSE_S, PAUSE_MAX_S = 1.0, 30.0
REVOKE_S = 3.5
"""How long a window that is under way is waited for; less than the consumer waits."""


class BridgeTable:
    """Implements `collector.kafka.consumer.Partitions`. What fails at one partition leaves the others at work."""

    def __init__(self, parts: BridgeParts) -> None:
        """Without partitions. `consumer` has to be set before it starts."""
        self.consumer: PartitionConsumer | None = None
        self._parts = parts
        self._owners: dict[int, BridgePartition] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    @property
    def topic(self) -> str:
        """That of the source."""
        return self._parts.source.topic

    def assigned(self, generations: Mapping[int, int]) -> None:
        """See `Partitions`."""
        for partition, generation in generations.items():
            before = self._tasks.pop(partition, None)
            if before is not None:
                before.cancel()
            self._parts.counters.begin(self.topic, partition)
            name = f"{self.topic}/{partition}"
            self._tasks[partition] = asyncio.create_task(self._keep(partition, generation, before), name=name)

    async def revoked(self, partitions: Sequence[int], *, lost: bool) -> None:
        """See `Partitions`. What is acknowledged by then is committed."""
        self._parts.log.info("partitions go", topic=self.topic, partitions=sorted(partitions), lost=lost)
        stopping = [self._tasks.pop(partition) for partition in partitions if partition in self._tasks]
        for partition in partitions:
            owner = self._owners.get(partition)
            if owner is not None and not lost:
                owner.stop()
        if stopping and not lost:
            await asyncio.wait(stopping, timeout=REVOKE_S)
        for task in stopping:
            task.cancel()
        if stopping:
            await asyncio.wait(stopping)

    def read(self, found: Read) -> None:
        """See `Partitions`."""
        for partition, (generation, read) in found.items():
            owner = self._owners.get(partition)
            if owner is not None and owner.generation == generation:
                owner.take(read)

    async def _keep(self, partition: int, generation: int, before: asyncio.Task[None] | None) -> None:
        """Work on a partition until it goes."""
        if before is not None:
            await asyncio.wait({before})
        consumer, log = self.consumer, self._parts.log.bind(topic=self.topic, partition=partition)
        assert consumer is not None  # noqa: S101  # set before anything is assigned
        pause_s = PAUSE_S
        while True:
            owner = self._owners[partition] = BridgePartition(self._parts, consumer, partition, generation)
            try:
                await owner.run()
                return
            except Unavailable as error:
                log.warning("the partition can not be read now", why=error.message)
            except Exception as error:
                self._parts.counters.failed.inc()
                log.error("the work on a partition has failed and begins anew", exc_info=error)
            finally:
                if self._owners.get(partition) is owner:
                    del self._owners[partition]
            consumer.close(partition, generation)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
