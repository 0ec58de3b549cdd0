"""The journal's exit: committed rows in their order, checked before they are believed."""

import zlib
from collections.abc import Sequence

import asyncpg

from driftlock.engine import records
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.ports import JournalRow, RowKind
from driftlock.errors import Internal
from driftlock.storage.pool import Connection, Database
from driftlock.storage.recent import RecentBatches
from driftlock.storage.shard import ONLY_SHARD
from driftlock.storage.streams import stored_profile

ROWS_MAX = 2000
# Sizes are summed before bodies are fetched; octet_length does not fetch a body that is stored out of line. Nor are those
# fetched that are at hand ($5).
READ = """
with page as (
  select p.seq, sum(octet_length(p.body)) over (order by p.seq) - octet_length(p.body) as before
    from (
      select seq, body from driftlock.journal where shard = $1 and seq > $2 order by seq limit $4
    ) p
)
select j.seq, j.kind, j.received_ns, j.crc, case when j.seq = any ($5::bigint[]) then null else j.body end as body,
       octet_length(j.body) as body_bytes, j.tenant_id, j.stream_id, s.signal, s.service, s.namespace,
       s.environment, s.profile, t.id as known_tenant, t.alerts_per_day_max
  from page join driftlock.journal j on j.shard = $1 and j.seq = page.seq
  left join driftlock.streams s on s.id = j.stream_id
  left join driftlock.tenants t on t.id = j.tenant_id
 where page.before < $3
 order by j.seq
"""


class JournalRows:
    """Implements `driftlock.engine.ports.JournalReader`, and knows the journal's positions."""

    def __init__(self, database: Database, shard: int = ONLY_SHARD, recent: RecentBatches | None = None) -> None:
        """Reading needs no ownership. `recent` are batches whose bodies need not be read, of the shard's owner."""
        self._database = database
        self._shard = shard
        self._recent = recent or RecentBatches(0)

    async def read(self, after_seq: int, bytes_max: int) -> Sequence[JournalRow]:
        """Rows after `after_seq`, gapless, at most `ROWS_MAX`, empty at the end; see the protocol.

        A row that does not match its checksum comes with an empty body: its fold gives it up with a line in the log, and
        the rows after it go on. Raises `Internal` when rows after `after_seq` are gone, `Unavailable`.
        """
        recent = self._recent.after(after_seq, ROWS_MAX)

        async def work(connection: Connection) -> list[asyncpg.Record]:
            return await connection.fetch(READ, self._shard, after_seq, max(1, bytes_max), ROWS_MAX, list(recent))

        found = await self._database.node(work)
        rows: list[JournalRow] = []
        for expected, record in enumerate(found, after_seq + 1):
            if record["seq"] != expected:
                raise Internal(f"journal row {expected} is gone, yet it is still needed; restore the database from a backup")
            rows.append(_row(record, recent.get(expected)))
        return rows

    async def applied_seq(self) -> int:
        """Position up to which the journal is applied."""
        return await self._position("select applied_seq from driftlock.journal_position where shard = $1")

    async def last_seq(self) -> int:
        """Position of the last committed row; 0 when there never was one."""
        return await self._position("select next_seq - 1 from driftlock.journal_shard where shard = $1")

    async def size_bytes(self) -> int:
        """What the journal counts against `journal_bytes_max`."""
        return await self._position("select bytes from driftlock.journal_shard where shard = $1")

    async def _position(self, sql: str) -> int:
        async def work(connection: Connection) -> int:
            value: int = await connection.fetchval(sql, self._shard)
            return value

        return await self._database.node(work)


def _row(record: asyncpg.Record, batch: RecordBatch | None) -> JournalRow:
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
    )
