"""The partitions of a worker, each with its work: begun, begun anew after failures, and stopped when a partition goes."""

import asyncio
from collections.abc import Mapping, Sequence

from collector.kafka.consumer import PartitionConsumer, Read
from driftlock.errors import Conflict, Unavailable
from driftlock.storage.shard_standing import read_standings
from server.shard_owner import ShardOwner, WorkerParts, WrongTopic

LOOK_PERIOD_S = 0.5  # how soon a control record is noticed that another process has appended
PAUSE_S, PAUSE_MAX_S = 1.0, 30.0
FENCED_PAUSE_S = 5.0
"""Whoever is found to own a shard may be right: by then the group has told us, unless it is we who are to own it."""


class PartitionTable:
    """Implements `collector.kafka.consumer.Partitions`. What fails at one partition leaves the others at work."""

    def __init__(self, parts: WorkerParts) -> None:
        """Without partitions. `consumer` has to be set before it starts."""
        self.consumer: PartitionConsumer | None = None
        self._parts = parts
        self._owners: dict[int, ShardOwner] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._wrong: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def assigned(self, generations: Mapping[int, int]) -> None:
        """See `Partitions`."""
        for partition, generation in generations.items():
            before = self._tasks.pop(partition, None)
            if before is not None and not before.cancelling():
                before.cancel()
            self._parts.counters.begin(partition)
            self._tasks[partition] = asyncio.create_task(
                self._keep(partition, generation, before), name=f"partition {partition}"
            )

    async def revoked(self, partitions: Sequence[int], *, lost: bool) -> None:
        """See `Partitions`."""
        stopping = [self._tasks[partition] for partition in partitions if partition in self._tasks]
        for task in stopping:
            if not task.cancelling():  # a second time would cut off what it still has to end
                task.cancel()
        self._parts.log.info("partitions go", partitions=sorted(partitions), lost=lost)
        if stopping:
            await asyncio.wait(stopping)

    def read(self, found: Read) -> None:
        """See `Partitions`."""
        for partition, (generation, read) in found.items():
            owner = self._owners.get(partition)
            if owner is not None and owner.generation == generation:
                owner.take(read)

    def rows(self) -> dict[int, tuple[int, int]]:
        """The last position of the journal of each partition, and the applied one."""
        return {partition: owner.rows for partition, owner in self._owners.items()}

    @property
    def partitions(self) -> list[int]:
        """Those that are worked on."""
        return sorted(self._owners)

    @property
    def owners(self) -> list[ShardOwner]:
        """Those that work on partitions."""
        return list(self._owners.values())

    async def failed(self) -> None:
        """Never return; raise what no partition can go on with."""
        await asyncio.shield(self._wrong)

    async def watch(self) -> None:
        """Look at all shards together, for ever: at rows that others appended, and at whose they are."""
        while True:
            await asyncio.sleep(LOOK_PERIOD_S)
            known = {owner: standing for owner in self._owners.values() if (standing := owner.standing()) is not None}
            if not known:
                continue
            try:
                found = await read_standings(self._parts.database, {owner.shard for owner in known})
            except Unavailable:
                continue  # whoever has something to write says so
            for owner, standing in known.items():
                if owner.shard in found:
                    owner.noticed(standing, found[owner.shard])

    async def _keep(self, partition: int, generation: int, before: asyncio.Task[None] | None) -> None:
        """Work on a partition until it goes."""
        if before is not None:
            await asyncio.wait({before})
        pause_s = PAUSE_S
        try:
            while True:
                began_s = asyncio.get_running_loop().time()
                pause_s = max(pause_s, await self._work(partition, generation))
                if asyncio.get_running_loop().time() - began_s > PAUSE_MAX_S:
                    pause_s = PAUSE_S
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_MAX_S)
        finally:
            if self._tasks.get(partition) is asyncio.current_task():
                del self._tasks[partition]
                self._parts.counters.end(partition)

    async def _work(self, partition: int, generation: int) -> float:
        """Work until it fails; how long to wait before it is tried again, in seconds."""
        parts, consumer = self._parts, self.consumer
        assert consumer is not None  # noqa: S101  # set before anything is assigned
        owner = self._owners[partition] = ShardOwner(parts, consumer, partition, generation)
        log = parts.log.bind(partition=partition)
        try:
            await owner.run()
        except Conflict as error:
            log.warning("another worker owns this shard; what was under way is left to it", why=error.message)
            return FENCED_PAUSE_S
        except Unavailable as error:
            log.warning("the shard can not be taken over now", why=error.message)
        except WrongTopic as error:
            if not self._wrong.done():
                self._wrong.set_exception(error)
        except Exception as error:
            parts.counters.failed.inc()
            log.error("the work on a partition has failed and begins anew", exc_info=error)
        finally:
            consumer.close(partition, generation)
            parts.counters.fenced.inc(owner.fenced)
            if self._owners.get(partition) is owner:
                del self._owners[partition]
        return PAUSE_S
