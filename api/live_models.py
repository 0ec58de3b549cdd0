"""Events of the live feed as clients see them."""

from pydantic import Field

from api.body import Body
from api.evidence_models import Timestamp
from api.incident_models import Incident
from api.models import AnomalySummary
from driftlock.storage.live import LiveKind


class LiveEvent(Body):
    """The `data` of an event. Either `anomaly` or `incident` is set, as it is when the event is sent."""

    id: int = Field(description="Its number among the account's events, also the `id` of the server-sent event.")
    kind: LiveKind = Field(description="What happened; also the `event` of the server-sent event.")
    at: Timestamp = Field(description="When it was committed.")
    anomaly: AnomalySummary | None
    incident: Incident | None


class LiveReset(Body):
    """The `data` of `reset`: events after the one that was asked for have left the feed. List them, then go on from `id`."""

    id: int
    missed_from: int = Field(description="The first one that has left, or was never there.")


class LiveReady(Body):
    """The `data` of `ready`, the first event of a connection: what comes next is later than `id`."""

    id: int
