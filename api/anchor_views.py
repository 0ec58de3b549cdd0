"""Anchors and hours of drift as bodies."""

from api import anchor_models as models
from api import views
from api.anchor_ports import AnchorView, StoredAnchor
from api.models import Codec
from api.ports import StreamRow
from api.rfc3339 import event_time, ns_of_datetime, rfc3339
from driftlock.engine.anchor import AnchorSettings, AnchorStanding
from driftlock.engine.drift import RECOVERY_SHARE, DriftHour


def settings(it: AnchorSettings) -> models.AnchorSettings:
    """Settings as they are set and shown."""
    return models.AnchorSettings(drift_ncd_threshold=it.drift_ncd_threshold, reset_on_drift=it.reset_on_drift)


def recovery(it: AnchorSettings) -> float:
    """Below which median a drift is over."""
    return round(RECOVERY_SHARE * it.drift_ncd_threshold, 9)


def stream_anchor(stream: StreamRow, view: AnchorView) -> models.StreamAnchor:
    """What is known of a stream's anchor."""
    return models.StreamAnchor(
        stream=views.stream_ref(stream),
        settings=settings(view.settings),
        recovery_ncd_threshold=recovery(view.settings),
        anchor=None if view.anchor is None else anchor(view.anchor),
        state=_state(view),
        newest_hour=None if view.hour is None else drift_hour(view.hour),
        pending=not view.applied,
    )


def anchor(stored: StoredAnchor) -> models.Anchor:
    """One anchor."""
    it = stored.note
    return models.Anchor(
        id=it.anchor_id,
        standing=it.standing,
        source=it.source,
        cause=it.cause,
        frozen_at=event_time(it.frozen_ns),
        event=it.event,
        codec=Codec(name=it.codec, level=it.codec_level, version=it.codec_version),
        window_lines=it.window,
        lines=it.lines,
        size_bytes=it.size_bytes,
        ratio_normal=it.ratio_normal,
        ended_at=event_time(it.ended_ns) if it.standing is AnchorStanding.ENDED else None,
        ended_because=it.ended_because,
        reason=it.reason,
        recorded_at=rfc3339(ns_of_datetime(stored.recorded_at)),
    )


def drift_hour(hour: DriftHour) -> models.DriftHour:
    """One hour."""
    return models.DriftHour(
        hour=rfc3339(hour.hour_ns),
        anchor_id=hour.anchor_id,
        distance=hour.distance,
        windows=hour.windows,
        recent=hour.recent,
        drifting=hour.drifting,
        since=event_time(hour.since_ns),
    )


def _state(view: AnchorView) -> models.DriftState:
    if view.anchor is None:
        return models.DriftState.NONE
    if view.hour is None or view.hour.recent is None:
        return models.DriftState.MEASURING
    return models.DriftState.DRIFTING if view.hour.drifting else models.DriftState.STEADY
