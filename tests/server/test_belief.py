from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.limits import SECOND_NS, Limits
from server.offline.belief import CONFIRMING_SPANS, HELD_SPANS_MAX, Belief, Numbered
from server.offline.spans import SpanLine

T0_S, HOUR_S, YEAR_S = 1_700_000_000, 3600, 365 * 86_400
BEFORE = [T0_S + second for second in range(100)]


def span(line: int, time_s: int) -> Numbered:
    return Numbered("a", line, SpanLine("s", b"x", time_s * SECOND_NS, b"", b"", b"", 0, 0, "s", ""))


def sift(times_s: Iterable[int], cuts: Iterable[int] = ()) -> tuple[list[int], list[int]]:
    """Places of the spans that are believed, and of those that are refused; each comes out once, in order."""
    given_spans = [span(line, time_s) for line, time_s in enumerate(times_s)]
    belief, decided = Belief(Limits()), []
    bounds = [0, *sorted(cuts), len(given_spans)]
    for first, last in pairwise(bounds):
        decided += belief.sift(given_spans[first:last])
    decided += belief.rest()
    assert [it for it, _ in decided] == given_spans
    return [it.line for it, yes in decided if yes], [it.line for it, yes in decided if not yes]


def refused(times_s: Iterable[int]) -> list[int]:
    return sift(times_s)[1]


@pytest.mark.parametrize("place", [0, 1, 49, 50, 51, 99])
@pytest.mark.parametrize("ahead_s", [601 + 100, HOUR_S, 20 * YEAR_S])
def test_one_that_is_ahead_is_refused(place: int, ahead_s: int) -> None:
    assert refused([*BEFORE[:place], T0_S + ahead_s, *BEFORE[place:]]) == [place]


def test_what_is_within_the_bound_is_believed() -> None:
    assert refused([*BEFORE, BEFORE[-1] + 600, *BEFORE[-5:]]) == []


@pytest.mark.parametrize(("count", "believed"), [(CONFIRMING_SPANS, False), (CONFIRMING_SPANS + 1, True)])
def test_so_many_in_a_row_confirm_the_first(count: int, believed: bool) -> None:
    ahead = [T0_S + HOUR_S + second for second in range(count)]
    assert refused([*BEFORE, *ahead, BEFORE[-1]]) == ([] if believed else list(range(100, 100 + count)))
    assert CONFIRMING_SPANS == 50


def test_at_the_end_nothing_speaks_against_them() -> None:
    assert refused([*BEFORE, T0_S + HOUR_S, T0_S + HOUR_S + 1]) == []
    assert refused([T0_S]) == []
    assert refused([]) == []


def test_a_clock_that_is_ahead_in_a_gap_is_refused_alone() -> None:
    after = [T0_S + HOUR_S + second for second in range(80)]
    assert refused([*BEFORE, *after[:10], T0_S + YEAR_S, *after[10:]]) == [110]
    assert refused([*BEFORE, T0_S + YEAR_S, *after]) == [100]


def test_clocks_that_are_far_behind_refuse_nobody() -> None:
    after = [T0_S + HOUR_S + second for second in range(80)]
    assert refused([0, *BEFORE, *after[:10], 0, *after[10:]]) == []
    assert refused(it for place, time_s in enumerate(BEFORE) for it in ([0, time_s] if place % 3 == 0 else [time_s])) == []


def test_a_quiet_input_is_believed() -> None:
    assert refused(T0_S + 1200 * number for number in range(400)) == []


def test_held_spans_are_bounded() -> None:
    belief, late = Belief(Limits()), T0_S - HOUR_S
    belief.sift(span(line, time_s) for line, time_s in enumerate(BEFORE))
    assert belief.sift([span(100, T0_S + YEAR_S)]) == []
    for line in range(101, 101 + HELD_SPANS_MAX - 2):
        assert belief.sift([span(line, late)]) == []
    decided = belief.sift([span(400, late)])
    assert [yes for _, yes in decided] == [False] + [True] * (HELD_SPANS_MAX - 1)
    assert HELD_SPANS_MAX == 200


@given(
    st.lists(
        st.tuples(st.sampled_from([0, T0_S, T0_S + HOUR_S, T0_S + YEAR_S]), st.integers(0, 900), st.integers(1, 60)),
        max_size=12,
    ),
    st.lists(st.integers(0, 100), max_size=4),
)
def test_each_span_is_decided_on_once_however_the_input_is_read(parts: list[tuple[int, int, int]], cuts: list[int]) -> None:
    times_s = [base + second for base, second, count in parts for _ in range(count)]
    assert sift(times_s, [min(cut, len(times_s)) for cut in cuts]) == sift(times_s)
