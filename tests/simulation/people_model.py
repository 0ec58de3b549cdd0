"""What people say, over `Tables`: control records, and what is written beside them in their transaction."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from tests.simulation.folds_model import Record
from tests.simulation.journal_model import grow, owned, row_bytes
from tests.simulation.tables import JRow, Tables, raised


def may_control(
    db: Tables, _: int, epoch: int, bytes_max: int, tenant_id: UUID, stream_id: UUID | None, kind: int, crc: int, body: bytes
) -> int | None:
    """The position that the record gets; the lock of all appends is held until it has it."""
    shard, tenant = owned(db, epoch), db.tenants.get(tenant_id)
    if tenant is None or tenant.closed:
        return None
    if stream_id is not None and (stream_id not in db.streams or db.streams[stream_id].tenant_id != tenant_id):
        return None
    if shard.bytes + row_bytes(body) > bytes_max:
        raise raised("ZD002")
    return shard.next_seq


def control(
    db: Tables, _: int, epoch: int, bytes_max: int, tenant_id: UUID, stream_id: UUID | None, kind: int, crc: int, body: bytes
) -> int | None:
    seq, now_ns = may_control(db, 0, epoch, bytes_max, tenant_id, stream_id, kind, crc, body), db.now_ns()
    if seq is not None:
        grow(db, [JRow(seq, db.shard.slot, kind, tenant_id, stream_id, now_ns, 0, 0, crc, body)], now_ns)
    return seq


def note(
    db: Tables, tenant_id: UUID, kind: str, actor_id: str, actor: str, action: str, target: str, detail: str, *where: str
) -> None:
    db.audit[len(db.audit)] = (tenant_id, action, target)


def anomaly(db: Tables, anomaly_id: UUID) -> Record | None:
    row = db.anomalies.get(anomaly_id)
    if row is None:
        return None
    shown = {name: row[name] for name in ("id", "stream_id", "incident_id", "silenced_by", "body")}
    return shown | {"slug": db.streams[row["stream_id"]].slug, "detected_at": None}


def taught_stream(db: Tables, stream_id: UUID) -> Record | None:
    stream, status = db.streams.get(stream_id), db.statuses.get(stream_id)
    return None if stream is None else {"profile": stream.profile, "last_event_ns": 0 if status is None else status[5]}


def lessons(db: Tables, stream_id: UUID) -> list[Record]:
    taught = sorted((row[7], row[6]) for row in db.feedback.values() if row[2] == stream_id and row[6] is not None)
    return [{"lesson": lesson} for _, lesson in taught]


def standing(db: Tables, stream_id: UUID, tenant_id: UUID) -> Record:
    rows = [row for row in db.feedback.values() if row[1:3] == (tenant_id, stream_id)]
    return {"newest": max((row[7] for row in rows), default=0), "lessons": sum(row[6] is not None for row in rows)}


def feedback(db: Tables, anomaly_id: UUID) -> Record | None:
    row = db.feedback.get(anomaly_id)
    if row is None:
        return None
    names = ("anomaly_id", "tenant_id", "stream_id", "verdict", "until_ns", "note", "lesson", "seq", "given_by")
    found = dict(zip(names, row, strict=False))
    del found["tenant_id"], found["seq"]
    return found | {"taught": found.pop("lesson") is not None, "given_at": None}


def put_feedback(db: Tables, *row: Any) -> None:
    before = db.feedback.get(row[0], row)
    db.feedback[row[0]] = (*before[:3], *row[3:9], *before[9:])


def forget_lessons(db: Tables, stream_id: UUID, ids: Sequence[UUID]) -> None:
    for anomaly_id in ids:
        row = db.feedback.get(anomaly_id)
        if row is not None and row[2] == stream_id:
            db.feedback[anomaly_id] = (*row[:6], None, *row[7:])


def withdraw(db: Tables, anomaly_id: UUID, tenant_id: UUID) -> None:
    if anomaly_id in db.feedback and db.feedback[anomaly_id][1] == tenant_id:
        del db.feedback[anomaly_id]


def newest_said(db: Tables, stream_id: UUID) -> int | None:
    return db.anchor_settings[stream_id][0] if stream_id in db.anchor_settings else None


def set_anchor(
    db: Tables,
    stream_id: UUID,
    tenant_id: UUID,
    seq: int,
    threshold: float | None,
    reset: bool | None,
    first_threshold: float,
    first_reset: bool,
) -> None:
    _, known, resets = db.anchor_settings.get(stream_id, (0, first_threshold, first_reset))
    db.anchor_settings[stream_id] = (seq, known if threshold is None else threshold, resets if reset is None else reset)


def rules(db: Tables, tenant_id: UUID, stream_id: UUID | None) -> Record | None:
    row = db.rules.get((tenant_id, stream_id))
    return None if row is None else {"rules": row[1], "seq": row[0], "changed_at": None}


def remove_rules(db: Tables, tenant_id: UUID, stream_id: UUID | None) -> None:
    db.rules.pop((tenant_id, stream_id), None)


def add_rules(db: Tables, tenant_id: UUID, stream_id: UUID | None, seq: int, stored: str) -> None:
    db.rules[tenant_id, stream_id] = (seq, stored)


def add_key(db: Tables, tenant_id: UUID, key: bytes) -> None:
    db.rule_keys.setdefault(tenant_id, key)


def rules_state(db: Tables) -> Record:
    return {"rows": len(db.rules), "ids": hash(tuple(sorted(seq for seq, _ in db.rules.values())))}


def all_rules(db: Tables) -> list[Record]:
    rows = []
    for (tenant_id, stream_id), (_, stored) in sorted(db.rules.items(), key=lambda it: it[0][0]):
        if json.loads(stored):
            key = None if stream_id is None else db.streams[stream_id].key
            parts = ("signal", "service", "namespace", "environment")
            named = {name: None if key is None else str(getattr(key, name)) for name in parts}
            rows.append({"tenant_id": tenant_id, "rules": stored, "key": db.rule_keys[tenant_id], **named})
    return rows
