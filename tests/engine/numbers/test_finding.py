"""From a number that alarms to a finding."""

import doctest
from array import array
from dataclasses import replace
from uuid import UUID

import pytest

from cbad_cy.series import CAUSES, CHART_POINTS, EXPERTS, Alarm, SeriesTable
from driftlock.engine.numbers import finding
from driftlock.engine.numbers.absence import Absence
from driftlock.engine.numbers.finding import (
    CHART_SHOWN,
    LATER_MAX,
    QUESTIONS,
    NumberContext,
    absence_finding,
    alarm_finding,
    chart_until,
    series_finding_id,
)
from driftlock.engine.verdict import NUMERIC, Finding, MissingLine, Question
from tests.engine.numbers.rows import BALANCED, minute

STREAM, OTHER = UUID(int=1), UUID(int=2)
CONTEXT = NumberContext("metrics:checkout", BALANCED, 0.05, 7, 12, 34, receive_timed=False)
ALARM = Alarm(0, 5, minute(60), 9.0, 12.0, 1e-4, 0.7, 20.0, 1.0, 0.5, 1.5, "value", 2, minute(58), 61)


def table_of(points: int) -> SeriesTable:
    table = SeriesTable(series_max=1)
    table.feed(array("Q", [5]) * points, array("Q", map(minute, range(points))), array("d", [k % 7 for k in range(points)]))
    return table


def alarm_of(table: SeriesTable, **changes: object) -> Finding:
    return alarm_finding(ALARM._replace(**changes), "pod-1", "m", table, CONTEXT)


def test_the_examples_are_true() -> None:
    assert doctest.testmod(finding).failed == 0


def test_every_cause_has_its_question_and_its_sentence() -> None:
    assert set(QUESTIONS) == set(CAUSES)
    table = table_of(61)
    sentences = {alarm_of(table, cause=cause).explanation for cause in CAUSES}
    assert len(sentences) == len(CAUSES)
    assert {alarm_of(table, cause=cause).question for cause in CAUSES} == {Question.VALUE, Question.PATTERN, Question.FLATLINE}
    assert set(QUESTIONS.values()) < NUMERIC


@pytest.mark.parametrize("expert", range(len(EXPERTS)))
def test_the_expert_is_named(expert: int) -> None:
    assert alarm_of(table_of(61), expert=expert).series[0].expert == EXPERTS[expert]


@pytest.mark.parametrize("later", [0, 1, LATER_MAX])
def test_a_chart_ends_with_its_point_whatever_came_after_it(later: int) -> None:
    alarm = ALARM._replace(time_ns=minute(99), points=100)
    chart = chart_until(table_of(100 + later), alarm)
    assert chart.times_ns == tuple(map(minute, range(100 - CHART_SHOWN, 100)))
    assert chart.values == tuple(float(k % 7) for k in range(100 - CHART_SHOWN, 100))
    assert chart == chart_until(table_of(100), alarm)
    assert all(low <= expected <= high for low, expected, high in zip(chart.low, chart.expected, chart.high, strict=True))
    assert CHART_SHOWN == CHART_POINTS - LATER_MAX


def test_the_chart_of_a_young_series_is_short() -> None:
    assert len(chart_until(table_of(3), ALARM._replace(time_ns=minute(1), points=2)).times_ns) == 2


def test_the_points_that_are_counted_are_those_until_it_alarmed() -> None:
    assert alarm_of(table_of(81)) == alarm_of(table_of(61))
    assert alarm_of(table_of(81)).calibration_reason == "239 more points until the series is learned"
    assert (
        alarm_of(table_of(410), points=400, time_ns=minute(399)).calibration_reason
        == "400 points of this series have been seen"
    )


def test_the_numbers_of_a_finding_have_nine_digits_and_what_came_has_all() -> None:
    third = 1 / 3
    finding = alarm_of(table_of(61), p_value=third / 7, score=2 * third, surprise=100 * third, bits=10 * third, value=1 + third)
    [evidence] = finding.series
    assert (finding.p_value, finding.ncd, finding.surprise, finding.confidence) == (
        0.0476190476,
        0.666666667,
        33.3333333,
        0.952380952,
    )
    assert (evidence.bits, evidence.score, evidence.value) == (3.33333333, 0.666666667, 1 + third)
    [evidence] = alarm_of(table_of(61), expected=third, low=third / 2, high=third * 2e8).series
    assert (evidence.low, evidence.expected, evidence.high) == (0.166666667, 0.333333333, 66666666.7)
    chart = evidence.chart
    assert all(f"{number:.9g}" == f"{number:.15g}" for number in (*chart.expected, *chart.low, *chart.high))


def test_a_change_of_shape_is_told_as_one_and_lets_others_lead() -> None:
    def shape(cause: str, *, derived: bool = True) -> Finding:
        return alarm_finding(ALARM._replace(cause=cause), "pod-1", "m shape", table_of(61), CONTEXT, derived=derived)

    told = "9 bits of change, usually 0.5 to 1.5 (since 23:11 UTC)."
    assert shape("range").explanation == f"`m` of pod-1 is distributed as never before: {told}"
    for cause in ("value", "point", "shift"):
        assert shape(cause).explanation == f"`m` of pod-1 is distributed otherwise than usual: {told}"
    assert "`m shape` of pod-1 has stood still" in shape("flatline").explanation
    assert shape("value").surprise < alarm_of(table_of(61)).surprise == shape("value", derived=False).surprise
    assert shape("value", derived=False).explanation.startswith("`m shape` of pod-1 is 9,")


def test_ids_are_functions_of_what_was_found() -> None:
    finding = alarm_of(table_of(61))
    [evidence] = finding.series
    others = [
        replace(finding, end_ns=finding.end_ns + 1),
        replace(finding, question=Question.PATTERN),
        replace(finding, subject="pod-2"),
        replace(finding, series=(replace(evidence, series="n"),)),
        replace(finding, series=(replace(evidence, instance="pod-2"),)),
        replace(finding, series=()),
        replace(finding, series=(), missing=(MissingLine("heartbeat", 1.0, 0.0, 9),)),
    ]
    ids = {series_finding_id(STREAM, it) for it in (finding, *others)} | {series_finding_id(OTHER, finding)}
    assert len(ids) == len(others) + 2
    again = replace(finding, explanation="other words", ncd=0.9, window=99)
    assert series_finding_id(STREAM, again) == series_finding_id(STREAM, finding)


def test_what_is_said_of_a_window_of_lines_is_neutral() -> None:
    finding = alarm_of(table_of(61))
    assert (finding.ratio, finding.compression_ratio_p_value, finding.entropy_p_value, finding.permutations) == (1, 1, 1, 0)
    assert (finding.lines, finding.window_lines, finding.baseline_lines) == ((), (), ())
    assert (finding.p_without, finding.p_without_others, finding.verified) == (1e-4, 1e-4, False)
    assert (finding.ncd, finding.p_value, finding.surprise) == (0.7, 1e-4, 20.0)
    assert (finding.start_ns, finding.end_ns, finding.window, finding.last_event) == (minute(58), minute(60), 12, 34)
    assert [(it.question, it.surprise) for it in finding.evidence] == [(Question.VALUE, 20.0)]


def test_an_absence_is_told_in_seconds() -> None:
    absence = Absence("pod-1", "m", "m", minute(0), 60 * 10**9, 240 * 10**9, minute(6), 1e-6)
    finding = absence_finding(absence, 19.9, CONTEXT)
    [evidence] = finding.series
    assert (evidence.value, evidence.expected, evidence.high, evidence.bits) == (360.0, 60.0, 240.0, 19.9)
    assert finding.ncd == 0.6
    assert finding.explanation == "`m` of pod-1 has not come for 6 minutes (since 22:13 UTC); it usually comes every 60 s."
    whole = absence_finding(replace(absence, name="", missing=3, series=4), 19.9, CONTEXT)
    assert whole.explanation == "3 of 4 series of pod-1 have not come for 6 minutes (since 22:13 UTC), among them `m`."
    assert series_finding_id(STREAM, whole) == series_finding_id(STREAM, finding)  # one of them is told, never both
