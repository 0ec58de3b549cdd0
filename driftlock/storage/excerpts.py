"""What the journal still holds of one stream, read back for people: through the API's role, in pages, within bounds.

Nothing here is needed for detection, and nothing here waits for it. A page is read in a transaction of its own, so that none is
open for long; it is decoded and looked at in a thread.
"""

import asyncio
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields
from typing import NamedTuple
from uuid import UUID

import asyncpg

from driftlock.engine import records
from driftlock.engine.event import TRACES_SERVICE, RecordBatch
from driftlock.errors import Internal
from driftlock.storage.faults import is_damage
from driftlock.storage.pool import Connection, Database

SEQ_MAX = 2**63 - 1
# The row that is due first is always read. Sizes are summed before bodies are fetched, as the applier's reader does.
OLDEST = """
select b.seq, b.received_ns, b.crc, b.records, case when $6 then b.body end as body from (
  select p.*, sum(octet_length(p.body)) over (order by p.seq asc) - octet_length(p.body) as before from (
    select j.seq, j.received_ns, j.crc, j.records, j.body from driftlock.journal j
     where j.shard = $1 and j.stream_id = $2 and j.kind = 0 and j.seq >= $3 and j.seq < $4
     order by j.seq asc limit $5) p) b
 where b.before < $7 order by b.seq asc
"""
NEWEST = OLDEST.replace(" asc", " desc")
SHARD = "select shard from driftlock.streams where id = $1"
BODY = "select body from driftlock.journal where shard = $1 and stream_id = $2 and seq = $3"
NEXT = """
select seq, received_ns from driftlock.journal
 where shard = $1 and stream_id = $2 and kind = 0 and seq >= $3 order by seq limit 1
"""
LAST = "select max(seq) from driftlock.journal where shard = $1 and stream_id = $2 and kind = 0"
OF_TRACES = """
select id, environment from driftlock.streams where signal = 'traces' and service = $1 and namespace = ''
 order by created_at desc, id limit $2
"""
STATES = "select seq, crc from driftlock.stream_checkpoints where stream_id = $1 order by seq desc limit 2"
STATE = "select state from driftlock.stream_checkpoints where stream_id = $1 and seq = $2"


@dataclass(frozen=True, slots=True)
class ExcerptLimits:
    """How much one reading may look at.

    `excerpt_bytes_max` counts bodies as they are when decoded, `page_bytes_max` as they are stored; a page has at most
    `page_rows_max` rows, and one more row than fits if that is its first. `trace_streams_max` streams of traces are looked at.
    """

    excerpt_bytes_max: int = 64 * 1024 * 1024
    excerpt_records_max: int = 500_000
    page_bytes_max: int = 2 * 1024 * 1024
    page_rows_max: int = 500
    trace_streams_max: int = 8

    def __post_init__(self) -> None:
        """Refuse limits that let nothing be read."""
        for limit in fields(self):
            if getattr(self, limit.name) < 1:
                raise ValueError(f"{limit.name} must be at least 1")


class ExcerptRow(NamedTuple):
    """Records as they were journaled together; `received_ns` is when."""

    seq: int
    received_ns: int
    batch: RecordBatch


@dataclass(frozen=True, slots=True)
class Reach:
    """Where to read: rows received at `since_ns` or later, before `before_ns` (receive times; None = as far as there are any).

    With `newest_first` from the newest back, else from the oldest on: that is the end at which limits cut.
    """

    since_ns: int | None = None
    before_ns: int | None = None
    newest_first: bool = True


@dataclass(frozen=True, slots=True)
class Scan:
    """What was read. Times are receive times in ns, None where there is no row.

    `held_since_ns`: that of the oldest row which the journal still holds of the stream. `first_ns` and `last_ns`: those of the
    oldest and the newest row read. `cut`: limits ended the reading, there were more rows; `enough`: who looked had seen enough.
    `damaged_rows` could not be read.
    """

    held_since_ns: int | None = None
    first_ns: int | None = None
    last_ns: int | None = None
    rows: int = 0
    records: int = 0
    cut: bool = False
    enough: bool = False
    damaged_rows: int = 0


class Visit(NamedTuple):
    """What became of a page: whether to go on, what was in it, rows that could not be read, and whether limits cut it."""

    more: bool
    size_bytes: int
    records: int
    rows: int
    damaged: int
    cut: bool
    times_ns: tuple[int, ...]


Look = Callable[[Sequence[ExcerptRow]], bool]
"""Called in a thread with the rows of a page, in the order of the reading; False ends it."""


Place = tuple[int | None, UUID]
"""Where the rows of a stream are: its shard of the journal (None: there is no such stream), and its id."""


class Excerpts:
    """Reads journals of one tenant at a time. Raises `Unavailable` when the database is away or slower than its timeout."""

    def __init__(self, database: Database, executor: Executor, limits: ExcerptLimits | None = None) -> None:
        """`database` must be entered before use. Bodies are decoded in `executor`."""
        self._database, self._executor = database, executor
        self._limits = limits or ExcerptLimits()

    async def scan(self, tenant_id: UUID, stream_id: UUID, reach: Reach, look: Look, *, bytes_max: int | None = None) -> Scan:
        """Show the rows of a stream to `look`, page by page; rows that can not be read are left out and counted.

        A stream without rows, and one of another tenant, have nothing to show. `bytes_max` lowers `excerpt_bytes_max`.
        """
        room = min(bytes_max or SEQ_MAX, self._limits.excerpt_bytes_max)
        async with self._database.tenant(tenant_id) as connection:
            of = await connection.fetchval(SHARD, stream_id), stream_id
            held = await _after(connection, of, 0)
            first = 0 if reach.since_ns is None else await _position(connection, of, reach.since_ns)
            stop = SEQ_MAX if reach.before_ns is None else await _position(connection, of, reach.before_ns)
        if held is None:
            return Scan()
        times: list[int] = []
        rows = records_read = damaged = 0
        cut = enough = False
        while not (cut or enough):
            page = await self._page(tenant_id, of, first, stop, newest_first=reach.newest_first)
            if not page:
                break
            first, stop = (first, page[-1][0]) if reach.newest_first else (page[-1][0] + 1, stop)
            left = self._limits.excerpt_records_max - records_read
            seen = await asyncio.get_running_loop().run_in_executor(self._executor, _visit, page, room, left, look)
            cut, enough = seen.cut, not seen.more
            room -= seen.size_bytes
            records_read, rows, damaged = records_read + seen.records, rows + seen.rows, damaged + seen.damaged
            times += [min(seen.times_ns), max(seen.times_ns)] if seen.times_ns else []
        return Scan(
            held_since_ns=held[1],
            first_ns=min(times, default=None),
            last_ns=max(times, default=None),
            rows=rows,
            records=records_read,
            cut=cut,
            enough=enough,
            damaged_rows=damaged,
        )

    async def trace_streams(self, tenant_id: UUID) -> Sequence[tuple[UUID, str]]:
        """The streams in which the spans of a tenant's environments meet, with their environments; the newest first."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(OF_TRACES, TRACES_SERVICE, self._limits.trace_streams_max)
        return [(row["id"], row["environment"]) for row in rows]

    async def state(self, tenant_id: UUID, stream_id: UUID) -> bytes | None:
        """The newest stored state of a stream's fold that can be read; None where there is none."""
        async with self._database.tenant(tenant_id) as connection:
            for row in await connection.fetch(STATES, stream_id):
                state = await _readable(connection, STATE, stream_id, row["seq"])
                if state is not None and zlib.crc32(state) == row["crc"]:
                    return state
        return None

    async def _page(
        self, tenant_id: UUID, of: Place, first: int, stop: int, *, newest_first: bool
    ) -> list[tuple[int, int, int, bytes | None]]:
        """Sequence number, receive time, checksum and body (None: damaged) of some rows from `first` to before `stop`."""
        sql = NEWEST if newest_first else OLDEST
        where = (*of, first, stop, self._limits.page_rows_max)
        async with self._database.tenant(tenant_id) as connection:
            try:
                async with connection.transaction():  # a savepoint
                    rows = await connection.fetch(sql, *where, True, self._limits.page_bytes_max)
                return [(row["seq"], row["received_ns"], row["crc"], row["body"]) for row in rows]
            except asyncpg.PostgresError as error:
                if not is_damage(error):
                    raise
            rows = await connection.fetch(sql, *where, False, self._limits.page_bytes_max)
            bodies = [await _readable(connection, BODY, *of, row["seq"]) for row in rows]
            return [(row["seq"], row["received_ns"], row["crc"], body) for row, body in zip(rows, bodies, strict=True)]


async def _after(connection: Connection, of: Place, seq: int) -> tuple[int, int] | None:
    """Sequence number and receive time of the stream's first row from `seq` on."""
    row = await connection.fetchrow(NEXT, *of, seq)
    return None if row is None else (row["seq"], row["received_ns"])


async def _position(connection: Connection, of: Place, received_ns: int) -> int:
    """From where on the stream's rows were received at `received_ns` or later.

    Rows stand in the order in which they were journaled, which is that of their receive times but for the requests of one
    group; so it is found by halving.
    """
    low, high = 0, 1 + (await connection.fetchval(LAST, *of) or 0)
    while low < high:
        found = await _after(connection, of, (low + high) // 2)
        if found is None or found[1] >= received_ns:
            high = (low + high) // 2
        else:
            low = found[0] + 1
    return low


async def _readable(connection: Connection, sql: str, *arguments: object) -> bytes | None:
    """One long value; None where it lies in a damaged page."""
    try:
        async with connection.transaction():  # a savepoint
            value: bytes | None = await connection.fetchval(sql, *arguments)
    except asyncpg.PostgresError as error:
        if not is_damage(error):
            raise
        return None
    return value


def _visit(page: Sequence[tuple[int, int, int, bytes | None]], room: int, records_left: int, look: Look) -> Visit:
    """Decode what of a page the limits leave, and show it."""
    rows: list[ExcerptRow] = []
    size = count = damaged = 0
    cut = False
    for seq, received_ns, crc, body in page:
        if body is None or zlib.crc32(body) != crc:
            damaged += 1
            continue
        needed = records.raw_bytes(body)
        if size + needed > room or count >= records_left:
            cut = True
            break
        try:
            batch = records.decode(body)
        except Internal:  # damaged, or of a newer version that is being rolled out: what can be read is shown
            damaged += 1
            continue
        size += needed
        count += len(batch)
        rows.append(ExcerptRow(seq, received_ns, batch))
    more = look(rows) if rows else True
    return Visit(more, size, count, len(rows), damaged, cut, tuple(row.received_ns for row in rows))
