"""Ownership of the journal: one process at a time, proven by a number that only grows."""

import asyncio

from driftlock.errors import Conflict
from driftlock.storage.faults import FENCED
from driftlock.storage.pool import Database

ONLY_SHARD = 0  # the embedded journal is one shard
EPOCH = "select epoch from driftlock.journal_shard where shard = $1"


class Shard:
    """The right to append and to apply. Whoever calls `acquire` last has it; all before fail with `Conflict`.

    No lease and no clock: an owner that was frozen for an hour wakes up, writes, and is told by the database.
    `fenced` is set when that has happened: the process should stop.
    """

    def __init__(self, database: Database, number: int = ONLY_SHARD) -> None:
        """Nothing is owned before `acquire`."""
        self.number = number
        self.fenced = asyncio.Event()
        self._database = database
        self._epoch = -1

    @property
    def epoch(self) -> int:
        """What every append and step carries; -1, which the database never accepts, before `acquire`."""
        return self._epoch

    async def acquire(self) -> int:
        """Take the shard over and return the new epoch. Raises `Unavailable`."""
        self._epoch = await self._database.node(
            lambda connection: connection.fetchval("select driftlock.journal_acquire($1)", self.number)
        )
        self.fenced.clear()
        return self._epoch

    async def verify(self) -> None:
        """Set `fenced` if another owner is there by now: for one that has nothing to write. Raises `Unavailable`."""
        epoch = await self._database.node(lambda connection: connection.fetchval(EPOCH, self.number))
        if epoch != self._epoch:
            self.lost()

    def lost(self) -> Conflict:
        """Note that another owner has been seen, and the error to raise for it."""
        self.fenced.set()
        return Conflict(FENCED)
