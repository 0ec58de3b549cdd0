"""What goes on is told again, and what may only be late is told when it lasts."""

from itertools import pairwise

from tests.cbad_cy.shape_traces import CALL, USUAL, S, learned, only, tree


def test_what_goes_on_is_told_once_a_minute() -> None:
    """As long as there is evidence, and by the past of all traces or of the root, never by both."""
    feed, odd = learned(), USUAL.plus(tree(7))
    found = feed([odd, USUAL] * 150, step_s=1)
    assert [(it.question, it.caller, it.operation) for it in found] == [("shape", 1, 7)] * 5
    assert {it.since_ns for it in found} == {found[0].since_ns}
    assert all(60 * S <= later.time_ns - earlier.time_ns <= 62 * S for earlier, later in pairwise(found))
    assert all(earlier.affected < later.affected for earlier, later in pairwise(found))
    assert feed([USUAL] * 300, step_s=1) == []


def test_a_part_is_missing_when_that_lasts() -> None:
    """Spans that one sender delivers late are missing for a while in all traces."""
    feed, less = learned(count=6000), tree(1, CALL)
    assert feed([less] * 2250, step_s=0.02) == []
    assert feed([*[USUAL] * 500, less] * 4 + [USUAL] * 4000, step_s=0.02) == []
    it = only(feed([less] * 2500, step_s=0.02))
    assert 46 * S <= it.time_ns - it.since_ns <= 46.1 * S


def test_one_that_was_missing_before_makes_it_no_longer() -> None:
    feed, less = learned(), tree(1, CALL)
    assert feed([less, *[USUAL] * 60] * 2 + [less] * 40, step_s=1) == []
    assert only(feed([less] * 10, step_s=1)).affected > 40


def test_what_lasts_is_adopted_and_what_comes_again_is_told_again() -> None:
    """An alarm, once a minute; after two hours it is usual; when it had ended for a day, it is new again."""
    feed, odd = learned(tree(1), step_s=10), tree(1, tree(7))
    first = only(feed([odd] * 10))
    again = [(it.time_ns - first.time_ns) // S for it in feed([odd, tree(1)] * 1000)]
    assert 60 <= again[0] < 6900 < again[-1] < 7300
    assert all(60 <= later - earlier < 100 for earlier, later in pairwise(again))
    assert feed([tree(1)] * 8640 * 3) == []
    assert feed([odd] * 400)[0].usual < 0.2
