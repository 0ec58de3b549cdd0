"""What alarms of a service, or an instance of it, as a whole, because no operation shows it by itself."""

import random
from typing import Any

import pytest

from cbad_cy.calls import EXAMPLES_MAX, CallTable
from cbad_cy.judgement import Judgement
from tests.cbad_cy.call_traces import JOBS, MS, PODS, fed, job_trace

PAST = 6000


def jobs(count: int = 900, share: float = 0.3, pod: int = 0, **fault: Any) -> list[Judgement]:
    """What is told of a service of forty operations, none of which comes often, when a share of calls is so."""
    table, source, bad = CallTable(operations_max=len(JOBS)), random.Random(3), random.Random(7)
    assert fed(table, [job_trace(number, source) for number in range(PAST)], JOBS) == []
    faulty = [job_trace(PAST + n, source, pod=pod, **fault if bad.random() < share else {}) for n in range(count)]
    return fed(table, faulty, JOBS)


@pytest.mark.parametrize(
    ("pool", "measure", "pod", "fault"),
    [
        (1, "errors", 0, {"failing": True, "share": 0.06}),
        (1, "errors", PODS[1], {"failing": True, "share": 0.3}),
        (1, "self_time", 0, {"slow": 30.0, "share": 0.06}),
        (1, "self_time", PODS[1], {"slow": 3.0, "share": 0.3}),
        (2, "gap", PODS[1], {"way": 20 * MS, "share": 0.3}),
    ],
)
def test_it_is_told_with_the_numbers_of_all_of_them(pool: int, measure: str, pod: int, fault: dict[str, Any]) -> None:
    it = jobs(**fault, pod=pod)[0]
    assert (it.pool, it.measure, it.instance) == (pool, measure, pod)
    assert 5 <= it.affected < it.calls
    own = it.calls_more[0]
    assert own[:3] == (it.measure, it.caller, it.operation)
    assert own[4] < it.affected
    assert own[7] < 0.5 * it.surprise
    service, bits = it.suspects[0]
    assert service == 2
    assert bits >= it.surprise - (4 if measure == "errors" else 0)
    assert 1 <= len(it.examples) <= EXAMPLES_MAX
    assert len({shown[0] for shown in it.examples}) == len(it.examples)
    assert all(shown[1] >= it.since_ns - 2 * 10**9 for shown in it.examples)
    if measure == "errors":
        assert (it.value, it.usual) == (it.affected / it.calls, 0.0)
        assert all(shown[6] for shown in it.examples)
    else:
        assert (it.value, it.usual) == own[5:7]


def test_examples_of_an_instance_are_of_it() -> None:
    it = jobs(slow=3.0, pod=PODS[1])[0]
    source = random.Random(3)
    on = {number: job_trace(number, source).calls[2].instance for number in range(PAST + 900)}
    assert {on[int.from_bytes(shown[0], "big")] for shown in it.examples} == {PODS[1]}


def test_what_a_service_usually_fails_is_of_before() -> None:
    table, source = CallTable(operations_max=len(JOBS)), random.Random(3)
    assert fed(table, [job_trace(n, source, failing=n % 100 == 0) for n in range(PAST)], JOBS) == []
    found = fed(table, [job_trace(n, source, failing=n % 12 == 0) for n in range(PAST, PAST + 2000)], JOBS)
    it = next(it for it in found if it.pool)
    assert it.usual == pytest.approx(0.01, rel=0.3)
    assert it.value > 0.05


def test_an_instance_that_is_gone_speaks_against_nobody() -> None:
    """A pod fails and stops; a while later calls of another service are slow on their way."""
    table, source = CallTable(operations_max=len(JOBS)), random.Random(3)
    fed(table, [job_trace(n, source) for n in range(PAST)], JOBS)
    failed = [job_trace(n, source, pod=PODS[1], failing=True) for n in range(PAST, PAST + 200)]
    assert fed(table, failed, JOBS)
    usual = [it for it in (job_trace(n, source) for n in range(PAST + 200, PAST + 6000)) if it.calls[2].instance != PODS[1]]
    fed(table, usual, JOBS)
    gateway = [it for it in (job_trace(n, source) for n in range(PAST + 6000, PAST + 6400)) if it.calls[2].instance != PODS[1]]
    slow = [it._replace(calls=[it.calls[0]._replace(self_ns=300 * MS), *it.calls[1:]]) for it in gateway]
    (it, *_) = fed(table, slow, JOBS)
    assert (it.operation, it.suspects[0][0]) == (1, 1)
    assert all(bits < 1.0 for service, bits in it.suspects if service == 2)
