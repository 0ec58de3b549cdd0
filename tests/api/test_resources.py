import asyncio
from collections.abc import Callable
from uuid import UUID, uuid5

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.deps import ApiLimits
from api.incident_models import IncidentDetail, IncidentPage
from api.models import Anomaly, AnomalyPage, StreamPage
from api.ports import StreamRow
from driftlock.accounts.keys import ALL_SCOPES
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.verdict import Question
from tests.api.conftest import Service, client_of, make_deps
from tests.api.fakes import (
    NAMESPACE,
    OTHER_TENANT,
    TENANT,
    FakeDirectory,
    FakeHouse,
    RecordingAccess,
    key,
    make_finding,
    make_incident,
    make_stream,
)

WithDeps = Callable[..., httpx.AsyncClient]
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\x00\u202e'); DROP TABLE streams;--"


def add_stream(house: FakeHouse, slug: str, tenant_id: UUID = TENANT) -> StreamRow:
    row = make_stream(uuid5(NAMESPACE, f"{tenant_id}{slug}"), slug, StreamKey(Signal.LOGS, slug))
    house.stream_rows[tenant_id][row.stream_id] = row
    return row


def fill(house: FakeHouse, count: int) -> None:
    stream = add_stream(house, "checkout")
    for number in range(count):
        house.add_anomaly(TENANT, stream, make_finding(window=number))
        house.incident_rows[TENANT].append(make_incident(number, stream))
        add_stream(house, f"stream-{number % 7}-{number}")


async def walk(client: httpx.AsyncClient, path: str, items: str, limit: int) -> list[str]:
    """Ids of all items, page by page."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": limit} | ({} if cursor is None else {"cursor": cursor})
        page = (await client.get(path, params=parameters)).json()
        assert len(page[items]) == limit or page["next_cursor"] is None
        assert page[items] or cursor is None  # no page is empty but that of an empty list
        found += [item["id"] for item in page[items]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(count=st.integers(0, 25), limit=st.integers(1, 9))
@pytest.mark.parametrize(
    ("path", "items"), [("/v1/anomalies", "anomalies"), ("/v1/incidents", "incidents"), ("/v1/streams", "streams")]
)
def test_paging_gives_every_item_once_and_in_order(path: str, items: str, count: int, limit: int) -> None:
    house = FakeHouse()
    fill(house, count)
    directory = FakeDirectory()
    directory.add("good", TENANT, ALL_SCOPES)
    deps = make_deps(house, RecordingAccess(directory))

    async def run() -> None:
        async with client_of(deps) as client:
            paged = await walk(client, path, items, limit)
            whole = [item["id"] for item in (await client.get(path, params={"limit": 200})).json()[items]]
        assert paged == whole
        assert len(set(paged)) == len(paged) == (count + 1 if items == "streams" else count)

    asyncio.run(run())


async def test_an_anomaly_shows_its_evidence(service: Service) -> None:
    stream = add_stream(service.house, "checkout")
    row = service.house.add_anomaly(TENANT, stream, make_finding(window=7))
    response = await service.client.get(f"/v1/anomalies/{row.anomaly_id}")
    body = Anomaly.model_validate_json(response.content)
    assert (body.id, body.stream.slug, body.window, body.seed) == (row.anomaly_id, "checkout", 7, str(2**64 - 1))
    assert (body.window_lines, body.baseline_lines) == (("disk é full", "quiet"), ("disk ok",))
    assert [(line.text, line.nearest, line.count) for line in body.lines] == [
        ("quiet", "disk ok", 2),
        ("disk é full", "disk ok", 2),
    ]
    assert response.json()["lines"][1]["segments"][1] == {"text": "é", "novel": True, "bits": None, "path": None}


async def test_a_listed_anomaly_has_its_top_line_and_no_excerpts(service: Service) -> None:
    service.house.add_anomaly(TENANT, add_stream(service.house, "checkout"), make_finding())
    response = await service.client.get("/v1/anomalies")
    item = AnomalyPage.model_validate_json(response.content).anomalies[0]
    assert item.top_line is not None
    assert item.top_line.text == "disk é full"
    assert not {"lines", "window_lines", "baseline_lines"} & response.json()["anomalies"][0].keys()


async def test_filters_reach_the_repository(service: Service) -> None:
    stream = add_stream(service.house, "checkout")
    incident = UUID(int=5)
    query = {
        "stream": "checkout",
        "incident": str(incident),
        "min_ncd": "0.5",
        "max_p_value": "0.01",
        "question": "less",
        "since": "2027-01-01T00:00:00Z",
        "until": "2027-01-01T01:00:00+01:00",
    }
    assert (await service.client.get("/v1/anomalies", params=query)).status_code == 200
    filters = service.anomalies.filters[-1]
    assert (filters.stream_id, filters.incident_id, filters.ncd_min, filters.p_value_max) == (
        stream.stream_id,
        incident,
        0.5,
        0.01,
    )
    assert filters.question is Question.LESS
    assert filters.since == filters.until
    assert filters.since == 1_798_761_600 * 10**9


@pytest.mark.parametrize(
    ("query", "kept"),
    [("min_ncd=0.5", [1]), ("max_p_value=0.01", [1]), ("stream=checkout", [0, 1]), ("min_ncd=1", []), ("", [0, 1])],
)
async def test_filters_filter(service: Service, query: str, kept: list[int]) -> None:
    stream = add_stream(service.house, "checkout")
    service.house.add_anomaly(TENANT, stream, make_finding(window=0, ncd=0.4, p_value=0.04))
    service.house.add_anomaly(TENANT, stream, make_finding(window=1, ncd=0.6, p_value=0.01))
    page = (await service.client.get(f"/v1/anomalies?{query}")).json()["anomalies"]
    assert sorted(item["window"] for item in page) == kept


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=201", "limit"),
        ("limit=1000000000", "limit"),
        ("limit=x", "limit"),
        ("limit=1.5", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=abc", "cursor"),
        ("cursor=" + "A" * 2000, "cursor"),
        ("cursor=", "cursor"),
        ("offset=10", "offset"),
        ("ORDER%20BY=1", "ORDER BY"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/anomalies", "/v1/incidents", "/v1/streams"])
async def test_a_wrong_page_is_refused_by_name(service: Service, path: str, query: str, parameter: str) -> None:
    response = await service.client.get(f"{path}?{query}")
    assert response.status_code == 400
    assert [member["parameter"] for member in response.json()["errors"]] == [parameter]


@pytest.mark.parametrize(
    "query",
    [
        "min_ncd=nan",
        "min_ncd=inf",
        "min_ncd=-0.1",
        "max_p_value=1.1",
        "since=yesterday",
        "until=1800000000",
        "incident=7",
        "status=open",
        "question=why",
    ],
)
async def test_a_wrong_filter_is_refused_by_name(service: Service, query: str) -> None:
    response = await service.client.get(f"/v1/anomalies?{query}")
    assert response.status_code == 400
    assert [member["parameter"] for member in response.json()["errors"]] == [query.partition("=")[0]]


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/v1/profiles", "/v1/version", "/v1/openapi.json", "/readyz"])
async def test_an_unknown_parameter_is_refused_everywhere(service: Service, path: str) -> None:
    assert (await service.client.get(f"{path}?x=1")).status_code == 400


async def test_a_cursor_belongs_to_its_tenant_its_list_and_its_filters(service: Service) -> None:
    fill(service.house, 4)
    service.house.stream_rows[OTHER_TENANT] = service.house.stream_rows[TENANT]
    cursor = (await service.client.get("/v1/anomalies?limit=2")).json()["next_cursor"]
    path = f"/v1/anomalies?cursor={cursor}"
    assert (await service.client.get(path)).status_code == 200
    assert (await service.client.get(f"{path}&limit=1")).status_code == 200
    for wrong in (f"{path}&min_ncd=0.1", f"/v1/incidents?cursor={cursor}", f"/v1/streams?cursor={cursor}"):
        assert (await service.client.get(wrong)).status_code == 400
    assert (await service.client.get(path, headers={"X-Api-Key": key("other")})).status_code == 400


async def test_the_page_size_has_a_default_and_a_limit(service: Service, with_deps: WithDeps) -> None:
    fill(service.house, 60)
    assert len((await service.client.get("/v1/anomalies")).json()["anomalies"]) == 50
    assert len((await service.client.get("/v1/anomalies?limit=60")).json()["anomalies"]) == 60
    async with with_deps(limits=ApiLimits(page_items_default=3, page_items_max=4)) as client:
        assert len((await client.get("/v1/anomalies")).json()["anomalies"]) == 3
        refused = await client.get("/v1/anomalies?limit=5")
    assert "page_items_max" in refused.json()["detail"]


@pytest.mark.parametrize("kind", ["anomalies", "incidents", "streams"])
@pytest.mark.parametrize(
    "name", [str(UUID(int=7)), "nope", "..", "%00", "%2e%2e%2f", "'%20OR%201=1--", "x" * 5000, "%FF%FE", "😀"]
)
async def test_an_unknown_id_is_not_found(service: Service, kind: str, name: str) -> None:
    response = await service.client.get(f"/v1/{kind}/{name}")
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"


async def test_a_foreign_anomaly_or_incident_is_not_found(service: Service) -> None:
    stream = add_stream(service.house, "checkout", OTHER_TENANT)
    anomaly = service.house.add_anomaly(OTHER_TENANT, stream, make_finding())
    incident = make_incident(1, stream)
    service.house.incident_rows[OTHER_TENANT].append(incident)
    for path in (f"/v1/anomalies/{anomaly.anomaly_id}", f"/v1/incidents/{incident.incident.incident_id}"):
        assert (await service.client.get(path)).status_code == 404
        assert (await service.client.get(path, headers={"X-Api-Key": key("other")})).status_code == 200


async def test_a_stream_is_found_by_id_and_by_slug(service: Service) -> None:
    row = add_stream(service.house, "shop.checkout")
    by_slug = await service.client.get("/v1/streams/shop.checkout")
    by_id = await service.client.get(f"/v1/streams/{row.stream_id}")
    assert by_slug.json() == by_id.json()
    calibration = by_id.json()["calibration"]
    assert (calibration["state"], calibration["events"], calibration["needed"], calibration["percent"]) == (
        "calibrating",
        0,
        None,
        0,
    )
    assert by_id.json()["first_event"] is None
    assert StreamPage.model_validate_json((await service.client.get("/v1/streams")).content).streams[0].slug == "shop.checkout"


async def test_an_incident_lists_its_newest_anomalies(service: Service, with_deps: WithDeps) -> None:
    stream = add_stream(service.house, "checkout")
    incident = make_incident(1, stream)
    incident_id = incident.incident.incident_id
    service.house.incident_rows[TENANT].append(incident)
    for number in range(5):
        service.house.add_anomaly(TENANT, stream, make_finding(window=number), incident_id if number != 2 else None)
    async with with_deps(limits=ApiLimits(incident_anomalies_max=3)) as client:
        body = IncidentDetail.model_validate_json((await client.get(f"/v1/incidents/{incident_id}")).content)
    assert [item.incident_id for item in body.anomalies] == [incident_id] * 3
    assert 2 not in {item.window for item in body.anomalies}
    assert body.streams[0].slug == "checkout"
    page = IncidentPage.model_validate_json((await service.client.get("/v1/incidents")).content)
    assert page.incidents[0].id == incident_id


async def test_hostile_text_stays_data(service: Service) -> None:
    stream = add_stream(service.house, "checkout")
    line = make_finding().lines[0]
    finding = make_finding(explanation=HOSTILE, window_lines=(HOSTILE,), lines=(line,))
    row = service.house.add_anomaly(TENANT, stream, finding)
    response = await service.client.get(f"/v1/anomalies/{row.anomaly_id}")
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json()["explanation"] == HOSTILE
    assert b"\x1b" not in response.content
    assert b"\x00" not in response.content


async def test_a_number_that_json_can_not_say_is_our_error(service: Service) -> None:
    row = service.house.add_anomaly(TENANT, add_stream(service.house, "checkout"), make_finding(ratio=float("nan")))
    response = await service.client.get(f"/v1/anomalies/{row.anomaly_id}")
    assert response.status_code == 500
    assert "nan" not in response.text.lower().replace("unexpected", "")
