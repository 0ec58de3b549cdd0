"""What one stream's fold passes on for a journal row: findings to keep, and what the tenant's fold hears of them."""

from collections.abc import Sequence
from uuid import UUID

from driftlock.engine.correlation.flag import FLAG_TRACES_MAX, Flag, Progress, traces_of
from driftlock.engine.fold import StreamFold
from driftlock.engine.kinds import identity
from driftlock.engine.lessons import silenced_by
from driftlock.engine.ports import FindingRow
from driftlock.engine.traces.detector import TraceDetector
from driftlock.engine.verdict import Finding


def finding_rows(
    fold: StreamFold, ids: tuple[UUID, UUID], seq: int, findings: Sequence[Finding], *, silences: bool
) -> tuple[FindingRow, ...]:
    """Findings as they are kept; `ids` are those of the tenant and the stream, `seq` is the row that brought them.

    What people have taught the stream silences some of them, unless it has done its part already (`silences`).
    """
    tenant_id, stream_id = ids
    masks = fold.profile.masks
    return tuple(
        FindingRow(
            tenant_id,
            stream_id,
            identity(stream_id, it),
            it,
            seq,
            silenced_by(it, fold.lessons, masks) if silences else None,
        )
        for it in findings
    )


def flags_of(fold: StreamFold, rows: Sequence[FindingRow], *, historical: bool) -> tuple[Flag, ...]:
    """What the tenant's fold is told of findings: nothing of silenced ones."""
    return tuple(
        Flag(
            stream_id=kept.stream_id,
            stream=fold.key.text,
            seq=kept.seq,
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
            service=_service_of(fold, kept.finding),
            suspects=kept.finding.suspects,
            trace_ids=traces_of(kept.finding)[:FLAG_TRACES_MAX],
        )
        for kept in rows
        if kept.silenced_by is None
    )


def progress_of(fold: StreamFold, received_ns: int, *, historical: bool) -> Progress:
    """How far a stream has come with a row that was received at that time."""
    return Progress(
        watermark_ns=fold.clock.watermark_ns,
        windows=fold.windows,
        received_ns=received_ns,
        historical=historical,
        due_ns=due_ns(fold),
        stream=fold.key.text,
        alerts_per_day_max=fold.profile.alerts_per_day_max,
        closes_ns=fold.closes_ns if isinstance(fold, TraceDetector) else 0,
    )


def due_ns(fold: StreamFold) -> int:
    """When the stream's silence is worth telling, after all that people have taught it; 0 = never."""
    return fold.lessons.postponed(fold.due_ns)


def _service_of(fold: StreamFold, finding: Finding) -> str:
    """Whose story a finding tells: of traces that of the most probable cause."""
    if isinstance(fold, TraceDetector):
        return finding.suspects[0].service if finding.suspects else ""
    return fold.key.text.partition(":")[2]
