"""The series of a metrics stream and their charts, as clients see them."""

from pydantic import Field, FiniteFloat

from api.body import Body
from api.evidence_models import Timestamp
from api.models import StreamRef
from api.reading import Reading


class MetricSeries(Body):
    """A series of a metrics stream."""

    name: str = Field(description="Its name, with attributes in braces.")
    instance: str | None = Field(description="The instance that sends it, if it is known.")
    points: int = Field(description="Points so far, by when its stream was last looked at.")
    ready: bool = Field(description="So many points have come that new ones are judged.")
    last: Timestamp | None = Field(description="Time of its newest point.")
    last_value: FiniteFloat | None = Field(
        description="The number of its newest point as it was sent; null for points that are no single number, and where "
        "it was not among the newest records."
    )


class ChartPoint(Body):
    """One or more consecutive points of a chart."""

    time: Timestamp = Field(description="Time of the first.")
    points: int = Field(description="How many.")
    least: FiniteFloat
    most: FiniteFloat
    last: FiniteFloat
    expected: FiniteFloat | None = Field(description="What was expected of the first; null where nothing was.")
    low: FiniteFloat | None = Field(description="The values that were expected lie from here,")
    high: FiniteFloat | None = Field(description="to here.")
    alarm: bool = Field(description="One of them is far from what was expected.")


class SeriesChart(Body):
    """A chart of what one series says."""

    name: str = Field(description="Name of the series.")
    instance: str | None = Field(description="The instance that sends it, if it is known.")
    role: str | None = Field(
        description="Null for its numbers as they are; `rate` of a counter or histogram by the second, `mean`, `p50`, `p99` ..."
    )
    points: int = Field(description="Points that were learned from, also those before `since`.")
    learning_points: int = Field(description="The expected range of the first so many of them is wide.")
    spans: tuple[ChartPoint, ...] = Field(
        description="At most 500: of more points so many consecutive ones become one, which keeps extremes and alarms."
    )


class SeriesPage(Body):
    """Series by name, or, with `series`, the charts of one name."""

    stream: StreamRef
    series: tuple[MetricSeries, ...] = Field(description="Empty with `series`.")
    charts: tuple[SeriesChart, ...] = Field(description="Empty without `series`.")
    charts_omitted: int = Field(description="So many more series have that name; choose an instance.")
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last one.")
    reading: Reading | None = Field(description="What the charts were made of.")
