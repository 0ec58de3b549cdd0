"""Bodies about how the profile of a stream came to be what it is."""

from typing import Literal

from pydantic import Field, FiniteFloat

from api.body import Body
from api.evidence_models import Timestamp
from api.models import StreamRef

Value = int | FiniteFloat | str | tuple[str, ...]


class TuningChange(Body):
    """One member of a profile that changed."""

    member: str
    before: Value
    after: Value


class TuningEntry(Body):
    """One change of a stream's profile."""

    n: int = Field(description="Number of the change in its stream.")
    at: Timestamp
    kind: Literal["manual", "automatic", "undo"]
    changes: tuple[TuningChange, ...]
    reason: str = Field(description="Why, in one sentence; empty for changes by hand.")
    undoes: int | None = Field(description="The change that this one undid.")
    undone_by: int | None = Field(description="The change that undid this one.")


class TuningPage(Body):
    """Whether thresholds follow feedback, and how the profile changed so far, the newest change first."""

    stream: StreamRef
    automatic: bool = Field(description="Whether thresholds follow feedback.")
    members: tuple[str, ...] = Field(description="Thresholds that would.")
    entries: tuple[TuningEntry, ...]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class TuningSwitch(Body):
    """Let thresholds follow feedback, or not."""

    automatic: bool


class TuningState(Body):
    """Whether thresholds follow feedback."""

    stream: StreamRef
    automatic: bool
