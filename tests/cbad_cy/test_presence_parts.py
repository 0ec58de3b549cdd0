"""Pieces, restarts and damage change nothing of what is found of a stream's silences; and an oracle agrees."""

import itertools
import random
from array import array
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy.presence import Arrivals
from cbad_cy.reference_presence import ReferenceArrivals
from tests.cbad_cy.arrivals import (
    BASE_NS,
    DAY_NS,
    HOUR_NS,
    SECOND_NS,
    Found,
    Record,
    heartbeat,
    merged,
    steady,
)


def mixed(seed: int) -> list[Record]:
    """Steady lines, heartbeats that stop, a night, late records."""
    rng = random.Random(seed)
    records = merged(steady(seed, 20, rate=0.05), heartbeat(14, 30))
    records += [(at + 30 * HOUR_NS, template) for at, template in steady(seed + 1, 6, rate=0.05)]
    return [(at - rng.choice([0, 0, 0, 90]) * SECOND_NS, template) for at, template in records]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 3), cuts=st.lists(st.integers(1, 6000), max_size=6, unique=True))
def test_neither_pieces_nor_restarts_change_anything(seed: int, cuts: list[int]) -> None:
    records = mixed(seed)
    steady_one, other = Found(records), Found([])
    assert steady_one.silences
    assert steady_one.pauses
    for start, stop in itertools.pairwise([0, *sorted(cut for cut in cuts if cut < len(records)), len(records)]):
        other.take(records[start:stop], start)
        parts = other.arrivals.parts()
        other.arrivals = Arrivals()
        other.arrivals.restore(parts)
        assert other.arrivals.parts() == parts
    assert other.said() == steady_one.said()


def test_records_one_by_one() -> None:
    records = mixed(5)
    assert Found(records, size=1).said() == Found(records).said()


@pytest.mark.parametrize("seed", range(6))
def test_the_kernel_agrees_with_the_oracle(seed: int) -> None:
    records = mixed(seed)
    reference, found = ReferenceArrivals(), Found(records)
    for at, template in records:
        reference.take(at, template)
    assert found.minutes == reference.minutes
    assert [(it.start_ns, it.end_ns) for it in found.pauses] == [(start, stop) for start, stop, _ in reference.pauses]
    assert [it.surprise for it in found.pauses] == pytest.approx([bits for *_, bits in reference.pauses])
    told = sorted((it.time_ns, it.template, it.last_ns) for it in found.silences)
    assert told == sorted((at, template, last) for at, template, last, _ in reference.silences)
    assert sorted(it.surprise for it in found.silences) == pytest.approx(sorted(bits for *_, bits in reference.silences))


@settings(max_examples=50, deadline=None)
@given(
    times=st.lists(st.integers(0, 1 << 62), max_size=30),
    received=st.lists(st.integers(0, (1 << 64) - 1), min_size=30, max_size=30),
    now=st.integers(0, (1 << 64) - 1),
)
def test_no_times_break_it(times: list[int], received: list[int], now: int) -> None:
    arrivals = Arrivals()
    for at, when in zip(times, received, strict=False):
        arrivals.heard(when, historical=False)
        first = 0
        while first < 1:
            taken = arrivals.take(array("Q", [at]), first=first)
            first = taken.stop
        arrivals.settle(when, historical=False)
        pause = arrivals.silence(now)
        assert pause is None or 0 < pause.p_value <= 1
    other = Arrivals()
    other.restore(arrivals.parts())
    assert other.parts() == arrivals.parts()


# ---- damage ----------------------------------------------------------------------------------------------------------


def damaged() -> Iterator[bytes]:
    parts = Found(mixed(1)).arrivals.parts()
    yield b""
    yield parts[:-1]
    yield parts + b"\0"
    yield b"\xff" + parts[1:]
    yield parts[:1] + b"\xff" * 16 + parts[17:]
    yield parts[:-4] + b"\xff\xff\xff\x7f"
    yield b"\x01" + b"\xff" * (len(parts) - 1)


@pytest.mark.parametrize("number", range(7))
def test_damage_is_refused_and_changes_nothing(number: int) -> None:
    body = list(damaged())[number]
    arrivals = Found(mixed(2)).arrivals
    before = arrivals.parts()
    with pytest.raises(ValueError, match="damaged"):
        arrivals.restore(body)
    assert arrivals.parts() == before


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_changed_byte_never_breaks_it(at: int, value: int) -> None:
    parts = bytearray(PARTS)
    parts[at % len(parts)] = value
    arrivals = Found([])
    try:
        arrivals.arrivals.restore(bytes(parts))
    except ValueError:
        return
    arrivals.take([(template + (BASE_NS + 2 * DAY_NS), template) for template in range(1, 200, 2)])
    arrivals.arrivals.silence(1 << 63)


PARTS = Found(mixed(1)).arrivals.parts()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((array("Q", [1 << 63]),), "beyond 2\\^62"),
        ((array("Q", [1]), array("Q", [1])), "go together"),
        ((array("Q", [1]), array("Q", [1, 3]), b"", array("I", [0])), "one for each record"),
        ((array("Q", [1]), array("Q", [1]), b"ab", array("I", [1])), "lengths add up"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Arrivals().take(*columns)  # type: ignore[arg-type]


def test_first_is_where_the_last_call_stopped() -> None:
    with pytest.raises(ValueError, match="`stop` of the last call"):
        Arrivals().take(array("Q", [1]), first=2)
