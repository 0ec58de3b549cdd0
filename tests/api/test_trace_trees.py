"""Traces over REST."""

from collections.abc import Callable
from uuid import UUID

import httpx
import pytest

from api.trace_models import Trace
from driftlock.engine.event import trace_stream_key
from driftlock.engine.evidence import TraceExample
from driftlock.engine.verdict import Question
from driftlock.storage.readback import Readback, ReadbackLimits
from tests.api.conftest import Service
from tests.api.fakes import OTHER_TENANT, TENANT, FakeAnomalies, key, make_finding, make_stream
from tests.api.journal_fakes import FakeExcerpts, InlineExecutor
from tests.engine.traces.rows import CLIENT, ERROR, MS, SERVER, START_NS, Span, batch_of

MINUTE_NS = 60_000_000_000
TRACE = f"{7:032x}"
SPANS = (
    Span(7, 1, 0, "shop", "GET /cart", SERVER, START_NS, 100 * MS, instance="shop-1"),
    Span(7, 2, 1, "shop", "POST /pay", CLIENT, START_NS + 40 * MS, 50 * MS),
    Span(7, 3, 2, "pay", "POST /pay", SERVER, START_NS + 45 * MS, 40 * MS, ERROR),
    Span(7, 4, 9, "mail", "send", SERVER, START_NS + 90 * MS, 5 * MS),
)
PROD = UUID(int=77)


class Journal:
    """A stream of traces with the spans of one trace in three rows, among others, and a client."""

    def __init__(self, service: Service, with_deps: Callable[..., httpx.AsyncClient], **limits: int) -> None:
        self.service, self.excerpts = service, FakeExcerpts()
        readback = Readback(self.excerpts, FakeAnomalies(service.house), InlineExecutor(), ReadbackLimits(**limits))
        self.client = with_deps(readback=readback)
        self.row = make_stream(PROD, "_traces.prod", trace_stream_key("prod"))
        service.house.stream_rows[TENANT][PROD] = self.row
        dev = make_stream(UUID(int=78), "_traces.dev", trace_stream_key("dev"))
        service.house.stream_rows[TENANT][dev.stream_id] = dev
        self.excerpts.environments[TENANT] = [(dev.stream_id, "dev"), (PROD, "prod")]
        for minute, spans in enumerate([SPANS[2:], SPANS[1:2], SPANS[:1]], 20):
            self.add(minute, *spans)
        for minute in (1, 19, 23, 60):
            self.add(minute, Span(8 + minute, 1, 0, "shop", "GET /", SERVER, START_NS, MS))

    def add(self, minute: int, *spans: Span) -> None:
        self.excerpts.add(TENANT, PROD, START_NS + minute * MINUTE_NS, batch_of(spans))
        self.excerpts.rows[TENANT, PROD].sort(key=lambda row: row.received_ns)

    async def get(self, trace: str = TRACE, **query: str) -> httpx.Response:
        return await self.client.get(f"/v1/traces/{trace}", params=query)


@pytest.fixture
def journal(service: Service, with_deps: Callable[..., httpx.AsyncClient]) -> Journal:
    return Journal(service, with_deps)


async def test_the_tree_of_a_trace(journal: Journal) -> None:
    found = Trace.model_validate_json((await journal.get()).content)
    assert (found.trace_id, found.environment, found.duration_s, found.errors) == (TRACE, "prod", 0.1, 1)
    assert found.stream is not None
    assert found.stream.id == PROD
    assert found.services == ("mail", "pay", "shop")
    assert [(it.depth, it.service, it.operation, it.orphan) for it in found.spans] == [
        (0, "shop", "GET /cart", False),
        (1, "shop", "POST /pay", False),
        (2, "pay", "POST /pay", False),
        (0, "mail", "send", True),
    ]
    first, second, third, orphan = found.spans
    assert (first.parent_id, first.kind, first.instance, first.offset_s) == (None, "server", "shop-1", 0.0)
    assert (second.duration_s, second.self_s, third.error, orphan.parent_id) == (0.05, 0.01, True, f"{9:016x}")
    assert "orphans" in found.marks
    assert (found.cut, found.findings) == (False, ())


async def test_a_finding_says_where_to_look_and_what_is_new(journal: Journal) -> None:
    finding = make_finding(
        question=Question.SHAPE,
        lines=(),
        examples=(TraceExample(TRACE, START_NS, 1, 4, "shop GET /cart"),),
        subtree=("  shop POST /pay", "+   pay POST /pay"),
    )
    row = journal.service.house.add_anomaly(TENANT, journal.row, finding)
    found = Trace.model_validate_json((await journal.get()).content)
    assert [it.new for it in found.spans] == [False, False, True, False]
    assert [(it.id, it.question, it.subtree) for it in found.findings] == [(row.anomaly_id, Question.SHAPE, finding.subtree)]
    detected_ns = int(row.detected_at.timestamp()) * 1_000_000_000
    assert [reach.before_ns for reach in journal.excerpts.reaches] == [
        detected_ns + MINUTE_NS
    ]  # the finding's stream comes first


async def test_around_says_where_to_look(journal: Journal) -> None:
    assert (await journal.get(around="2023-11-14T22:35:30Z")).status_code == 200
    reach = journal.excerpts.reaches[-1]
    assert (reach.newest_first, reach.since_ns) == (False, START_NS + 22 * MINUTE_NS + 30 * 1_000_000_000 - 10 * MINUTE_NS)
    assert (await journal.get(around="2023-11-15T00:00:00Z")).status_code == 404
    assert (await journal.get(around="soon")).json()["errors"][0]["parameter"] == "around"


@pytest.mark.parametrize(
    ("query", "far", "records"), [({}, 0, 8), ({"around": "2023-11-14T22:43:00Z"}, 61, 6)], ids=["back", "on"]
)
async def test_rows_far_behind_the_trace_are_not_looked_at(
    service: Service, with_deps: Callable[..., httpx.AsyncClient], query: dict[str, str], far: int, records: int
) -> None:
    """The search ends with the first row that is further away than `trace_reach_ns`: the row behind that is not read."""
    journal = Journal(service, with_deps, trace_reach_ns=2 * MINUTE_NS)
    journal.add(far, *SPANS[:1])
    found = (await journal.get(**query)).json()
    assert len(found["spans"]) == 4
    assert found["reading"]["records"] == records
    assert "duplicates" not in found["marks"]


async def test_trace_spans_max(service: Service, with_deps: Callable[..., httpx.AsyncClient]) -> None:
    found = (await Journal(service, with_deps, trace_spans_max=2).get()).json()
    assert (len(found["spans"]), found["cut"]) == (2, True)


async def test_a_trace_that_is_not_there_says_since_when_the_journal_holds_some(journal: Journal) -> None:
    response = await journal.get("f" * 32)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert "since 2023-11-14T22:14:00Z" in response.json()["detail"]
    assert "around" not in response.json()["detail"]
    journal.excerpts.cut = True
    assert "around" in (await journal.get("f" * 32)).json()["detail"]
    journal.excerpts.rows.clear()
    assert "holds no spans" in (await journal.get()).json()["detail"]


async def test_what_is_no_trace_id_is_not_found(journal: Journal) -> None:
    for trace in ("0" * 32, "x" * 32, "a" * 31, "a" * 33):
        assert (await journal.get(trace)).status_code == 404
    assert journal.excerpts.reaches == []


async def test_capitals_are_read(journal: Journal) -> None:
    journal.add(21, Span(0xABC, 1, 0, "shop", "GET /", SERVER, START_NS, MS))
    assert (await journal.get(f"{0xABC:032X}")).json()["trace_id"] == f"{0xABC:032x}"


async def test_another_tenants_trace_is_not_found(journal: Journal) -> None:
    other = make_stream(UUID(int=79), "_traces.prod", trace_stream_key("prod"))
    journal.service.house.stream_rows[OTHER_TENANT][other.stream_id] = other
    journal.excerpts.environments[OTHER_TENANT] = [(other.stream_id, "prod")]
    response = await journal.client.get(f"/v1/traces/{TRACE}", headers={"X-Api-Key": key("other")})
    assert response.status_code == 404
