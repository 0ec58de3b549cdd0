"""Where in its source a shard of the journal goes on reading, and what it could not read because the source had let it go."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from driftlock.storage.columns import text
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Connection, Database

REASON_CHARS_MAX = 250
POSITION = "select topic, partition, next_offset, advanced_at from driftlock.source_position where shard = $1"
POSITIONS = "select shard, topic, partition, next_offset, advanced_at from driftlock.source_position order by shard"
ADVANCE = "select driftlock.source_advance($1, $2, $3, $4, $5, $6, $7)"
ADD_GAP = """
insert into driftlock.source_gap (shard, topic, partition, from_offset, to_offset, reason) values ($1, $2, $3, $4, $5, $6)
"""
GAPS = """
select g.id, g.shard, g.topic, g.partition, g.from_offset, g.to_offset, g.reason, g.found_at from driftlock.source_gap g
 where $2::uuid is null or g.id < $2 order by g.id desc limit $1
"""
COUNT_GAPS = "select count(*) from driftlock.source_gap"


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """The offset that is read next in a partition of a topic, and when it was moved there."""

    topic: str
    partition: int
    next_offset: int
    advanced_at: datetime


@dataclass(frozen=True, slots=True)
class SourceGap:
    """Offsets from `from_offset` up to before `to_offset` that were not read, and why.

    `to_offset` may be the smaller one: the topic was begun anew.
    """

    from_offset: int
    to_offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class StoredGap:
    """A gap as it was found by the reader of a shard."""

    gap_id: UUID
    shard: int
    topic: str
    partition: int
    gap: SourceGap
    found_at: datetime


class SourcePositions:
    """Positions and gaps of all shards. Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def get(self, shard: int) -> SourcePosition | None:
        """Where a shard goes on reading; None: it has never read."""
        row = await self._database.node(lambda connection: connection.fetchrow(POSITION, shard))
        return None if row is None else SourcePosition(**row)

    async def all(self) -> dict[int, SourcePosition]:
        """Where every shard that has read goes on."""
        rows = await self._database.node(lambda connection: connection.fetch(POSITIONS))
        return {
            row["shard"]: SourcePosition(row["topic"], row["partition"], row["next_offset"], row["advanced_at"]) for row in rows
        }

    async def gaps(self, *, limit: int, before: UUID | None = None) -> list[StoredGap]:
        """One page of what was not read, the newest first; `before` is the id of the last one of the page before."""
        rows = await self._database.node(lambda connection: connection.fetch(GAPS, check_limit(limit), before))
        return [
            StoredGap(
                row["id"],
                row["shard"],
                row["topic"],
                row["partition"],
                SourceGap(row["from_offset"], row["to_offset"], row["reason"]),
                row["found_at"],
            )
            for row in rows
        ]

    async def gap_count(self) -> int:
        """How many gaps were ever written down."""

        async def work(connection: Connection) -> int:
            found: int = await connection.fetchval(COUNT_GAPS)
            return found

        return await self._database.node(work)


async def save_gaps(connection: Connection, shard: int, topic: str, partition: int, gaps: Sequence[SourceGap]) -> None:
    """Write down what was not read, in the transaction that moves the position past it."""
    if gaps:
        await connection.executemany(
            ADD_GAP,
            [(shard, topic, partition, it.from_offset, it.to_offset, text(it.reason[:REASON_CHARS_MAX])) for it in gaps],
        )
