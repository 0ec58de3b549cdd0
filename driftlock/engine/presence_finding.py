"""From a silence, or an odd number of events a minute, to a finding."""

from collections.abc import Sequence
from dataclasses import replace

from cbad_cy.presence import Pause, Silence
from cbad_cy.series import EXPERTS, Alarm, SeriesTable
from driftlock.engine.evidence import SeriesEvidence
from driftlock.engine.explanation.sentence import masked_headline
from driftlock.engine.numbers.finding import NumberContext, Said, chart_until, number_finding
from driftlock.engine.numbers.sentence import line_silence_sentence, rate_sentence, silence_sentence
from driftlock.engine.verdict import Finding, MissingLine, Question

RATE_SERIES = "events per minute"
"""The name of the series of a stream's rate."""

NAMED_MAX = 3
"""Lines that a sentence names besides the first; the finding lists all."""


def pause_finding(pause: Pause, service: str, context: NumberContext, *, now_ns: int = 0) -> Finding:
    """The finding that a whole stream is silent, or was until now; `now_ns`: the clock that asks, while nothing has come."""
    said = Said(
        question=Question.SILENCE,
        start_ns=pause.start_ns,
        end_ns=pause.end_ns,
        p_value=pause.p_value,
        score=pause.score,
        surprise=pause.surprise,
        sentence=silence_sentence(service, last_ns=pause.start_ns, now_ns=max(now_ns, pause.end_ns), expected=pause.expected),
        calibration_reason=f"{pause.silences:,} silences of this stream have been seen",
    )
    return number_finding(said, replace(context, p_value_threshold=pause.p_value_threshold))


def lines_finding(silences: Sequence[Silence], context: NumberContext) -> Finding:
    """The finding that usual lines have not come; `silences` have one `time_ns`."""
    first, *others = sorted(silences, key=lambda it: (-it.score, it.template))
    sentence = line_silence_sentence(
        _quoted(first),
        last_ns=first.last_ns,
        now_ns=first.time_ns,
        step_ns=first.usual_ns,
        longest_ns=first.longest_ns,
        gaps=first.silences,
    )
    if others:
        named = ", ".join(map(_quoted, others[:NAMED_MAX]))
        further = f" and {len(others) - NAMED_MAX} more" if len(others) > NAMED_MAX else ""
        sentence += f" Silent with it: {named}{further}."
    said = Said(
        question=Question.SILENCE,
        start_ns=first.last_ns,
        end_ns=first.time_ns,
        p_value=first.p_value,
        score=first.score,
        surprise=first.surprise,
        sentence=sentence,
        calibration_reason=f"{first.silences:,} silences of this line have been seen",
    )
    missing = tuple(MissingLine(_shown(it), it.expected, 0.0, it.events) for it in (first, *others))
    return number_finding(said, replace(context, p_value_threshold=first.p_value_threshold), missing=missing)


def rate_finding(alarm: Alarm, service: str, table: SeriesTable, context: NumberContext) -> Finding:
    """The finding that a minute had an odd number of events, or the newest minutes together."""
    minutes = alarm.points
    evidence = SeriesEvidence(
        series=RATE_SERIES,
        value=alarm.value,
        expected=max(0.0, alarm.expected),
        low=max(0.0, alarm.low),
        high=max(0.0, alarm.high),
        bits=alarm.bits,
        score=alarm.score,
        expert=EXPERTS[alarm.expert],
        since_ns=min(alarm.since_ns, alarm.time_ns),
        chart=chart_until(table, alarm),
    )
    said = Said(
        question=Question.RATE,
        start_ns=evidence.since_ns,
        end_ns=alarm.time_ns,
        p_value=alarm.p_value,
        score=alarm.score,
        surprise=alarm.surprise,
        sentence=rate_sentence(service, evidence, minutes=minutes, end_ns=alarm.time_ns, record=alarm.cause == "range"),
        calibration_reason=f"{minutes:,} minutes of this stream have been seen",
    )
    return number_finding(said, context, series=(evidence,))


def _quoted(silence: Silence) -> str:
    return masked_headline(_shown(silence))


def _shown(silence: Silence) -> str:
    return silence.text.decode("utf-8", "replace")
