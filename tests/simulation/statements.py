"""Every statement that appending and applying send, and what it does to `Tables`. A statement that is not here is an error.

The texts are those of the modules that send them, so that a changed statement is noticed before its old model is believed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from driftlock.storage import (
    anchors,
    anomalies,
    audit,
    backlog,
    checkpoints,
    controls,
    drift,
    evidence_wanted,
    feedback,
    incidents,
    journal,
    journal_reader,
    ledger,
    live,
    recovery,
    redaction,
    retention,
    scores,
    series_states,
    service_graphs,
    shard,
    stream_ids,
)
from tests.simulation import folds_model as folds
from tests.simulation import journal_model as model
from tests.simulation import people_model as people
from tests.simulation import step_model as step
from tests.simulation.tables import Tables

SHARD, POSITION = "journal_shard", "journal_position"

OWNERS = frozenset({"append", "append_clock", "append_time", "set_budget", "configure", "control", "close", "empty", "advance"})
"""What only the owner of the shard may do."""


class Statement(NamedTuple):
    """`run(tables, *arguments)`; `locks` are the rows that it has to have, in the order in which it takes them.

    `check` answers inside a transaction, where the effect is put off until the commit; without it the answer is not used.
    """

    name: str
    run: Callable[..., Any]
    locks: tuple[str, ...] = ()
    check: Callable[..., Any] | None = None


BEGIN, COMMIT, ROLLBACK = (Statement(name, lambda _: None) for name in ("begin", "commit", "rollback"))


def _applied(db: Tables, _: int) -> int:
    return db.applied_seq


def _last(db: Tables, _: int) -> int:
    return db.shard.next_seq - 1


def _epoch(db: Tables, _: int) -> int:
    return db.shard.epoch


def _bytes(db: Tables, _: int) -> int:
    return db.shard.bytes


def _asked(name: str, run: Callable[..., Any]) -> Statement:
    """A question that is also asked inside of transactions."""
    return Statement(name, run, check=run)


STATEMENTS = {
    journal.APPEND: Statement("append", model.append, (SHARD,)),
    journal.APPEND_CLOCK: Statement("append_clock", model.append_control, (SHARD,)),
    journal.APPEND_TIME: Statement("append_time", model.append_time, (SHARD,)),
    journal.SET_BUDGET: Statement("set_budget", model.set_budget, (SHARD,)),
    journal.CONFIGURE: Statement("configure", model.configure, (SHARD,)),
    "select driftlock.journal_acquire($1)": Statement("acquire", model.acquire, (SHARD, POSITION)),
    shard.EPOCH: Statement("epoch", _epoch),
    retention.CLOSE: Statement("close", model.close, (SHARD,)),
    "set local statement_timeout = 60000": Statement("patience", lambda _: None),
    retention.DUE: Statement("due", lambda *_: None, (), model.due),
    retention.EMPTY: Statement("empty", model.empty, (SHARD,)),
    retention.FORGET: Statement("forget", model.forget),
    ledger.ADD: Statement("ledger_add", model.ledger_add),
    stream_ids.RESOLVE: Statement("resolve", folds.resolve),
    journal_reader.READ: Statement("read", folds.read),
    journal_reader.BODY: Statement("body", folds.body),
    journal_reader.LAST: Statement("last", _last),
    "select applied_seq from driftlock.journal_position where shard = $1": Statement("applied", _applied),
    "select bytes from driftlock.journal_shard where shard = $1": Statement("bytes", _bytes),
    backlog.POSITIONS: Statement("positions", folds.positions),
    backlog.SPANS: Statement("spans", folds.spans),
    "select epoch, applied_seq from driftlock.journal_position where shard = $1": Statement("owner", step.owner),
    recovery.SET_TIMEOUT: Statement("set_timeout", lambda _, __: None),
    recovery.TENANTS: Statement("with_state", step.with_state, check=step.with_state),
    recovery.STREAM_FOLDS: Statement("stream_folds", folds.stream_folds, check=folds.stream_folds),
    recovery.TENANT_FOLDS: Statement("tenant_folds", folds.tenant_folds, check=folds.tenant_folds),
    checkpoints.ADVANCE: Statement("advance", step.advance, (POSITION,), step.may_advance),
    checkpoints.ANOMALIES: Statement("anomalies", step.anomalies),
    checkpoints.JOINED: Statement("joined", step.joined),
    checkpoints.STATUS: Statement("status", step.status),
    checkpoints.EVENTS: Statement("events", step.events),
    checkpoints.KEEP_EVENTS: Statement("keep_events", step.keep_events),
    checkpoints.SAVE_STREAMS: Statement("save_streams", step.save_streams),
    checkpoints.KEEP_STREAMS: Statement("keep_streams", step.keep_streams),
    checkpoints.SAVE_TENANTS: Statement("save_tenants", step.save_tenants),
    checkpoints.KEEP_TENANTS: Statement("keep_tenants", step.keep_tenants),
    checkpoints.LOAD_STREAMS: Statement("load_streams", step.load_streams),
    checkpoints.LOAD_TENANTS: Statement("load_tenants", step.load_tenants),
    checkpoints.ELSEWHERE: _asked("elsewhere", step.elsewhere),
    checkpoints.LIST_STREAMS: Statement("list_streams", step.load_streams),
    checkpoints.LIST_TENANTS: Statement("list_tenants", step.load_tenants),
    checkpoints.STREAM_STATE: Statement("stream_state", step.stream_state),
    checkpoints.TENANT_STATE: Statement("tenant_state", step.tenant_state),
    checkpoints.KEYS: Statement("keys", step.stream_keys),
    incidents.SAVE: Statement("incidents", step.incidents),
    anomalies.TRACES: Statement("traces", step.traces),
    evidence_wanted.WANT: Statement("want_evidence", step.want_evidence),
    series_states.SAVE: Statement("save_series", step.save_series),
    series_states.KEEP: Statement("keep_series", step.keep_series),
    series_states.DROP: Statement("drop_series", step.drop_series),
    series_states.LOAD: Statement("load_series", step.load_series),
    series_states.LIST: Statement("list_series", step.load_series),
    series_states.STATE: Statement("series_state", step.series_state),
    service_graphs.SAVE: Statement("graphs", step.graphs),
    anchors.LOST: Statement("lose_anchors", step.lose_anchors),
    anchors.LOST_SETTINGS: Statement("lose_anchor_settings", step.lose_anchor_settings),
    anchors.SAVE: Statement("save_anchors", step.save_anchors),
    anchors.KEEP: Statement("keep_anchors", step.keep_anchors),
    drift.SAVE: Statement("save_drift", step.save_drift),
    drift.KEEP: Statement("keep_drift", step.keep_drift),
    scores.ADD: Statement("scores", step.scores),
    live.APPEND: Statement("live", step.live),
    controls.CONTROL: Statement("control", people.control, (SHARD,), people.may_control),
    audit.NOTE: Statement("note", people.note),
    feedback.ANOMALY: _asked("anomaly", people.anomaly),
    feedback.OF_STREAM: _asked("taught_stream", people.taught_stream),
    feedback.LESSONS: _asked("lessons", people.lessons),
    feedback.STANDING: _asked("standing", people.standing),
    feedback.GET: _asked("feedback", people.feedback),
    feedback.PUT: Statement("put_feedback", people.put_feedback),
    feedback.FORGET: Statement("forget_lessons", people.forget_lessons),
    feedback.WITHDRAW: Statement("withdraw", people.withdraw),
    anchors.NEWEST: _asked("newest_said", people.newest_said),
    anchors.SET: Statement("set_anchor", people.set_anchor),
    redaction.ONE: _asked("rules", people.rules),
    redaction.REMOVE: Statement("remove_rules", people.remove_rules),
    redaction.ADD: Statement("add_rules", people.add_rules),
    redaction.ADD_KEY: Statement("add_key", people.add_key),
    redaction.STATE: _asked("rules_state", people.rules_state),
    redaction.ALL: _asked("all_rules", people.all_rules),
}
