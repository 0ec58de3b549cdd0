"""What alarms, what does not, and what is told of it."""

from dataclasses import replace

import pytest

from cbad_cy.shapes import (
    ALARM_LEVEL,
    EXAMPLES_MAX,
    PATH_MAX,
    STORIES_MAX,
    SUBTREE_DEPTH_MAX,
    SUBTREE_MAX,
)
from tests.cbad_cy.shape_traces import (
    CALL,
    CLIENT,
    CONSUMER,
    INTERNAL,
    OF,
    PRODUCER,
    START,
    USUAL,
    Feeder,
    S,
    Tree,
    columns,
    learned,
    only,
    trace,
    tree,
)

# ---- new, missing, repeated ----------------------------------------------------------------------------------------


def test_a_call_to_a_service_that_was_never_called_is_a_new_dependency() -> None:
    feed = learned()
    odd = USUAL.plus(tree(6, tree(10, tree(9, kind=INTERNAL), tree(9, kind=INTERNAL)), kind=CLIENT, instance=4))
    it = only(feed([odd, *[USUAL] * 9] * 30))
    assert (it.question, it.measure, it.caller, it.operation) == ("dependency", "calls", 1, 10)
    assert it.subtree == ((0, 6, 1, 1), (1, 10, 1, 1), (2, 9, 1, 2))
    assert it.suspects == ((1, it.surprise),)
    assert 5 <= it.affected < 20
    assert it.value == it.affected / it.calls
    assert it.value > 0.09
    assert it.usual == 0.0
    assert it.instance == it.pool == 0
    assert it.surprise >= ALARM_LEVEL
    assert it.p_value == pytest.approx(2**-it.surprise)
    assert it.score == pytest.approx(it.surprise / (it.surprise + ALARM_LEVEL))
    assert it.calls_more == ()
    first_s = 0.01 * 2001
    assert it.since_ns == START + round((first_s - 1) * S)
    assert it.time_ns == START + round((first_s + 0.1 * (it.affected - 1)) * S)
    newest = (2001 + 10 * (it.affected - 1)).to_bytes(16, "big")
    assert len(it.examples) == EXAMPLES_MAX
    assert it.examples[0] == (newest, it.time_ns - S, S, 9, 1, (1,), False)
    assert [int.from_bytes(shown[0], "big") % 10 for shown in it.examples] == [1, 1, 1]


def test_a_call_to_a_service_that_others_call_is_a_new_part() -> None:
    feed = learned(tree(1, CALL, tree(2)))
    it = only(feed([tree(1, CALL, tree(2, CALL))] * 20))
    assert (it.question, it.caller, it.operation, it.subtree[0]) == ("shape", 2, 5, (0, 3, 1, 1))


def test_a_part_within_a_service_is_no_dependency() -> None:
    it = only(learned()([USUAL.plus(tree(7, tree(6), tree(6), instance=3)), USUAL] * 20))
    assert (it.question, it.measure, it.operation) == ("shape", "calls", 7)
    assert it.subtree == ((0, 7, 1, 1), (1, 6, 1, 2))


def test_a_missing_part_is_told_with_what_is_usually_below_it() -> None:
    """A client is known by what it calls, so this one is missing with all below it."""
    it = only(learned()([replace(USUAL, below=USUAL.below[1:]), *[USUAL] * 9] * 30))
    assert (it.question, it.measure, it.caller, it.operation) == ("shape", "calls", 1, 5)
    assert it.subtree == ((0, 3, -1, 1), (1, 5, -1, 1), (2, 8, -1, 1))
    assert it.suspects == ((1, it.surprise),)
    assert it.value == pytest.approx(0.1, rel=0.3)


def test_a_call_that_is_never_made_any_more_is_a_dependency_that_is_gone() -> None:
    it = only(learned()([replace(USUAL, below=USUAL.below[1:])] * 30, step_s=2))
    assert (it.question, it.measure, it.caller, it.operation, it.value) == ("dependency", "calls", 1, 5, 1.0)


def test_a_call_is_not_gone_as_long_as_others_make_it() -> None:
    other = tree(7, CALL)
    feed = learned()
    assert feed([other, USUAL] * 2000) == []
    it = only(feed([replace(USUAL, below=USUAL.below[1:]), other] * 30, step_s=1))
    assert (it.question, it.value, it.subtree[0]) == ("shape", 1.0, (0, 3, -1, 1))


@pytest.mark.parametrize(("usually", "now"), [(1, 2), (1, 4), (3, 5), (9, 33)])
def test_other_repeats(usually: int, now: int) -> None:
    usual, odd = (tree(1, *[CALL] * times) for times in (usually, now))
    it = only(learned(usual)([odd, *[usual] * 19] * 40))
    assert (it.question, it.measure, it.caller, it.operation) == ("shape", "repeats", 1, 5)
    assert it.subtree[0] == (0, 3, 1, now)
    assert it.suspects == ((1, it.surprise), (3, it.surprise / 2))


def test_repeats_within_a_class_are_no_other_repeats() -> None:
    assert learned(tree(1, *[CALL] * 6))([tree(1, *[CALL] * 8)] * 100) == []


def test_fewer_repeats_are_not_missing() -> None:
    assert learned(tree(1, *[CALL] * 6))([tree(1, CALL)] * 100) == []


def test_a_new_part_that_comes_often_is_told_once() -> None:
    it = only(learned()([USUAL.plus(*[tree(7)] * 4)] * 30))
    assert (it.measure, it.subtree) == ("calls", ((0, 7, 1, 4),))


def test_a_thousandth_of_all_traces_is_never_unusual() -> None:
    feed = learned(tree(1), 5000)
    assert feed([tree(1, tree(7)), *[tree(1)] * 1999] * 12) == []


def test_errors_cut_work_short() -> None:
    feed = learned()
    assert feed([tree(1, failed=True)] * 200) == []


def test_a_call_that_is_refused_is_a_part_of_its_own() -> None:
    """The client's span fails and has no child; that its usual child is missing is not told."""
    it = only(learned()([tree(1, replace(CALL, below=(), failed=True), tree(2, kind=INTERNAL))] * 30))
    assert (it.question, it.caller, it.operation, it.subtree) == ("shape", 1, 3, ((0, 3, 1, 1),))


@pytest.mark.parametrize("marks", [1, 2, 16, 32, 63])
def test_nothing_is_missing_in_traces_that_are_incomplete(marks: int) -> None:
    feed = learned()
    assert feed([tree(1)] * 200, marks=marks) == []


@pytest.mark.parametrize("marks", [4, 8])
def test_duplicates_and_skew_make_no_trace_incomplete(marks: int) -> None:
    assert learned()([tree(1)] * 200, marks=marks, step_s=1) != []


def test_nothing_is_missing_in_sampled_traces() -> None:
    feed, odd = learned(), [trace(tree(1), number, at_s=100 + number) for number in range(200)]
    sampled = [replace(it, spans=tuple(replace(row, mark=row.mark | 32) for row in it.spans)) for it in odd]
    assert feed.table.feed(columns(sampled[:100]), feed.services) == []
    assert feed.table.feed(columns(odd[100:]), feed.services) != []


# ---- the other side ------------------------------------------------------------------------------------------------


LOST = replace(CALL, below=())
"""The client's span, whose other side never came."""


def test_a_client_that_lost_the_other_side_stands_for_nothing() -> None:
    """Not for a new part, and what it usually calls is not missing beside it; nor is another call of the same client."""
    feed = learned(tree(1, CALL, replace(CALL, below=(tree(4),)), tree(2)))
    assert feed([tree(1, LOST, tree(2))] * 300) == []
    assert feed([tree(1, *[LOST] * 9, CALL, tree(2))] * 300) == []


def test_a_service_whose_spans_do_not_come_any_more_is_told_when_that_lasts() -> None:
    feed, odd = learned(step_s=1), tree(1, LOST, tree(2, kind=INTERNAL))
    assert feed([odd] * 180) == []
    it = only(feed([odd] * 60))
    assert (it.question, it.measure, it.caller, it.operation) == ("dependency", "calls", 3, 5)
    assert it.time_ns - it.since_ns == 181 * S
    assert it.suspects == ((3, it.surprise),)
    assert it.subtree == ((0, 5, -1, 1), (1, 8, -1, 1))
    assert it.examples[0][5] == (1, 3)
    assert [(again.time_ns - it.time_ns) // S for again in feed([odd] * 180)] == [60, 120, 180]


@pytest.mark.parametrize(("past", "step_s"), [(300, 0.05), (6000, 0.05), (6000, 1)])
def test_while_spans_do_not_come_a_client_without_other_side_does_not_become_usual(past: int, step_s: float) -> None:
    """However many traces show it: nothing else is told of them than that the other side is gone, after three minutes."""
    feed = learned(count=past, step_s=step_s)
    found = feed([tree(1, LOST, tree(2, kind=INTERNAL))] * round(600 / step_s))
    assert {(it.question, it.caller, it.operation) for it in found} == {("dependency", 3, 5)}
    assert found[0].time_ns - found[0].since_ns >= 180 * S
    assert 6 <= len(found) <= 7


def test_of_several_that_a_client_calls_the_one_that_is_gone_is_told() -> None:
    other = replace(CALL, below=(tree(4),))
    feed = learned(tree(1, CALL, other), step_s=0.1)
    it = only(feed([tree(1, LOST, other)] * 2000))
    assert (it.question, it.caller, it.operation, it.suspects[0][0]) == ("dependency", 3, 5, OF[5 - 1])


def test_a_service_within_which_the_spans_of_clients_end_is_no_dependency() -> None:
    usual = tree(1, tree(3, tree(6), kind=CLIENT))
    feed = learned(usual, step_s=1)
    it = only(feed([tree(1, replace(usual.below[0], below=()))] * 200))
    assert (it.question, it.caller, it.operation) == ("shape", 3, 6)


def test_consumers_that_come_late_are_not_told() -> None:
    sent = tree(3, tree(5, kind=CONSUMER), kind=PRODUCER)
    assert learned(tree(1, sent), step_s=1)([tree(1, replace(sent, below=()))] * 600) == []


def test_a_client_that_often_has_no_other_side_is_a_part_like_any_other() -> None:
    """One in five calls goes to something that sends no spans; then all of them do."""
    feed = learned(tree(1))
    feed([tree(1, *[CALL] * 4, LOST)] * 2000)
    it = only(feed([tree(1, *[CALL] * 4, *[LOST] * 5)] * 30))
    assert (it.measure, it.operation, it.subtree) == ("repeats", 3, ((0, 3, 1, 5),))


def test_while_spans_are_lost_nothing_is_missing() -> None:
    """Traces that betray that spans were lost are as many as those in which a part is missing."""
    feed, less = learned(), tree(1, CALL)
    for _ in range(100):
        assert feed([USUAL] * 4, marks=16) == feed([USUAL] * 14) == feed([less] * 2) == []
    feed = learned()
    assert any(feed([USUAL] * 18, step_s=1) + feed([less] * 2, step_s=1) for _ in range(10))


def test_clients_are_told_apart_by_what_they_call() -> None:
    """One of three calls by a client of one name is left out."""
    calls = [tree(3, tree(it), kind=CLIENT) for it in (4, 5, 9)]
    it = only(learned(tree(1, *calls))([tree(1, *calls[:2])] * 30, step_s=2))
    assert (it.caller, it.operation, it.subtree) == (1, 9, ((0, 3, -1, 1), (1, 9, -1, 1)))


def test_producers_too() -> None:
    usual = tree(1, tree(3, tree(4, kind=CONSUMER), kind=PRODUCER), tree(3, tree(5, kind=CONSUMER), kind=PRODUCER))
    it = only(learned(usual)([replace(usual, below=usual.below[:1])] * 30, step_s=2))
    assert (it.operation, it.subtree) == (5, ((0, 3, -1, 1), (1, 5, -1, 1)))


def test_spans_that_are_missing_below_a_client_are_told_when_that_lasts() -> None:
    usual = tree(1, tree(3, tree(5), tree(10), kind=CLIENT))
    feed = learned(usual, step_s=1)
    less = tree(1, tree(3, tree(5), kind=CLIENT))
    assert feed([less] * 180) == []
    it = only(feed([less] * 20))
    assert (it.question, it.caller, it.operation) == ("dependency", 3, 10)
    assert it.time_ns - it.since_ns == 181 * S
    assert it.suspects == ((4, it.surprise),)


def test_how_many_clients_are_told_apart() -> None:
    feed = Feeder(OF, pairs_max=1)
    assert feed([tree(1, CALL, tree(6, tree(9), kind=CLIENT))] * 1000) == []
    assert feed.table.overflowed == 1000
    it = only(feed([tree(1, tree(6, tree(9), kind=CLIENT))] * 30, step_s=2))
    assert it.operation == 5
    it = only(feed([tree(1, CALL)] * 30, step_s=2))
    assert (it.operation, it.subtree) == (6, ((0, 6, -1, 1), (1, 9, -1, 1)))


# ---- which past ----------------------------------------------------------------------------------------------------


def test_what_is_new_for_one_root_only() -> None:
    """What half of all traces have is new under one root operation."""
    plain, odd = tree(1, tree(3)), tree(1, tree(3, tree(5)))
    feed = Feeder(OF)
    assert feed([plain, tree(2, tree(3, tree(5)))] * 1000) == []
    it = only(feed([odd, tree(2, tree(3, tree(5)))] * 20))
    assert (it.caller, it.operation, it.question, it.examples[0][4]) == (3, 5, "shape", 1)


def test_roots_beyond_the_bound_have_no_past_of_their_own() -> None:
    feed = Feeder(OF, roots_max=1)
    known = tree(2, tree(3, tree(5)))
    assert feed([known, tree(1, tree(3))] * 1000) == []
    assert feed.table.overflowed == 1000
    assert feed([known, tree(1, tree(3, tree(5)))] * 20) == []


def test_traces_without_root_have_no_past_of_their_own() -> None:
    feed = learned(tree(2, tree(3, tree(5))))
    assert feed([tree(1, tree(3))] * 1000, marks=1) == []
    assert feed([tree(1, tree(3, tree(5)))] * 200, marks=1) == []


def test_what_ends_and_comes_again_is_told_again() -> None:
    feed, odd = learned(), USUAL.plus(tree(7))
    first = only(feed([odd] * 8))
    assert feed([USUAL] * 10_000) == []
    second = only(feed([odd] * 30))
    assert second.since_ns > first.time_ns
    assert int.from_bytes(second.examples[-1][0], "big") > 10_000


def test_too_short_a_past_is_none() -> None:
    feed = Feeder(OF)
    assert feed([tree(1)] * 8 + [tree(1, tree(3))] * 300) == []


# ---- what is told --------------------------------------------------------------------------------------------------


def test_the_instance_that_sends_it() -> None:
    feed = Feeder(OF)
    usual = [tree(1, tree(4), instance=k) for k in range(1, 21)]
    assert feed(usual * 100) == []
    odd = [replace(it, below=()) if it.instance == 7 else it for it in usual]
    assert only(feed(odd * 40)).instance == 7
    other = Feeder(OF)
    assert other(usual * 100) == []
    odd = [replace(usual[k % 20], below=()) if k % 9 == 0 else usual[k % 20] for k in range(800)]
    assert only(other(odd)).instance == 0


def test_an_instance_is_told_only_where_there_is_another() -> None:
    usual = tree(1, tree(4), instance=7)
    for others, expected in (([], 0), ([replace(usual, instance=8)], 7)):
        feed = Feeder(OF)
        assert feed(others + [usual] * 2000) == []
        assert only(feed([replace(usual, below=())] * 40, step_s=2)).instance == expected
    feed = Feeder(OF)
    assert feed([usual, replace(usual, instance=8), *[usual] * 2000]) == []
    other = Feeder(OF)
    other.table.restore(feed.table.parts())
    other.at_s, other.number = feed.at_s, feed.number
    assert only(other([replace(usual, below=())] * 40, step_s=2)).instance == 7


def test_what_is_usual_is_the_share_of_the_past() -> None:
    feed = Feeder(OF)
    feed([tree(1), *[tree(1, tree(4))] * 1999])
    assert only(feed([tree(1)] * 40, step_s=2)).usual == pytest.approx(1 / 2000, rel=0.6)


def test_a_long_way_loses_its_middle() -> None:
    def chain(last: tuple[Tree, ...]) -> Tree:
        it = tree(5, *last)
        for depth in range(40):
            it = tree(1 + depth % 4, it)
        return it

    (shown, *_) = only(learned(chain(()))([chain((tree(7),))] * 30)).examples
    assert len(shown[5]) == PATH_MAX
    assert shown[5] == (*(4, 3, 2, 1) * 4, *(3, 2, 1, 4) * 3, 3, 2, 1, 5)


def test_a_large_part_is_cut() -> None:
    wide = tree(7, *[tree(11, *[tree(12)] * 2)] * 3, *[tree(13, tree(14))] * 3)
    assert only(learned()([USUAL.plus(wide)] * 30)).subtree == (
        (0, 7, 1, 1),
        (1, 11, 1, 3),
        (2, 12, 1, 2),
        (1, 13, 1, 3),
        (2, 14, 1, 1),
    )
    deep = tree(11)
    for depth in range(12):
        deep = tree(11 + depth, deep, *[tree(k) for k in range(25, 30)])
    shown = only(learned()([USUAL.plus(tree(7, deep))] * 30)).subtree
    assert len(shown) == SUBTREE_MAX
    missing = only(learned(tree(10, deep))([tree(10)] * 30, step_s=2)).subtree
    assert len(missing) == SUBTREE_MAX
    chain = tree(11)
    for depth in range(20):
        chain = tree(11 + depth, chain)
    assert max(line[0] for line in only(learned()([USUAL.plus(tree(7, chain))] * 30)).subtree) == SUBTREE_DEPTH_MAX


def test_the_error_of_the_root_is_told() -> None:
    odd = replace(USUAL.plus(tree(7)), failed=True)
    assert only(learned()([odd] * 30)).examples[0][6] is True


def test_examples_of_too_many_features_are_forgotten() -> None:
    """Those that had none for longest lose theirs; they still alarm."""
    count = STORIES_MAX + 40
    feed = Feeder((1,) * (2 * count + 2), operations_max=2 * count + 2)
    parents = [tree(1, tree(2 + k)) for k in range(count)]
    assert feed(parents * 40) == []
    odd = [tree(1, tree(2 + k, tree(2 + count + k))) for k in range(count)]
    found = feed(odd * 40)
    assert {it.operation for it in found} == set(range(2 + count, 2 + 2 * count))
    assert {len(it.examples) for it in found} == {1}
    assert [len(it.examples) for it in learned()([USUAL.plus(tree(7))] * 30)] == [EXAMPLES_MAX]
