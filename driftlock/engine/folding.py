"""One worker's share of the applier: loads stream folds, feeds them journal rows, writes their checkpoints. Synchronous."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from cbad_cy.codec import Codec
from driftlock.engine.detector import Detector, finding_id
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.flag import Flag, Progress
from driftlock.engine.fold import Abandoned, NumberFold, StreamFold, Summary
from driftlock.engine.limits import Limits
from driftlock.engine.numbers.detector import NumberDetector
from driftlock.engine.numbers.finding import series_finding_id
from driftlock.engine.numbers.state import number_state, restore_numbers
from driftlock.engine.ports import Checkpoint, FindingRow, JournalRow, RowKind, StreamEventRow, StreamStatus
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES, Profile
from driftlock.engine.records import Damaged, decode, decode_config
from driftlock.engine.state import restore_stream, stream_state
from driftlock.engine.verdict import NUMERIC, Finding
from driftlock.errors import Internal

# A journal row can not complete more windows than this: 100,000 records at a hop of 1.
WINDOWS_A_ROW_MAX = 1 << 17


@dataclass(slots=True)
class Resident:
    """A stream fold in memory: `seq` is the last row it took, `dirty_bytes` the journal bytes since its checkpoint.

    `numbers` is the same fold where it is one of numbers. `decoded` are rows that were read ahead of their fold, by
    position. `answered`: it has told the clock that it is silent, and has had no row since.
    """

    tenant_id: UUID
    stream_id: UUID
    fold: StreamFold
    seq: int
    saved_ns: int
    dirty_bytes: int = 0
    numbers: NumberFold | None = None
    decoded: dict[int, RecordBatch] = field(default_factory=dict)
    answered: bool = False

    def status(self) -> StreamStatus:
        """What lists show of this stream."""
        fold = self.fold
        calibration, reason = fold.health
        return StreamStatus(
            tenant_id=self.tenant_id,
            stream_id=self.stream_id,
            events=fold.events,
            windows=fold.windows,
            first_event_ns=fold.clock.first_event_ns,
            last_event_ns=fold.clock.watermark_ns,
            calibration=str(calibration),
            calibration_reason=reason,
            events_until_ready=fold.events_until_ready,
        )


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clock records of consecutive rows: their positions, ascending, and what each said in ns (0 = it can not be read)."""

    seqs: tuple[int, ...] = ()
    times_ns: tuple[int, ...] = ()

    def first(self, after_seq: int, before_seq: int, due_ns: int) -> tuple[int, int] | None:
        """Position and time of the first one between two rows that says `due_ns` or later."""
        for place in range(bisect_right(self.seqs, after_seq), bisect_left(self.seqs, before_seq)):
            if self.times_ns[place] >= due_ns:
                return self.seqs[place], self.times_ns[place]
        return None


@dataclass(frozen=True, slots=True)
class Emitted:
    """What one stream fold emitted for one journal row: findings to keep, and the derived record of the tenant fold.

    For a clock record it is the finding that the stream is silent, which the tenant fold may know already.
    """

    stream_id: UUID
    progress: Progress
    findings: tuple[FindingRow, ...]
    flags: tuple[Flag, ...]
    events: tuple[StreamEventRow, ...] = ()
    summaries: tuple[Summary, ...] = ()


@dataclass(frozen=True, slots=True)
class Saved:
    """The checkpoint of a stream fold with the states of its series that changed, and those that are forgotten."""

    checkpoint: Checkpoint
    series: Mapping[int, bytes]
    forgotten: tuple[int, ...]


NO_CLOCKS = Clocks()
END = 1 << 63
"""Beyond every position of a journal."""


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
        lost = row.configured if checkpoint is not None else None
        profile, key = lost or PROFILES[DEFAULT_PROFILE], row.stream_key
        if key.signal is Signal.METRICS:
            numbers = self._numbers(checkpoint, key, profile)
            return Resident(row.tenant_id, row.stream_id, numbers, seq, saved_ns=now_ns, numbers=numbers)
        return Resident(row.tenant_id, row.stream_id, self._lines(checkpoint, key, profile), seq, saved_ns=now_ns)

    def _lines(self, checkpoint: Checkpoint | None, key: StreamKey, profile: Profile) -> Detector:
        if checkpoint is None:
            return Detector(key, profile, self._seed, self._limits)
        try:
            return restore_stream(checkpoint.state, key, self._seed, self._limits, self._codec)
        except Damaged as error:
            self._lost(key, error)
        # After a loss windows are numbered beyond all that were evaluated: a number stands for one verdict for ever.
        # So are interactions: no row holds more of them than records.
        detector = Detector(key, profile, self._seed, self._limits)
        detector.number_from((checkpoint.seq + 1) * WINDOWS_A_ROW_MAX)
        return detector

    def _numbers(self, checkpoint: Checkpoint | None, key: StreamKey, profile: Profile) -> NumberDetector:
        if checkpoint is None:
            return NumberDetector(key, profile, self._seed, self._limits)
        try:
            return restore_numbers(checkpoint.state, key, self._seed, self._limits)
        except Damaged as error:
            self._lost(key, error)
        detector = NumberDetector(key, profile, self._seed, self._limits)
        detector.number_from((checkpoint.seq + 1) * WINDOWS_A_ROW_MAX)
        return detector

    def _lost(self, key: StreamKey, error: Damaged) -> None:
        self._on_fault(f"state of stream {key.text} is lost, it calibrates anew: {error}")

    def abandon(self) -> None:
        """Leave `fold` at the next row or finding, from any thread: its results are not wanted any more."""
        self._abandoned = True

    def absent(self, resident: Resident, rows: Sequence[JournalRow]) -> list[int]:
        """The series that `rows` speak of and that have to be given back to the fold first."""
        if resident.numbers is None:
            return []
        wanted: set[int] = set()
        for row in rows:
            if row.kind is RowKind.RECORDS and row.seq > resident.seq and (batch := self._decode(resident, row)) is not None:
                resident.decoded[row.seq] = batch
                wanted.update(resident.numbers.absent(batch))
        return sorted(wanted)

    def fold(self, resident: Resident, rows: Sequence[JournalRow], clocks: Clocks = NO_CLOCKS) -> dict[int, Emitted]:
        """Feed rows of one stream in order, with the clock records that lie among them; what each emitted, by its position.

        Rows already taken emit nothing.
        """
        emitted: dict[int, Emitted] = {}
        for row in rows:
            self._ask(resident, clocks, row.seq, emitted)
            if self._abandoned:
                break
            if row.seq <= resident.seq:
                continue
            resident.seq, resident.answered = row.seq, False
            resident.dirty_bytes += len(row.body)
            if row.kind is RowKind.CONFIG:
                self._configure(resident.fold, row)
                continue
            batch = resident.decoded.pop(row.seq, None) or self._decode(resident, row)
            if batch is None:
                continue
            fold = resident.fold
            try:
                findings = fold.fold(batch, row.received_ns, self._codec(fold.profile), abandoned=lambda: self._abandoned)
            except Abandoned:
                break
            emitted[row.seq] = self._emitted(resident, row, findings, batch.historical)
        self._ask(resident, clocks, END, emitted)
        return emitted

    def _ask(self, resident: Resident, clocks: Clocks, before_seq: int, emitted: dict[int, Emitted]) -> None:
        """Let the stream say to the clock records up to a row that it is silent, once until it has rows again."""
        due_ns = resident.fold.due_ns
        if resident.answered or not due_ns or self._abandoned:
            return
        found = clocks.first(resident.seq, before_seq, due_ns)
        if found is None:
            return
        seq, now_ns = found
        finding = resident.fold.silence(now_ns)
        if finding is not None:
            resident.answered = True
            emitted[seq] = self._told(resident, seq, now_ns, [finding], historical=False)

    def _decode(self, resident: Resident, row: JournalRow) -> RecordBatch | None:
        try:
            return decode(row.body)
        except Damaged as error:
            self._on_fault(f"journal row {row.seq} of stream {resident.fold.key.text} is skipped: {error}")
            return None

    def _configure(self, fold: StreamFold, row: JournalRow) -> None:
        try:
            fold.configure(decode_config(row.body))
        except Damaged as error:
            self._on_fault(f"configuration row {row.seq} of stream {fold.key.text} is damaged: {error}")
            if row.configured is not None:
                fold.configure(row.configured)

    def _emitted(self, resident: Resident, row: JournalRow, findings: Sequence[Finding], historical: bool) -> Emitted:
        told = self._told(resident, row.seq, row.received_ns, findings, historical=historical)
        happened = resident.fold.take_events()
        return replace(
            told,
            events=tuple(StreamEventRow(resident.tenant_id, resident.stream_id, event) for event in happened),
            summaries=tuple(resident.fold.take_summaries()),
        )

    def _told(
        self, resident: Resident, seq: int, received_ns: int, findings: Sequence[Finding], *, historical: bool
    ) -> Emitted:
        fold, stream_id = resident.fold, resident.stream_id
        rows = tuple(FindingRow(resident.tenant_id, stream_id, identity(stream_id, it), it) for it in findings)
        flags = tuple(
            Flag(
                stream_id=stream_id,
                stream=fold.key.text,
                seq=seq,
                window=kept.finding.window,
                start_ns=kept.finding.start_ns,
                end_ns=kept.finding.end_ns,
                ncd=kept.finding.ncd,
                p_value=kept.finding.p_value,
                finding_id=kept.finding_id,
                title=kept.finding.explanation,
                historical=historical,
                surprise=kept.finding.surprise,
                alerts_per_day_max=fold.profile.alerts_per_day_max,
                question=kept.finding.question.value,
                service=fold.key.text.partition(":")[2],
            )
            for kept in rows
        )
        progress = Progress(
            watermark_ns=fold.clock.watermark_ns,
            windows=fold.windows,
            received_ns=received_ns,
            historical=historical,
            due_ns=fold.due_ns,
            stream=fold.key.text,
            alerts_per_day_max=fold.profile.alerts_per_day_max,
        )
        return Emitted(stream_id, progress, rows, flags)

    def save(self, resident: Resident, now_ns: int) -> Saved:
        """Its checkpoint; the resident counts as clean from here on, and lets go of series beyond what it may hold."""
        resident.dirty_bytes = 0
        resident.saved_ns = now_ns
        fold = resident.fold
        if isinstance(fold, NumberDetector):
            series, forgotten = fold.unsaved(), fold.forgotten()
            saved = Saved(Checkpoint(resident.seq, number_state(fold)), series, forgotten)
            fold.evict(self._limits.series_resident_max)
            return saved
        if not isinstance(fold, Detector):
            raise Internal(f"no way is known to store a {type(fold).__name__}")
        return Saved(Checkpoint(resident.seq, stream_state(fold, self._codec(fold.profile))), {}, ())


def identity(stream_id: UUID, finding: Finding) -> UUID:
    """The id of any finding: the same on every replay, and as hard to guess as its stream's."""
    if finding.question in NUMERIC:
        return series_finding_id(stream_id, finding)
    return finding_id(stream_id, finding.window, finding.interaction)
