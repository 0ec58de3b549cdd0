"""What evidence is made of: a checkpoint of the finding's stream and the rows since then, as long as they are there."""

import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import asyncpg

from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.evidence_bundle import BUNDLE_BYTES_MAX, ROWS_MAX, Material
from driftlock.engine.limits import Limits
from driftlock.engine.ports import Checkpoint, JournalRow, RowKind
from driftlock.errors import NotFound
from driftlock.storage.eras import eras_of
from driftlock.storage.pool import Connection, Database
from driftlock.storage.series_states import load_series

# The first one of each tenant, then the second ones: none waits behind all of another's.
WAITING = """
select w.anomaly_id, w.tenant_id from (
  select e.anomaly_id, e.tenant_id, e.seq, row_number() over (partition by e.tenant_id order by e.seq, e.anomaly_id) as place
    from driftlock.evidence e join driftlock.tenants t on t.id = e.tenant_id join driftlock.streams s on s.id = e.stream_id
   where e.state = 'waiting' and t.closed_at is null and ($2::integer[] is null or s.shard = any ($2))
) w order by w.place, w.seq, w.anomaly_id limit $1
"""
WANTED = """
select s.shard, e.stream_id, e.seq, e.base_seq, s.signal, s.service, s.namespace, s.environment, a.body, c.crc,
       coalesce(octet_length(c.state), 0) + octet_length(a.body) as bytes
  from driftlock.evidence e
  join driftlock.streams s on s.id = e.stream_id
  join driftlock.anomalies a on a.id = e.anomaly_id
  left join driftlock.stream_checkpoints c on c.stream_id = e.stream_id and c.seq = e.base_seq
 where e.anomaly_id = $1 and e.tenant_id = $2 and e.state in ('waiting', 'skipped')
"""
STATE = "select state from driftlock.stream_checkpoints where stream_id = $1 and seq = $2"
# Sizes before bodies: octet_length does not fetch a body that is stored out of line.
SIZES = """
select count(*) as rows, coalesce(sum(octet_length(body)), 0)::bigint as bytes from driftlock.journal
 where shard = $1 and stream_id = $2 and seq > $3 and seq <= $4
"""
ROWS = """
select seq, kind, received_ns, crc, body from driftlock.journal
 where shard = $1 and stream_id = $2 and seq > $3 and seq <= $4 order by seq
"""
CLOCK = "select seq, kind, received_ns, crc, body from driftlock.journal where shard = $1 and seq = $2 and stream_id is null"
GONE = "what it takes has left the server: evidence has to be made soon after its finding"


class Gone(NotFound):
    """What the evidence would take is not there any more, or is too large; the text is shown to the tenant."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What a process judges with, as bundles say it."""

    seed: int
    limits: Limits
    versions: dict[str, str]
    driftlock_version: str


class EvidenceMaterial:
    """Reads as the node, on its connections, a little at a time. Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database, judging: Versions, shards: Callable[[], Collection[int]] | None = None) -> None:
        """`database` must be entered before use. `shards` are those whose findings wait for this process; None: all do."""
        self._database = database
        self._shards = shards
        self._judging = judging

    async def waiting(self, limit: int) -> Sequence[tuple[UUID, UUID]]:
        """Findings that wait for their evidence, with their tenants: `(tenant_id, anomaly_id)`."""
        shards = None if self._shards is None else sorted(self._shards())
        rows = await self._database.node(lambda connection: connection.fetch(WAITING, limit, shards))
        return [(row["tenant_id"], row["anomaly_id"]) for row in rows]

    async def of(self, tenant_id: UUID, anomaly_id: UUID) -> Material | None:
        """What its verdict is a function of, but for series; None when it does not wait (any more). Raises `Gone`."""
        return await self._database.node(lambda connection: self._read(connection, tenant_id, anomaly_id))

    async def with_series(self, material: Material, absent: Sequence[int]) -> Material:
        """The same with the states of these series, as far as they are there. Raises `Gone` where they are too large."""
        if material.base is None or not absent:
            return material
        found = await load_series(self._database, material.stream_id, material.base.seq, absent)
        if _size(material) + sum(map(len, found.values())) > BUNDLE_BYTES_MAX:
            raise Gone(_too_large())
        return replace(material, series=found)

    async def _read(self, connection: Connection, tenant_id: UUID, anomaly_id: UUID) -> Material | None:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            wanted = await connection.fetchrow(WANTED, anomaly_id, tenant_id)
            if wanted is None:
                return None
            if wanted["base_seq"] and wanted["crc"] is None:
                raise Gone(GONE)
            eras = await eras_of(connection, wanted["shard"])
            between = (wanted["shard"], wanted["stream_id"], wanted["base_seq"], wanted["seq"])
            sizes = await connection.fetchrow(SIZES, *between)
            assert sizes is not None  # noqa: S101  # an aggregate has a row
            if sizes["rows"] > ROWS_MAX or sizes["bytes"] + wanted["bytes"] > BUNDLE_BYTES_MAX:
                raise Gone(_too_large())
            rows = list(await connection.fetch(ROWS, *between))
            if not rows or rows[-1]["seq"] < wanted["seq"]:
                rows += await connection.fetch(CLOCK, wanted["shard"], wanted["seq"])
            base = None
            if wanted["base_seq"]:
                state = await connection.fetchval(STATE, wanted["stream_id"], wanted["base_seq"])
                if zlib.crc32(state) != wanted["crc"]:
                    raise Gone("the state that it begins with can not be read")
                base = Checkpoint(wanted["base_seq"], state)
        if not rows or rows[-1]["seq"] < wanted["seq"]:
            raise Gone(GONE)
        key = StreamKey(Signal(wanted["signal"]), wanted["service"], wanted["namespace"], wanted["environment"])
        since = wanted["base_seq"]
        judging = self._judging
        return Material(
            tenant_id=tenant_id,
            stream_id=wanted["stream_id"],
            finding_id=anomaly_id,
            key=key,
            seed=judging.seed,
            limits=judging.limits,
            versions=judging.versions,
            driftlock_version=judging.driftlock_version,
            eras=tuple(era for era in eras if era.changes and since <= era.since_seq < wanted["seq"]),
            base=base,
            series={},
            rows=tuple(_row(row, tenant_id, wanted["stream_id"], key) for row in rows),
            finding=wanted["body"],
        )


def _size(material: Material) -> int:
    base = 0 if material.base is None else len(material.base.state)
    return base + len(material.finding) + sum(len(row.body) for row in material.rows)


def _too_large() -> str:
    return f"its state and rows are more than {BUNDLE_BYTES_MAX} bytes (BUNDLE_BYTES_MAX), or {ROWS_MAX} rows (ROWS_MAX)"


def _row(record: asyncpg.Record, tenant_id: UUID, stream_id: UUID, key: StreamKey) -> JournalRow:
    kind, body = RowKind(record["kind"]), record["body"]
    if zlib.crc32(body) != record["crc"]:
        body = b""  # as the fold has met it
    if kind is RowKind.CLOCK:
        return JournalRow(record["seq"], kind, record["received_ns"], body)
    return JournalRow(record["seq"], kind, record["received_ns"], body, tenant_id, stream_id, key, body_bytes=len(body))
