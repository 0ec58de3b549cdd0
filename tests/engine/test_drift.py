"""Windows to compare, hours, and when a stream counts as drifting."""

import random
from array import array
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from statistics import median
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cbad_cy.codec import Codec
from cbad_cy.tokenize import mask_line
from driftlock.engine.anchor import SEPARATOR
from driftlock.engine.drift import (
    DRIFT_HOURS,
    HOUR_NS,
    RECOVERY_SHARE,
    Closed,
    DriftSeries,
    FarWindow,
    Gathered,
    Gathering,
)
from driftlock.engine.limits import MINUTE_NS
from driftlock.engine.profile import DEFAULT_CODEC
from driftlock.engine.window import Incoming, Placed
from tests.engine.anchors import flights
from tests.engine.streams import batch, bursty, iid
from tests.engine.test_anchor import anchor_of

ANCHOR = UUID(int=1)
THRESHOLD = 0.35
HOURS = st.lists(st.sampled_from([0.0, 0.1, 0.27, 0.29, 0.34, 0.36, 0.5, 1.0]), max_size=60)


def incoming(times_ns: list[int], first: int = 0) -> Incoming:
    lines = [b"line %d" % (first + number) for number in range(len(times_ns))]
    held = batch(lines)
    held.times_ns = array("Q", times_ns)
    return Incoming(held.text, held.lengths, held.text, held.lengths, array("I"), array("I"), Placed(held.times_ns), held)


def gathered(times_ns: list[int], window: int, sizes: list[int]) -> tuple[list[Gathered], Gathering]:
    gathering, found, at, turn = Gathering(window, 100), [], 0, 0
    while at < len(times_ns):
        size = sizes[turn % len(sizes)]
        gathering.gather(incoming(times_ns[at : at + size], at), at)
        found += gathering.take()
        at, turn = at + size, turn + 1
    return found, gathering


@given(
    st.lists(st.integers(0, 40 * 10**9), min_size=1, max_size=200),
    st.integers(1, 12),
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
)
def test_batches_change_no_window_and_one_begins_in_a_minute(gaps: list[int], window: int, sizes: list[int]) -> None:
    times = [5 * MINUTE_NS + sum(gaps[: number + 1]) for number in range(len(gaps))]
    whole, rest = gathered(times, window, [len(times)])
    parts, other = gathered(times, window, sizes)
    assert (whole, rest.lines, rest.next_ns) == (parts, other.lines, other.next_ns)
    assert all(len(it.lines) == len(it.times_ns) == window for it in whole)
    begun = [it.times_ns[0] // MINUTE_NS for it in whole]
    assert all(before < after for before, after in pairwise(begun))
    for it in whole:
        assert it.lines[0] == b"line %d" % it.first_event


def test_a_busy_minute_is_looked_at_once_and_a_slow_stream_all_the_time() -> None:
    busy, _ = gathered([MINUTE_NS + number for number in range(1000)], 10, [100])
    assert [it.first_event for it in busy] == [0]
    border, _ = gathered([MINUTE_NS + 5, 2 * MINUTE_NS - 1, 2 * MINUTE_NS], 1, [3])
    assert [it.first_event for it in border] == [0, 2]
    slow, _ = gathered([number * MINUTE_NS for number in range(1, 31)], 10, [1])
    assert [it.first_event for it in slow] == [0, 10, 20]


def test_lines_are_cut_to_their_share() -> None:
    gathering = Gathering(1, 4)
    gathering.gather(incoming([MINUTE_NS]), 0)
    assert [it.lines for it in gathering.take()] == [(b"line",)]


def window_at(hour: int, minute: int = 0) -> Gathered:
    return Gathered(0, (b"x",), (hour * HOUR_NS + minute * MINUTE_NS,))


def closed(distances: list[float], hours: list[int] | None = None) -> list[Closed]:
    series, found = DriftSeries(), []
    for number, distance in enumerate([*distances, 0.0]):
        hour = 1 + number if hours is None else [*hours, hours[-1] + 1][number]
        found.append(series.add(FarWindow(distance, distance, window_at(hour)), ANCHOR, THRESHOLD))
    return [it for it in found if it is not None]


def test_an_hour_is_the_median_of_its_windows_and_keeps_the_furthest() -> None:
    series = DriftSeries()
    for minute, distance in enumerate([0.1, 0.9, 0.2]):
        assert series.add(FarWindow(distance, 0.5, window_at(7, minute)), ANCHOR, THRESHOLD) is None
    end = series.add(FarWindow(0.0, 0.5, window_at(9)), ANCHOR, THRESHOLD)
    assert end is not None
    assert (end.hour.hour_ns, end.hour.distance, end.hour.windows, end.hour.recent) == (7 * HOUR_NS, 0.2, 3, None)
    assert end.far.distance == 0.9
    assert not end.hour.drifting


def test_hours_without_windows_have_no_entry() -> None:
    found = closed([0.1, 0.2, 0.3], [5, 9, 40])
    assert [it.hour.hour_ns // HOUR_NS for it in found] == [5, 9, 40]


@given(HOURS)
def test_a_drift_begins_above_the_threshold_and_ends_below_eight_tenths_of_it(distances: list[float]) -> None:
    drifting, changed = False, 0
    for number, it in enumerate(closed(distances), 1):
        recent = median(distances[max(0, number - DRIFT_HOURS) : number]) if number >= DRIFT_HOURS else None
        assert it.hour.recent == recent
        settled = number - changed >= DRIFT_HOURS
        assert it.began == (recent is not None and settled and not drifting and recent > THRESHOLD)
        assert it.ended == (recent is not None and settled and drifting and recent < RECOVERY_SHARE * THRESHOLD)
        if it.began or it.ended:
            drifting, changed = it.began, number
        assert it.hour.drifting == drifting
        assert it.hour.since_ns == (changed + 1) * HOUR_NS * drifting


@given(HOURS)
@example([1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0])  # the median crosses both thresholds with every hour
def test_what_is_said_changes_at_most_once_in_six_hours_with_events(distances: list[float]) -> None:
    changes = [number for number, it in enumerate(closed(distances)) if it.began or it.ended]
    assert all(after - before >= DRIFT_HOURS for before, after in pairwise(changes))


@given(st.lists(st.floats(RECOVERY_SHARE * THRESHOLD, THRESHOLD), max_size=60), st.booleans())
def test_between_the_thresholds_nothing_changes(distances: list[float], drifting: bool) -> None:
    before = [1.0 if drifting else 0.0] * DRIFT_HOURS
    found = closed([*before, *distances])[DRIFT_HOURS:]
    assert {it.hour.drifting for it in found} <= {drifting}


@pytest.mark.parametrize(("distance", "begins"), [(0.35, False), (0.351, True)])
def test_the_threshold_itself_is_no_drift(distance: float, begins: bool) -> None:
    assert closed([distance] * DRIFT_HOURS)[-1].began == begins
    assert not closed([distance] * (DRIFT_HOURS - 1))[-1].began


# ---- what it is worth ------------------------------------------------------------------------------------------------------


def drifts(make: Callable[[int], Iterator[bytes]], seed: int, share: float, hours: int, windows: int) -> bool:
    """Whether a stream is called drifting within some hours, of whose lines a `share` are those of another program."""
    codec, rng, usual, other = Codec(DEFAULT_CODEC), random.Random(seed), make(seed), flights(seed)
    anchor = anchor_of([mask_line(line) for line in islice(usual, 400)], codec)
    prepared, series = anchor.prepared(codec), DriftSeries()
    for number in range(hours * windows + 1):
        lines = [mask_line(next(other) if rng.random() < share else next(usual)) for _ in range(anchor.window)]
        ratio = codec.ratio_given(SEPARATOR.join(lines), prepared)
        window = Gathered(0, (b"x",), ((1 + number // windows) * HOUR_NS,))
        end = series.add(FarWindow(anchor.distance(ratio), ratio, window), ANCHOR, THRESHOLD)
        if end is not None and end.began:
            return True
    return False


@pytest.mark.parametrize("make", [iid, bursty])
def test_streams_that_stay_as_they_are_do_not_drift(make: Callable[[int], Iterator[bytes]]) -> None:
    """None of 200 streams of two kinds, in half a day each."""
    assert [seed for seed in range(100) if drifts(make, seed, 0.0, 12, 1)] == []


@pytest.mark.parametrize("make", [iid, bursty])
def test_streams_of_which_three_lines_in_ten_are_another_programs_do(make: Callable[[int], Iterator[bytes]]) -> None:
    assert [seed for seed in range(20) if not drifts(make, seed, 0.3, 6, 1)] == []
