"""Series over REST."""

import math
from array import array
from collections.abc import Callable
from itertools import product
from uuid import UUID

import httpx
import pytest

from api.series_models import SeriesPage
from cbad_cy.codec import Codec
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.numbers.detector import NumberDetector
from driftlock.engine.numbers.state import number_state
from driftlock.engine.profile import PROFILES
from driftlock.storage.readback import Readback, ReadbackLimits
from tests.api.conftest import Service
from tests.api.fakes import TENANT, FakeAnomalies, key, make_stream
from tests.api.journal_fakes import FakeExcerpts, InlineExecutor

S = 1_000_000_000
T0 = 1_700_000_000 * S
KEY = StreamKey(Signal.METRICS, "shop")
STREAM = UUID(int=5)
POINTS = 500


def row_of(names: tuple[str, ...], first: int, count: int, instance: str = "a") -> RecordBatch:
    times = [T0 + at * 10 * S for at in range(first, first + count) for _ in names]
    values = [50 + 10 * math.sin(at / 5) + (at * 7919 % 13) / 10 for at in range(first, first + count) for _ in names]
    return RecordBatch(
        lengths=array("I", bytes(4 * len(times))),
        times_ns=array("Q", times),
        instances=(instance,),
        instance_index=array("I", [1] * len(times)),
        series=tuple(f"{name}\x1fid" for name in names),
        series_index=array("I", [*range(1, len(names) + 1)] * count),
        values=array("d", values),
    )


class Journal:
    """A stream of the series `cpu` and `mem` in rows of 50 points each, and a client."""

    def __init__(self, service: Service, with_deps: Callable[..., httpx.AsyncClient], **limits: int) -> None:
        self.service, self.excerpts = service, FakeExcerpts()
        readback = Readback(self.excerpts, FakeAnomalies(service.house), InlineExecutor(), ReadbackLimits(**limits))
        self.client = with_deps(readback=readback)
        service.house.stream_rows[TENANT][STREAM] = make_stream(STREAM, "shop", KEY)
        for first in range(0, POINTS, 50):
            self.excerpts.add(TENANT, STREAM, T0 + (first + 50) * 10 * S, row_of(("mem", "cpu"), first, 50))

    async def get(self, **query: str) -> httpx.Response:
        return await self.client.get("/v1/streams/shop/series", params=query)

    async def page(self, **query: str) -> SeriesPage:
        response = await self.get(**query)
        assert response.status_code == 200, response.text
        return SeriesPage.model_validate_json(response.content)


@pytest.fixture
def journal(service: Service, with_deps: Callable[..., httpx.AsyncClient]) -> Journal:
    return Journal(service, with_deps)


async def test_the_list_is_what_is_stored_with_the_newest_points(journal: Journal) -> None:
    detector = NumberDetector(KEY, PROFILES["balanced"], 0, Limits())
    detector.fold(row_of(("cpu", "old"), 0, POINTS), T0, Codec("statistical", 1))
    detector.fold(row_of(("cpu",), POINTS, 20), T0, Codec("statistical", 1))
    journal.excerpts.states[TENANT, STREAM] = number_state(detector)
    found = await journal.page()
    assert [(it.name, it.instance) for it in found.series] == [("cpu", "a"), ("mem", "a"), ("old", "a")]
    _, mem, old = found.series
    newest = row_of(("mem",), POINTS - 1, 1).values[0]
    assert (mem.last, mem.last_value) == ("2023-11-14T23:36:30Z", newest)
    assert old.last_value is None
    assert (found.charts, found.reading, found.next_cursor) == ((), None, None)


async def test_a_damaged_state_leaves_what_is_in_the_journal(journal: Journal) -> None:
    journal.excerpts.states[TENANT, STREAM] = b"nothing"
    assert [it.name for it in (await journal.page()).series] == ["cpu", "mem"]


async def test_pages_hold_each_series_once(journal: Journal) -> None:
    names = tuple(f"metric.{number:02}" for number in range(23))
    journal.excerpts.add(TENANT, STREAM, T0, row_of(names, 0, 1))
    seen, cursor = list[str](), ""
    while True:
        page = await journal.page(limit="7", **({"cursor": cursor} if cursor else {}))
        seen += [it.name for it in page.series]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert seen == ["cpu", "mem", *names]


async def test_a_chart_of_a_series(journal: Journal) -> None:
    found = await journal.page(series="cpu")
    (chart,) = found.charts
    assert (chart.name, chart.instance, chart.role, chart.points, chart.learning_points) == ("cpu", "a", None, POINTS, 300)
    assert sum(it.points for it in chart.spans) == POINTS
    last = chart.spans[-1]
    assert last.low is not None
    assert last.high is not None
    assert last.low < last.last < last.high
    assert (found.series, found.charts_omitted) == ((), 0)
    assert found.reading is not None
    assert found.reading.records == 2 * POINTS


async def test_a_chart_between_two_times_is_learned_before_them(journal: Journal) -> None:
    since, until = "2023-11-14T23:20:00Z", "2023-11-14T23:30:00Z"
    found = await journal.page(series="cpu", since=since, until=until)
    (chart,) = found.charts
    assert chart.spans[0].time == "2023-11-14T23:20:00Z"
    assert chart.spans[-1].time == "2023-11-14T23:29:50Z"
    assert sum(it.points for it in chart.spans) == 60
    assert chart.points > 300
    reach = journal.excerpts.reaches[-1]
    assert (reach.newest_first, reach.since_ns) == (False, T0 + 4000 * S - 70 * 60 * S)


async def test_chart_limits(service: Service, with_deps: Callable[..., httpx.AsyncClient]) -> None:
    journal = Journal(service, with_deps, chart_spans_max=40, chart_points_max=200, chart_series_max=1)
    journal.excerpts.add(TENANT, STREAM, T0 + POINTS * 10 * S, row_of(("cpu",), POINTS, 50, "b"))
    found = await journal.page(series="cpu")
    assert [(it.instance, it.points) for it in found.charts] == [("b", 50)]
    assert found.charts_omitted == 1
    assert len(found.charts[0].spans) <= 40
    found = await journal.page(series="cpu", instance="a")
    assert [it.points for it in found.charts] == [200]
    assert found.reading is not None
    assert found.reading.cut


WRONG = (
    ({"since": "2023-11-14T23:20:00Z"}, "since"),
    ({"instance": "a"}, "instance"),
    ({"series": "cpu", "limit": "5"}, "limit"),
    ({"series": "cpu", "until": "x"}, "until"),
    ({"limit": "201"}, "limit"),
    ({"cursor": "abc"}, "cursor"),
)


async def test_wrong_queries_name_the_parameter(journal: Journal) -> None:
    for query, parameter in WRONG:
        response = await journal.get(**query)
        assert response.status_code == 400, query
        assert [it["parameter"] for it in response.json()["errors"]] == [parameter]


async def test_what_is_not_there_is_not_found(journal: Journal) -> None:
    response = await journal.get(series="disk")
    assert (response.status_code, "disk" in response.json()["detail"]) == (404, True)
    journal.excerpts.rows.clear()
    assert "no records" in (await journal.get(series="cpu")).json()["detail"]
    assert (await journal.page()).series == ()
    logs = make_stream(UUID(int=6), "logs", StreamKey(Signal.LOGS, "logs"))
    journal.service.house.stream_rows[TENANT][logs.stream_id] = logs
    assert (await journal.client.get("/v1/streams/logs/series")).status_code == 404


async def test_another_tenants_stream_is_not_found(journal: Journal) -> None:
    for query, stream in product(("", "?series=cpu"), ("shop", STREAM)):
        response = await journal.client.get(f"/v1/streams/{stream}/series{query}", headers={"X-Api-Key": key("other")})
        assert response.status_code == 404
    assert journal.excerpts.reaches == []
