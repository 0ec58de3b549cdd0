"""In-memory rooms for the API's tests: small, real implementations of its ports, not mocks."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from api.ports import (
    AnomalyFilter,
    AnomalyRow,
    BudgetRow,
    IncidentFilter,
    IncidentRow,
    KnownRequest,
    ServiceGraphRow,
    StoredStreamEvent,
    StreamRow,
)
from driftlock.accounts.access import Access
from driftlock.accounts.keys import RANDOMNESS_BYTES, KeyKind, KeyRecord, MintedKey, Principal, Scope, mint
from driftlock.engine.correlation.flag import traces_of
from driftlock.engine.event import StreamKey
from driftlock.engine.ports import Receipt, Submission
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import Calibration, Finding, Incident, IncidentState, NovelLine
from driftlock.errors import Conflict, KeyReused, NotFound

NAMESPACE = UUID("00000000-0000-4000-8000-000000000000")
TENANT = UUID("00000000-0000-4000-8000-00000000000a")
OTHER_TENANT = UUID("00000000-0000-4000-8000-00000000000b")
NOW_NS = 1_800_000_000_123_456_789
EPOCH = datetime(2027, 1, 1, tzinfo=UTC)


def minted(name: str) -> MintedKey:
    """The key that tests call `name`."""
    return mint(KeyKind.TEST, hashlib.shake_128(name.encode()).digest(RANDOMNESS_BYTES))


def key(name: str) -> str:
    return minted(name).text


@dataclass
class FakeDirectory:
    """Keys in a dictionary; `seen` are the ids that were looked up."""

    records: dict[str, KeyRecord] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)

    def add(self, name: str, tenant_id: UUID, scopes: Collection[Scope], stream: str | None = None) -> None:
        new = minted(name)
        self.records[new.key_id] = KeyRecord(new.key_id, tenant_id, new.digest, frozenset(scopes), stream)

    async def lookup(self, key_id: str, now: datetime) -> KeyRecord | None:  # noqa: ARG002
        self.seen.append(key_id)
        return self.records.get(key_id)


class RecordingAccess:
    """The real `Access`, with a note of what it was asked."""

    def __init__(self, directory: FakeDirectory, anonymous: Principal | None = None) -> None:
        self.directory = directory
        self.access = Access(directory, anonymous=anonymous)
        self.seen: list[dict[str, object]] = []

    async def principal(self, presented: Sequence[str], *, peer: str, host: str, origin: str, now: datetime) -> Principal:
        self.seen.append({"presented": list(presented), "peer": peer, "host": host, "origin": origin, "now": now})
        return await self.access.principal(presented, peer=peer, host=host, origin=origin, now=now)


def stream_id_of(tenant_id: UUID, key: object) -> UUID:
    return uuid5(NAMESPACE, f"{tenant_id}{key}")


@dataclass
class FakeHouse:
    """Journal, detector and tables of all tenants. `detect` says what is found in a stream when records of it are scored.

    `full`: no tenant may have one more stream. `meanwhile` is called when a stream is about to be created.
    """

    detect: Callable[[StreamRow, int], list[Finding]] = lambda _stream, _count: []
    gate: asyncio.Event | None = None
    submissions: list[Submission] = field(default_factory=list)
    failure: Exception | None = None
    stream_rows: dict[UUID, dict[UUID, StreamRow]] = field(default_factory=lambda: defaultdict(dict))
    anomaly_rows: dict[UUID, list[AnomalyRow]] = field(default_factory=lambda: defaultdict(list))
    incident_rows: dict[UUID, list[IncidentRow]] = field(default_factory=lambda: defaultdict(list))
    event_rows: dict[UUID, list[StoredStreamEvent]] = field(default_factory=lambda: defaultdict(list))
    graphs: dict[UUID, ServiceGraphRow] = field(default_factory=dict)
    budgets: dict[UUID, BudgetRow] = field(default_factory=dict)
    hashes: dict[bytes, bytes | None] = field(default_factory=dict)
    waited: list[int] = field(default_factory=list)
    configured: list[tuple[UUID, Profile]] = field(default_factory=list)
    row_of: dict[UUID, int] = field(default_factory=dict)
    unscored: dict[UUID, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    full: bool = False
    meanwhile: Callable[[], None] | None = None

    async def submit(self, submission: Submission) -> Receipt:
        if self.failure is not None:
            raise self.failure
        ids = tuple(self._stream(submission.tenant_id, part.key).stream_id for part in submission.batches)
        seq = len(self.submissions) + 1
        if submission.request_hash is not None and submission.request_hash in self.hashes:
            if self.hashes[submission.request_hash] != submission.content_hash:
                raise KeyReused("this Idempotency-Key came with another request before; use a new one")
            return Receipt(seq=seq - 1, records=0, duplicate=True, stream_ids=ids)
        if submission.request_hash is not None:
            self.hashes[submission.request_hash] = submission.content_hash
        self.submissions.append(submission)
        for stream_id, part in zip(ids, submission.batches, strict=True):
            rows = self.stream_rows[submission.tenant_id]
            self.unscored[stream_id].append((seq, len(part.batch)))
            rows[stream_id] = replace(rows[stream_id], pending=rows[stream_id].pending + len(part.batch))
        return Receipt(seq=seq, records=submission.records, stream_ids=ids)

    async def known(self, tenant_id: UUID, request_hash: bytes, received_ns: int) -> KnownRequest | None:  # noqa: ARG002
        return KnownRequest(self.hashes[request_hash]) if request_hash in self.hashes else None

    async def configure(self, tenant_id: UUID, stream_id: UUID, profile: Profile, *, expected: Profile | None = None) -> int:
        if self.failure is not None:
            raise self.failure
        rows = self.stream_rows[tenant_id]
        if stream_id not in rows:
            raise NotFound("there is no such stream")
        if expected not in (None, rows[stream_id].profile):
            raise Conflict("the profile of this stream has been changed meanwhile; read it and try again")
        rows[stream_id] = replace(rows[stream_id], profile=profile)
        self.configured.append((stream_id, profile))
        return len(self.submissions)

    async def set_budget(self, tenant_id: UUID, alerts_per_day_max: int) -> bool:
        if self.failure is not None:
            raise self.failure
        row = self.budgets.get(tenant_id, BudgetRow(None, 0, 0, 0))
        self.budgets[tenant_id] = replace(row, alerts_per_day_max=alerts_per_day_max)
        return row.alerts_per_day_max != alerts_per_day_max

    async def create_stream(self, tenant_id: UUID, key: StreamKey, profile: Profile) -> bool:
        if self.meanwhile is not None:
            self.meanwhile()
        if self.full or stream_id_of(tenant_id, key) in self.stream_rows[tenant_id]:
            return False
        await self.configure(tenant_id, self._stream(tenant_id, key).stream_id, profile)
        return True

    async def scored(self, _stream_id: UUID, seq: int) -> None:
        self.waited.append(seq)
        if self.gate is not None:
            await self.gate.wait()
        for tenant_id, rows in self.stream_rows.items():
            for stream_id, row in rows.items():
                if not row.pending:
                    continue
                events = row.events + row.pending
                rows[stream_id] = replace(
                    row, events=events, pending=0, events_until_ready=max(0, row.events_until_ready - row.pending)
                )
                seqs = [at for at, count in self.unscored.pop(stream_id, []) for _ in range(count)]  # of each event
                for finding in self.detect(rows[stream_id], row.pending):
                    added = self.add_anomaly(tenant_id, rows[stream_id], finding)
                    self.row_of[added.anomaly_id] = seqs[min(max(0, finding.last_event - row.events), len(seqs) - 1)]

    def _stream(self, tenant_id: UUID, key: object) -> StreamRow:
        stream_id = stream_id_of(tenant_id, key)
        return self.stream_rows[tenant_id].setdefault(
            stream_id,
            make_stream(stream_id, key.service, key),  # type: ignore[attr-defined]
        )

    def add_anomaly(self, tenant_id: UUID, stream: StreamRow, finding: Finding, incident_id: UUID | None = None) -> AnomalyRow:
        rows = self.anomaly_rows[tenant_id]
        row = AnomalyRow(
            anomaly_id=uuid5(NAMESPACE, f"{stream.stream_id}/{finding.window}"),
            stream_id=stream.stream_id,
            slug=stream.slug,
            incident_id=incident_id,
            detected_at=EPOCH + timedelta(microseconds=len(rows) // 2),  # pairs share a time: the id has to break the tie
            finding=finding,
        )
        rows.append(row)
        return row


class FakeStreams:
    def __init__(self, house: FakeHouse) -> None:
        self.house = house

    async def list(self, tenant_id: UUID, *, limit: int, after: tuple[str, UUID] | None) -> list[StreamRow]:
        rows = sorted(self.house.stream_rows[tenant_id].values(), key=lambda row: (row.slug, row.stream_id))
        return [row for row in rows if after is None or (row.slug, row.stream_id) > after][:limit]

    async def get(self, tenant_id: UUID, stream: UUID | str) -> StreamRow | None:
        return next((row for row in self.house.stream_rows[tenant_id].values() if stream in (row.stream_id, row.slug)), None)


class FakeAnomalies:
    def __init__(self, house: FakeHouse) -> None:
        self.house = house
        self.filters: list[AnomalyFilter] = []

    async def list(
        self, tenant_id: UUID, filters: AnomalyFilter, *, limit: int, after: tuple[datetime, int, UUID] | None
    ) -> list[AnomalyRow]:
        self.filters.append(filters)

        def key(row: AnomalyRow) -> tuple[datetime, int, UUID]:
            return row.detected_at, row.finding.end_ns, row.anomaly_id

        rows = sorted(self.house.anomaly_rows[tenant_id], key=key, reverse=True)
        return [row for row in rows if _passes(row, filters) and (after is None or key(row) < after)][:limit]

    async def place(
        self, tenant_id: UUID, filters: AnomalyFilter, *, rows: int, after: tuple[datetime, int, UUID] | None
    ) -> tuple[datetime, int, UUID] | None:
        found = await self.list(tenant_id, filters, limit=rows + 1, after=after)
        last = found[rows - 1] if len(found) > rows else None
        return None if last is None else (last.detected_at, last.finding.end_ns, last.anomaly_id)

    async def of_row(self, tenant_id: UUID, stream_id: UUID, journal_seq: int, *, limit: int) -> Sequence[AnomalyRow]:
        rows = [row for row in self.house.anomaly_rows[tenant_id] if row.stream_id == stream_id]
        ours = [row for row in rows if self.house.row_of.get(row.anomaly_id) == journal_seq]
        return sorted(ours, key=lambda row: row.finding.last_event)[:limit]

    async def by_ids(self, tenant_id: UUID, anomaly_ids: Sequence[UUID]) -> Sequence[AnomalyRow]:
        return [row for row in self.house.anomaly_rows[tenant_id] if row.anomaly_id in anomaly_ids]

    async def get(self, tenant_id: UUID, anomaly_id: UUID) -> AnomalyRow | None:
        return next((row for row in self.house.anomaly_rows[tenant_id] if row.anomaly_id == anomaly_id), None)


class FakeIncidents:
    def __init__(self, house: FakeHouse) -> None:
        self.house = house

    async def list(
        self, tenant_id: UUID, filters: IncidentFilter, *, limit: int, after: tuple[int, UUID] | None
    ) -> list[IncidentRow]:
        def key(row: IncidentRow) -> tuple[int, UUID]:
            return row.incident.start_ns, row.incident.incident_id

        rows = sorted(self.house.incident_rows[tenant_id], key=key, reverse=True)
        return [row for row in rows if _is_meant(row, filters) and (after is None or key(row) < after)][:limit]

    async def by_ids(self, tenant_id: UUID, incident_ids: Sequence[UUID]) -> Sequence[IncidentRow]:
        return [row for row in self.house.incident_rows[tenant_id] if row.incident.incident_id in incident_ids]

    async def get(self, tenant_id: UUID, incident_id: UUID) -> IncidentRow | None:
        return next((row for row in self.house.incident_rows[tenant_id] if row.incident.incident_id == incident_id), None)


def _is_meant(row: IncidentRow, filters: IncidentFilter) -> bool:
    incident = row.incident
    return (
        filters.state in (None, incident.state)
        and filters.status in (None, row.status)
        and (filters.stream_id is None or filters.stream_id in incident.stream_ids)
        and filters.alerted in (None, incident.alerted)
        and (filters.since is None or incident.end_ns >= filters.since)
        and (filters.until is None or incident.start_ns < filters.until)
    )


class FakeStreamEvents:
    def __init__(self, house: FakeHouse) -> None:
        self.house = house

    async def list(
        self, tenant_id: UUID, stream_id: UUID, *, limit: int, after: tuple[int, int, UUID] | None
    ) -> list[StoredStreamEvent]:
        def key(row: StoredStreamEvent) -> tuple[int, int, UUID]:
            return row.event.time_ns, row.event.event, row.event_id

        known = self.house.event_rows[stream_id] if stream_id in self.house.stream_rows[tenant_id] else []
        return [row for row in sorted(known, key=key, reverse=True) if after is None or key(row) < after][:limit]


class FakeServiceGraphs:
    def __init__(self, house: FakeHouse) -> None:
        self.house = house

    async def get(self, tenant_id: UUID, stream_id: UUID) -> ServiceGraphRow | None:
        return self.house.graphs.get(stream_id) if stream_id in self.house.stream_rows[tenant_id] else None


class FakeBudgets:
    def __init__(self, house: FakeHouse) -> None:
        self.house = house

    async def get(self, tenant_id: UUID) -> BudgetRow | None:
        return self.house.budgets.get(tenant_id, BudgetRow(None, 0, 0, 0))


def _passes(row: AnomalyRow, filters: AnomalyFilter) -> bool:
    return (
        filters.stream_id in (None, row.stream_id)
        and filters.incident_id in (None, row.incident_id)
        and (filters.ncd_min is None or row.finding.ncd >= filters.ncd_min)
        and (filters.p_value_max is None or row.finding.p_value <= filters.p_value_max)
        and (filters.since is None or row.finding.end_ns >= filters.since)
        and (filters.until is None or row.finding.start_ns < filters.until)
        and filters.question in (None, row.finding.question)
        and (filters.trace_id is None or filters.trace_id in traces_of(row.finding))
        and filters.silenced == (row.silenced_by is not None)
    )


def make_stream(stream_id: UUID, slug: str, key: object) -> StreamRow:
    return StreamRow(
        stream_id=stream_id,
        slug=slug,
        key=key,  # type: ignore[arg-type]
        created_at=EPOCH,
        events=0,
        windows=0,
        first_event_ns=0,
        last_event_ns=0,
        calibration=Calibration.CALIBRATING,
        events_until_ready=450,
        pending=0,
    )


def make_finding(window: int = 3, last_event: int = 59, **changes: object) -> Finding:
    line = NovelLine(
        event=last_event,
        time_ns=1_213_455_361_250_000_000,
        text="disk é full",
        spans=((5, 7),),
        cost_bytes=9,
        nearest="disk ok",
        count=2,
        instance="pod-1",
        trace_id="0af7651916cd43dd8448eb211c80319c",
    )
    finding = Finding(
        stream="logs:checkout",
        window=window,
        first_event=last_event - 49,
        last_event=last_event,
        start_ns=1_213_455_361_000_000_000,
        end_ns=1_213_455_362_000_000_000,
        ncd=0.61,
        ncd_threshold=0.3,
        ncd_classical=0.8,
        p_value=0.002,
        p_value_threshold=0.05,
        confidence=0.998,
        p_permutation=0.002,
        permutations=999,
        ratio=0.9,
        ratio_normal=0.3,
        compression_ratio=2.0,
        compression_ratio_normal=4.0,
        compression_ratio_p_value=0.01,
        entropy=5.0,
        entropy_normal=4.5,
        entropy_p_value=0.2,
        profile="balanced",
        calibration=Calibration.OK,
        codec="zstd",
        codec_level=3,
        codec_version="1.5.4",
        seed=2**64 - 1,
        late_events=0,
        receive_timed=False,
        explanation="A line that was never seen before.",
        lines=(replace(line, cost_bytes=4, text="quiet", spans=()), line),
        window_lines=("disk é full", "quiet"),
        baseline_lines=("disk ok",),
    )
    return replace(finding, **changes)  # type: ignore[arg-type]


def make_incident(number: int, stream: StreamRow, **changes: object) -> IncidentRow:
    incident = Incident(
        incident_id=uuid5(NAMESPACE, f"incident {number}"),
        stream_ids=(stream.stream_id,),
        state=IncidentState.OPEN,
        start_ns=1_213_455_361_000_000_000 + number // 2,
        end_ns=1_213_455_362_000_000_000,
        findings=2,
        ncd_max=0.7,
        p_value_min=0.001,
        title="disk full on checkout",
    )
    return IncidentRow(incident=replace(incident, **changes), slugs=(stream.slug,), updated_at=EPOCH)  # type: ignore[arg-type]


class Randomness:
    """Different bytes each time, the same in every run."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, size: int) -> bytes:
        self.calls += 1
        return hashlib.shake_128(self.calls.to_bytes(8, "big")).digest(size)
