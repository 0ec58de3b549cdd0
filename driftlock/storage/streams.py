"""Streams as lists show them."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from driftlock.engine.correlation.budget import DAY_NS
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES, Profile
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Database

SELECT = """
select s.id, s.slug, s.signal, s.service, s.namespace, s.environment, s.created_at, s.profile,
       s.display_name, s.retention_days,
       coalesce(t.events, 0) as events, coalesce(t.windows, 0) as windows, coalesce(t.first_event_ns, 0) as first_event_ns,
       coalesce(t.last_event_ns, 0) as last_event_ns, coalesce(t.calibration, 'calibrating') as calibration,
       coalesce(t.events_until_ready, 0) as events_until_ready, coalesce(t.calibration_reason, '') as calibration_reason,
       (select count(*)::integer from driftlock.incidents i
         where i.began_in = s.id and i.end_ns > t.last_event_ns - $1::bigint and i.alerted_ns > t.last_event_ns - $1::bigint
       ) as alerts_spent,
       (select count(*)::integer from driftlock.incidents i
         where i.began_in = s.id and i.end_ns > t.last_event_ns - $1::bigint and not i.alerted) as alerts_muted,
       (select coalesce(sum(j.records), 0)::bigint from driftlock.journal j
         where j.stream_id = s.id and j.shard = s.shard
           and j.seq > (select p.applied_seq from driftlock.journal_position p where p.shard = s.shard)) as pending
  from driftlock.streams s left join driftlock.stream_status t on t.stream_id = s.id
"""


@dataclass(frozen=True, slots=True)
class StreamRow:
    """A stream. `pending` records are durable and not yet scored; times of events are ns (0 = no event had one).

    `events_until_ready` is 0 for a stream of which nothing was scored yet (`events` == 0), too: nobody knows it by then.
    `profile` is the configured one: it holds for records that are journaled from now on. `alerts_spent` incidents alerted in
    the 24 hours of event time until its last event, `alerts_muted` of that time were kept quiet by a budget so far.
    `retention_days` None: as long as the plan says.
    """

    stream_id: UUID
    slug: str
    key: StreamKey
    created_at: datetime
    events: int
    windows: int
    first_event_ns: int
    last_event_ns: int
    calibration: str
    events_until_ready: int
    pending: int
    profile: Profile = PROFILES[DEFAULT_PROFILE]
    calibration_reason: str = ""
    alerts_spent: int = 0
    alerts_muted: int = 0
    display_name: str = ""
    retention_days: int | None = None


class Streams:
    """Streams of one tenant at a time, by (slug, id). Every method raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def list(self, tenant_id: UUID, *, limit: int, after: tuple[str, UUID] | None = None) -> list[StreamRow]:
        """One page, ascending; `after` is the position of the last stream of the page before."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(
                f"{SELECT} where s.closed_at is null and ($3::text is null or (s.slug, s.id) > ($3, $4::uuid)) "
                "order by s.slug, s.id limit $2",
                DAY_NS,
                check_limit(limit),
                *(after or (None, None)),
            )
        return [_stream(row) for row in rows]

    async def get(self, tenant_id: UUID, stream: UUID | str) -> StreamRow | None:
        """A stream by its id or its slug; a slug may look like an id, so an id that is none is tried as a slug."""
        stream_id = stream if isinstance(stream, UUID) else None
        async with self._database.tenant(tenant_id) as connection:
            row = await connection.fetchrow(
                f"{SELECT} where s.closed_at is null and (s.id = $2::uuid or s.slug = $3) "
                "order by s.id = $2::uuid desc nulls last limit 1",
                DAY_NS,
                stream_id,
                str(stream).replace("\x00", ""),
            )
        return None if row is None else _stream(row)


def _stream(row: asyncpg.Record) -> StreamRow:
    return StreamRow(
        row["id"],
        row["slug"],
        StreamKey(Signal(row["signal"]), row["service"], row["namespace"], row["environment"]),
        row["created_at"],
        row["events"],
        row["windows"],
        row["first_event_ns"],
        row["last_event_ns"],
        row["calibration"],
        row["events_until_ready"],
        row["pending"],
        PROFILES[DEFAULT_PROFILE] if row["profile"] is None else stored_profile(row["profile"]),
        row["calibration_reason"],
        row["alerts_spent"],
        row["alerts_muted"],
        row["display_name"],
        row["retention_days"],
    )


def stored_profile(text: str) -> Profile:
    """The profile of a `streams` row, which the journal wrote as a JSON object of all its values.

    Values that profiles had not when it was written are the default ones. JSON knows no tuples, profiles have no lists.
    """
    stored = json.loads(text).items()
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in stored}
    return Profile(**values)
