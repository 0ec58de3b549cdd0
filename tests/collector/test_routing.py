"""Resource attributes to streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.routing import INSTANCES, ResourceRouter
from collector.routing.conventions import SERVICE_FALLBACKS
from driftlock.engine.event import TRACES_SERVICE, Signal, StreamKey, trace_stream_key

ROUTER = ResourceRouter()


@pytest.mark.parametrize("signal", list(Signal))
def test_identity_is_namespace_service_environment_signal(signal: Signal) -> None:
    attributes = {"service.namespace": "shop", "service.name": "cart", "deployment.environment.name": "prod"}
    assert ROUTER.route(signal, attributes).key == StreamKey(signal, "cart", "shop", "prod")


def test_the_old_name_of_the_environment_is_read_and_the_new_one_wins() -> None:
    assert ROUTER.route(Signal.LOGS, {"service.name": "a", "deployment.environment": "old"}).key.environment == "old"
    both = {"service.name": "a", "deployment.environment": "old", "deployment.environment.name": "new"}
    assert ROUTER.route(Signal.LOGS, both).key.environment == "new"


def test_missing_or_empty_names() -> None:
    for attributes in (
        {},
        {"service.name": ""},
        {"service.name": None},
        {"service.name": "\x00\u202e"},
        {"service.name": ["a"]},
    ):
        assert ROUTER.route(Signal.LOGS, attributes).key == StreamKey(Signal.LOGS, "unknown_service")
    assert ROUTER.route(Signal.LOGS, {"service.name": "a", "service.namespace": ""}).key == StreamKey(Signal.LOGS, "a")


def test_an_explicit_stream_id_is_the_whole_identity() -> None:
    attributes = {"driftlock.stream_id": "my stream", "service.name": "cart", "deployment.environment.name": "prod"}
    assert ROUTER.route(Signal.TRACES, attributes).key == StreamKey(Signal.TRACES, "my stream")
    assert ROUTER.route(Signal.TRACES, attributes | {"driftlock.stream_id": ""}).key.service == "cart"


@pytest.mark.parametrize("chosen", [{}, {"driftlock.stream_id": "mine"}])
def test_a_route_says_whose_records_they_are_whatever_their_stream(chosen: dict[str, str]) -> None:
    attributes = {"service.namespace": "shop", "service.name": "cart", "deployment.environment.name": "prod"} | chosen
    route = ROUTER.route(Signal.TRACES, attributes)
    assert (route.service, route.environment) == ("shop/cart", "prod")
    assert ROUTER.route(Signal.TRACES, {"service.name": "cart"}).service == "cart"
    assert ROUTER.route(Signal.TRACES, {}).service == "unknown_service"


@pytest.mark.parametrize("signal", list(Signal))
def test_the_stream_of_traces_can_not_be_named_by_a_sender(signal: Signal) -> None:
    ours = trace_stream_key("prod")
    environment = {"deployment.environment.name": "prod"}
    for attributes in ({"service.name": TRACES_SERVICE}, {"service.name": f" {TRACES_SERVICE}\u200b"}):
        route = ROUTER.route(signal, attributes | environment)
        assert route.key == StreamKey(signal, f"_{TRACES_SERVICE}", "", "prod") != ours
        assert route.service == f"_{TRACES_SERVICE}"
    assert ROUTER.route(signal, {"driftlock.stream_id": TRACES_SERVICE}).key == StreamKey(signal, f"_{TRACES_SERVICE}")
    # Other names of that kind are the sender's own.
    assert ROUTER.route(signal, {"service.name": "_internal"}).key == StreamKey(signal, "_internal")


@given(st.text(alphabet="_traces \x00", max_size=12), st.text(alphabet="_traces", max_size=9))
def test_no_attributes_lead_to_the_stream_of_traces(name: str, other: str) -> None:
    attributes = {"service.name": name, "service.namespace": other, "driftlock.stream_id": other}
    assert ROUTER.route(Signal.TRACES, attributes).key.service != TRACES_SERVICE
    del attributes["driftlock.stream_id"]
    assert ROUTER.route(Signal.TRACES, attributes).key.service != TRACES_SERVICE


def test_instances_are_evidence_in_their_order_and_never_identity() -> None:
    attributes = {"service.name": "cart"} | {name: f"value of {name}" for name in INSTANCES}
    for position, name in enumerate(INSTANCES):
        route = ROUTER.route(Signal.LOGS, attributes)
        assert route.instance == f"value of {name}"
        assert route.key == StreamKey(Signal.LOGS, "cart")
        del attributes[INSTANCES[position]]
    assert ROUTER.route(Signal.LOGS, attributes).instance == ""


@pytest.mark.parametrize(("value", "expected"), [(True, True), ("true", True), (False, False), ("yes", False), (1, False)])
def test_historical(value: object, expected: bool) -> None:
    assert ROUTER.route(Signal.LOGS, {"driftlock.historical": value}).historical is expected  # type: ignore[dict-item]


@given(st.text(max_size=2000))
def test_any_name_gives_a_bounded_key(name: str) -> None:
    key = ROUTER.route(Signal.LOGS, {"service.name": name, "service.namespace": name, "driftlock.stream_id": ""}).key
    assert 0 < len(key.service.encode()) <= 256
    assert len(key.namespace.encode()) <= 256


def test_the_tenant_can_not_be_chosen_by_attributes() -> None:
    plain = ROUTER.route(Signal.LOGS, {"service.name": "a"})
    assert ROUTER.route(Signal.LOGS, {"service.name": "a", "tenant": "b", "driftlock.tenant_id": "c"}) == plain


@pytest.mark.parametrize("signal", list(Signal))
def test_the_stream_of_overflow_can_not_be_named_by_a_sender(signal: Signal) -> None:
    assert ROUTER.route(signal, {"service.name": "_overflow"}).key == StreamKey(signal, "__overflow")
    assert ROUTER.route(signal, {"driftlock.stream_id": "_overflow"}).key == StreamKey(signal, "__overflow")


FALLBACK = {name: f"the {name}" for name in SERVICE_FALLBACKS}


@pytest.mark.parametrize(
    "said", [{}, {"service.name": ""}, {"service.name": "unknown_service"}, {"service.name": "unknown_service:java"}]
)
def test_without_a_name_a_service_is_called_after_what_runs_it(said: dict[str, str]) -> None:
    left = dict(FALLBACK)
    for name in SERVICE_FALLBACKS:
        route = ROUTER.route(Signal.LOGS, said | left)
        assert (route.key.service, route.nameless) == (f"the {name}", False)
        del left[name]
    route = ROUTER.route(Signal.LOGS, said | left)
    assert route.key.service == (said.get("service.name") or "unknown_service")
    assert route.nameless


def test_a_name_wins_over_all_fallbacks() -> None:
    route = ROUTER.route(Signal.LOGS, FALLBACK | {"service.name": "cart", "k8s.namespace.name": "shop"})
    assert route.key == StreamKey(Signal.LOGS, "cart")
    assert not route.nameless
    assert ROUTER.route(Signal.LOGS, FALLBACK | {"service.name": "unknown_services"}).key.service == "unknown_services"


def test_fallbacks_of_two_kubernetes_namespaces_are_two_services() -> None:
    resource = {"k8s.deployment.name": "web", "k8s.namespace.name": "shop"}
    assert ROUTER.route(Signal.LOGS, resource).key == StreamKey(Signal.LOGS, "web", "shop")
    assert ROUTER.route(Signal.LOGS, resource | {"service.namespace": "own"}).key == StreamKey(Signal.LOGS, "web", "own")
    # What is not a fallback keeps its identity, whatever enriches it on the way.
    assert ROUTER.route(Signal.LOGS, {"k8s.namespace.name": "shop"}).key == StreamKey(Signal.LOGS, "unknown_service")


@pytest.mark.parametrize(
    "name", ["k8s.replicaset.name", "k8s.job.name", "k8s.pod.name", "host.name", "container.id", "cloud.account.id"]
)
def test_what_a_rollout_makes_anew_never_names_a_service(name: str) -> None:
    assert ROUTER.route(Signal.LOGS, {name: "x"}).key.service == "unknown_service"


def test_a_resource_that_chose_its_stream_is_not_nameless() -> None:
    route = ROUTER.route(Signal.LOGS, {"driftlock.stream_id": "mine"})
    assert (route.nameless, route.service) == (False, "unknown_service")
