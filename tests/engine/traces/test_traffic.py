"""What the newest traces of a stream were like."""

from array import array
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from cbad_cy.traces import CLOSED_EARLY, NO_ROOT, VIRTUAL_ROOT, Closed
from driftlock.engine.traces.traffic import BLOCK, Traffic

SAMPLED = 32
NOTHING = (array("Q"), array("Q"), array("Q"), array("I"), array("i"), b"")


def closed(marks: bytes, sizes: list[int] | None = None, span_marks: bytes = b"") -> Closed:
    spans = sizes or [1] * len(marks)
    columns = (array("Q"), array("Q"), array("Q"), array("I"))
    return Closed(b"", array("I", spans), marks, *NOTHING, span_marks or bytes(sum(spans)), *columns)


def none(traces: int) -> "array[int]":
    """No span was late."""
    return array("Q", bytes(8 * traces))


def test_nothing_is_said_of_whole_traces() -> None:
    traffic = Traffic()
    assert traffic.count(0, closed(bytes(2 * BLOCK)), none(2 * BLOCK)) == [(BLOCK - 1, ""), (2 * BLOCK - 1, "")]
    assert (traffic.trouble, traffic.remark) == ("", "")


def test_traces_without_root_or_parents_are_trouble_where_they_are_many() -> None:
    traffic = Traffic()
    traffic.count(0, closed(bytes([NO_ROOT | VIRTUAL_ROOT, 0, 0, VIRTUAL_ROOT]) * BLOCK), none(4 * BLOCK))
    assert traffic.trouble.startswith("50 % of the newest traces came without their root")
    few = Traffic()
    few.count(0, closed((bytes([NO_ROOT]) + bytes(19)) * BLOCK), none(20 * BLOCK))
    assert few.trouble == ""


def test_nothing_is_said_of_few_traces() -> None:
    traffic = Traffic()
    assert traffic.count(0, closed(bytes([NO_ROOT]) * (BLOCK - 1)), none(BLOCK - 1)) == []
    assert traffic.trouble == ""


def test_sampled_traffic_is_recognised_and_its_parts_are_no_trouble() -> None:
    traffic = Traffic()
    traffic.count(0, closed(bytes([NO_ROOT, 0]) * BLOCK, [2, 1] * BLOCK, bytes([3, 2, SAMPLED | 2]) * BLOCK), none(2 * BLOCK))
    assert traffic.trouble == ""
    assert traffic.remark == "only a sample of all traces is sent, 50 % of them not whole: counts are of what was sent"


def test_a_probe_that_is_sampled_is_no_sampled_traffic() -> None:
    traffic = Traffic()
    traffic.count(0, closed(bytes(BLOCK), [1] * BLOCK, bytes([SAMPLED]) + bytes(BLOCK - 1)), none(BLOCK))
    assert traffic.remark == ""


def test_traces_closed_for_want_of_room_are_trouble() -> None:
    traffic = Traffic()
    traffic.count(0, closed(bytes([CLOSED_EARLY, 0]) * BLOCK), none(2 * BLOCK))
    assert "50 % of the newest traces had to be closed" in traffic.trouble


def test_it_ends_when_traces_are_whole_again() -> None:
    traffic = Traffic()
    told = traffic.count(0, closed(bytes([NO_ROOT]) * BLOCK + bytes(9 * BLOCK)), none(10 * BLOCK))
    assert [bool(trouble) for _, trouble in told] == [True] * 3 + [False] * 7


def test_many_late_spans_are_trouble_until_they_are_few_again() -> None:
    """Ten spans a trace; one in nine comes late for a while."""
    blocks = 9
    late_by = array("Q", [min(number, 2 * BLOCK) // 9 * 10 for number in range(blocks * BLOCK)])
    traffic = Traffic()
    told = traffic.count(0, closed(bytes(blocks * BLOCK), [10] * (blocks * BLOCK)), late_by)
    assert [bool(trouble) for _, trouble in told] == [True] * 5 + [False] * 4
    assert "9.9 % of the newest spans came when their trace was over" in told[0][1]
    assert "raise DRIFTLOCK_TRACE_LINGER_SECONDS" in told[0][1]


def test_a_few_late_spans_are_no_trouble() -> None:
    for late, trouble in ((50, False), (51, True)):
        traffic = Traffic()
        traffic.count(0, closed(bytes(BLOCK), [9] * (BLOCK - 1) + [4950 - 9 * (BLOCK - 1)]), array("Q", [late] * BLOCK))
        assert bool(traffic.trouble) == trouble


@given(
    st.lists(st.tuples(st.sampled_from([0, NO_ROOT, CLOSED_EARLY]), st.sampled_from([0, 0, 0, 1])), max_size=1600),
    st.integers(1, 700),
)
def test_cuts_change_nothing(traces: list[tuple[int, int]], size: int) -> None:
    marks, late_by = bytes(mark for mark, _ in traces), array("Q", accumulate(late for _, late in traces))
    whole, cut = Traffic(), Traffic()
    told = whole.count(0, closed(marks), late_by)
    again = []
    for first in range(0, len(marks), size):
        part = slice(first, first + size)
        again += [(first + place, trouble) for place, trouble in cut.count(first, closed(marks[part]), late_by[part])]
    assert (cut, again) == (whole, told)
