"""Lists and charts of series."""

import math
from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbad_cy.codec import Codec
from driftlock.engine.event import PointKind, RecordBatch, Signal, StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.numbers.charts import (
    Chart,
    ChartPoint,
    ChartPoints,
    KnownSeries,
    Latest,
    Newest,
    known_series,
    listed,
    series_id,
    thinned,
)
from driftlock.engine.numbers.detector import NumberDetector
from driftlock.engine.numbers.state import number_state
from driftlock.engine.profile import PROFILES

KEY = StreamKey(Signal.METRICS, "shop")
S = 1_000_000_000
T0 = 1_700_000_000 * S
BALANCED = PROFILES["balanced"]


def gauges(start: int, values: dict[str, list[float]], instance: str = "", step_s: int = 10) -> RecordBatch:
    """A row with some points of each series, point by point."""
    names = list(values)
    count = len(next(iter(values.values())))
    numbers = [values[name][at] for at in range(count) for name in names]
    times = [T0 + (start + at) * step_s * S for at in range(count) for _ in names]
    index = [number for _ in range(count) for number in range(1, len(names) + 1)]
    return RecordBatch(
        lengths=array("I", bytes(4 * len(numbers))),
        times_ns=array("Q", times),
        instances=(instance,) if instance else (),
        instance_index=array("I", [1] * len(numbers)) if instance else array("I"),
        series=tuple(f"{name}\x1fid" for name in names),
        series_index=array("I", index),
        values=array("d", numbers),
    )


def wave(at: int) -> float:
    return 50 + 10 * math.sin(at / 5) + (at * 7919 % 13) / 10


def points_of(
    name: str, *rows: RecordBatch, newest_first: bool = False, series_max: int = 9, points_max: int = 10**6
) -> ChartPoints:
    points = ChartPoints(name, None, series_max=series_max, points_max=points_max)
    for row in reversed(rows) if newest_first else rows:
        points.take(row, T0)
    return points


def charts(
    points: ChartPoints, *, newest_first: bool = False, since_ns: int = 0, until_ns: int = 2**63, spans_max: int = 10**6
) -> tuple[Chart, ...]:
    return points.charts(BALANCED, newest_first=newest_first, since_ns=since_ns, until_ns=until_ns, spans_max=spans_max)


def test_a_jump_leaves_what_was_expected() -> None:
    values = [wave(at) for at in range(900)]
    values[800] = 500.0
    (chart,) = charts(points_of("cpu", gauges(0, {"cpu": values, "mem": values})))
    assert (chart.of.name, chart.role, chart.points, chart.learning_points) == ("cpu", "", 900, 300)
    late = chart.spans[400:800]
    assert sum((it.low or 0) <= it.last <= (it.high or 0) for it in late) > 0.9 * len(late)
    jump = chart.spans[800]
    assert (jump.time_ns, jump.last, jump.alarm) == (T0 + 8000 * S, 500.0, True)
    assert jump.high is not None
    assert jump.high < 200
    assert sum(it.alarm for it in chart.spans[400:800]) == 0


def test_rows_read_backwards_give_the_same_chart() -> None:
    rows = [gauges(at, {"cpu": [wave(at + n) for n in range(50)]}) for at in range(0, 400, 50)]
    assert charts(points_of("cpu", *rows)) == charts(points_of("cpu", *rows, newest_first=True), newest_first=True)


def test_points_before_are_learned_from_but_not_shown() -> None:
    row = gauges(0, {"cpu": [wave(at) for at in range(600)]})
    (whole,) = charts(points_of("cpu", row))
    (part,) = charts(points_of("cpu", row), since_ns=T0 + 5000 * S, until_ns=T0 + 5100 * S)
    assert part.spans == whole.spans[500:510]
    assert part.points == 600


def test_a_counter_is_shown_as_its_rate() -> None:
    row = gauges(0, {"requests": [float(30 * at) for at in range(40)]})
    row.point_kinds = bytes([PointKind.CUMULATIVE]) * 40
    row.starts_ns = array("Q", [T0 - S] * 40)
    (chart,) = charts(points_of("requests", row))
    assert chart.role == "rate"
    assert {it.last for it in chart.spans} == {3.0}


def test_histograms_of_two_series_keep_their_buckets() -> None:
    """Of two series in one row only one is drawn: its buckets have to be found behind the other's."""
    count = 30
    row = gauges(0, {"other": [math.nan] * count, "latency": [math.nan] * count})
    row.point_kinds = bytes([PointKind.HISTOGRAM_DELTA]) * (2 * count)
    row.starts_ns = array("Q", [time_ns - 10 * S for time_ns in row.times_ns])
    row.counts = array("d", [5.0, 20.0] * count)
    row.sums = array("d", [500.0, 40.0] * count)
    row.shape_sizes = array("I", [3, 2] * count)
    row.shape_at = array("d", [1.0, 1000.0, math.inf, 4.0, math.inf] * count)
    row.shape = array("d", [0.0, 5.0, 0.0, 20.0, 0.0] * count)
    found = {chart.role: chart for chart in charts(points_of("latency", row))}
    assert {it.last for it in found["rate"].spans} == {2.0}
    assert {it.last for it in found["mean"].spans} == {2.0}
    assert {it.last for it in found["p50"].spans} == {2.0}


def test_series_of_one_name_are_told_apart_by_their_instance() -> None:
    rows = [gauges(0, {"cpu": [1.0] * 5}, instance) for instance in ("a", "b", "c")]
    points = points_of("cpu", *rows, series_max=2)
    assert [chart.of.instance for chart in charts(points)] == ["a", "b"]
    assert {of.instance for of in points.omitted} == {"c"}
    one = ChartPoints("cpu", "c", series_max=2, points_max=100)
    for row in rows:
        one.take(row, T0)
    assert [chart.of.instance for chart in charts(one)] == ["c"]


def test_points_max_ends_the_taking() -> None:
    points = ChartPoints("cpu", None, series_max=1, points_max=10)
    assert points.take(gauges(0, {"cpu": [1.0] * 9}), T0)
    assert points.take(gauges(9, {"mem": [1.0] * 9}), T0)
    assert not points.take(gauges(9, {"cpu": [1.0]}), T0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80), st.integers(1, 30))
def test_thinning_keeps_extremes_alarms_and_counts(values: list[float], spans_max: int) -> None:
    points = [ChartPoint(at, 1, it, it, it, it, it - 1, it + 1, it > 999_000) for at, it in enumerate(values)]
    kept = thinned(points, spans_max)
    assert len(kept) <= spans_max
    assert sum(it.points for it in kept) == len(values)
    assert min(it.least for it in kept) == min(values)
    assert max(it.most for it in kept) == max(values)
    assert any(it.alarm for it in kept) == any(it.alarm for it in points)
    assert [it.time_ns for it in kept] == sorted({it.time_ns for it in kept})
    assert kept[-1].last == values[-1]


def test_the_list_holds_what_is_stored_and_what_came_since() -> None:
    detector = NumberDetector(KEY, BALANCED, 0, Limits())
    detector.fold(gauges(0, {"cpu": [1.0] * 400, "mem": [2.0] * 400}, "a"), T0, Codec("statistical", 1))
    detector.unsaved()
    known = known_series(number_state(detector), KEY, Limits())
    assert {(it.of.name, it.of.instance) for it in known.values()} == {("cpu", "a"), ("mem", "a")}
    newest = Newest(10)
    newest.take(gauges(400, {"cpu": [7.0, 8.0], "disk": [3.0, math.nan]}, "a"), T0)
    newest.take(gauges(399, {"cpu": [6.0]}, "a"), T0)
    found = [(it.of.name, it.last_ns, None if latest is None else latest.value) for it, latest in listed(known, newest)]
    assert found[0] == ("cpu", T0 + 4010 * S, 8.0)
    assert found[1] == ("disk", T0 + 4010 * S, None)
    assert found[2][0] == "mem"


def test_newest_is_bounded_by_series_max() -> None:
    newest = Newest(2)
    newest.take(gauges(0, {name: [1.0] for name in "abcd"}), T0)
    assert len(newest.found) == len(newest.points) == 2


@pytest.mark.parametrize("points", [299, 300])
def test_a_series_is_ready_when_it_is_learned(points: int) -> None:
    known = KnownSeries(series_id("", "cpu\x1fid"), points, T0)
    assert known.learned is (points == 300)
    newest = Newest(9)
    newest.take(gauges(-1, {"cpu": [1.0]}), T0)
    newest.take(gauges(-4, {"cpu": [1.0] * 3}), T0)
    latest = Latest(known.of, T0 - 10 * S, 1.0)
    assert listed({known.of.number: known}, newest) == [(known, latest)]
    assert listed({}, newest) == [(replace(known, points=4, last_ns=T0 - 10 * S), latest)]
