"""Hours of streams that have an anchor: how far they were from it, and which streams are to get another one by themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from driftlock.engine.correlation.budget import DAY_NS
from driftlock.engine.drift import DriftHour
from driftlock.engine.ports import DriftRow
from driftlock.storage.columns import columns, ns
from driftlock.storage.paging import PLAN_ANEW, check_limit
from driftlock.storage.pool import Connection, Database
from driftlock.storage.shard import ONLY_SHARD

HOURS_MAX = 4_320
"""Hours kept of one stream, half a year of them without a gap; older ones go when a newer one is stored."""
DUE_MAX = 100
"""Streams that get another anchor in one round."""

SAVE = """
insert into driftlock.drift (anchor_id, hour_ns, stream_id, tenant_id, distance, windows, recent, since_ns)
select d.anchor_id, d.hour_ns, a.stream_id, a.tenant_id, d.distance, d.windows, d.recent, d.since_ns
  from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::float8[], $5::integer[], $6::float8[], $7::bigint[])
    as d (anchor_id, hour_ns, tenant_id, distance, windows, recent, since_ns)
  join driftlock.anchors a on a.id = d.anchor_id and a.tenant_id = d.tenant_id
on conflict do nothing
"""
KEEP = """
delete from driftlock.drift d using unnest($1::uuid[]) as touched (id)
 where d.stream_id = touched.id and (d.hour_ns, d.anchor_id) < (
   select k.hour_ns, k.anchor_id from driftlock.drift k where k.stream_id = touched.id
    order by k.hour_ns desc, k.anchor_id desc offset $2 limit 1)
"""
SELECT_HOURS = "select d.anchor_id, d.hour_ns, d.distance, d.windows, d.recent, d.since_ns from driftlock.drift d"
LIST = f"""{SELECT_HOURS}
 where d.stream_id = $2 and ($3::bigint is null or d.hour_ns >= $3) and ($4::bigint is null or d.hour_ns < $4)
   and ($5::uuid is null or d.anchor_id = $5) and ($6::bigint is null or (d.hour_ns, d.anchor_id) < ($6, $7::uuid))
 order by d.hour_ns desc, d.anchor_id desc limit $1
"""
# In the event time of each stream: it has drifted for a day, and for a day none of its incidents has been open. What people
# have said meanwhile comes first.
DUE = """
select a.tenant_id, a.stream_id, a.id
  from driftlock.anchor_settings c
  join driftlock.streams s on s.id = c.stream_id and s.shard = $1
  join driftlock.journal_position p on p.shard = $1 and c.seq <= p.applied_seq
  join driftlock.anchors a on a.stream_id = c.stream_id and a.standing = 'in_force'
  join driftlock.stream_status t on t.stream_id = c.stream_id
  join lateral (select d.since_ns from driftlock.drift d where d.anchor_id = a.id order by d.hour_ns desc limit 1) d
    on d.since_ns > 0 and d.since_ns <= t.last_event_ns - $2::bigint
 where c.reset_on_drift and not exists (
   select from driftlock.incidents i
    where i.tenant_id = c.tenant_id and c.stream_id = any (i.stream_ids)
      and (i.state = 'open' or i.end_ns > t.last_event_ns - $2::bigint))
 order by a.stream_id limit $3
"""


@dataclass(frozen=True, slots=True)
class DueReset:
    """A stream that is to get another anchor in place of `anchor_id`."""

    tenant_id: UUID
    stream_id: UUID
    anchor_id: UUID


class DriftHours:
    """Hours of one stream at a time, by (start of the hour, anchor). Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def list(
        self,
        tenant_id: UUID,
        stream_id: UUID,
        *,
        limit: int,
        since_ns: int | None = None,
        until_ns: int | None = None,
        anchor_id: UUID | None = None,
        after: tuple[int, UUID] | None = None,
    ) -> list[DriftHour]:
        """One page of the hours that begin in [since, until), the newest first; `after` is the position of the last one."""
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(PLAN_ANEW)
            rows = await connection.fetch(
                LIST, check_limit(limit), stream_id, since_ns, until_ns, anchor_id, *(after or (None, None))
            )
        return [hour_of(row) for row in rows]


async def due_resets(database: Database, shard: int = ONLY_SHARD) -> list[DueReset]:
    """The streams of all tenants of a shard whose settings want another anchor after a day of drift without open incidents."""
    rows = await database.node(lambda connection: connection.fetch(DUE, shard, DAY_NS, DUE_MAX))
    return [DueReset(row["tenant_id"], row["stream_id"], row["id"]) for row in rows]


async def save_drift(connection: Connection, rows: Sequence[DriftRow]) -> None:
    """Write hours that have closed, in the transaction of the step that says so; one that is known stays as it is."""
    if rows:
        await connection.execute(SAVE, *columns([_columns_of(row) for row in rows]))
        await connection.execute(KEEP, sorted({row.stream_id for row in rows}), HOURS_MAX - 1)


def _columns_of(row: DriftRow) -> tuple[object, ...]:
    hour = row.hour
    return (
        hour.anchor_id,
        ns(hour.hour_ns),
        row.tenant_id,
        hour.distance,
        hour.windows,
        hour.recent,
        ns(hour.since_ns),
    )


def hour_of(row: asyncpg.Record) -> DriftHour:
    """An hour of the columns `SELECT_HOURS`."""
    return DriftHour(row["anchor_id"], row["hour_ns"], row["distance"], row["windows"], row["recent"], row["since_ns"])
