"""How shards of the journal stand, in one look: for a process that owns several."""

from collections.abc import Iterable
from dataclasses import dataclass

from driftlock.storage.pool import Connection, Database

STANDINGS = """
select s.shard, s.epoch, s.next_seq - 1 as last_seq, p.applied_seq
  from driftlock.journal_shard s join driftlock.journal_position p using (shard) where s.shard = any ($1)
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """Whose a shard is (the owner with the newest epoch), how far its journal reaches, and how far it is applied."""

    epoch: int
    last_seq: int
    applied_seq: int


async def read_standings(database: Database, shards: Iterable[int]) -> dict[int, Standing]:
    """The standing of each of `shards` that there is. Raises `Unavailable`."""
    wanted = sorted(shards)

    async def work(connection: Connection) -> dict[int, Standing]:
        rows = await connection.fetch(STANDINGS, wanted)
        return {row["shard"]: Standing(row["epoch"], row["last_seq"], row["applied_seq"]) for row in rows}

    return await database.node(work)
