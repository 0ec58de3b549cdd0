"""Incidents as clients see them."""

from uuid import UUID

from pydantic import Field, FiniteFloat

from api.body import Body
from api.evidence_models import Suspect, Timestamp
from api.models import AnomalySummary, StreamRef
from driftlock.engine.verdict import IncidentState


class IncidentAnomaly(AnomalySummary):
    """An anomaly of an incident."""

    shared_trace_ids: tuple[str, ...] = Field(description="Those of the incident's `trace_ids` that this anomaly names, too.")


class Incident(Body):
    """Anomalies that belong together."""

    id: UUID
    streams: tuple[StreamRef, ...]
    state: IncidentState
    start: Timestamp | None
    end: Timestamp | None
    anomalies_count: int = Field(description="Anomalies in it.")
    ncd_max: FiniteFloat = Field(description="Distance of its strangest window.")
    p_value_min: FiniteFloat = Field(description="p-value of its rarest window.")
    surprise_max: FiniteFloat = Field(description="Surprise of its strongest anomaly, in bits.")
    alerted: bool = Field(description="Whether the alert budget allowed to tell somebody; an incident over it is kept quiet.")
    alerted_at: Timestamp | None = Field(description="Event time of the anomaly that alerted; null if none did.")
    title: str = Field(
        description="What its strongest anomaly says; the culprit stands before it where several services are involved."
    )
    culprit: str | None = Field(description="The service that is most probably the cause: the first of its suspects.")


class IncidentDetail(Incident):
    """An incident with its newest anomalies; `GET /v1/anomalies?incident=` lists them all."""

    suspects: tuple[Suspect, ...] = Field(
        description="The services that are involved, the one that most speaks against first, at most 10."
    )
    trace_ids: tuple[str, ...] = Field(description="Traces to look at, those of its strongest anomalies first, at most 10.")
    anomalies: tuple[IncidentAnomaly, ...]


class IncidentPage(Body):
    """Incidents, the newest first."""

    incidents: tuple[Incident, ...]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")
