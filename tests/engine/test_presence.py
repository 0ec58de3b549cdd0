"""Rates and silences in the fold of a stream of lines: findings, checkpoints, and what they say."""

import itertools
import json
import random
from array import array
from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbad_cy.codec import Codec
from cbad_cy.series import ALARM_LEVEL, SERIES_VERSION, SeriesTable
from driftlock.engine.detector import Detector
from driftlock.engine.event import RecordBatch
from driftlock.engine.limits import Limits
from driftlock.engine.numbers.finding import series_finding_id
from driftlock.engine.presence_finding import RATE_SERIES
from driftlock.engine.profile import DEFAULT_CODEC, PROFILES, custom
from driftlock.engine.rate import LEVEL_ABOVE, ODD_MINUTES_MAX, USUAL_AFTER, OddMinute, Rate
from driftlock.engine.state import restore_stream, stream_state
from driftlock.engine.verdict import Calibration, Finding, Question
from tests.engine.streams import BASE_NS, FAR_NS, KEY, SECOND_NS

MINUTE_NS = 60 * SECOND_NS
DAY_BASE_NS = BASE_NS - BASE_NS % MINUTE_NS
BEAT = b"scheduler heartbeat ok"
USUAL = (b"INFO cart loaded for user %d", b"INFO order %d accepted", b"DEBUG cache hit for page %d")

Record = tuple[int, bytes]


def usual(seed: int, minutes: float, *, a_minute: float, first: float = 0) -> list[Record]:
    """So many events a minute, evenly with some noise, from one minute to another."""
    rng, records = random.Random(seed), []
    for number in range(int((minutes - first) * a_minute)):
        at = (first + (number + rng.random()) / a_minute) * MINUTE_NS
        records.append((DAY_BASE_NS + int(at), rng.choice(USUAL) % rng.randrange(1000)))
    return sorted(records)


def beats(minutes: int) -> list[Record]:
    return [(DAY_BASE_NS + minute * MINUTE_NS, BEAT) for minute in range(minutes)]


def batch(records: Sequence[Record], *, historical: bool = True) -> RecordBatch:
    lines = [line for _, line in records]
    times = array("Q", (at for at, _ in records))
    return RecordBatch(b"".join(lines), array("I", map(len, lines)), times, historical=historical)


def detector() -> Detector:
    return Detector(KEY, PROFILES["balanced"], 7, Limits())


def restored(fold: Detector) -> Detector:
    codec = Codec(DEFAULT_CODEC)
    return restore_stream(stream_state(fold, codec), KEY, 7, Limits(), lambda _: codec)


def found(records: Sequence[Record], size: int = 1000, fold: Detector | None = None) -> list[Finding]:
    fold, codec, findings = fold or detector(), Codec(DEFAULT_CODEC), list[Finding]()
    for start in range(0, len(records), size):
        findings += fold.fold(batch(records[start : start + size]), FAR_NS, codec)
    return findings


def asked(findings: Sequence[Finding], question: Question) -> list[Finding]:
    return [finding for finding in findings if finding.question is question]


# ---- lines -----------------------------------------------------------------------------------------------------------


def test_a_usual_line_that_falls_silent_is_a_finding() -> None:
    records = sorted(usual(1, 700, a_minute=6) + beats(600))
    findings = found(records)
    [silence] = asked(findings, Question.SILENCE)
    [missing] = silence.missing
    assert missing.text == BEAT.decode()
    assert missing.observed == 0
    assert missing.expected > 2
    assert silence.start_ns == DAY_BASE_NS + 599 * MINUTE_NS
    assert silence.explanation.startswith("`scheduler heartbeat ok` has not come for 1")
    assert silence.explanation.endswith("; it usually comes every 55 s (longest gap in 597: 60 s).")
    assert (silence.ncd_threshold, silence.calibration, silence.subject) == (0.5, Calibration.OK, "")
    assert silence.ncd >= 0.5
    assert 0 < silence.p_value <= silence.p_value_threshold
    assert records[silence.last_event][0] >= silence.end_ns
    assert records[silence.last_event - 1][0] < silence.end_ns
    assert Finding.from_json(silence.to_json()) == silence


def test_other_masks_make_other_lines() -> None:
    fold = detector()
    records = sorted(usual(1, 700, a_minute=6) + beats(600))
    split = next(at for at, (time_ns, _) in enumerate(records) if time_ns > DAY_BASE_NS + 599 * MINUTE_NS)
    found(records[:split], fold=fold)
    fold.configure(custom(PROFILES["balanced"], {"masks": ["heart{alnum}{as:BEAT}"]}))
    assert asked(found(records[split:], fold=fold), Question.SILENCE) == []


# ---- the stream ------------------------------------------------------------------------------------------------------


def test_a_gap_of_a_replay_is_a_finding_when_it_ends() -> None:
    records = usual(1, 600, a_minute=6) + usual(2, 800, a_minute=6, first=720)
    findings = found(records)
    [silence] = asked(findings, Question.SILENCE)
    assert (silence.start_ns, silence.end_ns) == (records[3599][0], records[3600][0])
    assert silence.missing == ()
    assert silence.explanation.startswith("Nothing has come from checkout for 2 hours (since ")
    assert silence.last_event == 3600


def live(records: Sequence[Record], fold: Detector, every_s: int = 10) -> list[Finding]:
    codec, findings = Codec(DEFAULT_CODEC), list[Finding]()
    for tick, row in itertools.groupby(records, lambda record: record[0] // (every_s * SECOND_NS) + 1):
        findings += fold.fold(batch(list(row), historical=False), tick * every_s * SECOND_NS, codec)
    return findings


def test_a_live_stream_that_stops_is_found_by_the_clock() -> None:
    fold = detector()
    records = usual(1, 120, a_minute=12)
    assert asked(live(records, fold), Question.SILENCE) == []
    due, body = fold.due_ns, stream_state(fold, Codec(DEFAULT_CODEC))
    assert 2 * MINUTE_NS <= due - records[-1][0] <= 15 * MINUTE_NS
    assert fold.silence(due - 1) is None
    one, other = fold.silence(due), fold.silence(due + 60 * MINUTE_NS)
    assert one is not None
    assert other is not None
    stream_id = UUID(int=5)
    assert series_finding_id(stream_id, one) == series_finding_id(stream_id, other)
    assert (one.question, one.start_ns, one.end_ns) == (Question.SILENCE, records[-1][0], due)
    assert (one.last_event, one.receive_timed) == (fold.events - 1, True)
    assert one.window == max(0, fold.windows - 1)
    assert one.explanation.startswith("Nothing has come from checkout for ")
    assert one.p_value > other.p_value
    assert stream_state(fold, Codec(DEFAULT_CODEC)) == body
    again = restored(fold)
    assert (again.due_ns, again.silence(due)) == (due, one)


def test_when_a_live_stream_comes_back_nothing_is_told() -> None:
    fold = detector()
    live(usual(1, 120, a_minute=12), fold)
    assert asked(live(usual(2, 300, a_minute=12, first=240), fold), Question.SILENCE) == []
    assert fold.due_ns > DAY_BASE_NS + 300 * MINUTE_NS


def test_an_empty_row_says_nothing() -> None:
    fold = detector()
    live(usual(1, 120, a_minute=12), fold)
    before = stream_state(fold, Codec(DEFAULT_CODEC))
    assert fold.fold(RecordBatch(), DAY_BASE_NS + 200 * MINUTE_NS, Codec(DEFAULT_CODEC)) == []
    assert stream_state(fold, Codec(DEFAULT_CODEC)) == before


# ---- the rate --------------------------------------------------------------------------------------------------------


def with_rate(factor: float, minutes: float = 20) -> list[Record]:
    return sorted(
        usual(1, 600, a_minute=20)
        + usual(2, 600 + minutes, a_minute=20 * factor, first=600)
        + usual(3, 700, a_minute=20, first=600 + minutes)
    )


@pytest.mark.parametrize(("factor", "word"), [(5, "most"), (0.1, "fewest")])
def test_a_burst_and_a_drop_are_findings(factor: float, word: str) -> None:
    rates = asked(found(with_rate(factor)), Question.RATE)
    assert rates
    first = rates[0]
    [series] = first.series
    assert DAY_BASE_NS + 600 * MINUTE_NS <= first.end_ns <= DAY_BASE_NS + 610 * MINUTE_NS
    assert series.series == RATE_SERIES
    assert series.low >= 0
    assert (series.value > series.high) == (factor > 1)
    assert series.value == pytest.approx(20 * factor, abs=3)
    assert series.chart.times_ns[-1] == first.end_ns
    assert len(series.chart.values) == len(series.chart.low) >= 20
    assert first.explanation.startswith("checkout had ")
    assert " events a minute, usually " in first.explanation
    assert (f": the {word} of " in first.explanation) == (first.series[0].score > 0.5 and ": the " in first.explanation)
    assert json.loads(first.to_json())["question"] == "rate"


def test_what_came_twice_is_usual() -> None:
    rng, rate = random.Random(1), Rate()
    counts = array("d", (float(rng.randint(15, 25)) for _ in range(2400)))
    for at, events in ((400, 200.0), (1000, 260.0), (1600, 290.0), (2200, 900.0)):
        counts[at] = events
    ends = array("Q", (DAY_BASE_NS + (at + 1) * MINUTE_NS for at in range(len(counts))))
    assert [minute for minute, _ in rate.feed(ends, counts, ALARM_LEVEL)] == [400, 1000, 2200]
    assert [odd.events for odd in rate.odd] == [200, 260, 290, 900]
    assert USUAL_AFTER == 2


def test_less_than_twice_as_many_are_not_told() -> None:
    records = sorted(usual(1, 700, a_minute=20) + usual(2, 601, a_minute=16, first=600))
    assert asked(found(records), Question.RATE) == []
    records = sorted(records + usual(3, 601, a_minute=16, first=600))
    assert asked(found(records), Question.RATE) != []


def test_so_many_odd_minutes_are_remembered() -> None:
    rate = Rate()
    rate.restore(b"", [OddMinute(BASE_NS + at, 5.0, more=True) for at in range(ODD_MINUTES_MAX + 5)])
    assert [odd.time_ns - BASE_NS for odd in rate.odd] == list(range(5, ODD_MINUTES_MAX + 5))


def test_a_burst_is_not_told_by_its_rank_alone() -> None:
    rng = random.Random(2)
    counts = array("d", (rng.randint(15, 25) + (rng.randint(20, 90) if rng.random() < 0.02 else 0) for _ in range(4000)))
    ends = array("Q", (DAY_BASE_NS + (at + 1) * MINUTE_NS for at in range(len(counts))))
    table = SeriesTable(series_max=1, alarm_level=1.0 + LEVEL_ABOVE)
    causes = [alarm.cause for alarm in table.feed(array("Q", [1]) * len(ends), ends, counts).alarms]
    assert "point" in causes
    assert "point" not in [alarm.cause for _, alarm in Rate().feed(ends, counts, 1.0)]


def test_a_rate_of_another_version_is_learned_anew() -> None:
    rate, again = Rate(), Rate()
    list(rate.feed(array("Q", [DAY_BASE_NS + MINUTE_NS]), array("d", [3.0]), ALARM_LEVEL))
    again.restore(rate.parts(), [])
    assert again.parts() == rate.parts()
    again = Rate()
    again.restore(bytes([SERIES_VERSION - 1]) + rate.parts()[1:], [])
    assert again.minutes == 0
    with pytest.raises(ValueError, match="damaged"):
        again.restore(rate.parts()[:-1], [])


def test_minutes_without_events_are_no_rate() -> None:
    records = usual(1, 600, a_minute=20) + usual(2, 800, a_minute=20, first=720)
    assert [finding for finding in asked(found(records), Question.RATE) if finding.series[0].value == 0] == []


def test_no_rate_alarms_before_it_is_learned() -> None:
    records = sorted(usual(1, 250, a_minute=20) + usual(2, 260, a_minute=100, first=250))
    assert asked(found(records), Question.RATE) == []


# ---- properties ------------------------------------------------------------------------------------------------------


def eventful() -> list[Record]:
    """A burst, a line that stops, a gap, and late records."""
    rng = random.Random(4)
    records = sorted(usual(1, 500, a_minute=8) + beats(400))
    records = sorted(records + usual(5, 401, a_minute=60, first=398)) + usual(2, 720, a_minute=8, first=650)
    return [(at - rng.choice([0, 0, 0, 70]) * SECOND_NS, line) for at, line in records]


@settings(max_examples=5, deadline=None)
@given(cuts=st.lists(st.integers(1, 4900), max_size=5, unique=True))
def test_neither_batches_nor_restarts_change_a_finding_or_a_byte(cuts: list[int]) -> None:
    records, codec = eventful(), Codec(DEFAULT_CODEC)
    one, other, findings = detector(), detector(), list[Finding]()
    expected = found(records, 10**6, one)
    assert {Question.RATE, Question.SILENCE} <= {finding.question for finding in expected}
    for start, stop in itertools.pairwise([0, *sorted(cuts), len(records)]):
        findings += other.fold(batch(records[start:stop]), FAR_NS, codec)
        other = restored(other)
    assert [finding.canonical() for finding in findings] == [finding.canonical() for finding in expected]
    assert stream_state(other, codec) == stream_state(one, codec)


def test_rows_of_one_record() -> None:
    records = eventful()
    assert [it.canonical() for it in found(records, 1)] == [it.canonical() for it in found(records, 10**6)]


def test_ids_differ() -> None:
    findings = [it for it in found(eventful()) if it.question in {Question.RATE, Question.SILENCE}]
    assert len({series_finding_id(UUID(int=5), it) for it in findings}) == len(findings) > 1
