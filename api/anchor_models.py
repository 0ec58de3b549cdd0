"""Bodies about anchors: frozen baselines of streams of lines, and how far the streams are from them hour by hour."""

from enum import StrEnum
from uuid import UUID

from pydantic import Field, FiniteFloat

from api.body import Body, optional
from api.evidence_models import Timestamp
from api.models import Codec, Event, StreamRef
from driftlock.engine.anchor import (
    DRIFT_NCD_THRESHOLD,
    DRIFT_NCD_THRESHOLD_MAX,
    DRIFT_NCD_THRESHOLD_MIN,
    AnchorCause,
    AnchorEnd,
    AnchorSource,
    AnchorStanding,
)
from driftlock.engine.drift import DRIFT_HOURS


class DriftState(StrEnum):
    """What is known of a stream and its anchor."""

    NONE = "none"
    MEASURING = "measuring"
    STEADY = "steady"
    DRIFTING = "drifting"


class AnchorSettings(Body):
    """When a stream has drifted from its anchor, and what then becomes of it. A member that is left out is its default."""

    drift_ncd_threshold: FiniteFloat = Field(
        default=DRIFT_NCD_THRESHOLD,
        ge=DRIFT_NCD_THRESHOLD_MIN,
        le=DRIFT_NCD_THRESHOLD_MAX,
        description=f"A drift begins when the median distance of the last {DRIFT_HOURS} hours with events exceeds this, and is "
        "over below 0.8 of it.",
    )
    reset_on_drift: bool = Field(
        default=False,
        description="Whether the baseline is frozen anew by itself after 24 hours of drift, when for 24 hours no incident of "
        "the stream was open. The old anchor stays in the history.",
    )


class Anchor(Body):
    """A frozen baseline of a stream. Times are event times."""

    id: UUID
    standing: AnchorStanding = Field(description="`in_force`, `ended`, or `refused`: there were too few lines to freeze.")
    source: AnchorSource = Field(description="`baseline`: the accepted lines of the stream; `events`: those of a request.")
    cause: AnchorCause = Field(description="`request`: somebody froze it; `drift`: it took the place of one by itself.")
    frozen_at: Timestamp | None = Field(description="The newest event when it was frozen; null if there was none.")
    event: int = Field(description="Events of the stream before it.")
    codec: Codec = Field(description="What measures it; where the version changes it is measured anew from its lines.")
    window_lines: int = Field(description="Lines of a window that is compared with it.")
    lines: int = Field(description="Lines that it holds.")
    size_bytes: int = Field(description="Bytes of these lines, masked.")
    ratio_normal: FiniteFloat = Field(
        description="Compressed size given the anchor over compressed size alone, as it is for the anchor's own windows: the "
        "distance 0."
    )
    ended_at: Timestamp | None = Field(description="The newest event when it ended; null while it is in force.")
    ended_because: AnchorEnd | None = Field(
        description="`reset`: another one was frozen; `drift`: the same, by itself; `dropped`; `masks`: the stream has other "
        "masks; `lost`: what the stream had learned could not be read."
    )
    reason: str = Field(description="Why it ended or was refused, in words; else empty.")
    recorded_at: Timestamp = Field(description="When the server stored it.")


class DriftHour(Body):
    """An hour of event time in which windows of the stream were compared with its anchor. Other hours have no entry."""

    hour: Timestamp = Field(description="When it began.")
    anchor_id: UUID
    distance: FiniteFloat = Field(
        description="Median distance of its windows: 0 = like the anchor's own, 1 = nothing is explained."
    )
    windows: int = Field(description="Windows that were compared, at most one that begins in a minute.")
    recent: FiniteFloat | None = Field(
        description=f"Median of this and the {DRIFT_HOURS - 1} hours before it that have entries; null while there are fewer."
    )
    drifting: bool = Field(description="Whether the stream had drifted by the end of it.")
    since: Timestamp | None = Field(description="End of the hour that showed the drift; null where there is none.")


class StreamAnchor(Body):
    """The anchor of a stream, with what was set last."""

    stream: StreamRef
    settings: AnchorSettings
    recovery_ncd_threshold: FiniteFloat = Field(description="A drift is over below this.")
    anchor: Anchor | None = Field(description="The one in force; null if there is none.")
    state: DriftState = Field(
        description=f"`none`: no anchor; `measuring`: fewer than {DRIFT_HOURS} hours with events so far; `steady`; `drifting`."
    )
    newest_hour: DriftHour | None = Field(description="The newest closed hour of this anchor.")
    pending: bool = Field(
        description="Whether the newest change has yet to take hold: `anchor` and `newest_hour` are what was before it then."
    )


class AnchorReset(Body):
    """Freeze an anchor in place of the one in force: the accepted baseline as it is now, or the events given."""

    events: list[Event] = optional(
        "Freeze these instead of the baseline, at least a window of them: what the stream should look like. They are masked as "
        "the stream's own, and neither scored nor counted."
    )
    codec: str = optional("What measures it, of `GET /v1/profiles`; `statistical` unless told.")
    codec_level: int = optional("Its level; 0 = its default.")


class AnchorPage(Body):
    """Anchors of a stream, the newest first."""

    stream: StreamRef
    anchors: tuple[Anchor, ...]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class DriftPage(Body):
    """Hours of a stream, the newest first, and the thresholds in force."""

    stream: StreamRef
    drift_ncd_threshold: FiniteFloat
    recovery_ncd_threshold: FiniteFloat
    hours: tuple[DriftHour, ...]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")
