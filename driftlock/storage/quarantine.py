"""Journal rows that could not be read, kept for people who want to know what was lost, or can repair it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from driftlock.engine.ports import QuarantinedRow, RowKind
from driftlock.storage.columns import columns, text
from driftlock.storage.faults import is_damage
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Connection, Database
from driftlock.storage.shard import ONLY_SHARD

BODY_BYTES_MAX = 1024 * 1024
"""So much of the body of a row is kept."""
BODIES_BYTES_MAX = 64 * 1024 * 1024
"""So much of all bodies together; rows beyond that are kept without theirs."""
ROWS_MAX = 100_000
"""So many rows are kept, the newest."""

NO_BODIES = -1  # no room for any, so that none is read

ADD = """
select driftlock.journal_quarantine_add(
  $1, $2::bigint[], $3::smallint[], $4::text[], $5::uuid[], $6::uuid[], $7::integer[], $8, $9, $10)
"""
LIST = """
select q.seq, q.kind, q.reason, q.tenant_id, q.stream_id, q.records, q.found_at, q.body_bytes, s.slug
  from driftlock.journal_quarantine q left join driftlock.streams s on s.id = q.stream_id
 where q.shard = $1 and ($3::bigint is null or q.seq < $3) order by q.seq desc limit $2
"""
COUNT = (
    "select count(*) as rows, coalesce(sum(records), 0)::bigint as records from driftlock.journal_quarantine where shard = $1"
)


@dataclass(frozen=True, slots=True)
class StoredQuarantine:
    """A row in quarantine; `stream` is the readable name of its stream ("" = it is of none), `body_bytes` the row's own."""

    row: QuarantinedRow
    stream: str
    body_bytes: int
    found_at: datetime


async def save_quarantine(
    connection: Connection,
    shard: int,
    rows: Sequence[QuarantinedRow],
    *,
    body_bytes_max: int = BODY_BYTES_MAX,
    bodies_bytes_max: int = BODIES_BYTES_MAX,
    rows_max: int = ROWS_MAX,
) -> None:
    """Put rows into quarantine in the transaction of the step that passes them; one that is there already stays as it is."""
    if not rows:
        return
    cells = [(it.seq, int(it.kind), text(it.reason), it.tenant_id, it.stream_id, it.records) for it in rows]
    if await _added(connection, shard, columns(cells), body_bytes_max, bodies_bytes_max, rows_max):
        return
    # The body of one lies in a damaged page: each alone, and what of it can not be read is not kept.
    for cell in cells:
        if not await _added(connection, shard, columns([cell]), body_bytes_max, bodies_bytes_max, rows_max):
            await connection.execute(ADD, shard, *columns([cell]), body_bytes_max, NO_BODIES, rows_max)


async def _added(connection: Connection, shard: int, cells: Sequence[Sequence[object]], *limits: int) -> bool:
    """Add them; False, and nothing has happened, where a body can not be read."""
    try:
        async with connection.transaction():  # a savepoint
            await connection.execute(ADD, shard, *cells, *limits)
    except asyncpg.PostgresError as error:
        if not is_damage(error):
            raise
        return False
    return True


class Quarantine:
    """The rows in quarantine, for the operator: of all tenants. Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database, shard: int = ONLY_SHARD) -> None:
        """`database` must be entered before use."""
        self._database = database
        self._shard = shard

    async def list(self, *, limit: int, before: int | None = None) -> list[StoredQuarantine]:
        """One page, by position, descending; `before` is the position of the last row of the page before."""
        arguments = (self._shard, check_limit(limit), before)
        rows = await self._database.node(lambda connection: connection.fetch(LIST, *arguments))
        return [
            StoredQuarantine(
                QuarantinedRow(
                    row["seq"], RowKind(row["kind"]), row["reason"], row["tenant_id"], row["stream_id"], row["records"]
                ),
                row["slug"] or "",
                row["body_bytes"],
                row["found_at"],
            )
            for row in rows
        ]

    async def count(self) -> tuple[int, int]:
        """Rows in quarantine, and the records that they held."""
        row = await self._database.node(lambda connection: connection.fetchrow(COUNT, self._shard))
        return (0, 0) if row is None else (row["rows"], row["records"])

    async def body(self, seq: int) -> bytes | None:
        """What is kept of the body of a row; None where there is no such row, or there was no room for it."""
        sql = "select body from driftlock.journal_quarantine where shard = $1 and seq = $2"
        kept: bytes | None = await self._database.node(lambda connection: connection.fetchval(sql, self._shard, seq))
        return kept
