"""Traces of programs that official SDKs instrument, in Python and Node, over real HTTP: a shop, and a fault in its checkout."""

import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.harness import Server, wait_for
from tests.e2e.sdk.shop import Shop

pytestmark = pytest.mark.e2e
LINGER_S = 2
USUAL, USUAL_S = 240, 8.0
ODD, ODD_S = 192, 16.0  # what is odd for a moment is one event, however often; of a fault it is told when it lasts
ALWAYS = {("", "frontend"): USUAL + ODD, ("frontend", "checkout"): USUAL + ODD, ("checkout", "stock"): USUAL + ODD}


@dataclass(frozen=True, eq=False)
class Fault:
    """What the checkout is told to do after a while, and what is to be found of it: the question, the calls, the graph."""

    name: str
    order: str
    question: str
    caller: str
    callee: str
    operation: str
    trace_spans: int = 6
    edges: Mapping[tuple[str, str], int] = field(default_factory=dict)
    errors: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def service(self, name: str) -> str:
        """Name as findings have it; the environment is the fault's."""
        return f"shop/{name}@{self.name}"

    @property
    def stream(self) -> str:
        """Where the spans of all services meet."""
        return f"_traces.{self.name}"


FAULTS = (
    Fault("slow", "delay 300", "latency", "frontend", "checkout", "GET /order/:sku"),
    Fault(
        *("failing", "fail", "errors", "frontend", "checkout", "GET /order/:sku"),
        errors={("", "frontend"): ODD, ("frontend", "checkout"): ODD},
    ),
    Fault(
        *("changed", "call {discounts}", "dependency", "checkout", "discount", "GET /discount/:sku", 8),
        edges={("checkout", "discount"): ODD},
    ),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for which traces are over soon."""
    home = tmp_path_factory.mktemp("sdk")
    home.chmod(0o700)
    running = Server(home / "data", DRIFTLOCK_TRACE_LINGER_SECONDS=str(LINGER_S))
    running.start()
    yield running
    running.close()


def test_faults_are_told_with_their_culprits_and_their_traces(server: Server, subtests: pytest.Subtests) -> None:
    with ThreadPoolExecutor(len(FAULTS)) as shops:
        traded = dict(zip(FAULTS, shops.map(lambda fault: trade(server, fault), FAULTS), strict=True))
    for fault, (usual, odd) in traded.items():
        with subtests.test(fault=fault.name):
            every_span_came_once(server, fault)
            finding = the_finding_names_calls_and_traces(server, fault, odd)
            the_incident_names_the_culprit(server, fault, finding, usual | odd)
    # What a stream knows is written now and then, and when the server stops.
    server.signal(signal.SIGTERM)
    server.start()
    for fault in FAULTS:
        with subtests.test(graph=fault.name):
            the_graph_counts_every_call(server, fault)


def trade(server: Server, fault: Fault) -> tuple[set[str], set[str]]:
    """Ids of the traces that a shop has made without and with its fault."""
    with Shop(server, fault.name) as shop:
        usual = shop.trade(USUAL, USUAL_S)
        shop.checkout.tell(fault.order.format(discounts=shop.discounts))
        odd = shop.trade(ODD, ODD_S)
        shop.close()
        shop.let_time_pass(LINGER_S + 0.5)
    assert len(usual | odd) == USUAL + ODD
    return usual, odd


def every_span_came_once(server: Server, fault: Fault) -> None:
    """As a line of its service, and as a part of a trace; each service has sent one more at the end."""
    streams = [stream for stream in server.streams().values() if stream["environment"] == fault.name]
    assert {stream["signal"] for stream in streams} == {"traces"}
    traces, discounts = USUAL + ODD, fault.edges.get(("checkout", "discount"), 0)
    calls = {"frontend": 2 * traces, "checkout": 2 * traces + discounts, "stock": 2 * traces, "discount": discounts}
    expected = {service: spans + 1 for service, spans in calls.items()}
    assert {stream["service"]: stream["events"] for stream in streams} == {**expected, "_traces": sum(expected.values())}


def told(server: Server, fault: Fault) -> list[dict[str, Any]]:
    """Anomalies of the shop's traces with all their evidence, oldest first."""
    listed = server.get("/v1/anomalies", stream=fault.stream, limit="200")["anomalies"]
    return sorted((server.get(f"/v1/anomalies/{item['id']}") for item in listed), key=lambda each: each["start"])


def the_finding_names_calls_and_traces(server: Server, fault: Fault, odd: set[str]) -> dict[str, Any]:
    """The oldest finding that is about what was done to the shop."""
    caller, callee = fault.service(fault.caller), fault.service(fault.callee)
    # What is odd of an operation by itself, whoever calls it, has no caller.
    wanted = {(caller, callee, fault.operation)} | (set() if fault.edges else {(None, callee, fault.operation)})

    def answers() -> list[dict[str, Any]]:
        found = [each for each in told(server, fault) if each["question"] == fault.question and wanted & named(each)]
        return found if all(each["incident_id"] for each in found) else []

    findings = wait_for(f"findings about {fault.question} of {callee}, in an incident", answers)
    examples = [example for each in findings for example in each["examples"]]
    assert examples
    for example in examples:
        assert example["trace_id"] in odd
        assert (example["root"], example["spans"]) == ("shop/frontend buy", fault.trace_spans)
        assert example["path"][0] == example["root"]
        assert example["path"][-1].split()[0] in {"shop/checkout", f"shop/{fault.callee}"}
    # Slowness is also what a busy machine does; nothing else is odd before the fault.
    began = min(example["start"] for example in examples)
    assert all(each["end"] >= began for each in told(server, fault) if each["question"] != "latency")
    finding: dict[str, Any] = findings[0]
    assert fault.callee in finding["explanation"]
    new = [line for line in finding["subtree"] if line.startswith("+") and f"shop/{fault.callee} {fault.operation}" in line]
    assert bool(new) == bool(fault.edges)
    naming = server.get("/v1/anomalies", trace_id=finding["examples"][0]["trace_id"])["anomalies"]
    assert finding["id"] in {each["id"] for each in naming}
    return finding


def named(finding: Mapping[str, Any]) -> set[tuple[str | None, str, str]]:
    """Caller, callee and operation of the calls that it is about."""
    return {(call["caller"], call["callee"], call["operation"]) for call in finding["calls"]}


def the_incident_names_the_culprit(server: Server, fault: Fault, finding: dict[str, Any], made: set[str]) -> None:
    incident = server.get(f"/v1/incidents/{finding['incident_id']}")
    assert finding["id"] in {each["id"] for each in incident["anomalies"]}
    assert incident["culprit"] == incident["suspects"][0]["service"] == fault.service("checkout")
    assert incident["trace_ids"]
    assert set(incident["trace_ids"]) <= made


def the_graph_counts_every_call(server: Server, fault: Fault) -> None:
    listed = server.get(f"/v1/streams/{fault.stream}/service-graph")["edges"]
    edges = {(edge["caller"] or "", edge["callee"]): edge for edge in listed}

    def counted(counts: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
        return {(caller and fault.service(caller), fault.service(callee)): count for (caller, callee), count in counts.items()}

    assert {ends: edge["calls"] for ends, edge in edges.items()} == counted({**ALWAYS, **fault.edges})
    assert {ends: edge["errors"] for ends, edge in edges.items() if edge["errors"]} == counted(fault.errors)
    if fault.name == "slow":
        order, level = counted({("frontend", "checkout"): 1, ("checkout", "stock"): 1})
        assert edges[order]["p99_s"] > 0.25
        assert edges[level]["p99_s"] < 0.25
