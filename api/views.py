"""From what the other rooms hold to what clients see."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from api import budget_models, bundle_models, evidence_models, models, profile_models, trace_views
from api.deps import CodecInfo
from api.ports import AnomalyRow, BudgetRow, StoredStreamEvent, StreamRow
from api.rfc3339 import event_time, ns_of_datetime, rfc3339
from driftlock.engine import masks
from driftlock.engine.calibration import events_until_calibrated, events_until_first_alarm
from driftlock.engine.correlation.budget import DAY_NS
from driftlock.engine.event import Signal
from driftlock.engine.evidence import SeriesEvidence
from driftlock.engine.limits import Limits
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import Calibration, Finding, NovelLine

_STATUS = {
    Calibration.CALIBRATING: models.StreamStatus.CALIBRATING,
    Calibration.PROVISIONAL: models.StreamStatus.PROVISIONAL,
    Calibration.OK: models.StreamStatus.READY,
    Calibration.DEGRADED: models.StreamStatus.DEGRADED,
    Calibration.UNKNOWN: models.StreamStatus.UNKNOWN,
}

POINTS_UNTIL_LEARNED = 300
"""No series, so no stream of metrics, is learned with fewer points (`cbad_cy.series.LEARNING_POINTS`)."""


def segments(
    text: str, spans: Sequence[tuple[int, int]], bits: Sequence[float] = (), paths: Sequence[str] = ()
) -> tuple[evidence_models.Segment, ...]:
    """`text` cut at byte ranges of its UTF-8 into novel and known pieces, which joined are `text` again.

    `bits` and `paths` are those of the spans, or empty. A range that begins or ends inside a character takes the whole
    character; ranges may touch, overlap or stick out. Those that touch are one piece if they have the same path.

    >>> [(part.text, part.novel) for part in segments("disk é full", [(5, 6)])]
    [('disk ', False), ('é', True), (' full', False)]
    """
    raw = text.encode()
    pieces: list[evidence_models.Segment] = []
    position = 0
    told = zip_longest(spans, bits[: len(spans)], paths[: len(spans)])
    for (start, end), cost, path in sorted(told, key=lambda each: each[0]):
        start, end = max(start, position), min(end, len(raw))
        if start >= end:
            continue
        start, end = _floor(raw, start), _ceil(raw, end)
        if start > position:
            pieces.append(_known(raw[position:start]))
        piece = evidence_models.Segment(text=raw[start:end].decode(), novel=True, bits=cost, path=path)
        if start == position and pieces and pieces[-1].novel and pieces[-1].path == path:
            piece = _together(pieces.pop(), piece)
        pieces.append(piece)
        position = end
    if position < len(raw):
        pieces.append(_known(raw[position:]))
    return tuple(pieces)


def _known(raw: bytes) -> evidence_models.Segment:
    return evidence_models.Segment(text=raw.decode(), novel=False, bits=None, path=None)


def _together(first: evidence_models.Segment, second: evidence_models.Segment) -> evidence_models.Segment:
    """Two novel pieces that touch, as one."""
    bits = None if first.bits is None or second.bits is None else first.bits + second.bits
    return evidence_models.Segment(text=first.text + second.text, novel=True, bits=bits, path=first.path)


def line(novel: NovelLine) -> evidence_models.Line:
    """A line with its novel pieces."""
    return evidence_models.Line(
        event=novel.event,
        time=event_time(novel.time_ns),
        text=novel.text,
        segments=segments(novel.text, novel.spans, novel.span_bits, novel.span_paths),
        cost_bytes=novel.cost_bytes,
        bits=novel.bits,
        share=novel.share,
        nearest=novel.nearest or None,
        count=novel.count,
        instance=novel.instance or None,
        trace_id=novel.trace_id or None,
    )


def series(evidence: SeriesEvidence) -> evidence_models.Series:
    """A series with its chart."""
    chart = evidence.chart
    return evidence_models.Series(
        **_of_series(evidence),
        chart=evidence_models.Chart(
            times=tuple(rfc3339(time_ns) for time_ns in chart.times_ns),
            values=chart.values,
            expected=chart.expected,
            low=chart.low,
            high=chart.high,
        ),
    )


def anomaly_summary(row: AnomalyRow) -> models.AnomalySummary:
    """An anomaly as lists show it."""
    top = max(row.finding.lines, key=lambda novel: novel.cost_bytes, default=None)
    first = next(iter(row.finding.series), None)
    return models.AnomalySummary(
        **_head(row),
        top_line=None if top is None else line(top),
        top_series=None if first is None else evidence_models.SeriesSummary(**_of_series(first)),
        culprit=trace_views.culprit(row.finding.suspects),
    )


def anomaly(row: AnomalyRow, signed_evidence: bundle_models.EvidenceRef) -> models.Anomaly:
    """An anomaly with its evidence."""
    return models.Anomaly(**_head(row), **_evidence(row.finding), signed_evidence=signed_evidence)


def demo_anomaly(finding: Finding) -> models.DemoAnomaly:
    """A finding that is stored nowhere."""
    return models.DemoAnomaly(**_verdict(finding), **_evidence(finding))


def stream(row: StreamRow) -> models.Stream:
    """A stream with its calibration."""
    return models.Stream(
        id=row.stream_id,
        slug=row.slug,
        display_name=row.display_name,
        signal=row.key.signal,
        service=row.key.service,
        namespace=row.key.namespace,
        environment=row.key.environment,
        status=stream_status(row),
        calibration=calibration_progress(row),
        events=row.events,
        windows=row.windows,
        pending=row.pending,
        first_event=event_time(row.first_event_ns),
        last_event=event_time(row.last_event_ns),
        profile=profile(row.profile),
        alerts=budget_models.AlertBudget(**_stream_alerts(row)),
        retention_days=row.retention_days,
        created_at=rfc3339(ns_of_datetime(row.created_at)),
    )


def stream_status(row: StreamRow) -> models.StreamStatus:
    """The calibration of a stream in the words of the API."""
    return _STATUS[Calibration(row.calibration)]


def calibration_progress(row: StreamRow) -> models.CalibrationProgress:
    """How far a stream is; 100 % only when nothing is missing, and unknown before the first events are scored."""
    state, first_alarm = Calibration(row.calibration), events_until_first_alarm(row.profile, Limits())
    if row.key.signal is Signal.METRICS:
        return _numbers_progress(row, state)
    if row.events == 0:
        return models.CalibrationProgress(
            state=state, reason=row.calibration_reason, events_until_first_alarm=first_alarm, events=0, needed=None, percent=0
        )
    whole = events_until_calibrated(row.profile, Limits())  # a change of sizes or codec begins again, so not row.events
    learned = max(0, whole - row.events_until_ready)
    return models.CalibrationProgress(
        state=state,
        reason=row.calibration_reason,
        events_until_first_alarm=max(0, first_alarm - learned),
        events=row.events,
        needed=row.events_until_ready,
        percent=100 * learned // whole,
    )


def _numbers_progress(row: StreamRow, state: Calibration) -> models.CalibrationProgress:
    """How far a stream of metrics is: sizes of profiles mean lines, so all is said by the points that its series still need."""
    known = row.events > 0
    missing = row.events_until_ready if known else POINTS_UNTIL_LEARNED
    return models.CalibrationProgress(
        state=state,
        reason=row.calibration_reason,
        events_until_first_alarm=missing if state is Calibration.CALIBRATING else 0,
        events=row.events,
        needed=missing if known else None,
        percent=100 * row.events // (row.events + missing) if known else 0,
    )


def stream_event(row: StoredStreamEvent) -> models.StreamEvent:
    """Something that happened to a stream."""
    return models.StreamEvent(
        id=row.event_id,
        kind=row.event.kind,
        time=event_time(row.event.time_ns),
        event=row.event.event,
        window=row.event.window,
        reason=row.event.reason,
        recorded_at=rfc3339(ns_of_datetime(row.recorded_at)),
    )


def stream_budget(row: StreamRow) -> budget_models.StreamBudget:
    """How a stream's alert budget is spent."""
    return budget_models.StreamBudget(id=row.stream_id, slug=row.slug, **_stream_alerts(row))


def tenant_budget(row: BudgetRow) -> budget_models.AlertBudget:
    """How a tenant's alert budget is spent."""
    allowed = Limits().tenant_alerts_per_day_max if row.alerts_per_day_max is None else row.alerts_per_day_max
    return budget_models.AlertBudget(allowed=allowed, spent=row.spent, muted=row.muted, since=_day_before(row.until_ns))


def _stream_alerts(row: StreamRow) -> dict[str, Any]:
    return {
        "allowed": row.profile.alerts_per_day_max,
        "spent": row.alerts_spent,
        "muted": row.alerts_muted,
        "since": _day_before(row.last_event_ns),
    }


def _day_before(until_ns: int) -> str | None:
    """When the 24 hours until an event time began; None if no event has a time."""
    return event_time(max(0, until_ns - DAY_NS))


def stream_ref(row: StreamRow) -> models.StreamRef:
    """Which stream a row is."""
    return models.StreamRef(id=row.stream_id, slug=row.slug)


def codec_levels(codec: CodecInfo) -> profile_models.CodecLevels:
    """A codec and its levels."""
    return profile_models.CodecLevels(
        name=codec.name,
        level_min=codec.level_min,
        level_max=codec.level_max,
        level_default=codec.level_default,
        version=codec.version,
    )


def mask_limits() -> profile_models.MaskLimits:
    """What the masks of a profile may be made of."""
    return profile_models.MaskLimits(
        masks_max=masks.MASKS_MAX,
        pattern_bytes_max=masks.PATTERN_BYTES_MAX,
        name_bytes_max=masks.NAME_BYTES_MAX,
        elements_max=masks.ELEMENTS_MAX,
        run_bytes_max=masks.RUN_BYTES_MAX,
        classes=tuple(masks.CLASSES),
    )


def profile(value: Profile) -> profile_models.Profile:
    """A detection profile."""
    return profile_models.Profile(
        name=value.name,
        ncd_threshold=value.ncd_threshold,
        p_value_threshold=value.p_value_threshold,
        baseline_size=value.baseline_size,
        window_size=value.window_size,
        hop_size=value.hop_size,
        codec=value.codec,
        codec_level=value.codec_level,
        permutations_max=value.permutations_max,
        alerts_per_day_max=value.alerts_per_day_max,
        masks=value.masks,
        group_by=value.group_by,
    )


def listed_profile(value: Profile) -> profile_models.ListedProfile:
    """A detection profile, and what it needs."""
    return profile_models.ListedProfile(
        **profile(value).model_dump(),
        events_until_first_alarm=events_until_first_alarm(value, Limits()),
        events_until_calibrated=events_until_calibrated(value, Limits()),
    )


def _head(row: AnomalyRow) -> dict[str, Any]:
    return {
        "id": row.anomaly_id,
        "stream": models.StreamRef(id=row.stream_id, slug=row.slug),
        "incident_id": row.incident_id,
        "detected_at": rfc3339(ns_of_datetime(row.detected_at)),
        "silenced_by": row.silenced_by,
        **_verdict(row.finding),
    }


def _verdict(finding: Finding) -> dict[str, Any]:
    same = (
        "window first_event last_event ncd ncd_threshold ncd_classical p_value p_value_threshold confidence p_permutation "
        "permutations ratio ratio_normal compression_ratio compression_ratio_normal compression_ratio_p_value entropy "
        "entropy_normal entropy_p_value question surprise subject profile calibration calibration_reason late_events "
        "receive_timed explanation"
    )
    return {
        "start": event_time(finding.start_ns),
        "end": event_time(finding.end_ns),
        "codec": models.Codec(name=finding.codec, level=finding.codec_level, version=finding.codec_version),
        "seed": str(finding.seed),
        **{name: getattr(finding, name) for name in same.split()},
    }


def _evidence(finding: Finding) -> dict[str, Any]:
    return {
        "lines": tuple(line(novel) for novel in finding.lines),
        "missing": tuple(evidence_models.MissingLine(**asdict(each)) for each in finding.missing),
        "instances": tuple(evidence_models.InstanceShare(**asdict(each)) for each in finding.instances),
        "series": tuple(series(each) for each in finding.series),
        "calls": tuple(trace_views.call(each) for each in finding.calls),
        "suspects": trace_views.suspects(finding.suspects),
        "examples": tuple(trace_views.example(each) for each in finding.examples),
        "subtree": finding.subtree,
        "evidence": tuple(evidence_models.Evidence(**asdict(each)) for each in finding.evidence),
        "p_without": finding.p_without,
        "p_without_others": finding.p_without_others,
        "verified": finding.verified,
        "window_lines": finding.window_lines,
        "baseline_lines": finding.baseline_lines,
    }


def _of_series(evidence: SeriesEvidence) -> dict[str, Any]:
    same = ("value", "expected", "low", "high", "bits", "score", "expert")
    return {
        "name": evidence.series,
        "instance": evidence.instance or None,
        "since": event_time(evidence.since_ns),
        **{name: getattr(evidence, name) for name in same},
    }


def _floor(raw: bytes, index: int) -> int:
    while 0 < index < len(raw) and raw[index] & 0xC0 == 0x80:  # inside a character
        index -= 1
    return index


def _ceil(raw: bytes, index: int) -> int:
    while 0 < index < len(raw) and raw[index] & 0xC0 == 0x80:
        index += 1
    return index
