"""Ownership of the journal: one process at a time, proven by a number that only grows."""

import asyncio

from driftlock.errors import Conflict
from driftlock.storage.faults import FENCED
from driftlock.storage.pool import Connection, Database

ONLY_SHARD = 0  # the embedded journal is one shard
EPOCH = "select epoch from driftlock.journal_shard where shard = $1"
HELD = "select array['driftlock.journal_shard'::regclass, 'driftlock.journal_position'::regclass]::oid[]"
# The transactions that hold the shard's own two rows, or held them last. Other shards have owners who are at work.
HOLDERS = """
select array(
  select s.xmax::text from driftlock.journal_shard s where s.shard = $1
  union select p.xmax::text from driftlock.journal_position p where p.shard = $1)
"""
# As the role that logged in, which may see nothing of the schema: only it may end its own sessions.
OWN_ROLE = "set local role none"
# Whoever waits for a lock itself holds nobody up for long: another process that takes over, say.
PUT_OUT = """
select count(*) filter (where pg_terminate_backend(h.pid))
  from (
    select distinct a.pid from pg_stat_activity a
      join pg_locks l on l.pid = a.pid and l.database = a.datid and l.granted
     where l.relation = any ($2)
       and exists (
       select from pg_locks x
        where x.pid = a.pid and x.locktype = 'transactionid' and x.granted and x.transactionid::text = any ($3))
     and l.mode in ('RowShareLock', 'RowExclusiveLock')
       and a.usename = session_user and a.pid <> pg_backend_pid() and a.wait_event_type is distinct from 'Lock'
       and a.xact_start < clock_timestamp() - make_interval(secs => $1)
  ) h
"""
HELD_S_MIN = 2.0
"""A transaction that holds the journal for less is at work."""


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

    async def put_out(self, held_s_min: float = HELD_S_MIN) -> int:
        """End the transactions that have held the shard for `held_s_min` s; returns how many. Raises `Unavailable`.

        The timeouts of the database do not reach all of them: a client that is frozen between the parts of one statement is
        waited for without end. What such a transaction would have written is lost, and was never acknowledged.
        """

        async def work(connection: Connection) -> int:
            async with connection.transaction():
                held = await connection.fetchval(HELD)
                holders = await connection.fetchval(HOLDERS, self.number)
                await connection.execute(OWN_ROLE)
                ended: int = await connection.fetchval(PUT_OUT, held_s_min, held, holders)
                return ended

        return await self._database.node(work)

    async def verify(self) -> None:
        """Set `fenced` if another owner is there by now: for one that has nothing to write. Raises `Unavailable`."""
        epoch = await self._database.node(lambda connection: connection.fetchval(EPOCH, self.number))
        if epoch != self._epoch:
            self.lost()

    def lost(self) -> Conflict:
        """Note that another owner has been seen, and the error to raise for it."""
        self.fenced.set()
        return Conflict(FENCED)
