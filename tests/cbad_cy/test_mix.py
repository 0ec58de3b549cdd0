"""The mix of lines against its oracle, what it finds and what it leaves alone, its bounds, and restarts."""

from __future__ import annotations

import pickle
import random
from array import array
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy import reference_mix
from cbad_cy.mix import BLOCKS_MIN, FURTHER, HORIZON_MAX, KNOWN_MAX, WINDOW_MAX, Judged, Mix, Question

WINDOW, HOP = 20, 5
LONG = 10 * WINDOW
HEARTBEAT, RARE, USUAL = 90, 91, 3


def template(number: int) -> int:
    return (number + 1) * 0x9E3779B97F4A7C15 & (1 << 64) - 1 | 1


def lines(numbers: Iterable[int]) -> array[int]:
    return array("Q", [template(number) for number in numbers])


def judge_all(mix: Mix, numbers: Sequence[int]) -> list[Judged]:
    """The answers after every hop."""
    found = []
    for start in range(0, len(numbers), mix.hop):
        mix.take_lines(lines(numbers[start : start + mix.hop]))
        found.append(mix.judged())
    return found


def chain(seed: int, count: int, kinds: int) -> list[int]:
    """Lines that mostly follow one another as they are used to, with a few bursts."""
    rng = random.Random(seed)
    weights = [[rng.random() ** 4 for _ in range(kinds)] for _ in range(kinds)]
    out, last = [0], 0
    while len(out) < count:
        if rng.random() < 0.003:
            out += [rng.randrange(kinds)] * rng.randrange(30)
        [last] = rng.choices(range(kinds), weights[last])
        out.append(last)
    return out[:count]


def orders(count: int, seed: int = 1) -> list[int]:
    """Transactions of six lines, with a choice inside; a rare line in one of 300, a heartbeat every 150 lines or so."""
    rng, out = random.Random(seed), list[int]()
    while len(out) < count:
        out += [0, 1, rng.choice([2, 2, USUAL]), 4, 5, rng.choice([6, 7, USUAL])]
        if rng.random() < 0.02:
            out.append(RARE)
        if rng.random() < 0.05 and HEARTBEAT not in out[-120:]:
            out.append(HEARTBEAT)
    return out[:count]


def settled(count: int = 6000) -> Mix:
    mix = Mix(window=WINDOW, hop=HOP)
    judge_all(mix, orders(count))
    return mix


def strangest(found: Sequence[Judged]) -> Judged:
    return min(found, key=lambda judged: (judged.p_value, -judged.surprise))


# ---- oracle ----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10**6), st.integers(2, 9), st.data())
def test_it_is_what_the_oracle_says(seed: int, window: int, data: st.DataObject) -> None:
    hop = data.draw(st.integers(1, window))
    numbers = chain(seed, 130 * window, data.draw(st.integers(1, 9)))
    at = data.draw(st.integers(60 * window, 120 * window))
    strange = data.draw(st.sampled_from([numbers[at : at + 1], [77], numbers[at : at + 3]]))
    numbers[at : at + 5 * window] = strange * (5 * window)
    mix, oracle = Mix(window=window, hop=hop), reference_mix.Mix(window, hop)
    for start in range(0, len(numbers), hop):
        part = lines(numbers[start : start + hop])
        mix.take_lines(part)
        for one in part:
            oracle.take(one)
        assert tuple(mix.judged()) == pytest.approx(tuple(oracle.judge()), rel=1e-6, abs=1e-9)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=60))
def test_a_level_is_usual_after_three_episodes(reached: list[int]) -> None:
    """Episodes that are two quiet stretches apart: the third highest of them is what is usual."""
    levels = reference_mix.Levels()
    for level in reached:
        for open_level in (level, 0):
            levels.open = open_level
            levels.close()
    assert levels.usual() == max(1.0, sorted([0, 0, 0, *reached])[-3] / 8)


# ---- what it finds -----------------------------------------------------------------------------------------------------


def test_normal_goes_on_without_an_alarm() -> None:
    found = judge_all(settled(), orders(3000, seed=2))
    assert sum(judged.p_value <= 0.0125 for judged in found) <= 0.0125 * len(found)


def test_a_rare_line_at_ten_times_its_rate_is_named() -> None:
    rng, changed = random.Random(3), orders(LONG, seed=3)
    for place in rng.sample(range(LONG), 12):
        changed[place] = RARE
    found = strangest(judge_all(settled(), changed))
    assert (found.question, found.template) == (Question.RATE_MORE, template(RARE))
    assert found.p_value <= 0.0125
    assert found.distance > 0.7
    assert found.observed > 3 * found.expected


def test_a_usual_line_that_vanishes_is_named() -> None:
    found = strangest(judge_all(settled(), [number for number in orders(2 * LONG, seed=4) if number != USUAL]))
    assert (found.question, found.template) == (Question.RATE_LESS, template(USUAL))
    assert found.p_value <= 0.0125
    assert found.distance == 1.0
    assert found.observed == 0


def test_a_regular_line_is_missed_over_many_blocks() -> None:
    """Two or three in the long horizon are too few to be missed there, but not in all that follow."""
    mix = settled(20_000)
    found = judge_all(mix, [number for number in orders(10 * LONG, seed=5) if number != HEARTBEAT])
    missed = [judged for judged in found if judged.template == template(HEARTBEAT) and judged.horizon > LONG]
    assert missed
    assert {judged.question for judged in missed} == {Question.RATE_LESS}
    assert max(judged.surprise for judged in missed) > 8
    assert all(judged.horizon % LONG == 0 and judged.distance == 1.0 for judged in missed)


def test_shuffled_order_is_found() -> None:
    changed = orders(LONG, seed=6)
    random.Random(6).shuffle(changed)
    found = strangest(judge_all(settled(), changed))
    assert found.question == Question.ORDER
    assert found.p_value <= 0.0125
    assert found.distance > 0.5
    assert found.observed < found.expected


@pytest.mark.parametrize("cycle", [[5], [0, 1], [0, 1, 2, 4, 5, 6]])
def test_the_same_again_and_again_is_found(cycle: list[int]) -> None:
    found = judge_all(settled(), (cycle * LONG)[: 2 * LONG])
    assert min(judged.p_value for judged in found) <= 0.0125
    repeats = [judged for judged in found if judged.question == Question.REPEAT]
    assert any(judged.template in lines(cycle) and judged.distance > 0.3 for judged in repeats)


def test_a_stream_without_order_has_none_to_lose() -> None:
    rng = random.Random(7)
    mix = Mix(window=WINDOW, hop=HOP)
    judge_all(mix, rng.choices(range(12), range(1, 13), k=6000))
    changed = rng.choices(range(12), range(1, 13), k=LONG)
    rng.shuffle(changed)
    assert min(judged.p_value for judged in judge_all(mix, changed)) > 0.0125


def test_a_new_line_that_comes_again_and_again_is_a_rate() -> None:
    changed = orders(LONG, seed=8)
    changed[::10] = [500] * (LONG // 10)
    found = [judged for judged in judge_all(settled(), changed) if judged.template == template(500)]
    assert strangest(found).question == Question.RATE_MORE
    assert strangest(found).p_value <= 0.0125


def test_a_nightly_batch_stops_alarming_after_three_nights() -> None:
    mix = settled(8000)
    nights = []
    for night in range(7):
        batch = [600, 601] * 15
        before = orders(1500, seed=20 + night)
        found = judge_all(mix, [*before[:-150], *batch, *before[-150:], *orders(300, seed=40 + night)])
        nights.append(min(judged.p_value for judged in found[-130:]))
    assert min(nights[:3]) <= 0.0125
    assert all(p_value > 0.0125 for p_value in nights[3:])


# ---- honesty -----------------------------------------------------------------------------------------------------------


def test_nothing_is_claimed_before_enough_is_known() -> None:
    mix = Mix(window=WINDOW, hop=HOP)
    assert mix.horizons() == (WINDOW, LONG)
    young = 2 * LONG + BLOCKS_MIN * LONG
    assert {judged.p_value for judged in judge_all(mix, orders(young))} == {1.0}
    assert min(judged.p_value for judged in judge_all(mix, [1] * LONG)) <= 0.0125


@pytest.mark.parametrize("seed", range(3))
def test_shares_of_small_p_values_are_at_most_nominal(seed: int) -> None:
    rng, weights = random.Random(seed), [1 / (n + 1) for n in range(30)]
    mix = Mix(window=10, hop=2)
    judge_all(mix, rng.choices(range(30), weights, k=2000))
    found = judge_all(mix, rng.choices(range(30), weights, k=10_000))
    for level in (0.05, 0.0125):
        assert sum(judged.p_value <= level for judged in found) <= level * len(found)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=300), st.integers(2, 6), st.integers(0, 10**6))
def test_every_answer_is_in_range(numbers: list[int], window: int, seed: int) -> None:
    mix = Mix(window=window, hop=max(1, window // 2))
    for judged in judge_all(mix, chain(seed, 80 * window, 5) + numbers):
        assert 0 < judged.p_value <= 1
        assert 0 <= judged.confidence <= 1
        assert 0 <= judged.distance <= 1
        assert judged.surprise >= 0
        assert judged.horizon % 1 == 0
        assert judged.horizon >= window or judged.p_value == 1  # nothing is compared with nothing


def test_a_p_value_goes_no_further_than_it_may() -> None:
    found = judge_all(settled(), [1] * LONG)
    blocks = (6000 - 2 * LONG) // LONG
    assert strangest(found).p_value >= 1 / (FURTHER * (blocks * 2 / 3 + 2))


# ---- bounds and bad days -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["all unique", "two alternating", "constant"])
def test_uniform_streams_are_boring(kind: str) -> None:
    numbers = {"all unique": range(9000), "two alternating": [1, 2] * 4500, "constant": [1] * 9000}[kind]
    mix = Mix(window=WINDOW, hop=HOP)
    assert min(judged.p_value for judged in judge_all(mix, list(numbers))) > 0.0125


def test_a_flood_of_new_lines_changes_neither_size_nor_what_is_known() -> None:
    mix = settled(8000)
    size, flooded = mix.size, orders(4000, seed=9)
    flooded[::4] = range(10_000, 11_000)
    judge_all(mix, flooded)
    assert mix.size == size < 32 * 1024
    judge_all(mix, orders(3 * LONG, seed=10))
    found = judge_all(mix, [number for number in orders(2 * LONG, seed=11) if number != USUAL])
    assert any(judged.template == template(USUAL) and judged.question == Question.RATE_LESS for judged in found)


def test_more_templates_than_are_counted_share_a_number() -> None:
    mix = Mix(window=WINDOW, hop=HOP)
    rng = random.Random(12)
    for judged in judge_all(mix, [rng.randrange(3 * KNOWN_MAX) for _ in range(8000)]):
        assert 0 < judged.p_value <= 1
    assert mix.lines == 8000


@pytest.mark.parametrize("window", [2, 5, 50, WINDOW_MAX])
@pytest.mark.parametrize("hops", [1, 0.5])
def test_any_geometry_finds_a_frozen_line(window: int, hops: float) -> None:
    mix = Mix(window=window, hop=max(1, round(window * hops)))
    long = mix.horizons()[1]
    assert long == min(10 * window, HORIZON_MAX)
    before = judge_all(mix, orders(30 * long))
    frozen = judge_all(mix, [5] * (2 * long))
    assert min(judged.p_value for judged in frozen) < 0.05
    assert max(judged.surprise for judged in frozen) > max(judged.surprise for judged in before[len(before) // 2 :])


@pytest.mark.parametrize(("window", "hop"), [(1, 1), (WINDOW_MAX + 1, 1), (10, 11), (10, 0)])
def test_sizes_are_checked(window: int, hop: int) -> None:
    with pytest.raises(ValueError, match=f"2 <= window <= {WINDOW_MAX}"):
        Mix(window=window, hop=hop)


def test_zero_is_no_template_and_pickles_are_refused() -> None:
    mix = Mix(window=WINDOW, hop=HOP)
    with pytest.raises(ValueError, match="template 1 is 0"):
        mix.take_lines(array("Q", [5, 0]))
    assert mix.lines == 0
    with pytest.raises(TypeError, match="can not be pickled"):
        pickle.dumps(mix)


# ---- restarts ----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1200), st.integers(0, 10**6), st.integers(2, 260))
def test_a_restored_mix_goes_on_as_the_first_would(split: int, seed: int, kinds: int) -> None:
    numbers = chain(seed, 900, min(kinds, 9)) + random.Random(seed).choices(range(kinds), k=600)
    mix, other = Mix(window=5, hop=1), Mix(window=5, hop=1)
    judge_all(mix, numbers[:split])
    other.restore(mix.parts())
    assert other.parts() == mix.parts()
    assert judge_all(other, numbers[split:]) == judge_all(mix, numbers[split:])
    assert other.parts() == mix.parts()


def test_parts_of_others_are_refused() -> None:
    mix = settled(1000)
    parts = mix.parts()
    with pytest.raises(ValueError, match="bytes are no mix of window 30"):
        Mix(window=30, hop=HOP).restore(parts)
    with pytest.raises(ValueError, match="other sizes"):
        Mix(window=WINDOW, hop=HOP + 1).restore(parts)
    with pytest.raises(ValueError, match="bytes are no mix"):
        mix.restore(parts[:-1])
    assert mix.parts() == Mix(window=WINDOW, hop=HOP).parts()


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_parts_are_refused_or_do_no_harm(changes: list[tuple[int, int]]) -> None:
    mix = Mix(window=5, hop=2)
    judge_all(mix, chain(1, 700, 7))
    parts = bytearray(mix.parts())
    for place, value in changes:
        parts[place % len(parts)] = value
    try:
        mix.restore(bytes(parts))
    except ValueError:
        assert mix.lines == 0
    for judged in judge_all(mix, chain(2, 300, 7)):
        assert 0 < judged.p_value <= 1


def test_every_column_is_checked() -> None:
    mix = Mix(window=5, hop=2)
    judge_all(mix, chain(1, 700, 7))
    parts = mix.parts()
    refused = 0
    for place in range(8, len(parts), 97):
        try:
            mix.restore(parts[:place] + b"\xff" * 64 + parts[place + 64 :])
        except ValueError:
            refused += 1
        judge_all(mix, chain(2, 30, 7))
    assert refused > 0
