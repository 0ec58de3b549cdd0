"""Incidents as clients see them."""

from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator, Field, FiniteFloat, WithJsonSchema

from api.body import Body, optional
from api.choices import chosen, schema_of
from api.evidence_models import Suspect, Timestamp
from api.models import AnomalySummary, StreamRef
from driftlock.engine.verdict import IncidentState
from driftlock.storage.incident_actions import IncidentStatus


class IncidentAnomaly(AnomalySummary):
    """An anomaly of an incident."""

    shared_trace_ids: tuple[str, ...] = Field(description="Those of the incident's `trace_ids` that this anomaly names, too.")


ChosenStatus = Annotated[IncidentStatus, BeforeValidator(chosen(IncidentStatus)), WithJsonSchema(schema_of(IncidentStatus))]


class IncidentAction(Body):
    """The last thing that was said of an incident."""

    status: IncidentStatus
    note: str
    at: Timestamp
    by_kind: str = Field(description="`user`, `key`, or `local` for who needs no key.")
    by_id: str = Field(description="Id of the person or the key.")
    by_name: str
    version: int = Field(description="How often something was said of the incident.")


class IncidentChange(Body):
    """What is said of an incident; what is left out stays as it is."""

    status: ChosenStatus = optional("`acknowledged`: somebody looks after it. `resolved`: it is over. `open`: neither.")
    note: str | None = optional("At most 4,096 bytes; null takes it away.")


class Incident(Body):
    """Anomalies that belong together."""

    id: UUID
    streams: tuple[StreamRef, ...]
    state: IncidentState = Field(description="Whether the detector still adds to it.")
    status: IncidentStatus = Field(
        description="What people say of it. A resolved incident that gets more anomalies is open again."
    )
    reopened: bool = Field(description="Whether it was resolved and is open because it got more anomalies since.")
    action: IncidentAction | None = Field(description="The last thing that was said of it; null if nothing was.")
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


class IncidentVersion(Body):
    """What an incident's entity tag stands for."""

    id: UUID
    version: int
    status: IncidentStatus
