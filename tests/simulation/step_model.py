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
ANOMALY += ("confidence", "explanation", "question", "body")


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


def keep_streams(db: Tables, saved: Column) -> None:
    for stream_id in saved:
        _keep_two(db.stream_checkpoints.get(stream_id, {}))


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


def load_streams(db: Tables, ids: Sequence[UUID]) -> list[Record]:
    return _loaded(db.stream_checkpoints, ids)


def load_tenants(db: Tables, ids: Sequence[UUID]) -> list[Record]:
    return _loaded(db.tenant_checkpoints, ids)


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


def with_state(db: Tables) -> list[Record]:
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
