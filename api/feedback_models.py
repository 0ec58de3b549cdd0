"""Bodies about feedback: what people say of anomalies, and what comes of it."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, WithJsonSchema

from api.body import Body, optional
from api.evidence_models import Timestamp
from api.models import AnomalySummary
from api.rfc3339 import parse_rfc3339

NOTE_CHARS_MAX = 1000

Verdict = Literal["confirmed", "false_positive", "expected"]


def _checked_time(text: str) -> str:
    parse_rfc3339(text)
    return text


Until = Annotated[str, AfterValidator(_checked_time), WithJsonSchema({"type": "string", "format": "date-time"})]


class FeedbackRequest(Body):
    """What somebody says of an anomaly."""

    verdict: Verdict = Field(
        description="`confirmed`: it was worth telling; `false_positive`: it was not; `expected`: it was as it should be. The "
        "last two teach the stream the anomaly's own new parts."
    )
    until: Until = optional("Event time until which the stream keeps to it; without it, for good. Not with `confirmed`.")
    note: str = Field(default="", max_length=NOTE_CHARS_MAX, description="For people.")
    preview: bool = Field(default=False, description="Only say what it would change; nothing is stored.")


class Feedback(Body):
    """What was said of an anomaly, as it stands."""

    anomaly_id: UUID
    stream_id: UUID
    verdict: Verdict
    until: Timestamp | None = Field(description="Event time until which the stream keeps to it; null = for good.")
    note: str
    taught: bool = Field(
        description="Whether the stream keeps quiet about the same parts because of it, while it has not expired."
    )
    given_at: Timestamp
    given_by: str = Field(description="The name of who said it; empty where it is not known.")


class FeedbackPreview(Body):
    """What feedback would have made of the anomalies of the last days, the newest first."""

    teaches: bool = Field(
        description="Whether there is anything to learn; false for `confirmed`, and where nothing can be known again."
    )
    silences: tuple[AnomalySummary, ...] = Field(description="Anomalies that would be silenced; the newest fifty at most.")
    silences_total: int
    brings_back: tuple[AnomalySummary, ...] = Field(description="Silenced ones that would be told; the newest fifty at most.")
    brings_back_total: int
    examined: int = Field(description="So many stored anomalies of the stream were looked at.")
    days: int = Field(description="From so many days.")
    cut: bool = Field(description="Whether there are more of these days than were looked at.")


class FeedbackResult(Body):
    """What came of feedback: `feedback` as it is stored, or, where only a preview was asked for, that."""

    feedback: Feedback | None
    preview: FeedbackPreview | None
