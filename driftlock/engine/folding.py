"""One worker's share of the applier: loads stream folds, feeds them journal rows, writes their checkpoints. Synchronous."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from driftlock.engine.anchored import change_anchor, drift, lost_anchor, rows_of, take_told
from driftlock.engine.anchoring import Told
from driftlock.engine.correlation.flag import Flag, Progress
from driftlock.engine.era import Eras
from driftlock.engine.event import RecordBatch, StreamKey
from driftlock.engine.fold import Abandoned, NumberFold, StreamFold, Summary
from driftlock.engine.kinds import Kinds, Saved
from driftlock.engine.limits import Limits
from driftlock.engine.losses import Losses
from driftlock.engine.numbers.detector import NumberDetector
from driftlock.engine.ports import (
    AnchorLoss,
    AnchorRow,
    Checkpoint,
    DriftRow,
    FindingRow,
    JournalRow,
    RowKind,
    StreamEventRow,
    StreamStatus,
)
from driftlock.engine.profile import DEFAULT_PROFILE, PROFILES, Profile
from driftlock.engine.records import Damaged, decode, decode_anchor, decode_clock, decode_config, decode_lesson
from driftlock.engine.scores import ScoreRow, score_rows
from driftlock.engine.telling import due_ns, finding_rows, flags_of, progress_of
from driftlock.engine.traces.detector import TraceDetector
from driftlock.engine.verdict import Finding, StreamEventKind
from driftlock.errors import Internal

# A journal row can not complete more windows than this: 100,000 records at a hop of 1.
WINDOWS_A_ROW_MAX = 1 << 17


@dataclass(slots=True)
class Resident:
    """A stream fold in memory: `seq` is the last row it took, `dirty_bytes` the journal bytes since its checkpoint.

    `state_bytes` are those of that checkpoint. `decoded` are rows that were read ahead of their fold, by position.
    `answered`: it has told the clock that it is silent, and has had no row since.
    """

    tenant_id: UUID
    stream_id: UUID
    fold: StreamFold
    seq: int
    saved_ns: int
    dirty_bytes: int = 0
    state_bytes: int = 0
    decoded: dict[int, RecordBatch] = field(default_factory=dict)
    answered: bool = False

    @property
    def numbers(self) -> NumberFold | None:
        """Its fold where that is one of numbers."""
        return self.fold if isinstance(self.fold, NumberDetector) else None

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
    scores: tuple[ScoreRow, ...] = ()
    anchors: tuple[AnchorRow, ...] = ()
    drift: tuple[DriftRow, ...] = ()
    anchors_lost: tuple[AnchorLoss, ...] = ()
    apart: bool = False  # nothing of it is for the tenant fold


NO_CLOCKS = Clocks()
SERIES_TOLD_MAX = 10
"""So many series whose states can not be read are named at a time."""
END = 1 << 63
"""Beyond every position of a journal."""


class Folder:
    """Folds rows with its own compression contexts, so one thread at a time may use it."""

    def __init__(
        self,
        seed: int,
        limits: Limits,
        on_fault: Callable[[str], None],
        losses: Losses | None = None,
        eras: Eras | None = None,
    ) -> None:
        """`losses` takes what can not be read, `eras` are those of the journal; without them all is one era."""
        self._kinds = Kinds(seed, limits)
        self._on_fault = on_fault
        self._losses = Losses() if losses is None else losses
        self._eras = Eras() if eras is None else eras
        self._abandoned = False

    def load(self, row: JournalRow, checkpoint: Checkpoint | None, now_ns: int) -> Resident:
        """The fold of the row's stream as of its checkpoint. One that can not be read is told, and the stream learns anew."""
        if row.tenant_id is None or row.stream_id is None or row.stream_key is None:
            raise Internal(f"journal row {row.seq} holds records but names no stream")
        seq = 0 if checkpoint is None else checkpoint.seq
        lost = row.configured if checkpoint is not None else None
        fold = self._fold_of(checkpoint, row, row.stream_key, lost or PROFILES[DEFAULT_PROFILE])
        size = 0 if checkpoint is None else len(checkpoint.state)
        return Resident(row.tenant_id, row.stream_id, fold, seq, saved_ns=now_ns, state_bytes=size)

    def _fold_of(self, checkpoint: Checkpoint | None, row: JournalRow, key: StreamKey, profile: Profile) -> StreamFold:
        if checkpoint is None:
            return self._kinds.fresh(key, profile)
        try:
            fold = self._kinds.restored(checkpoint.state, key)
            if row.seq > checkpoint.instead_of > 0:
                self._pass_gap(checkpoint, row, fold)
            return fold
        except Damaged as error:
            self._on_fault(f"state of stream {key.text} is lost, it calibrates anew: {error}")
        fold = self._kinds.fresh(key, profile)
        _number_after(fold, checkpoint.seq)
        lost_anchor(fold)
        reason = f"what it had learned up to journal position {checkpoint.seq} can not be read: it learns anew"
        self._losses.event(StreamEventKind.STATE_LOST, checkpoint.seq, row, fold, reason)
        return fold

    def _pass_gap(self, checkpoint: Checkpoint, row: JournalRow, fold: StreamFold) -> None:
        """Go on from an older state where the rows after it are not read again: their windows have been numbered already."""
        _number_after(fold, checkpoint.instead_of)
        lost_anchor(fold)
        between = f"between journal positions {checkpoint.seq} and {checkpoint.instead_of}"
        reason = f"what it had learned {between} can not be read: it goes on from what it knew before"
        self._on_fault(f"state of stream {fold.key.text}: {reason}")
        self._losses.event(StreamEventKind.STATE_LOST, checkpoint.instead_of, row, fold, reason)

    def _enter_eras(self, resident: Resident, row: JournalRow) -> None:
        """Let a fold learn anew where other versions have taken over since its last row: the same place on every replay."""
        entered = self._eras.passed(resident.seq, row.seq, resident.fold)
        if not entered:
            return
        fold = resident.fold
        resident.fold = self._kinds.anew(fold)
        _number_after(resident.fold, entered[-1].since_seq)
        for era in entered:
            if row.seq > self._eras.judged_until(fold):
                self._losses.event(StreamEventKind.NEW_ERA, row.seq, row, resident.fold, era.reason(fold))

    def missed(self, resident: Resident, series: Sequence[int]) -> None:
        """Tell that the states of these series of a metrics stream can not be read: they begin anew."""
        fold = resident.fold
        if not isinstance(fold, NumberDetector) or resident.seq <= self._eras.judged_until(fold):
            return  # what comes next makes them begin anew anyway
        for number in series[:SERIES_TOLD_MAX]:
            entry = fold.memory.directory.entries.get(number)
            name = f"`{entry.name}`" if entry is not None else "a series"
            reason = f"what it had learned of {name} (series {number:016x}) can not be read: that series learns anew"
            self._losses.event_of(
                StreamEventKind.STATE_LOST, resident.seq, resident.tenant_id, resident.stream_id, fold, reason
            )

    def abandon(self) -> None:
        """Leave `fold` at the next row or finding, from any thread: its results are not wanted any more."""
        self._abandoned = True

    def absent(self, resident: Resident, rows: Sequence[JournalRow]) -> list[int]:
        """The series that `rows` speak of and that have to be given back to the fold first."""
        if resident.numbers is None:
            return []
        wanted: set[int] = set()
        for row in rows:
            if row.kind is RowKind.RECORDS and row.seq > resident.seq and (batch := self._batch(resident, row)) is not None:
                resident.decoded[row.seq] = batch
                wanted.update(resident.numbers.absent(batch))
        return sorted(wanted)

    def fold(
        self, resident: Resident, rows: Sequence[JournalRow], clocks: Clocks = NO_CLOCKS, *, asked: bool = False
    ) -> dict[int, Emitted]:
        """Feed rows of one stream in order, with the clock records that lie among them; what each emitted, by its position.

        Rows already taken emit nothing. `asked`: the tenant's fold takes the stream to be silent by one of the clock records.
        """
        emitted: dict[int, Emitted] = {}
        for row in rows:
            self._ask(resident, clocks, row.seq, emitted, asked=asked)
            if self._abandoned:
                break
            if row.seq <= resident.seq:
                continue
            self._enter_eras(resident, row)
            resident.seq, resident.answered = row.seq, False
            resident.dirty_bytes += row.body_bytes or len(row.body)
            if row.kind is not RowKind.RECORDS:
                self._control(resident, row, emitted)
                continue
            batch = resident.decoded.pop(row.seq, None) or self._batch(resident, row)
            if batch is None:
                continue
            fold = resident.fold
            try:
                findings = fold.fold(batch, row.received_ns, self._kinds.codec(fold.profile), abandoned=lambda: self._abandoned)
            except Abandoned:
                break
            findings += drift(fold, self._kinds.codec_of)
            entry, told = self._emitted(resident, row, findings, batch.historical), take_told(fold, row.seq)
            emitted[row.seq] = entry if told is None else _with_anchors(resident, row, entry, told)
        self._ask(resident, clocks, END, emitted, asked=asked)
        return emitted

    def _control(self, resident: Resident, row: JournalRow, emitted: dict[int, Emitted]) -> None:
        """Let a stream take in what is not a record. Redaction rules have done their work before the journal."""
        match row.kind:
            case RowKind.CONFIG:
                self._configure(resident.fold, row)
            case RowKind.TIME:
                self._pass_time(resident, row, emitted)
            case RowKind.LESSON:
                self._learn(resident, row, emitted)
            case RowKind.ANCHOR:
                self._change_anchor(resident, row)
        told = take_told(resident.fold, row.seq)
        if told is not None:  # nothing of it is for the tenant's fold
            entry = emitted.get(row.seq) or replace(
                self._told(resident, row.seq, row.received_ns, [], historical=False), apart=True
            )
            emitted[row.seq] = _with_anchors(resident, row, entry, told)

    def _pass_time(self, resident: Resident, row: JournalRow, emitted: dict[int, Emitted]) -> None:
        """Let a stream take in what time it is; those that do not wait for it have no such rows."""
        try:
            now_ns = decode_clock(row.body)
        except Damaged as error:
            self._losses.row(row)
            self._on_fault(f"row {row.seq} with the time of stream {resident.fold.key.text} is skipped: {error}")
            return
        if not isinstance(resident.fold, TraceDetector):
            return
        emitted[row.seq] = self._emitted(resident, row, resident.fold.pass_time(now_ns), historical=False)

    def _learn(self, resident: Resident, row: JournalRow, emitted: dict[int, Emitted]) -> None:
        """Let people teach a stream. The tenant's fold hears of it where the stream's silence is to be told at another time."""
        fold, before_ns = resident.fold, due_ns(resident.fold)
        try:
            fold.lessons.take(decode_lesson(row.body))
        except Damaged as error:
            self._losses.row(row)
            self._on_fault(f"lesson row {row.seq} of stream {fold.key.text} is skipped: {error}")
        if due_ns(fold) != before_ns:
            emitted[row.seq] = self._told(resident, row.seq, row.received_ns, [], historical=False)

    def _change_anchor(self, resident: Resident, row: JournalRow) -> None:
        """Let people freeze or drop the anchor of a stream."""
        try:
            change_anchor(resident.fold, decode_anchor(row.body), resident.stream_id, row.seq, self._kinds.codec_of)
        except Damaged as error:
            self._losses.row(row)
            self._on_fault(f"anchor row {row.seq} of stream {resident.fold.key.text} is skipped: {error}")

    def _ask(self, resident: Resident, clocks: Clocks, before_seq: int, emitted: dict[int, Emitted], *, asked: bool) -> None:
        """Let the stream say to the clock records up to a row that it is silent, once until it has rows again."""
        told_ns = due_ns(resident.fold)
        if resident.answered or not told_ns or self._abandoned:
            return
        after_seq = max(resident.seq, self._eras.judged_until(resident.fold))
        found = clocks.first(after_seq, before_seq, told_ns)
        early = clocks.first(after_seq, before_seq, 1) if asked else None
        if early is not None and early != found:
            # The tenant's fold may have lost what it knew of this stream, a lesson above all, and must not give it up.
            emitted[early[0]] = self._told(resident, *early, [], historical=False)
        if found is None:
            return
        seq, now_ns = found
        finding = resident.fold.silence(now_ns)
        if finding is not None:
            resident.answered = True
            emitted[seq] = self._told(resident, seq, now_ns, [finding], historical=False, silences=False)

    def _batch(self, resident: Resident, row: JournalRow) -> RecordBatch | None:
        """The records of a row; None where they are lost."""
        if row.batch is not None:
            return row.batch
        try:
            return decode(row.body)
        except Damaged as error:
            self._losses.row(row, resident.fold)
            self._on_fault(f"journal row {row.seq} of stream {resident.fold.key.text} is skipped: {error}")
            return None

    def _configure(self, fold: StreamFold, row: JournalRow) -> None:
        try:
            fold.configure(decode_config(row.body))
        except Damaged as error:
            self._losses.row(row)
            self._on_fault(f"configuration row {row.seq} of stream {fold.key.text} is damaged: {error}")
            if row.configured is not None:
                fold.configure(row.configured)

    def _emitted(self, resident: Resident, row: JournalRow, findings: Sequence[Finding], historical: bool) -> Emitted:
        happened, summaries = resident.fold.take_events(), tuple(resident.fold.take_summaries())
        minutes = resident.fold.take_minutes()
        if row.seq <= self._eras.judged_until(resident.fold):
            # Told by the versions that judged this row before: it is read again only to count it.
            return self._told(resident, row.seq, row.received_ns, [], historical=historical)
        told = self._told(resident, row.seq, row.received_ns, findings, historical=historical)
        return replace(
            told,
            events=tuple(StreamEventRow(resident.tenant_id, resident.stream_id, event) for event in happened),
            summaries=summaries,
            scores=score_rows(resident, minutes, [it.finding for it in told.findings if it.silenced_by is None], summaries),
        )

    def _told(
        self,
        resident: Resident,
        seq: int,
        received_ns: int,
        findings: Sequence[Finding],
        *,
        historical: bool,
        silences: bool = True,
    ) -> Emitted:
        """What goes on. Who teaches silences findings, but for those that were postponed already: these come too late."""
        fold, ids = resident.fold, (resident.tenant_id, resident.stream_id)
        rows = finding_rows(fold, ids, seq, findings, silences=silences)
        progress = progress_of(fold, received_ns, historical=historical)
        return Emitted(resident.stream_id, progress, rows, flags_of(fold, rows, historical=historical))

    def save(self, resident: Resident, now_ns: int) -> Saved:
        """Its checkpoint; the resident counts as clean from here on, and lets go of series beyond what it may hold."""
        resident.dirty_bytes = 0
        resident.saved_ns = now_ns
        saved = self._kinds.saved(resident.fold, resident.seq)
        resident.state_bytes = len(saved.checkpoint.state)
        return saved


def _with_anchors(resident: Resident, row: JournalRow, entry: Emitted, told: Told) -> Emitted:
    """The same with what is told of the stream's anchor."""
    anchors, drifts, lost = rows_of(told, resident.tenant_id, resident.stream_id, row.seq)
    return replace(entry, anchors=anchors, drift=drifts, anchors_lost=lost)


def _number_after(fold: StreamFold, seq: int) -> None:
    """Number windows beyond all that can have been evaluated up to a row: a number stands for one verdict for ever.

    So are interactions: no row holds more of them than records.
    """
    fold.number_from((seq + 1) * WINDOWS_A_ROW_MAX)
