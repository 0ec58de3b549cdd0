"""Shipped fakes of the engine's seams: a journal in memory that keeps the promises of the real one, and breaks on demand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from driftlock.engine.anchor import AnchorEnd, AnchorStanding
from driftlock.engine.era import Change, Era
from driftlock.engine.event import StreamKey
from driftlock.engine.ports import (
    AnchorLoss,
    AnchorRow,
    Checkpoint,
    DriftRow,
    FindingRow,
    IncidentRow,
    JournalRow,
    QuarantinedRow,
    Receipt,
    RowKind,
    ServiceGraph,
    Step,
    StreamEventRow,
    StreamStatus,
    Submission,
)
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES, Profile
from driftlock.engine.records import encode, encode_budget, encode_clock, encode_config, encode_era
from driftlock.engine.scores import MinuteScore
from driftlock.engine.verdict import content_id
from driftlock.errors import Conflict, DriftlockError, Internal, NotFound


def memory_stream_id(tenant_id: UUID, key: StreamKey) -> UUID:
    """The id that `MemoryJournal` gives a stream: a function of tenant and key, so that runs can be compared."""
    return content_id(tenant_id.bytes + key.text.encode())


class MemoryJournal:
    """Intake, Configurator, JournalReader, StateStore, StepCommitter and ClockJournal over lists.

    What is appended or committed survives the `Dispatcher` that used it, as a database would: build a new one on the same
    `MemoryJournal` to simulate a restart. `fail_next(error, times)` makes the next calls raise before they have an effect.
    `homes` are the journals that have the folds of other tenants: what is derived for them goes there.
    """

    def __init__(self) -> None:
        self.rows: list[JournalRow] = []
        self.submissions: list[Submission] = []
        self.findings: dict[UUID, FindingRow] = {}
        self.incidents: dict[UUID, IncidentRow] = {}
        self.statuses: dict[UUID, StreamStatus] = {}
        self.events: dict[UUID, StreamEventRow] = {}
        self.quarantined: dict[int, QuarantinedRow] = {}
        self.eras: list[Era] = []
        self.budgets: dict[UUID, int] = {}
        self.stream_checkpoints: dict[UUID, Checkpoint] = {}
        self.tenant_checkpoints: dict[UUID, Checkpoint] = {}
        self.graphs: dict[UUID, ServiceGraph] = {}
        self.scores: dict[tuple[UUID, int], MinuteScore] = {}
        self.anchors: dict[UUID, AnchorRow] = {}
        self.drift: dict[tuple[UUID, int], DriftRow] = {}  # by anchor and hour
        self.series_checkpoints: dict[tuple[UUID, int], list[Checkpoint]] = {}
        self.homes: dict[UUID, MemoryJournal] = {}
        self.applied_seq = 0
        self.on_commit: Callable[[], None] = lambda: None
        self.profiles: dict[UUID, Profile] = {}
        self._keys: dict[tuple[UUID, UUID], StreamKey] = {}
        self._seen: dict[tuple[UUID, bytes], Receipt] = {}
        self._failures: list[DriftlockError] = []

    def fail_next(self, error: DriftlockError, times: int = 1) -> None:
        """Let the next `times` calls of any method raise `error`."""
        self._failures.extend([error] * times)

    def _maybe_fail(self) -> None:
        if self._failures:
            raise self._failures.pop(0)

    async def submit(self, submission: Submission) -> Receipt:
        """Append one row a stream; a request hash that was seen answers as a duplicate."""
        self._maybe_fail()
        identity = (submission.tenant_id, submission.request_hash or b"")
        if submission.request_hash is not None and identity in self._seen:
            known = self._seen[identity]
            return Receipt(known.seq, 0, duplicate=True, stream_ids=known.stream_ids)
        stream_ids = []
        for part in submission.batches:
            stream_ids.append(memory_stream_id(submission.tenant_id, part.key))
            self._keys[submission.tenant_id, stream_ids[-1]] = part.key
            self.rows.append(
                JournalRow(
                    seq=len(self.rows) + 1,
                    kind=RowKind.RECORDS,
                    received_ns=submission.received_ns,
                    body=encode(part.batch),
                    tenant_id=submission.tenant_id,
                    stream_id=stream_ids[-1],
                    stream_key=part.key,
                    records=part.records,
                )
            )
        self.submissions.append(submission)
        receipt = Receipt(len(self.rows), submission.records, stream_ids=tuple(stream_ids))
        if submission.request_hash is not None:
            self._seen[identity] = receipt
        self.on_commit()
        return receipt

    async def append_clock(self, now_ns: int) -> int:
        """Append a clock record."""
        self._maybe_fail()
        self.rows.append(JournalRow(len(self.rows) + 1, RowKind.CLOCK, now_ns, encode_clock(now_ns)))
        self.on_commit()
        return len(self.rows)

    def begin_era(self, *changes: Change, database: str = "") -> Era:
        """Append an era record, as a start does that finds other versions: all that is applied belongs to the era before."""
        era = Era(self.applied_seq, changes, database)
        received_ns = self.rows[-1].received_ns if self.rows else 0
        self.rows.append(JournalRow(len(self.rows) + 1, RowKind.ERA, received_ns, encode_era(era)))
        self.eras.append(era)
        return era

    async def append_time(self, tenant_id: UUID, stream_id: UUID, now_ns: int) -> int | None:
        """Append a row with the time of a stream that was written to."""
        self._maybe_fail()
        key = self._keys.get((tenant_id, stream_id))
        if key is None:
            return None
        body = encode_clock(now_ns)
        self.rows.append(JournalRow(len(self.rows) + 1, RowKind.TIME, now_ns, body, tenant_id, stream_id, key))
        self.on_commit()
        return len(self.rows)

    async def configure(self, tenant_id: UUID, stream_id: UUID, profile: Profile, *, expected: Profile | None = None) -> int:
        """Append a configuration record of a stream that was written to or created; the same profile again appends none."""
        self._maybe_fail()
        key = self._keys.get((tenant_id, stream_id))
        if key is None:
            raise NotFound("there is no such stream")
        if expected not in (None, self.profiles.get(stream_id, PROFILES[DEFAULT_PROFILE])):
            raise Conflict("the profile of this stream has been changed meanwhile; read it and try again")
        if self.profiles.get(stream_id) == profile:
            return len(self.rows)
        received_ns = self.rows[-1].received_ns if self.rows else 0
        row = JournalRow(len(self.rows) + 1, RowKind.CONFIG, received_ns, encode_config(profile), tenant_id, stream_id, key)
        self.rows.append(row)
        self.profiles[stream_id] = profile
        self.on_commit()
        return row.seq

    async def append_control(self, tenant_id: UUID, stream_id: UUID, kind: RowKind, body: bytes) -> int:
        """Append what people say of a stream that was written to or created; the position of the row."""
        self._maybe_fail()
        key = self._keys.get((tenant_id, stream_id))
        if key is None:
            raise NotFound("there is no such stream")
        received_ns = self.rows[-1].received_ns if self.rows else 0
        self.rows.append(JournalRow(len(self.rows) + 1, kind, received_ns, body, tenant_id, stream_id, key))
        self.on_commit()
        return len(self.rows)

    async def set_budget(self, tenant_id: UUID, alerts_per_day_max: int) -> bool:
        """Append a budget record of a tenant; the same budget again appends none."""
        self._maybe_fail()
        if self.budgets.get(tenant_id) == alerts_per_day_max:
            return False
        received_ns = self.rows[-1].received_ns if self.rows else 0
        body = encode_budget(alerts_per_day_max)
        self.rows.append(JournalRow(len(self.rows) + 1, RowKind.BUDGET, received_ns, body, tenant_id))
        self.budgets[tenant_id] = alerts_per_day_max
        self.on_commit()
        return True

    async def create_stream(self, tenant_id: UUID, key: StreamKey, profile: Profile) -> bool:
        """Configure a stream that has neither records nor a configuration yet."""
        self._maybe_fail()
        stream_id = memory_stream_id(tenant_id, key)
        if (tenant_id, stream_id) in self._keys:
            return False
        self._keys[tenant_id, stream_id] = key
        await self.configure(tenant_id, stream_id, profile)
        return True

    async def read(self, after_seq: int, bytes_max: int) -> Sequence[JournalRow]:
        """Rows after a position, at least one if there is any."""
        self._maybe_fail()
        taken: list[JournalRow] = []
        room = bytes_max
        for row in self.rows[after_seq:]:
            room -= len(row.body)
            if taken and room < 0:
                break
            configured = None if row.stream_id is None else self.profiles.get(row.stream_id)
            budget = None if row.tenant_id is None else self.budgets.get(row.tenant_id)
            taken.append(replace(row, configured=configured, budget=budget))
        return taken

    async def load_streams(self, stream_ids: Sequence[UUID]) -> Mapping[UUID, Checkpoint]:
        """Checkpoints of streams."""
        self._maybe_fail()
        return {known: self.stream_checkpoints[known] for known in stream_ids if known in self.stream_checkpoints}

    async def load_tenants(self, tenant_ids: Sequence[UUID]) -> Mapping[UUID, Checkpoint]:
        """Checkpoints of tenants."""
        self._maybe_fail()
        return {known: self.tenant_checkpoints[known] for known in tenant_ids if known in self.tenant_checkpoints}

    async def elsewhere(self, tenant_ids: Sequence[UUID]) -> frozenset[UUID]:
        """Tenants whose fold another journal has."""
        self._maybe_fail()
        return frozenset(self.homes.keys() & set(tenant_ids))

    async def stream_keys(self, stream_ids: Sequence[UUID]) -> Mapping[UUID, StreamKey]:
        """Keys of streams that were written to."""
        self._maybe_fail()
        return {stream_id: key for (_, stream_id), key in self._keys.items() if stream_id in stream_ids}

    async def load_series(self, stream_id: UUID, until_seq: int, series: Sequence[int]) -> Mapping[int, bytes]:
        """Newest states of series as of a position."""
        self._maybe_fail()
        found = {}
        for number in series:
            for saved in self.series_checkpoints.get((stream_id, number), []):
                if saved.seq <= until_seq:
                    found[number] = saved.state
        return found

    async def commit(self, step: Step) -> None:
        """Apply a step by compare-and-set on the applied position; findings that are there already stay as they are."""
        self._maybe_fail()
        if step.from_seq != self.applied_seq:
            raise Conflict(f"the journal is applied up to {self.applied_seq}, not {step.from_seq}")
        if len({row.incident.incident_id for row in step.incidents}) < len(step.incidents):
            raise Internal("a step names an incident twice; a database refuses that")
        for row in step.findings:
            self.findings.setdefault(row.finding_id, row)
        for event in step.events:
            self.events.setdefault(event.event_id, event)
        for lost in step.quarantined:
            self.quarantined.setdefault(lost.seq, lost)
        self.incidents.update((row.incident.incident_id, row) for row in step.incidents)
        self.statuses.update((status.stream_id, status) for status in step.streams)
        for (_, stream_id, series), saved in step.series_checkpoints.items():
            self.series_checkpoints.setdefault((stream_id, series), []).append(saved)
        for (_, stream_id), dropped in step.series_dropped.items():
            for series in dropped:
                self.series_checkpoints.pop((stream_id, series), None)
        self.stream_checkpoints.update((stream_id, saved) for (_, stream_id), saved in step.stream_checkpoints.items())
        self.tenant_checkpoints.update(step.tenant_checkpoints)
        self.graphs.update((stream_id, graph) for (_, stream_id), graph in step.graphs.items())
        for loss in step.anchors_lost:
            self._lose_anchors(loss)
        self.anchors.update((row.note.anchor_id, row) for row in step.anchors)
        for passed in step.drift:
            self.drift.setdefault((passed.hour.anchor_id, passed.hour.hour_ns), passed)
        for scored in step.scores:
            key = scored.stream_id, scored.score.minute
            self.scores[key] = self.scores[key].with_more(scored.score) if key in self.scores else scored.score
        self._tell_homes(step.derived)
        self.applied_seq = step.to_seq

    def _tell_homes(self, derived: Mapping[UUID, bytes]) -> None:
        for tenant_id, body in sorted(derived.items()):
            home = self.homes[tenant_id]
            received_ns = home.rows[-1].received_ns if home.rows else 0
            home.rows.append(JournalRow(len(home.rows) + 1, RowKind.DERIVED, received_ns, body, tenant_id))
            home.on_commit()

    def _lose_anchors(self, loss: AnchorLoss) -> None:
        for known, row in self.anchors.items():
            if row.stream_id == loss.stream_id and row.note.standing is AnchorStanding.IN_FORCE and known != loss.kept:
                note = replace(row.note, standing=AnchorStanding.ENDED, ended_seq=loss.seq, ended_because=AnchorEnd.LOST)
                self.anchors[known] = replace(row, note=note)

    def recovery_seq(self) -> int:
        """The position from which rows have to be folded again: the oldest checkpoint that has newer rows."""
        oldest = self.applied_seq
        for row in self.rows[: self.applied_seq]:
            if row.stream_id is not None:
                checkpoint = self.stream_checkpoints.get(row.stream_id)
            elif row.kind is RowKind.DERIVED and row.tenant_id is not None:
                checkpoint = self.tenant_checkpoints.get(row.tenant_id)
            else:
                continue
            if checkpoint is None or checkpoint.seq < row.seq:
                oldest = min(oldest, row.seq - 1)
        return oldest
