"""What time it is for a stream whose spans stay away."""

from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.traces.pace import Pace

times = st.integers(1, 10**6)


@given(times, times, times, st.integers(0, 1000))
def test_when_the_wall_clock_says_so_the_event_time_has_come(received: int, watermark: int, wait: int, grace: int) -> None:
    pace = Pace(grace)
    pace.took(received, historical=False)
    due_ns = watermark + wait
    wall_ns = pace.wall_ns(due_ns, watermark)
    assert pace.event_ns(wall_ns, watermark) == due_ns
    assert pace.event_ns(wall_ns - 1, watermark) == due_ns - 1


def test_the_watermark_never_goes_back() -> None:
    pace = Pace(5)
    pace.took(100, historical=False)
    assert [pace.event_ns(now_ns, 1000) for now_ns in (0, 100, 105, 106, 115)] == [1000, 1000, 1000, 1001, 1010]


def test_what_is_due_already_is_due_after_the_grace() -> None:
    pace = Pace(5)
    pace.took(100, historical=False)
    assert pace.wall_ns(900, 1000) == 105


def test_a_replay_knows_no_wall_clock() -> None:
    pace = Pace(5)
    pace.took(100, historical=False)
    pace.took(10**6, historical=True)
    assert (pace.event_ns(10**9, 1000), pace.wall_ns(2000, 1000), pace.received_ns) == (1000, 0, 100)


def test_where_nothing_is_open_nothing_is_due() -> None:
    pace = Pace(5)
    pace.took(100, historical=False)
    assert pace.wall_ns(0, 1000) == 0
