"""When the events of a stream come: its minutes, its silences and those of its usual lines."""

import itertools
from array import array
from collections.abc import Sequence

import pytest

from cbad_cy.presence import (
    CATCH_UP_MINUTES_MAX,
    GAPS_MIN,
    LINE_SPAN_NS_MIN,
    LINES_MAX,
    LIVE_LAG_NS_MAX,
    MINUTES_AT_ONCE_MAX,
    ROWS_MIN,
    ROWS_SPAN_NS_MIN,
    SILENCE_NS_MIN,
    TEXT_BYTES_MAX,
    Arrivals,
)
from tests.cbad_cy.arrivals import (
    BASE_NS,
    DAY_NS,
    HEARTBEAT,
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    Found,
    heartbeat,
    merged,
    steady,
)

# ---- minutes ---------------------------------------------------------------------------------------------------------


def test_every_event_counts_in_its_minute_and_empty_minutes_are_counted() -> None:
    records = [(BASE_NS + at * SECOND_NS, 3) for at in (0, 59, 60, 185)]
    assert Found(records).minutes == [(BASE_NS + minute * MINUTE_NS, n) for minute, n in ((1, 2), (2, 1), (3, 0))]


def test_a_late_event_counts_in_the_open_minute() -> None:
    records = [(BASE_NS + at * SECOND_NS, 3) for at in (0, 70, 5, 130)]
    assert [count for _, count in Found(records).minutes] == [1, 2]


def test_of_a_long_silence_so_many_minutes_are_counted() -> None:
    records = [(BASE_NS, 3), (BASE_NS + 30 * DAY_NS, 3), (BASE_NS + 30 * DAY_NS + MINUTE_NS, 3)]
    counts = [count for _, count in Found(records).minutes]
    assert counts == [1, *[0] * CATCH_UP_MINUTES_MAX, 1]


def test_one_call_hands_over_so_many_minutes() -> None:
    times = array("Q", (BASE_NS + hour * HOUR_NS for hour in range(100)))
    arrivals = Arrivals()
    taken = arrivals.take(times)
    assert (len(taken.minutes_ns), taken.stop) == (MINUTES_AT_ONCE_MAX, 69)
    assert len(arrivals.take(times, first=69).minutes_ns) == 99 * 60 - MINUTES_AT_ONCE_MAX


# ---- lines -----------------------------------------------------------------------------------------------------------


def test_a_heartbeat_that_stops_is_told_once_and_soon() -> None:
    [silence] = Found(merged(steady(1, 30), heartbeat(24))).silences
    assert (silence.template, silence.text) == (HEARTBEAT, b"line 7")
    assert 2 * MINUTE_NS <= silence.time_ns - (BASE_NS + DAY_NS) <= 20 * MINUTE_NS
    assert silence.last_ns == BASE_NS + DAY_NS - MINUTE_NS
    assert (silence.usual_ns // SECOND_NS, silence.longest_ns // SECOND_NS) == (55, 60)  # the middle of a half octave
    assert silence.silences == pytest.approx(24 * 60, abs=5)
    assert silence.p_value <= silence.p_value_threshold
    assert 0.5 <= silence.score < 1
    assert silence.expected == pytest.approx((silence.time_ns - silence.last_ns) / MINUTE_NS, rel=0.05)


def test_a_heartbeat_that_comes_back_and_stops_again_is_told_again_when_it_lasts_longer() -> None:
    records = merged(steady(1, 60), heartbeat(24), heartbeat(48, first_h=25))
    first, second = Found(records).silences
    assert first.time_ns < BASE_NS + 25 * HOUR_NS
    assert second.time_ns - second.last_ns > 1.5 * HOUR_NS


@pytest.mark.parametrize("seed", range(4))
def test_lines_that_come_at_random_are_not_told(seed: int) -> None:
    records = steady(seed, 72, kinds=(11, 11, 11, 11, 13, 13, 15, 17))
    assert Found(records).silences == []


def test_when_the_whole_stream_pauses_no_line_is_missing() -> None:
    shift = 9 * HOUR_NS
    records = merged(steady(1, 24), heartbeat(24))
    later = [(at + DAY_NS + shift, template) for at, template in merged(steady(2, 12), heartbeat(12))]
    found = Found(records + later)
    assert found.silences == []
    [pause] = found.pauses
    assert pause.end_ns - pause.start_ns == pytest.approx(shift, abs=MINUTE_NS)


def test_lines_that_stop_together_are_told_together() -> None:
    others = [(at + SECOND_NS, 9) for at, _ in heartbeat(24)]
    silences = Found(merged(steady(1, 30), heartbeat(24), others)).silences
    assert {silence.template for silence in silences} == {HEARTBEAT, 9}
    assert len({silence.time_ns for silence in silences}) == 1


def test_a_line_needs_to_be_known_for_long_enough() -> None:
    active_h = LINE_SPAN_NS_MIN / HOUR_NS
    assert Found(merged(steady(1, 24), heartbeat(active_h - 0.2, 30))).silences == []
    assert Found(merged(steady(1, 24), heartbeat(active_h + 0.2, 30))).silences != []
    assert Found(merged(steady(1, 48), heartbeat(24, 86400 / (GAPS_MIN - 5)))).silences == []


def test_only_the_most_usual_lines_are_known() -> None:
    """As many kinds as there is room for come in every minute, and others now and then."""
    records = [
        (BASE_NS + minute * MINUTE_NS + kind * SECOND_NS, 2 * kind + 1)
        for minute in range(600)
        for kind in range(LINES_MAX + 10)
        if kind < LINES_MAX or minute % 7 == kind % 7
    ]
    stopped = [(at, template) for at, template in records if template != 5 or at < BASE_NS + 300 * MINUTE_NS]
    assert {silence.template for silence in Found(stopped).silences} == {5}
    rare = 2 * LINES_MAX + 3
    stopped = [(at, template) for at, template in records if template != rare or at < BASE_NS + 300 * MINUTE_NS]
    assert Found(stopped).silences == []


def test_the_form_of_a_line_is_cut_between_characters() -> None:
    arrivals, records = Arrivals(), merged(steady(1, 30), heartbeat(24))
    form = "ü".encode() * TEXT_BYTES_MAX
    text = [form[1:] if template == HEARTBEAT else b"x" for _, template in records]
    taken = arrivals.take(
        array("Q", (at for at, _ in records)),
        array("Q", (template for _, template in records)),
        b"".join(text),
        array("I", map(len, text)),
        historical=True,
    )
    while not taken.silences:
        raise AssertionError("the line is not told")
    assert len(taken.silences[0].text) <= TEXT_BYTES_MAX
    assert taken.silences[0].text == form[1:TEXT_BYTES_MAX]


# ---- the whole stream ------------------------------------------------------------------------------------------------


def test_a_gap_of_a_replay_is_told_where_it_ends() -> None:
    records = [*steady(1, 24), *((at + DAY_NS + 3 * HOUR_NS, 3) for at, _ in steady(2, 1))]
    found = Found(records, lines=False)
    [pause] = found.pauses
    assert records[pause.record - 1][0] == pause.start_ns
    assert records[pause.record][0] == pause.end_ns
    assert pause.p_value <= pause.p_value_threshold
    assert pause.expected == pytest.approx(3 * 720, rel=0.2)
    assert Found(records, lines=False, historical=False).pauses == []


def test_nights_that_were_seen_are_not_told_again() -> None:
    days = [(at + day * DAY_NS, 3) for day in range(20) for at, _ in steady(day, 12) if day % 7 not in (2, 3)]
    told = [(pause.start_ns - BASE_NS) // DAY_NS for pause in Found(days, lines=False).pauses]
    assert told == [0, 1]  # the first night, the first weekend


def test_a_gap_is_no_usual_silence_until_it_came_three_times() -> None:
    records = [
        (at + day * DAY_NS, 3)
        for day in range(12)
        for at, _ in steady(day, 24)
        if day % 2 or not 3 + day <= (at - BASE_NS) / HOUR_NS < 4 + day
    ]
    told = [(pause.start_ns - BASE_NS) // DAY_NS for pause in Found(records, lines=False).pauses]
    assert told == [0, 2, 4]


class Live:
    """A stream whose events arrive every `every_s` seconds, each row half a second late, until it stops."""

    def __init__(self, times_s: Sequence[float], every_s: float = 5, *, late_s: float = 0.5) -> None:
        self.arrivals = Arrivals()
        self.told: list[int] = []
        for tick, row in itertools.groupby(times_s, lambda at: int(at / every_s) + 1):
            received = BASE_NS + int((tick * every_s + late_s) * SECOND_NS)
            if 0 < self.arrivals.due_ns <= received:
                self.told.append(self.arrivals.watermark_ns)
            self.arrivals.heard(received, historical=False)
            self.arrivals.take(array("Q", (BASE_NS + int(at * SECOND_NS) for at in row)))
            self.arrivals.settle(received, historical=False)

    @property
    def wait_minutes(self) -> float:
        return (self.arrivals.due_ns - self.arrivals.watermark_ns) / MINUTE_NS


def seconds(seed: int, hours: float, rate: float) -> list[float]:
    return [(at - BASE_NS) / SECOND_NS for at, _ in steady(seed, hours, rate=rate)]


@pytest.mark.parametrize(("rate", "hours", "most"), [(2, 1, 4), (1 / 60, 200, 60), (1 / 5, 24, 10)])
def test_a_live_stream_that_stops_is_due_soon(rate: float, hours: float, most: float) -> None:
    live = Live(seconds(1, hours, rate))
    assert live.told == []
    assert SILENCE_NS_MIN / MINUTE_NS <= live.wait_minutes <= most


def test_a_clock_that_is_wrong_by_hours_changes_little() -> None:
    right, wrong = Live(seconds(1, 24, 0.2)), Live(seconds(1, 24, 0.2), late_s=2 * 3600)
    assert wrong.told == []
    assert right.wait_minutes < wrong.wait_minutes < 40 * 60
    assert Live(seconds(1, 24, 0.2), late_s=LIVE_LAG_NS_MAX / SECOND_NS).arrivals.due_ns == 0


def test_nothing_is_due_before_there_are_rows_enough() -> None:
    few = [60.0 * number for number in range(ROWS_MIN)]
    assert Live(few).arrivals.due_ns == 0
    assert Live([*few, 60.0 * ROWS_MIN]).arrivals.due_ns > 0
    assert Live([0.5 * number for number in range(1000)], every_s=1).arrivals.due_ns == 0
    assert Live([0.5 * number for number in range(2 * ROWS_SPAN_NS_MIN // SECOND_NS + 10)], every_s=1).arrivals.due_ns > 0


def test_silence_is_a_question_that_changes_nothing() -> None:
    arrivals = Live(seconds(1, 24, 0.2)).arrivals
    before, due = arrivals.parts(), arrivals.due_ns
    assert arrivals.silence(due - 1) is None
    one, other = arrivals.silence(due), arrivals.silence(due + HOUR_NS)
    assert one is not None
    assert other is not None
    assert (one.start_ns, one.end_ns, one.record) == (arrivals.watermark_ns, due, -1)
    assert (other.start_ns, other.end_ns) == (one.start_ns, one.end_ns)
    assert one.p_value > other.p_value > 0
    assert 0.45 < one.score < other.score < 1
    assert arrivals.parts() == before


def test_a_replay_has_no_due_time() -> None:
    arrivals = Live(seconds(1, 24, 0.2)).arrivals
    later = array("Q", [arrivals.watermark_ns + SECOND_NS])
    arrivals.heard(later[0], historical=True)
    arrivals.take(later, historical=True)
    arrivals.settle(later[0], historical=True)
    assert arrivals.due_ns == 0


def test_a_stream_that_is_silent_at_night_is_due_in_the_morning() -> None:
    days = [at + day * 86400 for day in range(9) for at in seconds(day, 12, 0.05)]
    live = Live(days)
    assert len(live.told) == 1  # the first night
    assert 12 * 60 < live.wait_minutes < 13 * 60
