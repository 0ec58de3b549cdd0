"""The seams of the engine: one-method protocols and the values that cross them.

collector, api ── Submission ──> Intake ──> Receipt          (OK means durable)
api ── Profile ──> Configurator                              (a configuration row among the stream's records)
api ── alerts a day ──> Configurator                         (a budget row among the tenant's records)
dispatch <── JournalRow ── JournalReader                     (the applier reads what was committed)
dispatch <── Checkpoint ── StateStore                        (where each fold stands)
dispatch ── Step ──> StepCommitter                           (findings, positions and states, all or nothing)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol
from uuid import UUID

from driftlock.engine.anchor import AnchorNote, AnchorSettings
from driftlock.engine.drift import DriftHour
from driftlock.engine.event import RecordBatch, Signal, StreamKey, trace_stream_key
from driftlock.engine.fold import GraphEdge
from driftlock.engine.origin import Origin
from driftlock.engine.profile import Profile
from driftlock.engine.scores import ScoreRow
from driftlock.engine.verdict import LOSSES, Finding, Incident, StreamEvent, content_id


@dataclass(frozen=True, slots=True)
class StreamBatch:
    """Records of one request that belong to one stream."""

    key: StreamKey
    batch: RecordBatch

    @property
    def records(self) -> int:
        """Records that count as received; 0 where all of them came in another batch of the request too, in more words."""
        return 0 if self.key == trace_stream_key(self.key.environment) else len(self.batch)


@dataclass(frozen=True, slots=True)
class Submission:
    """One request's worth of records, to be journaled in one transaction or not at all.

    `request_hash` (16 bytes) identifies a byte-identical resend; None switches deduplication off for this request.
    Where it is the hash of a key that the sender chose, `content_hash` is that of what came with it: the same key with
    another content is refused. `dedup_window_ns` is how long the request is remembered (None: as long as its tenant's are).
    `received_ns` is the server's receive time: it serves deduplication and metering, never detection. `received` is the number
    of records that the request held as they were counted on the wire, `rejected` that of those which will never be accepted;
    None: these and the rejected ones. Both go into the ledger as they are, to be compared with what was journaled.
    `origin` says of which messages of somebody else's topic the records are, each of which is journaled once.
    """

    tenant_id: UUID
    signal: Signal
    received_ns: int
    batches: tuple[StreamBatch, ...]
    request_hash: bytes | None = None
    received: int | None = None
    rejected: int = 0
    content_hash: bytes | None = None
    dedup_window_ns: int | None = None
    origin: Origin | None = None

    @property
    def records(self) -> int:
        """Records in all batches, a span once: this is what is metered."""
        return sum(part.records for part in self.batches)

    @property
    def received_records(self) -> int:
        """Records that the request held as it came in."""
        return self.records + self.rejected if self.received is None else self.received


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a submission is committed: `records` journaled by it (0 when `duplicate`), up to position `seq`.

    `overflowed` counts records that went to the `_overflow` stream because the tenant's stream cap is reached.
    `stream_ids` are the streams of the submission's batches, in their order.
    """

    seq: int
    records: int
    duplicate: bool = False
    overflowed: int = 0
    stream_ids: tuple[UUID, ...] = ()


class Intake(Protocol):
    """Where receivers hand over records."""

    async def submit(self, submission: Submission) -> Receipt:
        """Return once the submission is durable; raise `Unavailable` (retryable) when it can not be made so now."""
        ...


class Configurator(Protocol):
    """Where streams get their profiles, and tenants their budget. Raises `Unavailable` when nothing can be made durable now."""

    async def configure(self, tenant_id: UUID, stream_id: UUID, profile: Profile, *, expected: Profile | None = None) -> int:
        """Let `profile` hold for all records after the returned position; it is durable then.

        Raise `NotFound` for a stream that the tenant does not have, `Conflict` when its profile is not `expected` (None:
        whatever it is).
        """
        ...

    async def create_stream(self, tenant_id: UUID, key: StreamKey, profile: Profile) -> bool:
        """Create the stream of `key` with `profile` in force before its first record.

        False when there is a stream with a past, or when the tenant may have no more: then nothing has changed.
        """
        ...

    async def set_budget(self, tenant_id: UUID, alerts_per_day_max: int) -> bool:
        """Let the tenant have at most so many alerts in any 24 hours of event time, from the next record on; durable then.

        False when that holds already. Raise `NotFound` for a tenant that is gone.
        """
        ...


class RowKind(IntEnum):
    """What a journal row holds; 2 is what stays in the database of a deleted tenant's row, which readers give as a clock."""

    RECORDS = 0
    CLOCK = 1
    CONFIG = 3
    BUDGET = 4
    TIME = 5
    ERA = 6
    LESSON = 7
    ANCHOR = 8
    REDACTION = 9
    DERIVED = 10


OF_STREAMS = frozenset({RowKind.RECORDS, RowKind.CONFIG, RowKind.TIME, RowKind.LESSON, RowKind.ANCHOR})
"""Rows that always have a stream."""


@dataclass(frozen=True, slots=True)
class JournalRow:
    """One committed row: records, or the configuration, the time, a lesson or an anchor of one stream; and facts of others.

    A budget is a tenant's; redaction rules, a stream's or a tenant's, hold before the journal, so no fold heeds them; a clock
    and an era are nobody's. A derived row is a tenant's, in the shard that has its fold: what the folds of its streams in
    another shard told it in one step of that shard.
    `body` is encoded by `driftlock.engine.records`; of records that are at hand it may be empty, and `batch` has them.
    `body_bytes` is the size of the body either way.
    The ids and the key of the stream are set for `OF_STREAMS`, the tenant's id for these, budgets, redaction rules and derived
    rows. What a
    control row says holds for the rows after it. `configured` is what the stream's newest configuration says, `budget` what
    the tenant's newest budget says (None = there never was one), for a fold that begins anew because its state, or that row,
    can not be read. Nobody else may use them: they are not of the row's time. `records` are those that were metered with the
    row: with a body that does not match its checksum, which comes empty, all that is known of what it held.
    """

    seq: int
    kind: RowKind
    received_ns: int
    body: bytes
    tenant_id: UUID | None = None
    stream_id: UUID | None = None
    stream_key: StreamKey | None = None
    configured: Profile | None = None
    budget: int | None = None
    batch: RecordBatch | None = None
    body_bytes: int = 0
    records: int = 0


class JournalReader(Protocol):
    """Committed rows, in order."""

    async def read(self, after_seq: int, bytes_max: int) -> Sequence[JournalRow]:
        """Rows with seq > after_seq, gapless and ascending, at least one if there is any, about `bytes_max` bodies' bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State of a fold after the row `seq` (0 = before everything); `state` is b"" when it is lost.

    `instead_of` is the position of a newer one that can not be read (0 = it is the newest): the rows between the two are in no
    state, and can be taken again only by who reads the journal from here.
    """

    seq: int
    state: bytes
    instead_of: int = 0


class StateStore(Protocol):
    """The newest readable checkpoints of stream folds, and of tenant folds; missing ids have none."""

    async def load_streams(self, stream_ids: Sequence[UUID]) -> Mapping[UUID, Checkpoint]:
        """Checkpoints by stream id."""
        ...

    async def load_tenants(self, tenant_ids: Sequence[UUID]) -> Mapping[UUID, Checkpoint]:
        """Checkpoints by tenant id."""
        ...

    async def elsewhere(self, tenant_ids: Sequence[UUID]) -> frozenset[UUID]:
        """Those of these tenants whose fold another shard has; a tenant's answer never changes.

        What the streams of this shard tell them goes there as `Step.derived`. They have checkpoints in this shard all the same,
        of what it has to know of them: `load_tenants` has these, and nothing of the other shard's.
        """
        ...

    async def stream_keys(self, stream_ids: Sequence[UUID]) -> Mapping[UUID, StreamKey]:
        """The keys of streams by id; those that are gone are left out."""
        ...

    async def load_series(self, stream_id: UUID, until_seq: int, series: Sequence[int]) -> Mapping[int, bytes]:
        """The newest readable state of each series of a metrics stream that is not newer than `until_seq`, by its number.

        Series are numbered from 1 to 2**64 - 1. Those that are not known, or can not be read, are left out.
        """
        ...


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """What lists show of a stream after a step: events folded, event-time bounds (ns), calibration in words with its reason."""

    tenant_id: UUID
    stream_id: UUID
    events: int
    windows: int
    first_event_ns: int
    last_event_ns: int
    calibration: str
    events_until_ready: int
    calibration_reason: str = ""


@dataclass(frozen=True, slots=True)
class FindingRow:
    """A finding with the ids it is stored under; `finding_id` is its key, so it is a function of what was found.

    `seq` is the position of the row that brought it to its stream's fold (0 = a tenant's fold said it); rows that are cut
    otherwise say the same elsewhere. `silenced_by` is the finding from which people have taught the stream that this one is no
    reason for an alarm: it is stored, and nobody is told.
    """

    tenant_id: UUID
    stream_id: UUID
    finding_id: UUID
    finding: Finding
    seq: int = field(default=0, compare=False)
    silenced_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """The latest form of an incident, and the findings that joined it in this step.

    `alerted_ns` is the event time at which the budget allowed its alert (None = it did not); `told` says that this happened
    in this step, which is so in one step of an incident at most: whoever tells people does it then.
    """

    tenant_id: UUID
    incident: Incident
    joined: tuple[UUID, ...]
    alerted_ns: int | None = None
    told: bool = False


@dataclass(frozen=True, slots=True)
class StreamEventRow:
    """Something that happened to a stream's baseline or calibration, with the ids it is stored under."""

    tenant_id: UUID
    stream_id: UUID
    event: StreamEvent

    @property
    def event_id(self) -> UUID:
        """A function of what happened, so that a replay says it once."""
        event = self.event
        if event.kind in LOSSES:  # several may come at one place, and their reasons name the journal's positions
            return content_id(self.stream_id.bytes + event.kind.value.encode() + event.reason.encode())
        place = b"".join(number.to_bytes(8, "little") for number in (event.event, event.window))
        return content_id(self.stream_id.bytes + place + event.kind.value.encode())


@dataclass(frozen=True, slots=True)
class AnchorRow:
    """An anchor of a stream as it is now, with the ids it is stored under."""

    tenant_id: UUID
    stream_id: UUID
    note: AnchorNote


@dataclass(frozen=True, slots=True)
class AnchorLoss:
    """What a stream knew of its anchor up to the row `seq` is lost, but for `kept`, which is in force (None = none is).

    `settings` are those in force.
    """

    tenant_id: UUID
    stream_id: UUID
    seq: int
    kept: UUID | None
    settings: AnchorSettings


@dataclass(frozen=True, slots=True)
class DriftRow:
    """A closed hour of a stream that has an anchor."""

    tenant_id: UUID
    stream_id: UUID
    hour: DriftHour


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """A journal row that was passed although it can not be read; `reason` says why in a few words.

    `stream_id` is None where it is of no stream: a clock, a budget, an era.
    """

    seq: int
    kind: RowKind
    reason: str
    tenant_id: UUID | None = None
    stream_id: UUID | None = None
    records: int = 0


@dataclass(frozen=True, slots=True)
class ServiceGraph:
    """The service graph of a stream of traces after the row `seq`, when its newest span was of `as_of_ns`."""

    seq: int
    as_of_ns: int
    edges: tuple[GraphEdge, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """Everything the applier did from `from_seq` (exclusive) to `to_seq` (inclusive); committed all or nothing.

    `derived` are for tenants whose fold another shard has: each becomes a derived row of its journal with the commit, those of
    one shard in the order of its steps. There they are needed again as long as they are newer than the tenant's checkpoint.
    """

    from_seq: int
    to_seq: int
    findings: tuple[FindingRow, ...] = ()
    incidents: tuple[IncidentRow, ...] = ()
    streams: tuple[StreamStatus, ...] = ()
    events: tuple[StreamEventRow, ...] = ()
    stream_checkpoints: Mapping[tuple[UUID, UUID], Checkpoint] = field(default_factory=dict)  # (tenant, stream)
    series_checkpoints: Mapping[tuple[UUID, UUID, int], Checkpoint] = field(default_factory=dict)  # (tenant, stream, series)
    series_dropped: Mapping[tuple[UUID, UUID], tuple[int, ...]] = field(default_factory=dict)  # forgotten for ever
    tenant_checkpoints: Mapping[UUID, Checkpoint] = field(default_factory=dict)
    graphs: Mapping[tuple[UUID, UUID], ServiceGraph] = field(default_factory=dict)  # (tenant, stream); the newest one holds
    quarantined: tuple[QuarantinedRow, ...] = ()  # of its rows, or of earlier ones that a fold had to read again
    anchors: tuple[AnchorRow, ...] = ()  # in the order in which they came to be so; the last row of an anchor holds
    drift: tuple[DriftRow, ...] = ()
    anchors_lost: tuple[AnchorLoss, ...] = ()  # before `anchors`
    scores: tuple[ScoreRow, ...] = ()  # what its rows add to minutes of streams, a minute once
    derived: Mapping[UUID, bytes] = field(default_factory=dict)  # by tenant


class StepCommitter(Protocol):
    """Commits a step by compare-and-set on the applied position."""

    async def commit(self, step: Step) -> None:
        """Raise `driftlock.errors.Conflict` when another owner moved the position, `Unavailable` when it can be retried."""
        ...
