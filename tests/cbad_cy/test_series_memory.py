"""What a table of series remembers: batches, restarts, damage, and numbers of every kind."""

from __future__ import annotations

import math
import pickle
import random
import struct
import zlib
from array import array
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy.series import Feed, SeriesTable
from tests.cbad_cy.series_examples import EXAMPLES, START_NS, STEP_NS, feed, noise, seasonal, times

NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.sampled_from([0.0, -0.0, 1.0, 5e-324, 1e300, -1e300, 1.7e308, 1e-300]),
    st.integers(0, (1 << 64) - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]),
)
POINTS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3), NUMBERS), max_size=150)


def fed_in_pieces(table: SeriesTable, points: list[tuple[int, int, float]], cuts: list[int]) -> list[Feed]:
    """Points of (series, time, value), batch by batch."""
    edges = [0, *sorted(min(cut, len(points)) for cut in cuts), len(points)]
    out = []
    for start, stop in pairwise(edges):
        ids, at, values = zip(*points[start:stop], strict=True) if stop > start else ((), (), ())
        out.append(table.feed(array("Q", ids), array("Q", at), array("d", values), watch=True))
    return out


def joined(pieces: list[Feed]) -> tuple[object, ...]:
    """Everything that batches said, as comparable things; places of alarms within their batch left out."""
    alarms = [alarm[1:] for piece in pieces for alarm in piece.alarms]
    columns = [b"".join(bytes(piece[k]) for piece in pieces) for k in range(2, 10)]
    return alarms, b"".join(piece.status for piece in pieces), columns


def timed(points: list[tuple[int, int, float]]) -> list[tuple[int, int, float]]:
    """Distances of 0 to 3 five-minute steps become times."""
    now, out = START_NS, []
    for series, steps, value in points:
        now += steps * STEP_NS
        out.append((series, now, value))
    return out


@given(POINTS, st.lists(st.integers(0, 150), max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_numbers_in_any_batches(points: list[tuple[int, int, float]], cuts: list[int]) -> None:
    once, pieces = SeriesTable(series_max=3), SeriesTable(series_max=3)
    whole = fed_in_pieces(once, timed(points), [])
    assert joined(whole) == joined(fed_in_pieces(pieces, timed(points), cuts))
    (fed,) = whole
    for i, status in enumerate(fed.status):
        numbers = [column[i] for column in fed[2:]]
        assert all(math.isnan(number) if status else math.isfinite(number) for number in numbers)
        if not status:
            bits, p_value, score, expected, low, high, level, _ = numbers
            assert 0 <= bits < 50
            assert 0 < p_value <= 1
            assert 0 <= score < 1
            assert low <= expected <= high
            assert level >= 0
    for series in once.ids():
        assert once.parts(series) == pieces.parts(series)
        chart = once.chart(series)
        assert all(map(math.isfinite, [*chart.expected, *chart.low, *chart.high]))
        assert all(low <= mean <= high for low, mean, high in zip(chart.low, chart.expected, chart.high, strict=True))


@given(st.integers(0, 9), st.lists(NUMBERS, min_size=1, max_size=30), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_any_numbers_in_an_old_series(example: int, numbers: list[float], seed: int) -> None:
    table = SeriesTable(series_max=1)
    values = EXAMPLES[sorted(EXAMPLES)[example]](random.Random(seed), 400)
    feed(table, values)
    fed = feed(table, numbers * 3)
    for column in fed[2:]:
        assert all(math.isfinite(number) for number, status in zip(column, fed.status, strict=True) if not status)


def test_numbers_beyond_the_largest_are_judged_as_it() -> None:
    told = []
    for most in (1e300, 1.7e308):
        table = SeriesTable(series_max=1)
        fed = feed(table, [*noise(random.Random(1), 350), most, -most, 7.0])
        assert [alarm.value for alarm in fed.alarms if abs(alarm.value) > 1e299][:1] == [most]
        assert all(math.isfinite(number) for column in fed[2:] for number in column)
        told.append((table.parts(1), fed.score, fed.bits))
    assert told[0] == told[1]


def test_series_know_nothing_of_each_other() -> None:
    examples = {k + 1: make(random.Random(k), 500) for k, make in enumerate(EXAMPLES.values())}
    table, alone = SeriesTable(series_max=20), SeriesTable(series_max=20)
    points = [(series, time_ns, values[i]) for i, time_ns in enumerate(times(500)) for series, values in examples.items()]
    fed_in_pieces(table, points, [777, 2000])
    for series, values in examples.items():
        feed(alone, values, series=series)
        assert table.parts(series) == alone.parts(series)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_restart_changes_nothing(name: str) -> None:
    values = EXAMPLES[name](random.Random(3), 700)
    table, again = SeriesTable(series_max=1), SeriesTable(series_max=1)
    for start in (0, 1, 2, 21, 52, 60, 400):
        again = SeriesTable(series_max=1)
        if start:
            again.restore(1, table.parts(1))
            assert again.parts(1) == table.parts(1)
            assert again.chart(1) == table.chart(1)
            assert (again.points(1), again.last_ns(1), again.due_ns(1)) == (start, table.last_ns(1), table.due_ns(1))
        stop = {0: 1, 1: 2, 2: 21, 21: 52, 52: 60, 60: 400, 400: 700}[start]
        assert joined([feed(again, values[start:stop])]) == joined([feed(table, values[start:stop])])
        assert again.parts(1) == table.parts(1)


def test_restored_in_place_of_what_is_known() -> None:
    table = SeriesTable(series_max=1)
    feed(table, [1.0, 2.0, 3.0])
    parts = table.parts(1)
    feed(table, [9.0])
    table.restore(1, parts)
    assert (table.points(1), table.parts(1)) == (3, parts)
    with pytest.raises(ValueError, match="more than 1 series"):
        table.restore(2, parts)
    with pytest.raises(ValueError, match="series 0"):
        table.restore(0, parts)
    assert list(table.ids()) == [1]
    with pytest.raises(TypeError, match="parts"):
        pickle.dumps(table)


def test_damaged_bytes_are_refused() -> None:
    table, rng = SeriesTable(series_max=2), random.Random(1)
    feed(table, seasonal(rng, 300))
    parts = table.parts(1)
    for size in (0, 1, 4, 5, 40, 100, len(parts) - 1):
        with pytest.raises(ValueError, match="damaged"):
            table.restore(2, parts[:size])
    with pytest.raises(ValueError, match="damaged"):
        table.restore(2, parts + b"\0")
    with pytest.raises(ValueError, match="another version"):
        table.restore(2, bytes([parts[0] + 1]) + parts[1:])
    for _ in range(200):
        place = rng.randrange(1, len(parts))
        with pytest.raises(ValueError, match="damaged"):
            table.restore(2, parts[:place] + bytes([parts[place] ^ 1 << rng.randrange(8)]) + parts[place + 1 :])
    assert list(table.ids()) == [1]
    assert table.parts(1) == parts


def test_wrong_bytes_with_a_right_checksum_do_no_harm() -> None:
    table, rng = SeriesTable(series_max=2), random.Random(2)
    feed(table, noise(rng, 300))
    parts = table.parts(1)
    refused = 0
    for _ in range(600):
        body = bytearray(parts[5:])
        for _ in range(rng.choice([1, 1, 4])):
            body[rng.randrange(80 if rng.random() < 0.3 else len(body))] = rng.randrange(256)
        try:
            table.restore(2, parts[:1] + struct.pack("<I", zlib.crc32(body)) + bytes(body))
        except ValueError:
            refused += 1
        else:
            last = table.last_ns(2)
            if last < 1 << 62:
                feed(table, noise(rng, 70), series=2, at=times(70, start_ns=last + 1))
            table.chart(2)
            table.parts(2)
            table.drop(2)
    assert refused > 20


def test_what_is_stored_is_small() -> None:
    table = SeriesTable(series_max=1)
    sizes = []
    for _ in range(3):
        feed(table, seasonal(random.Random(5), 50))
        sizes.append(len(table.parts(1)))
    assert sizes == sorted(sizes)
    assert sizes[0] < 3000
    feed(table, seasonal(random.Random(5), 5000))
    assert len(table.parts(1)) < 8192
