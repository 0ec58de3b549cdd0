"""From incidents as they are stored to what clients see."""

from collections.abc import Sequence
from typing import Any

from api import incident_models, models, trace_views, views
from api.ports import AnomalyRow, IncidentRow
from api.rfc3339 import event_time, ns_of_datetime, rfc3339
from driftlock.engine.correlation.flag import traces_of
from driftlock.storage.incident_actions import IncidentAction


def incident(row: IncidentRow) -> incident_models.Incident:
    """An incident as lists show it."""
    return incident_models.Incident(**_head(row))


def incident_detail(row: IncidentRow, anomalies: Sequence[AnomalyRow]) -> incident_models.IncidentDetail:
    """An incident with some of its anomalies."""
    shown = row.incident.trace_ids
    named = [(part, set(traces_of(part.finding))) for part in anomalies]
    return incident_models.IncidentDetail(
        **_head(row),
        suspects=trace_views.suspects(row.incident.suspects),
        trace_ids=shown,
        anomalies=tuple(
            incident_models.IncidentAnomaly(
                **dict(views.anomaly_summary(part)), shared_trace_ids=tuple(it for it in shown if it in traces)
            )
            for part, traces in named
        ),
    )


def _action(said: IncidentAction) -> incident_models.IncidentAction:
    return incident_models.IncidentAction(
        status=said.status,
        note=said.note,
        at=rfc3339(ns_of_datetime(said.at)),
        by_kind=said.actor_kind,
        by_id=said.actor_id,
        by_name=said.actor_name,
        version=said.version,
    )


def _head(row: IncidentRow) -> dict[str, Any]:
    value = row.incident
    return {
        "id": value.incident_id,
        "streams": tuple(models.StreamRef(id=key, slug=slug) for key, slug in zip(value.stream_ids, row.slugs, strict=True)),
        "state": value.state,
        "status": row.status,
        "reopened": row.reopened,
        "action": None if row.action is None else _action(row.action),
        "start": event_time(value.start_ns),
        "end": event_time(value.end_ns),
        "anomalies_count": value.findings,
        "ncd_max": value.ncd_max,
        "p_value_min": value.p_value_min,
        "surprise_max": value.surprise_max,
        "alerted": value.alerted,
        "alerted_at": None if row.alerted_ns is None else event_time(row.alerted_ns),
        "title": value.title,
        "culprit": trace_views.culprit(value.suspects),
    }
