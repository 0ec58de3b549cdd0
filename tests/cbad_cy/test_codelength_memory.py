"""What the statistical coder remembers: its bounds, what it gives up first, and restarts."""

from __future__ import annotations

import pickle
import random
import time
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy.codelength import (
    BIT,
    BYTES_MAX,
    BYTES_MAX_LEAST,
    CAP_BITS,
    HALVING_EVENTS,
    Coder,
)
from tests.cbad_cy.coders import Event, code, masked, stream

# ---- bounds --------------------------------------------------------------------------------------------------------


def adversarial(kind: str, number: int, rng: random.Random) -> bytes:
    if kind == "unique":
        return b"event %x of %x" % (rng.getrandbits(64) | 10 << 64, number)
    if kind == "random bytes":
        return rng.randbytes(rng.randrange(0, 300))
    if kind == "long":
        return b" ".join(b"%c%c" % tuple(rng.choices(range(97, 123), k=2)) for _ in range(1365))
    if kind == "empty":
        return b""
    return b"%d " % rng.getrandbits(60) + b"a%d " * 15 % tuple(rng.getrandbits(30) for _ in range(15))


def flood(kind: str, count: int) -> list[Event]:
    rng = random.Random(8)
    return masked([adversarial(kind, number, rng) for number in range(count)])


@pytest.mark.parametrize(
    ("kind", "count"), [("unique", 5000), ("random bytes", 3000), ("long", 300), ("empty", 5000), ("slots", 3000)]
)
def test_adversarial_lines_stay_in_bound_and_in_time(kind: str, count: int) -> None:
    coder, events = Coder(bytes_max=16384, halving_events=700), flood(kind, count)
    begin = time.perf_counter()
    costs, _ = code(coder, events)
    assert time.perf_counter() - begin < 3  # a hundred times what it takes
    assert all(0 <= cost <= CAP_BITS * BIT for cost in costs)
    assert coder.size <= 16384
    assert len(coder.parts()) <= 8 + 16384 // 64 + 16384
    assert coder.events == count % 700


def test_the_table_starts_small_grows_and_stops_at_its_bound() -> None:
    coder, sizes = Coder(bytes_max=50_000), []
    for number in range(40):
        code(coder, stream(number, 100, novel=0.5))
        sizes.append(coder.size)
    assert Coder(bytes_max=50_000).size == 6208
    assert sizes == sorted(sizes)
    assert set(sizes) <= {6208 * 2**power for power in range(4)}
    assert sizes[-1] == 6208 * 8 <= 50_000
    assert Coder().size == 6144
    assert BYTES_MAX == 6144 * 16


def test_what_is_common_survives_a_flood_of_what_is_seen_once() -> None:
    coder = Coder(bytes_max=BYTES_MAX_LEAST)
    usual = masked([b"stored order 500000000 for 10.0.0.3 in 77 ms", b"loaded cart 3 from 10.0.1.1 with 4 items"])
    _, context = code(coder, usual * 20)
    before, _ = code(coder, usual, context, learn=False)
    code(coder, flood("unique", 3000))
    after, _ = code(coder, usual, context, learn=False)
    assert all(now < before_it + 16 * BIT for now, before_it in zip(after, before, strict=True))
    coder.reset()
    assert min(code(coder, usual, learn=False)[0]) > 100 * BIT


def round_of_templates(rng: random.Random) -> list[bytes]:
    """300 templates of ten slots each, one after another."""
    return [b"unit %c%c " % (97 + at // 26, 97 + at % 26) + slots_text(rng) for at in range(300)]


def slots_text(rng: random.Random) -> bytes:
    return b" ".join(b"%c=%d" % (97 + at, rng.randrange(10 ** (1 + at % 6))) for at in range(10))


@pytest.mark.parametrize("kind", ["slots", "unique"])
def test_known_templates_survive_floods_and_their_slots_are_learned_again(kind: str) -> None:
    """The bits of a round of 300 templates, at the bound that streams have; and a flood leaves room for learning."""
    rng, coder = random.Random(3), Coder()
    for _ in range(10):
        _, context = code(coder, masked(round_of_templates(rng)))
    usual = sum(code(coder, masked(round_of_templates(rng)), context)[0]) / 300
    assert coder.size == BYTES_MAX
    code(coder, flood(kind, 20_000))
    told = [coder.explain(line, array("Q", slots), context=context).new for line, slots in masked(round_of_templates(rng))]
    assert sum(told) == 0
    for _ in range(5):
        costs, context = code(coder, masked(round_of_templates(rng)), context)
        slots = [
            bits
            for line, values in masked(round_of_templates(rng))
            for bits in coder.explain(line, array("Q", values), context=context).slots
        ]
    assert sum(costs) / 300 < usual + 12 * BIT
    assert sum(bits > 1 for bits in slots) > len(slots) / 4  # not blind for what stands in them


def test_a_position_of_ever_new_values_is_closed_soon_and_one_of_few_stays_open() -> None:
    coder = Coder()
    for number in range(400):
        code(coder, [(b"id # host #", [30 << 56 | number, 5 << 56 | number % 7])])
        if number in (6, 7):
            told = coder.explain(b"id # host #", array("Q", [30 << 56 | 1, 5 << 56 | 3]), context=0).slots
            assert (told[0] < 0.5) == (number == 7)
    told = coder.explain(b"id # host #", array("Q", [30 << 56 | 1, 5 << 56 | 3]), context=0).slots
    assert told[0] < 0.1 < 2.6 < told[1] < 3
    assert coder.explain(b"id # host #", array("Q", [30 << 56 | 1, 5 << 56 | 99]), context=0).slots[1] > 5


def test_what_was_seen_once_is_known_for_as_long_as_there_is_room() -> None:
    coder = Coder(halving_events=50)
    rare = masked([b"nightly backup of volume 7 done"])
    _, context = code(coder, rare)
    code(coder, stream(9, 2000, novel=0))
    assert not coder.explain(rare[0][0], array("Q", rare[0][1]), context=context).new


def test_what_was_common_once_is_outweighed_by_what_is_common_now() -> None:
    old: list[Event] = [(b"old", [])] * 400
    new: list[Event] = [(b"new", [])] * 400
    costs = {}
    for halving_events in (100, HALVING_EVENTS):
        coder = Coder(halving_events=halving_events)
        code(coder, old + new)
        costs[halving_events] = code(coder, old[:1], 0, learn=False)[0][0]
    assert costs[100] > costs[HALVING_EVENTS]


def test_counts_do_not_overflow() -> None:
    coder = Coder()
    line = b"a b " * 127
    for number in range(700):
        code(coder, [(line + b"%x" % number, [1 << 56] * 16)])
    costs, _ = code(coder, [(b"x", [1 << 56] * 16)] * 70_000)
    assert max(costs[1:]) < 20 * BIT


def test_a_slot_of_ever_new_values_costs_its_bucket_and_keeps_few_of_them() -> None:
    coder = Coder()
    cells = []
    for number in range(60):
        code(coder, [(b"id #", [30 << 56 | number])])
        cells.append(len(coder.parts()))
    assert (
        code(
            coder,
            [(b"id #", [30 << 56 | 1000])],
            coder.code(b"id #", array("I", [4]), array("Q"), array("B", [0]), context=0, learn=False)[1][0],
            learn=False,
        )[0][0]
        < BIT
    )
    assert coder.size == 6144
    assert cells[20] == cells[59]


def test_reset_is_a_fresh_coder() -> None:
    coder, events = Coder(), stream(11, 500)
    first, _ = code(coder, events)
    parts = coder.parts()
    coder.reset()
    assert (coder.size, coder.events, coder.parts()) == (6144, 0, Coder().parts())
    assert code(coder, events)[0] == first
    assert coder.parts() == parts


# ---- restarts ------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60), st.sampled_from([4096, 8192, 50_000]))
def test_a_restart_at_every_event_changes_no_bit(seed: int, halving_events: int, bytes_max: int) -> None:
    events = stream(seed, 80, novel=0.5)
    limits = {"bytes_max": bytes_max, "halving_events": halving_events}
    steady, restarted, context, costs = Coder(**limits), Coder(**limits), 0, []
    for event in events:
        fresh = Coder(**limits)
        fresh.restore(restarted.parts())
        restarted = fresh
        cost, context = code(restarted, [event], context)
        costs += cost
    assert costs == code(steady, events)[0]
    assert restarted.parts() == steady.parts()
    assert restarted.size == steady.size


def test_a_restored_coder_grows_and_gives_up_cells_alike() -> None:
    one = Coder(bytes_max=65536)
    code(one, stream(12, 50, novel=0.9))
    assert 4096 < one.size < 65536
    other = Coder(bytes_max=65536)
    code(other, stream(13, 900, novel=0.9))  # something else, and larger
    other.restore(one.parts())
    assert code(other, stream(14, 900, novel=0.9)) == code(one, stream(14, 900, novel=0.9))
    assert one.size == 65536
    assert one.parts() == other.parts()


def damage(parts: bytes, at: int, byte: int) -> bytes:
    return parts[:at] + bytes([byte]) + parts[at + 1 :]


def test_parts_that_no_such_coder_gives_are_refused_and_leave_it_as_it_was() -> None:
    coder = Coder()
    code(coder, stream(15, 300))
    parts = coder.parts()
    buckets = int.from_bytes(parts[:4], "little")
    cells = sum(parts[8 : 8 + buckets])
    bad = {
        b"": "no coder",
        parts[:7]: "no coder",
        parts[:-1]: "damaged",
        parts + b"\0": "damaged",
        damage(parts, 0, 97): "other limits",
        damage(parts, 7, 1): "other limits",
        damage(parts, 8, 9): "too many cells",
        damage(parts, 8 + buckets + 3 * cells, 128): "does not belong",
        parts[: 8 + buckets + 4 * cells] + bytes(4 * cells): "does not belong",
        (2 * buckets).to_bytes(4, "little") + parts[4:]: "damaged",
        (3 * buckets).to_bytes(4, "little") + parts[4:]: "other limits",
    }
    for wrong, why in bad.items():
        with pytest.raises(ValueError, match=why):
            coder.restore(wrong)
        assert coder.parts() == parts
    with pytest.raises(ValueError, match="other limits"):
        Coder(bytes_max=5000).restore(parts)
    with pytest.raises(TypeError, match="can not be pickled"):
        pickle.dumps(coder)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=6))
def test_damaged_parts_are_refused_or_harmless(at: int, noise: bytes) -> None:
    coder = Coder(bytes_max=8192, halving_events=50)
    code(coder, stream(16, 60))
    parts = coder.parts()
    at %= len(parts)
    try:
        coder.restore((parts[:at] + noise + parts[at + len(noise) :])[: len(parts)])
    except ValueError:
        assert coder.parts() == parts
    costs, _ = code(coder, stream(17, 200))
    assert all(0 <= cost <= CAP_BITS * BIT for cost in costs)
