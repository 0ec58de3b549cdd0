"""What bounds the table, and what it refuses."""

import pickle
from array import array
from collections.abc import Callable

import pytest

from cbad_cy.shapes import (
    ALARM_LEVEL,
    BOUND_MOST,
    CHILDREN_MAX,
    FEATURE_BYTES,
    LINKS_MAX,
    OPERATIONS_MAX,
    OPERATIONS_MAX_MOST,
    ShapeTable,
)
from cbad_cy.traces import Closed
from tests.cbad_cy.shape_traces import OF, USUAL, Feeder, columns, learned, only, services, trace, tree


def test_a_stricter_level_alarms_later() -> None:
    found = []
    for level in (10.0, 34.0, 60.0):
        feed = learned()
        feed.table.alarm_level = level
        it = only(feed([USUAL.plus(tree(7))] * 30))
        assert it.surprise >= level
        found.append(it.affected)
    assert found == sorted(set(found))


@pytest.mark.parametrize("level", [0.0, -1.0, float("inf"), float("nan")])
def test_no_level(level: float) -> None:
    with pytest.raises(ValueError, match="finite number of bits"):
        ShapeTable(alarm_level=level)


@pytest.mark.parametrize(
    ("name", "most"),
    [("operations_max", OPERATIONS_MAX_MOST)]
    + [(name, BOUND_MOST) for name in ("pairs_max", "roots_max", "places_max", "edges_max", "features_max")],
)
def test_bounds_are_in_range(name: str, most: int) -> None:
    for value in (0, -1, most + 1):
        with pytest.raises(ValueError, match=name):
            ShapeTable(**{name: value})
    assert getattr(ShapeTable(**{name: 1}), name) == 1


@pytest.mark.parametrize("name", ["places_max", "edges_max", "features_max"])
def test_what_is_over_a_bound_is_counted_and_not_judged(name: str) -> None:
    feed = learned(tree(1, tree(2)), **{name: 4})
    over, deep, odd = feed.table.overflowed, tree(11), tree(11, tree(3))
    for number in range(12, 20):
        deep, odd = tree(number, deep), tree(number, odd)
    feed([tree(1, tree(2), deep)] * 500)
    assert feed.table.overflowed > over
    assert len(feed.table) <= {"places_max": 16, "edges_max": 16, "features_max": 4}[name]
    assert feed([tree(1, tree(2), odd)] * 100) == []


def test_a_quarter_of_the_room_is_for_all_traces_together() -> None:
    feed = Feeder((1,) * 100, places_max=8, roots_max=100)
    feed([tree(k) for k in range(1, 101)])
    assert feed.table.overflowed == 100 - 3 + 100 - 5


def test_how_many_children_an_operation_has() -> None:
    feed = Feeder((1,) * 100)
    assert feed([tree(1, *[tree(2 + k) for k in range(CHILDREN_MAX)])] * 1000) == []
    assert feed.table.overflowed == 0
    assert feed([tree(1, *[tree(2 + k) for k in range(CHILDREN_MAX)], tree(90))] * 100) == []
    assert feed.table.overflowed == 100
    found = feed([tree(1)] * 30, step_s=2)
    assert sorted(it.operation for it in found) == list(range(2, 2 + CHILDREN_MAX))


def test_how_many_links_there_are() -> None:
    """Beyond the bound new calls are new parts, and no dependencies."""
    most = 1100
    room = {"roots_max": most, "places_max": BOUND_MOST, "edges_max": BOUND_MOST, "features_max": BOUND_MOST}
    feed = Feeder(range(1, most + 1), **room)
    feed([tree(1 + k, *[tree(1 + (k + i) % most) for i in range(1, 61)]) for k in range(most)])
    assert feed.table.overflowed == most * 60 - LINKS_MAX
    assert feed([tree(1)] * 1000) == []
    assert only(feed([tree(1, tree(1 + 700))] * 30)).question == "shape"


def wrong(change: Callable[[Closed], Closed], of: "array[int]", match: str) -> None:
    feed = learned()
    before = feed.table.parts()
    with pytest.raises(ValueError, match=match):
        feed.table.feed(change(columns([trace(USUAL, 1, at_s=99)] * 3)), of)
    assert feed.table.parts() == before


@pytest.mark.parametrize(
    "column",
    ["trace_ids", "sizes", "marks", "starts_ns", "ends_ns", "closed_ns", "operations", "parents", "span_marks", "instances"],
)
def test_columns_that_do_not_fit(column: str) -> None:
    wrong(lambda it: it._replace(**{column: getattr(it, column)[:-1]}), services(*OF), "fit")
    wrong(lambda it: it._replace(**{column: getattr(it, column)[:0]}), services(*OF), "fit")


def test_what_can_not_be_read() -> None:
    of = services(*OF)
    wrong(lambda it: it._replace(sizes=array("I", [5, 5, 4])), of, "do not fit their spans")
    wrong(lambda it: it._replace(sizes=array("I", [15, 0, 0])), of, "do not fit their spans")
    wrong(lambda it: it._replace(sizes=array("I", [2**32 - 1, 16, 0])), of, "do not fit their spans")
    wrong(lambda it: it._replace(operations=array("I", [0] * 15)), of, "outside 1")
    wrong(lambda it: it._replace(operations=array("I", [OPERATIONS_MAX + 1] * 15)), of, "outside 1")
    wrong(lambda it: it, of[:5], "without service")
    wrong(lambda it: it, of[:0], "without service")
    wrong(lambda it: it._replace(parents=array("i", [0] * 15)), of, "parent")
    wrong(lambda it: it._replace(parents=array("i", [-2] * 15)), of, "parent")


def test_small_things() -> None:
    table = ShapeTable()
    assert table.feed(columns([]), services()) == []
    assert (len(table), table.traces, table.overflowed, table.alarm_level) == (0, 0, 0, ALARM_LEVEL)
    assert FEATURE_BYTES <= 192
    with pytest.raises(TypeError, match="parts"):
        pickle.dumps(table)
