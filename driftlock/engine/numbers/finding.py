"""From a number that alarms, or a series that does not come, to a finding."""

import sys
from dataclasses import dataclass, replace
from uuid import UUID

from cbad_cy.series import CHART_POINTS, EXPERTS, LEARNING_POINTS, SERIES_VERSION, Alarm, SeriesTable
from driftlock.engine.evidence import Chart, SeriesEvidence
from driftlock.engine.numbers.absence import Absence
from driftlock.engine.numbers.sentence import (
    SHAPE,
    flatline_sentence,
    missing_sentence,
    pattern_sentence,
    point_sentence,
    resource_missing_sentence,
    shape_sentence,
    shift_sentence,
    value_sentence,
)
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import OF_NO_WINDOW, Calibration, Evidence, Finding, MissingLine, Question, content_id

CODEC = "numeric"
CODEC_VERSION = str(SERIES_VERSION)
"""Of the code of numbers: scores of another version are not comparable."""

SCORE_THRESHOLD = 0.5
"""The score of a point that just alarms."""

LATER_MAX = 20
"""So many points of a series may be learned after one that alarms before its chart is asked for."""

CHART_SHOWN = CHART_POINTS - LATER_MAX
"""Points of the chart of a finding, the last one being that which it is about."""

SHAPE_SURPRISE = 0.99
"""Share of the surprise of a change of shape that is told: where another series of a histogram is as strange (surprise has a
largest value), that one leads, for a rate or a quantile says more to a person than bits do."""

DIGITS = 9
"""Significant digits of the numbers of findings: more would be the noise of sums."""

QUESTIONS = {
    "value": Question.VALUE,
    "range": Question.VALUE,
    "pattern": Question.PATTERN,
    "flatline": Question.FLATLINE,
    "shift": Question.VALUE,
    "point": Question.VALUE,
}
"""Which question a cause of `cbad_cy.series` answers."""


@dataclass(frozen=True, slots=True)
class NumberContext:
    """What a finding about numbers needs to know of its stream and of the moment.

    `window` counts minutes of event time, `event` is the index in the stream of the record that brought it.
    """

    stream: str
    profile: Profile
    p_value_threshold: float
    seed: int
    window: int
    event: int
    receive_timed: bool


@dataclass(frozen=True, slots=True)
class Said:
    """What is found: p-value, score (0..1, `SCORE_THRESHOLD` = just an alarm), surprise in bits, from when until when."""

    question: Question
    start_ns: int
    end_ns: int
    p_value: float
    score: float
    surprise: float
    sentence: str
    calibration: Calibration = Calibration.OK
    calibration_reason: str = ""


def series_finding_id(stream_id: UUID, finding: Finding) -> UUID:
    """The id of a finding about numbers or times: as hard to guess as the stream's random id, the same on every replay.

    It is a function of what the finding is about, its question and its end, for of one series there is one alarm a time.
    """
    of = finding.series[0] if finding.series else None
    names = (
        finding.subject,
        of.instance if of else "",
        of.series if of else "",
        finding.missing[0].text if finding.missing else "",
        finding.question.value,
    )
    about = b"".join(len(raw).to_bytes(4, "little") + raw for raw in (name.encode("utf-8", "replace") for name in names))
    return content_id(stream_id.bytes + b"series" + about + finding.end_ns.to_bytes(8, "little"))


def number_finding(
    said: Said,
    context: NumberContext,
    *,
    series: tuple[SeriesEvidence, ...] = (),
    subject: str = "",
    missing: tuple[MissingLine, ...] = (),
) -> Finding:
    """The finding, its numbers rounded to `DIGITS`; what findings say of a window of lines is neutral in it."""
    score, p_value, surprise = rounded(said.score), rounded(said.p_value), rounded(said.surprise)
    return Finding(
        **OF_NO_WINDOW,
        stream=context.stream,
        window=context.window,
        first_event=context.event,
        last_event=context.event,
        start_ns=said.start_ns,
        end_ns=said.end_ns,
        ncd=score,
        ncd_threshold=SCORE_THRESHOLD,
        ncd_classical=score,
        p_value=p_value,
        p_value_threshold=context.p_value_threshold,
        confidence=rounded(1.0 - p_value),
        profile=context.profile.name,
        calibration=said.calibration,
        codec=CODEC,
        codec_level=0,
        codec_version=CODEC_VERSION,
        seed=context.seed,
        receive_timed=context.receive_timed,
        explanation=said.sentence,
        lines=(),
        question=said.question,
        surprise=surprise,
        evidence=(Evidence(said.question, p_value, score, surprise),),
        subject=subject,
        missing=missing,
        p_without=p_value,
        p_without_others=p_value,
        calibration_reason=said.calibration_reason,
        series=tuple(map(_rounded_series, series)),
    )


def rounded(value: float) -> float:
    """To `DIGITS` significant digits.

    >>> rounded(0.1 + 0.2), rounded(1e300 / 3)
    (0.3, 3.33333333e+299)
    """
    return float(f"{value:.{DIGITS - 1}e}")


def _rounded_series(it: SeriesEvidence) -> SeriesEvidence:
    """Its value and the chart's values are as they came."""
    chart = it.chart
    return replace(
        it,
        expected=rounded(it.expected),
        low=rounded(it.low),
        high=rounded(it.high),
        bits=rounded(it.bits),
        score=rounded(it.score),
        chart=replace(
            chart,
            expected=tuple(map(rounded, chart.expected)),
            low=tuple(map(rounded, chart.low)),
            high=tuple(map(rounded, chart.high)),
        ),
    )


def chart_until(table: SeriesTable, alarm: Alarm, shown: int = CHART_SHOWN) -> Chart:
    """The chart of a series up to its point that alarmed: the same however few (`LATER_MAX`) points were learned after it."""
    chart = table.chart_of(alarm)
    columns = (chart.values, chart.expected, chart.low, chart.high)
    values, expected, low, high = (tuple(map(_finite, column[-shown:])) for column in columns)
    if min(values) >= 0:  # whatever a later point was
        low = tuple(min(max(0.0, bound), middle) for bound, middle in zip(low, expected, strict=True))
    return Chart(tuple(chart.times_ns[-shown:]), values, expected, low, high)


def _finite(value: float) -> float:
    """JSON knows no infinity: the bounds of what is expected of huge numbers may be one."""
    return min(max(value, -sys.float_info.max), sys.float_info.max)


def alarm_finding(
    alarm: Alarm, instance: str, name: str, table: SeriesTable, context: NumberContext, *, derived: bool = True
) -> Finding:
    """The finding of a point that alarms; `table` has learned at most `LATER_MAX` points of its series after it.

    `derived`: a name that ends in `SHAPE` is that of a change of shape, see `cbad_cy.points`; its surprise is `SHAPE_SURPRISE`
    of what it is.
    """
    is_shape = derived and name.endswith(SHAPE)
    question = QUESTIONS[alarm.cause]
    since_ns = min(alarm.since_ns, alarm.time_ns)
    evidence = SeriesEvidence(
        series=name,
        value=alarm.value,
        expected=alarm.expected,
        low=alarm.low,
        high=alarm.high,
        bits=alarm.bits,
        score=alarm.score,
        expert=EXPERTS[alarm.expert],
        since_ns=since_ns,
        instance=instance,
        chart=chart_until(table, alarm),
    )
    sentence = _sentence(alarm, evidence, is_shape=is_shape)
    calibration, reason = comparable(alarm.points)
    said = Said(
        question=question,
        start_ns=since_ns,
        end_ns=alarm.time_ns,
        p_value=alarm.p_value,
        score=alarm.score,
        surprise=alarm.surprise * SHAPE_SURPRISE if is_shape else alarm.surprise,
        sentence=sentence,
        calibration=calibration,
        calibration_reason=reason,
    )
    return number_finding(said, context, series=(evidence,), subject=instance)


def _sentence(alarm: Alarm, evidence: SeriesEvidence, *, is_shape: bool) -> str:
    end_ns, record = alarm.time_ns, alarm.cause == "range"
    match alarm.cause:
        case "pattern":
            return pattern_sentence(evidence, points=alarm.points, end_ns=end_ns)
        case "flatline":
            return flatline_sentence(evidence, points=alarm.points, end_ns=end_ns)
        case _ if is_shape:
            return shape_sentence(evidence, end_ns=end_ns, record=record)
        case "shift":
            return shift_sentence(evidence, end_ns=end_ns)
        case "point":
            return point_sentence(evidence, end_ns=end_ns)
        case _:
            return value_sentence(evidence, points=alarm.points, end_ns=end_ns, record=record)


def comparable(points: int) -> tuple[Calibration, str]:
    """How far the p-value of a point may be trusted when so many have come, and why."""
    if points < LEARNING_POINTS:
        return Calibration.PROVISIONAL, f"{LEARNING_POINTS - points:,} more points until the series is learned"
    return Calibration.OK, f"{points:,} points of this series have been seen"


def absence_finding(absence: Absence, surprise: float, context: NumberContext) -> Finding:
    """The finding of a series, or of many of one instance, without points; the number concerned is the pause in seconds."""
    gap_ns = absence.now_ns - absence.last_ns
    score = gap_ns / (gap_ns + absence.allowed_ns)
    if absence.name:
        sentence = missing_sentence(
            absence.name, absence.instance, last_ns=absence.last_ns, step_ns=absence.step_ns, now_ns=absence.now_ns
        )
    else:
        sentence = resource_missing_sentence(
            absence.instance,
            missing=absence.missing,
            series=absence.series,
            example=absence.example,
            last_ns=absence.last_ns,
            now_ns=absence.now_ns,
        )
    evidence = SeriesEvidence(
        series=absence.name or absence.example,
        value=gap_ns / 1e9,
        expected=absence.step_ns / 1e9,
        low=0.0,
        high=absence.allowed_ns / 1e9,
        bits=surprise,
        score=score,
        expert="",
        since_ns=absence.last_ns,
        instance=absence.instance,
    )
    said = Said(
        question=Question.MISSING,
        start_ns=absence.last_ns,
        end_ns=absence.now_ns,
        p_value=absence.p_value,
        score=score,
        surprise=surprise,
        sentence=sentence,
        calibration_reason="the pauses of this series have been seen often enough",
    )
    return number_finding(said, context, series=(evidence,), subject=absence.instance)
