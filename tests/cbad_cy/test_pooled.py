"""Sums of weak evidence: against an oracle, and that no cut of the batches and no restart changes them."""

import math
import struct
from array import array
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbad_cy.pooled import PARTS_BYTES, SERIES_MAX_MOST, Gathered, Gatherer, digits_of, share_of

MINUTE_NS = 60 * 10**9
Point = tuple[int, int, int, float]  # series, resource, time in ns, value


def columns(points: Sequence[Point]) -> tuple["array[int]", "array[int]", "array[int]", "array[float]"]:
    parts = list(zip(*points, strict=True)) or [(), (), (), ()]
    return array("Q", parts[0]), array("Q", parts[1]), array("Q", parts[2]), array("d", parts[3])


def gathered(points: Sequence[Point], cuts: Sequence[int] = (), *, restart: bool = False) -> list[Gathered]:
    gatherer, found = Gatherer(series_max=100), []
    known = sorted({series for series, *_ in points})
    for first, last in pairwise([0, *sorted(cut % (len(points) + 1) for cut in cuts), len(points)]):
        gatherer.take(*columns(points[first:last]))
        if restart:
            fresh = Gatherer(series_max=100)
            fresh.open_restore(gatherer.open_parts())
            for series in known:
                if series in gatherer:
                    fresh.restore(series, gatherer.parts(series))
                    assert fresh.parts(series) == gatherer.parts(series)
            assert fresh.open_parts() == gatherer.open_parts()
            gatherer = fresh
        found += gatherer.closed()
    return sorted(found, key=lambda it: (it.minute, it.resource))


class Oracle:
    """Level and spread of one series that has one point a minute."""

    def __init__(self) -> None:
        self.centre = self.spread = 0.0
        self.learned = 0

    def say(self, value: float) -> float:
        said = 0.0
        if self.learned >= 3:
            width = max(self.spread, 1e-3 * abs(self.centre), 1e-12)
            digits = 4 * math.log10(1 + abs(value - self.centre) / width / 3)
            said = min(3.0, max(0.0, digits - 0.5))
        self.learn(value)
        return said

    def learn(self, value: float) -> None:
        self.learned += 1
        if self.learned == 1:
            self.centre = value
            return
        error = value - self.centre
        if self.learned > 8:
            most = 4 * max(self.spread, 1e-3 * abs(self.centre), 1e-12)
            error = max(-most, min(most, error))
        follow = max(0.02, 1 / self.learned)
        self.spread += follow * (abs(error) - self.spread)
        self.centre += follow * error


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-10, 10)), min_size=5, max_size=60))
def test_sums_are_those_of_the_oracle(values: list[tuple[float, float]]) -> None:
    points = [(1 + place, 7, minute * MINUTE_NS, row[place]) for minute, row in enumerate(values) for place in (0, 1)]
    oracles = Oracle(), Oracle()
    expected = [sum(oracle.say(value) for oracle, value in zip(oracles, row, strict=True)) for row in values]
    found = gathered(points)
    assert [it.minute for it in found] == list(range(len(found)))
    assert len(found) >= len(values) - 1
    for it, said in zip(found, expected, strict=False):
        assert it.digits == pytest.approx(said, abs=0.004)
        assert (it.points, it.series, it.resource) == (2, 2, 7)
        assert len(it.strongest) <= it.odd
        assert bool(it.strongest) == (it.digits >= 3 and it.odd > 0)


TIMES = st.integers(0, 20).map(lambda it: it * MINUTE_NS // 2)
POINTS = st.lists(
    st.tuples(st.integers(1, 6), TIMES, st.floats(-100, 100)).map(lambda it: (it[0], it[0] % 2, it[1], it[2])), max_size=80
)


@given(POINTS, st.lists(st.integers(0, 80), max_size=5), st.booleans())
def test_no_cut_and_no_restart_changes_what_is_gathered(points: list[Point], cuts: list[int], restart: bool) -> None:
    whole = gathered(points)
    assert gathered(points, cuts, restart=restart) == whole
    assert len({(it.minute, it.resource) for it in whole}) == len(whole)


@given(
    st.lists(st.tuples(st.integers(1, 2**64 - 1), st.binary(min_size=8, max_size=8), st.integers(0, 2**64 - 1)), max_size=50)
)
def test_any_bits_are_survived(raw: list[tuple[int, bytes, int]]) -> None:
    points = [(series, series % 3, time, struct.unpack("<d", bits)[0]) for series, bits, time in raw]
    for it in gathered(points, [len(points) // 2], restart=True):
        assert math.isfinite(it.digits)
        assert all(math.isfinite(number) for strong in it.strongest for number in strong)


def usual(minutes: int, series: int = 12) -> list[Point]:
    """A resource whose series all go up and down a little."""
    return [
        (1 + place, 5, minute * MINUTE_NS, 100.0 + (5 * minute + 3 * place) % 7)
        for minute in range(minutes)
        for place in range(series)
    ]


def test_many_series_that_are_a_little_unusual_stand_out() -> None:
    """Each of the twelve is no farther off than a digit and a half, all together they say more than ever before."""
    points = usual(100) + [(1 + place, 5, 100 * MINUTE_NS, 110.0) for place in range(12)]
    *before, last = gathered(points)
    assert (last.minute, last.odd, last.series) == (100, 12, 12)
    assert last.digits > 3 * max(it.digits for it in before[10:])
    assert [strong.series for strong in last.strongest] == [
        strong.series for strong in sorted(last.strongest, key=lambda it: (-it.digits, it.series))
    ]
    assert all(strong.low < strong.expected < strong.high < strong.value == 110.0 for strong in last.strongest)


def test_one_that_breaks_loose_says_no_more_than_three_digits() -> None:
    points = usual(100) + [(1 + place, 5, 100 * MINUTE_NS, 1e9 if place == 0 else 103.0) for place in range(12)]
    last = gathered(points)[-1]
    assert last.digits == 3.0
    [strong] = last.strongest
    assert (strong.series, strong.value, strong.digits) == (1, 1e9, 3.5)


def test_a_minute_is_over_when_it_has_as_many_points_as_the_one_before() -> None:
    gatherer = Gatherer(series_max=100)
    gatherer.take(*columns(usual(10)))
    assert [it.minute for it in gatherer.closed()] == list(range(10))
    gatherer.take(*columns(usual(1)))
    assert gatherer.closed() == [], "late points of a minute that is over are learned only"


def test_a_resource_that_stops_does_not_hold_its_minute_back() -> None:
    gatherer = Gatherer(series_max=10)
    gatherer.take(*columns([(1, 1, 0, 1.0), (2, 2, 0, 1.0), (2, 2, MINUTE_NS, 1.0)]))
    assert [(it.minute, it.resource) for it in gatherer.closed()] == [(0, 2), (1, 2)]
    gatherer.take(*columns([(2, 2, 2 * MINUTE_NS, 1.0)]))
    assert [(it.minute, it.resource) for it in gatherer.closed()] == [(0, 1), (2, 2)]


def test_points_that_were_not_taken_are_left_out() -> None:
    gatherer = Gatherer(series_max=2)
    gatherer.take(*columns([(1, 1, 0, 1.0), (2, 1, 0, math.nan), (3, 1, 0, 1.0), (4, 1, 0, math.inf)]), b"\0\0\2\0")
    assert (len(gatherer), 1 in gatherer, 3 in gatherer, 0 in gatherer) == (1, True, False, False)


def test_series_beyond_the_limit_are_refused_before_anything_is_learned() -> None:
    gatherer = Gatherer(series_max=2)
    gatherer.take(*columns([(1, 1, 0, 1.0)]))
    before = gatherer.open_parts(), gatherer.parts(1)
    with pytest.raises(ValueError, match="more than 2 series"):
        gatherer.take(*columns([(1, 1, 0, 9.0), (2, 1, 0, 1.0), (3, 1, 0, 1.0)]))
    assert (gatherer.open_parts(), gatherer.parts(1), len(gatherer)) == (*before, 1)
    with pytest.raises(ValueError, match="series 0"):
        gatherer.take(*columns([(4, 1, 0, 1.0), (0, 1, 0, 1.0)]))
    assert len(gatherer) == 1
    gatherer.drop(1)
    gatherer.take(*columns([(2, 1, 0, 1.0), (3, 1, 0, 1.0)]))
    for call in (gatherer.parts, gatherer.drop):
        with pytest.raises(KeyError):
            call(1)
    with pytest.raises(ValueError, match="more than 2 series"):
        gatherer.restore(4, before[1])


def test_columns_are_checked() -> None:
    gatherer = Gatherer(series_max=2)
    one, values = array("Q", [1]), array("d", [1.0])
    with pytest.raises(ValueError, match="equal lengths"):
        gatherer.take(one, array("Q"), one, values)
    with pytest.raises(ValueError, match="equal lengths"):
        gatherer.take(one, one, one, values, b"\0\0")
    with pytest.raises(ValueError, match="type"):
        gatherer.take(one, one, one, one)  # type: ignore[arg-type]
    for series_max in (0, SERIES_MAX_MOST + 1):
        with pytest.raises(ValueError, match="series_max"):
            Gatherer(series_max=series_max)


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_damaged_parts_are_refused(place: int, flip: int) -> None:
    gatherer = Gatherer(series_max=20)
    gatherer.take(*columns([*usual(20), (1, 5, 20 * MINUTE_NS, 1e9), (13, 6, 20 * MINUTE_NS, 1.0)]))
    assert len(gatherer.parts(1)) == PARTS_BYTES
    for parts, restore in (
        (gatherer.parts(1), lambda it: gatherer.restore(1, it)),
        (gatherer.open_parts(), gatherer.open_restore),
    ):
        body = bytearray(parts)
        body[place % len(body)] ^= flip
        with pytest.raises(ValueError, match=r"damaged|version"):
            restore(bytes(body))
        with pytest.raises(ValueError, match="damaged"):
            restore(parts[: place % len(parts)])
    assert gatherer.closed(), "nothing has changed"


@given(st.floats(1e-300, 1.0))
def test_digits_are_logarithms(p: float) -> None:
    assert digits_of(p) == pytest.approx(-math.log10(p), abs=1e-12)
    assert share_of(digits_of(p)) == pytest.approx(p, rel=1e-9)


def test_digits_outside_are_refused() -> None:
    for p in (0.0, -1.0, 1.5, math.nan):
        with pytest.raises(ValueError, match="p must be"):
            digits_of(p)
    for digits in (-1.0, math.nan):
        with pytest.raises(ValueError, match="digits must be"):
            share_of(digits)
    assert share_of(1e9) == 1e-300
