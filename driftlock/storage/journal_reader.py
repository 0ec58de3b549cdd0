"""The journal's exit: committed rows in their order, checked before they are believed."""

import zlib
from collections.abc import Sequence

from driftlock.engine import records
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.losses import ends_before
from driftlock.engine.ports import JournalRow, RowKind
from driftlock.errors import Conflict, Internal, Unavailable
from driftlock.storage.page_damage import DamageReport, Query, Row, fetch_readable
from driftlock.storage.pool import Connection, Database
from driftlock.storage.recent import RecentBatches
from driftlock.storage.shard import ONLY_SHARD, Shard
from driftlock.storage.streams import stored_profile

ROWS_MAX = 2000
# Sizes are summed before bodies are fetched: octet_length does not fetch a body that is stored out of line, and a window keeps
# what points to it. Bodies at hand ($5) are never fetched. Positions have no gaps, so a range of them bounds the work whatever
# the planner believes; with a limit it may sort all that is not applied yet.
READ = """
select j.seq, j.kind, j.received_ns, j.crc, case when known.seq is null then j.body end as body, j.body_bytes, j.tenant_id,
       j.stream_id, j.records, s.signal, s.service, s.namespace, s.environment, s.profile, t.id as known_tenant,
       t.alerts_per_day_max
  from (
    select p.seq, p.kind, p.received_ns, p.crc, p.body, p.tenant_id, p.stream_id, p.records, octet_length(p.body) as body_bytes,
           sum(octet_length(p.body)) over (order by p.seq) - octet_length(p.body) as before
      from driftlock.journal p where p.shard = $1 and p.seq > $2 and p.seq <= $2 + $4
  ) j
  left join unnest($5::bigint[]) as known (seq) on known.seq = j.seq
  left join driftlock.streams s on s.id = j.stream_id
  left join driftlock.tenants t on t.id = j.tenant_id
 where j.before < $3
 order by j.seq
"""
BODY = "select body from driftlock.journal where shard = $1 and seq = $2"
LAST = "select next_seq - 1 from driftlock.journal_shard where shard = $1"
# Where rows of other shards have come, or have gone there, positions between them were never theirs.
NEXT = "select min(seq) from driftlock.journal where shard = $1 and seq > $2"
MOVED = "select first_seq, last_seq from driftlock.journal_moved where shard = $1 and last_seq >= $2 and first_seq <= $3"


class JournalRows:
    """Implements `driftlock.engine.ports.JournalReader`, and knows the journal's positions."""

    def __init__(
        self,
        database: Database,
        shard: int = ONLY_SHARD,
        recent: RecentBatches | None = None,
        owner: Shard | None = None,
    ) -> None:
        """Reading needs no ownership. `recent` are batches whose bodies need not be read, of the shard's owner.

        `owner` is the shard as its owner holds it, who is told of a take-over instead of rows that are gone.
        """
        self._owner = owner
        self._database = database
        self._shard = shard
        self._recent = recent or RecentBatches(0)
        self._damage = DamageReport("scoring")

    async def read(self, after_seq: int, bytes_max: int) -> Sequence[JournalRow]:
        """Rows after `after_seq`, gapless but where tenants have moved, at most `ROWS_MAX`, empty at the end; see the protocol.

        A row that does not match its checksum, or whose body lies in a damaged page, comes with an empty body: its fold gives
        it up, it goes into quarantine, and the rows after it go on. Raises `Internal` when rows after `after_seq` are gone,
        `Conflict` when the journal ends before `after_seq` or another process owns it by now, `Unavailable`, also where damage
        hides which rows there are.
        """
        try:
            rows = await self._read(after_seq, bytes_max)
        except Unavailable as error:
            self._damage.failed(error)
            raise
        self._damage.succeeded()
        return rows

    async def _read(self, after_seq: int, bytes_max: int) -> Sequence[JournalRow]:
        recent = self._recent.after(after_seq, ROWS_MAX)

        def body(row: Row) -> Query | None:
            return None if row["seq"] in recent else (BODY, self._shard, row["seq"])

        async def page_of(connection: Connection, after: int) -> Sequence[Row]:
            query = (READ, self._shard, after, max(1, bytes_max), ROWS_MAX)
            without_bodies = list(range(after + 1, after + ROWS_MAX + 1))
            return await fetch_readable(connection, (*query, list(recent)), (*query, without_bodies), "body", body)

        async def work(connection: Connection) -> Sequence[Row]:
            page = await page_of(connection, after_seq)
            if page:
                return page
            last_seq: int = await connection.fetchval(LAST, self._shard)
            if last_seq < after_seq:
                raise Conflict(ends_before(last_seq, after_seq))
            if last_seq == after_seq:
                return page
            page = await page_of(connection, after_seq)  # what has just been committed, or else there is a gap
            if not page and (following := await connection.fetchval(NEXT, self._shard, after_seq)) is not None:
                page = await page_of(connection, following - 1)
            if not page:
                raise await self._missing(after_seq + 1)
            return page

        found = await self._database.node(work)
        rows: list[JournalRow] = []
        expected = after_seq + 1
        for record in found:
            if record["seq"] != expected and not await self._never_was(expected, record["seq"] - 1):
                raise await self._missing(expected)
            rows.append(_row(record, recent.get(record["seq"])))
            expected = record["seq"] + 1
        if any(row.kind is RowKind.ERA for row in rows):
            await self._check_owned()
        return rows

    async def _check_owned(self) -> None:
        """An era that begins after we have come is the next owner's: we must stop, and can not know of it."""
        if self._owner is not None:
            await self._owner.verify()
            if self._owner.fenced.is_set():
                raise self._owner.lost()

    async def _never_was(self, first_seq: int, last_seq: int) -> bool:
        """Whether no row was ever lost between two positions: holes are left where tenants have moved."""

        async def work(connection: Connection) -> Sequence[Row]:
            return await connection.fetch(MOVED, self._shard, first_seq, last_seq)

        ranges = await self._database.node(work)
        return any(it["first_seq"] <= first_seq and last_seq <= it["last_seq"] for it in ranges)

    async def _missing(self, seq: int) -> Internal:
        """Why a row is not there: the next owner lets go of rows that one who was frozen meanwhile still looks for."""
        await self._check_owned()
        return Internal(_gone(seq))

    async def applied_seq(self) -> int:
        """Position up to which the journal is applied."""
        return await self._position("select applied_seq from driftlock.journal_position where shard = $1")

    async def last_seq(self) -> int:
        """Position of the last committed row; 0 when there never was one."""
        return await self._position(LAST)

    async def size_bytes(self) -> int:
        """What the journal counts against `journal_bytes_max`."""
        return await self._position("select bytes from driftlock.journal_shard where shard = $1")

    async def _position(self, sql: str) -> int:
        async def work(connection: Connection) -> int:
            value: int = await connection.fetchval(sql, self._shard)
            return value

        return await self._database.node(work)


def _gone(seq: int) -> str:
    return (
        f"journal row {seq} is gone, yet it is still needed: rows were deleted by hand, or the database lost what it had "
        "committed. Stop every driftlock, restore the whole database from one backup (docs/operations.md, Backup), and start "
        "again"
    )


def _row(record: Row, batch: RecordBatch | None) -> JournalRow:
    body = record["body"] or b""
    if zlib.crc32(body) != record["crc"]:
        body = b""
    if record["kind"] == RowKind.BUDGET and record["known_tenant"] is not None:
        return JournalRow(
            record["seq"],
            RowKind.BUDGET,
            record["received_ns"],
            body,
            record["tenant_id"],
            budget=record["alerts_per_day_max"],
        )
    if record["kind"] == RowKind.DERIVED and record["known_tenant"] is not None:
        return JournalRow(
            record["seq"],
            RowKind.DERIVED,
            record["received_ns"],
            body,
            record["tenant_id"],
            budget=record["alerts_per_day_max"],
        )
    if record["kind"] == RowKind.ERA:
        return JournalRow(record["seq"], RowKind.ERA, record["received_ns"], body)
    if record["kind"] == RowKind.REDACTION and record["service"] is None and record["known_tenant"] is not None:
        return JournalRow(record["seq"], RowKind.REDACTION, record["received_ns"], body, record["tenant_id"])
    if record["service"] is None:
        # A clock record, or what a deleted tenant left behind. Of the latter only the time is true any more.
        if record["kind"] != RowKind.CLOCK:
            body = records.encode_clock(max(0, record["received_ns"]))
        return JournalRow(record["seq"], RowKind.CLOCK, record["received_ns"], body)
    return JournalRow(
        record["seq"],
        RowKind(record["kind"]),
        record["received_ns"],
        body,
        record["tenant_id"],
        record["stream_id"],
        StreamKey(Signal(record["signal"]), record["service"], record["namespace"], record["environment"]),
        None if record["profile"] is None else stored_profile(record["profile"]),
        record["alerts_per_day_max"],
        batch,
        record["body_bytes"],
        record["records"],
    )
