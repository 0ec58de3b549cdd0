"""The exact test of two shares, and its correction."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.releases.proportions import P_MIN, least_p, two_sided_p
from driftlock.engine.releases.proportions import tests_counted as counted


def exact(first: int, first_total: int, second: int, second_total: int) -> float:
    """By fractions, from the definition."""
    both, total = first + second, first_total + second_total
    chance = {
        hits: Fraction(comb(both, hits) * comb(total - both, first_total - hits), comb(total, first_total))
        for hits in range(max(0, both - second_total), min(both, first_total) + 1)
    }
    below = sum(it for hits, it in chance.items() if hits <= first)
    above = sum(it for hits, it in chance.items() if hits >= first)
    more = first * second_total >= second * first_total
    return float(min(Fraction(1), 2 * (above if more else below)))


tables = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda totals: st.tuples(st.integers(0, totals[0]), st.just(totals[0]), st.integers(0, totals[1]), st.just(totals[1]))
)


@given(tables)
def test_it_is_fishers_exact_test(table: tuple[int, int, int, int]) -> None:
    assert two_sided_p(*table) == pytest.approx(exact(*table), rel=1e-5)


@given(tables)
def test_both_directions_are_equal(table: tuple[int, int, int, int]) -> None:
    first, first_total, second, second_total = table
    assert two_sided_p(*table) == pytest.approx(two_sided_p(second, second_total, first, first_total), rel=1e-5)


@given(tables)
def test_no_finding_is_below_the_least_that_is_possible(table: tuple[int, int, int, int]) -> None:
    first, first_total, second, second_total = table
    assert two_sided_p(*table) >= least_p(first + second, first_total, second_total) * (1 - 1e-5)


def test_large_counts_neither_overflow_nor_become_nothing() -> None:
    assert two_sided_p(50_000, 50_000, 0, 50_000) == P_MIN
    assert two_sided_p(25_000, 50_000, 25_000, 50_000) == 1.0


def test_counts_above_their_totals_are_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to its total"):
        two_sided_p(3, 2, 0, 2)


@given(st.lists(st.floats(1e-12, 1.0), max_size=60), st.sampled_from([0.01, 0.05, 0.5]))
def test_as_few_tests_as_possible_are_counted(least: list[float], alpha: float) -> None:
    """Tarone's number, from its definition: the smallest k so that at most k tests can reach alpha / k."""
    expected = next(k for k in range(1, len(least) + 2) if sum(it <= alpha / k for it in least) <= k)
    assert counted(least, alpha) == min(expected, max(1, len(least)))
