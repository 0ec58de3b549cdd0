import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.traces.references import (
    ERROR_CALLS,
    LATENCY_CALLS,
    LEARN_CALLS,
    Alarms,
    Calls,
    NewPaths,
    error_rate,
    highest,
    latency_z,
    paths,
)
from driftlock.engine.correlation.stories import JOIN_NS

SECOND_NS = 10**9


def calls(
    operation: list[int], *, path: list[int] | None = None, ms: list[float] | None = None, error: list[int] | None = None
) -> Calls:
    count = len(operation)
    return Calls(
        operation=np.array(operation),
        service=np.array(operation) % 10,
        path=np.array(operation if path is None else path),
        error=np.array([0] * count if error is None else error, bool),
        end_ns=np.arange(count) * SECOND_NS,
        duration_ns=np.array([1e6] * count if ms is None else [1e6 * it for it in ms], np.int64),
    )


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 5)), max_size=12))
def test_equal_chains_have_equal_numbers(nodes: list[tuple[int, int]]) -> None:
    parents = [parent if parent < place else -1 for place, (_, parent) in enumerate(nodes)]
    chains: list[tuple[int, ...]] = []
    for (operation, _), parent in zip(nodes, parents, strict=True):
        chains.append((*(chains[parent] if parent >= 0 else ()), operation))
    numbers = paths(np.array([it for it, _ in nodes], np.int64), np.array(parents, np.int64)).tolist()
    assert len(set(numbers)) == len(set(chains))
    assert len(set(zip(numbers, chains, strict=True))) == len(set(chains))


def test_new_paths_are_those_that_no_earlier_stretch_had() -> None:
    rule = NewPaths()
    assert rule.values(calls([1, 2])).tolist() == [0, 0]
    assert rule.values(calls([1, 3, 2, 3, 4])).tolist() == [0, 1, 0, 2, 3]
    assert rule.values(calls([3, 4, 1])).tolist() == [0, 0, 0]


def test_latency_is_judged_by_the_mean_of_the_last_calls_and_by_earlier_stretches() -> None:
    rule, rng = latency_z(), np.random.default_rng(1)
    before = np.exp(rng.normal(0, 0.5, 400))
    now = np.exp(rng.normal(1, 0.5, 30))
    assert rule.values(calls([7] * 400, ms=before.tolist())).max() == 0
    found = rule.values(calls([7] * 30, ms=now.tolist()))
    logs = np.log(np.concatenate((before, now)))
    for place in range(30):
        mean = logs[400 + place - LATENCY_CALLS + 1 : 400 + place + 1].mean()
        expected = (mean - logs[:400].mean()) / np.sqrt(logs[:400].var() + 1e-4) * np.sqrt(LATENCY_CALLS)
        assert found[place] == pytest.approx(max(0.0, expected), rel=0.02, abs=0.02)
    assert found[-1] > rule.threshold


def test_errors_are_judged_by_their_share() -> None:
    rule = error_rate()
    rule.values(calls([7] * 500))
    assert rule.values(calls([7] * ERROR_CALLS, error=[1, 1] + [0] * (ERROR_CALLS - 2))).max() < rule.threshold
    assert rule.values(calls([7] * ERROR_CALLS, error=[1] * ERROR_CALLS)).max() > rule.threshold


def test_operations_are_judged_apart_and_only_when_they_are_known() -> None:
    rule = latency_z()
    rule.values(calls([1] * 200 + [2] * (LEARN_CALLS - 1)))
    found = rule.values(calls([1, 2] * 20, ms=[50.0] * 40))
    assert (found[::2] > 0).all()
    assert not found[1::2].any()


def test_alarms_near_each_other_are_one_incident() -> None:
    alarms = Alarms([f"s{number}" for number in range(10)])
    some = calls([1, 2, 2, 3])._replace(end_ns=np.array([10, 20, 30, 40 + JOIN_NS]))
    alarms.take(some, np.array([5.0, 5.0, 5.0, 5.0]), 5.0)
    first, then = alarms.opened
    assert (first.alarmed_ns, first.told_ns, then.alarmed_ns) == (10, 10, 40 + JOIN_NS)
    assert (first.culprit_by(10), first.culprit_by(30)) == ("s1", "s2")
    assert (first.named_by(10), first.named_by(30)) == ({"s1"}, {"s1", "s2"})
    alarms.take(some, np.array([4.9] * 4), 5.0)
    assert len(alarms.opened) == 2


def test_the_highest_value_is_no_alarm() -> None:
    values = [np.array([1.0, 3.0]), np.zeros(0)]
    assert highest(values) > 3.0
    assert highest(values) == pytest.approx(3.0)
