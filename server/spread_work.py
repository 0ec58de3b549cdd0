"""What tenants need whose streams lie in several shards: what these tell is carried to the homes, and clocks are compared."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from structlog.typing import FilteringBoundLogger

from driftlock.errors import Conflict, Unavailable
from driftlock.storage.derived import homes_waited_for
from driftlock.storage.pool import Database
from driftlock.storage.shard_clock import write_clocks
from server.partition_table import PartitionTable
from server.shards import KafkaPlacement

CARRY_PERIOD_S = 0.1
CLOCK_PERIOD_S = 1.0


def spread_work(
    placement: KafkaPlacement, database: Database, table: PartitionTable, log: FilteringBoundLogger
) -> dict[str, Callable[[], Awaitable[None]]]:
    """What must not end while a worker works; nothing where each tenant lies in one shard."""
    if placement.spread == 1:
        return {}

    async def carry() -> None:
        await _carry_for_ever(database, table, log)

    async def tell() -> None:
        await _tell_for_ever(database, table)

    return {"what shards tell each other": carry, "the clocks of the shards": tell}


async def _carry_for_ever(database: Database, table: PartitionTable, log: FilteringBoundLogger) -> None:
    """Let each owned shard journal what the others have left for it."""
    while True:
        await asyncio.sleep(CARRY_PERIOD_S)
        owners = {owner.shard: owner for owner in table.owners if owner.standing() is not None}
        if not owners:
            continue
        with contextlib.suppress(Unavailable):
            for shard in sorted(await homes_waited_for(database, owners)):
                try:
                    await owners[shard].take_derived()
                except Conflict as error:
                    log.warning("what other shards tell is left to the next owner", shard=shard, why=error.message)


async def _tell_for_ever(database: Database, table: PartitionTable) -> None:
    """Say how far each owned shard is."""
    while True:
        await asyncio.sleep(CLOCK_PERIOD_S)
        now_ns = time.time_ns()
        clocks = {owner.shard: told for owner in table.owners if (told := owner.folded_until(now_ns)) is not None}
        with contextlib.suppress(Unavailable):
            await write_clocks(database, clocks)
