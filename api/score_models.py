"""Scores of a stream over time as clients see them."""

from uuid import UUID

from pydantic import Field, FiniteFloat

from api.body import Body
from api.evidence_models import Timestamp
from api.models import StreamRef
from driftlock.engine.verdict import Question


class ScorePoint(Body):
    """A part of the time. Parts without events are left out."""

    time: Timestamp = Field(description="When it begins (event time).")
    events: int
    windows: int = Field(
        description="Windows that ended in it and were judged. Of metrics: minutes of a resource. Streams of traces have none."
    )
    flagged: int = Field(description="Findings that ended in it, without those that feedback keeps quiet.")
    surprise_max: FiniteFloat = Field(description="Largest surprise of a window or finding, in bits.")
    ncd_max: FiniteFloat = Field(
        description="Largest distance of a window or finding. Distances of ordinary windows are not all looked at."
    )
    p_value_min: FiniteFloat = Field(description="Smallest p-value of a window or finding; 1 where nothing was judged.")


class ScoreThresholds(Body):
    """What holds for records that come now."""

    ncd: FiniteFloat
    p_value: FiniteFloat


class ScoredFinding(Body):
    """A finding in the time that is shown."""

    id: UUID
    start: Timestamp | None
    end: Timestamp | None
    question: Question
    surprise: FiniteFloat
    ncd: FiniteFloat
    p_value: FiniteFloat
    incident_id: UUID | None
    explanation: str


class ScoreSeries(Body):
    """How a stream was scored over a time."""

    stream: StreamRef
    since: Timestamp
    until: Timestamp
    step_seconds: int = Field(description="Length of a part; parts begin at multiples of it since 1970.")
    points: tuple[ScorePoint, ...]
    thresholds: ScoreThresholds
    findings: tuple[ScoredFinding, ...] = Field(description="Those that reach into the time, the newest first, at most 200.")
    findings_truncated: bool = Field(description="Whether there are more; `GET /v1/anomalies?stream=` has them all.")
