"""The numeric coder: against its formulas in plain Python, and what it finds."""

from __future__ import annotations

import math
import random
from array import array
from itertools import pairwise

import pytest

from cbad_cy.reference_series import Series, due_ns
from cbad_cy.series import (
    ALARM_LEVEL,
    CAUSES,
    CHART_POINTS,
    EXPERTS,
    MISSING_P_DAY,
    MISSING_POINTS_MIN,
    SERIES_BYTES,
    SERIES_MAX_MOST,
    SeriesTable,
)
from tests.cbad_cy.series_examples import EXAMPLES, SECOND_NS, START_NS, STEP_NS, feed, noise, seasonal, times


def close(number: float) -> object:
    """Rounding aside: sums go in another order, logarithms are good to 3e-10."""
    return pytest.approx(number, rel=1e-6, abs=1e-6)


def test_a_series_fits() -> None:
    assert SERIES_BYTES <= 8192


@pytest.mark.parametrize(("name", "step_s"), [*((name, 300) for name in EXAMPLES), ("seasonal", 20), ("seasonal", 3600)])
def test_it_says_what_the_formulas_say(name: str, step_s: int) -> None:
    values = EXAMPLES[name](random.Random(1), 900)
    at = times(len(values), step_s * SECOND_NS)
    fed = feed(SeriesTable(series_max=1), values, at=at)
    oracle = Series(ALARM_LEVEL)
    alarms = {alarm.index: alarm for alarm in fed.alarms}
    for i, (value, time_ns) in enumerate(zip(values, at, strict=True)):
        said = oracle.take(value, time_ns)
        assert (i in alarms) == said.alarms, i
        assert fed.bits[i] == close(said.bits), i
        assert -math.log10(fed.p_value[i]) == close(said.tail), i
        assert fed.level[i] == close(said.level), i
        assert fed.rank[i] == close(said.rank), i
        assert fed.score[i] == close(said.score), i
        assert (fed.score[i] >= 0.5) == said.alarms, i
        assert [fed.expected[i], fed.low[i], fed.high[i]] == pytest.approx([said.expected, said.low, said.high], rel=1e-6), i
        if said.alarms:
            alarm = alarms[i]
            assert (alarm.series, alarm.time_ns, alarm.value) == (1, time_ns, value)
            assert (alarm.cause, alarm.expert) == (said.cause, said.expert)
            assert alarm.surprise == close(said.told[1] * math.log2(10))
            assert -math.log10(alarm.p_value) == close(said.told[0])
            assert (alarm.bits, alarm.score, alarm.points) == (fed.bits[i], fed.score[i], i + 1)
            assert (alarm.expected, alarm.low, alarm.high) == (fed.expected[i], fed.low[i], fed.high[i])


@pytest.mark.parametrize("level", [1e-3, 1.0, ALARM_LEVEL, 1e300])
@pytest.mark.parametrize("name", ["heavy", "spikes", "constant", "growing"])
def test_a_score_says_whether_it_alarms_and_otherwise_orders_as_the_rank_does(name: str, level: float) -> None:
    fed = feed(SeriesTable(series_max=1, alarm_level=level), EXAMPLES[name](random.Random(1), 900))
    alarms = {alarm.index: alarm.score for alarm in fed.alarms}
    assert {i: score for i, score in enumerate(fed.score) if score >= 0.5} == alarms
    assert all(0 <= score < 1 for score in fed.score)
    for told in (True, False):
        scores = [score for i, score in sorted(enumerate(fed.score), key=lambda it: fed.rank[it[0]]) if (i in alarms) == told]
        assert scores == sorted(scores)


def test_irregular_times_are_like_the_formulas() -> None:
    rng = random.Random(3)
    at = [START_NS]
    while len(at) < 700:
        at.append(at[-1] + 1 + int(rng.expovariate(1 / 60) * SECOND_NS))
    values = noise(rng, len(at))
    fed, oracle = feed(SeriesTable(series_max=1), values, at=at), Series()
    for i, (value, time_ns) in enumerate(zip(values, at, strict=True)):
        assert fed.level[i] == close(oracle.take(value, time_ns).level), i


def test_spike() -> None:
    values = seasonal(random.Random(2), 2000)
    values[1500] += 60
    (alarm,) = [alarm for alarm in feed(SeriesTable(series_max=1), values).alarms if alarm.index >= 1000]
    assert alarm.index == 1500
    assert alarm.cause in ("value", "range")
    assert alarm.low < alarm.expected < alarm.high < alarm.value
    assert alarm.p_value < 1e-3
    assert alarm.score >= 0.5
    assert alarm.surprise > alarm.bits > 10
    assert alarm.since_ns == START_NS + 1500 * STEP_NS


def test_one_number_all_day_is_a_flatline_told_once() -> None:
    values = noise(random.Random(4), 1000)
    values[600:700] = [values[600]] * 100
    alarms = feed(SeriesTable(series_max=1), values).alarms
    flat = [alarm for alarm in alarms if alarm.cause == "flatline"]
    assert [alarm.since_ns for alarm in flat] == [START_NS + 600 * STEP_NS]
    assert 606 <= flat[0].index < 620


@pytest.mark.parametrize(("lasts", "told"), [(100, 1), (20, 0)])
def test_a_flatline_that_begins_in_silence_is_told_when_that_ends_if_it_still_lasts(lasts: int, told: int) -> None:
    values = noise(random.Random(4), 1000)
    values[600] = 400.0
    values[605 : 605 + lasts] = [values[605]] * lasts
    alarms = [alarm for alarm in feed(SeriesTable(series_max=1), values).alarms if alarm.index >= 600]
    assert alarms[0].index == 600
    flat = [(alarm.index, alarm.since_ns) for alarm in alarms if alarm.cause == "flatline"]
    assert flat == [(630, START_NS + 605 * STEP_NS)] * told


def test_a_constant_series_never_alarms_until_it_moves() -> None:
    fed = feed(SeriesTable(series_max=1), [3.25] * 1200 + [9.0])
    assert [alarm.index for alarm in fed.alarms] == [1200]
    assert fed.bits[1199] < 0.5 < 10 < fed.bits[1200]


def test_a_new_pattern_within_the_range_is_found() -> None:
    rng = random.Random(5)
    values = [rng.gauss(10, 1) + 40 * (i % 100 < 3) for i in range(1500)]
    values[1400:1460] = [rng.uniform(0, 45) for _ in range(60)]
    alarms = [alarm for alarm in feed(SeriesTable(series_max=1), values).alarms if alarm.index >= 1400]
    assert alarms
    assert {alarm.cause for alarm in alarms} <= set(CAUSES)


def test_after_an_alarm_it_is_silent_for_a_while() -> None:
    values = noise(random.Random(6), 800)
    values[500:540] = [200.0 + 40 * i for i in range(40)]
    found = [alarm.index for alarm in feed(SeriesTable(series_max=1), values).alarms if alarm.index >= 500]
    assert found[0] == 500
    assert all(after - before >= 30 for before, after in pairwise(found))


def test_since_is_the_first_of_a_run() -> None:
    values = noise(random.Random(7), 800)
    values[500:640] = [70 + 2.0 * i + 30 * (i % 7 == 0) for i in range(140)]
    alarms = [alarm for alarm in feed(SeriesTable(series_max=1), values).alarms if alarm.index >= 500]
    assert alarms[0].since_ns == alarms[0].time_ns == START_NS + 500 * STEP_NS
    assert all(alarm.since_ns <= alarm.time_ns for alarm in alarms)


def test_a_jump_is_told_once() -> None:
    values = [value + 30 * (i >= 1400) for i, value in enumerate(seasonal(random.Random(3), 1700))]
    alarms = [alarm for alarm in feed(SeriesTable(series_max=1), values).alarms if alarm.index >= 1400]
    assert 1400 <= alarms[0].index <= 1405
    assert "shift" not in [alarm.cause for alarm in alarms[1:]]


def test_what_creeps_in_is_a_shift_from_what_the_long_past_expects() -> None:
    rng = random.Random(11)
    values = [rng.gauss(500, 3) + (min(i - 2000, 60) / 6 if i > 2000 else 0) for i in range(2200)]
    (alarm,) = [alarm for alarm in feed(SeriesTable(series_max=1), values).alarms if alarm.index >= 2000]
    assert alarm.cause == "shift"
    assert 497 < alarm.expected < 503
    assert 485 < alarm.low < 495 < 505 < alarm.high < 515
    assert START_NS + 2000 * STEP_NS <= alarm.since_ns < alarm.time_ns
    assert 0 < alarm.p_value < 0.01


def test_a_lower_level_alarms_more() -> None:
    values = noise(random.Random(8), 3000)
    counts = []
    for level in (1.0, 2.0, 4.0):
        table = SeriesTable(series_max=1, alarm_level=2.85)
        table.alarm_level = level
        assert table.alarm_level == level
        counts.append(len(feed(table, values).alarms))
    assert counts[0] > counts[1] > counts[2]


def test_the_range_holds_about_all_but_one_in_a_hundred() -> None:
    for name in ("noise", "seasonal", "heavy"):
        values = EXAMPLES[name](random.Random(9), 6000)
        fed = feed(SeriesTable(series_max=1), values)
        inside = sum(low <= value <= high for value, low, high in zip(values, fed.low, fed.high, strict=True))
        assert 0.98 < inside / len(values) < 0.995, name


def test_p_values_are_what_they_say() -> None:
    fed = [feed(SeriesTable(series_max=1), noise(random.Random(seed), 5000)).p_value[300:] for seed in range(4)]
    rate = sum(p <= 0.01 for ps in fed for p in ps) / sum(map(len, fed))
    assert 0.004 < rate < 0.016


def test_repeated_and_late_points_and_what_is_no_number() -> None:
    table = SeriesTable(series_max=2)
    at = array("Q", [50, 60, 60, 55, 70, 80, 90, 70])
    values = array("d", [1.0, 2.0, 3.0, 4.0, math.nan, math.inf, -math.inf, 5.0])
    fed = table.feed(array("Q", [9] * 8), at, values, watch=True)
    assert fed.status == bytes([0, 0, 1, 2, 3, 3, 3, 0])
    for column in fed[2:]:
        assert [math.isnan(number) for number in column] == [status > 0 for status in fed.status]
    assert (table.points(9), table.last_ns(9)) == (3, 70)
    assert table.feed(array("Q", [8]), array("Q", [1]), array("d", [math.nan])).status == b"\x03"
    assert 8 not in table
    assert table.feed(array("Q", []), array("Q", []), array("d", [])).status == b""


def test_a_point_at_time_nought_is_a_point() -> None:
    table = SeriesTable(series_max=1)
    assert table.feed(array("Q", [1, 1, 1]), array("Q", [0, 0, 1]), array("d", [1, 1, 1])).status == bytes([0, 1, 0])


def test_unwatched_arrays_are_empty() -> None:
    fed = SeriesTable(series_max=1).feed(array("Q", [1]), array("Q", [1]), array("d", [1.0]))
    assert all(len(column) == 0 for column in fed[2:])


def test_a_batch_of_too_many_series_teaches_nothing() -> None:
    table = SeriesTable(series_max=3)
    feed(table, [1.0, 2.0], series=5)
    before = table.parts(5)
    for refused in ([5, 1, 2, 3], [5, 1, 0]):
        batch = array("Q", refused), array("Q", times(len(refused), start_ns=2 * START_NS)), array("d", [1.0] * len(refused))
        with pytest.raises(ValueError, match=r"more than 3 series|series 0"):
            table.feed(*batch)
        assert (len(table), 1 in table, table.parts(5)) == (1, False, before)
    table.feed(array("Q", [5, 1, 2]), array("Q", [2 * START_NS] * 3), array("d", [1.0] * 3))
    table.drop(5)
    table.feed(array("Q", [3]), array("Q", [2 * START_NS]), array("d", [1.0]))
    assert sorted(table.ids()) == [1, 2, 3]


def test_sizes_and_types_are_checked() -> None:
    table = SeriesTable(series_max=1)
    for size in (0, -1, SERIES_MAX_MOST + 1):
        with pytest.raises(ValueError, match="series do not fit"):
            SeriesTable(series_max=size)
    for level in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="alarm level"):
            table.alarm_level = level
    with pytest.raises(ValueError, match="not points"):
        table.feed(array("q", [1]), array("Q", [1]), array("d", [1.0]))
    with pytest.raises(ValueError, match="one of each"):
        table.feed(array("Q", [1]), array("Q", [1, 2]), array("d", [1.0]))
    for ask in (table.points, table.last_ns, table.chart, table.parts, table.drop, table.step_ns, table.due_ns):
        for series in (0, 7):
            with pytest.raises(KeyError):
                ask(series)
    with pytest.raises(KeyError):
        table.gap_p_value(7, 1)
    assert 0 not in table


def test_those_longest_unseen_come_first() -> None:
    table = SeriesTable(series_max=100)
    order = list(range(1, 60))
    random.Random(1).shuffle(order)
    for place, series in enumerate(order):
        feed(table, [1.0], series=series, at=[100 + place // 2])
    assert list(table.ids()) == sorted(order, key=lambda series: (table.last_ns(series), series))
    for series in order[::3]:
        table.drop(series)
    assert sorted(table.ids()) == sorted(set(order) - set(order[::3]))
    assert all((series in table) == (place % 3 != 0) for place, series in enumerate(order))


def test_the_chart_shows_the_newest_points() -> None:
    table, values = SeriesTable(series_max=1), seasonal(random.Random(1), 200)
    for count in (1, 30, 169):
        fed = feed(table, values[:count])
        chart, n = table.chart(1), min(table.points(1), CHART_POINTS)
        assert [len(column) for column in chart] == [n] * 5
        assert list(chart.values[-min(n, count) :]) == values[:count][-n:]
        assert chart.times_ns[-1] == table.last_ns(1)
        shown = min(n, count)  # kept with 8 bits of the distance from the value
        near = [abs(value - mean) / 250 for value, mean in zip(values[:count], fed.expected, strict=True)]
        for mine, theirs, share in ((chart.expected, fed.expected, 0), (chart.low, fed.low, 1), (chart.high, fed.high, 1)):
            for k in range(-shown, 0):
                assert abs(mine[k] - theirs[k]) <= near[k] + share * (fed.high[k] - fed.low[k]) / 500 + 1e-9


@pytest.mark.parametrize("later", [0, 1, 20, CHART_POINTS - 1])
def test_the_chart_of_an_alarm_ends_with_it_and_its_times_are_counted_back_from_it(later: int) -> None:
    rng, at = random.Random(4), [START_NS]
    while len(at) < 800:
        at.append(at[-1] + rng.randrange(1, 10**12))
    values = noise(rng, 700) + [200.0] * 100
    table = SeriesTable(series_max=1)
    alarm = next(it for it in feed(table, values[:701], at=at[:701]).alarms if it.index == 700)
    assert alarm.points == table.points(1) == 701
    then = table.chart_of(alarm)
    assert (then.times_ns[-1], then.values[-1], len(then.values)) == (at[700], 200.0, CHART_POINTS)
    assert list(then.times_ns) == pytest.approx(at[701 - CHART_POINTS : 701], abs=CHART_POINTS * 2**15)
    feed(table, values[701 : 701 + later], at=at[701 : 701 + later])
    assert [list(column) for column in table.chart_of(alarm)] == [list(column)[later:] for column in then]


def test_a_chart_is_not_asked_for_too_late() -> None:
    table, values = SeriesTable(series_max=1), [*noise(random.Random(4), 400), 200.0]
    alarm = feed(table, values).alarms[-1]
    feed(table, [50.0] * CHART_POINTS)
    with pytest.raises(ValueError, match="52 points were learned after"):
        table.chart_of(alarm)
    table.drop(1)
    with pytest.raises(KeyError):
        table.chart_of(alarm)
    feed(table, [1.0])
    with pytest.raises(ValueError, match="learned after"):
        table.chart_of(alarm)


def gaps(rng: random.Random, kind: str, count: int) -> list[int]:
    """Times of points that come regularly, with jitter, at random, or in shifts of eight hours."""
    at, now = [], START_NS
    for i in range(count):
        now += {
            "regular": 60 * SECOND_NS,
            "jitter": int(rng.uniform(50, 70) * SECOND_NS),
            "random": 1 + int(rng.expovariate(1 / 60) * SECOND_NS),
            "shifts": 60 * SECOND_NS if i % 480 else 16 * 3600 * SECOND_NS,
            "heavy": int(60 * rng.paretovariate(1.5) * SECOND_NS),
        }[kind]
        at.append(now)
    return at


@pytest.mark.parametrize("kind", ["regular", "jitter", "random", "shifts", "heavy"])
def test_when_a_series_is_due(kind: str) -> None:
    rng = random.Random(2)
    at = gaps(rng, kind, 900)
    table, steps = SeriesTable(series_max=1), []
    oracle = Series()
    for i, time_ns in enumerate(at):
        feed(table, [1.0], at=[time_ns])
        oracle.take(1.0, time_ns)
        if i:
            steps.append(oracle.step_s)
        assert table.step_ns(1) == pytest.approx(oracle.step_s * 1e9, rel=1e-9, abs=1)
        if i + 1 < MISSING_POINTS_MIN:
            assert table.due_ns(1) == 0
            assert table.gap_p_value(1, 10**15) == 1.0
        elif i % 50 == 0:
            due = due_ns(at[: i + 1], steps, MISSING_P_DAY)
            if due < 1 << 62:
                assert table.due_ns(1) - time_ns == pytest.approx(due - time_ns, rel=1e-6)
                told = MISSING_P_DAY * min(oracle.step_s / 86400, 1)
                share, least = table.gap_p_value(1, due - time_ns), told * 0.9999  # more where outages were left out
                assert share > least or due - time_ns < 3e9 * oracle.step_s


@pytest.mark.parametrize(("kind", "steps_most"), [("regular", 6), ("jitter", 6), ("random", 90)])
def test_silence_is_known_soon(kind: str, steps_most: float) -> None:
    table, at = SeriesTable(series_max=1), gaps(random.Random(3), kind, 2000)
    feed(table, [1.0] * len(at), at=at)
    assert 2 < (table.due_ns(1) - at[-1]) / table.step_ns(1) < steps_most


@pytest.mark.parametrize("kind", ["regular", "jitter", "random", "shifts"])
def test_usual_pauses_are_not_silence(kind: str) -> None:
    early = days = 0.0
    for seed in range(6):
        table, at = SeriesTable(series_max=1), gaps(random.Random(seed), kind, 3000)
        learned = 1000 if kind == "shifts" else MISSING_POINTS_MIN
        feed(table, [1.0] * learned, at=at[:learned])
        for time_ns in at[learned:]:
            early += 0 < table.due_ns(1) < time_ns
            feed(table, [1.0], at=[time_ns])
        days += (at[-1] - at[learned]) / (86400 * SECOND_NS)
    assert early == 0, days


@pytest.mark.parametrize("outages", [[30], [30, 1, 30], [30, 10], [120], [500], [30] * 8, [600, 1, 30, 30]])
def test_after_outages_as_long_a_pause_is_allowed_and_no_longer(outages: list[int]) -> None:
    table, steps = SeriesTable(series_max=1), [1] * 300 + outages + [1] * 270
    at = [START_NS]
    for step in steps:
        at.append(at[-1] + step * 60 * SECOND_NS)
    feed(table, [1.0] * 301, at=at[:301])
    assert 2 < (table.due_ns(1) - at[300]) / table.step_ns(1) < 6
    feed(table, [1.0] * (len(at) - 301), at=at[301:])
    allowed = (table.due_ns(1) - at[-1]) / (60 * SECOND_NS)
    assert max(outages) < allowed < 1.5 * max(outages)
    assert table.gap_p_value(1, table.due_ns(1) - at[-1]) < 0.02


@pytest.mark.parametrize("pause", [2, 3, 4, 6])
def test_one_pause_that_was_hardly_long_widens_little(pause: int) -> None:
    table, at = SeriesTable(series_max=1), [START_NS]
    for step in [1] * 300 + [pause] + [1] * 270:
        at.append(at[-1] + step * 60 * SECOND_NS)
    feed(table, [1.0] * len(at), at=at)
    assert (table.due_ns(1) - at[-1]) / table.step_ns(1) < max(6, 1.5 * pause)


def test_the_share_of_longer_pauses_falls() -> None:
    table, at = SeriesTable(series_max=1), gaps(random.Random(3), "random", 1000)
    feed(table, [1.0] * len(at), at=at)
    shares = [table.gap_p_value(1, 1 << bit) for bit in range(64)]
    assert all(0 < after <= before <= 1 for before, after in pairwise(shares))
    assert shares[0] == 1.0
    assert shares[-1] < 1e-9


def test_experts_are_named() -> None:
    assert len(EXPERTS) == 10
    values = [5 + 3 * (i % 2) for i in range(400)]
    values[399] = 60
    (alarm,) = feed(SeriesTable(series_max=1), [float(value) for value in values]).alarms
    assert EXPERTS[alarm.expert] == "range"
