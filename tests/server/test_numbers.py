import json
import math
import random
from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy.codec import Codec
from cbad_cy.series import LEARNING_POINTS, SeriesTable
from driftlock.engine.event import PointKind, RecordBatch, Signal, StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.numbers.detector import NumberDetector
from driftlock.engine.numbers.finding import LATER_MAX
from driftlock.engine.numbers.level import alarm_level
from driftlock.engine.offline import RECEIVED_NS
from driftlock.engine.profile import PROFILES
from driftlock.engine.verdict import Finding
from server.offline.number_incidents import SERIES_NAMED_MAX
from server.offline.numbers import NumberScorer, cuts
from server.offline.points import Points, no_points
from server.report.number_series import NumberCharts

FIRST_NS, STEP_NS = 1_700_000_000 * 10**9, 60 * 10**9
BALANCED = PROFILES["balanced"]
NAMES = ["cpu{pod=a}", "cpu{pod=b}", 'odd"name\u202f']


def points_of(count: int, seed: int = 5) -> Points:
    """Three series that take turns; each jumps twice, the first and the second at the same time."""
    source, made = random.Random(seed), no_points()
    for index in range(count):
        for series in (1, 2, 3):
            value = source.gauss(100, 1)
            at = count * 3 // 4 if series < 3 else count * 3 // 4 + 100
            made.add(series, FIRST_NS + index * STEP_NS, value + 80 if index in (at, count - 20) else value)
    return made


GIVEN = points_of(600)


def raw(given_points: Points, sizes: list[int], **options: Any) -> str:
    """What is told of points that are taken in portions of these sizes, and the rest in one."""
    scorer = NumberScorer(BALANCED, NAMES, Limits(), **{"points": True, **options})
    told, at = [], 0
    for size in [*sizes, len(given_points.series)]:
        told.append(scorer.take(given_points.between(at, at + size)))
        at += size
    return "".join([*told, scorer.finish()])


def told_of(given_points: Points, **options: Any) -> list[dict[str, Any]]:
    lines = raw(given_points, [], **options).splitlines()
    return [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in lines]


def of(kind: str, told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item in told if item["type"] == kind]


TOLD = told_of(GIVEN)


def test_every_point_is_told_once_in_order_as_the_kernel_judges_it() -> None:
    table = SeriesTable(series_max=3, alarm_level=alarm_level(BALANCED.p_value_threshold))
    feed = table.feed(*GIVEN, watch=True)
    points = of("point", TOLD)
    assert [item["point"] for item in points] == list(range(len(GIVEN.series)))
    assert [item["series"] for item in points] == NAMES * 600
    assert [item["value"] for item in points] == list(GIVEN.values)
    assert points[3]["time"] == "2023-11-14T22:14:20Z"
    for name, column, exact in (
        *(("bits", feed.bits, 1e-3), ("score", feed.score, 1e-5), ("rank", feed.rank, 1e-4), ("p_value", feed.p_value, 1e-5)),
        *(("expected", feed.expected, 1e-8), ("low", feed.low, 1e-8), ("high", feed.high, 1e-8)),
    ):
        assert [item[name] for item in points] == pytest.approx(list(column), rel=exact, abs=exact)
    assert [item["point"] for item in points if item["decision"]] == [alarm.index for alarm in feed.alarms]
    assert len(feed.alarms) >= 3


def test_a_series_learns_before_its_points_are_taken() -> None:
    words = [item["status"] for item in of("point", TOLD) if item["series"] == NAMES[1]]
    assert words == ["learning"] * LEARNING_POINTS + ["taken"] * (600 - LEARNING_POINTS)


def test_points_that_are_not_judged_say_why() -> None:
    last_ns = GIVEN.times_ns[-1]
    odd = points_of(600)
    for time_ns, value in (
        (last_ns, 5.0),
        (last_ns - STEP_NS, 6.0),
        (last_ns + 1, math.nan),
        (last_ns + 2, -math.inf),
        (last_ns + 3, 100.0),
    ):
        odd.add(1, time_ns, value)
    rest = of("point", told_of(odd))[1800:]
    assert [item["status"] for item in rest] == ["duplicate", "late", "not_finite", "not_finite", "taken"]
    assert [item["value"] for item in rest] == [5.0, 6.0, None, None, 100.0]
    for item in rest[:4]:
        assert [item[name] for name in ("bits", "score", "rank", "p_value", "expected", "low", "high")] == [None] * 7
        assert item["decision"] is False
    assert set(rest[0]) == set(rest[4])


def test_a_finding_follows_its_point_and_is_that_of_a_server() -> None:
    key = StreamKey(Signal.METRICS, "default")
    detector = NumberDetector(key, BALANCED, 0, Limits())
    batch = RecordBatch(
        lengths=array("I", [0]) * len(GIVEN.series),
        times_ns=GIVEN.times_ns,
        historical=True,
        series=tuple(NAMES),
        series_index=array("I", GIVEN.series),
        values=GIVEN.values,
        point_kinds=bytes([PointKind.GAUGE]) * len(GIVEN.series),
        starts_ns=array("Q", [0]) * len(GIVEN.series),
        counts=array("d", [math.nan]) * len(GIVEN.series),
        sums=array("d", [math.nan]) * len(GIVEN.series),
        shape_sizes=array("I", [0]) * len(GIVEN.series),
    )
    expected = detector.fold(batch, RECEIVED_NS, Codec("zstd", 3))
    found = of("finding", TOLD)
    assert [Finding.from_json(json.dumps(item["verdict"]).encode()) for item in found] == expected
    assert len(found) >= 3
    for item in found:
        before = TOLD[: TOLD.index(item)]
        point = of("point", before)[-1]
        assert point["decision"]
        assert point["point"] == item["verdict"]["first_event"]
        assert (point["series"], item["window"]) == (item["series"], item["verdict"]["window"])
        assert all(each["type"] != "point" for each in before[before.index(point) + 1 :])


def test_findings_at_the_same_time_are_one_incident_whatever_their_series() -> None:
    found, incidents = of("finding", TOLD), of("incident", TOLD)
    jump = [item for item in found if item["verdict"]["first_event"] // 3 == 450]
    assert {item["series"] for item in jump} == {NAMES[0], NAMES[1]}
    assert len({item["incident"] for item in jump}) == 1
    [incident] = [item for item in incidents if item["id"] == jump[0]["incident"]]
    assert set(incident["series"]) >= {NAMES[0], NAMES[1]}
    assert incident["state"] == "closed"
    assert {item["incident"] for item in found} == {item["id"] for item in incidents}
    assert sum(item["findings"] for item in incidents) == len(found)
    strongest = max(
        (item for item in found if item["incident"] == incident["id"]), key=lambda item: item["verdict"]["surprise"]
    )
    assert incident["title"] == strongest["verdict"]["explanation"]
    assert incident["score_max"] == max(item["verdict"]["ncd"] for item in found if item["incident"] == incident["id"])


def test_an_incident_is_closed_by_the_first_point_that_is_later_and_open_when_the_input_ends() -> None:
    closed = [item for item in of("incident", TOLD) if item["state"] == "closed"]
    assert closed
    for item in closed:
        [at] = [number for number, other in enumerate(TOLD) if other is item]
        points = of("point", TOLD[:at])
        end = [other for other in of("finding", TOLD[:at]) if other["incident"] == item["id"]][-1]["verdict"]["end_ns"]
        limit_ns = end + Limits().incident_idle_ns
        assert FIRST_NS + points[-1]["point"] // 3 * STEP_NS > limit_ns >= FIRST_NS + points[-2]["point"] // 3 * STEP_NS
    last = of("finding", TOLD)[-1]["verdict"]["first_event"]
    assert told_of(GIVEN.between(0, last + 1))[-1]["state"] == "open"


def test_series_one_after_the_other_are_of_different_times() -> None:
    """As when each series is a file of its own: event time steps back."""
    jumped = no_points()
    for series in (1, 2):
        source = random.Random(series)
        for index in range(700):
            value = source.gauss(100, 1) + (80 if index == (650 if series == 1 else 400) else 0)
            jumped.add(series, FIRST_NS + index * STEP_NS, value)
    told = told_of(jumped)
    found = [item for item in of("finding", told) if item["verdict"]["series"][0]["value"] > 150]
    assert [item["series"] for item in found] == NAMES[:2]
    assert found[0]["incident"] != found[1]["incident"]
    assert all(item["window"] >= 0 for item in found)


@pytest.mark.parametrize(("steps", "incidents"), [(1, 1), (5, 1), (6, 2)])
def test_incidents_of_slow_series_have_longer_gaps(steps: int, incidents: int) -> None:
    hourly, source = no_points(), random.Random(6)
    for index in range(420):
        for series in (1, 2):
            odd = index == (400 if series == 1 else 400 + steps)
            hourly.add(series, FIRST_NS + index * 3600 * 10**9, source.gauss(100, 1) + 80 * odd)
    found = [item for item in of("finding", told_of(hourly)) if item["verdict"]["series"][0]["value"] > 150]
    assert len(found) == 2
    assert len({item["incident"] for item in found}) == incidents


def test_an_incident_names_a_bounded_number_of_series() -> None:
    many, source = no_points(), random.Random(3)
    names = [f"cpu{number}" for number in range(SERIES_NAMED_MAX + 5)]
    for index in range(400):
        for series in range(1, len(names) + 1):
            many.add(series, FIRST_NS + index * STEP_NS, source.gauss(100, 1) + (80 if index == 390 else 0))
    scorer = NumberScorer(BALANCED, names, Limits(), points=False)
    told = [json.loads(line) for line in (scorer.take(many) + scorer.finish()).splitlines()]
    last = of("incident", told)[-1]
    assert last["series_count"] > SERIES_NAMED_MAX == len(last["series"])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 200), max_size=20))
def test_where_the_input_is_cut_changes_no_byte(sizes: list[int]) -> None:
    assert raw(GIVEN, sizes) == WHOLE


WHOLE = raw(GIVEN, [])


def test_findings_alone_are_those_that_are_told_with_points() -> None:
    assert told_of(GIVEN, points=False) == [item for item in TOLD if item["type"] != "point"]


@pytest.mark.parametrize("count", [1, 3 * 450 + 1, 3 * 450 + 2, 1700])
def test_a_point_is_judged_by_nothing_that_comes_after_it(count: int) -> None:
    early = [item for item in told_of(GIVEN.between(0, count)) if item["type"] != "incident"]
    assert early == [item for item in TOLD if item["type"] != "incident"][: len(early)]
    assert len(of("point", early)) == count


def test_a_stricter_profile_alarms_less() -> None:
    def alarms(name: str) -> int:
        scorer = NumberScorer(PROFILES[name], NAMES, Limits(), points=True)
        return scorer.take(points_of(1500, seed=9)).count('"decision":true')

    assert alarms("sensitive") > alarms("strict") > 0


def test_a_budget_marks_incidents_of_a_day() -> None:
    incidents = of("incident", told_of(GIVEN, alerts_per_day=1))
    days = [item["start"][:10] for item in incidents]
    assert [item["over_budget"] for item in incidents] == [day in days[:number] for number, day in enumerate(days)]
    assert all("over_budget" not in item for item in of("incident", TOLD))


def test_charts_take_what_was_judged() -> None:
    charts = NumberCharts()
    odd = points_of(600)
    odd.add(1, odd.times_ns[-1] + 1, math.nan)
    raw(odd, [], points=False, charts=charts)
    assert [each.name for each in charts.drawn] == NAMES
    assert [each.alarms for each in charts.drawn] == [
        sum(item["decision"] for item in of("point", TOLD) if item["series"] == name) for name in NAMES
    ]
    assert all(math.isfinite(value) for each in charts.drawn for span in each.spans for value in span[1:6])


@given(st.lists(st.integers(1, 4), max_size=60), st.integers(1, 5))
def test_cuts_are_whole_and_hold_few_points_of_a_series(series: list[int], most: int) -> None:
    parts = [series[first:last] for first, last in cuts(series, most)]
    assert [number for part in parts for number in part] == series
    assert all(part and max(map(part.count, part)) <= most for part in parts)
    assert LATER_MAX >= 1
