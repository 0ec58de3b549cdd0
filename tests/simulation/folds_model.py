"""What the functions that read the journal and resolve streams do, over `Tables`."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from driftlock.engine.event import Signal, StreamKey
from tests.simulation.tables import Slot, Stream, Tables, raised

Record = dict[str, Any]


def kept(checkpoints: dict[int, tuple[int, bytes]] | None) -> tuple[int, int]:
    """Positions of the newest checkpoint and of the one before it; 0 = none."""
    if not checkpoints:
        return 0, 0
    return max(checkpoints), min(checkpoints) if len(checkpoints) > 1 else 0


def stream_folds(db: Tables, _: int) -> list[Record]:
    rows: list[Record] = []
    for stream_id in db.streams:
        newest, previous = kept(db.stream_checkpoints.get(stream_id))
        seqs = [row.seq for row in db.journal.values() if row.stream_id == stream_id]
        rows.append(_fold(db, stream_id, newest, previous, seqs))
    return [row for row in rows if row["after_newest"] is not None]


def tenant_folds(db: Tables, _: int) -> list[Record]:
    rows: list[Record] = []
    for tenant_id in db.tenants:
        newest, previous = kept(db.tenant_checkpoints.get(tenant_id))
        rows.append(_fold(db, tenant_id, newest, previous, _of_tenant(db, tenant_id)))
    return [row for row in rows if row["after_newest"] is not None]


def _of_tenant(db: Tables, tenant_id: UUID) -> list[int]:
    """Positions of the rows that a tenant's fold takes in."""
    seqs = []
    for row in db.journal.values():
        stream = db.streams.get(row.stream_id) if row.stream_id is not None else None
        if (row.kind in (0, 5) and stream is not None and stream.tenant_id == tenant_id) or (
            row.kind == 4 and row.tenant_id == tenant_id
        ):
            seqs.append(row.seq)
    return seqs


def _fold(db: Tables, fold: UUID, newest: int, previous: int, seqs: Sequence[int]) -> Record:
    def first(after: int) -> int | None:
        found = min((seq for seq in seqs if seq > after), default=None)
        return found if found is not None and found <= db.applied_seq else None

    return {"id": fold, "newest_seq": newest, "after_newest": first(newest), "after_previous": first(previous)}


def needed(db: Tables, slot: Slot, applied: int) -> bool:
    """As driftlock.journal_needed: would a fold that has to start from its older checkpoint read this slot again?"""
    inside = [row for row in db.journal.values() if row.slot == slot.slot]
    for stream_id in {row.stream_id for row in inside if row.stream_id is not None}:
        newest, previous = kept(db.stream_checkpoints.get(stream_id))
        last = max(row.seq for row in inside if row.stream_id == stream_id)
        waits = any(row.stream_id == stream_id and newest < row.seq <= applied for row in db.journal.values())
        if last > previous and waits:
            return True
    for tenant_id in {row.tenant_id for row in inside if row.kind in (0, 4, 5) and row.tenant_id is not None}:
        newest, previous = kept(db.tenant_checkpoints.get(tenant_id))
        last = max(row.seq for row in inside if row.kind in (0, 4, 5) and row.tenant_id == tenant_id)
        if last > previous and any(newest < seq <= applied for seq in _of_tenant(db, tenant_id)):
            return True
    return False


def body(db: Tables, _: int, seq: int) -> bytes | None:
    return db.journal[seq].body if seq in db.journal else None


def positions(db: Tables, _: int) -> Record:
    return {"applied_seq": db.applied_seq, "last_seq": db.shard.next_seq - 1}


def spans(db: Tables, _: int, after: int, until: int, rows: int, extra: int) -> list[Record]:
    found: dict[int, Record] = {}
    for row in sorted(db.journal.values()):
        if after < row.seq <= until:
            span = found.setdefault((row.seq - after - 1) // rows, {"seq": 0, "bytes": 0, "received_ns": row.received_ns})
            span["seq"], span["bytes"] = row.seq, span["bytes"] + len(row.body) + extra
            span["received_ns"] = min(span["received_ns"], row.received_ns)
    return list(found.values())


def read(db: Tables, _: int, after: int, bytes_max: int, rows_max: int, known: Sequence[int]) -> list[Record]:
    found: list[Record] = []
    before = 0
    for seq in range(after + 1, min(after + rows_max, db.shard.next_seq - 1) + 1):
        row = db.journal.get(seq)
        if row is None:
            continue
        if before >= bytes_max:
            break
        before += len(row.body)
        stream = db.streams.get(row.stream_id) if row.stream_id is not None else None
        tenant = db.tenants.get(row.tenant_id) if row.tenant_id is not None else None
        found.append(
            {
                "seq": seq,
                "kind": row.kind,
                "received_ns": row.received_ns,
                "records": row.records,
                "crc": row.crc,
                "body": None if seq in known else row.body,
                "body_bytes": len(row.body),
                "tenant_id": row.tenant_id,
                "stream_id": row.stream_id,
                "signal": None if stream is None else stream.key.signal.value,
                "service": None if stream is None else stream.key.service,
                "namespace": None if stream is None else stream.key.namespace,
                "environment": None if stream is None else stream.key.environment,
                "profile": None if stream is None else stream.profile,
                "known_tenant": None if tenant is None else row.tenant_id,
                "alerts_per_day_max": None if tenant is None else tenant.alerts_per_day_max,
            }
        )
    return found


def resolve(db: Tables, tenant_id: UUID, *arguments: Any) -> list[tuple[UUID, bool]]:
    """As driftlock.streams_resolve; there is one shard."""
    *columns, _, _ = arguments
    wanted = [(StreamKey(Signal(signal), *rest), slug, unique) for signal, *rest, slug, unique in zip(*columns, strict=True)]
    tenant = db.tenants.get(tenant_id)
    if (tenant is None or tenant.closed) and any((tenant_id, key) not in db.by_key for key, _, _ in wanted):
        raise raised("ZD404")
    found = []
    created = 0
    for key, slug, unique in wanted:
        known = db.by_key.get((tenant_id, key))
        if known is not None:
            found.append((known, db.streams[known].overflow))
            continue
        assert tenant is not None
        if tenant.streams_max - tenant.streams - created <= 0:
            found.append((_overflow(db, tenant_id, key), True))
            continue
        taken = {stream.slug for stream in db.streams.values() if stream.tenant_id == tenant_id}
        found.append((_insert(db, tenant_id, key, unique if slug in taken else slug, overflow=False), False))
        created += 1
    if created and tenant is not None:
        db.tenants[tenant_id] = tenant._replace(streams=tenant.streams + created)
    return found


def _overflow(db: Tables, tenant_id: UUID, key: StreamKey) -> UUID:
    shared = "_traces" if key.signal is Signal.TRACES and key.service == "_traces" else "_overflow"
    spare = StreamKey(key.signal, shared)
    known = db.by_key.get((tenant_id, spare))
    if known is not None:
        return known
    suffix = "" if key.signal is Signal.LOGS or shared == "_traces" else f"-{key.signal}"
    return _insert(db, tenant_id, spare, shared + suffix, overflow=True)


def _insert(db: Tables, tenant_id: UUID, key: StreamKey, slug: str, *, overflow: bool) -> UUID:
    stream_id = db.new_id()
    db.streams[stream_id] = Stream(tenant_id, key, slug, overflow)
    db.by_key[tenant_id, key] = stream_id
    return stream_id
