"""What happened to the baseline or the calibration of a stream, as it is stored."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from driftlock.engine.verdict import StreamEvent, StreamEventKind
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Database

LIST = """
select e.id, e.kind, e.event_no, e.window_no, e.time_ns, e.reason, e.recorded_at
  from driftlock.stream_events e
 where e.stream_id = $2 and ($3::bigint is null or (e.time_ns, e.event_no, e.id) < ($3, $4::bigint, $5::uuid))
 order by e.time_ns desc, e.event_no desc, e.id desc limit $1
"""


@dataclass(frozen=True, slots=True)
class StoredStreamEvent:
    """A stream event as it is stored; `recorded_at` is the database's time."""

    event_id: UUID
    event: StreamEvent
    recorded_at: datetime


class StreamEvents:
    """Events of one stream at a time, by (event time, index of the record, id); of each stream the newest are kept.

    Raises `Unavailable` when the database is away.
    """

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def list(
        self, tenant_id: UUID, stream_id: UUID, *, limit: int, after: tuple[int, int, UUID] | None = None
    ) -> list[StoredStreamEvent]:
        """One page, descending; `after` is the position of the last event of the page before."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(LIST, check_limit(limit), stream_id, *(after or (None, None, None)))
        return [_stored(row) for row in rows]


def _stored(row: asyncpg.Record) -> StoredStreamEvent:
    event = StreamEvent(StreamEventKind(row["kind"]), row["event_no"], row["window_no"], row["time_ns"], row["reason"])
    return StoredStreamEvent(row["id"], event, row["recorded_at"])
