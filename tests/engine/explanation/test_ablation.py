"""Proof by removal: honest in both directions."""

from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.explanation.ablation import Without, drawn, prove, restoring

ALPHA = 0.05


def judge(strange: set[int]) -> Without:
    """A window is abnormal as long as any of the strange events is there."""
    return lambda places: 0.004 if strange - places else 0.6


def test_the_lines_that_are_the_reason_are_verified() -> None:
    proof = prove([3, 7], 50, judge({3, 7}), ALPHA, seed=1)
    assert (proof.p_without, proof.p_without_others, proof.verified) == (0.6, 0.004, True)


def test_lines_that_are_not_the_whole_reason_are_not() -> None:
    proof = prove([3], 50, judge({3, 7}), ALPHA, seed=1)
    assert (proof.p_without, proof.verified) == (0.004, False)


def test_lines_that_any_others_could_replace_are_not() -> None:
    proof = prove([3], 50, lambda places: 0.6 if places else 0.004, ALPHA, seed=1)
    assert (proof.p_without, proof.p_without_others, proof.verified) == (0.6, 0.6, False)


def test_nothing_named_and_everything_named_prove_nothing() -> None:
    assert not prove([], 50, lambda _: 0.004, ALPHA, seed=1).verified
    assert prove([], 50, lambda _: 0.004, ALPHA, seed=1).p_without == 0.004
    assert not prove(range(26), 50, judge(set(range(26))), ALPHA, seed=1).verified
    whole = prove(range(50), 50, judge(set(range(50))), ALPHA, seed=1)
    assert (whole.p_without, whole.verified) == (1.0, False)


def test_groups_are_taken_until_the_window_is_normal() -> None:
    groups = [[1, 2], [3], [4], [5]]
    assert restoring(groups, 10, judge({1, 2, 4}), ALPHA) == 3
    assert restoring(groups, 3, judge({1, 2, 4}), ALPHA) == 0
    assert restoring(groups, 10, judge({30}), ALPHA) == 0
    assert restoring([list(range(20))], 10, judge({1}), ALPHA) == 1
    assert restoring([], 10, judge(set()), ALPHA) == 0
    assert restoring([[1], [2]], 10, lambda _: 0.6, ALPHA) == 0


def test_the_judge_is_asked_once_a_group_at_most() -> None:
    asked: list[frozenset[int]] = []

    def without(places: frozenset[int]) -> float:
        asked.append(places)
        return 0.0

    restoring([[place] for place in range(40)], 10, without, ALPHA)
    assert [len(places) for places in asked] == list(range(11))


@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 2**64 - 1))
def test_draws_are_places_each_once(total: int, count: int, seed: int) -> None:
    found = drawn(range(total), count, seed)
    assert len(set(found)) == len(found) == min(total, count)
    assert set(found) <= set(range(total))
    assert found == drawn(range(total), count, seed)


def test_every_place_has_its_turn() -> None:
    hits = [0] * 10
    for seed in range(1000):
        for place in drawn(range(10), 3, seed):
            hits[place] += 1
    assert min(hits) > 240
    assert max(hits) < 360
