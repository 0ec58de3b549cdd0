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


class Call(Body):
    """Calls of one operation, or from one service to another, and what was odd about them."""

    caller: str | None = Field(description="The service that calls; null where it is about the operation by itself.")
    callee: str = Field(description="The service whose operation it is, as `namespace/name@environment`.")
    operation: str = Field(description="Name of the operation, numbers and ids in it masked; empty for all of them.")
    measure: str = Field(
        description="What is compared: `duration`, `self_time` (without the calls that it makes), `gap` (the caller's span "
        "without the callee's: network and queues), `errors`, `calls` or `repeats`."
    )
    calls: int = Field(description="Calls that were looked at.")
    affected: int = Field(description="Those of them that are odd.")
    value: FiniteFloat = Field(description="What came, in `unit`.")
    usual: FiniteFloat = Field(description="What is usual, in `unit`.")
    unit: str = Field(description="`s` = seconds, `1` = a share of 0 to 1, `calls`.")
    bits: FiniteFloat = Field(description="How strange they are; it ranks calls.")
    instance: str | None = Field(description="Pod, container or host that served most of the odd ones; null if no single one.")


class Suspect(Body):
    """A service that may be the cause."""

    service: str = Field(description="As `namespace/name@environment`.")
    bits: FiniteFloat = Field(description="What speaks against it.")
    share: FiniteFloat = Field(description="Its share, 0 to 1, of what speaks against all that are suspect.")


class TraceExample(Body):
    """A trace that shows what was found."""

    trace_id: str = Field(description="32 hexadecimal digits.")
    start: Timestamp | None = Field(description="When it began.")
    duration_s: FiniteFloat = Field(description="From its first start to its last end, in seconds.")
    spans: int
    root: str = Field(description="The operation at its root.")
    path: tuple[str, ...] = Field(
        description="Operations from the root to the odd place, at most 32; of a longer one the middle is left out."
    )
    error: bool = Field(description="Whether its root failed.")


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
