"""What the functions of the journal do, over `Tables`: appending, ownership, letting go. Each mirrors one of our migrations.

A function either raises before it has changed anything, or succeeds whole: that is what a transaction is.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from tests.simulation.folds_model import needed
from tests.simulation.tables import ROW_BYTES, SLOTS, JRow, Request, Shard, Slot, Tables, raised


def row_bytes(body: bytes) -> int:
    return len(body) + ROW_BYTES


def owned(db: Tables, epoch: int) -> Shard:
    if db.shard.epoch != epoch:
        raise raised("ZD001")
    return db.shard


def acquire(db: Tables, _: int) -> int:
    db.shard.epoch = db.position_epoch = max(db.shard.epoch + 1, db.now_ns() // 1000)
    return db.shard.epoch


def grow(db: Tables, rows: Sequence[JRow], newest_ns: int) -> None:
    """Insert rows, which have their positions, and note what they take."""
    shard, size = db.shard, sum(row_bytes(row.body) for row in rows)
    for row in rows:
        db.journal[row.seq] = row
    if shard.slot_first_seq == shard.next_seq:
        shard.slot_since_ns = newest_ns
    shard.next_seq += len(rows)
    shard.bytes += size
    shard.slot_bytes += size
    shard.slot_newest_ns = max(shard.slot_newest_ns, newest_ns)


def roll(db: Tables) -> bool:
    shard, following = db.shard, (db.shard.slot + 1) % SLOTS
    if following in db.slots or shard.next_seq <= shard.slot_first_seq:
        return False
    db.slots[shard.slot] = Slot(shard.slot, shard.slot_first_seq, shard.next_seq - 1, shard.slot_bytes, shard.slot_newest_ns)
    shard.slot, shard.slot_first_seq = following, shard.next_seq
    shard.slot_bytes = shard.slot_newest_ns = shard.slot_since_ns = 0
    return True


class Group(NamedTuple):
    """The requests of one call by their columns, and the rows of each."""

    tenants: Sequence[UUID]
    signals: Sequence[str]
    hashes: Sequence[bytes | None]
    contents: Sequence[bytes | None]
    windows: Sequence[int | None]
    received: Sequence[int]
    counts: Sequence[int]
    rejected: Sequence[int]
    rows: dict[int, list[tuple[Any, ...]]]  # (stream, records, raw bytes, checksum, body)


class Verdict(NamedTuple):
    """What a request is: 0 new, 1 a resend, 2 a known hash with another content."""

    outcome: int
    first: int  # the first of its group with the same hash
    known: int | None  # the position under which it is known already
    kept_ns: int  # how long it is remembered


def append(
    db: Tables, _: int, epoch: int, node: str, window_ns: int, bytes_max: int, *columns: Sequence[Any]
) -> list[dict[str, int | None]]:
    shard = owned(db, epoch)
    rows_of: dict[int, list[tuple[Any, ...]]] = {}
    for request, *row in zip(*columns[8:], strict=True):
        rows_of.setdefault(request - 1, []).append(tuple(row))
    group = Group(*columns[:8], rows_of)  # type: ignore[call-arg, arg-type]  # as the statement has them
    if any(tenant_id not in db.tenants or db.tenants[tenant_id].closed for tenant_id in group.tenants):
        raise raised("23503")
    verdicts = _verdicts(db, group, window_ns)
    kept = [n for n, verdict in enumerate(verdicts) if verdict.first == n and verdict.known is None]
    size = sum(row_bytes(row[-1]) for n in kept for row in rows_of.get(n, []))
    if kept and shard.bytes + size > bytes_max:
        raise raised("ZD002")
    # Everything after this succeeds. In the database the slot is rolled first, and rolled back by what is raised above.
    if shard.slot_bytes >= bytes_max // SLOTS:
        roll(db)
    last = _insert(db, group, kept, node)
    for n in kept:
        hashed, kept_ns = group.hashes[n], verdicts[n].kept_ns
        if hashed is not None and kept_ns > 0:
            until_ns = group.received[n] + kept_ns
            db.requests[group.tenants[n], hashed] = Request(group.received[n], last[n], until_ns, group.contents[n])
    for n, verdict in enumerate(verdicts):
        if verdict.outcome != 2:
            journaled = sum(row[1] for row in rows_of.get(n, [])) if n in kept else 0
            resent = group.counts[n] - group.rejected[n] if verdict.outcome == 1 else 0
            entry = (group.counts[n], journaled, group.rejected[n], 0, resent)
            _enter(db, (group.tenants[n], node, group.signals[n]), entry)
    return [
        {"request": n, "outcome": it.outcome, "seq": it.known or (last[it.first] if kept else verdicts[it.first].known)}
        for n, it in enumerate(verdicts, 1)
    ]


def _verdicts(db: Tables, group: Group, window_ns: int) -> list[Verdict]:
    first_of: dict[tuple[UUID, bytes], int] = {}
    found: list[Verdict] = []
    for n, tenant_id in enumerate(group.tenants):
        tenant, hashed = db.tenants.get(tenant_id), group.hashes[n]
        choices = (group.windows[n], None if tenant is None else tenant.dedup_window_ns, window_ns)
        kept_ns = next(choice for choice in choices if choice is not None)
        first, entry = n, None
        if hashed is not None and kept_ns > 0:
            first = first_of.setdefault((tenant_id, hashed), n)
            entry = db.requests.get((tenant_id, hashed))
        if entry is not None and entry.until_ns <= group.received[n]:
            entry = None
        content = group.contents[first] if entry is None or entry.content is None else entry.content
        there = entry is not None or first != n
        outcome = 0 if not there else 1 if group.contents[n] == content else 2
        found.append(Verdict(outcome, first, None if entry is None else entry.seq, kept_ns))
    return found


def _insert(db: Tables, group: Group, kept: Sequence[int], node: str) -> dict[int, int]:
    """Journal the rows of `kept` requests; for every request the last position by then."""
    rows, last, at = [], {}, db.shard.next_seq - 1
    for n, tenant_id in enumerate(group.tenants):
        for stream_id, records, raw, crc, body in group.rows.get(n, []) if n in kept else []:
            at += 1
            rows.append(JRow(at, db.shard.slot, 0, tenant_id, stream_id, group.received[n], records, raw, crc, body))
            _meter(db, (tenant_id, node, group.signals[n]), records, raw)
        last[n] = at
    if kept:
        grow(db, rows, max(group.received))
    return last


def _meter(db: Tables, key: tuple[UUID, str, str], records: int, raw: int) -> None:
    before = db.meter.get(key, (0, 0))
    db.meter[key] = (before[0] + records, before[1] + raw)


def _enter(db: Tables, key: tuple[UUID, str, str], entry: tuple[int, int, int, int, int]) -> None:
    before = db.ledger.get(key, (0, 0, 0, 0, 0))
    db.ledger[key] = tuple(a + b for a, b in zip(before, entry, strict=True))  # type: ignore[assignment]


def append_control(db: Tables, _: int, epoch: int, received_ns: int, crc: int, body: bytes) -> int:
    shard = owned(db, epoch)
    grow(db, [JRow(shard.next_seq, shard.slot, 1, None, None, received_ns, 0, 0, crc, body)], received_ns)
    return shard.next_seq - 1


def append_time(
    db: Tables, _: int, epoch: int, tenant_id: UUID, stream_id: UUID, received_ns: int, crc: int, body: bytes
) -> int | None:
    shard = owned(db, epoch)
    if stream_id not in db.streams or db.streams[stream_id].tenant_id != tenant_id:
        return None
    grow(db, [JRow(shard.next_seq, shard.slot, 5, tenant_id, stream_id, received_ns, 0, 0, crc, body)], received_ns)
    return shard.next_seq - 1


def set_budget(
    db: Tables, _: int, epoch: int, bytes_max: int, tenant_id: UUID, alerts: int, crc: int, body: bytes
) -> int | None:
    shard, now_ns = owned(db, epoch), db.now_ns()
    tenant = db.tenants.get(tenant_id)
    if tenant is None:
        return None
    if tenant.alerts_per_day_max == alerts:
        return 0
    if shard.bytes + row_bytes(body) > bytes_max:
        raise raised("ZD002")
    grow(db, [JRow(shard.next_seq, shard.slot, 4, tenant_id, None, now_ns, 0, 0, crc, body)], now_ns)
    db.tenants[tenant_id] = tenant._replace(alerts_per_day_max=alerts)
    return shard.next_seq - 1


def configure(
    db: Tables,
    _: int,
    epoch: int,
    bytes_max: int,
    tenant_id: UUID,
    stream_id: UUID,
    profile: str,
    crc: int,
    body: bytes,
    fresh: bool,
    expected: str | None,
    expected_default: bool,
) -> int | None:
    shard, now_ns = owned(db, epoch), db.now_ns()
    stream = db.streams.get(stream_id)
    if stream is None or stream.tenant_id != tenant_id:
        return None
    past = stream.profile is not None or stream_id in db.statuses
    if fresh and (past or any(row.stream_id == stream_id for row in db.journal.values())):
        return None
    present = None if stream.profile is None else json.loads(stream.profile)
    if expected is not None:
        wanted = json.loads(expected)
        same = None if present is None else present == {name: wanted[name] for name in wanted if name in present}
        if not (expected_default if same is None else same):
            return -1
    if present == json.loads(profile):
        return shard.next_seq - 1
    if shard.bytes + row_bytes(body) > bytes_max:
        raise raised("ZD002")
    grow(db, [JRow(shard.next_seq, shard.slot, 3, tenant_id, stream_id, now_ns, 0, 0, crc, body)], now_ns)
    db.streams[stream_id] = stream._replace(profile=profile)
    return shard.next_seq - 1


def close(db: Tables, _: int, epoch: int, before_ns: int, bytes_kept: int) -> bool:
    shard = owned(db, epoch)
    crowded = shard.bytes > bytes_kept and shard.slot_bytes > bytes_kept // SLOTS
    return (shard.slot_since_ns < before_ns or crowded) and roll(db)


def due(db: Tables, _: int, before_ns: int, bytes_kept: int) -> dict[str, Any] | None:
    """The oldest closed slot, if it may be emptied, with the records in it; in the database their order is any."""
    oldest = min(db.slots.values(), key=lambda it: it.first_seq, default=None)
    if oldest is None or oldest.last_seq > db.applied_seq:
        return None
    if oldest.newest_ns >= before_ns and db.shard.bytes <= bytes_kept:
        return None
    if needed(db, oldest, db.applied_seq):
        return None
    held: dict[tuple[UUID, str], int] = {}
    for row in db.journal.values():
        stream = db.streams.get(row.stream_id) if row.stream_id is not None else None
        if row.slot == oldest.slot and stream is not None and row.records:
            key = (stream.tenant_id, stream.key.signal.value)
            held[key] = held.get(key, 0) + row.records
    found = {"slot": oldest.slot, "first_seq": oldest.first_seq, "last_seq": oldest.last_seq}
    columns = {"tenant_ids": [key[0] for key in held], "signals": [key[1] for key in held], "records": list(held.values())}
    return found | {name: column or None for name, column in columns.items()}


def empty(
    db: Tables,
    _: int,
    epoch: int,
    number: int,
    first_seq: int,
    tenant_ids: Sequence[UUID],
    signals: Sequence[str],
    records: Sequence[int],
) -> int:
    shard = owned(db, epoch)
    slot = db.slots.get(number)
    if slot is None or slot.first_seq != first_seq:
        return 0
    if db.applied_seq < slot.last_seq or shard.slot == number:
        raise raised("ZD003")
    for tenant_id, signal, count in zip(tenant_ids, signals, records, strict=True):
        if tenant_id in db.tenants and not db.tenants[tenant_id].closed:
            db.removed[tenant_id, signal] = db.removed.get((tenant_id, signal), 0) + count
    for seq in range(slot.first_seq, slot.last_seq + 1):
        del db.journal[seq]
    del db.slots[number]
    shard.bytes -= slot.bytes
    shard.truncated_seq = slot.last_seq
    return slot.last_seq - slot.first_seq + 1


def forget(db: Tables, now_ns: int, rows_max: int) -> int:
    over = sorted((entry.until_ns, key) for key, entry in db.requests.items() if entry.until_ns < now_ns)[:rows_max]
    for _, key in over:
        del db.requests[key]
    return len(over)


def ledger_add(db: Tables, node: str, *columns: Sequence[Any]) -> None:
    for tenant_id, signal, received, rejected, refused in zip(*columns, strict=True):
        if tenant_id in db.tenants and not db.tenants[tenant_id].closed:
            _enter(db, (tenant_id, node, signal), (received, 0, rejected, refused, 0))
