"""Bodies of requests and responses; the OpenAPI document is made of these.

Times are RFC 3339 in UTC, ids are UUIDs, 64-bit seeds are strings because browsers have no such integers, and every number is
finite: a response with NaN can not be built.
"""

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, WithJsonSchema

from driftlock.engine.verdict import IncidentState

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Event = Annotated[
    Any,
    WithJsonSchema(
        {
            "title": "Event",
            "description": "A line of text, or an object: `time` (Unix seconds or RFC 3339) and `text` are taken out, every "
            "other member is an attribute. `{'text': s}` is the same event as `s`.",
            "oneOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {
                        "time": {"oneOf": [{"type": "number", "minimum": 0}, {"type": "string", "format": "date-time"}]},
                        "text": {"type": "string"},
                    },
                    "additionalProperties": True,
                },
            ],
        }
    ),
]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StreamStatus(StrEnum):
    """How far the verdicts of a stream may be trusted."""

    CALIBRATING = "calibrating"
    PROVISIONAL = "provisional"
    READY = "ready"


class DetectStatus(StrEnum):
    """`StreamStatus`, or `pending` while the events of the request wait to be scored."""

    CALIBRATING = "calibrating"
    PROVISIONAL = "provisional"
    READY = "ready"
    PENDING = "pending"


class StreamRef(_Model):
    """Which stream."""

    id: UUID
    slug: str


class CalibrationProgress(_Model):
    """How far a stream is from verdicts with the stated false-alarm rate."""

    events: int = Field(description="Events scored so far.")
    needed: int | None = Field(description="Events still missing until the stream is ready; null before any is scored.")
    percent: int = Field(ge=0, le=100, description="Share of the way, rounded down.")


class Codec(_Model):
    """The compressor behind the numbers; sizes may differ between versions of a library."""

    name: str
    level: int
    version: str


class Segment(_Model):
    """A piece of a line; the segments of a line, joined, are its text."""

    text: str
    novel: bool = Field(description="Whether the stream's past does not explain it.")


class Line(_Model):
    """A line of a flagged window that the baseline explains badly."""

    event: int = Field(description="Index of the event in its stream.")
    time: Timestamp | None = Field(description="Event time; null if the event carried none.")
    text: str
    segments: tuple[Segment, ...]
    cost_bytes: int = Field(description="Bytes that the line costs given the baseline; higher = more novel.")
    nearest: str | None = Field(description="The baseline line that resembles it most; null if none does.")
    count: int = Field(description="Lines of the window with the same form.")
    instance: str | None = Field(description="Pod, container or host that sent it, if known.")
    trace_id: str | None


class _AnomalyHead(_Model):
    id: UUID
    stream: StreamRef
    incident_id: UUID | None = Field(description="The incident it belongs to, once there is one.")
    window: int = Field(description="Number of the window in its stream.")
    first_event: int = Field(description="Index in the stream of the window's first event.")
    last_event: int = Field(description="Index in the stream of the window's last event, inclusive.")
    start: Timestamp | None = Field(description="Earliest event time in the window.")
    end: Timestamp | None = Field(description="Latest event time in the window.")
    detected_at: Timestamp = Field(description="When the server stored the finding.")
    ncd: FiniteFloat = Field(
        description="Calibrated distance from normal: 0 = as explainable as usual, 1 = nothing is explained."
    )
    ncd_threshold: FiniteFloat = Field(description="The window alarms at this distance or more.")
    ncd_classical: FiniteFloat = Field(description="The textbook normalised compression distance, for comparison.")
    p_value: FiniteFloat = Field(description="How often a normal window is at least this strange; never 0, lower = stranger.")
    p_value_threshold: FiniteFloat = Field(description="The window alarms at this p-value or less.")
    confidence: FiniteFloat = Field(description="Share of the stream's own past windows that were less surprising.")
    ratio: FiniteFloat = Field(description="Compressed size given the baseline over compressed size alone.")
    ratio_normal: FiniteFloat = Field(description="What `ratio` usually is for this stream.")
    compression_ratio: FiniteFloat = Field(description="Raw over compressed bytes.")
    compression_ratio_normal: FiniteFloat = Field(description="What `compression_ratio` usually is for this stream.")
    entropy: FiniteFloat = Field(description="Bits per byte.")
    entropy_normal: FiniteFloat = Field(description="What `entropy` usually is for this stream.")
    profile: str = Field(description="Name of the thresholds in force.")
    calibration: StreamStatus = Field(description="How far the p-value could be trusted at that time.")
    codec: Codec
    seed: str = Field(description="Seed of the window's random choices, an unsigned 64-bit integer in decimal.")
    late_events: int = Field(description="Events whose own time could not be believed and that were scored at the watermark.")
    receive_timed: bool = Field(description="Whether events without a time were placed at the time they were received.")
    explanation: str = Field(description="One plain sentence.")


class AnomalySummary(_AnomalyHead):
    """An anomaly in a list: without the excerpts, with its most novel line."""

    top_line: Line | None = Field(description="The line with the highest cost.")


class Anomaly(_AnomalyHead):
    """An anomaly with its evidence."""

    lines: tuple[Line, ...] = Field(description="The lines that the baseline explains badly, as the detector ranked them.")
    window_lines: tuple[str, ...] = Field(description="Excerpt of the flagged window.")
    baseline_lines: tuple[str, ...] = Field(description="Excerpt of what was normal.")


class AnomalyPage(_Model):
    """Anomalies, the newest first."""

    anomalies: tuple[AnomalySummary, ...]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class Incident(_Model):
    """Anomalies that belong together."""

    id: UUID
    streams: tuple[StreamRef, ...]
    state: IncidentState
    start: Timestamp | None
    end: Timestamp | None
    anomalies_count: int = Field(description="Anomalies in it.")
    ncd_max: FiniteFloat = Field(description="Distance of its strangest window.")
    p_value_min: FiniteFloat = Field(description="p-value of its rarest window.")
    title: str


class IncidentDetail(Incident):
    """An incident with its newest anomalies; `GET /v1/anomalies?incident=` lists them all."""

    anomalies: tuple[AnomalySummary, ...]


class IncidentPage(_Model):
    """Incidents, the newest first."""

    incidents: tuple[Incident, ...]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class Stream(_Model):
    """A stream: what shares one past."""

    id: UUID
    slug: str
    signal: str
    service: str
    namespace: str
    environment: str
    status: StreamStatus
    calibration: CalibrationProgress
    events: int = Field(description="Events scored so far.")
    windows: int = Field(description="Windows evaluated so far.")
    pending: int = Field(description="Events that are durable and not yet scored.")
    first_event: Timestamp | None = Field(description="Event time of the earliest event.")
    last_event: Timestamp | None = Field(description="Event time of the latest event.")
    created_at: Timestamp


class StreamPage(_Model):
    """Streams by slug."""

    streams: tuple[Stream, ...]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class Profile(_Model):
    """Thresholds and window geometry; sizes are in events."""

    name: str
    ncd_threshold: FiniteFloat
    p_value_threshold: FiniteFloat
    baseline_size: int
    window_size: int
    hop_size: int


class ProfileList(_Model):
    """The built-in profiles."""

    profiles: tuple[Profile, ...]
    default: str


class Version(_Model):
    """Versions of everything that can change a verdict."""

    version: str
    codec: Codec
    schema_version: int = Field(description="Number of the newest migration of the database.")


class Liveness(_Model):
    """The process runs."""

    status: str


class Check(_Model):
    """One thing that readiness depends on."""

    ok: bool
    detail: str | None = Field(description="What is wrong; null if nothing is.")


class Readiness(_Model):
    """Whether requests can be served, and what stands in the way."""

    ready: bool
    checks: dict[str, Check]


class DetectRequest(_Model):
    """Events of one stream, in their order."""

    stream_id: str = Field(
        default="",
        description="Name of the stream, created on first sight; at most 256 bytes. Without it, the stream that the API key is "
        "bound to, else `default`.",
    )
    events: list[Event] = Field(min_length=1, description="1 to 10,000 events.")
    historical: bool = Field(default=False, description="A replay of the past: event times are believed however old they are.")


class Cuts(_Model):
    """What did not fit the limits of a record, counted over the request."""

    truncated: int = Field(description="Texts, names and values that were shortened.")
    attributes_dropped: int
    replaced: int = Field(description="Texts in which U+FFFD stands for what is not Unicode.")


class DetectMetrics(_Model):
    """How the request was evaluated; sizes are in events."""

    baseline: int
    window: int
    hop: int
    duration_ms: int = Field(description="From the last byte of the request to this answer.")
    codec: str


class DetectResponse(_Model):
    """What the detector made of the events."""

    request_id: str
    stream: StreamRef
    status: DetectStatus
    calibration: CalibrationProgress
    processed: int = Field(description="Events of this request that are durable; 0 when it is a duplicate.")
    duplicate: bool = Field(description="Whether a request with this Idempotency-Key was accepted before.")
    anomalies: tuple[AnomalySummary, ...] = Field(
        description="Anomalies whose window ends in these events, in their order. Where other requests wrote to the stream "
        "at the same time, theirs may be among them."
    )
    anomalies_truncated: bool = Field(description="Whether there are more; `GET /v1/anomalies?stream=` has them all.")
    pending: int = Field(description="Events of the stream that are durable and not yet scored.")
    cuts: Cuts
    metrics: DetectMetrics
