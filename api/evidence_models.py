"""Bodies about why something was found.

Of lines: those with bytes that are new, those that did not come, and who said them. Of numbers: the series, and their charts.
"""

from typing import Annotated

from pydantic import Field, FiniteFloat

from api.body import Body
from driftlock.engine.verdict import Question

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class Segment(Body):
    """A piece of a line; the segments of a line, joined, are its text."""

    text: str
    novel: bool = Field(description="Whether the stream's past does not explain it.")
    bits: FiniteFloat | None = Field(description="How surprising it is; null where it is not novel, or its codec can not say.")
    path: str | None = Field(
        description="Where in the record a novel piece stands: `body`, `severity`, or the name of an attribute or body member."
    )


class Line(Body):
    """A line of a flagged window that the baseline explains badly."""

    event: int = Field(description="Index of the event in its stream.")
    time: Timestamp | None = Field(description="Event time; null if the event carried none.")
    text: str
    segments: tuple[Segment, ...]
    cost_bytes: int = Field(description="Bytes that the line costs given the baseline; higher = more novel.")
    bits: FiniteFloat = Field(description="Code length of the line when it came; 0 where its codec can not say.")
    share: FiniteFloat = Field(description="Part of the window's bits above usual that it and its like explain, 0 to 1.")
    nearest: str | None = Field(description="The baseline line that resembles it most; null if none does.")
    count: int = Field(description="Lines of the window with the same form.")
    instance: str | None = Field(description="Pod, container or host that sent it, if known.")
    trace_id: str | None


class Evidence(Body):
    """What one question said of the window."""

    question: Question
    p_value: FiniteFloat = Field(description="Of this question by itself, before all share one false-alarm rate.")
    distance: FiniteFloat = Field(description="0 = as usual, 1 = nothing is as usual.")
    surprise: FiniteFloat = Field(description="In bits; it ranks what the p-value can not tell apart.")


class MissingLine(Body):
    """A usual line that did not come, or came too seldom."""

    text: str = Field(description="Its masked form.")
    expected: FiniteFloat = Field(description="How often it should have come within `horizon` events.")
    observed: FiniteFloat = Field(description="How often it did.")
    horizon: int = Field(description="Events that were looked at.")


class InstanceShare(Body):
    """How much of what is named comes from one pod, container or host."""

    instance: str
    events: int = Field(description="Its events in the window.")
    named: int = Field(description="Those among the named lines.")


class SeriesSummary(Body):
    """One series and what was odd about it."""

    name: str = Field(description="Name of the metric, and the attributes that tell its series apart.")
    instance: str | None = Field(description="Pod, container or host that sent it, if known.")
    value: FiniteFloat = Field(description="The number that came.")
    expected: FiniteFloat = Field(description="The number that was predicted before it came.")
    low: FiniteFloat = Field(description="Lower end of the range in which about 99 % of its numbers fall.")
    high: FiniteFloat = Field(description="Upper end of that range.")
    bits: FiniteFloat = Field(description="What the number cost given the past of its series; higher = less expected.")
    score: FiniteFloat = Field(description="Strength of the evidence, 0 to 1; 0.5 = just enough for an alarm.")
    expert: str = Field(description="The way of predicting that was relied on, such as `last`, `level`, `trend` or `day`.")
    since: Timestamp | None = Field(description="Event time at which it began.")


class Chart(Body):
    """The newest numbers of a series, oldest first, each beside what was predicted before it came."""

    times: tuple[Timestamp, ...] = Field(description="Event times.")
    values: tuple[FiniteFloat, ...]
    expected: tuple[FiniteFloat, ...]
    low: tuple[FiniteFloat, ...]
    high: tuple[FiniteFloat, ...]


class Series(SeriesSummary):
    """One series with the numbers that led up to the finding."""

    chart: Chart
