"""Streams of lines and their anchors: where a stream's fold, its place in the journal and its anchor come together."""

from uuid import UUID

from driftlock.engine.anchor import AnchorChange
from driftlock.engine.anchoring import CodecOf, Place, Told
from driftlock.engine.detector import Detector
from driftlock.engine.drift_finding import DriftContext
from driftlock.engine.fold import StreamFold
from driftlock.engine.ports import AnchorLoss, AnchorRow, DriftRow
from driftlock.engine.verdict import Finding


def change_anchor(fold: StreamFold, change: AnchorChange, stream_id: UUID, seq: int, codec_of: CodecOf) -> None:
    """Let a stream take what the row `seq` says of its anchor; one of numbers or of traces has none."""
    if isinstance(fold, Detector):
        fold.anchoring.apply(
            change,
            Place(stream_id, seq, fold.events, fold.clock.watermark_ns),
            window=fold.profile.window_size,
            event_bytes_max=fold.limits.event_bytes_max,
            baseline=lambda: accepted_lines(fold),
            masks=fold.masks,
            codec_of=codec_of,
        )


def accepted_lines(fold: Detector) -> list[bytes]:
    """The accepted baseline of a stream as it is now, masked, oldest line first."""
    forms, accepted, _, _ = fold.slide.pool.parts()
    return [forms[number] for number in accepted]


def drift(fold: StreamFold, codec_of: CodecOf) -> list[Finding]:
    """What the records that the fold took last say of its anchor; call it after each journal row with records."""
    if not isinstance(fold, Detector) or fold.anchoring.anchor is None:
        return []

    def context_at(event: int) -> DriftContext:
        window = max(0, fold.windows_by(event) - 1)
        return DriftContext(fold.key.text, fold.key.service, fold.seed, window, event, fold.clock.receive_timed)

    findings, happened = fold.anchoring.judge(codec_of, context_at)
    fold.baseline.happened.extend(happened)
    return findings


def lost_anchor(fold: StreamFold) -> None:
    """An earlier state of the stream, or none, was taken up: what is shown of its anchors may not be what it knows."""
    if isinstance(fold, Detector):
        fold.anchoring.lost()


def take_told(fold: StreamFold, seq: int) -> Told | None:
    """What came of the row `seq` that is to be shown of the stream's anchor, once; None where there is nothing."""
    told = fold.anchoring.take(seq) if isinstance(fold, Detector) else None
    return told or None


def rows_of(
    told: Told, tenant_id: UUID, stream_id: UUID, seq: int
) -> tuple[tuple[AnchorRow, ...], tuple[DriftRow, ...], tuple[AnchorLoss, ...]]:
    """The same with the ids it is stored under."""
    return (
        tuple(AnchorRow(tenant_id, stream_id, note) for note in told.notes),
        tuple(DriftRow(tenant_id, stream_id, hour) for hour in told.hours),
        (AnchorLoss(tenant_id, stream_id, seq, told.kept, told.settings),) if told.lost else (),
    )
