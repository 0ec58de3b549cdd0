"""Metric points beside the oracle, cut into batches, stored and restored, and with any bits at all."""

import math
import random
import struct
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy.points import BUCKETS_KEPT, NUMBER_BYTES, ROLES, Points
from cbad_cy.reference_points import Buckets, RawPoint, ReferencePoints
from tests.cbad_cy.metric_points import INF, S, columns, counter, histogram, numbers, take, told

NAN = math.nan
GRIDS = (
    (1.0, 2.0, 4.0, INF),
    (0.5, 1.0, 2.0, 4.0, 8.0, INF),
    (1.0, 1.5, 2.0, 3.0, 4.0, INF),
    (1.0, 4.0),
    (-4.0, -2.0, 0.0, 2.0, INF),
    (INF,),
    (),
    tuple(map(float, range(1, 2 * BUCKETS_KEPT))),
    tuple(k / 3 for k in range(1, BUCKETS_KEPT)),
)
ODD = (NAN, INF, -INF, -0.0, 5e-324, -1.7e308, 1.7e308, -1.0, 2.0**65)


def any_number() -> st.SearchStrategy[float]:
    return st.one_of(st.integers(0, 1000).map(float), st.sampled_from(ODD), st.floats())


@st.composite
def vectors(draw: st.DrawFn) -> Buckets:
    at = draw(st.sampled_from(GRIDS))
    source = random.Random(draw(st.integers(0, 2**32)))
    share = draw(st.sampled_from((0.0, 0.2, 1.0)))
    few = source.choices((0.0, *map(float, range(1, 10))), (9 - 9 * share, *[share] * 9), k=len(at))
    held = few if share else [0.0] * len(at)
    if at and draw(st.integers(0, 19)) == 0:
        held[-1] = draw(st.sampled_from(ODD))
    return Buckets(at, tuple(held))


@st.composite
def sequences(draw: st.DrawFn) -> list[RawPoint]:
    """Points of three series, each mostly of one kind; counters mostly rise."""
    points, times, kinds, grown = [], [10 * S] * 4, draw(st.lists(st.integers(0, 6), min_size=4, max_size=4)), {}
    for _ in range(draw(st.integers(0, 25))):
        series = draw(st.integers(1, 3))
        kind = kinds[series] if draw(st.integers(0, 9)) else draw(st.integers(0, 7))
        now = max(times[series] + draw(st.sampled_from((S, S, 10 * S, 1, 7, 0, -S))), 0)
        start = draw(
            st.sampled_from((0, 0, 1, 5 * S, 5 * S + 9, now, now + 1, times[series], times[series] + 1, max(now - S // 2, 0)))
        )
        times[series] = max(times[series], now)
        value, buckets = draw(any_number()), draw(vectors())
        if kind in {2, 5, 6} and draw(st.integers(0, 5)):
            step = Buckets(GRIDS[0], tuple(map(float, draw(st.lists(st.integers(0, 9), min_size=4, max_size=4)))))
            old = grown.get(series, Buckets(GRIDS[0], (0.0,) * 4))
            buckets = grown[series] = Buckets(GRIDS[0], tuple(a + b for a, b in zip(old.held, step.held, strict=True)))
            value = sum(buckets.held)
        count = value if draw(st.integers(0, 5)) else NAN
        points.append(RawPoint(series, now, kind, start, value, count, draw(any_number()), buckets))
    return points


@settings(deadline=None, max_examples=80)
@given(sequences())
def test_the_oracle_says_the_same(points: list[RawPoint]) -> None:
    oracle, taken = ReferencePoints(), take(Points(series_max=5), points)
    found = zip(taken.record, taken.part, taken.series, taken.times_ns, taken.values, strict=True)
    expected = []
    for index, point in enumerate(points):
        status, said = oracle.take(point)
        assert taken.status[index] == status
        expected += [(index, role, series, point.time_ns, value) for role, series, value in said]
    for (index, part, *rest, value), (want_index, role, *want_rest, want) in zip(found, expected, strict=True):
        assert (index, ROLES[part], *rest) == (want_index, role, *want_rest)
        assert value == (pytest.approx(want, rel=1e-9, abs=1e-9) if role == "shape" else want)


@settings(deadline=None, max_examples=30)
@given(sequences(), st.data())
def test_batches_and_restarts_change_nothing(points: list[RawPoint], data: st.DataObject) -> None:
    whole = Points(series_max=5)
    at_once = take(whole, points)
    table, record, values, status, start = Points(series_max=5), [], [], b"", 0
    while start < len(points):
        end = data.draw(st.integers(start + 1, len(points)))
        taken = take(table, points[start:end])
        record += [start + index for index in taken.record]
        values += taken.values
        status += taken.status
        start = end
        if data.draw(st.booleans()):
            kept, table = table, Points(series_max=5)
            for series in (3, 1, 2):
                if series in kept:
                    table.restore(series, kept.parts(series))
                    assert table.derived(series) == kept.derived(series)
    assert (record, values, status) == (list(at_once.record), list(at_once.values), at_once.status)
    assert [table.parts(series) for series in (1, 2, 3) if series in whole] == [
        whole.parts(series) for series in (1, 2, 3) if series in whole
    ]


@settings(deadline=None, max_examples=30)
@given(sequences())
def test_series_do_not_touch_each_other(points: list[RawPoint]) -> None:
    together = take(Points(series_max=5), points)
    for series in (1, 2, 3):
        own = [index for index, point in enumerate(points) if point.series == series]
        alone = take(Points(series_max=1), [points[index] for index in own])
        assert alone.status == bytes(together.status[index] for index in own)
        mine = [(record, value) for record, value in zip(together.record, together.values, strict=True) if record in own]
        assert [(own[record], value) for record, value in zip(alone.record, alone.values, strict=True)] == mine


@settings(deadline=None, max_examples=200)
@given(st.lists(st.binary(min_size=49, max_size=49), max_size=12), st.lists(st.integers(0, 6), max_size=12), st.randoms())
def test_any_bits_are_numbers_or_refused(raw: list[bytes], sizes: list[int], source: random.Random) -> None:
    """Nothing crashes, and what is told is finite."""
    count = len(raw)
    sizes = (sizes + [0] * count)[:count]
    fields = [struct.unpack("<QQQdddB", row) for row in raw]
    entries = array("d", source.randbytes(8 * sum(sizes)))
    taken = Points(series_max=50).take(
        array("Q", [row[0] or 1 for row in fields]),
        array("Q", [row[1] for row in fields]),
        array("Q", [row[2] for row in fields]),
        bytes(row[6] % 8 for row in fields),
        *(array("d", [row[k] for row in fields]) for k in (3, 4, 5)),
        array("I", sizes),
        entries,
        array("d", source.randbytes(8 * sum(sizes))),
    )
    assert len(taken.status) == count
    assert max(taken.status, default=0) <= 5
    assert all(map(math.isfinite, taken.values))
    assert 0 not in taken.series


@settings(deadline=None, max_examples=30)
@given(sequences())
def test_rates_and_shapes_are_never_negative(points: list[RawPoint]) -> None:
    assert all(value >= 0 for _, role, value in numbers(points)[0] if role in {"rate", "shape"})


@given(st.lists(st.tuples(st.integers(1, 10**12), st.integers(0, 10**9)), min_size=2, max_size=50))
def test_rates_add_up_to_the_increase_of_a_counter(steps: list[tuple[int, int]]) -> None:
    now, total, points = 10 * S, 0, []
    for gap, increase in steps:
        now, total = now + gap, total + increase
        points.append(RawPoint(1, now, 2, 5 * S, float(total)))
    increases = [rate * (points[index].time_ns - points[index - 1].time_ns) / 1e9 for index, _, rate in numbers(points)[0]]
    assert sum(increases) == pytest.approx(total - steps[0][1], rel=1e-9)


@given(st.integers(3, 50), st.floats(1, 1e6), st.integers(0, 600), st.booleans())
def test_a_restart_of_a_steady_counter_is_no_spike_and_no_drop(before: int, rate: float, age: int, starts_told: bool) -> None:
    """Whenever the process restarts, and whether starts are told: rates stay what they are."""
    restart = before * 60 + age / 10
    points = counter(*((t * 60 + 60, rate * (t * 60 + 60)) for t in range(before)), start=0.001 if starts_told else 0)
    later = [t * 60 + 60 for t in range(before, before + 5)]
    points += counter(*((t, rate * (t - restart)) for t in later), start=restart if starts_told else 0)
    told_rates = [value for _, _, value in numbers(points)[0]]
    assert told_rates == pytest.approx([rate] * len(told_rates), rel=1e-6)
    assert len(told_rates) >= before - 1 + 4


@pytest.mark.parametrize("total", [NAN, -NAN, INF, -INF, 1.7e308])
@pytest.mark.parametrize("kind", [2, 5, 6])
def test_any_sum_can_be_stored(kind: int, total: float) -> None:
    table = Points(series_max=1)
    take(table, [RawPoint(1, S, kind, 0, 1.0, 4.0, total, Buckets((1.0, INF), (1.0, 3.0)))])
    table.restore(1, table.parts(1))
    after = take(table, [RawPoint(1, 2 * S, kind, 0, 3.0, 6.0, 5.0, Buckets((1.0, INF), (2.0, 4.0)))])
    assert told(after)[0] == (0, "rate", 2.0)


def filled() -> Points:
    table = Points(series_max=3)
    take(table, [histogram(t, [t, 2 * t, 5, 0, 1], (1.0, 2.0, 3.0, 4.0, INF), start=0.5, total=t) for t in range(1, 20)])
    take(table, [RawPoint(2, t * S, 2, S, float(t)) for t in range(2, 5)])
    take(table, [RawPoint(3, S, 7)])
    return table


@pytest.mark.parametrize("series", [1, 2, 3])
def test_damaged_parts_are_refused(series: int) -> None:
    table = filled()
    parts = table.parts(series)
    for place in range(len(parts)):
        damaged = bytearray(parts)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(ValueError, match="damaged"):
            table.restore(series, bytes(damaged))
    for size in range(len(parts)):
        with pytest.raises(ValueError, match=r"damaged|are no series"):
            table.restore(series, parts[:size])
    with pytest.raises(ValueError, match="damaged"):
        table.restore(series, parts + b"\0")
    with pytest.raises(ValueError, match="0 is not the number"):
        table.restore(0, parts)
    assert table.parts(series) == parts


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_forged_parts_are_refused_or_harmless(data: st.DataObject) -> None:
    """With the right hash: what fits is taken and goes on working, what does not is refused."""
    body = bytearray(filled().parts(data.draw(st.integers(1, 2)))[:-8])
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        patch = data.draw(
            st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(ODD).map(lambda x: struct.pack("<d", x)))
        )
        body[place : place + len(patch)] = patch
    if data.draw(st.booleans()):
        del body[data.draw(st.integers(0, len(body))) :]
    table = Points(series_max=1)
    try:
        table.restore(1, bytes(body) + struct.pack("<Q", check(bytes(body))))
    except ValueError:
        assert len(table) == 0
        return
    assert table.parts(1) == bytes(body) + struct.pack("<Q", check(bytes(body)))
    taken = take(table, [histogram(t, [t, 2 * t, 5, 0], start=1) for t in range(20, 35)])
    assert all(map(math.isfinite, taken.values))


def check(body: bytes) -> int:
    """The hash at the end of stored parts, from its definition."""
    mask, prime = 2**64 - 1, 0xD6E8FEB86659FD93
    h = (len(body) + 1) * 0x9E3779B97F4A7C15 & mask
    words = [int.from_bytes(body[k : k + 8], "little") for k in range(0, len(body) - len(body) % 8, 8)]
    for word in words:
        h = (h ^ word) * prime & mask
        h ^= h >> 32
    h ^= int.from_bytes(body[8 * len(words) :], "little")
    for _ in range(2):
        h = (h ^ h >> 32) * prime & mask
    return h ^ h >> 32


def test_a_number_is_stored_in_few_bytes() -> None:
    table = filled()
    assert len(table.parts(2)) <= NUMBER_BYTES
    assert told(take(table, [RawPoint(2, 5 * S, 2, S, 9.0)])) == [(0, "rate", 5.0)]
    assert columns([])[3] == b""
