"""One worker's share of the applier: loads stream folds, feeds them journal rows, writes their checkpoints. Synchronous."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from cbad_cy.codec import Codec
from driftlock.engine.correlate import Flag, Progress
from driftlock.engine.detector import Abandoned, Detector, finding_id
from driftlock.engine.event import StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.ports import Checkpoint, FindingRow, JournalRow, RowKind, StreamEventRow, StreamStatus
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES, Profile
from driftlock.engine.records import Damaged, decode, decode_config
from driftlock.engine.state import restore_stream, stream_state
from driftlock.engine.verdict import Finding
from driftlock.errors import Internal

# A journal row can not complete more windows than this: 100,000 records at a hop of 1.
WINDOWS_A_ROW_MAX = 1 << 17


@dataclass(slots=True)
class Resident:
    """A stream fold in memory: `seq` is the last row it took, `dirty_bytes` the journal bytes since its checkpoint."""

    tenant_id: UUID
    stream_id: UUID
    detector: Detector
    seq: int
    saved_ns: int
    dirty_bytes: int = 0

    def status(self) -> StreamStatus:
        """What lists show of this stream."""
        detector = self.detector
        calibration, reason = detector.health
        return StreamStatus(
            tenant_id=self.tenant_id,
            stream_id=self.stream_id,
            events=detector.events,
            windows=detector.windows,
            first_event_ns=detector.clock.first_event_ns,
            last_event_ns=detector.clock.watermark_ns,
            calibration=str(calibration),
            calibration_reason=reason,
            events_until_ready=detector.events_until_ready,
        )


@dataclass(frozen=True, slots=True)
class Emitted:
    """What one stream fold emitted for one journal row: findings to keep, and the derived record of the tenant fold."""

    stream_id: UUID
    progress: Progress
    findings: tuple[FindingRow, ...]
    flags: tuple[Flag, ...]
    events: tuple[StreamEventRow, ...] = ()


class Folder:
    """Folds rows with its own compression contexts, so one thread at a time may use it."""

    def __init__(self, seed: int, limits: Limits, on_fault: Callable[[str], None]) -> None:
        self._seed = seed
        self._limits = limits
        self._on_fault = on_fault
        self._codecs: dict[tuple[str, int], Codec] = {}
        self._abandoned = False

    def _codec(self, profile: Profile) -> Codec:
        """Contexts of this folder alone for a profile's codec and level; there are as many as a codec has levels, at most."""
        name = profile.codec, profile.level
        if name not in self._codecs:
            self._codecs[name] = Codec(*name)
        return self._codecs[name]

    def load(self, row: JournalRow, checkpoint: Checkpoint | None, now_ns: int) -> Resident:
        """The fold of the row's stream as of its checkpoint. A checkpoint that can not be read starts a new era."""
        if row.tenant_id is None or row.stream_id is None or row.stream_key is None:
            raise Internal(f"journal row {row.seq} holds records but names no stream")
        seq = 0 if checkpoint is None else checkpoint.seq
        detector = None if checkpoint is None else self._restore(checkpoint, row.stream_key)
        if detector is None:
            lost = row.configured if checkpoint is not None else None
            detector = Detector(row.stream_key, lost or PROFILES[DEFAULT_PROFILE], self._seed, self._limits)
            # After a loss windows are numbered beyond all that were evaluated: a number stands for one verdict for ever.
            # So are interactions: no row holds more of them than records.
            detector.slide.windows = detector.interactions_found = 0 if checkpoint is None else (seq + 1) * WINDOWS_A_ROW_MAX
        return Resident(row.tenant_id, row.stream_id, detector, seq, saved_ns=now_ns)

    def _restore(self, checkpoint: Checkpoint, key: StreamKey) -> Detector | None:
        try:
            return restore_stream(checkpoint.state, key, self._seed, self._limits, self._codec)
        except Damaged as error:
            self._on_fault(f"state of stream {key.text} is lost, it calibrates anew: {error}")
            return None

    def abandon(self) -> None:
        """Leave `fold` at the next row or finding, from any thread: its results are not wanted any more."""
        self._abandoned = True

    def fold(self, resident: Resident, rows: Sequence[JournalRow]) -> dict[int, Emitted]:
        """Feed rows of one stream in order; what each emitted, by its position. Rows already taken emit nothing."""
        emitted = {}
        for row in rows:
            if self._abandoned:
                break
            if row.seq <= resident.seq:
                continue
            resident.seq = row.seq
            resident.dirty_bytes += len(row.body)
            if row.kind is RowKind.CONFIG:
                self._configure(resident.detector, row)
                continue
            try:
                batch = decode(row.body)
            except Damaged as error:
                self._on_fault(f"journal row {row.seq} of stream {resident.detector.key.text} is skipped: {error}")
                continue
            detector = resident.detector
            try:
                findings = detector.fold(
                    batch, row.received_ns, self._codec(detector.profile), abandoned=lambda: self._abandoned
                )
            except Abandoned:
                break
            emitted[row.seq] = self._emitted(resident, row, findings, batch.historical)
        return emitted

    def _configure(self, detector: Detector, row: JournalRow) -> None:
        try:
            detector.configure(decode_config(row.body))
        except Damaged as error:
            self._on_fault(f"configuration row {row.seq} of stream {detector.key.text} is damaged: {error}")
            if row.configured is not None:
                detector.configure(row.configured)

    def _emitted(self, resident: Resident, row: JournalRow, findings: Sequence[Finding], historical: bool) -> Emitted:
        detector, stream_id = resident.detector, resident.stream_id
        rows = tuple(
            FindingRow(resident.tenant_id, stream_id, finding_id(stream_id, it.window, it.interaction), it) for it in findings
        )
        flags = tuple(
            Flag(
                stream_id=stream_id,
                stream=detector.key.text,
                seq=row.seq,
                window=kept.finding.window,
                start_ns=kept.finding.start_ns,
                end_ns=kept.finding.end_ns,
                ncd=kept.finding.ncd,
                p_value=kept.finding.p_value,
                finding_id=kept.finding_id,
                title=kept.finding.explanation,
                historical=historical,
                surprise=kept.finding.surprise,
                alerts_per_day_max=detector.profile.alerts_per_day_max,
            )
            for kept in rows
        )
        progress = Progress(detector.clock.watermark_ns, detector.windows, row.received_ns, historical)
        happened = tuple(StreamEventRow(resident.tenant_id, stream_id, event) for event in detector.take_events())
        return Emitted(stream_id, progress, rows, flags, happened)

    def save(self, resident: Resident, now_ns: int) -> Checkpoint:
        """Its checkpoint; the resident counts as clean from here on."""
        resident.dirty_bytes = 0
        resident.saved_ns = now_ns
        return Checkpoint(resident.seq, stream_state(resident.detector, self._codec(resident.detector.profile)))
