"""Anchors of streams: changed through the journal, shown as the applier has told them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from driftlock.accounts.actor import Actor
from driftlock.engine.anchor import (
    AnchorCause,
    AnchorChange,
    AnchorEnd,
    AnchorNote,
    AnchorSettings,
    AnchorSource,
    AnchorStanding,
)
from driftlock.engine.anchoring import REASONS
from driftlock.engine.drift import DriftHour
from driftlock.engine.ports import AnchorLoss, AnchorRow, RowKind
from driftlock.engine.records import encode_anchor
from driftlock.errors import PreconditionFailed
from driftlock.storage.audit import note
from driftlock.storage.columns import columns, ns, text
from driftlock.storage.controls import Controls
from driftlock.storage.drift import SELECT_HOURS, DueReset, due_resets, hour_of
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Connection, Database
from driftlock.storage.shard import ONLY_SHARD

ANCHORS_MAX = 100
"""Anchors kept of one stream, besides the one in force; older ones go when a newer one is stored, with their hours."""

SAVE = """
insert into driftlock.anchors as known
  (id, tenant_id, stream_id, seq, standing, source, cause, frozen_ns, event_no, codec, codec_level, codec_version, window_lines,
   lines, size_bytes, ratio_normal, ended_seq, ended_ns, ended_because, reason)
select a.* from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[],
                       $9::bigint[], $10::text[], $11::integer[], $12::text[], $13::integer[], $14::integer[], $15::integer[],
                       $16::float8[], $17::bigint[], $18::bigint[], $19::text[], $20::text[])
    as a (id, tenant_id, stream_id, seq, standing, source, cause, frozen_ns, event_no, codec, codec_level, codec_version,
          window_lines, lines, size_bytes, ratio_normal, ended_seq, ended_ns, ended_because, reason)
  join driftlock.streams s on s.id = a.stream_id and s.tenant_id = a.tenant_id
on conflict (id) do update set
  standing = excluded.standing, codec_version = excluded.codec_version, ratio_normal = excluded.ratio_normal,
  ended_seq = excluded.ended_seq, ended_ns = excluded.ended_ns, ended_because = excluded.ended_because, reason = excluded.reason
"""
KEEP = """
delete from driftlock.anchors a using unnest($1::uuid[]) as touched (id)
 where a.stream_id = touched.id and a.standing <> 'in_force' and a.seq < (
   select k.seq from driftlock.anchors k where k.stream_id = touched.id order by k.seq desc offset $2 limit 1)
"""
LOST = """
update driftlock.anchors a
   set standing = 'ended', ended_seq = l.seq, ended_ns = a.frozen_ns, ended_because = 'lost', reason = $4
  from unnest($1::uuid[], $2::bigint[], $3::uuid[]) as l (stream_id, seq, kept)
 where a.stream_id = l.stream_id and a.standing = 'in_force' and a.seq <= l.seq and a.id is distinct from l.kept
"""
LOST_SETTINGS = """
update driftlock.anchor_settings a set drift_ncd_threshold = l.threshold, reset_on_drift = l.reset
  from unnest($1::uuid[], $2::bigint[], $3::float8[], $4::boolean[]) as l (stream_id, seq, threshold, reset)
 where a.stream_id = l.stream_id and a.seq <= l.seq
"""
SET = """
insert into driftlock.anchor_settings as known (stream_id, tenant_id, seq, drift_ncd_threshold, reset_on_drift)
values ($1, $2, $3, coalesce($4::float8, $6::float8), coalesce($5::boolean, $7::boolean))
on conflict (stream_id) do update set
  seq = excluded.seq, drift_ncd_threshold = coalesce($4::float8, known.drift_ncd_threshold),
  reset_on_drift = coalesce($5::boolean, known.reset_on_drift), changed_at = now()
"""
NEWEST = "select c.seq from driftlock.anchor_settings c where c.stream_id = $1"
SETTINGS = """
select c.seq, c.drift_ncd_threshold, c.reset_on_drift, c.seq <= p.applied_seq as applied
  from driftlock.anchor_settings c
  join driftlock.streams s on s.id = c.stream_id
  join driftlock.journal_position p on p.shard = s.shard
 where c.stream_id = $1
"""
SELECT = """
select a.id, a.seq, a.standing, a.source, a.cause, a.frozen_ns, a.event_no, a.codec, a.codec_level, a.codec_version,
       a.window_lines, a.lines, a.size_bytes, a.ratio_normal, a.ended_seq, a.ended_ns, a.ended_because, a.reason, a.recorded_at
  from driftlock.anchors a
"""
IN_FORCE = f"{SELECT} where a.stream_id = $1 and a.standing = 'in_force' order by a.seq desc limit 1"
OF_ROW = f"{SELECT} where a.stream_id = $1 and a.seq = $2"
LIST = f"{SELECT} where a.stream_id = $1 and ($3::bigint is null or a.seq < $3) order by a.seq desc limit $2"
NEWEST_HOUR = f"{SELECT_HOURS} where d.anchor_id = $1 order by d.hour_ns desc limit 1"


@dataclass(frozen=True, slots=True)
class StoredAnchor:
    """An anchor as it is stored; `recorded_at` is the database's time."""

    note: AnchorNote
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class AnchorView:
    """What is known of the anchor of a stream.

    `settings` are those that were set last. `seq` is the position of the newest change (0 = there was none), `applied` whether
    it has taken hold: until then `anchor` and `hour` are what was before it. `hour` is the newest closed hour of the anchor.
    """

    settings: AnchorSettings
    seq: int
    applied: bool
    anchor: StoredAnchor | None
    hour: DriftHour | None


class Anchors:
    """Anchors of one tenant at a time. Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database, controls: Controls, shard: int = ONLY_SHARD) -> None:
        """`shard` is the one in which `due` looks."""
        self._database = database
        self._controls = controls
        self._shard = shard

    async def get(self, tenant_id: UUID, stream_id: UUID) -> AnchorView:
        """The settings, the anchor and the newest hour of a stream."""
        async with self._database.tenant(tenant_id) as connection:
            said = await connection.fetchrow(SETTINGS, stream_id)
            anchor = await connection.fetchrow(IN_FORCE, stream_id)
            hour = None if anchor is None else await connection.fetchrow(NEWEST_HOUR, anchor["id"])
        settings = AnchorSettings() if said is None else AnchorSettings(said["drift_ncd_threshold"], said["reset_on_drift"])
        return AnchorView(
            settings,
            0 if said is None else said["seq"],
            said is None or said["applied"],
            None if anchor is None else _stored(anchor),
            None if hour is None else hour_of(hour),
        )

    async def due(self) -> list[DueReset]:
        """The streams of all tenants of the shard that are to get another anchor by themselves."""
        return await due_resets(self._database, self._shard)

    async def of_row(self, tenant_id: UUID, stream_id: UUID, seq: int) -> StoredAnchor | None:
        """The anchor that a row froze, or could not freeze; None before it is applied."""
        async with self._database.tenant(tenant_id) as connection:
            row = await connection.fetchrow(OF_ROW, stream_id, seq)
        return None if row is None else _stored(row)

    async def list(self, tenant_id: UUID, stream_id: UUID, *, limit: int, after: int | None = None) -> list[StoredAnchor]:
        """One page of the history, the newest first; `after` is the position (`seq`) of the last one of the page before."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(LIST, stream_id, check_limit(limit), after)
        return [_stored(row) for row in rows]

    async def change(
        self,
        tenant_id: UUID,
        stream_id: UUID,
        change: AnchorChange,
        *,
        actor: Actor,
        action: str,
        detail: Mapping[str, object],
        expected_seq: int | None = None,
    ) -> int:
        """Journal a change and what `actor` did, in one transaction; its position, at which it takes hold.

        Raises `NotFound` for a stream that the tenant does not have, `PreconditionFailed` when the newest change is not the one
        at `expected_seq` (0 = there was none; None: whatever it is), `Unavailable` when nothing can be journaled now.
        """

        async def beside(connection: Connection, seq: int) -> None:
            if expected_seq is not None and (await connection.fetchval(NEWEST, stream_id) or 0) != expected_seq:
                raise PreconditionFailed("the anchor was changed since you read it: get it again and repeat your change")
            given, default = change.settings, AnchorSettings()
            values = (None, None) if given is None else (given.drift_ncd_threshold, given.reset_on_drift)
            await connection.execute(
                SET, stream_id, tenant_id, seq, *values, default.drift_ncd_threshold, default.reset_on_drift
            )
            await note(connection, tenant_id, actor, action, str(stream_id), detail)

        return await self._controls.append(tenant_id, stream_id, RowKind.ANCHOR, encode_anchor(change), beside)


async def save_anchors(connection: Connection, lost: Sequence[AnchorLoss], rows: Sequence[AnchorRow]) -> None:
    """Write what became of anchors, in the transaction of the step that says it; the last row of an anchor holds."""
    if lost:
        told = [(it.stream_id, it.seq, it.kept) for it in lost]
        await connection.execute(LOST, *columns(told), REASONS[AnchorEnd.LOST])
        settings = [(it.stream_id, it.seq, it.settings.drift_ncd_threshold, it.settings.reset_on_drift) for it in lost]
        await connection.execute(LOST_SETTINGS, *columns(settings))
    if rows:
        newest = {row.note.anchor_id: row for row in rows}
        await connection.execute(SAVE, *columns([_columns_of(row) for row in newest.values()]))
        await connection.execute(KEEP, sorted({row.stream_id for row in rows}), ANCHORS_MAX)


def _columns_of(row: AnchorRow) -> tuple[object, ...]:
    it = row.note
    ended = it.standing is AnchorStanding.ENDED
    return (
        it.anchor_id,
        row.tenant_id,
        row.stream_id,
        it.seq,
        it.standing.value,
        it.source.value,
        it.cause.value,
        ns(it.frozen_ns),
        it.event,
        it.codec,
        it.codec_level,
        text(it.codec_version),
        it.window,
        it.lines,
        it.size_bytes,
        it.ratio_normal,
        it.ended_seq if ended else None,
        ns(it.ended_ns) if ended else None,
        it.ended_because.value if it.ended_because is not None else None,
        text(it.reason),
    )


def _stored(row: asyncpg.Record) -> StoredAnchor:
    shown = AnchorNote(
        anchor_id=row["id"],
        seq=row["seq"],
        standing=AnchorStanding(row["standing"]),
        source=AnchorSource(row["source"]),
        cause=AnchorCause(row["cause"]),
        frozen_ns=row["frozen_ns"],
        event=row["event_no"],
        codec=row["codec"],
        codec_level=row["codec_level"],
        codec_version=row["codec_version"],
        window=row["window_lines"],
        lines=row["lines"],
        size_bytes=row["size_bytes"],
        ratio_normal=row["ratio_normal"],
        ended_seq=row["ended_seq"] or 0,
        ended_ns=row["ended_ns"] or 0,
        ended_because=None if row["ended_because"] is None else AnchorEnd(row["ended_because"]),
        reason=row["reason"],
    )
    return StoredAnchor(shown, row["recorded_at"])
