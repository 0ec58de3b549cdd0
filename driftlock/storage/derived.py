"""What folds of streams tell the fold of their tenant where that is another shard's: from step to journal.

    step of a shard ──> driftlock.derived (in its transaction) ──> a row of the home's journal ──> the home's tenant fold

A step leaves it once, and it is deleted as it becomes a row: it is told once, whatever fails between.
"""

import zlib
from collections.abc import Iterable, Mapping
from uuid import UUID

from driftlock.errors import Conflict
from driftlock.storage.columns import columns
from driftlock.storage.pool import Connection, Database
from driftlock.storage.shard import Shard

# Nothing of a tenant that was closed, or deleted, while the step was computed.
SAVE = """
insert into driftlock.derived (home, source, seq, tenant_id, crc, body)
select t.shard, $1, $2, d.tenant_id, d.crc, d.body
  from unnest($3::uuid[], $4::bigint[], $5::bytea[]) as d (tenant_id, crc, body)
  join driftlock.tenants t on t.id = d.tenant_id and t.closed_at is null and t.shard <> $1
"""
TAKE = "select driftlock.journal_take_derived($1, $2, $3, $4)"
WAITING = "select distinct home from driftlock.derived where home = any ($1)"
TAKE_ROWS_MAX = 1000


async def save_derived(connection: Connection, shard: int, seq: int, derived: Mapping[UUID, bytes]) -> None:
    """Leave what a step up to `seq` tells tenants whose home is another shard, in the transaction of the step."""
    if derived:
        rows = [(tenant_id, zlib.crc32(body), body) for tenant_id, body in sorted(derived.items())]
        await connection.execute(SAVE, shard, seq, *columns(rows))


async def homes_waited_for(database: Database, shards: Iterable[int]) -> set[int]:
    """Those of `shards` for which other shards have left something. Raises `Unavailable`."""
    wanted = sorted(shards)
    rows = await database.node(lambda connection: connection.fetch(WAITING, wanted))
    return {row["home"] for row in rows}


async def take_derived(database: Database, shard: Shard, *, journal_bytes_max: int) -> int | None:
    """Make rows of an owned shard's journal of what others have left for it; the position of the last one, None for none.

    Raises `Conflict` after a take-over, `Unavailable`, also while the journal is full.
    """
    last_seq: int | None = None
    while True:
        try:
            taken: int | None = await database.node(
                lambda connection: connection.fetchval(TAKE, shard.number, shard.epoch, journal_bytes_max, TAKE_ROWS_MAX)
            )
        except Conflict as error:
            raise shard.lost() from error
        if taken is None:
            return last_seq
        last_seq = taken
