"""Bodies of requests and responses; the OpenAPI document is made of these.

Times are RFC 3339 in UTC, ids are UUIDs, 64-bit seeds are strings because browsers have no such integers, and every number is
finite: a response with NaN can not be built.
"""

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, FiniteFloat, WithJsonSchema

from api.body import Body, optional
from api.budget_models import AlertBudget
from api.bundle_models import EvidenceRef
from api.evidence_models import (
    Call,
    Evidence,
    InstanceShare,
    Line,
    MissingLine,
    Series,
    SeriesSummary,
    Suspect,
    Timestamp,
    TraceExample,
)
from api.profile_models import ConfigOverride, Profile
from driftlock.engine.verdict import Calibration, Question, StreamEventKind

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


class StreamStatus(StrEnum):
    """How far the verdicts of a stream may be trusted."""

    CALIBRATING = "calibrating"
    PROVISIONAL = "provisional"
    READY = "ready"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"


class DetectStatus(StrEnum):
    """`StreamStatus`, or `pending` while the events of the request wait to be scored."""

    CALIBRATING = "calibrating"
    PROVISIONAL = "provisional"
    READY = "ready"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"
    PENDING = "pending"


class StreamRef(Body):
    """Which stream."""

    id: UUID
    slug: str


class CalibrationProgress(Body):
    """How far a stream is from verdicts with the stated false-alarm rate, and whether they keep to it."""

    state: Calibration = Field(
        description="`calibrating`: no window was evaluated yet; `provisional`: too few for the stated false-alarm rate; `ok`; "
        "`degraded`: the recent past does not behave as that rate supposes; `unknown`: nothing can be said."
    )
    reason: str = Field(description="Why, in words; empty where the state says it all.")
    events_until_first_alarm: int = Field(description="Events still missing until an alarm is possible at all.")
    events: int = Field(description="Events scored so far.")
    needed: int | None = Field(description="Events still missing until the stream is ready; null before any is scored.")
    percent: int = Field(ge=0, le=100, description="Share of the way, rounded down.")


class Codec(Body):
    """The compressor behind the numbers; sizes may differ between versions of a library."""

    name: str
    level: int
    version: str


class _Stored(Body):
    id: UUID
    stream: StreamRef
    incident_id: UUID | None = Field(description="The incident it belongs to, once there is one.")
    detected_at: Timestamp = Field(description="When the server stored the finding.")
    silenced_by: UUID | None = Field(description="The anomaly whose feedback keeps this one quiet; null where it was told.")


class _Verdict(Body):
    window: int = Field(description="Number of the window in its stream; of numbers, its minutes of event time.")
    first_event: int = Field(description="Index in the stream of the window's first event.")
    last_event: int = Field(description="Index in the stream of the window's last event, inclusive.")
    start: Timestamp | None = Field(description="Earliest event time in the window.")
    end: Timestamp | None = Field(description="Latest event time in the window.")
    ncd: FiniteFloat = Field(
        description="Calibrated distance from normal: 0 = as explainable as usual, 1 = nothing is explained."
    )
    ncd_threshold: FiniteFloat = Field(description="The window alarms at this distance or more.")
    ncd_classical: FiniteFloat = Field(description="The textbook normalised compression distance, for comparison.")
    p_value: FiniteFloat = Field(description="How often a normal window is at least this strange; never 0, lower = stranger.")
    p_value_threshold: FiniteFloat = Field(description="The window alarms at this p-value or less.")
    confidence: FiniteFloat = Field(description="Share of the stream's own past windows that were less surprising.")
    p_permutation: FiniteFloat = Field(
        description="p-value of a permutation test: exact if lines could be exchanged, which those of bursts can not."
    )
    permutations: int = Field(description="Draws that the permutation test made.")
    ratio: FiniteFloat = Field(description="Compressed size given the baseline over compressed size alone.")
    ratio_normal: FiniteFloat = Field(description="What `ratio` usually is for this stream.")
    compression_ratio: FiniteFloat = Field(description="Raw over compressed bytes.")
    compression_ratio_normal: FiniteFloat = Field(description="What `compression_ratio` usually is for this stream.")
    compression_ratio_p_value: FiniteFloat = Field(description="How rare a ratio so far from normal is, on either side.")
    entropy: FiniteFloat = Field(description="Bits per byte.")
    entropy_normal: FiniteFloat = Field(description="What `entropy` usually is for this stream.")
    entropy_p_value: FiniteFloat = Field(description="How rare an entropy so far from normal is, on either side.")
    question: Question = Field(description="What the finding is about.")
    surprise: FiniteFloat = Field(description="Its strength in bits beyond the floor of the p-value; it ranks findings.")
    subject: str = Field(description="The instance or interaction concerned; empty = the whole stream.")
    profile: str = Field(description="Name of the thresholds in force.")
    calibration: Calibration = Field(description="How far the p-value could be trusted at that time.")
    calibration_reason: str = Field(description="Why, in words; empty where `calibration` says it all.")
    codec: Codec
    seed: str = Field(description="Seed of the window's random choices, an unsigned 64-bit integer in decimal.")
    late_events: int = Field(description="Events whose own time could not be believed and that were scored at the watermark.")
    receive_timed: bool = Field(description="Whether events without a time were placed at the time they were received.")
    explanation: str = Field(description="One plain sentence.")


class _Evidence(Body):
    lines: tuple[Line, ...] = Field(description="The lines that the baseline explains badly, as the detector ranked them.")
    missing: tuple[MissingLine, ...] = Field(description="Usual lines that did not come.")
    instances: tuple[InstanceShare, ...] = Field(description="Who said the named lines.")
    series: tuple[Series, ...] = Field(description="The series concerned, the strongest first; empty where it is about lines.")
    calls: tuple[Call, ...] = Field(
        description="The odd calls, what alarmed first, at most 20; empty where it is not about traces."
    )
    suspects: tuple[Suspect, ...] = Field(
        description="The services that may be the cause, the most probable first, at most 10."
    )
    examples: tuple[TraceExample, ...] = Field(description="Traces that show it, at most 10.")
    subtree: tuple[str, ...] = Field(
        description="The part of the traces that is new (`+ `) or missing (`- `), an operation a line, indented by two spaces "
        "for each level below its root; at most 40 lines."
    )
    evidence: tuple[Evidence, ...] = Field(description="What every question said of the window.")
    p_without: FiniteFloat = Field(description="p-value of the window without the named lines.")
    p_without_others: FiniteFloat = Field(description="p-value of the window without as many other lines, chosen at random.")
    verified: bool = Field(description="Whether leaving out the named lines makes the window normal, and others do not.")
    window_lines: tuple[str, ...] = Field(description="Excerpt of the flagged window.")
    baseline_lines: tuple[str, ...] = Field(description="Excerpt of what was normal.")


class AnomalySummary(_Verdict, _Stored):
    """An anomaly in a list: without the excerpts and charts, with its most novel line or its strongest series."""

    top_line: Line | None = Field(description="The line with the highest cost.")
    top_series: SeriesSummary | None = Field(description="The strongest series; null where it is not about numbers.")
    culprit: str | None = Field(description="The service that is most probably the cause; null where it is not about traces.")


class Anomaly(_Evidence, _Verdict, _Stored):
    """An anomaly with its evidence."""

    signed_evidence: EvidenceRef = Field(description="Whether all that the verdict follows from can be had, signed.")


class DemoAnomaly(_Evidence, _Verdict):
    """An anomaly of the demo: it is not stored, so it has no id, no stream and no incident."""


class AnomalyPage(Body):
    """Anomalies, the newest first."""

    anomalies: tuple[AnomalySummary, ...]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class Stream(Body):
    """A stream: what shares one past."""

    id: UUID
    slug: str
    display_name: str = Field(description="What people call it; empty = nothing but its slug.")
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
    profile: Profile = Field(description="In force for events that are received from now on.")
    alerts: AlertBudget
    retention_days: int | None = Field(description="Days that its findings are kept; null = as long as the plan says.")
    created_at: Timestamp


class StreamEvent(Body):
    """Something that happened to a stream's baseline or calibration."""

    id: UUID
    kind: StreamEventKind
    time: Timestamp | None = Field(description="Event time of the record that brought it.")
    event: int = Field(description="Index in the stream of the record that brought it.")
    window: int = Field(description="Windows evaluated by then.")
    reason: str = Field(description="One plain sentence.")
    recorded_at: Timestamp = Field(description="When the server stored it.")


class StreamEventPage(Body):
    """Events of a stream, the newest first."""

    stream: StreamRef
    events: tuple[StreamEvent, ...]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class StreamPage(Body):
    """Streams by slug."""

    streams: tuple[Stream, ...]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class StreamProfile(Body):
    """How a stream is judged."""

    stream: StreamRef
    profile: Profile = Field(description="In force for events that are received from now on.")


class ChangedStreamProfile(StreamProfile):
    """How a stream is judged after a change, and what the change means."""

    changed: bool = Field(description="False if this profile was in force already.")
    calibration_restarts: bool = Field(description="Whether the stream learns anew what is usual, without alarms until then.")
    effect: str = Field(description="The same in words.")


class Version(Body):
    """Versions of everything that can change a verdict."""

    version: str
    codec: Codec
    schema_version: int = Field(description="Number of the newest migration of the database.")


class Liveness(Body):
    """The process runs."""

    status: str


class Check(Body):
    """One thing that readiness depends on."""

    ok: bool
    detail: str | None = Field(description="What is wrong; null if nothing is.")


class Readiness(Body):
    """Whether requests can be served, and what stands in the way."""

    ready: bool
    checks: dict[str, Check]


class DetectRequest(Body):
    """Events of one stream, in their order."""

    stream_id: str = Field(
        default="",
        description="Name of the stream, created on first sight; at most 256 bytes. Without it, the stream that the API key is "
        "bound to, else `default`.",
    )
    events: list[Event] = Field(min_length=1, description="1 to 10,000 events.")
    historical: bool = Field(default=False, description="A replay of the past: event times are believed however old they are.")
    config_override: ConfigOverride = optional(
        "`ncd_threshold` and `p_value_threshold` hold for the windows that end in these events. The other members are the "
        "stream's: allowed if this request creates the stream, which keeps them, or if they are in force already."
    )


class Cuts(Body):
    """What did not fit the limits of a record, counted over the request."""

    truncated: int = Field(description="Texts, names and values that were shortened.")
    attributes_dropped: int
    replaced: int = Field(description="Texts in which U+FFFD stands for what is not Unicode.")


class _Metrics(Body):
    baseline: int
    window: int
    hop: int
    duration_ms: int = Field(description="From the last byte of the request to this answer.")
    codec: str


class DetectMetrics(_Metrics):
    """How the stream is evaluated; sizes are in events."""

    profile: str = Field(description="Name of the stream's profile.")


class DetectResponse(Body):
    """What the detector made of the events."""

    request_id: str
    stream: StreamRef
    status: DetectStatus
    calibration: CalibrationProgress
    processed: int = Field(description="Events of this request that are durable; 0 when it is a duplicate.")
    duplicate: bool = Field(description="Whether a request with this Idempotency-Key was accepted before.")
    operation: str | None = Field(
        description="Id of the operation that will have the result, where the events are not scored yet; null where they are."
    )
    anomalies: tuple[AnomalySummary, ...] = Field(description="Anomalies that these events brought, in their order.")
    anomalies_truncated: bool = Field(description="Whether there are more; `GET /v1/anomalies?stream=` has them all.")
    pending: int = Field(description="Events of the stream that are durable and not yet scored.")
    cuts: Cuts
    metrics: DetectMetrics


class DemoRequest(Body):
    """Events that are judged by themselves, in their order: the first of them are the past of the others."""

    events: list[Event] = Field(min_length=1, description="16 to 200 events, the older ones first.")
    config_override: ConfigOverride = optional("Values that replace those of the default profile.")


class DemoMetrics(_Metrics):
    """How the events were evaluated, in the sizes that were really used."""

    windows: int = Field(description="Windows that were judged.")
    scaled: bool = Field(description="Whether sizes were made smaller because there are too few events for the profile's.")


class DemoResponse(Body):
    """What is new in the events. Nothing of them is stored."""

    request_id: str
    status: StreamStatus = Field(description="Always `provisional`: so few events have no calibrated p-values.")
    calibration: CalibrationProgress = Field(description="How far a stream would be after these events.")
    processed: int = Field(description="Events of this request.")
    profile: Profile = Field(description="Thresholds and sizes as they were used.")
    anomalies: tuple[DemoAnomaly, ...] = Field(description="Flagged windows in their order; neighbours overlap.")
    anomalies_truncated: bool = Field(description="Whether there are more.")
    cuts: Cuts
    metrics: DemoMetrics
    remaining: int = Field(description="Calls that this client network may make now.")
