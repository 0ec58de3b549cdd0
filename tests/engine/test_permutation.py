"""The permutation test keeps its promise on exchangeable lines, finds new ones, and repeats itself exactly."""

from __future__ import annotations

import random
from collections import Counter
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy.codec import CODECS, Codec
from cbad_cy.permute import PERMUTATIONS_MAX
from driftlock.engine.permutation import CODEC_COSTS, EXCEEDANCES_MAX, Permutation, permutation_test, window_seed
from driftlock.errors import InvalidArgument
from tests.engine.streams import templates

WINDOW, BASELINE = 50, 400
ALIENS = [b"kernel: oom-killer invoked, gfp_mask=<H>", b"segfault at <H> ip <H> in libssl.so", b"raid degraded on md#"]
ALIENS += [b"certificate of <P> has expired", b"quorum lost, peers #", b"watchdog: BUG: soft lockup"]


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec("zstd")


def usual(rng: random.Random, count: int, kinds: int = 30) -> list[bytes]:
    forms = [form.replace("%d", "#").encode() for form in templates(kinds, 1)]
    return rng.choices(forms, [1 / (rank + 1) for rank in range(kinds)], k=count)


def run(window: list[bytes], baseline: list[bytes], codec: Codec, seed: int = 0, draws_max: int = 1000) -> Permutation:
    return permutation_test(window, list(Counter(baseline).items()), codec, seed=seed, draws_max=draws_max)


def p_values(aliens: int, codec: Codec, windows: int = 60) -> list[float]:
    """p of windows in which so many lines are replaced by distinct new ones."""
    found = []
    for seed in range(windows):
        rng = random.Random(seed)
        window, baseline = usual(rng, WINDOW), usual(rng, BASELINE)
        for at, number in zip(rng.sample(range(WINDOW), aliens), range(aliens), strict=True):
            window[at] = ALIENS[number % len(ALIENS)] + b" by unit %c" % (65 + number // len(ALIENS))
        found.append(run(window, baseline, codec, seed).p_value)
    return found


@pytest.mark.parametrize("kinds", [2, 8, 60])
def test_exchangeable_windows_are_rejected_as_rarely_as_stated(codec: Codec, kinds: int) -> None:
    """At any level a, at most a share a of windows has p <= a, but for 3.5 standard deviations of that share."""
    windows = 1500
    found = []
    for seed in range(windows):
        lines = usual(random.Random(1000 * kinds + seed), 60, kinds)
        found.append(run(lines[:12], lines[12:], codec, seed, draws_max=199).p_value)
    for level in (0.005, 0.01, 0.05, 0.1, 0.2, 0.5):
        share = mean(p <= level for p in found)
        assert share <= level + 3.5 * (level * (1 - level) / windows) ** 0.5, level
    if kinds > 2:  # and it is not exact by never rejecting
        assert mean(p <= 0.2 for p in found) > 0.12


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=20), st.lists(st.binary(max_size=12), max_size=20))
@settings(max_examples=60)
def test_a_p_value_is_above_zero_and_at_most_one(window: list[bytes], baseline: list[bytes]) -> None:
    outcome = run(window, baseline, Codec("zstd"), draws_max=50)
    assert 0 < outcome.p_value <= 1
    assert outcome.p_value == (1 + outcome.exceedances) / (1 + outcome.draws)
    assert outcome.exceedances <= min(EXCEEDANCES_MAX, outcome.draws)
    assert outcome.draws <= 50


def test_one_new_line_is_as_rare_as_its_draw(codec: Codec) -> None:
    """One draw in nine takes one given line of 450 into a window of 50: its p-value can not be smaller than about that."""
    assert 0.05 < mean(p_values(1, codec)) < 0.2


def test_three_new_lines_are_significant(codec: Codec) -> None:
    found = p_values(3, codec)
    assert mean(p <= 0.05 for p in found) == 1
    assert mean(p <= 0.01 for p in found) > 0.9


def test_more_new_lines_make_p_smaller_on_average(codec: Codec) -> None:
    found = [mean(p_values(aliens, codec)) for aliens in (0, 1, 2, 3, 6)]
    assert found == sorted(found, reverse=True)
    assert p_values(12, codec, windows=5) == [1 / 1001] * 5


def test_new_lines_that_resemble_each_other_do_not_explain_each_other_away(codec: Codec) -> None:
    rng = random.Random(0)
    window = usual(rng, WINDOW - 10) + [b"shard lost: replica %c" % (65 + number) for number in range(10)]
    assert run(window, usual(rng, BASELINE), codec).p_value == 1 / 1001


def test_one_new_line_many_times_is_significant(codec: Codec) -> None:
    rng = random.Random(0)
    assert run(usual(rng, WINDOW - 10) + [ALIENS[0]] * 10, usual(rng, BASELINE), codec).p_value == 1 / 1001


def test_free_text_is_not_new_because_it_never_repeats(codec: Codec) -> None:
    """Streams of lines that all differ: only words from outside the stream's vocabulary are surprising."""
    rng = random.Random(3)
    vocabulary = [bytes(rng.choices(b"abcdefghij", k=rng.randrange(3, 9))) for _ in range(300)]

    def line(words: list[bytes]) -> bytes:
        return b" ".join(rng.choices(words, k=8))

    found = []
    for seed in range(40):
        found.append(run([line(vocabulary) for _ in range(50)], [line(vocabulary) for _ in range(400)], codec, seed).p_value)
    assert 0.3 < mean(found) < 0.75
    other = [word.upper() for word in vocabulary]
    mixed = [line(vocabulary) for _ in range(40)] + [line(other) for _ in range(10)]
    assert run(mixed, [line(vocabulary) for _ in range(400)], codec).p_value < 0.01


def test_equal_lines_say_nothing(codec: Codec) -> None:
    assert run([b"same"] * 50, [b"same"] * 400, codec) == Permutation(1.0, 10, 10)


def test_a_window_larger_than_the_rest(codec: Codec) -> None:
    rng = random.Random(0)
    assert run(usual(rng, 400), usual(rng, 50), codec).p_value > 0.05
    assert run([b"only %c" % (65 + i % 26) for i in range(60)], [b"other"] * 20, codec).p_value < 0.01
    assert run([b"alone"], [], codec).p_value == 1.0


def test_stopping_early_decides_as_all_draws_do(codec: Codec) -> None:
    """Clear cases: one is decided after few draws, one needs all of them."""
    rng = random.Random(8)
    normal, past = usual(rng, WINDOW), usual(rng, BASELINE)
    strange = normal[:40] + ALIENS + ALIENS[:4]
    for window, significant in ((normal, False), (strange, True)):
        early = run(window, past, codec, draws_max=PERMUTATIONS_MAX)
        full = permutation_test(
            window,
            list(Counter(past).items()),
            codec,
            seed=0,
            draws_max=PERMUTATIONS_MAX,
            exceedances_max=PERMUTATIONS_MAX + 1,
        )
        assert full.draws == PERMUTATIONS_MAX
        for level in (0.01, 0.05):
            assert (early.p_value <= level) == (full.p_value <= level) == significant
        assert (early.draws < 200) == (not significant)


@pytest.mark.parametrize("name", sorted(CODECS))
def test_equal_lines_in_any_order_give_equal_results(name: str) -> None:
    rng = random.Random(4)
    window, past = [*usual(rng, 48), *ALIENS[:2]], usual(rng, BASELINE)
    once = run(window, past, Codec(name), seed=7)
    halves = [*Counter(past[:200]).items(), *Counter(past[200:]).items()]
    rng.shuffle(window)
    rng.shuffle(halves)
    again = permutation_test(window, halves, Codec(name), seed=7, draws_max=1000)
    assert again == once


def test_every_codec_has_costs() -> None:
    assert CODEC_COSTS.keys() == CODECS.keys()


def test_a_window_has_its_own_seed() -> None:
    seeds = {window_seed(stream, window) for stream in (0, 1, 2**64 - 1) for window in range(100)}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert window_seed(1, 23) != window_seed(12, 3)


@pytest.mark.parametrize(
    ("window", "draws_max", "message"),
    [([], 10, "nothing to test"), ([b"a"], 0, "PERMUTATIONS_MAX"), ([b"a"], PERMUTATIONS_MAX + 1, "PERMUTATIONS_MAX")],
    ids=["empty", "none", "many"],
)
def test_limits_are_refused(codec: Codec, window: list[bytes], draws_max: int, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        permutation_test(window, [(b"a", 3)], codec, seed=0, draws_max=draws_max)
