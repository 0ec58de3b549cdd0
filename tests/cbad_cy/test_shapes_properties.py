"""Features of traces beside the oracle, cut into batches, stored and restored, and with any bits at all."""

import math
import random
import struct
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy.judgement import Judgement
from cbad_cy.reference_shapes import ReferenceShapes
from cbad_cy.reference_traces import ClosedTrace, SpanRow
from cbad_cy.shapes import ShapeTable
from tests.cbad_cy.shape_traces import SHOP, START, S, columns, shop
from tests.cbad_cy.test_points_properties import check

FAULTS = ("missing", "repeats", "dependency", "gone", "silent")
BOUNDS = st.fixed_dictionaries(
    {
        "alarm_level": st.sampled_from([4.0, 12.0, 34.0]),
        "pairs_max": st.sampled_from([1, 3, 100]),
        "roots_max": st.sampled_from([1, 2, 100]),
        "places_max": st.sampled_from([6, 20, 1000]),
        "edges_max": st.sampled_from([5, 16, 1000]),
        "features_max": st.sampled_from([5, 40, 1000]),
    }
)


@st.composite
def streams(draw: st.DrawFn, *, most: int = 400) -> list[ClosedTrace]:
    """Traffic of the shop with faults."""
    source = random.Random(draw(st.integers(0, 2**32)))
    faults = draw(st.lists(st.sampled_from(FAULTS), max_size=2, unique=True))
    return shop(source, draw(st.integers(0, most)), faults, draw(st.sampled_from([0.0, 0.01, 1.0, 30.0])))


@st.composite
def wild_streams(draw: st.DrawFn) -> list[ClosedTrace]:
    """Any trees of a few operations with any marks; some of them deep, some of them wide, some with many kinds of children."""
    source = random.Random(draw(st.integers(0, 2**32)))
    kinds, reach = draw(st.sampled_from([2, 5, 90])), draw(st.sampled_from([1, 3, 1000]))
    size, now, made = draw(st.sampled_from([1, 6, 40, 110])), START, []
    for number in range(draw(st.integers(1, 60))):
        now += source.choice((0, S, 300 * S, -S))
        rows = []
        for at in range(source.randint(1, size)):
            parent = source.randint(max(-1, at - reach), at - 1) if source.random() < 0.95 else at - 1
            mark = source.choice((source.randint(0, 63), 2, 2, 3, 4))
            rows.append(SpanRow(source.randint(1, kinds), parent, bytes(8), mark, 0, 0, 0, source.randint(0, 2)))
        marks = source.choice((0, 0, 0, 0, source.randint(0, 63)))
        ids = number.to_bytes(16, "little")
        made.append(ClosedTrace(ids, marks, now - source.randint(0, S), now - source.randint(0, S), now, tuple(rows)))
    return made


WILD = array("I", [0, *(1 + k % 3 for k in range(90))])


@settings(deadline=None, max_examples=60)
@given(streams(), BOUNDS)
def test_the_oracle_says_the_same(stream: list[ClosedTrace], bounds: dict[str, float]) -> None:
    oracle, into = ReferenceShapes(list(SHOP), **bounds), ShapeTable(**bounds)  # type: ignore[arg-type]
    for it in stream:
        assert into.feed(columns([it]), SHOP) == oracle.take(it)
    assert (len(into), into.overflowed, into.traces) == (len(oracle), oracle.overflowed, oracle.traces)


@settings(deadline=None, max_examples=60)
@given(wild_streams(), BOUNDS)
def test_the_oracle_says_the_same_of_wild_trees(stream: list[ClosedTrace], bounds: dict[str, float]) -> None:
    bounds["alarm_level"] /= 10
    oracle, into = ReferenceShapes(list(WILD), **bounds), ShapeTable(**bounds)  # type: ignore[arg-type]
    for it in stream:
        assert into.feed(columns([it]), WILD) == oracle.take(it)
    assert (len(into), into.overflowed) == (len(oracle), oracle.overflowed)


@pytest.mark.parametrize(
    ("faults", "step_s", "expected"),
    [
        (FAULTS, 1.0, {("dependency", "calls", 3, 10), ("shape", "repeats", 4, 6)}),
        (FAULTS, 12.0, {("dependency", "calls", 3, 10), ("shape", "repeats", 4, 6)}),
        (("silent",), 1.0, {("dependency", "calls", 8, 3)}),
        (("gone", "missing"), 12.0, {("shape", "calls", 1, 4), ("shape", "calls", 4, 6)}),
    ],
)
def test_the_oracle_says_the_same_of_long_pasts(
    faults: tuple[str, ...], step_s: float, expected: set[tuple[str, str, int, int]]
) -> None:
    """So long that blocks end, and that what lasts is adopted."""
    stream = shop(random.Random(5), 2500, faults, step_s)
    oracle, into = ReferenceShapes(list(SHOP)), ShapeTable()
    told = into.feed(columns(stream), SHOP)
    assert told == [found for it in stream for found in oracle.take(it)]
    assert {(it.question, it.measure, it.caller, it.operation) for it in told} >= expected
    assert any(it.blocks for it in oracle.features.values())


@settings(deadline=None, max_examples=25)
@given(streams(), st.sampled_from([4.0, 12.0]), st.data())
def test_batches_and_restarts_change_nothing(stream: list[ClosedTrace], level: float, data: st.DataObject) -> None:
    whole, into, found, start = ShapeTable(alarm_level=level), ShapeTable(alarm_level=level), list[Judgement](), 0
    expected = whole.feed(columns(stream), SHOP)
    while start < len(stream):
        end = data.draw(st.integers(start + 1, len(stream)))
        found += into.feed(columns(stream[start:end]), SHOP)
        start = end
        if data.draw(st.booleans()):
            parts, into = into.parts(), ShapeTable(alarm_level=level)
            into.restore(parts)
            assert into.parts() == parts
    assert found == expected
    assert into.parts() == whole.parts()


@settings(deadline=None, max_examples=25)
@given(streams(), st.sampled_from([4.0, 12.0]))
def test_what_is_told_makes_sense(stream: list[ClosedTrace], level: float) -> None:
    into, known = ShapeTable(alarm_level=level), {it.trace: it for it in stream}
    for it in into.feed(columns(stream), SHOP):
        assert it.surprise >= level
        assert 0 < it.p_value <= 2**-level
        assert 0.5 <= it.score < 1
        assert 0 < it.affected <= it.calls
        assert 0 <= it.usual < 1
        assert it.pool == 0
        assert it.value == it.affected / it.calls > it.usual
        assert it.since_ns < it.time_ns
        assert it.examples
        assert all(bits > 0 for _, bits in it.suspects)
        for shown in it.examples:
            assert shown[3] == len(known[shown[0]].spans)
            assert (shown[4], shown[5][-1]) == (known[shown[0]].spans[0].operation, it.caller)
        assert it.subtree[0][0] == 0
        assert {node[2] for node in it.subtree} <= ({1}, {-1})[it.subtree[0][2] < 0]


def test_quiet_traffic_is_quiet() -> None:
    """As it is, with optional parts, loops, errors and spans that are lost."""
    for seed in range(3):
        assert ShapeTable().feed(columns(shop(random.Random(seed), 2000, (), 0.01)), SHOP) == []


# ---- stored --------------------------------------------------------------------------------------------------------

BOUNDED = {"operations_max": 10, "pairs_max": 50, "roots_max": 5, "places_max": 100, "edges_max": 100, "features_max": 200}


def filled() -> ShapeTable:
    """A table that has met everything."""
    into = ShapeTable(alarm_level=12.0, **BOUNDED)
    assert into.feed(columns(shop(random.Random(7), 800, FAULTS, 1.0)), SHOP)
    assert into.parts() != ShapeTable(**BOUNDED).parts()
    return into


def test_damaged_parts_are_refused() -> None:
    parts, into = filled().parts(), ShapeTable(**BOUNDED)
    for place in range(0, len(parts), 7):
        damaged = bytearray(parts)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(ValueError, match="damaged"):
            into.restore(bytes(damaged))
    for size in (*range(150), *range(150, len(parts), 997)):
        with pytest.raises(ValueError, match=r"damaged|are no shapes"):
            into.restore(parts[:size])
    with pytest.raises(ValueError, match="damaged"):
        into.restore(parts + b"\0")
    assert into.parts() == ShapeTable(**BOUNDED).parts()
    into.restore(parts)
    assert into.parts() == parts
    with pytest.raises(ValueError, match="in use"):
        into.restore(parts)


@pytest.mark.parametrize("name", [*BOUNDED])
def test_parts_that_are_too_many_are_refused(name: str) -> None:
    bounds = BOUNDED | {name: 1}
    into = ShapeTable(**bounds)
    with pytest.raises(ValueError, match=r"has room for|do not fit together"):
        into.restore(filled().parts())
    into.feed(columns([]), SHOP)
    assert len(into) == 0


def test_another_version_is_refused() -> None:
    body = bytearray(filled().parts()[:-8])
    body[0] += 1
    with pytest.raises(ValueError, match="another version"):
        ShapeTable(**BOUNDED).restore(bytes(body) + struct.pack("<Q", check(bytes(body))))


WORDS = (0, 1, 2, 3, 64, 255, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e300, 5e-324, math.inf, -math.inf, math.nan)
PATCHES = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.sampled_from(WORDS).map(lambda x: struct.pack("<Q", x)),
    st.sampled_from(WORDS).map(lambda x: struct.pack("<I", x % 2**32)),
    st.sampled_from(FLOATS).map(lambda x: struct.pack("<d", x)),
)
FILLED = filled().parts()


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_forged_parts_are_refused_or_harmless(data: st.DataObject) -> None:
    """With the right hash: what fits is taken and goes on working, what does not is refused."""
    body = bytearray(FILLED[:-8])
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.one_of(st.integers(0, len(body) // 4 - 1).map(lambda k: 4 * k), st.integers(0, len(body) - 1)))
        patch = data.draw(PATCHES)
        body[place : place + len(patch)] = patch
    if data.draw(st.integers(0, 9)) == 0:
        del body[data.draw(st.integers(0, len(body))) :]
    parts = bytes(body) + struct.pack("<Q", check(bytes(body)))
    into = ShapeTable(alarm_level=2.0, **BOUNDED)
    try:
        into.restore(parts)
    except ValueError:
        assert len(into) == into.traces == 0
        into.restore(FILLED)
        return
    assert into.parts() == parts
    for it in into.feed(columns(shop(random.Random(4), 100, FAULTS, 100.0)), SHOP):
        assert all(0 <= number <= 10 for shown in it.examples for number in (shown[4], *shown[5]))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.binary(min_size=33, max_size=33), max_size=20))
def test_any_bits_are_refused_or_traces(raw: list[bytes]) -> None:
    """Nothing crashes."""
    rows = [struct.unpack("<16sIiBQ", row) for row in raw]
    made = [
        ClosedTrace(
            ids,
            mark,
            when,
            when // 2,
            when,
            (SpanRow(max(1, number % 90), -1 if number % 3 else parent, bytes(8), mark, 0, 0, 0, number),),
        )
        for ids, number, parent, mark, when in rows
    ]
    into = ShapeTable()
    try:
        into.feed(columns(made), WILD)
    except ValueError:
        assert into.traces == 0
    else:
        assert into.traces == len(made)
