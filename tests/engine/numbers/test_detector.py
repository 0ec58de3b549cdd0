"""The fold of a metrics stream."""

import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from driftlock.engine.event import PointKind, RecordBatch
from driftlock.engine.findings import instance_number
from driftlock.engine.fold import Abandoned, NumberFold
from driftlock.engine.limits import MINUTE_NS, SECOND_NS, Limits
from driftlock.engine.numbers import directory, summaries
from driftlock.engine.numbers.columns import series_number
from driftlock.engine.numbers.row import Row
from driftlock.engine.profile import PROFILES
from driftlock.engine.verdict import Calibration, Finding, Question, StreamEventKind, WindowScore
from tests.engine.numbers.rows import (
    BALANCED,
    CODEC,
    NAN,
    Interrupted,
    Point,
    batch_of,
    in_time,
    live,
    minute,
    new_detector,
    steady,
)


def with_spike(name: str = "m", *, at: int = 400, minutes: int = 420, instance: str = "pod-1") -> list[Point]:
    return [
        replace(point, value=60.0) if point.time_ns == minute(at) else point
        for point in steady(name, range(minutes), instance=instance)
    ]


def spikes(findings: Sequence[Finding], at: int = 400) -> list[Finding]:
    return [finding for finding in findings if finding.end_ns == minute(at)]


def test_it_is_a_fold_of_numbers() -> None:
    fold: NumberFold = new_detector()
    assert fold.events == fold.windows == 0


def test_a_spike_is_a_finding_with_its_numbers() -> None:
    [finding] = spikes(live(new_detector(), with_spike()))
    assert finding.question is Question.VALUE
    assert (finding.subject, finding.stream, finding.codec) == ("pod-1", "metrics:shop/checkout@prod", "numeric")
    assert (finding.first_event, finding.last_event, finding.window) == (400, 400, 400)
    assert finding.ncd > finding.ncd_threshold == 0.5
    assert finding.p_value < 1e-3
    assert finding.calibration is Calibration.OK
    [evidence] = finding.series
    assert (evidence.series, evidence.instance, evidence.value) == ("m", "pod-1", 60.0)
    assert evidence.low < evidence.expected < evidence.high < 60.0
    assert evidence.chart.times_ns[-1] == minute(400)
    assert evidence.chart.values[-1] == 60.0
    assert finding.explanation.startswith("`m` of pod-1 is 60, usually ")
    assert Finding.from_json(finding.to_json()) == finding


def test_what_a_histogram_says_is_named_by_its_part() -> None:
    points = []
    for number in range(420):
        buckets = (30.0 + number % 5, 30.0 + number % 7, 5.0 if number == 400 else 0.0, 0.0)
        point = Point(minute(number), "latency", kind=PointKind.HISTOGRAM_DELTA, start_ns=minute(number - 1), buckets=buckets)
        points.append(replace(point, count=sum(buckets), sum=12.0 + number % 3))
    named = {finding.series[0].series for finding in spikes(live(new_detector(), points))}
    assert "latency p99" in named


def test_a_counter_that_is_reset_is_no_finding() -> None:
    total, points = 0.0, []
    for number in range(500):
        total = 5.0 if number == 400 else total + 100 + number % 7
        start_ns = minute(399.9) if number >= 400 else minute(-1)
        points.append(Point(minute(number), "requests", total, kind=PointKind.CUMULATIVE, start_ns=start_ns))
    findings = live(new_detector(), points)
    assert not [it for it in findings if minute(399) < it.end_ns < minute(410)]


def test_numbers_that_are_none_are_no_findings_and_harm_nothing() -> None:
    points = [
        replace(point, value=(NAN, float("inf"), float("-inf"))[k % 3]) if k % 5 == 1 else point
        for k, point in enumerate(with_spike())
    ]
    [finding] = spikes(live(new_detector(), points))
    assert finding.series[0].value == 60.0


def test_huge_numbers_can_be_stored() -> None:
    values = [(-1) ** k * 1.7e308 if k > 300 and k % 3 else float(k % 9) for k in range(420)]
    findings = live(new_detector(), [Point(minute(k), "m", value) for k, value in enumerate(values)])
    assert findings
    assert all(Finding.from_json(finding.to_json()) == finding for finding in findings)


def test_duplicates_and_late_points_change_nothing() -> None:
    points = with_spike()
    twice = [it for k, point in enumerate(points) for it in (point, replace(points[max(0, k - 3)], value=1e6))]
    [expected], [found] = spikes(live(new_detector(), points)), spikes(live(new_detector(), twice))
    assert found.series == expected.series


def test_windows_are_minutes_and_never_fall() -> None:
    detector = new_detector()
    detector.fold(batch_of([Point(minute(0) + 59 * SECOND_NS, "m", 1.0)]), minute(1), CODEC)
    assert detector.windows == 0
    detector.fold(batch_of([Point(minute(7), "m", 1.0), Point(minute(3), "n", 1.0)]), minute(7), CODEC)
    assert (detector.windows, detector.events) == (7, 3)
    detector.fold(batch_of([Point(minute(9), "m", 1.0)]), minute(9), CODEC)
    assert detector.windows == 9
    assert detector.fold(batch_of([]), minute(12), CODEC) == []


def test_after_a_loss_windows_are_beyond_all_that_there_were() -> None:
    """However many minutes of the past a row of the journal had."""
    years = batch_of([Point(minute(number), "m", 1.0) for number in range(0, 3_000_000, 10_000)], historical=True)
    before, after = new_detector(), new_detector()
    before.fold(years, minute(3_000_000), CODEC)
    after.number_from(1)
    after.fold(batch_of([Point(minute(9), "m", 1.0)], historical=True), minute(3_000_000), CODEC)
    assert after.windows > before.windows


def test_how_far_it_can_be_trusted() -> None:
    detector = new_detector()
    assert detector.health == (Calibration.CALIBRATING, "no series has been seen for long enough")
    live(detector, steady("a", range(200)))
    assert detector.health[0] is Calibration.CALIBRATING
    assert 100 <= detector.events_until_ready <= 110  # by its last look
    live(detector, in_time(*(steady(name, range(200, 320)) for name in "abc")))
    assert detector.health == (Calibration.PROVISIONAL, "1 of 3 series have the 300 points that make the next ones comparable")
    assert 3 * 180 <= detector.events_until_ready <= 3 * 195  # the median of three lacks so many
    assert detector.take_events() == ()
    live(detector, in_time(*(steady(name, range(320, 520)) for name in "abc")))
    assert detector.health[0] is Calibration.OK
    assert detector.events_until_ready == 0
    [event] = detector.take_events()
    assert event.kind is StreamEventKind.CALIBRATED
    assert event.window == (event.time_ns - minute(0)) // MINUTE_NS
    assert event.event == 200 + 3 * (event.window + 1 - 200)
    assert detector.take_events() == ()


def test_an_alarm_of_a_young_series_is_provisional() -> None:
    found = live(new_detector(), with_spike(at=250, minutes=260))
    assert [finding.calibration for finding in spikes(found, 250)] in ([], [Calibration.PROVISIONAL])
    [learned] = spikes(live(new_detector(), with_spike()))
    assert learned.calibration_reason == "401 points of this series have been seen"


def test_profiles_differ_in_what_alarms() -> None:
    points = in_time(*(steady(f"m{k}", range(900), seed="profiles") for k in range(40)))
    counts = [len(live(new_detector(profile=name), points)) for name in ("sensitive", "balanced", "strict")]
    assert counts[0] > counts[1] > counts[2]


def test_a_threshold_for_some_records_holds_for_them_alone() -> None:
    detector = new_detector()
    points = with_spike()
    detector.fold(batch_of(points[:400], historical=True), minute(400), CODEC)
    last = batch_of(points[400:], historical=True)
    last.p_value_threshold = 0.01
    [finding] = spikes(detector.fold(last, minute(430), CODEC))
    assert finding.p_value_threshold == 0.01
    detector.configure(PROFILES["strict"])
    detector.fold(batch_of(steady("m", range(430, 440), instance="pod-1")), minute(440), CODEC)
    assert detector.memory.table.alarm_level == 3.444


def test_the_more_series_are_learned_the_more_a_single_point_needs() -> None:
    detector = new_detector()
    points = in_time(*(steady(f"m{k}", range(330)) for k in range(40)))
    live(detector, points)
    assert detector.memory.directory.learned == 40
    assert detector.memory.table.alarm_level == pytest.approx(2.85 + 0.512)
    detector.fold(batch_of([Point(minute(330), "m0", 10.0)]), minute(330), CODEC)
    assert detector.memory.table.alarm_level == pytest.approx(2.85 + 0.512)


def test_cuts_do_not_move_the_level_of_many_series() -> None:
    points = in_time(*(with_spike(f"m{k}", at=302 + k % 7, minutes=312) for k in range(30)))
    once, by_record = new_detector(), new_detector()
    findings = once.fold(batch_of(points, historical=True), minute(400), CODEC)
    pieces = [
        by_record.fold(batch_of(points[at : at + 17], historical=True), minute(400), CODEC) for at in range(0, len(points), 17)
    ]
    assert once.memory.directory.learned > 20
    assert findings == [finding for piece in pieces for finding in piece]
    assert findings


def test_names_are_cut_but_long_ones_stay_apart() -> None:
    limits = Limits(series_name_bytes_max=64)
    names = ["é" * 600 + end for end in "ab"]
    detector = new_detector(limits)
    detector.fold(batch_of([Point(minute(0), name, 1.0) for name in names]), minute(0), CODEC)
    entries = detector.memory.directory.entries
    assert sorted(entries) == sorted(series_number("", name) for name in names)
    assert {entry.name for entry in entries.values()} == {"é" * 32}


def test_at_most_so_many_series_are_known() -> None:
    fold = Interrupted(new_detector(Limits(series_max=32)))
    for first in range(0, 200, 40):
        fold.fold(batch_of([Point(minute(first), f"m{k}", 1.0) for k in range(first, first + 40)]), minute(first))
        assert len(fold.detector.memory.directory) <= 32
        assert len(fold.detector.memory.points) <= 32
        fold.save()
        assert fold.stored.keys() == fold.detector.memory.directory.entries.keys()
    assert series_number("", "m199") in fold.stored
    assert fold.detector.forgotten() == ()


def test_series_leave_memory_the_longest_unseen_first_unless_they_are_unsaved() -> None:
    detector = new_detector()
    for k in range(6):
        detector.fold(batch_of([Point(minute(k), f"m{k}", 1.0)]), minute(k), CODEC)
    detector.evict(2)
    assert len(detector.memory.points) == 6
    stored = detector.unsaved()
    assert detector.unsaved() == {}
    detector.evict(2)
    again = batch_of([Point(minute(9), f"m{k}", 1.0) for k in (5, 1, 0, 7)])
    assert detector.absent(again) == sorted(series_number("", f"m{k}") for k in (0, 1))
    detector.admit({number: stored[number] for number in detector.absent(again)})
    assert detector.absent(again) == []


@pytest.mark.parametrize("given", ["nothing", "garbage", "another"])
def test_a_series_that_can_not_be_read_begins_anew(given: str) -> None:
    detector = new_detector()
    live(detector, in_time(steady("m", range(100)), steady("n", range(100))))
    m, n = (series_number("", name) for name in "mn")
    stored = detector.unsaved()
    detector.evict(0)
    row = batch_of([Point(minute(100), "m", 1.0)])
    assert detector.absent(row) == [m]
    detector.admit({"nothing": {}, "garbage": {m: b"?" + stored[m]}, "another": {m: stored[n]}}[given])
    assert detector.absent(row) == [m]
    detector.fold(row, minute(100), CODEC)
    [derived] = detector.memory.points.derived(m)
    assert detector.memory.table.points(derived) == 1
    assert detector.absent(row) == []


def test_new_series_at_the_end_of_a_long_row_cost_no_scan_each(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    entry = Row.entry
    monkeypatch.setattr(Row, "entry", lambda row, record, limits: asked.append(record) or entry(row, record, limits))
    points = [Point(minute(0) + k, "m", 1.0) for k in range(40_000)]
    points += [Point(minute(1), f"m{k}", 1.0) for k in range(8_000)]
    detector, batch = new_detector(), batch_of_names(points)
    began = time.process_time()
    detector.fold(batch, minute(2), CODEC)
    assert time.process_time() - began < 2.5  # 8,000 scans of 40,000 records take far longer
    assert asked == [0, *range(40_000, 48_000)]


def batch_of_names(points: Sequence[Point]) -> RecordBatch:
    """`batch_of` looks each name up in a list."""
    names = {name: place + 1 for place, name in enumerate(dict.fromkeys(point.name for point in points))}
    batch = batch_of([replace(point, name="m") for point in points])
    batch.series, batch.series_index = tuple(names), array("I", [names[point.name] for point in points])
    return batch


def test_instances_are_not_hashed_whenever_a_minute_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = new_detector()
    points = in_time(*(steady("m", range(5), instance=f"pod-{k}") for k in range(50)))
    for first in range(0, len(points), 5):
        detector.fold(batch_of(points[first : first + 5]), minute(5), CODEC)
        if first == 50:
            for module in (directory, summaries):
                monkeypatch.setattr(module, "instance_number", hashed := Counting(instance_number))
    assert len(detector.take_summaries()) >= 150
    assert hashed.calls <= len(points)  # those of the rows' own instances


class Counting:
    def __init__(self, of: Callable[[str], int]) -> None:
        self.of, self.calls = of, 0

    def __call__(self, name: str) -> int:
        self.calls += 1
        return self.of(name)


def test_findings_of_a_record_come_in_one_order() -> None:
    points = []
    for number in range(440):
        buckets = (30.0 + number % 5, 30.0 + number % 7, 80.0 if number == 420 else 0.0, 0.0)
        point = Point(minute(number), "latency", kind=PointKind.HISTOGRAM_DELTA, start_ns=minute(number - 1), buckets=buckets)
        points.append(replace(point, count=sum(buckets), sum=12.0 + number % 3 + 900 * (number == 420)))
    findings = spikes(live(new_detector(), points), 420)
    names = [finding.series[0].series for finding in findings]
    assert len(names) > 1
    assert [(it.question.value, it.series[0].series) for it in findings] == sorted(
        (it.question.value, it.series[0].series) for it in findings
    )


def test_sums_of_minutes_do_not_depend_on_cuts_where_series_are_forgotten() -> None:
    points = [
        Point(minute(number) + k, f"m{(number * 7 + k) % 40}", float(k), f"pod-{(number * 7 + k) % 40}")
        for number in range(60)
        for k in range(20)
    ]
    told = []
    for size in (1, 7, 100, len(points)):
        fold, summaries = Interrupted(new_detector(Limits(series_max=16))), []
        for first in range(0, len(points), size):
            fold.fold(batch_of(points[first : first + size], historical=True), minute(1000))
            summaries += fold.detector.take_summaries()
            fold.restart()
        told.append(sorted((it.minute, it.resource, it.points, it.series, it.digits) for it in summaries))
    assert told[0]
    assert told[0] == told[1] == told[2] == told[3]


def test_abandoned_folds_stop() -> None:
    with pytest.raises(Abandoned):
        new_detector().fold(batch_of(with_spike()), minute(500), CODEC, abandoned=lambda: True)


def test_an_observer_sees_every_record_and_changes_no_verdict() -> None:
    class Watching:
        def __init__(self) -> None:
            self.seen: list[tuple[int, list[int], list[float]]] = []

        def events(self, first_event: int, times_ns: Sequence[int], bits: Sequence[float]) -> None:
            self.seen.append((first_event, list(times_ns), list(bits)))

        def window(self, score: WindowScore) -> None:
            raise AssertionError(score)

    watching, batch = Watching(), batch_of(with_spike(), historical=True)
    found = new_detector().fold(batch, minute(500), CODEC, watching)
    assert found == new_detector().fold(batch, minute(500), CODEC)
    [(first, times, bits)] = watching.seen
    assert (first, times, len(bits)) == (0, [minute(k) for k in range(420)], 420)
    assert max(range(50, 420), key=bits.__getitem__) == 400


def test_minutes_are_summed_up_for_the_tenant() -> None:
    pods = [with_spike(f"m{k}") for k in range(8)] + [steady(f"m{k}", range(420), instance="pod-2") for k in range(8)]
    detector = new_detector()
    detector.fold(batch_of(in_time(*pods), historical=True), minute(500), CODEC)
    summaries = detector.take_summaries()
    assert detector.take_summaries() == ()
    assert [it.minute for it in summaries] == sorted(it.minute for it in summaries)
    assert {(it.resource, it.series, it.points) for it in summaries} == {("pod-1", 8, 8), ("pod-2", 8, 8)}
    [odd] = [it for it in summaries if it.window == 400 and it.resource == "pod-1"]
    assert odd.minute == minute(400) // MINUTE_NS
    assert odd.odd == 8
    assert odd.digits > 10
    assert {it.series for it in odd.strongest} < {f"m{k}" for k in range(8)}
    assert all((it.instance, it.value, it.since_ns) == ("pod-1", 60.0, minute(400)) for it in odd.strongest)
    assert all(it.low <= it.expected <= it.high < it.value and 0 < it.score <= 0.5 for it in odd.strongest)


def test_a_row_without_series_or_values_is_taken() -> None:
    batch = batch_of([Point(minute(0), "m", 1.0)])
    batch.series, batch.series_index, batch.values = (), array("I"), array("d")
    detector = new_detector()
    assert detector.fold(batch, minute(0), CODEC) == []
    assert detector.events == 1


def test_the_profile_is_the_one_it_was_given() -> None:
    assert new_detector().profile == BALANCED
