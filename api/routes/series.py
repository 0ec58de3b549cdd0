"""The series of a metrics stream: which there are, and charts of what they said."""

from collections.abc import Sequence

from pydantic import Field

from api import series_models, views
from api.cursors import Position
from api.endpoint import Call, Endpoint, Reply
from api.paging import PageQuery, Pager
from api.ports import StreamRow
from api.problems import BadMembers, ProblemMember
from api.reading import between, reading
from api.rfc3339 import event_time, rfc3339
from api.routes.streams import find_stream
from api.times import Time
from driftlock.accounts.keys import Scope
from driftlock.engine.numbers.charts import Chart, KnownSeries, Latest
from driftlock.errors import Code

NAME_CHARS_MAX = 4096
PREFIX_CHARS = 48
"""So much of a name stands in a cursor."""
Row = tuple[KnownSeries, Latest | None]


class SeriesQuery(PageQuery):
    """A list of series, or charts of those of one name."""

    series: str | None = Field(default=None, max_length=NAME_CHARS_MAX, description="Draw the series of this name.")
    instance: str | None = Field(default=None, max_length=NAME_CHARS_MAX, description="Only the series of this instance.")
    since: Time | None = Field(default=None, description="Draw points of this time or later.")
    until: Time | None = Field(default=None, description="Draw points before this time.")


async def list_series(call: Call) -> Reply:
    """One page of series, or the charts of one name."""
    query, tenant_id = call.query(SeriesQuery), call.principal.tenant_id
    stream = await find_stream(call.deps, tenant_id, call.path("stream"))
    if query.series is not None:
        return await _charts(call, stream, query, query.series)
    for name in ("instance", "since", "until"):
        if getattr(query, name) is not None:
            raise BadMembers([ProblemMember(detail="is for charts; name a series, too", parameter=name)])
    pager = Pager(call, query, f"streams/{stream.stream_id}/series")
    listing = await call.deps.readback.series(tenant_id, stream)

    async def page(limit: int, after: tuple[str, int] | None) -> Sequence[Row]:
        return listing.page(limit, after)

    rows, next_cursor = await pager.page(page, _position, _key)
    return Reply(
        series_models.SeriesPage(
            stream=views.stream_ref(stream),
            series=tuple(_series(*row) for row in rows),
            charts=(),
            charts_omitted=0,
            next_cursor=next_cursor,
            reading=None,
        )
    )


async def _charts(call: Call, stream: StreamRow, query: SeriesQuery, name: str) -> Reply:
    for parameter in ("limit", "cursor"):
        if getattr(query, parameter) is not None:
            raise BadMembers([ProblemMember(detail="is for the list; leave it out with series", parameter=parameter)])
    since_ns, until_ns = between(query.since, query.until)
    found = await call.deps.readback.charts(call.principal.tenant_id, stream, name, query.instance, since_ns, until_ns)
    return Reply(
        series_models.SeriesPage(
            stream=views.stream_ref(stream),
            series=(),
            charts=tuple(map(_chart, found.charts)),
            charts_omitted=found.omitted,
            next_cursor=None,
            reading=reading(found.scan),
        )
    )


def _series(known: KnownSeries, latest: Latest | None) -> series_models.MetricSeries:
    return series_models.MetricSeries(
        name=known.of.name,
        instance=known.of.instance or None,
        points=known.points,
        ready=known.learned,
        last=event_time(known.last_ns),
        last_value=None if latest is None else latest.value,
    )


def _chart(chart: Chart) -> series_models.SeriesChart:
    return series_models.SeriesChart(
        name=chart.of.name,
        instance=chart.of.instance or None,
        role=chart.role or None,
        points=chart.points,
        learning_points=chart.learning_points,
        spans=tuple(
            series_models.ChartPoint(
                time=rfc3339(it.time_ns),
                points=it.points,
                least=it.least,
                most=it.most,
                last=it.last,
                expected=it.expected,
                low=it.low,
                high=it.high,
                alarm=it.alarm,
            )
            for it in chart.spans
        ),
    )


def _position(row: Row) -> Position:
    return row[0].of.name[:PREFIX_CHARS], row[0].of.number


def _key(position: Position) -> tuple[str, int]:
    prefix, number = position
    return str(prefix), int(number)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/streams/{stream}/series",
        "listSeries",
        "series",
        "The series of a metrics stream; with series=NAME charts of those of that name",
        list_series,
        {200: series_models.SeriesPage},
        scope=Scope.READ,
        query=SeriesQuery,
        path_parameters={"stream": "Id or slug of a stream of metrics."},
        problems=(Code.RATE_LIMITED, Code.UNAVAILABLE),
    ),
)
