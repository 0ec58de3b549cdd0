"""Releases over REST."""

from array import array
from collections.abc import Callable
from itertools import product
from uuid import UUID

import httpx
import pytest

from api.diff_models import ReleaseDiff, ReleaseList
from driftlock.engine.event import RecordBatch, Signal, StreamKey, trace_stream_key
from driftlock.storage.readback import Readback, ReadbackLimits
from tests.api.conftest import Service
from tests.api.fakes import OTHER_TENANT, TENANT, FakeAnomalies, key, make_stream
from tests.api.journal_fakes import FakeExcerpts, InlineExecutor

NS = 1_800_000_000_000_000_000
S = 1_000_000_000


def batch_of(version: str, *lines: str) -> RecordBatch:
    raw = [line.encode() for line in lines]
    versions = (version,) if version else ()
    return RecordBatch(b"".join(raw), array("I", map(len, raw)), array("Q", [0] * len(raw)), versions=versions)


class Shop:
    """A service of two releases: `2.0` has one line more. Its journal, and a client."""

    def __init__(self, service: Service, client: httpx.AsyncClient, excerpts: FakeExcerpts) -> None:
        self.service, self.client, self.excerpts = service, client, excerpts
        self.stream = make_stream(UUID(int=5), "shop", StreamKey(Signal.LOGS, "shop"))
        service.house.stream_rows[TENANT][self.stream.stream_id] = self.stream
        usual = [f"request of user {number} served" for number in range(100)]
        self.add(1, "1.0", *usual, *usual)
        self.add(2, "2.0", *usual, *["payment refused by bank"] * 30)
        self.add(3, "", "health check")

    def add(self, seconds: int, version: str, *lines: str) -> None:
        self.excerpts.add(TENANT, self.stream.stream_id, NS + seconds * S, batch_of(version, *lines))

    async def diff(self, **query: str) -> httpx.Response:
        return await self.client.get("/v1/streams/shop/diff", params=query)


@pytest.fixture
def excerpts() -> FakeExcerpts:
    return FakeExcerpts()


@pytest.fixture
def shop(service: Service, with_deps: Callable[..., httpx.AsyncClient], excerpts: FakeExcerpts) -> Shop:
    readback = Readback(excerpts, FakeAnomalies(service.house), InlineExecutor())
    return Shop(service, with_deps(readback=readback), excerpts)


async def test_what_changed_from_one_release_to_the_next(shop: Shop) -> None:
    found = ReleaseDiff.model_validate_json((await shop.diff(**{"from": "1.0", "to": "2.0"})).content)
    assert (found.from_release.value, found.from_release.lines, found.from_release.forms) == ("1.0", 200, 1)
    assert (found.to_release.value, found.to_release.lines, found.to_release.forms) == ("2.0", 130, 2)
    (line,) = found.changes
    assert (line.kind, line.text, line.count_from, line.count_to, line.significant) == (
        "new",
        "payment refused by bank",
        0,
        30,
        True,
    )
    assert line.spans == ((0, 23),)
    assert found.totals.new == 1
    assert found.bits_per_line is not None
    assert (found.reading.records, found.reading.cut, found.reading.damaged_rows) == (331, False, 0)
    assert (found.reading.held_since, found.reading.read_until) == ("2027-01-15T08:00:01Z", "2027-01-15T08:00:03Z")


async def test_any_attribute_in_the_text_tells_releases_apart(shop: Shop) -> None:
    shop.add(4, "", *["login ok region=eu"] * 50, *["login ok region=us"] * 50, *["quota exceeded region=us"] * 50)
    found = (await shop.diff(**{"from": "eu", "to": "us", "attribute": "region"})).json()
    assert [(it["kind"], it["text"]) for it in found["changes"]] == [("new", "quota exceeded"), ("less", "login ok")]


async def test_the_releases_of_a_stream(shop: Shop) -> None:
    response = await shop.client.get("/v1/streams/shop/releases")
    found = ReleaseList.model_validate_json(response.content)
    assert [(it.value, it.records, it.first, it.last) for it in found.releases] == [
        ("2.0", 130, "2027-01-15T08:00:02Z", "2027-01-15T08:00:02Z"),
        ("1.0", 200, "2027-01-15T08:00:01Z", "2027-01-15T08:00:01Z"),
    ]
    assert (found.attribute, found.records_without, found.records_omitted) == ("service.version", 1, 0)


async def test_since_and_until_are_times_of_receiving(shop: Shop) -> None:
    between = {"since": "2027-01-15T08:00:02Z", "until": "2027-01-15T08:00:03Z"}
    found = (await shop.client.get("/v1/streams/shop/releases", params=between)).json()
    assert [it["value"] for it in found["releases"]] == ["2.0"]
    found = (await shop.diff(**{"from": "1.0", "to": "2.0", **between})).json()
    assert (found["from_release"]["lines"], found["to_release"]["lines"], found["changes"]) == (0, 130, [])
    assert found["bits_per_line"] is None


async def test_a_release_that_never_was_is_not_found(shop: Shop) -> None:
    for number in range(5):
        shop.add(10 + number, f"3.{number}", "x")
    for query, told in (
        (
            {"from": "1.0", "to": "9"},
            "has service.version '9'; known, the newest first: '3.4', '3.3', '3.2', '3.1', '3.0' and 2 more",
        ),
        ({"from": "8", "to": "9"}, "has service.version '8' and '9'; known"),
        ({"from": "8", "to": "1.0"}, "has service.version '8'; known"),
        ({"from": "eu", "to": "us", "attribute": "region"}, "none has any value of region"),
    ):
        answer = await shop.diff(**query)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert told in answer.json()["detail"]
    shop.excerpts.cut = True
    assert "holds more than was read" in (await shop.diff(**{"from": "1.0", "to": "9"})).json()["detail"]


async def test_a_stream_whose_journal_is_gone_says_so(shop: Shop) -> None:
    shop.excerpts.rows.clear()
    answer = await shop.diff(**{"from": "1.0", "to": "2.0"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "holds no records" in answer.json()["detail"]
    assert (await shop.client.get("/v1/streams/shop/releases")).json()["releases"] == []


WRONG = (
    ({"from": "1.0"}, "to"),
    ({"to": "1.0"}, "from"),
    ({"from": "1.0", "to": "1.0"}, "to"),
    ({"from": "", "to": "1.0"}, "from"),
    ({"from": "é" * 129, "to": "1.0"}, "from"),
    ({"from": "1.0", "to": "2.0", "attribute": "a b"}, "attribute"),
    ({"from": "1.0", "to": "2.0", "attribute": "x" * 257}, "attribute"),
    ({"from": "1.0", "to": "2.0", "since": "yesterday"}, "since"),
    ({"from": "1.0", "to": "2.0", "since": "2027-01-15T08:00:02Z", "until": "2027-01-15T08:00:02Z"}, "until"),
    ({"from": "1.0", "to": "2.0", "from_value": "3"}, "from_value"),
)


async def test_wrong_queries_name_the_parameter(shop: Shop) -> None:
    for query, parameter in WRONG:
        response = await shop.diff(**query)
        assert response.status_code == 400, query
        assert [it["parameter"] for it in response.json()["errors"]] == [parameter]


async def test_another_tenants_stream_is_not_found(shop: Shop) -> None:
    for path, stream in product(("diff?from=1&to=2", "releases"), ("shop", shop.stream.stream_id)):
        response = await shop.client.get(f"/v1/streams/{stream}/{path}", headers={"X-Api-Key": key("other")})
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert shop.excerpts.reaches == []
    assert OTHER_TENANT not in {tenant for tenant, _ in shop.excerpts.rows}


async def test_streams_without_lines_are_not_compared(shop: Shop) -> None:
    for of in (StreamKey(Signal.METRICS, "cpu"), trace_stream_key("prod")):
        row = make_stream(UUID(int=6), "numbers", of)
        shop.service.house.stream_rows[TENANT][row.stream_id] = row
        response = await shop.client.get("/v1/streams/numbers/diff?from=1&to=2")
        assert response.status_code == 400
        assert "lines" in response.json()["detail"]


async def test_too_many_calls_are_told_to_come_again(
    service: Service, with_deps: Callable[..., httpx.AsyncClient], excerpts: FakeExcerpts
) -> None:
    """A tenant that may have one call has one already; and where there is no room for anybody."""
    for limits, status, code in (
        (ReadbackLimits(tenant_calls_max=1), 429, "rate_limit_exceeded"),
        (ReadbackLimits(calls_max=1), 503, "unavailable"),
    ):
        readback = Readback(excerpts, FakeAnomalies(service.house), InlineExecutor(), limits)
        shop = Shop(service, with_deps(readback=readback), excerpts)
        async with readback._gate.enter(TENANT if status == 429 else OTHER_TENANT):
            response = await shop.diff(**{"from": "1.0", "to": "2.0"})
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert int(response.headers["Retry-After"]) >= 1


async def test_release_lines_max(service: Service, with_deps: Callable[..., httpx.AsyncClient], excerpts: FakeExcerpts) -> None:
    limits = ReadbackLimits(release_lines_max=40)
    readback = Readback(excerpts, FakeAnomalies(service.house), InlineExecutor(), limits)
    shop = Shop(service, with_deps(readback=readback), excerpts)
    found = (await shop.diff(**{"from": "1.0", "to": "2.0"})).json()
    assert (found["from_release"]["lines"], found["to_release"]["lines"], found["reading"]["cut"]) == (40, 40, True)
