"""The states of the series of metrics streams: written with their stream's checkpoint, read one by one when they are needed."""

import logging
import zlib
from collections.abc import Mapping, Sequence
from uuid import UUID

from driftlock.engine.ports import Checkpoint
from driftlock.storage.page_damage import Row, fetch_readable
from driftlock.storage.pool import Connection, Database

log = logging.getLogger(__name__)

SAVE = """
insert into driftlock.series_states (tenant_id, stream_id, series, seq, crc, state)
select c.* from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[])
    as c (tenant_id, stream_id, series, seq, crc, state)
  join driftlock.streams s on s.id = c.stream_id and s.tenant_id = c.tenant_id
on conflict (stream_id, series, seq) do update set crc = excluded.crc, state = excluded.state
"""
# The older of a stream's two checkpoints needs the newest states that it knew; nobody needs those before them.
KEEP = """
delete from driftlock.series_states a
 using unnest($1::uuid[], $2::bigint[]) as saved (stream_id, series)
 where a.stream_id = saved.stream_id and a.series = saved.series and exists (
   select from driftlock.series_states b
    where b.stream_id = a.stream_id and b.series = a.series and b.seq > a.seq
      and b.seq <= (select min(c.seq) from driftlock.stream_checkpoints c where c.stream_id = a.stream_id))
"""
DROP = """
delete from driftlock.series_states a
 using unnest($1::uuid[], $2::bigint[]) as dropped (stream_id, series)
 where a.stream_id = dropped.stream_id and a.series = dropped.series
"""
LOAD = """
select distinct on (series) series, seq, crc, state from driftlock.series_states
 where stream_id = $1 and seq <= $2 and series = any ($3::bigint[])
 order by series, seq desc
"""
LIST = """
select distinct on (series) series, seq, crc from driftlock.series_states
 where stream_id = $1 and seq <= $2 and series = any ($3::bigint[])
 order by series, seq desc
"""
STATE = "select state from driftlock.series_states where stream_id = $1 and series = $2 and seq = $3"


async def save_series(
    connection: Connection,
    saved: Mapping[tuple[UUID, UUID, int], Checkpoint],
    dropped: Mapping[tuple[UUID, UUID], tuple[int, ...]],
) -> None:
    """Write states by (tenant, stream, series) in the transaction that writes the checkpoints of their streams, before it ends.

    Of each series the states that the two checkpoints of its stream may ask for are kept. `dropped` ones lose all.
    """
    if saved:
        rows = [
            (tenant_id, stream_id, _signed(series), it.seq, zlib.crc32(it.state), it.state)
            for (tenant_id, stream_id, series), it in saved.items()
        ]
        await connection.execute(SAVE, *(list(column) for column in zip(*rows, strict=True)))
        await connection.execute(KEEP, [row[1] for row in rows], [row[2] for row in rows])
    gone = [(stream_id, _signed(series)) for (_, stream_id), numbers in dropped.items() for series in numbers]
    if gone:
        await connection.execute(DROP, *(list(column) for column in zip(*gone, strict=True)))


async def load_series(database: Database, stream_id: UUID, until_seq: int, series: Sequence[int]) -> dict[int, bytes]:
    """See `driftlock.engine.ports.StateStore`. Raises `Unavailable`."""
    wanted = [_signed(number) for number in series]
    arguments = (stream_id, until_seq, wanted)

    async def work(connection: Connection) -> Sequence[Row]:
        return await fetch_readable(
            connection,
            (LOAD, *arguments),
            (LIST, *arguments),
            "state",
            lambda row: (STATE, stream_id, row["series"], row["seq"]),
        )

    states = {}
    for row in await database.node(work):
        if row["state"] is not None and zlib.crc32(row["state"]) == row["crc"]:
            states[row["series"] % 2**64] = row["state"]
        else:
            log.error("the state of series %d of stream %s is damaged: it learns anew", row["series"], stream_id)
    return states


def _signed(series: int) -> int:
    return series - 2**64 if series >= 2**63 else series
