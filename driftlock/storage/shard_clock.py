"""Up to which wall-clock time shards have folded all that had come: what a tenant's clock must not run ahead of.

A tenant whose streams lie in several shards waits for all of them before it closes a minute by the clock, but for no longer
than `patience_ns` for one that does not come on: what it says later joins what is still open then.
"""

from collections.abc import Mapping, Sequence

from driftlock.storage.columns import columns
from driftlock.storage.pool import Database

# An owner before, who was frozen, changes nothing.
WRITE = """
insert into driftlock.shard_clock as c (shard, epoch, clock_ns)
select w.shard, w.epoch, w.clock_ns from unnest($1::integer[], $2::bigint[], $3::bigint[]) as w (shard, epoch, clock_ns)
 order by w.shard
on conflict (shard) do update set epoch = excluded.epoch, clock_ns = excluded.clock_ns
 where c.epoch < excluded.epoch or (c.epoch = excluded.epoch and c.clock_ns < excluded.clock_ns)
"""
READ = "select shard, clock_ns from driftlock.shard_clock where shard = any ($1)"


async def write_clocks(database: Database, clocks: Mapping[int, tuple[int, int]]) -> None:
    """Say how far owned shards are: epoch and time (ns) by shard. Raises `Unavailable`."""
    rows = [(shard, epoch, clock_ns) for shard, (epoch, clock_ns) in sorted(clocks.items())]
    if rows:
        await database.node(lambda connection: connection.execute(WRITE, *columns(rows)))


async def common_clock(database: Database, shards: Sequence[int], now_ns: int, *, patience_ns: int) -> int:
    """The earliest clock of `shards`, at most `now_ns` and at least `patience_ns` before it. Raises `Unavailable`."""
    rows = await database.node(lambda connection: connection.fetch(READ, list(shards)))
    known: dict[int, int] = {row["shard"]: row["clock_ns"] for row in rows}
    return max(now_ns - patience_ns, min([now_ns, *(known.get(shard, 0) for shard in shards)]))
