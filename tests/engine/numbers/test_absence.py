"""Series that fall silent while their stream goes on."""

from collections.abc import Sequence

import pytest

from driftlock.engine.event import PointKind
from driftlock.engine.limits import MINUTE_NS, SECOND_NS
from driftlock.engine.numbers.absence import ABSENCES_MAX, HOLD_NS, SINGLE_MAX
from driftlock.engine.verdict import Finding, Question
from tests.engine.numbers.rows import CODEC, NAN, Point, batch_of, by_minute, in_time, live, minute, new_detector, steady


def missing(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.question is Question.MISSING]


def names(findings: Sequence[Finding]) -> list[str]:
    return [finding.series[0].series for finding in missing(findings)]


def test_a_series_that_stops_is_told_once_and_once_more_when_it_stops_again() -> None:
    stops = steady("stops", (*range(200), *range(207, 600)))
    detector = new_detector()
    [first, second] = missing(live(detector, in_time(steady("goes on", range(900)), stops)))
    assert (first.start_ns, second.start_ns) == (minute(199), minute(599))
    assert second.end_ns - second.start_ns > first.end_ns - first.start_ns  # it has shown that it may pause
    assert minute(202) < first.end_ns < minute(225)
    assert first.explanation.startswith("`stops` has not come for ")
    assert first.explanation.endswith("; it usually comes every 60 s.")
    [evidence] = first.series
    assert (evidence.value, evidence.expected, evidence.since_ns) == ((first.end_ns - minute(199)) / 1e9, 60.0, minute(199))
    assert evidence.value >= evidence.high
    assert 0.5 <= first.ncd < 1
    assert first.p_value < 1e-5
    assert first.surprise > 16
    assert first.window == (first.end_ns - minute(0)) // MINUTE_NS - 1


def test_a_series_that_ends_by_its_own_word_is_not_missing_until_it_came_again() -> None:
    stale = Point(minute(200), "ends", NAN, kind=PointKind.STALE)
    once = in_time(steady("goes on", range(900)), steady("ends", range(200)), [stale])
    assert not missing(live(new_detector(), once))
    again = in_time(once, steady("ends", range(204, 350)))
    [finding] = missing(live(new_detector(), again))
    assert finding.start_ns == minute(349)


def test_a_late_word_of_the_end_does_not_count_when_points_came_after_it() -> None:
    points = in_time(steady("goes on", range(400)), steady("ends", range(200)))
    rows = by_minute(points)
    rows[200] = [Point(minute(150), "ends", NAN, kind=PointKind.STALE), *rows[200]]
    detector = new_detector()
    found = []
    for row in rows:
        found += detector.fold(batch_of(row), row[-1].time_ns + SECOND_NS, CODEC)
    assert names(found) == ["ends"]


def test_most_series_of_an_instance_are_one_finding() -> None:
    pods = [
        steady(f"m{k}", range(200 if pod == "pod-2" else 320), instance=pod) for k in range(6) for pod in ("pod-1", "pod-2")
    ]
    [finding] = missing(live(new_detector(), in_time(*pods)))
    assert finding.subject == "pod-2"
    assert finding.explanation.startswith("6 of 6 series of pod-2 have not come for ")


def test_series_of_different_pace_of_an_instance_that_stops_are_one_finding() -> None:
    slow = [Point(minute(k), "slow", float(k % 7), "pod-2") for k in range(0, 1000, 5)]
    quick = [steady(f"m{k}", range(1000), instance="pod-2") for k in range(3)]
    on = steady("m", range(1300), instance="pod-1")
    [finding] = missing(live(new_detector(), in_time(on, slow, *quick)))
    assert finding.subject == "pod-2"
    assert "of 4 series of pod-2" in finding.explanation


def test_some_series_of_an_instance_are_told_one_by_one_but_not_by_hundreds() -> None:
    alive = [steady(f"alive{k}", range(320), instance="pod-1") for k in range(SINGLE_MAX + 6)]
    few = [steady(f"gone{k}", range(200), instance="pod-1") for k in range(3)]
    assert names(live(new_detector(), in_time(*alive, *few))) == ["gone0", "gone1", "gone2"]
    many = [steady(f"gone{k:02}", range(200), instance="pod-1") for k in range(SINGLE_MAX + 1)]
    [finding] = missing(live(new_detector(), in_time(*alive, *many)))
    assert finding.explanation.startswith(f"{SINGLE_MAX + 1} of {2 * SINGLE_MAX + 7} series of pod-1 have not come")


@pytest.mark.parametrize("historical", [False, True])
def test_a_stream_that_pauses_as_a_whole_misses_none_of_its_series(historical: bool) -> None:
    points = in_time(*(steady(f"m{k}", (*range(200), *range(500, 600)), instance=f"pod-{k}") for k in range(4)))
    # They do not come back all at once: the last one five minutes after the first.
    points = [point for point in points if not (point.name == "m3" and minute(499) < point.time_ns < minute(505))]
    found = []
    detector = new_detector()
    for row in by_minute(points):
        found += detector.fold(batch_of(row, historical=historical), row[-1].time_ns + SECOND_NS, CODEC)
    assert not missing(found)


def test_who_always_lags_is_not_missing() -> None:
    """Its clock is half an hour behind; so is nothing else of the stream."""
    on_time = steady("on time", range(400))
    lagging = {point.time_ns + 30 * MINUTE_NS: point for point in steady("lagging", range(370))}
    rows = [[point, *([lagging[point.time_ns]] if point.time_ns in lagging else [])] for point in on_time]
    detector = new_detector()
    found = []
    for row in rows:
        found += detector.fold(batch_of(row), row[0].time_ns + SECOND_NS, CODEC)
    assert not missing(found)
    assert detector.memory.table.points(detector.memory.points.derived(*_numbers(detector, "lagging"))[0]) == 370


def _numbers(detector: object, name: str) -> list[int]:
    return [number for number, entry in detector.memory.directory.entries.items() if entry.name == name]


def test_a_sender_that_delivers_what_it_kept_series_by_series_silences_nobody() -> None:
    detector = new_detector()
    kept = [steady(f"m{k}", range(200, 260)) for k in range(3)]
    found = live(detector, in_time(*(steady(f"m{k}", range(200)) for k in range(3))))
    for place, part in enumerate(kept):
        found += detector.fold(batch_of(part), minute(262) + place * HOLD_NS // 4, CODEC)
    found += live(detector, in_time(*(steady(f"m{k}", range(263, 300)) for k in range(3))))
    assert not missing(found)


def test_an_irregular_series_is_given_its_time() -> None:
    """One point in one to nine minutes: a pause of twelve is nothing."""
    at, places = 0, []
    for step in [1, 9, 4, 2, 7, 3, 8, 5, 6] * 30:
        at += step
        places.append(at)
    cut = [place for place in places if not places[200] < place < places[200] + 12]
    assert not missing(live(new_detector(), in_time(steady("goes on", range(at)), steady("irregular", cut))))


def test_too_young_a_series_is_not_missing() -> None:
    assert not missing(live(new_detector(), in_time(steady("goes on", range(300)), steady("young", range(100, 120)))))


def test_a_minute_tells_of_a_few_and_counts_the_rest() -> None:
    pods = ABSENCES_MAX + 30
    points = [steady(name, range(60), instance=f"pod-{k:02}") for k in range(pods) for name in "ab"]
    found = missing(live(new_detector(), in_time(steady("goes on", range(90)), *points)))
    assert len(found) == ABSENCES_MAX + 1
    assert len({it.end_ns for it in found}) == 1
    assert [it.explanation.startswith("2 of 2 series of pod-") for it in found].count(True) == ABSENCES_MAX
    [rest] = [it for it in found if it.subject == ""]
    assert rest.explanation.startswith("60 of 60 series have not come for ")


def test_series_that_ended_or_are_too_young_are_not_looked_at_again() -> None:
    detector = new_detector()
    young = [steady(f"young{k}", range(k, k + 5)) for k in range(50)]
    live(detector, in_time(steady("goes on", range(200)), steady("stops", range(100)), *young))
    entries = detector.memory.directory.entries.values()
    assert {entry.name for entry in entries if entry.look_ns} == {"goes on"}


def test_an_instance_that_was_told_is_not_told_again_series_by_series() -> None:
    slow = [Point(minute(k), "slow", float(k % 7), "pod-2") for k in range(0, 1000, 9)]
    quick = [steady(f"m{k}", range(1000), instance="pod-2") for k in range(3)]
    [finding] = missing(live(new_detector(), in_time(steady("m", range(1300), instance="pod-1"), slow, *quick)))
    assert finding.subject == "pod-2"
