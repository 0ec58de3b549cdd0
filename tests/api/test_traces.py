"""Traces in the API: calls, suspects and examples of anomalies, incidents across services, and the service graph."""

from pathlib import Path
from uuid import UUID

import pytest

from api import evidence_models, graph_models
from api.body import Body
from api.graph_models import ServiceGraph as GraphBody
from api.incident_models import IncidentDetail, IncidentPage
from api.models import Anomaly, AnomalyPage
from api.ports import ServiceGraphRow, StreamRow
from driftlock.engine.event import Signal, StreamKey, trace_stream_key
from driftlock.engine.evidence import CallEvidence, Suspect, TraceExample
from driftlock.engine.fold import GraphEdge
from driftlock.engine.ports import ServiceGraph
from driftlock.engine.verdict import Finding, Question
from tests.api.conftest import Service
from tests.api.fakes import OTHER_TENANT, TENANT, FakeHouse, key, make_finding, make_incident, make_stream

ONE, TWO, THREE = "a" * 32, "b" * 32, "c" * 32
LINE = make_finding().lines[1]
PAY, CART = "shop/pay@prod", "shop/cart@prod"
SUSPECTS = (Suspect(PAY, 30.0, 0.75), Suspect(CART, 10.0, 0.25))
NS = 1_213_455_361_000_000_000


def add_traces(house: FakeHouse, tenant_id: UUID = TENANT) -> StreamRow:
    row = make_stream(UUID(int=77), "_traces.prod", trace_stream_key("prod"))
    house.stream_rows[tenant_id][row.stream_id] = row
    return row


def slow_calls(window: int = 1, *trace_ids: str) -> Finding:
    return make_finding(
        window=window,
        question=Question.LATENCY,
        subject=PAY,
        lines=(),
        calls=(
            CallEvidence(CART, PAY, "POST /pay", "duration", 15, 14, 1.2, 0.006, "s", 40.5, "pay-3"),
            CallEvidence("", PAY, "charge", "errors", 15, 2, 0.1, 0.0, "1", 3.0),
        ),
        suspects=SUSPECTS,
        examples=tuple(TraceExample(it, NS, 1_500_000_000, 9, f"{CART} GET /cart", ("a", "b"), True) for it in trace_ids),
        subtree=("+ cart GET /offers", "+   offers SELECT"),
    )


async def test_an_anomaly_about_traces_shows_its_calls_suspects_and_examples(service: Service) -> None:
    row = service.house.add_anomaly(TENANT, add_traces(service.house), slow_calls(1, ONE, TWO))
    response = await service.client.get(f"/v1/anomalies/{row.anomaly_id}")
    body = Anomaly.model_validate_json(response.content)
    assert (body.question, body.subject) == (Question.LATENCY, PAY)
    assert response.json()["calls"] == [
        {
            "caller": CART,
            "callee": PAY,
            "operation": "POST /pay",
            "measure": "duration",
            "calls": 15,
            "affected": 14,
            "value": 1.2,
            "usual": 0.006,
            "unit": "s",
            "bits": 40.5,
            "instance": "pay-3",
        },
        {
            "caller": None,
            "callee": PAY,
            "operation": "charge",
            "measure": "errors",
            "calls": 15,
            "affected": 2,
            "value": 0.1,
            "usual": 0.0,
            "unit": "1",
            "bits": 3.0,
            "instance": None,
        },
    ]
    assert [(it.service, it.bits, it.share) for it in body.suspects] == [(PAY, 30.0, 0.75), (CART, 10.0, 0.25)]
    assert [it.trace_id for it in body.examples] == [ONE, TWO]
    assert response.json()["examples"][0] == {
        "trace_id": ONE,
        "start": "2008-06-14T14:56:01Z",
        "duration_s": 1.5,
        "spans": 9,
        "root": f"{CART} GET /cart",
        "path": ["a", "b"],
        "error": True,
    }
    assert body.subtree == ("+ cart GET /offers", "+   offers SELECT")


async def test_lists_name_the_culprit_of_what_is_about_traces(service: Service) -> None:
    stream = add_traces(service.house)
    service.house.add_anomaly(TENANT, stream, slow_calls(1))
    service.house.add_anomaly(TENANT, stream, make_finding(window=2))
    response = await service.client.get("/v1/anomalies")
    page = AnomalyPage.model_validate_json(response.content)
    assert {it.window: it.culprit for it in page.anomalies} == {1: PAY, 2: None}
    assert not {"calls", "suspects", "examples", "subtree"} & response.json()["anomalies"][0].keys()


async def test_anomalies_are_listed_by_the_trace_that_they_name(service: Service) -> None:
    stream = add_traces(service.house)
    service.house.add_anomaly(TENANT, stream, slow_calls(1, ONE))
    service.house.add_anomaly(TENANT, stream, make_finding(window=2))
    for trace_id, windows in ((ONE, [1]), (ONE.upper(), [1]), (LINE.trace_id, [2]), (TWO, [])):
        page = (await service.client.get("/v1/anomalies", params={"trace_id": trace_id})).json()["anomalies"]
        assert [item["window"] for item in page] == windows
    assert [filters.trace_id for filters in service.anomalies.filters] == [ONE, ONE, LINE.trace_id, TWO]


@pytest.mark.parametrize("trace_id", ["", "a" * 31, "a" * 33, "g" * 32, "a" * 31 + "%00", "\u0661" * 32])
async def test_what_is_no_trace_id_is_refused_by_name(service: Service, trace_id: str) -> None:
    response = await service.client.get(f"/v1/anomalies?trace_id={trace_id}")
    assert response.status_code == 400
    assert [member["parameter"] for member in response.json()["errors"]] == ["trace_id"]


async def test_a_cursor_is_bound_to_the_trace(service: Service) -> None:
    stream = add_traces(service.house)
    for window in range(3):
        service.house.add_anomaly(TENANT, stream, slow_calls(window, ONE))
    cursor = (await service.client.get(f"/v1/anomalies?limit=2&trace_id={ONE}")).json()["next_cursor"]
    rest = await service.client.get(f"/v1/anomalies?cursor={cursor}&trace_id={ONE}")
    assert len(rest.json()["anomalies"]) == 1
    assert (await service.client.get(f"/v1/anomalies?cursor={cursor}&trace_id={TWO}")).status_code == 400


async def test_an_incident_names_its_culprit_and_what_its_anomalies_share(service: Service) -> None:
    stream = add_traces(service.house)
    incident = make_incident(1, stream, suspects=SUSPECTS, trace_ids=(ONE, TWO, LINE.trace_id))
    incident_id = incident.incident.incident_id
    service.house.incident_rows[TENANT].append(incident)
    service.house.add_anomaly(TENANT, stream, slow_calls(1, THREE, TWO, ONE), incident_id)
    service.house.add_anomaly(TENANT, stream, make_finding(window=2), incident_id)
    response = await service.client.get(f"/v1/incidents/{incident_id}")
    body = IncidentDetail.model_validate_json(response.content)
    assert (body.culprit, body.trace_ids) == (PAY, (ONE, TWO, LINE.trace_id))
    assert [(it.service, it.share) for it in body.suspects] == [(PAY, 0.75), (CART, 0.25)]
    assert {it.window: it.shared_trace_ids for it in body.anomalies} == {1: (ONE, TWO), 2: (LINE.trace_id,)}
    listed = (await service.client.get("/v1/incidents")).content
    [item] = IncidentPage.model_validate_json(listed).incidents
    assert item.culprit == PAY


async def test_an_incident_of_no_known_service_has_no_culprit(service: Service) -> None:
    incident = make_incident(1, add_traces(service.house))
    service.house.incident_rows[TENANT].append(incident)
    body = (await service.client.get(f"/v1/incidents/{incident.incident.incident_id}")).json()
    assert (body["culprit"], body["suspects"], body["trace_ids"], body["anomalies"]) == (None, [], [], [])


async def test_the_service_graph_of_a_stream_of_traces(service: Service) -> None:
    stream = add_traces(service.house)
    edges = GraphEdge("", CART, 7, 0, 0.25, 0.5, NS, NS), GraphEdge(CART, PAY, 5, 1, 0.003, 1.2, NS, 0)
    service.house.graphs[stream.stream_id] = ServiceGraphRow(ServiceGraph(3, NS, edges), 5)
    for name in (str(stream.stream_id), "_traces.prod"):
        response = await service.client.get(f"/v1/streams/{name}/service-graph")
        body = GraphBody.model_validate_json(response.content)
        assert (body.stream.slug, body.as_of, body.edges_omitted) == ("_traces.prod", "2008-06-14T14:56:01Z", 3)
        assert [(it.caller, it.callee, it.calls, it.errors, it.p50_s, it.p99_s) for it in body.edges] == [
            (None, CART, 7, 0, 0.25, 0.5),
            (CART, PAY, 5, 1, 0.003, 1.2),
        ]
        assert [(it.first, it.last) for it in body.edges] == [("2008-06-14T14:56:01Z",) * 2, ("2008-06-14T14:56:01Z", None)]


async def test_streams_without_a_graph_and_those_of_others_have_none(service: Service) -> None:
    stream = add_traces(service.house, OTHER_TENANT)
    service.house.graphs[stream.stream_id] = ServiceGraphRow(ServiceGraph(3, NS, ()), 0)
    path = f"/v1/streams/{stream.stream_id}/service-graph"
    assert (await service.client.get(path)).status_code == 404
    assert (await service.client.get(path, headers={"X-Api-Key": key("other")})).status_code == 200
    for signal in (Signal.TRACES, Signal.LOGS):
        mine = make_stream(UUID(int=78), "checkout", StreamKey(signal, "checkout"))
        service.house.stream_rows[TENANT][mine.stream_id] = mine
        response = await service.client.get("/v1/streams/checkout/service-graph")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
        assert "_traces" in response.json()["detail"]


async def test_a_service_graph_that_has_not_been_stored_yet_is_empty(service: Service) -> None:
    stream = add_traces(service.house)
    response = await service.client.get(f"/v1/streams/{stream.stream_id}/service-graph")
    assert response.status_code == 200
    assert GraphBody.model_validate_json(response.content).stream.slug == "_traces.prod"
    assert {name: value for name, value in response.json().items() if name != "stream"} == {
        "as_of": None,
        "edges": [],
        "edges_omitted": 0,
    }


DOCUMENTED = [
    ("**Traces.**", (evidence_models.Call, evidence_models.Suspect, evidence_models.TraceExample)),
    ("## Service graph", (graph_models.Edge, graph_models.ServiceGraph)),
    ("## Incidents", (IncidentDetail,)),
]


@pytest.mark.parametrize(("section", "bodies"), DOCUMENTED, ids=[section for section, _ in DOCUMENTED])
def test_every_member_is_documented(section: str, bodies: tuple[type[Body], ...]) -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "rest.md"
    said = page.read_text().partition(section)[2].partition("\n## ")[0]
    members = {name for body in bodies for name in body.model_fields} - {"stream"}
    if IncidentDetail in bodies:
        members = {"suspects", "culprit", "title", "trace_ids", "shared_trace_ids"}
    assert [member for member in sorted(members) if f"`{member}`" not in said] == []
