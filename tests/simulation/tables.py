"""The tables that the simulated database has: those of our migrations, as far as appending and applying touch them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from driftlock.engine.event import StreamKey

SLOTS = 16
ROW_BYTES = 200  # what a journal row costs beside its body, as driftlock.journal_row_bytes says


class JRow(NamedTuple):
    seq: int
    slot: int
    kind: int
    tenant_id: UUID | None
    stream_id: UUID | None
    received_ns: int
    records: int
    raw_bytes: int
    crc: int
    body: bytes


class Slot(NamedTuple):
    slot: int
    first_seq: int
    last_seq: int
    bytes: int
    newest_ns: int


class Request(NamedTuple):
    received_ns: int
    seq: int
    until_ns: int
    content: bytes | None


class Stream(NamedTuple):
    tenant_id: UUID
    key: StreamKey
    slug: str
    overflow: bool
    profile: str | None = None


class Tenant(NamedTuple):
    name: str
    streams_max: int
    streams: int = 0
    alerts_per_day_max: int | None = None
    dedup_window_ns: int | None = None
    closed: bool = False


@dataclass(slots=True)
class Shard:
    epoch: int = 0
    next_seq: int = 1
    truncated_seq: int = 0
    bytes: int = 0
    slot: int = 0
    slot_first_seq: int = 1
    slot_bytes: int = 0
    slot_newest_ns: int = 0
    slot_since_ns: int = 0


@dataclass(slots=True)
class Tables:
    """One shard's worth of rows. `new_id` stands for driftlock.uuid_v7(), `now_ns` for the database's clock."""

    new_id: Callable[[], UUID]
    now_ns: Callable[[], int]
    shard: Shard = field(default_factory=Shard)
    position_epoch: int = 0
    applied_seq: int = 0
    journal: dict[int, JRow] = field(default_factory=dict)
    slots: dict[int, Slot] = field(default_factory=dict)
    requests: dict[tuple[UUID, bytes], Request] = field(default_factory=dict)
    meter: dict[tuple[UUID, str, str], tuple[int, int]] = field(default_factory=dict)  # of all hours together
    ledger: dict[tuple[UUID, str, str], tuple[int, int, int, int, int]] = field(default_factory=dict)
    removed: dict[tuple[UUID, str], int] = field(default_factory=dict)
    tenants: dict[UUID, Tenant] = field(default_factory=dict)
    streams: dict[UUID, Stream] = field(default_factory=dict)
    by_key: dict[tuple[UUID, StreamKey], UUID] = field(default_factory=dict)
    stream_checkpoints: dict[UUID, dict[int, tuple[int, bytes]]] = field(default_factory=dict)
    tenant_checkpoints: dict[UUID, dict[int, tuple[int, bytes]]] = field(default_factory=dict)
    series_states: dict[tuple[UUID, int], dict[int, tuple[int, bytes]]] = field(default_factory=dict)
    anomalies: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    anomaly_traces: dict[tuple[UUID, str], UUID] = field(default_factory=dict)
    evidence: dict[UUID, tuple[UUID, UUID, int, str]] = field(default_factory=dict)  # tenant, stream, base_seq, state
    incidents: dict[UUID, tuple[Any, ...]] = field(default_factory=dict)
    statuses: dict[UUID, tuple[Any, ...]] = field(default_factory=dict)
    events: dict[UUID, tuple[Any, ...]] = field(default_factory=dict)
    graphs: dict[UUID, tuple[Any, ...]] = field(default_factory=dict)
    scores: dict[tuple[UUID, int], tuple[Any, ...]] = field(default_factory=dict)
    anchors: dict[UUID, tuple[Any, ...]] = field(default_factory=dict)
    anchor_settings: dict[UUID, tuple[Any, ...]] = field(default_factory=dict)  # seq, threshold, reset
    drift: dict[tuple[UUID, int], tuple[Any, ...]] = field(default_factory=dict)  # by anchor and hour
    feedback: dict[UUID, tuple[Any, ...]] = field(default_factory=dict)  # by finding; the columns of its PUT
    rules: dict[tuple[UUID, UUID | None], tuple[int, str]] = field(default_factory=dict)  # by tenant and stream: seq, rules
    rule_keys: dict[UUID, bytes] = field(default_factory=dict)
    audit: dict[int, tuple[UUID, str, str]] = field(default_factory=dict)  # tenant, action, target
    heads: dict[UUID, int] = field(default_factory=dict)
    live: dict[tuple[UUID, int], tuple[str, UUID | None, UUID | None]] = field(default_factory=dict)

    def fork(self, new_id: Callable[[], UUID], now_ns: Callable[[], int]) -> "Tables":
        """An independent copy; rows are shared, for nobody changes a row in place."""
        values: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            values[name] = dict(value) if isinstance(value, dict) else value
        for name in ("stream_checkpoints", "tenant_checkpoints", "series_states", "anomalies"):
            values[name] = {key: dict(inner) for key, inner in values[name].items()}
        values |= {"new_id": new_id, "now_ns": now_ns, "shard": copy.copy(self.shard)}
        return Tables(**values)


def raised(sqlstate: str) -> asyncpg.PostgresError:
    """What the driver raises for an error of a function of our own migrations."""
    error = asyncpg.PostgresError(f"simulated {sqlstate}")
    error.__dict__["sqlstate"] = sqlstate
    return error
