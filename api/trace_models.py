"""A trace as a tree, as clients see it."""

from uuid import UUID

from pydantic import Field, FiniteFloat

from api.body import Body
from api.evidence_models import Timestamp
from api.models import StreamRef
from api.reading import Reading
from driftlock.engine.verdict import Question


class TraceFinding(Body):
    """An anomaly that names the trace."""

    id: UUID = Field(description="Id of the anomaly.")
    question: Question = Field(description="What it is about.")
    explanation: str = Field(description="It in one sentence.")
    subtree: tuple[str, ...] = Field(description="The calls that are new (`+`), missing (`-`) or around them.")


class Span(Body):
    """One span. Spans come in the order of the tree: each behind its parent, siblings by their start."""

    span_id: str = Field(description="Its id, 16 hexadecimal digits.")
    parent_id: str | None = Field(description="Id of its parent, as it was sent; null for a root.")
    depth: int = Field(description="How deep it stands; 0 for roots and orphans.")
    orphan: bool = Field(description="It names a parent that is not there.")
    service: str = Field(description="The service that sent it.")
    operation: str = Field(description="Its name.")
    kind: str = Field(description="`internal`, `server`, `client`, `producer`, `consumer` or `unspecified`.")
    instance: str | None = Field(description="The instance that sent it, if it is known.")
    start: Timestamp | None = Field(description="When it began.")
    offset_s: FiniteFloat = Field(
        description="So many seconds after the beginning of the trace; may be negative with skewed clocks."
    )
    duration_s: FiniteFloat = Field(description="How long it took, in seconds.")
    self_s: FiniteFloat = Field(description="Seconds of it in which none of its children ran.")
    error: bool = Field(description="Its status is an error.")
    backwards: bool = Field(description="It ended before it began; its duration counts as 0.")
    new: bool = Field(description="A finding says that this call is new.")


class Trace(Body):
    """A trace as the journal still holds it."""

    trace_id: str = Field(description="Its id, 32 hexadecimal digits.")
    stream: StreamRef | None = Field(description="The stream of traces that it was found in.")
    environment: str = Field(description="The environment of its services; empty where they name none.")
    start: Timestamp | None = Field(description="When it began.")
    duration_s: FiniteFloat = Field(description="From its first start to its last end, in seconds.")
    services: tuple[str, ...] = Field(description="The services of its spans, sorted.")
    errors: int = Field(description="Spans with an error.")
    marks: tuple[str, ...] = Field(description="What is odd: `no root`, `orphans`, `clock skew`, `duplicates`.")
    spans: tuple[Span, ...]
    cut: bool = Field(description="It has more spans than are shown (2,000), or not all that may hold some was read.")
    findings: tuple[TraceFinding, ...] = Field(description="The newest anomalies that name it, at most 20.")
    reading: Reading
