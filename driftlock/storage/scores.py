"""Scores of streams by the minute of event time.

Rows are added to, not replaced: a step is committed once or not at all, by compare-and-set on the position that it begins at,
so what is read again after a crash adds nothing a second time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from driftlock.engine.limits import MINUTE_NS
from driftlock.engine.scores import SCORE_MINUTES_MAX, MinuteScore, ScoreRow
from driftlock.errors import InvalidArgument
from driftlock.storage.columns import columns
from driftlock.storage.pool import Connection, Database

POINTS_MAX = 1_500
"""Points of one answer."""
STREAMS_MAX = 200
FORGOTTEN_AT_ONCE_MAX = 5_000

# Rows of a tenant that was deleted while they were computed fall away in the join.
ADD = """
insert into driftlock.stream_scores as known
  (tenant_id, stream_id, minute, events, windows, flagged, surprise_max, ncd_max, p_value_min)
select n.* from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                       $7::float8[], $8::float8[], $9::float8[])
    as n (tenant_id, stream_id, minute, events, windows, flagged, surprise_max, ncd_max, p_value_min)
  join driftlock.streams s on s.id = n.stream_id and s.tenant_id = n.tenant_id
 order by n.stream_id, n.minute
on conflict (stream_id, minute) do update set
  events = known.events + excluded.events, windows = known.windows + excluded.windows,
  flagged = known.flagged + excluded.flagged, surprise_max = greatest(known.surprise_max, excluded.surprise_max),
  ncd_max = greatest(known.ncd_max, excluded.ncd_max), p_value_min = least(known.p_value_min, excluded.p_value_min)
"""
LIST = """
select s.minute / $4::bigint * $4::bigint as minute, sum(s.events)::bigint as events, sum(s.windows)::bigint as windows,
       sum(s.flagged)::bigint as flagged, max(s.surprise_max) as surprise_max, max(s.ncd_max) as ncd_max,
       min(s.p_value_min) as p_value_min
  from driftlock.stream_scores s where s.stream_id = $1 and s.minute >= $2 and s.minute < $3
 group by 1 order by 1 limit $5
"""
LINES = """
select s.stream_id, (s.minute - $2::bigint) / $3::bigint as place, sum(s.events)::bigint as events,
       sum(s.flagged)::bigint as flagged
  from driftlock.stream_scores s
 where s.stream_id = any ($1::uuid[]) and s.minute >= $2::bigint and s.minute < $2::bigint + $3::bigint * $4::bigint
 group by 1, 2
"""
FORGET = """
with due as (
  select o.stream_id, o.minute from driftlock.stream_status t
   cross join lateral (
     select s.stream_id, s.minute from driftlock.stream_scores s
      where s.stream_id = t.stream_id and s.minute <= t.last_event_ns / $1::bigint - $2::bigint order by s.minute limit $3) o
   limit $3
), gone as (
  delete from driftlock.stream_scores s using due where s.stream_id = due.stream_id and s.minute = due.minute returning 1
)
select count(*) from gone
"""


@dataclass(frozen=True, slots=True)
class Sparkline:
    """Events and findings of a stream in equal parts of a time, the oldest first."""

    events: tuple[int, ...]
    flagged: tuple[int, ...]


class Scores:
    """Scores of one tenant's streams at a time. Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def list(
        self, tenant_id: UUID, stream_id: UUID, *, since_minute: int, until_minute: int, step_minutes: int = 1
    ) -> list[MinuteScore]:
        """Minutes since 1970 from `since_minute` on and before `until_minute`, `step_minutes` together; without empty ones.

        A part is known by its first minute, which its length divides. At most `POINTS_MAX` parts: `InvalidArgument` for more.
        """
        if step_minutes < 1 or until_minute - since_minute > POINTS_MAX * step_minutes:
            raise InvalidArgument(
                f"that would be more than {POINTS_MAX} points (points_max); ask for a shorter time or a longer step"
            )
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(LIST, stream_id, since_minute, until_minute, step_minutes, POINTS_MAX + 1)
        return [_score(row) for row in rows]

    async def sparklines(
        self, tenant_id: UUID, stream_ids: Sequence[UUID], *, since_minute: int, parts: int, part_minutes: int
    ) -> dict[UUID, Sparkline]:
        """One line for each of at most `STREAMS_MAX` streams in one query; streams without events have none."""
        if len(stream_ids) > STREAMS_MAX or not 1 <= parts <= POINTS_MAX or part_minutes < 1:
            raise InvalidArgument(f"at most {STREAMS_MAX} streams and {POINTS_MAX} parts of a minute or more")
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(LINES, list(stream_ids), since_minute, part_minutes, parts)
        events: dict[UUID, list[int]] = {}
        flagged: dict[UUID, list[int]] = {}
        for row in rows:
            events.setdefault(row["stream_id"], [0] * parts)[row["place"]] = row["events"]
            flagged.setdefault(row["stream_id"], [0] * parts)[row["place"]] = row["flagged"]
        return {stream_id: Sparkline(tuple(line), tuple(flagged[stream_id])) for stream_id, line in events.items()}

    async def forget(self) -> int:
        """Delete what is `SCORE_MINUTES_MAX` older than its stream's newest event; returns how many. A bite at a time."""

        async def work(connection: Connection) -> int:
            return int(await connection.fetchval(FORGET, MINUTE_NS, SCORE_MINUTES_MAX, FORGOTTEN_AT_ONCE_MAX))

        forgotten, bite = 0, FORGOTTEN_AT_ONCE_MAX
        while bite == FORGOTTEN_AT_ONCE_MAX:
            bite = await self._database.node(work)
            forgotten += bite
        return forgotten


def _score(row: asyncpg.Record) -> MinuteScore:
    return MinuteScore(
        row["minute"], row["events"], row["windows"], row["flagged"], row["surprise_max"], row["ncd_max"], row["p_value_min"]
    )


async def save_scores(connection: Connection, rows: Sequence[ScoreRow]) -> None:
    """Add what a step scored, in its transaction; each minute of a stream is in it once."""
    if rows:
        await connection.execute(ADD, *columns([(row.tenant_id, row.stream_id, *row.score) for row in rows]))
