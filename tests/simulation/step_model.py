"""What the statements of a step write, over `Tables`. Each takes the columns that its statement takes."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from tests.simulation.folds_model import Record
from tests.simulation.tables import Tables

Column = Sequence[Any]
ANOMALY: tuple[str, ...] = (
    "stream_id",
    "window_no",
    "id",
    "tenant_id",
    "start_ns",
    "end_ns",
    "first_event",
    "last_event",
    "ncd",
    "p_value",
)
ANOMALY += ("confidence", "explanation", "question", "body", "journal_seq", "silenced_by")


def may_advance(db: Tables, _: int, epoch: int, from_seq: int, to_seq: int) -> int | None:
    return 1 if db.position_epoch == epoch and db.applied_seq == from_seq else None


def advance(db: Tables, _: int, epoch: int, from_seq: int, to_seq: int) -> int | None:
    allowed = may_advance(db, 0, epoch, from_seq, to_seq)
    if allowed:
        db.applied_seq = to_seq
    return allowed


def owner(db: Tables, _: int) -> Record:
    return {"epoch": db.position_epoch, "applied_seq": db.applied_seq}


def incidents(db: Tables, *columns: Column) -> None:
    for row in zip(*columns, strict=True):
        before = db.incidents.get(row[0])
        if row[1] in db.tenants and (before is None or before[1] == row[1]):
            db.incidents[row[0]] = row


def anomalies(db: Tables, *columns: Column) -> None:
    for values in zip(*columns, strict=True):
        row = dict(zip(ANOMALY, values, strict=True))
        if _owned(db, row["tenant_id"], row["stream_id"]):
            db.anomalies.setdefault(row["id"], row | {"incident_id": None})


def traces(db: Tables, *columns: Column) -> None:
    for anomaly_id, trace_id, tenant_id in zip(*columns, strict=True):
        if anomaly_id in db.anomalies and db.anomalies[anomaly_id]["tenant_id"] == tenant_id:
            db.anomaly_traces[anomaly_id, trace_id] = tenant_id


def joined(db: Tables, *columns: Column) -> None:
    for tenant_id, incident_id, anomaly_id in zip(*columns, strict=True):
        incident, anomaly = db.incidents.get(incident_id), db.anomalies.get(anomaly_id)
        if incident is not None and incident[1] == tenant_id and anomaly is not None and anomaly["tenant_id"] == tenant_id:
            db.anomalies[anomaly_id] = anomaly | {"incident_id": incident_id}


def status(db: Tables, *columns: Column) -> None:
    for row in zip(*columns, strict=True):
        if _owned(db, row[0], row[1]):
            db.statuses[row[1]] = row


def events(db: Tables, *columns: Column) -> None:
    for row in zip(*columns, strict=True):
        if _owned(db, row[1], row[2]):
            db.events.setdefault(row[0], row)


def keep_events(db: Tables, touched: Column, offset: int) -> None:
    for stream_id in touched:
        order = sorted(((row[6], row[4], row[0]) for row in db.events.values() if row[2] == stream_id), reverse=True)
        for _, _, event_id in order[offset + 1 :]:
            del db.events[event_id]


def save_streams(db: Tables, *columns: Column) -> None:
    for tenant_id, stream_id, seq, crc, state in zip(*columns, strict=True):
        if _owned(db, tenant_id, stream_id):
            db.stream_checkpoints.setdefault(stream_id, {})[seq] = (crc, state)


def lose_anchors(db: Tables, streams: Column, seqs: Column, kept: Column, reason: str) -> None:
    for stream_id, seq, keeps in zip(streams, seqs, kept, strict=True):
        for anchor_id, row in db.anchors.items():
            if row[2] == stream_id and row[4] == "in_force" and row[3] <= seq and anchor_id != keeps:
                db.anchors[anchor_id] = (*row[:4], "ended", *row[5:16], seq, row[7], "lost", reason)


def lose_anchor_settings(db: Tables, *columns: Column) -> None:
    for stream_id, seq, threshold, reset in zip(*columns, strict=True):
        if db.anchor_settings.get(stream_id, (seq + 1,))[0] <= seq:
            db.anchor_settings[stream_id] = (db.anchor_settings[stream_id][0], threshold, reset)


def save_anchors(db: Tables, *columns: Column) -> None:
    for row in zip(*columns, strict=True):
        if _owned(db, row[1], row[2]):
            known = db.anchors.get(row[0], row)
            db.anchors[row[0]] = (*known[:4], row[4], *known[5:11], row[11], *known[12:15], *row[15:])


def keep_anchors(db: Tables, touched: Column, offset: int) -> None:
    for stream_id in touched:
        order = sorted(((row[3], known) for known, row in db.anchors.items() if row[2] == stream_id), reverse=True)
        for seq, known in order[offset:]:
            if db.anchors[known][4] != "in_force" and seq < order[offset][0]:
                del db.anchors[known]
                db.drift = {key: row for key, row in db.drift.items() if key[0] != known}


def save_drift(db: Tables, *columns: Column) -> None:
    for anchor_id, hour_ns, tenant_id, *told in zip(*columns, strict=True):
        anchor = db.anchors.get(anchor_id)
        if anchor is not None and anchor[1] == tenant_id:
            db.drift.setdefault((anchor_id, hour_ns), (anchor[2], tenant_id, *told))


def keep_drift(db: Tables, touched: Column, offset: int) -> None:
    for stream_id in touched:
        order = sorted(((known[1], known[0]) for known, row in db.drift.items() if row[0] == stream_id), reverse=True)
        for hour_ns, anchor_id in order[offset + 1 :]:
            del db.drift[anchor_id, hour_ns]


def want_evidence(db: Tables, ids: Column, tenants: Column, streams: Column, seqs: Column, waiting_max: int) -> None:
    waiting = dict.fromkeys(tenants, 0)
    for tenant_id, _, _, state in db.evidence.values():
        if tenant_id in waiting and state == "waiting":
            waiting[tenant_id] += 1
    for anomaly_id, tenant_id, stream_id, seq in zip(ids, tenants, streams, seqs, strict=True):
        waiting[tenant_id] += 1
        anomaly = db.anomalies.get(anomaly_id)
        if anomaly is not None and anomaly["tenant_id"] == tenant_id:
            base = max((it for it in db.stream_checkpoints.get(stream_id, {}) if it < seq), default=0)
            state = "waiting" if waiting[tenant_id] <= waiting_max else "skipped"
            db.evidence.setdefault(anomaly_id, (tenant_id, stream_id, base, state))


def keep_streams(db: Tables, saved: Column) -> None:
    kept = {(stream_id, base) for _, stream_id, base, state in db.evidence.values() if state == "waiting"}
    for stream_id in saved:
        checkpoints = db.stream_checkpoints.get(stream_id, {})
        for seq in sorted(checkpoints)[:-2]:
            if (stream_id, seq) not in kept:
                del checkpoints[seq]


def save_tenants(db: Tables, *columns: Column) -> None:
    for tenant_id, seq, crc, state in zip(*columns, strict=True):
        if tenant_id in db.tenants:
            db.tenant_checkpoints.setdefault(tenant_id, {})[seq] = (crc, state)


def keep_tenants(db: Tables, saved: Column) -> None:
    for tenant_id in saved:
        _keep_two(db.tenant_checkpoints.get(tenant_id, {}))


def save_series(db: Tables, *columns: Column) -> None:
    for tenant_id, stream_id, series, seq, crc, state in zip(*columns, strict=True):
        if _owned(db, tenant_id, stream_id):
            db.series_states.setdefault((stream_id, series), {})[seq] = (crc, state)


def keep_series(db: Tables, streams: Column, series: Column) -> None:
    for key in zip(streams, series, strict=True):
        states = db.series_states.get(key, {})
        oldest = min(db.stream_checkpoints.get(key[0], {}), default=None)
        if oldest is not None:
            newest = max((seq for seq in states if seq <= oldest), default=0)
            for seq in [seq for seq in states if seq < newest]:
                del states[seq]


def drop_series(db: Tables, streams: Column, series: Column) -> None:
    for key in zip(streams, series, strict=True):
        db.series_states.pop(key, None)


def graphs(db: Tables, *columns: Column) -> None:
    for row in zip(*columns, strict=True):
        before = db.graphs.get(row[1])
        if _owned(db, row[0], row[1]) and (before is None or before[2] <= row[2]):
            db.graphs[row[1]] = row


def scores(db: Tables, *columns: Column) -> None:
    for tenant_id, stream_id, minute, *more in zip(*columns, strict=True):
        if _owned(db, tenant_id, stream_id):
            before = db.scores.get((stream_id, minute), (tenant_id, 0, 0, 0, 0.0, 0.0, 1.0))[1:]
            added = [known + new for known, new in zip(before[:3], more[:3], strict=True)]
            largest = [max(known, new) for known, new in zip(before[3:5], more[3:5], strict=True)]
            db.scores[stream_id, minute] = (tenant_id, *added, *largest, min(before[5], more[5]))


def live(db: Tables, *columns: Column) -> None:
    for tenant_id, kind, anomaly_id, incident_id in zip(*columns, strict=True):
        finding = db.anomalies.get(anomaly_id, {}).get("tenant_id") if anomaly_id else None
        if tenant_id not in (finding, db.incidents[incident_id][1] if incident_id in db.incidents else None):
            continue
        db.heads[tenant_id] = db.heads.get(tenant_id, 0) + 1
        if anomaly_id is None or all(row[1] != anomaly_id for row in db.live.values()):
            db.live[tenant_id, db.heads[tenant_id]] = (kind, anomaly_id, incident_id)


def load_streams(db: Tables, ids: Sequence[UUID]) -> list[Record]:
    return _loaded(db.stream_checkpoints, ids)


def load_tenants(db: Tables, ids: Sequence[UUID]) -> list[Record]:
    return _loaded(db.tenant_checkpoints, ids)


def elsewhere(_db: Tables, _ids: Sequence[UUID], _shard: int) -> list[Record]:
    """There is one shard."""
    return []


def load_series(db: Tables, stream_id: UUID, until_seq: int, series: Sequence[int]) -> list[Record]:
    rows = []
    for number in sorted(series):
        states = db.series_states.get((stream_id, number), {})
        seq = max((seq for seq in states if seq <= until_seq), default=None)
        if seq is not None:
            rows.append({"series": number, "seq": seq, "crc": states[seq][0], "state": states[seq][1]})
    return rows


def stream_state(db: Tables, stream_id: UUID, seq: int) -> bytes | None:
    return db.stream_checkpoints.get(stream_id, {}).get(seq, (0, None))[1]


def tenant_state(db: Tables, tenant_id: UUID, seq: int) -> bytes | None:
    return db.tenant_checkpoints.get(tenant_id, {}).get(seq, (0, None))[1]


def series_state(db: Tables, stream_id: UUID, series: int, seq: int) -> bytes | None:
    return db.series_states.get((stream_id, series), {}).get(seq, (0, None))[1]


def stream_keys(db: Tables, ids: Sequence[UUID]) -> list[Record]:
    rows = []
    for stream_id in ids:
        if stream_id in db.streams:
            key = db.streams[stream_id].key
            parts = {"service": key.service, "namespace": key.namespace, "environment": key.environment}
            rows.append({"id": stream_id, "signal": key.signal.value, **parts})
    return rows


def with_state(db: Tables, _: int) -> list[Record]:
    return [{"tenant_id": tenant_id} for tenant_id in sorted(db.tenant_checkpoints) if db.tenant_checkpoints[tenant_id]]


def _loaded(table: dict[UUID, dict[int, tuple[int, bytes]]], ids: Sequence[UUID]) -> list[Record]:
    found = [(seq, fold, *saved) for fold in ids for seq, saved in table.get(fold, {}).items()]
    found.sort(key=lambda it: it[0], reverse=True)
    return [{"id": fold, "seq": seq, "crc": crc, "state": state} for seq, fold, crc, state in found]


def _owned(db: Tables, tenant_id: UUID, stream_id: UUID) -> bool:
    return stream_id in db.streams and db.streams[stream_id].tenant_id == tenant_id


def _keep_two(checkpoints: dict[int, tuple[int, bytes]]) -> None:
    for seq in sorted(checkpoints)[:-2]:
        del checkpoints[seq]
