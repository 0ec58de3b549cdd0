"""From what the other rooms hold to what clients see."""

from collections.abc import Sequence
from typing import Any

from api import models, profile_models
from api.deps import CodecInfo
from api.ports import AnomalyRow, IncidentRow, StreamRow
from api.rfc3339 import event_time, ns_of_datetime, rfc3339
from driftlock.engine.calibration import events_until_calibrated
from driftlock.engine.limits import Limits
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import Calibration, Finding, NovelLine

_STATUS = {
    Calibration.CALIBRATING: models.StreamStatus.CALIBRATING,
    Calibration.PROVISIONAL: models.StreamStatus.PROVISIONAL,
    Calibration.OK: models.StreamStatus.READY,
}


def segments(text: str, spans: Sequence[tuple[int, int]]) -> tuple[models.Segment, ...]:
    """`text` cut at byte ranges of its UTF-8 into novel and known pieces, which joined are `text` again.

    A range that begins or ends inside a character takes the whole character; ranges may touch, overlap or stick out.

    >>> [(part.text, part.novel) for part in segments("disk é full", [(5, 6)])]
    [('disk ', False), ('é', True), (' full', False)]
    """
    raw = text.encode()
    pieces: list[models.Segment] = []
    position = 0
    for start, end in sorted(spans):
        start, end = max(start, position), min(end, len(raw))
        if start >= end:
            continue
        start, end = _floor(raw, start), _ceil(raw, end)
        if start > position:
            pieces.append(models.Segment(text=raw[position:start].decode(), novel=False))
        if start == position and pieces and pieces[-1].novel:
            pieces[-1] = models.Segment(text=pieces[-1].text + raw[start:end].decode(), novel=True)
        else:
            pieces.append(models.Segment(text=raw[start:end].decode(), novel=True))
        position = end
    if position < len(raw):
        pieces.append(models.Segment(text=raw[position:].decode(), novel=False))
    return tuple(pieces)


def line(novel: NovelLine) -> models.Line:
    """A line with its novel pieces."""
    return models.Line(
        event=novel.event,
        time=event_time(novel.time_ns),
        text=novel.text,
        segments=segments(novel.text, novel.spans),
        cost_bytes=novel.cost_bytes,
        nearest=novel.nearest or None,
        count=novel.count,
        instance=novel.instance or None,
        trace_id=novel.trace_id or None,
    )


def anomaly_summary(row: AnomalyRow) -> models.AnomalySummary:
    """An anomaly as lists show it."""
    top = max(row.finding.lines, key=lambda novel: novel.cost_bytes, default=None)
    return models.AnomalySummary(**_head(row), top_line=None if top is None else line(top))


def anomaly(row: AnomalyRow) -> models.Anomaly:
    """An anomaly with its evidence."""
    return models.Anomaly(**_head(row), **_evidence(row.finding))


def demo_anomaly(finding: Finding) -> models.DemoAnomaly:
    """A finding that is stored nowhere."""
    return models.DemoAnomaly(**_verdict(finding), **_evidence(finding))


def incident(row: IncidentRow) -> models.Incident:
    """An incident as lists show it."""
    return models.Incident(**_incident_head(row))


def incident_detail(row: IncidentRow, anomalies: Sequence[AnomalyRow]) -> models.IncidentDetail:
    """An incident with some of its anomalies."""
    return models.IncidentDetail(**_incident_head(row), anomalies=tuple(anomaly_summary(part) for part in anomalies))


def stream(row: StreamRow) -> models.Stream:
    """A stream with its calibration."""
    return models.Stream(
        id=row.stream_id,
        slug=row.slug,
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
        created_at=rfc3339(ns_of_datetime(row.created_at)),
    )


def stream_status(row: StreamRow) -> models.StreamStatus:
    """The calibration of a stream in the words of the API."""
    return _STATUS[Calibration(row.calibration)]


def calibration_progress(row: StreamRow) -> models.CalibrationProgress:
    """How far a stream is; 100 % only when nothing is missing, and unknown before the first events are scored."""
    if row.events == 0:
        return models.CalibrationProgress(events=0, needed=None, percent=0)
    whole = events_until_calibrated(row.profile, Limits())  # a change of sizes or codec begins again, so not row.events
    percent = 100 * max(0, whole - row.events_until_ready) // whole
    return models.CalibrationProgress(events=row.events, needed=row.events_until_ready, percent=percent)


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
    )


def _head(row: AnomalyRow) -> dict[str, Any]:
    return {
        "id": row.anomaly_id,
        "stream": models.StreamRef(id=row.stream_id, slug=row.slug),
        "incident_id": row.incident_id,
        "detected_at": rfc3339(ns_of_datetime(row.detected_at)),
        **_verdict(row.finding),
    }


def _verdict(finding: Finding) -> dict[str, Any]:
    same = (
        "window first_event last_event ncd ncd_threshold ncd_classical p_value p_value_threshold confidence p_permutation "
        "permutations ratio ratio_normal compression_ratio compression_ratio_normal compression_ratio_p_value entropy "
        "entropy_normal entropy_p_value profile late_events receive_timed explanation"
    )
    return {
        "start": event_time(finding.start_ns),
        "end": event_time(finding.end_ns),
        "calibration": _STATUS[Calibration(finding.calibration)],
        "codec": models.Codec(name=finding.codec, level=finding.codec_level, version=finding.codec_version),
        "seed": str(finding.seed),
        **{name: getattr(finding, name) for name in same.split()},
    }


def _evidence(finding: Finding) -> dict[str, Any]:
    return {
        "lines": tuple(line(novel) for novel in finding.lines),
        "window_lines": finding.window_lines,
        "baseline_lines": finding.baseline_lines,
    }


def _incident_head(row: IncidentRow) -> dict[str, Any]:
    value = row.incident
    return {
        "id": value.incident_id,
        "streams": tuple(models.StreamRef(id=key, slug=slug) for key, slug in zip(value.stream_ids, row.slugs, strict=True)),
        "state": value.state,
        "start": event_time(value.start_ns),
        "end": event_time(value.end_ns),
        "anomalies_count": value.findings,
        "ncd_max": value.ncd_max,
        "p_value_min": value.p_value_min,
        "title": value.title,
    }


def _floor(raw: bytes, index: int) -> int:
    while 0 < index < len(raw) and raw[index] & 0xC0 == 0x80:  # inside a character
        index -= 1
    return index


def _ceil(raw: bytes, index: int) -> int:
    while 0 < index < len(raw) and raw[index] & 0xC0 == 0x80:
        index += 1
    return index
