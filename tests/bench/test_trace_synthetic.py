from itertools import pairwise

import numpy as np
import pytest

from bench.traces.shop import CLIENT, CONSUMER, INTERNAL, PRODUCER, SERVER
from bench.traces.synthetic import Block, Fault, Shop

FAULTS = (
    Fault("delay", "catalog/get", 0, 60, 0.1),
    Fault("edge", "cart/add>catalog/get", 0, 60, 0.1),
    Fault("error", "payment", 0, 60, 0.3),
    Fault("retry", "accounts/session", 0, 60, 0.1, 3),
    Fault("missing", "gateway/GET product>stock/level", 0, 60, 0.1),
    Fault("repeats", "accounts/session>cache/GET session", 0, 60, 0.1, 5),
    Fault("dependency", "catalog/list", 0, 60, 0.1, 0, "shipping/quote"),
    Fault("version", "catalog", 0, 60, 0.5),
)
FAULT_IDS = [fault.kind for fault in FAULTS]


def drawn(*faults: Fault, seed: int = 3) -> tuple[Shop, Block]:
    shop = Shop(seed, faults=faults, hours=0.1)
    return shop, shop.block(0)


def spans_of(block: Block, fault: int) -> np.ndarray:
    return np.isin(block.spans.trace, block.traces[block.faults == fault])


def named(shop: Shop, service: str, name: str) -> list[int]:
    return [number for number, key in enumerate(shop.operations) if key[:2] == (service, name)]


def test_equal_seeds_give_equal_spans_and_others_do_not() -> None:
    once, again, other = (drawn(seed=seed)[1].spans for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))
    assert not np.array_equal(once.duration_ns[:100], other.duration_ns[:100])


def test_a_block_can_be_drawn_alone() -> None:
    shop = Shop(3, hours=0.1)
    second = list(shop.blocks(120))[1]
    assert np.array_equal(second.spans.span, Shop(3, hours=0.1).block(1).spans.span)


def test_every_trace_is_a_tree_of_one_root_whose_callers_are_other_spans_of_it() -> None:
    shop, block = drawn()
    spans = block.spans
    assert len(np.unique(spans.span)) == len(spans.span)
    assert sorted(spans.trace[spans.parent == 0].tolist()) == sorted(block.traces.tolist())
    trace_of = dict(zip(spans.span.tolist(), spans.trace.tolist(), strict=True))
    called = spans.parent != 0
    assert all(trace_of[p] == t for p, t in zip(spans.parent[called].tolist(), spans.trace[called].tolist(), strict=True))
    assert 4000 < len(block.traces) < 8000
    assert len({key[:2] for key in shop.operations if key[2] not in (CLIENT, PRODUCER)}) >= 35
    assert {key[2] for key in shop.operations} == {INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER}


def test_children_run_inside_their_callers_but_for_consumers() -> None:
    shop, block = drawn()
    spans = block.spans
    place = {span: index for index, span in enumerate(spans.span.tolist())}
    child = np.flatnonzero(spans.parent != 0)
    child = child[[shop.operations[o][2] != CONSUMER for o in spans.operation[child].tolist()]]
    caller = np.array([place[p] for p in spans.parent[child].tolist()])
    assert (spans.start_ns[child] >= spans.start_ns[caller]).all()
    ends = spans.start_ns + spans.duration_ns
    assert (ends[child] <= ends[caller] + 2000).all()


def test_columns_are_sorted_and_say_the_same_as_the_objects() -> None:
    shop, block = drawn()
    found = list(shop.objects(block.spans))
    assert all(a.start_ns <= b.start_ns for a, b in pairwise(found))
    assert sum(span.error for span in found) == block.spans.error.sum() > 0
    assert {span.instance for span in found if span.service == "catalog"} == {f"catalog-{n}" for n in range(20)}


@pytest.mark.parametrize("fault", FAULTS, ids=FAULT_IDS)
def test_a_fault_touches_about_its_share_of_the_traces_that_pass_its_place(fault: Fault) -> None:
    _, block = drawn(fault)
    touched = (block.faults == 0).sum()
    assert 0 < touched < 1.2 * fault.share * len(block.traces)


def test_no_trace_is_touched_outside_the_time_of_a_fault() -> None:
    shop = Shop(3, faults=[Fault("missing", "gateway/GET product>stock/level", 60, 120, 1.0)], hours=0.1)
    before, during, after = list(shop.blocks(180))
    calls = [np.isin(block.spans.operation, named(shop, "stock", "level")).sum() for block in (before, during, after)]
    assert (before.faults == -1).all()
    assert (after.faults == -1).all()
    assert calls[0] > 0 < calls[2]
    assert calls[1] == 0
    assert (during.faults == 0).sum() > 1000


def test_delays_lie_where_they_are_put() -> None:
    shop, block = drawn(FAULTS[0])
    get = np.isin(block.spans.operation, named(shop, "catalog", "get"))
    slow = block.spans.duration_ns > 100e6
    touched = spans_of(block, 0)
    assert slow[get & touched].mean() > 0.95
    assert slow[get & ~touched].mean() < 0.02


def test_a_slow_call_is_slow_for_the_caller_alone() -> None:
    shop, block = drawn(FAULTS[1])
    touched = spans_of(block, 0)
    client = np.isin(block.spans.operation, named(shop, "cart", "catalog/get"))
    served = np.isin(block.spans.operation, named(shop, "catalog", "get"))
    assert np.median(block.spans.duration_ns[client & touched]) > 100e6 > np.median(block.spans.duration_ns[served & touched])


def test_errors_fail_the_operation_and_often_its_callers() -> None:
    shop, block = drawn(FAULTS[2])
    charge = np.isin(block.spans.operation, named(shop, "payment", "charge"))
    root = block.spans.parent == 0
    touched = spans_of(block, 0)
    assert block.spans.error[charge & touched].all()
    assert 0.1 < block.spans.error[root & touched].mean() < 0.6


def test_retries_and_repeats_make_more_calls() -> None:
    for fault, service, name, usual in ((FAULTS[3], "accounts", "session", 1), (FAULTS[5], "accounts", "cache GET session", 1)):
        shop, block = drawn(fault)
        calls = np.isin(block.spans.operation, named(shop, service, name)) & spans_of(block, 0)
        each = np.unique(block.spans.trace[calls], return_counts=True)[1]
        assert np.median(each) == usual + fault.size


def test_a_new_dependency_is_called_by_touched_traces_alone() -> None:
    shop, block = drawn(FAULTS[6])
    calls = np.isin(block.spans.operation, named(shop, "catalog", "shipping/quote"))
    assert calls.sum() > 50
    assert spans_of(block, 0)[calls].all()


def test_a_bad_version_touches_one_instance() -> None:
    shop, block = drawn(FAULTS[7])
    get = np.isin(block.spans.operation, named(shop, "catalog", "get"))
    bad = block.spans.instance == shop.instances.index("catalog-0")
    slow = block.spans.duration_ns > 100e6
    assert slow[get & bad].mean() > 0.3
    assert slow[get & ~bad].mean() < 0.03


@pytest.mark.parametrize("name", ["wave", "load"])
def test_the_load_moves_over_the_day(name: str) -> None:
    shop = Shop(3, hours=24)
    if name == "wave":
        assert max(map(shop.wave, range(0, 86400, 600))) > 2.5 * min(map(shop.wave, range(0, 86400, 600)))
    else:
        assert shop.load.std() > 0.08
