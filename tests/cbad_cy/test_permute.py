"""The permutation kernel against an oracle that counts every draw anew from its texts."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cbad_cy.permute import COST_BITS_MAX, LINES_MAX, PERMUTATIONS_MAX, TEXT_BYTES_MAX, permute
from tests.cbad_cy import exchanges
from tests.cbad_cy.lines import LINES

COSTS = (40, 36, 4, 16)
NAMES = ("line_bits", "first_bits", "byte_bits", "order_bits")
# Few letters: words and runs of words recur in other forms, which is where counting can go wrong.
FEW = st.text("ab ,\xe9", max_size=8).map(str.encode)
POOL = st.lists(st.one_of(FEW, FEW, LINES), min_size=1, max_size=24)
SEEDS = st.integers(0, 2**64 - 1)


def run(
    window: list[bytes],
    rest: list[bytes],
    *,
    costs: tuple[int, ...] = COSTS,
    seed: int = 1,
    draws_max: int = 99,
    exceedances_max: int = 10,
    forms: list[bytes] | None = None,
) -> tuple[int, int, int]:
    forms = sorted({*window, *rest}) if forms is None else forms
    inside, outside = Counter(window), Counter(rest)
    return permute(
        b"".join(forms),
        array("I", map(len, forms)),
        array("I", [inside[form] for form in forms]),
        array("I", [outside[form] for form in forms]),
        **dict(zip(NAMES, costs, strict=True)),
        seed=seed,
        draws_max=draws_max,
        exceedances_max=exceedances_max,
    )


@given(POOL, st.data(), st.tuples(*[st.integers(0, 60)] * 4), SEEDS, st.integers(1, 40))
@example([b"", b"", b"a"], None, COSTS, 0, 40)
@settings(max_examples=200)
def test_every_draw_equals_the_oracle(
    pool: list[bytes], data: st.DataObject | None, costs: tuple[int, int, int, int], seed: int, stop: int
) -> None:
    size = data.draw(st.integers(1, len(pool))) if data else 1
    window, rest = pool[:size], pool[size:]
    expected = exchanges.permute(window, rest, costs, seed, 40, stop)
    assert run(window, rest, costs=costs, seed=seed, draws_max=40, exceedances_max=stop) == expected


@given(POOL, POOL, SEEDS)
def test_the_statistic_does_not_depend_on_the_order_of_forms(window: list[bytes], rest: list[bytes], seed: int) -> None:
    forms = sorted({*window, *rest})
    assert run(window, rest, seed=seed)[0] == run(window, rest, seed=seed, forms=forms[::-1])[0]


@pytest.mark.parametrize("seed", range(4))
def test_draws_of_a_usual_pool_equal_the_oracle(seed: int) -> None:
    """400 lines, many forms, words in groups of forms: every draw's statistic shows in how many draws reach the observed."""
    rng = random.Random(seed)
    words = [b"%c%d" % (97 + number % 26, number) for number in range(60)]
    forms = [b" ".join(rng.choices(words, [1 / (rank + 1) for rank in range(60)], k=rng.randrange(2, 7))) for _ in range(90)]
    lines = rng.choices(forms, [1 / (rank + 1) for rank in range(90)], k=360)
    window, rest = lines[:40], lines[40:]
    expected = exchanges.permute(window, rest, COSTS, seed, 80, 81)
    assert run(window, rest, seed=seed, draws_max=80, exceedances_max=81) == expected
    assert 0 < expected[2] < 80


def test_forms_without_lines_change_nothing() -> None:
    window, rest = [b"a b", b"c d"], [b"a x", b"e f", b"e f"]
    used = sorted({*window, *rest})
    with_more = run(window, rest, forms=[*used, b"a b c d", b"", b"e"])
    assert with_more == run(window, rest, forms=used)


def test_new_words_are_paid_once_and_known_lines_little() -> None:
    rest = [b"disk sda is full"] * 30 + [b"disk sdb is well"] * 20
    line, first, byte, order = COSTS
    known = line * (51 - 31) // 51 + first
    assert run([b"disk sda is full"], rest)[0] == known
    new = line * 50 // 51 + first
    assert run([b"disk sda is well"], rest)[0] == new, "every word and every neighbour is known"
    assert run([b"disk well"], rest)[0] == new + order, "known words that were never neighbours"
    assert run([b"disk sdc is well"], rest)[0] == new + 3 * byte + 3 * order
    twice = run([b"disk sdc is well", b"disk sdc is full"], rest)[0]
    assert twice == 2 * (line * 51 // 52) + 2 * first + 3 * byte + 3 * order, "the same new word in two lines"


def test_words_end_where_letters_digits_and_high_bytes_do() -> None:
    costs = (0, 0, 1, 0)
    assert run([b"a_9\xc3\xa9, b"], [b"a_9\xc3\xa9", b", ", b"b"], costs=costs)[0] == 0
    assert run([b"a_9\xc3\xa9,b"], [b"a_9\xc3\xa9", b", ", b"b"], costs=costs)[0] == 1, "`,` is another word than `, `"
    for byte in range(256):
        inner = bytes([byte])
        inside_word = byte >= 0x80 or inner == b"_" or inner.isalnum()
        assert run([b"A" + inner + b"Z"], [b"A", b"Z"], costs=costs)[0] == (3 if inside_word else 1), inner


def test_draws_are_uniform() -> None:
    """Of 3 pool lines that differ, each is the window in a third of the draws: chi-square with 2 degrees of freedom."""
    seen = Counter(window[0] for window, _ in islice(exchanges.exchanged([b"a", b"b", b"c"], 1, 5), 9000))
    assert sum((count - 3000) ** 2 / 3000 for count in seen.values()) < 13.8  # p = .001
    # The longest word in the window costs most, so the exceedances of the longest count how often it is drawn.
    _, draws, reached = run([b"ccc"], [b"a", b"bb"], seed=5, draws_max=9000, exceedances_max=9001)
    assert (draws, reached) == (
        9000,
        sum(w == [b"ccc"] for w, _ in islice(exchanges.exchanged([b"ccc", b"a", b"bb"], 1, 5), 9000)),
    )


def test_the_generator_is_splitmix64() -> None:
    """First outputs for the seed 1234567, as published with the generator's test vectors."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert list(islice(exchanges.splitmix64(1234567), 5)) == known


def test_it_stops_with_the_exceedance_that_is_enough() -> None:
    same = [b"all lines are equal"] * 50
    assert run(same, same * 8, draws_max=1000, exceedances_max=10)[1:] == (10, 10)
    assert run(same, same * 8, draws_max=7, exceedances_max=10)[1:] == (7, 7)
    full = run([b"new"] * 2, [b"old %d" % i for i in range(8)], draws_max=400, exceedances_max=401)
    stopped = run([b"new"] * 2, [b"old %d" % i for i in range(8)], draws_max=400, exceedances_max=3)
    assert stopped[0] == full[0]
    assert (stopped[2], stopped[1] < full[1]) == (3, True)


def test_a_window_of_the_whole_pool_can_only_be_drawn_as_it_is() -> None:
    assert run([b"a", b"b"], [], draws_max=20, exceedances_max=99)[1:] == (20, 20)


def test_many_threads_draw_as_one() -> None:
    window, rest = [b"w %d x" % (i % 7) for i in range(50)], [b"w %d y" % (i % 31) for i in range(400)]
    alone = [run(window, rest, seed=seed, draws_max=300) for seed in range(32)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda seed: run(window, rest, seed=seed, draws_max=300), range(32))) == alone


def test_long_words_and_large_costs_do_not_overflow() -> None:
    word = b"x" * (TEXT_BYTES_MAX - 1)
    statistic, _, _ = run([word], [b"y"], costs=(COST_BITS_MAX,) * 4, draws_max=1)
    assert statistic == COST_BITS_MAX // 2 + COST_BITS_MAX + COST_BITS_MAX * len(word) + COST_BITS_MAX


def test_limits_are_named() -> None:
    for draws in (0, -1, PERMUTATIONS_MAX + 1):
        with pytest.raises(ValueError, match="PERMUTATIONS_MAX = 10000"):
            run([b"a"], [b"b"], draws_max=draws)
    assert run([b"a"], [b"b"], draws_max=PERMUTATIONS_MAX, exceedances_max=PERMUTATIONS_MAX + 1)[1] == PERMUTATIONS_MAX
    with pytest.raises(ValueError, match="exceedances_max is 0"):
        run([b"a"], [b"b"], exceedances_max=0)
    assert run([b"a"], [b"b"] * (LINES_MAX - 1), draws_max=1)[1] == 1
    with pytest.raises(ValueError, match="over LINES_MAX = 65536"):
        run([b"a"], [b"b"] * LINES_MAX)
    with pytest.raises(ValueError, match="over TEXT_BYTES_MAX"):
        run([b"a"], [bytes(TEXT_BYTES_MAX)])
    for name in range(4):
        costs = [0] * 4
        costs[name] = COST_BITS_MAX + 1
        with pytest.raises(ValueError, match="over COST_BITS_MAX"):
            run([b"a"], [b"b"], costs=tuple(costs))


def test_counts_have_to_fit_the_forms() -> None:
    one, two = array("I", [1]), array("I", [1, 1])
    costs = dict(zip(NAMES, COSTS, strict=True))
    for lengths, window, rest in ((one, two, two), (two, one, two), (two, two, one)):
        with pytest.raises(ValueError, match="give one each per form"):
            permute(b"ab"[: len(lengths)], lengths, window, rest, **costs, seed=0, draws_max=1, exceedances_max=1)
    with pytest.raises(ValueError, match="give one length for each form"):
        permute(b"abc", two, two, two, **costs, seed=0, draws_max=1, exceedances_max=1)
    for empty in (array("I"), array("I", [0])):
        with pytest.raises(ValueError, match="nothing to test"):
            permute(b"", empty, empty, empty, **costs, seed=0, draws_max=1, exceedances_max=1)
