"""The model and a real PostgreSQL side by side: one statement to both, and what they say about it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from driftlock.engine.ports import Step
from driftlock.storage import controls, journal, retention
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.shard import Shard
from tests.simulation.statements import STATEMENTS
from tests.simulation.tables import Tables, Tenant

ACQUIRE = "select driftlock.journal_acquire($1)"
STAMPED = (journal.SET_BUDGET, journal.CONFIGURE, controls.CONTROL)  # what they write carries the time of the database
TABLES = {
    "journal": "select seq, slot, kind, tenant_id, stream_id, received_ns, records, raw_bytes, crc, body "
    "from driftlock.journal",
    "slots": "select slot, first_seq, last_seq, bytes, newest_ns from driftlock.journal_slot",
    "requests": "select tenant_id, hash, received_ns, seq, until_ns, content from driftlock.journal_request",
    "meter": "select tenant_id, node, signal, sum(records)::bigint, sum(bytes)::bigint from driftlock.meter group by 1, 2, 3",
    "ledger": "select tenant_id, node, signal, received, journaled, rejected, refused, deduplicated from driftlock.ledger",
    "removed": "select tenant_id, signal, records from driftlock.journal_removed",
    "tenants": "select id, name, streams_max, streams, alerts_per_day_max, dedup_window_ns, closed_at is not null "
    "from driftlock.tenants",
    "stream_checkpoints": "select stream_id, seq, crc, state from driftlock.stream_checkpoints",
    "tenant_checkpoints": "select tenant_id, seq, crc, state from driftlock.tenant_checkpoints",
    "series_states": "select stream_id, series, seq, crc, state from driftlock.series_states",
    "anomalies": "select id, stream_id, window_no, incident_id, body, silenced_by from driftlock.anomalies",
    "anomaly_traces": "select anomaly_id, trace_id, tenant_id from driftlock.anomaly_traces",
    "evidence": "select anomaly_id, tenant_id, stream_id, base_seq, state from driftlock.evidence",
    "incidents": "select id, tenant_id, state, start_ns, end_ns, findings, alerted, alerted_ns from driftlock.incidents",
    "statuses": "select stream_id, events, windows, calibration, calibration_reason from driftlock.stream_status",
    "events": "select id, stream_id, kind, event_no, window_no, time_ns, reason from driftlock.stream_events",
    "graphs": "select stream_id, seq, as_of_ns, edges_known from driftlock.service_graphs",
    "scores": "select stream_id, minute, tenant_id, events, windows, flagged, surprise_max, ncd_max, p_value_min "
    "from driftlock.stream_scores",
    "feedback": "select anomaly_id, tenant_id, stream_id, verdict, until_ns, note, lesson, seq, given_by, question, ncd, "
    "p_value, ncd_threshold, p_value_threshold from driftlock.feedback",
    "rules": "select tenant_id, stream_id, seq, rules::text from driftlock.redaction_rules",
    "rule_keys": "select tenant_id, key from driftlock.redaction_keys",
    "anchors": "select id, tenant_id, stream_id, seq, standing, source, cause, frozen_ns, event_no, codec, codec_level, "
    "codec_version, window_lines, lines, size_bytes, ratio_normal, ended_seq, ended_ns, ended_because, reason "
    "from driftlock.anchors",
    "anchor_settings": "select stream_id, seq, drift_ncd_threshold, reset_on_drift from driftlock.anchor_settings",
    "drift": "select anchor_id, hour_ns, stream_id, tenant_id, distance, windows, recent, since_ns from driftlock.drift",
    "heads": "select tenant_id, seq from driftlock.live_heads",
    "live": "select tenant_id, seq, kind, anomaly_id, incident_id from driftlock.live_events",
}
ANOMALY = ("incident_id", "body", "silenced_by")
UNORDERED = {"after_newest", "rules"}
"""Columns of rows that come in any order: folds, and rules of a tenant."""
PLACE = ("id", "tenant_id", "signal", "service", "namespace", "environment")
STAMPS = ("detected_at", "given_at", "changed_at", "ids")  # times and ids of the database's own
"""When the database did it: nobody compares that."""
SHARD = """
select s.epoch, s.next_seq, s.truncated_seq, s.bytes, s.slot, s.slot_first_seq, s.slot_bytes, s.slot_newest_ns, s.slot_since_ns,
       p.epoch, p.applied_seq
  from driftlock.journal_shard s join driftlock.journal_position p using (shard)
"""


class Recorder:
    """A connection that remembers what a step sends."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, tuple[Any, ...]]] = []

    async def fetchval(self, sql: str, *arguments: Any) -> int:
        self.sent.append((sql, arguments))
        return 1

    async def execute(self, sql: str, *arguments: Any) -> None:
        self.sent.append((sql, arguments))

    def transaction(self) -> "Recorder":
        return self

    async def __aenter__(self) -> None:
        """A step is one transaction; here it is sent one by one."""

    async def __aexit__(self, *_: object) -> None:
        """Nothing to end."""


class Sides:
    """`node` is a connection as the node, `owner` one that sees everything."""

    def __init__(self, node: "asyncpg.Connection[Any]", owner: "asyncpg.Connection[Any]", tenants: dict[UUID, Tenant]) -> None:
        self._node, self._owner = node, owner
        self._ids: list[UUID] = []
        self._now_ns = 0
        self.model = Tables(lambda: self._ids.pop(0), lambda: self._now_ns)
        self.model.tenants.update(tenants)

    async def both(self, sql: str, *arguments: Any) -> Any:
        """What the statement gives, which is the same on both sides."""
        real = await self._real(sql, arguments)
        await self._follow(sql, real)
        simulated = self._simulated(sql, arguments)
        name = STATEMENTS[sql].name
        assert _plain(simulated, real) == real, f"{name}{arguments} says {simulated!r} in the model, {real!r} in the database"
        return simulated

    async def tenant_closed(self, tenant_id: UUID, closed: bool) -> None:
        """A tenant is being deleted, or after all not."""
        close = "update driftlock.tenants set closed_at = case when $2 then now() end where id = $1"
        await self._owner.execute(close, tenant_id, closed)
        self.model.tenants[tenant_id] = self.model.tenants[tenant_id]._replace(closed=closed)

    async def step(self, step: Step) -> bool:
        """Send what a step sends; False when the position does not allow it."""
        recorder, shard = Recorder(), Shard(None)  # type: ignore[arg-type]
        shard._epoch = self.model.position_epoch
        await Checkpoints(None, shard, evidence=True)._commit(recorder, step)  # type: ignore[arg-type]
        if await self.both(*recorder.sent[0][:1], *recorder.sent[0][1]) is None:
            return False
        for sql, arguments in recorder.sent[1:]:
            await self.both(sql, *arguments)
        return True

    async def same_tables(self) -> None:
        for name, sql in TABLES.items():
            real = {tuple(record.values()) for record in await self._owner.fetch(sql)}
            assert _rows(self.model, name) == real, f"the tables {name} differ"
        model = self.model
        shard = tuple(getattr(model.shard, name) for name in model.shard.__slots__)
        assert (*shard, model.position_epoch, model.applied_seq) == tuple((await self._owner.fetch(SHARD))[0].values())

    async def _real(self, sql: str, arguments: Sequence[Any]) -> list[Any] | str:
        try:
            return list(await self._node.fetch(sql, *arguments))
        except asyncpg.PostgresError as error:
            return str(error.sqlstate)

    async def _follow(self, sql: str, real: list[Any] | str) -> None:
        """Let the model have the times and ids that the database has just chosen."""
        if isinstance(real, str):
            return
        if sql == ACQUIRE:
            self._now_ns = real[0][0] * 1000
        elif sql in STAMPED:
            newest = "select received_ns from driftlock.journal where kind in (3, 4, 7, 8, 9) order by seq desc limit 1"
            self._now_ns = await self._owner.fetchval(newest) or 0
        else:
            known = self.model.streams
            fresh = await self._owner.fetch("select id from driftlock.streams order by id")
            self._ids = [row["id"] for row in fresh if row["id"] not in known]

    def _simulated(self, sql: str, arguments: Sequence[Any]) -> Any:
        statement = STATEMENTS[sql]
        asks = statement.check is not None and sql == retention.DUE  # it changes nothing, so all it does is to answer
        try:
            return (statement.check if asks else statement.run)(self.model, *arguments)  # type: ignore[misc]
        except asyncpg.PostgresError as error:
            return error.sqlstate


def _plain(simulated: Any, real: list[Any] | str) -> Any:
    """What the model says, in the form of the database's answer."""
    if isinstance(simulated, str) or isinstance(real, str):
        return simulated
    if isinstance(simulated, list):
        rows, records = simulated, real
        if rows and isinstance(rows[0], dict) and UNORDERED & rows[0].keys():
            rows, records = sorted(rows, key=_place), sorted(real, key=_place)
        return real if len(rows) == len(records) and all(map(_equal, rows, records)) else simulated
    if isinstance(simulated, dict):
        same = real and _unstamped(_unordered(simulated)) == _unstamped(_unordered(dict(real[0])))
        return real if same else simulated
    first = real[0][0] if real else None
    return real if simulated == first or (simulated is None and first in (None, "")) else simulated


def _unordered(found: dict[str, Any]) -> dict[str, Any]:
    """What a slot holds comes in any order."""
    if not found.get("tenant_ids"):
        return found
    names = ("tenant_ids", "signals", "records")
    return found | {"held": sorted(zip(*(found[name] for name in names), strict=True))} | dict.fromkeys(names)


def _place(row: Any) -> str:
    return str([row.get(name) for name in PLACE])


def _unstamped(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in STAMPS}


def _equal(row: Any, record: Any) -> bool:
    return (
        tuple(record.values()) == row if isinstance(row, tuple) else {name: row[name] for name in dict(record)} == dict(record)
    )


def _rows(model: Tables, name: str) -> set[tuple[Any, ...]]:
    table = getattr(model, name)
    made: dict[str, Any] = {
        "journal": lambda: [tuple(row) for row in table.values()],
        "slots": lambda: [tuple(row) for row in table.values()],
        "requests": lambda: [(*key, *entry) for key, entry in table.items()],
        "removed": lambda: [(*key, records) for key, records in table.items()],
        "tenants": lambda: [(known, *tenant) for known, tenant in table.items()],
        "anomalies": lambda: [(k, r["stream_id"], r["window_no"], *(r[it] for it in ANOMALY)) for k, r in table.items()],
        "anomaly_traces": lambda: [(*key, tenant_id) for key, tenant_id in table.items()],
        "evidence": lambda: [(known, *row) for known, row in table.items()],
        "feedback": table.values,
        "anchors": table.values,
        "rules": lambda: [(*key, *row) for key, row in table.items()],
        "incidents": lambda: [(*row[:6], row[10], row[11]) for row in table.values()],
        "statuses": lambda: [(row[1], row[2], row[3], row[6], row[8]) for row in table.values()],
        "events": lambda: [(row[0], *row[2:]) for row in table.values()],
        "graphs": lambda: [(row[1], *row[2:5]) for row in table.values()],
        "series_states": lambda: [(*key, seq, *saved) for key, states in table.items() for seq, saved in states.items()],
    }
    if name in ("heads", "rule_keys"):
        return set(table.items())
    if name == "anchor_settings":
        return {(known, *row) for known, row in table.items()}
    if name in ("meter", "ledger", "scores", "live", "drift"):
        return {(*key, *values) for key, values in table.items()}
    if name in ("stream_checkpoints", "tenant_checkpoints"):
        return {(known, seq, *saved) for known, states in table.items() for seq, saved in states.items()}
    return set(made[name]())
