"""The memory of routes: no difference to be seen, and no more memory than its limits."""

import tracemalloc
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.routing import ResourceRouter, Route, Routes
from driftlock.engine.canonical import Cuts, TooDeep, Value
from driftlock.engine.event import Signal

ROUTER = ResourceRouter()


def parse(resource: bytes) -> Mapping[str, Value]:
    """A resource in one line: `key=value;key=value`."""
    pairs = (pair.partition(b"=") for pair in resource.split(b";") if pair)
    return {key.decode(): value.decode(errors="replace") for key, _, value in pairs}


def never(_: bytes) -> Mapping[str, Value]:
    raise AssertionError("a known resource was parsed again")


def named(number: int) -> bytes:
    return f"service.name=service-{number};host.name=h{number % 7}".encode()


asks = st.lists(st.tuples(st.sampled_from(list(Signal)), st.integers(0, 12).map(named)), max_size=80)


@given(asks, st.integers(2, 9), st.integers(2, 20_000))
def test_results_are_the_same_with_and_without_memory(asked: list[tuple[Signal, bytes]], entries: int, size: int) -> None:
    routes = Routes(ROUTER, entries_max=entries, bytes_max=size)
    for signal, resource in asked:
        assert routes.route(signal, resource, parse) == ROUTER.route(signal, parse(resource))
        assert len(routes) <= entries
        assert routes.size_bytes <= size


def test_a_known_resource_is_not_parsed_again() -> None:
    routes = Routes(ROUTER)
    first = routes.route(Signal.LOGS, named(1), parse)
    assert routes.route(Signal.LOGS, named(1), never) is first
    assert routes.route(Signal.METRICS, named(1), parse).key.signal is Signal.METRICS


def test_what_comes_back_survives_a_flood_that_does_not() -> None:
    routes = Routes(ROUTER, entries_max=100)
    routes.route(Signal.LOGS, named(0), parse)
    for number in range(1, 10_000):
        routes.route(Signal.LOGS, named(number), parse)
        if number % 20 == 0:
            routes.route(Signal.LOGS, named(0), never)
    assert len(routes) <= 100


def test_errors_are_passed_on_and_not_remembered() -> None:
    def refuse(_: bytes) -> Mapping[str, Value]:
        raise TooDeep("no")

    routes = Routes(ROUTER)
    for _ in range(2):
        with pytest.raises(TooDeep):
            routes.route(Signal.LOGS, named(1), refuse)
    assert len(routes) == 0
    assert routes.route(Signal.LOGS, named(1), parse).key.service == "service-1"


@pytest.mark.parametrize("what", ["truncated", "attributes_dropped", "replaced"])
def test_a_resource_that_is_cut_is_counted_each_time(what: str) -> None:
    routes, cuts = Routes(ROUTER), Cuts()

    def cut(resource: bytes) -> Mapping[str, Value]:
        setattr(cuts, what, getattr(cuts, what) + 1)
        return parse(resource)

    for _ in range(3):
        routes.route(Signal.LOGS, named(1), cut, cuts)
    assert getattr(cuts, what) == 3
    routes.route(Signal.LOGS, named(2), parse, cuts)
    routes.route(Signal.LOGS, named(2), never, cuts)


def test_large_resources_are_not_kept() -> None:
    routes = Routes(ROUTER, resource_bytes_max=100)
    for size, kept in ((100, 1), (101, 1)):
        routes.route(Signal.LOGS, b"a=" + b"x" * (size - 2), parse)
        assert len(routes) == kept
    small = Routes(ROUTER, bytes_max=3000)
    small.route(Signal.LOGS, b"a=" + b"x" * 900, parse)
    assert len(small) == 0


@pytest.mark.parametrize("limits", [{"entries_max": 1}, {"bytes_max": 1}, {"resource_bytes_max": 0}])
def test_limits_that_keep_nothing_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        Routes(ROUTER, **limits)


@pytest.mark.parametrize("name", ["{}" + "x" * 30, "{}" + "€" * 70], ids=["short", "long"])
def test_entries_take_no_more_than_is_counted(name: str) -> None:
    routes = Routes(ROUTER)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(2000):
            resource = f"service.name={name.format(number)};host.name={name.format(number)}".encode()
            routes.route(Signal.LOGS, resource, parse)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.3 * routes.size_bytes < taken < routes.size_bytes


def test_threads_may_share_it() -> None:
    routes = Routes(ROUTER, entries_max=64)

    def work(seed: int) -> list[Route]:
        return [routes.route(Signal.LOGS, named((seed * 31 + step * 7) % 200), parse) for step in range(2000)]

    with ThreadPoolExecutor(4) as threads:
        for seed, found in enumerate(threads.map(work, range(4))):
            for step, route in enumerate(found):
                assert route.key.service == f"service-{(seed * 31 + step * 7) % 200}"
    assert len(routes) <= 64
