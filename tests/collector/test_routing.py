"""Resource attributes to streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.routing import INSTANCES, ResourceRouter
from driftlock.engine.event import Signal, StreamKey

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
