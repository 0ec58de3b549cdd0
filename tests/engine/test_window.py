"""What an event may keep, and which times are believed."""

from array import array
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.event import RecordBatch
from driftlock.engine.limits import Limits
from driftlock.engine.window import EventClock, Placed, cut_lines, event_share
from tests.engine.streams import SECOND_NS

LIMITS = Limits()
NOW = 1_700_000_000 * SECOND_NS


def times(*values: int) -> RecordBatch:
    return RecordBatch(b"x" * len(values), array("I", [1] * len(values)), array("Q", values))


def at(*values: int, late: bool = False, receive_timed: bool = False) -> Placed:
    """All records alike."""
    marks = len(values) * b"\x01"
    return Placed(array("Q", values), marks if late else b"", marks if receive_timed else b"")


def test_short_events_are_never_cut() -> None:
    assert event_share(50, LIMITS) == LIMITS.window_bytes_max // 50
    lines = [b"x" * event_share(50, LIMITS)] * 200
    assert cut_lines(lines, [4000] * 50, 50, LIMITS) == lines


def test_a_lone_long_event_may_use_what_is_left() -> None:
    assert list(map(len, cut_lines([b"x" * 4000], [100] * 50, 50, LIMITS))) == [4000]
    assert list(map(len, cut_lines([b"x" * 10**6], [100] * 50, 50, LIMITS))) == [LIMITS.event_bytes_max]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9000), st.sampled_from(["x", "é", "日", "😀"])), max_size=150), st.integers(1, 149))
def test_cutting_does_not_depend_on_batches_and_bounds_the_window(made: list[tuple[int, str]], split: int) -> None:
    size = 50
    lines = [("a" * (length % 3) + letter * (length // len(letter.encode()))).encode() for length, letter in made]
    whole = cut_lines(lines, [], size, LIMITS)
    first = cut_lines(lines[:split], [], size, LIMITS)
    second = cut_lines(lines[split:], list(map(len, first[-size:])), size, LIMITS)
    assert first + second == whole
    assert all(line.decode() or not line for line in whole)
    lengths = list(map(len, whole))
    assert all(sum(lengths[begin : begin + size]) <= 2 * LIMITS.window_bytes_max for begin in range(len(lengths)))


def test_times_in_order_are_taken_as_they_are() -> None:
    clock = EventClock(LIMITS)
    assert clock.place(times(NOW, NOW + 1), NOW) == at(NOW, NOW + 1)
    assert (clock.watermark_ns, clock.first_event_ns, clock.late_events) == (NOW + 1, NOW, 0)


def test_slightly_out_of_order_is_believed() -> None:
    clock = EventClock(LIMITS)
    clock.place(times(NOW), NOW)
    assert clock.place(times(NOW - LIMITS.lateness_ns, NOW - 7), NOW) == at(NOW - LIMITS.lateness_ns, NOW - 7)
    assert clock.place(times(NOW - 7, NOW - 8), NOW) == at(NOW - 7, NOW - 8)
    assert clock.watermark_ns == NOW


def test_far_behind_and_far_ahead_are_placed_at_the_watermark() -> None:
    clock = EventClock(LIMITS)
    clock.place(times(NOW), NOW)
    placed = clock.place(times(NOW - LIMITS.lateness_ns - 1, NOW + LIMITS.future_ns + 1, 2**64 - 1), NOW)
    assert placed == at(NOW, NOW, NOW, late=True)
    assert clock.late_events == 3


def test_a_first_time_in_the_future_is_a_receive_time() -> None:
    assert EventClock(LIMITS).place(times(2**63), NOW) == at(NOW, late=True, receive_timed=True)


def test_a_log_of_2008_keeps_its_dates() -> None:
    clock = EventClock(LIMITS)
    old = 1_226_262_930 * SECOND_NS
    assert clock.place(times(old, old + 5), NOW) == at(old, old + 5)


def test_no_time_means_receive_time_and_in_a_replay_the_watermark() -> None:
    clock = EventClock(LIMITS)
    assert clock.place(times(0, 0), NOW) == at(NOW, NOW, receive_timed=True)
    assert clock.late_events == 0
    clock = EventClock(LIMITS)
    clock.place(times(NOW - 9), NOW)
    assert clock.place(replace(times(0), historical=True), NOW) == at(NOW - 9)


@given(
    st.lists(st.integers(-7, 13).map(lambda minutes: NOW + minutes * 60 * SECOND_NS) | st.just(0), min_size=1, max_size=8),
    st.integers(0, 8),
    st.booleans(),
)
def test_where_records_stand_does_not_depend_on_batches(made: list[int], first: int, historical: bool) -> None:
    whole, single = EventClock(LIMITS), EventClock(LIMITS)
    for clock in (whole, single):
        clock.place(times(NOW), NOW)
    parts = [whole.place(replace(times(*part), historical=historical), NOW) for part in (made[:first], made[first:]) if part]
    alone = [single.place(replace(times(one), historical=historical), NOW) for one in made]
    assert [time for part in parts for time in part.times_ns] == [part.times_ns[0] for part in alone]
    assert (whole.watermark_ns, whole.late_events, whole.receive_timed) == (
        single.watermark_ns,
        single.late_events,
        single.receive_timed,
    )
