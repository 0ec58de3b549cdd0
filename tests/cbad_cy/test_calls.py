"""What alarms about calls, and what is told of it."""

import pickle
import random
from array import array
from collections.abc import Callable

import pytest

from cbad_cy.calls import (
    ALARM_LEVEL,
    EDGES_MAX,
    EXAMPLES_MAX,
    GRAPH_EDGES_MAX,
    INSTANCES_MAX,
    OPERATIONS_MAX_MOST,
    PATH_MAX,
    CallTable,
)
from cbad_cy.judgement import Judgement
from cbad_cy.traces import CLOSED_EARLY, NO_ROOT, SPANS_CUT, VIRTUAL_ROOT
from tests.cbad_cy.call_traces import (
    CLIENT,
    CONSUMER,
    ERROR,
    GATEWAY,
    MS,
    OPERATIONS,
    PRODUCER,
    SERVER,
    SERVICES,
    SHOP_CALL,
    STORE,
    Call,
    Over,
    S,
    asked,
    closed_of,
    fed,
    shop_trace,
    usual_traces,
)

USUAL = 600
Fault = Callable[[int, random.Random], Over]


def told(fault: Fault, *, share: float = 0.3, count: int = 300, seed: int = 3, level: float = ALARM_LEVEL) -> list[Judgement]:
    """What is told when a share of requests is as `fault` makes them, after usual ones, of which nothing may be told."""
    table, source = CallTable(operations_max=OPERATIONS), random.Random(seed)
    table.alarm_level = level
    assert fed(table, usual_traces(USUAL, seed=seed), SERVICES) == []
    traces = [(fault if source.random() < share else shop_trace)(number, source) for number in range(USUAL, USUAL + count)]
    return fed(table, traces, SERVICES)


def slow_store(number: int, source: random.Random) -> Over:
    return shop_trace(number, source, slow=300 * MS)


def slow_way(number: int, source: random.Random) -> Over:
    return shop_trace(number, source, way=300 * MS)


def failing(operation: int) -> Fault:
    return lambda number, source: shop_trace(number, source, failing=operation)


def test_a_slow_operation_is_told_and_not_its_callers() -> None:
    (it,) = told(slow_store)
    assert asked([it]) == [("latency", "self_time", 0, STORE)]
    assert it.suspects[0][0] == SERVICES[STORE]
    assert 0.25 < it.value < 0.4
    assert 0.001 < it.usual < 0.004
    assert 0 < it.affected < it.calls
    start_ns, end_ns = (usual_traces(USUAL)[-1].calls[0].start_ns, it.time_ns)
    assert start_ns < it.since_ns <= end_ns
    assert 0.5 <= it.score < 1
    assert 0 < it.p_value <= 0.05


def test_a_slow_edge_speaks_against_both_ends() -> None:
    judgements = told(slow_way)
    assert asked(judgements[:1]) == [("latency", "gap", SHOP_CALL, STORE)]
    assert {service for service, _ in judgements[0].suspects} >= {SERVICES[SHOP_CALL], SERVICES[STORE]}
    assert 0.25 < judgements[0].value < 0.4


@pytest.mark.parametrize("operation", [STORE, GATEWAY])
def test_an_operation_that_fails_is_told_where_it_began(operation: int) -> None:
    """In a trace all spans above have an error, too."""
    (it,) = told(failing(operation))
    assert asked([it]) == [("errors", "errors", 0, operation)]
    assert it.suspects[0][0] == SERVICES[operation]
    assert it.usual == 0.0 < 0.1 < it.value == it.affected / it.calls
    assert all(error for *_, error in it.examples)


def test_a_call_that_fails_without_its_answer_failing_speaks_rather_against_who_is_called() -> None:
    (it,) = told(failing(SHOP_CALL))
    assert it.pool == 0
    assert asked([it]) == [("errors", "errors", 0, SHOP_CALL)]
    assert [service for service, _ in it.suspects] == [SERVICES[STORE], SERVICES[SHOP_CALL]]


@pytest.mark.parametrize(("share", "most"), [(0.06, False), (1.0, True)])
def test_affected_are_those_that_are_rather_of_the_fault(share: float, most: bool) -> None:
    """A tenth that is hit hard is not told as all calls a little slower; all are, where all are."""
    it = told(slow_way if not most else lambda number, source: shop_trace(number, source, way=2 * MS), share=share, count=1500)[
        0
    ]
    assert (it.measure, it.caller) == ("gap", SHOP_CALL)
    if most:
        assert it.affected > 0.6 * it.calls
        assert 0.0015 < it.value < 0.004
    else:
        assert it.affected < 0.15 * it.calls
        assert 0.25 < it.value < 0.4


def test_what_failed_before_is_usual() -> None:
    table, source = CallTable(operations_max=OPERATIONS), random.Random(1)
    past = [shop_trace(number, source, failing=STORE if number % 50 == 7 else 0) for number in range(4000)]
    assert fed(table, past, SERVICES) == []
    faulty = [shop_trace(number, source, failing=STORE if number % 2 else 0) for number in range(4000, 4300)]
    assert fed(table, faulty, SERVICES)[0].usual == pytest.approx(0.02, rel=0.2)


def test_examples_are_traces_that_show_it() -> None:
    slow: list[int] = []

    def fault(number: int, source: random.Random) -> Over:
        slow.append(number)
        return slow_store(number, source)

    (it,) = told(fault)
    assert len(it.examples) == EXAMPLES_MAX
    for trace_id, start_ns, duration_ns, spans, root, path, error in it.examples:
        assert int.from_bytes(trace_id, "big") in slow
        assert it.since_ns - S <= start_ns < it.time_ns
        assert duration_ns > 300 * MS
        assert (spans, root, path, error) == (5, GATEWAY, (1, 2, 3, 4, 5), False)


def test_what_stays_becomes_usual() -> None:
    table, source = CallTable(operations_max=OPERATIONS), random.Random(1)
    fed(table, usual_traces(USUAL), SERVICES)
    changed = [slow_store(number, source) for number in range(USUAL, USUAL + 45_000)]
    judgements = fed(table, changed, SERVICES)
    assert judgements
    assert judgements[-1].time_ns < changed[30_000].closed_ns


def test_an_instance_is_named_where_it_is_one_of_several() -> None:
    def fault(number: int, source: random.Random) -> Over:
        slow = slow_store(number, source)
        return slow._replace(calls=[it._replace(instance=33) for it in slow.calls])

    assert {it.instance for it in told(fault)} == {33}
    assert {it.instance for it in told(slow_store)} == {0}


def test_one_pause_is_one_event() -> None:
    """Sixty requests that a pause held up tell less than a few slow ones over a while."""
    table, source = CallTable(operations_max=OPERATIONS), random.Random(1)
    traces = usual_traces(USUAL)
    held = [slow_store(number, source)._replace(closed_ns=traces[-1].closed_ns) for number in range(USUAL, USUAL + 60)]
    assert fed(table, traces + held, SERVICES) == []


def test_a_slowness_that_all_have_is_forgiven_up_to_an_octave() -> None:
    def traces(first: int, count: int, times: float) -> list[Over]:
        """Six services beside each other."""
        source = random.Random(first)
        found = []
        for number in range(first, first + count):
            at = 10**18 + number * S // 20
            took = [round(times * MS * source.lognormvariate(0.0, 0.3)) for _ in range(6)]
            calls = [Call(3 + k, -1, SERVER, at, took[k], took[k]) for k in range(6)]
            found.append(Over(number, at + S, calls))
        return found

    services = (0, 7, 7, 1, 2, 3, 4, 5, 6)
    for times, tells in ((1.7, False), (20.0, True)):
        table = CallTable(operations_max=OPERATIONS)
        assert fed(table, traces(0, 2000, 1.0), services) == []
        assert bool(fed(table, traces(2000, 1200, times), services)) == tells


def test_the_level_is_bits() -> None:
    strict, balanced, loose = (told(slow_store, level=level) for level in (ALARM_LEVEL + 8, ALARM_LEVEL, ALARM_LEVEL - 8))
    times = [it[0].time_ns for it in (loose, balanced, strict)]
    assert times == sorted(set(times))
    assert strict[0].p_value < 0.05 / 2**7
    assert loose[0].p_value <= min(1.0, 0.05 * 2**8)


@pytest.mark.parametrize("level", [0.0, -1.0, float("inf"), float("nan")])
def test_a_level_is_finite_and_above_zero(level: float) -> None:
    with pytest.raises(ValueError, match="not a level"):
        CallTable().alarm_level = level


@pytest.mark.parametrize("mark", [SPANS_CUT, CLOSED_EARLY])
def test_traces_of_which_spans_are_missing_are_not_judged(mark: int) -> None:
    table = CallTable(operations_max=OPERATIONS)
    traces = [it._replace(mark=mark) for it in usual_traces(10)]
    fed(table, traces, SERVICES)
    assert (table.operations, table.edges) == (0, 0)
    assert [edge[:3] for edge in table.graph()] == [(0, 1, 10), (1, 2, 10), (2, 3, 10)]


def test_a_path_that_is_too_deep_loses_its_middle() -> None:
    table, depth = CallTable(operations_max=500), 100
    services = array("I", [0, *[1] * 500])

    def trace(number: int, took: int) -> Over:
        at = 10**18 + number * S // 10
        return Over(number, at + S, [Call(place + 1, place - 1, SERVER, at, took, took) for place in range(depth)])

    fed(table, [trace(number, MS) for number in range(400)], services)
    slow = [it for it in fed(table, [trace(number, 400 * MS) for number in range(400, 600)], services) if it.operation == depth]
    paths = {path for it in slow for *_, path, _ in it.examples}
    assert paths == {(*range(1, PATH_MAX // 2 + 1), *range(depth + 1 - PATH_MAX // 2, depth + 1))}


def test_a_leaf_that_ends_after_what_it_started_beside_it_counts_only_its_own_time() -> None:
    """A filter that spans its request, whose work is told as a sibling that began later."""
    table = CallTable(operations_max=OPERATIONS)
    traces = usual_traces(USUAL)

    def trace(number: int, work: int) -> Over:
        at = 10**18 + number * S // 10
        root = Call(GATEWAY, -1, SERVER, at, work + 4 * MS, MS)
        leaf = Call(7, 0, SERVER, at, work + 2 * MS, work + 2 * MS)
        return Over(number, at + S, [root, leaf, Call(8, 0, SERVER, at + MS, work, work)])

    fed(table, traces, SERVICES)
    fed(table, [trace(number, 2 * MS) for number in range(USUAL, 2 * USUAL)], SERVICES)
    judgements = fed(table, [trace(number, 500 * MS) for number in range(2 * USUAL, 2 * USUAL + 200)], SERVICES)
    assert {it.operation for it in judgements} == {8}


# ---- the graph -----------------------------------------------------------------------------------------------------


def test_the_graph_shows_calls_as_the_client_saw_them() -> None:
    table = CallTable(operations_max=OPERATIONS)
    at = 10**18
    calls = [
        Call(1, -1, SERVER, at, 100 * MS, MS),
        Call(2, 0, CLIENT | ERROR, at + MS, 64 * MS, MS),
        Call(3, 1, SERVER, at + 2 * MS, 8 * MS, MS),
        Call(4, 2, PRODUCER, at + 3 * MS, MS, MS),
        Call(5, 3, CONSUMER | ERROR, at + 500 * MS, 16 * MS, MS),
    ]
    fed(table, [Over(1, at + S, calls)], SERVICES)
    graph = {edge[:2]: edge[2:] for edge in table.graph()}
    assert {names: (calls, errors) for names, (calls, errors, *_) in graph.items()} == {
        (0, 1): (1, 0),
        (1, 2): (1, 1),
        (2, 3): (1, 1),
    }
    assert graph[1, 2][2] == pytest.approx(0.064, rel=0.2)
    assert graph[2, 3][2] == pytest.approx(0.016, rel=0.2)
    assert graph[1, 2][4:] == (at + MS, at + MS)


def test_nobody_knows_who_called_an_orphan() -> None:
    first, second = Call(1, -1, SERVER, 0, MS), Call(5, -1, SERVER, 0, MS)
    for mark, expected in ((0, [(0, 1), (0, 3)]), (VIRTUAL_ROOT, [(0, 1)]), (VIRTUAL_ROOT | NO_ROOT, [])):
        table = CallTable(operations_max=OPERATIONS)
        fed(table, [Over(1, S, [first, second], mark)], SERVICES)
        assert [edge[:2] for edge in table.graph()] == expected


def test_quantiles_are_of_the_newest_calls() -> None:
    table = CallTable(operations_max=OPERATIONS)
    fed(table, [Over(n, n, [Call(1, -1, SERVER, n, 10 * MS)]) for n in range(1, 3000)], SERVICES)
    fed(table, [Over(n, n, [Call(1, -1, SERVER, n, 1000 * MS)]) for n in range(3000, 9000)], SERVICES)
    ((_, _, calls, _, p50_s, p99_s, first_ns, last_ns),) = table.graph()
    assert (calls, first_ns, last_ns) == (8999, 1, 8999)
    assert p50_s == pytest.approx(1.0, rel=0.2)
    assert p50_s <= p99_s < 1.3


# ---- bounds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operations_max", [0, -1, OPERATIONS_MAX_MOST + 1])
def test_operations_max_has_bounds(operations_max: int) -> None:
    with pytest.raises(ValueError, match="operations"):
        CallTable(operations_max=operations_max)


def pairs(first: int, callers: int, callees: int) -> list[Over]:
    """A call from each caller to each callee; operation and service are of one number."""
    calls = [
        (Call(first + a, -1, CLIENT, 0, MS), Call(first + callers + b, 0, SERVER, 0, MS))
        for a in range(callers)
        for b in range(callees)
    ]
    return [Over(number, number, pair) for number, pair in enumerate(calls)]


def test_edges_have_a_bound() -> None:
    table, traces = CallTable(operations_max=300), pairs(1, 100, 100)
    services = (0, *[1] * 100, *[2] * 200)
    fed(table, traces, services)
    assert table.edges == EDGES_MAX
    assert table.edges_overflowed == len(traces) - EDGES_MAX
    assert table.graph_overflowed == 0
    other = CallTable(operations_max=300)
    other.restore(table.parts())
    assert fed(other, traces, services) == fed(table, traces, services)
    assert other.edges_overflowed == table.edges_overflowed


def test_the_graph_has_a_bound() -> None:
    table, traces = CallTable(operations_max=300), pairs(1, 70, 70)
    fed(table, traces, tuple(range(301)))
    assert len(table.graph()) == GRAPH_EDGES_MAX
    assert sum(edge[2] for edge in table.graph()) + table.graph_overflowed == 2 * len(traces)


def test_instances_have_a_bound_and_the_newest_are_known() -> None:
    table = CallTable(operations_max=OPERATIONS)
    traces = [Over(n, n, [Call(1, -1, SERVER, n, MS, MS, n)]) for n in range(1, INSTANCES_MAX + 1000)]
    fed(table, traces, SERVICES)
    assert table.instances == INSTANCES_MAX
    other = CallTable(operations_max=OPERATIONS)
    other.restore(table.parts())
    assert fed(other, traces, SERVICES) == fed(table, traces, SERVICES)
    assert other.parts() == table.parts()


def test_what_does_not_fit_together_is_refused_before_anything_is_learned() -> None:
    table = CallTable(operations_max=OPERATIONS)
    good = closed_of(usual_traces(2))
    services = array("I", SERVICES)
    wrong = [
        good._replace(sizes=array("I", [5, 4])),
        good._replace(sizes=array("I", [0, 10])),
        good._replace(trace_ids=bytes(16)),
        good._replace(marks=bytes(1)),
        good._replace(self_ns=good.self_ns[1:]),
        good._replace(parents=array("i", [-1, 1, 1, 2, 3, -1, 0, 1, 2, 3])),
        good._replace(parents=array("i", [-2, 0, 1, 2, 3, -1, 0, 1, 2, 3])),
        good._replace(operations=array("I", [0, *good.operations[1:]])),
        good._replace(operations=array("I", [OPERATIONS + 1, *good.operations[1:]])),
        good._replace(starts_ns=array("I", [1, 1])),
    ]
    for closed in wrong:
        with pytest.raises(ValueError, match=r"TraceTable closed|operations_max|mismatch"):
            table.feed(closed, services)
    for short in (services[:3], array("I", [0, 0, *services[2:]]), array("I", [0, OPERATIONS + 1, *services[2:]])):
        with pytest.raises(ValueError, match="operations_max"):
            table.feed(good, short)
    assert table.parts() == CallTable(operations_max=OPERATIONS).parts()
    assert table.graph() == []


def test_nothing_is_nothing() -> None:
    table = CallTable()
    assert fed(table, [], SERVICES) == table.feed(closed_of([]), array("I", [0])) == []


def test_parts_are_of_a_version_and_for_a_table_that_is_new() -> None:
    table = CallTable(operations_max=OPERATIONS)
    fed(table, usual_traces(5), SERVICES)
    with pytest.raises(ValueError, match="in use"):
        table.restore(table.parts())
    with pytest.raises(ValueError, match="at least as many"):
        CallTable(operations_max=OPERATIONS - 1).restore(table.parts())
    CallTable(operations_max=OPERATIONS + 1).restore(table.parts())


def test_it_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="parts"):
        pickle.dumps(CallTable())
