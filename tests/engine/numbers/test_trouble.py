"""Points that say nothing, and that a stream says so."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.event import PointKind
from driftlock.engine.numbers.trouble import BLOCK, Trouble
from driftlock.engine.verdict import Calibration
from tests.engine.numbers.rows import CODEC, NAN, Interrupted, Point, batch_of, in_time, live, minute, new_detector, steady


def counter(minutes: range, *, restarts: bool, instance: str = "") -> list[Point]:
    starts = [minute(number - 0.01) if restarts else minute(-1) for number in minutes]
    return [
        Point(minute(number), "requests", 5.0 if restarts else 100.0 * number, instance, PointKind.CUMULATIVE, start_ns)
        for number, start_ns in zip(minutes, starts, strict=True)
    ]


def test_a_stream_whose_points_speak_has_no_trouble() -> None:
    detector = new_detector()
    counters = [counter(range(20), restarts=False, instance=f"pod-{k}") for k in range(60)]
    live(detector, in_time(*counters))
    assert detector.trouble.points >= BLOCK
    assert detector.trouble.shared == 0  # the first one of each counter can not say more
    assert detector.health[0] is not Calibration.DEGRADED


@pytest.mark.parametrize("how", ["twice", "late", "restarts"])
def test_senders_that_share_a_series_are_told(how: str) -> None:
    good = steady("m", range(600))
    match how:
        case "twice":
            points = [it for point in good for it in (point, point)]
        case "late":
            points = [it for k, point in enumerate(good) for it in (point, good[max(0, k - 1)])]
        case _:
            points = in_time(good, counter(range(600), restarts=True))
    detector = new_detector()
    live(detector, points)
    calibration, reason = detector.health
    assert calibration is Calibration.DEGRADED
    assert reason.endswith(
        " % of the newest points came twice, late or restarted their counter: do several senders share a series? "
        "Give each a service.instance.id"
    )
    assert 40 < float(reason.split()[0]) <= 50


def test_values_that_are_none_are_told_as_such() -> None:
    detector = new_detector()
    live(detector, in_time(steady("m", range(400)), [Point(minute(k), "none", NAN) for k in range(400)]))
    assert detector.health[0] is Calibration.DEGRADED
    assert "no finite number" in detector.health[1]


def test_what_was_is_forgotten_when_it_is_over() -> None:
    trouble = Trouble()
    for block in range(6):
        trouble.count(block * BLOCK, BLOCK, BLOCK // 2 if block < 2 else 0, 0)
        assert bool(trouble.reason) == (block < 3)
        assert trouble.points <= 2 * BLOCK


def test_few_points_say_nothing_of_a_stream() -> None:
    trouble = Trouble()
    trouble.count(0, BLOCK - 1, BLOCK - 1, 0)
    assert not trouble.reason
    trouble.count(BLOCK - 1, 1, 1, 0)
    assert trouble.reason.startswith("100.0 % of the newest points came twice")


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_cuts_and_restarts_do_not_move_the_counts(seed: int) -> None:
    rng = random.Random(seed)
    points = []
    for number in range(1200):
        kind = rng.choice((PointKind.GAUGE, PointKind.CUMULATIVE))
        points.append(Point(minute(number - rng.choice((0, 0, 0, 3))), rng.choice("ab"), rng.choice((1.0, NAN)), kind=kind))
    whole = new_detector()
    whole.fold(batch_of(points, historical=True), minute(9999), CODEC)
    fold = Interrupted(new_detector())
    cuts = sorted(rng.sample(range(1, len(points)), 4))
    for first, last in pairwise((0, *cuts, len(points))):
        fold.fold(batch_of(points[first:last], historical=True), minute(9999))
        fold.restart()
    assert fold.detector.trouble == whole.trouble
    assert fold.detector.health == whole.health


def test_a_stream_that_can_not_learn_is_never_nearly_ready() -> None:
    detector = new_detector()
    live(detector, counter(range(900), restarts=True))
    assert detector.events_until_ready == 300
