"""What can not be read any more, collected where it is found and told with the step that passes it."""

from dataclasses import dataclass, field
from uuid import UUID

from driftlock.engine.fold import StreamFold
from driftlock.engine.ports import JournalRow, QuarantinedRow, RowKind, StreamEventRow
from driftlock.engine.verdict import StreamEvent, StreamEventKind

CHECKSUM = "it does not match its checksum"
FORMAT = "it can not be parsed"


@dataclass(slots=True)
class Losses:
    """Rows for the quarantine, and events of the streams that they, their states or their past were of.

    Worker threads add to it; what is taken is in the order of the journal, so that it does not depend on them. What is told
    has an id that is a function of what happened: after a restart it may be told again and counts once.
    """

    _rows: dict[int, QuarantinedRow] = field(default_factory=dict)
    _events: list[tuple[int, StreamEventRow]] = field(default_factory=list)

    def __len__(self) -> int:
        """What waits to be taken."""
        return len(self._rows) + len(self._events)

    def row(self, row: JournalRow, fold: StreamFold | None = None) -> None:
        """A row that can not be read; `fold` is that of its stream, which lacks its records."""
        reason = FORMAT if row.body else CHECKSUM  # a body that does not match its checksum comes empty
        lost = QuarantinedRow(row.seq, row.kind, reason, row.tenant_id, row.stream_id, row.records)
        self._rows[row.seq] = lost
        if fold is not None and row.kind is RowKind.RECORDS:
            records = f"{row.records} records" if row.records else "records"
            text = f"journal row {row.seq} with {records} is in quarantine: {reason}"
            self.event(StreamEventKind.RECORDS_LOST, row.seq, row, fold, text)

    def event(self, kind: StreamEventKind, seq: int, of: JournalRow, fold: StreamFold, reason: str) -> None:
        """Something that happened to the stream of the row `of` when its fold had come to the position `seq`."""
        if of.tenant_id is None or of.stream_id is None:
            return
        self.event_of(kind, seq, of.tenant_id, of.stream_id, fold, reason)

    def event_of(
        self, kind: StreamEventKind, seq: int, tenant_id: UUID, stream_id: UUID, fold: StreamFold, reason: str
    ) -> None:
        """The same of a stream by its ids."""
        told = StreamEvent(kind, fold.events, fold.windows, fold.clock.watermark_ns, reason)
        self._events.append((seq, StreamEventRow(tenant_id, stream_id, told)))

    def take(self, applied_seq: int) -> tuple[tuple[QuarantinedRow, ...], tuple[StreamEventRow, ...]]:
        """All of it. That a fold entered an era at or before `applied_seq` is left out: it is committed already."""
        rows, events = self._rows, self._events
        self._rows, self._events = {}, []
        told = [(seq, it) for seq, it in events if seq > applied_seq or it.event.kind is not StreamEventKind.NEW_ERA]
        told.sort(key=lambda pair: (pair[0], pair[1].stream_id, pair[1].event.reason))
        return tuple(rows[seq] for seq in sorted(rows)), tuple(it for _, it in told)


def ends_before(last_seq: int, needed_seq: int) -> str:
    """What to say, and to do, where the journal ends before what was taken from it."""
    return (
        f"the journal ends at position {last_seq}, but position {needed_seq} was read from it before: an older state of it was "
        "put in its place, or the database lost what it had committed (a restore of single tables, a disk that does not keep "
        "what it confirms). Stop every driftlock, restore the whole database from one backup (docs/operations.md, Backup), and "
        "start again"
    )
