"""Resource attributes to streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.routing import INSTANCES, ResourceRouter
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
