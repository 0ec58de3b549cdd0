"""What the applier did, committed whole: findings, incidents, states and the position, in one transaction a step."""

import logging
import zlib
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import Checkpoint, FindingRow, Step, StreamEventRow, StreamStatus
from driftlock.errors import Conflict, Unavailable
from driftlock.storage.anchors import save_anchors
from driftlock.storage.anomalies import save_traces
from driftlock.storage.columns import columns, ns, text
from driftlock.storage.derived import save_derived
from driftlock.storage.drift import save_drift
from driftlock.storage.evidence_wanted import want_evidence
from driftlock.storage.identity import REPLACED
from driftlock.storage.incidents import save_incidents
from driftlock.storage.live import save_live
from driftlock.storage.page_damage import DamageReport, Row, fetch_readable
from driftlock.storage.pool import Connection, Database
from driftlock.storage.quarantine import save_quarantine
from driftlock.storage.scores import save_scores
from driftlock.storage.series_states import load_series, save_series
from driftlock.storage.service_graphs import save_graphs
from driftlock.storage.shard import Shard

log = logging.getLogger(__name__)

STREAM_EVENTS_MAX = 1000
"""Events kept of one stream; older ones go when a newer one is stored."""

ADVANCE = """
update driftlock.journal_position set applied_seq = $4 where shard = $1 and epoch = $2 and applied_seq = $3 returning 1
"""
# Rows of a tenant that was deleted while they were computed fall away in the join.
ANOMALIES = """
insert into driftlock.anomalies
  (stream_id, window_no, id, tenant_id, start_ns, end_ns, first_event, last_event, ncd, p_value, confidence, explanation,
   question, body, journal_seq, silenced_by)
select f.* from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
                       $9::float8[], $10::float8[], $11::float8[], $12::text[], $13::text[], $14::bytea[], $15::bigint[],
                       $16::uuid[])
    as f (stream_id, window_no, id, tenant_id, start_ns, end_ns, first_event, last_event, ncd, p_value, confidence,
          explanation, question, body, journal_seq, silenced_by)
  join driftlock.streams s on s.id = f.stream_id and s.tenant_id = f.tenant_id
on conflict do nothing
"""
JOINED = """
update driftlock.anomalies a set incident_id = j.incident_id
  from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as j (tenant_id, incident_id, anomaly_id)
  join driftlock.incidents i on i.id = j.incident_id and i.tenant_id = j.tenant_id
 where a.id = j.anomaly_id and a.tenant_id = j.tenant_id
"""
STATUS = """
insert into driftlock.stream_status
  (tenant_id, stream_id, events, windows, first_event_ns, last_event_ns, calibration, events_until_ready, calibration_reason)
select n.* from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[],
                       $9::text[])
    as n (tenant_id, stream_id, events, windows, first_event_ns, last_event_ns, calibration, events_until_ready,
          calibration_reason)
  join driftlock.streams s on s.id = n.stream_id and s.tenant_id = n.tenant_id
on conflict (stream_id) do update set
  events = excluded.events, windows = excluded.windows, first_event_ns = excluded.first_event_ns,
  last_event_ns = excluded.last_event_ns, calibration = excluded.calibration,
  events_until_ready = excluded.events_until_ready, calibration_reason = excluded.calibration_reason, updated_at = now()
"""
EVENTS = """
insert into driftlock.stream_events (id, tenant_id, stream_id, kind, event_no, window_no, time_ns, reason)
select e.* from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[])
    as e (id, tenant_id, stream_id, kind, event_no, window_no, time_ns, reason)
  join driftlock.streams s on s.id = e.stream_id and s.tenant_id = e.tenant_id
on conflict do nothing
"""
KEEP_EVENTS = """
delete from driftlock.stream_events e using unnest($1::uuid[]) as touched (id)
 where e.stream_id = touched.id and (e.time_ns, e.event_no, e.id) < (
   select k.time_ns, k.event_no, k.id from driftlock.stream_events k where k.stream_id = touched.id
    order by k.time_ns desc, k.event_no desc, k.id desc offset $2 limit 1)
"""
SAVE_STREAMS = """
insert into driftlock.stream_checkpoints (tenant_id, stream_id, seq, crc, state)
select c.* from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bytea[])
    as c (tenant_id, stream_id, seq, crc, state)
  join driftlock.streams s on s.id = c.stream_id and s.tenant_id = c.tenant_id
on conflict (stream_id, seq) do update set crc = excluded.crc, state = excluded.state
"""
SAVE_TENANTS = """
insert into driftlock.tenant_checkpoints (tenant_id, seq, crc, state)
select c.* from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bytea[]) as c (tenant_id, seq, crc, state)
  join driftlock.tenants t on t.id = c.tenant_id
on conflict (tenant_id, seq) do update set crc = excluded.crc, state = excluded.state
"""
KEEP_STREAMS = """
delete from driftlock.stream_checkpoints c using unnest($1::uuid[]) as saved (id)
 where c.stream_id = saved.id and c.seq < (
   select k.seq from driftlock.stream_checkpoints k where k.stream_id = saved.id order by k.seq desc offset 1 limit 1)
   and not exists (
     select from driftlock.evidence e where e.stream_id = c.stream_id and e.base_seq = c.seq and e.state = 'waiting')
"""
KEEP_TENANTS = """
delete from driftlock.tenant_checkpoints c using unnest($1::uuid[]) as saved (id)
 where c.tenant_id = saved.id and c.seq < (
   select k.seq from driftlock.tenant_checkpoints k where k.tenant_id = saved.id order by k.seq desc offset 1 limit 1)
"""
LOAD_STREAMS = """
select stream_id as id, seq, crc, state from driftlock.stream_checkpoints where stream_id = any ($1) order by seq desc
"""
LIST_STREAMS = "select stream_id as id, seq, crc from driftlock.stream_checkpoints where stream_id = any ($1) order by seq desc"
STREAM_STATE = "select state from driftlock.stream_checkpoints where stream_id = $1 and seq = $2"
KEYS = "select id, signal, service, namespace, environment from driftlock.streams where id = any ($1)"
LOAD_TENANTS = """
select tenant_id as id, seq, crc, state from driftlock.tenant_checkpoints where tenant_id = any ($1) order by seq desc
"""
SAVE_RELAYS = """
insert into driftlock.relay_checkpoints (tenant_id, shard, seq, crc, state)
select c.tenant_id, $5, c.seq, c.crc, c.state
  from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bytea[]) as c (tenant_id, seq, crc, state)
  join driftlock.tenants t on t.id = c.tenant_id
on conflict (tenant_id, shard, seq) do update set crc = excluded.crc, state = excluded.state
"""
KEEP_RELAYS = """
delete from driftlock.relay_checkpoints c using unnest($1::uuid[]) as saved (id)
 where c.tenant_id = saved.id and c.shard = $2 and c.seq < (
   select k.seq from driftlock.relay_checkpoints k where k.tenant_id = saved.id and k.shard = $2
    order by k.seq desc offset 1 limit 1)
"""
LOAD_RELAYS = """
select tenant_id as id, seq, crc, state from driftlock.relay_checkpoints where tenant_id = any ($1) and shard = $2
 order by seq desc
"""
LIST_RELAYS = """
select tenant_id as id, seq, crc from driftlock.relay_checkpoints where tenant_id = any ($1) and shard = $2 order by seq desc
"""
RELAY_STATE = "select state from driftlock.relay_checkpoints where tenant_id = $1 and seq = $2 and shard = $3"
ELSEWHERE = "select id from driftlock.tenants where id = any ($1) and shard <> $2"
LIST_TENANTS = "select tenant_id as id, seq, crc from driftlock.tenant_checkpoints where tenant_id = any ($1) order by seq desc"
TENANT_STATE = "select state from driftlock.tenant_checkpoints where tenant_id = $1 and seq = $2"


class Checkpoints:
    """Implements `driftlock.engine.ports.StepCommitter` and `StateStore` for the owner of `shard`.

    Only one step at a time may be under way.
    """

    def __init__(self, database: Database, shard: Shard, *, evidence: bool = False) -> None:
        """`shard` has to be acquired before the first commit. `evidence`: somebody makes that of the findings."""
        self._database = database
        self._evidence = evidence
        self._shard = shard
        self._damage = DamageReport("saving what was scored")
        self._in_doubt: tuple[int, int, int] | None = None
        self._elsewhere: dict[UUID, bool] = {}
        """For each tenant that was asked for, whether its fold is another shard's: that never changes."""
        self._committed_seq = 0  # it never goes back, unless another database takes this one's place

    async def commit(self, step: Step) -> None:
        """Commit `step` if the applied position is its `from_seq` and the shard is still ours.

        Raises `Conflict` when not, `Unavailable` when it may be tried again: trying a step again whose commit went
        through without an answer is recognised and succeeds. Raises ValueError for a checkpoint beyond the step.
        """
        saved = [*step.stream_checkpoints.values(), *step.series_checkpoints.values(), *step.tenant_checkpoints.values()]
        if step.to_seq < step.from_seq or any(checkpoint.seq > step.to_seq for checkpoint in saved):
            raise ValueError("a step ends before it begins or before one of its checkpoints")
        attempt = (self._shard.epoch, step.from_seq, step.to_seq)
        retried = self._in_doubt == attempt
        self._in_doubt = attempt
        # Whatever is raised from here on, cancellation too, leaves the outcome in doubt.
        try:
            committed = await self._database.node(lambda connection: self._commit(connection, step))
        except Unavailable as error:
            self._damage.failed(error)
            raise
        self._damage.succeeded()
        if not committed:
            await self._explain(step, retried=retried)
        self._in_doubt, self._committed_seq = None, step.to_seq

    async def load_streams(self, stream_ids: Sequence[UUID]) -> Mapping[UUID, Checkpoint]:
        """The newest readable checkpoint of each stream; see the protocol. Raises `Unavailable`."""
        return await self._load(LOAD_STREAMS, LIST_STREAMS, STREAM_STATE, stream_ids)

    async def load_tenants(self, tenant_ids: Sequence[UUID]) -> Mapping[UUID, Checkpoint]:
        """The newest readable checkpoint of each tenant; see the protocol. Raises `Unavailable`."""
        away = await self.elsewhere(tenant_ids)
        own = await self._load(LOAD_TENANTS, LIST_TENANTS, TENANT_STATE, [it for it in tenant_ids if it not in away])
        return {**own, **await self._load(LOAD_RELAYS, LIST_RELAYS, RELAY_STATE, sorted(away), self._shard.number)}

    async def elsewhere(self, tenant_ids: Iterable[UUID]) -> frozenset[UUID]:
        """Those of the tenants whose folds another shard has; see the protocol. Raises `Unavailable`."""
        asked = list(tenant_ids)
        unknown = [it for it in asked if it not in self._elsewhere]
        if unknown:
            found = await self._database.node(lambda connection: connection.fetch(ELSEWHERE, unknown, self._shard.number))
            away = {row["id"] for row in found}
            self._elsewhere.update((it, it in away) for it in unknown)
        return frozenset(it for it in asked if self._elsewhere[it])

    async def load_series(self, stream_id: UUID, until_seq: int, series: Sequence[int]) -> Mapping[int, bytes]:
        """The states of series of a metrics stream; see the protocol. Raises `Unavailable`."""
        return await load_series(self._database, stream_id, until_seq, series)

    async def stream_keys(self, stream_ids: Sequence[UUID]) -> Mapping[UUID, StreamKey]:
        """The keys of streams; see the protocol. Raises `Unavailable`."""
        rows = await self._database.node(lambda connection: connection.fetch(KEYS, list(stream_ids)))
        return {
            row["id"]: StreamKey(Signal(row["signal"]), row["service"], row["namespace"], row["environment"]) for row in rows
        }

    async def _commit(self, connection: Connection, step: Step) -> bool:
        async with connection.transaction():
            if not await connection.fetchval(ADVANCE, self._shard.number, self._shard.epoch, step.from_seq, step.to_seq):
                return False
            await save_incidents(connection, step.incidents)
            if step.findings:
                await connection.execute(ANOMALIES, *_finding_columns(step.findings))
                await save_traces(connection, step.findings)
            joined = [(row.tenant_id, row.incident.incident_id, finding) for row in step.incidents for finding in row.joined]
            if joined:
                await connection.execute(JOINED, *columns(joined))
            if step.streams:
                last_statuses = {status.stream_id: status for status in step.streams}
                await connection.execute(STATUS, *columns([_status(status) for status in last_statuses.values()]))
            if step.events:
                await connection.execute(EVENTS, *columns([_event(row) for row in step.events]))
                touched = list({row.stream_id for row in step.events})
                await connection.execute(KEEP_EVENTS, touched, STREAM_EVENTS_MAX - 1)
            if step.stream_checkpoints:
                streams = [(*ids, *_checked(checkpoint)) for ids, checkpoint in step.stream_checkpoints.items()]
                await connection.execute(SAVE_STREAMS, *columns(streams))
            if self._evidence:
                await want_evidence(connection, step)
            if step.stream_checkpoints:
                await connection.execute(KEEP_STREAMS, [stream_id for _, stream_id in step.stream_checkpoints])
            await save_series(connection, step.series_checkpoints, step.series_dropped)
            await save_graphs(connection, step.graphs)
            await save_anchors(connection, step.anchors_lost, step.anchors)
            await save_drift(connection, step.drift)
            await save_quarantine(connection, self._shard.number, step.quarantined)
            await self._save_tenants(connection, step.tenant_checkpoints)
            await save_derived(connection, self._shard.number, step.to_seq, step.derived)
            await save_scores(connection, step.scores)
            await save_live(connection, step.findings, step.incidents)
        return True

    async def _save_tenants(self, connection: Connection, checkpoints: Mapping[UUID, Checkpoint]) -> None:
        """Folds of tenants, and what is kept of tenants whose folds are elsewhere."""
        relays = [tenant_id for tenant_id in checkpoints if self._elsewhere.get(tenant_id)]
        tenants = [tenant_id for tenant_id in checkpoints if not self._elsewhere.get(tenant_id)]
        if tenants:
            rows = [(tenant_id, *_checked(checkpoints[tenant_id])) for tenant_id in tenants]
            await connection.execute(SAVE_TENANTS, *columns(rows))
            await connection.execute(KEEP_TENANTS, tenants)
        if relays:
            rows = [(tenant_id, *_checked(checkpoints[tenant_id])) for tenant_id in relays]
            await connection.execute(SAVE_RELAYS, *columns(rows), self._shard.number)
            await connection.execute(KEEP_RELAYS, relays, self._shard.number)

    async def _explain(self, step: Step, *, retried: bool) -> None:
        """Why the position did not move: our own earlier commit, a take-over, another database, or steps out of order."""
        row = await self._database.node(
            lambda connection: connection.fetchrow(
                "select epoch, applied_seq from driftlock.journal_position where shard = $1", self._shard.number
            )
        )
        if row is None or row["epoch"] < self._shard.epoch or row["applied_seq"] < self._committed_seq:
            raise Conflict(REPLACED)
        if row["epoch"] != self._shard.epoch:
            raise self._shard.lost()
        if not (retried and row["applied_seq"] == step.to_seq):
            raise Conflict(
                f"the step from {step.from_seq} to {step.to_seq} does not follow the applied position {row['applied_seq']}"
            )

    async def _load(self, load: str, listed: str, state: str, ids: Sequence[UUID], *more: int) -> dict[UUID, Checkpoint]:
        """`more` are arguments of all three statements."""
        if not ids:
            return {}

        async def work(connection: Connection) -> Sequence[Row]:
            asked = (list(ids), *more)
            return await fetch_readable(
                connection, (load, *asked), (listed, *asked), "state", lambda row: (state, row["id"], row["seq"], *more)
            )

        loaded: dict[UUID, Checkpoint] = {}
        damaged: dict[UUID, int] = {}  # newest damaged checkpoint of each fold
        for row in await self._database.node(work):
            if row["id"] in loaded:
                continue
            if row["state"] is not None and zlib.crc32(row["state"]) == row["crc"]:
                loaded[row["id"]] = Checkpoint(row["seq"], row["state"], damaged.get(row["id"], 0))
            else:
                damaged.setdefault(row["id"], row["seq"])
        for fold, seq in damaged.items():
            instead = f"starting from its checkpoint at {loaded[fold].seq}" if fold in loaded else "its past is lost"
            loaded.setdefault(fold, Checkpoint(seq, b""))  # it begins anew, and not before that row
            log.error("the checkpoint of %s at %d is damaged: %s", fold, seq, instead)
        return loaded


def _checked(checkpoint: Checkpoint) -> tuple[int, int, bytes]:
    return checkpoint.seq, zlib.crc32(checkpoint.state), checkpoint.state


def _status(status: StreamStatus) -> tuple[object, ...]:
    return (
        status.tenant_id,
        status.stream_id,
        status.events,
        status.windows,
        ns(status.first_event_ns),
        ns(status.last_event_ns),
        status.calibration,
        status.events_until_ready,
        text(status.calibration_reason),
    )


def _event(row: StreamEventRow) -> tuple[object, ...]:
    event = row.event
    return (
        row.event_id,
        row.tenant_id,
        row.stream_id,
        event.kind.value,
        event.event,
        event.window,
        ns(event.time_ns),
        text(event.reason),
    )


def _finding_columns(rows: Sequence[FindingRow]) -> list[list[object]]:
    return columns(
        [
            (
                row.stream_id,
                row.finding.window,
                row.finding_id,
                row.tenant_id,
                ns(row.finding.start_ns),
                ns(row.finding.end_ns),
                row.finding.first_event,
                row.finding.last_event,
                row.finding.ncd,
                row.finding.p_value,
                row.finding.confidence,
                text(row.finding.explanation),
                row.finding.question.value,
                row.finding.to_json(),
                row.seq,
                row.silenced_by,
            )
            for row in rows
        ]
    )
