"""How shards of the journal stand, in one look: for a process that owns several."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from driftlock.storage.pool import Connection, Database
from driftlock.storage.shard import OWN_ROLE

STANDINGS = """
select s.shard, s.epoch, s.next_seq - 1 as last_seq, p.applied_seq
  from driftlock.journal_shard s join driftlock.journal_position p using (shard) where s.shard = any ($1)
"""
OVERVIEW = """
select s.shard, s.next_seq - 1 - p.applied_seq as lag_rows, s.bytes, i.database is not null as judged,
       (select count(*) from driftlock.tenants t where t.shard = s.shard and t.closed_at is null) as tenants,
       (select count(*) from driftlock.journal_quarantine q where q.shard = s.shard) as quarantined_rows,
       (select coalesce(sum(q.records), 0)::bigint from driftlock.journal_quarantine q where q.shard = s.shard)
         as quarantined_records,
       (select count(*) from driftlock.source_gap g where g.shard = s.shard) as gaps,
       (select max(g.found_at) from driftlock.source_gap g where g.shard = s.shard) as newest_gap_at,
       o.next_offset, o.advanced_at
  from driftlock.journal_shard s join driftlock.journal_position p using (shard)
  left join driftlock.journal_identity i using (shard) left join driftlock.source_position o using (shard) order by s.shard
"""
# Whoever owns a shard has such a connection, and looks at its shard with it every few seconds.
OWNERS = """
select coalesce(host(a.client_addr), 'a place that may not be seen') as place,
       coalesce(to_char(min(a.backend_start) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS'), 'an unknown time') as since
  from pg_stat_activity a
 where a.application_name = 'driftlock-apply' and a.datname = current_database() and a.pid <> pg_backend_pid()
 group by a.client_addr order by 1
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


@dataclass(frozen=True, slots=True)
class ShardOverview:
    """What people want to know of a shard: `lag_rows` are not scored yet, `judged`: whether anybody has ever owned it.

    `next_offset` is what is read next from its partition, since `advanced_at`; None: nothing was ever read.
    """

    shard: int
    lag_rows: int
    bytes: int
    judged: bool
    tenants: int
    quarantined_rows: int
    quarantined_records: int
    gaps: int
    newest_gap_at: datetime | None
    next_offset: int | None
    advanced_at: datetime | None


async def read_overview(database: Database) -> list[ShardOverview]:
    """All shards, by their numbers. Raises `Unavailable`."""
    rows = await database.node(lambda connection: connection.fetch(OVERVIEW))
    return [ShardOverview(**row) for row in rows]


async def read_owners(database: Database) -> list[str]:
    """Processes that own shards now, as far as our role may see them: where they run, and since when. Raises `Unavailable`."""

    async def work(connection: Connection) -> list[str]:
        async with connection.transaction(readonly=True):
            await connection.execute(OWN_ROLE)
            rows = await connection.fetch(OWNERS)
        return [f"at {row['place']}, since {row['since']} UTC" for row in rows]

    return await database.node(work)
