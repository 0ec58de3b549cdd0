"""The fold of a stream of traces."""

from array import array
from dataclasses import replace

import pytest

from cbad_cy.calls import ALARM_LEVEL as CALLS_LEVEL
from cbad_cy.calls import EDGES_MAX, GRAPH_EDGES_MAX
from cbad_cy.shapes import ALARM_LEVEL as SHAPES_LEVEL
from driftlock.engine.event import RecordBatch
from driftlock.engine.fold import Abandoned, TraceFold
from driftlock.engine.limits import MINUTE_NS, SECOND_NS, Limits
from driftlock.engine.profile import PROFILES
from driftlock.engine.traces.detector import LEARNING_TRACES, TraceDetector
from driftlock.engine.traces.traffic import BLOCK
from driftlock.engine.verdict import Calibration, Finding, Question, StreamEventKind
from tests.engine.traces.rows import (
    CLIENT,
    CODEC,
    ERROR,
    MS,
    SAMPLED,
    SERVER,
    Span,
    batch_of,
    checkout,
    discounted,
    in_time,
    new_detector,
    second,
    shop,
)
from tests.engine.traces.shop import MAIL, PAST, learned, start, visit, visits

LIMITS = Limits()


def lonely(trace: int, at_ns: int, name: str = "GET /", service: str = "web", marks: int = 0) -> Span:
    return Span(trace, trace, 0, service, name, SERVER, at_ns, MS, marks)


def test_it_is_a_trace_fold() -> None:
    fold: TraceFold = new_detector()
    assert (fold.events, fold.windows, fold.due_ns, fold.closes_ns, fold.graph()) == (0, 0, 0, 0, ())
    assert fold.silence(second(10**6)) is None
    assert fold.take_summaries() == ()
    assert fold.health == (Calibration.CALIBRATING, "no span has come")


def test_an_empty_row_changes_nothing() -> None:
    detector = new_detector()
    assert detector.fold(RecordBatch(), second(1), CODEC) == []
    assert (detector.events, detector.clock.watermark_ns) == (0, 0)


def test_records_that_are_no_spans_only_say_what_time_it_is() -> None:
    detector = new_detector()
    row = RecordBatch(text=b"abc", lengths=array("I", [3]), times_ns=array("Q", [second(5)]))
    assert detector.fold(row, second(5), CODEC) == []
    assert (detector.events, detector.clock.watermark_ns, len(detector.traces)) == (1, second(5), 0)


@pytest.mark.parametrize("column", ["trace_ids", "span_ids", "parent_ids", "span_marks", "durations_ns"])
def test_a_row_without_one_of_the_columns_of_spans_is_no_row_of_spans(column: str) -> None:
    detector = new_detector()
    row = batch_of(shop(range(3)))
    setattr(row, column, type(getattr(row, column))("Q") if column == "durations_ns" else b"")
    assert detector.fold(row, second(5), CODEC) == []
    assert (detector.events, len(detector.traces)) == (9, 0)


def test_spans_of_a_trace_meet_whatever_rows_they_come_in() -> None:
    detector = new_detector()
    for service in ("shop/payment", "shop/cart"):
        detector.fold(batch_of([it for it in shop(range(40)) if it.service == service]), second(5), CODEC)
    assert len(detector.traces) == 40
    assert detector.flush() == []
    assert detector.health[1].startswith("3 operations of 2 services are known from 40 traces, 0 are open")
    [begin, call] = detector.graph()
    assert (begin.caller, begin.callee, begin.calls) == ("", "shop/cart@prod", 40)
    assert begin.first_ns == second(0) < begin.last_ns
    assert (call.caller, call.callee, call.calls, call.errors) == ("shop/cart@prod", "shop/payment@prod", 40, 0)


def mailing(traces: range) -> list[Span]:
    return visits(traces, lambda trace: visit(trace, extra=(MAIL, "PUT /mail")))


def test_a_trace_is_judged_when_it_is_over_and_not_before() -> None:
    detector = learned()
    detector.fold(batch_of(visits(range(PAST, PAST + 400))), start(PAST + 400), CODEC)
    odd = mailing(range(PAST + 400, PAST + 420))
    over_ns = max(it.start_ns + it.duration_ns for it in odd) + LIMITS.trace_linger_ns
    assert detector.fold(batch_of(odd), over_ns, CODEC) == []
    assert detector.fold(batch_of([lonely(1, start(PAST + 400) + LIMITS.trace_linger_ns)]), over_ns, CODEC) == []
    events = detector.events
    [mail] = detector.fold(batch_of([lonely(2, over_ns)]), over_ns, CODEC)
    assert (mail.question, mail.subject) == (Question.DEPENDENCY, "shop/cart@prod")
    assert odd[0].trace <= int(mail.examples[0].trace_id, 16) <= odd[-1].trace
    assert start(PAST + 400) + LIMITS.trace_linger_ns < mail.end_ns <= over_ns
    assert (mail.last_event, mail.calibration) == (events, Calibration.OK)
    assert mail.window == detector.windows - (over_ns // MINUTE_NS - mail.end_ns // MINUTE_NS)


def test_what_is_found_before_enough_is_learned_is_provisional() -> None:
    detector = new_detector()
    detector.fold(batch_of([*visits(range(700)), *mailing(range(700, 800))]), start(800), CODEC)
    found = detector.flush()
    assert {it.question for it in found} == {Question.DEPENDENCY}
    assert {it.calibration for it in found} == {Calibration.PROVISIONAL}
    assert found[0].calibration_reason == "fewer than 1,000 traces were over by then"


def test_a_live_stream_that_stops_is_judged_by_the_time() -> None:
    detector = learned()
    odd = mailing(range(PAST, PAST + 40))
    received_ns = start(PAST + 40) + 4 * SECOND_NS
    detector.fold(batch_of(odd), received_ns, CODEC)
    due_ns = detector.closes_ns
    assert due_ns > received_ns + LIMITS.trace_grace_ns
    assert detector.pass_time(due_ns - 1) == []
    before = len(detector.traces)
    detector.pass_time(due_ns)
    assert len(detector.traces) < before
    findings = detector.pass_time(due_ns + MINUTE_NS)
    assert {it.question for it in findings} == {Question.DEPENDENCY}
    assert all(it.start_ns <= it.end_ns < due_ns + MINUTE_NS for it in findings)
    assert (len(detector.traces), detector.closes_ns) == (0, 0)


def test_clocks_of_senders_may_be_hours_off() -> None:
    for received_ns in (second(10) + 3 * 3600 * SECOND_NS, second(10) - 5 * MINUTE_NS):
        detector = new_detector()
        detector.fold(batch_of(shop(range(100))), received_ns, CODEC)
        # Of traces that seem to end in minutes nobody knows when they are over: they are when nothing comes for so long.
        wait_ns = LIMITS.trace_linger_ns if received_ns > second(10) else LIMITS.trace_idle_ns
        assert received_ns < detector.closes_ns <= received_ns + LIMITS.trace_grace_ns + wait_ns + SECOND_NS


@pytest.mark.parametrize("ahead_s", [9, 590])
def test_one_sender_whose_clock_is_ahead_ends_and_delays_nobody_elses_traces(ahead_s: int) -> None:
    def told(poison: bool) -> tuple[TraceDetector, list[Finding]]:
        detector, found = learned(), []
        for number in range(40):
            odd = 10 <= number < 30
            first = PAST + 20 * number
            row = mailing(range(first, first + 20)) if odd else visits(range(first, first + 20))
            received_ns = start(first + 20)
            if poison and number % 8 == 5:
                row.append(lonely(10**9 + number, received_ns + ahead_s * SECOND_NS, service="phone"))
            found += detector.fold(batch_of(row), received_ns, CODEC)
            assert len(detector.traces) <= 17 * 20
        return detector, found

    calm, [usual] = told(False)
    detector, [mail] = told(True)
    assert detector.clock.watermark_ns > start(PAST + 800) >= calm.clock.watermark_ns
    assert (mail.question, mail.subject) == (usual.question, usual.subject)
    assert abs(mail.end_ns - usual.end_ns) <= LIMITS.trace_ahead_ns + SECOND_NS
    assert detector.traces.late == 0


def test_a_replay_into_a_live_stream_keeps_no_live_trace_open() -> None:
    detector = new_detector()
    detector.fold(batch_of(shop(range(100))), second(10), CODEC)
    closes_ns, month_ns = detector.closes_ns, 30 * 24 * 60 * MINUTE_NS
    old = [replace(it, trace=it.trace + 1000, start_ns=it.start_ns - month_ns) for it in shop(range(10))]
    detector.fold(batch_of(old, historical=True), second(10), CODEC)
    assert detector.closes_ns == closes_ns
    detector.pass_time(second(10) + 5 * MINUTE_NS)
    assert len(detector.traces) == 0
    first_ns = min(it.first_ns for it in detector.graph())
    assert first_ns == second(0)


def test_a_sender_that_has_no_clock_yet_moves_no_beginning_to_1970() -> None:
    detector = learned()
    odd = [replace(it, start_ns=1) if it.service == MAIL else it for it in mailing(range(PAST, PAST + 400))]
    found = detector.fold(batch_of(odd), start(PAST + 400), CODEC) + detector.flush()
    assert {it.question for it in found} == {Question.DEPENDENCY}
    assert all(start(PAST) <= it.start_ns <= it.end_ns for it in found)
    assert all(start(0) <= it.first_ns <= it.last_ns for it in detector.graph())


def test_a_replay_does_not_wait_for_the_time() -> None:
    detector = new_detector()
    detector.fold(batch_of(shop(range(100)), historical=True), second(10**6), CODEC)
    assert detector.closes_ns == 0
    assert detector.pass_time(second(10**7)) == []
    assert len(detector.traces) == 100


def test_after_the_time_came_the_stream_goes_on() -> None:
    detector = new_detector()
    detector.fold(batch_of(shop(range(100))), second(10), CODEC)
    detector.pass_time(second(10) + 5 * MINUTE_NS)
    assert len(detector.traces) == 0
    later = [lonely(5000 + k, second(11 + k)) for k in range(600)]
    detector.fold(batch_of(later), second(612), CODEC)
    assert detector.traces.closed > 600


def test_strict_profiles_alarm_less() -> None:
    told = []
    for name in PROFILES:
        detector = new_detector(profile=name)
        detector.fold(batch_of(shop(range(100))), second(10), CODEC)
        detector.flush()
        assert detector.calls.alarm_level - CALLS_LEVEL == pytest.approx(detector.shapes.alarm_level - SHAPES_LEVEL)
        told.append(detector.calls.alarm_level)
    assert told == sorted(told)
    assert len(set(told)) == 3


def test_a_strict_stream_needs_more_evidence() -> None:
    ends = []
    for name in PROFILES:
        detector = learned()
        detector.configure(PROFILES[name])
        odd = visits(range(PAST, PAST + 600), lambda trace: visit(trace, pay_ms=2.0 if trace % 5 else 10.0))
        found = detector.fold(batch_of(odd), start(PAST + 600), CODEC) + detector.flush()
        ends.append(found[0].end_ns)
        assert found[0].p_value <= PROFILES[name].p_value_threshold
    assert ends == sorted(ends)
    assert ends[0] < ends[-1]


def test_a_row_may_bring_its_own_threshold() -> None:
    detector = new_detector()
    detector.fold(replace(batch_of(shop(range(300))), p_value_threshold=0.01), second(30), CODEC)
    strict = new_detector(profile="strict")
    strict.fold(batch_of(shop(range(300))), second(30), CODEC)
    assert detector.calls.alarm_level == strict.calls.alarm_level


def test_a_profile_holds_from_the_next_row_on_and_nothing_is_learned_anew() -> None:
    detector = new_detector()
    detector.fold(batch_of(shop(range(300))), second(30), CODEC)
    before = detector.health
    detector.configure(PROFILES["strict"])
    assert (detector.profile, detector.health, detector.take_events()) == (PROFILES["strict"], before, ())


def test_it_is_calibrated_with_so_many_traces_and_says_so_once() -> None:
    detector = new_detector()
    left = []
    for first in range(0, LEARNING_TRACES + 400, 100):
        detector.fold(batch_of(shop(range(first, first + 100))), second(first / 10 + 11), CODEC)
        left.append(detector.events_until_ready)
    assert left == sorted(left, reverse=True)
    assert left[0] > 0 == left[-1]
    assert detector.health[0] is Calibration.OK
    [event] = [it for it in detector.take_events() if it.kind is StreamEventKind.CALIBRATED]
    assert event.reason == "1,000 traces were over by then"
    assert detector.take_events() == ()
    extra = (discounted(9000 + k, second(140 + k)) for k in range(20))
    detector.fold(batch_of(in_time(*extra)), second(161), CODEC)
    found = detector.flush()
    assert {(it.calibration, it.calibration_reason) for it in found} == {(Calibration.OK, event.reason)}


def test_windows_are_minutes_of_event_time_and_may_be_numbered_from_anywhere() -> None:
    detector = new_detector()
    detector.fold(batch_of(shop(range(1300))), second(131), CODEC)
    assert detector.windows == 2
    other = new_detector()
    other.number_from(1000)
    other.fold(batch_of(shop(range(10))), second(131), CODEC)
    assert other.windows == 1000 + second(0) // MINUTE_NS


def test_names_with_identifiers_are_told_as_what_they_are() -> None:
    detector = new_detector(Limits(operations_max=32))
    spans = [lonely(1 + k, second(k), f"op-{chr(97 + k // 26)}{chr(97 + k % 26)}", "web") for k in range(60)]
    detector.fold(batch_of(spans), second(61), CODEC)
    assert "spans were of more operations than the 32 that are told apart" in detector.health[1]
    assert len(detector.directory) <= 32


def test_too_many_open_traces_are_closed_early_visibly() -> None:
    detector = new_detector(Limits(traces_open_max=10))
    detector.fold(batch_of([lonely(1 + k, second(0) + k) for k in range(2 * BLOCK)]), second(1), CODEC)
    assert len(detector.traces) == 10
    calibration, reason = detector.health
    assert calibration is Calibration.DEGRADED
    assert reason.startswith("100 % of the newest traces had to be closed before they were whole")
    assert [it.kind for it in detector.take_events()] == [StreamEventKind.DEGRADED]


def test_sampled_traffic_is_recognised() -> None:
    detector = new_detector()
    detector.fold(batch_of([lonely(1 + k, second(k), marks=SAMPLED) for k in range(100)]), second(101), CODEC)
    assert detector.health[1].endswith("only a sample of all traces is sent: counts are of what was sent")


def test_late_spans_are_counted() -> None:
    detector = new_detector()
    spans = shop(range(600))
    detector.fold(batch_of(spans), second(60), CODEC)
    detector.fold(batch_of([replace(spans[0], span=77)]), second(60), CODEC)
    assert detector.traces.late == 1
    assert "1 spans came when their trace was over" in detector.health[1]


def test_spans_of_any_time_are_taken() -> None:
    detector = new_detector()
    spans = [lonely(1, 0), lonely(2, 5), lonely(3, second(0)), lonely(4, (1 << 64) - 1), lonely(5, second(-(10**6)))]
    detector.fold(batch_of([*spans, replace(lonely(6, second(0)), duration_ns=(1 << 64) - 1)]), second(1), CODEC)
    assert detector.clock.watermark_ns <= second(1) + LIMITS.future_ns
    assert all(it.start_ns <= it.end_ns for it in detector.flush())
    assert detector.traces.closed == 6


def test_it_can_be_abandoned() -> None:
    detector = new_detector()
    with pytest.raises(Abandoned):
        detector.fold(batch_of(shop(range(10))), second(1), CODEC, abandoned=lambda: True)


def test_errors_are_kept() -> None:
    detector = new_detector()
    detector.fold(batch_of(in_time(shop(range(50)), checkout(99, second(5), marks=ERROR))), second(6), CODEC)
    detector.flush()
    assert [it.errors for it in detector.graph() if it.callee == "shop/payment@prod"] == [1]


def test_a_trace_has_at_most_so_many_spans() -> None:
    detector = new_detector(Limits(trace_spans_max=20))
    root = lonely(1, second(0))
    detector.fold(batch_of([root, *(replace(root, span=2 + k, parent=1) for k in range(50))]), second(1), CODEC)
    assert (detector.traces.spans, detector.traces.cut) == (20, 31)
    detector.flush()
    assert "31 spans of traces of more than 20 were left out" in detector.health[1]


def test_open_traces_have_at_most_so_many_bytes() -> None:
    limits = Limits(trace_spans_max=20, traces_bytes_max=20_000)
    detector = new_detector(limits)
    detector.fold(batch_of([lonely(1 + k, second(0)) for k in range(1000)]), second(1), CODEC)
    assert detector.traces.bytes <= limits.traces_bytes_max
    assert detector.traces.overflowed == 1000 - len(detector.traces) > 0
    assert "had to be closed before they were whole" in detector.health[1]


def test_a_trace_without_root_is_over_when_nothing_comes_for_so_long() -> None:
    detector = new_detector()
    detector.fold(batch_of(checkout(1, second(0))[1:]), second(1), CODEC)
    detector.fold(batch_of([lonely(2, second(0) + LIMITS.trace_idle_ns - SECOND_NS)]), second(200), CODEC)
    assert detector.traces.closed == 0
    detector.fold(batch_of([lonely(3, second(1) + LIMITS.trace_idle_ns)]), second(200), CODEC)
    assert detector.traces.closed == 1


def test_it_says_what_its_tables_have_no_room_for() -> None:
    detector, count = new_detector(), 95
    spans = []
    for pair in range(count * count):
        caller, callee = divmod(pair, count)
        first, at = 2 * pair + 1, second(pair / 1000)
        spans.append(Span(pair + 1, first, 0, f"a{caller}", "GET", CLIENT, at, 2 * MS))
        spans.append(Span(pair + 1, first + 1, first, f"b{callee}", "GET", SERVER, at, MS))
    detector.fold(batch_of(spans), second(60), CODEC)
    detector.flush()
    said = detector.health[1]
    assert f"{count * count - EDGES_MAX:,} calls were between more pairs of operations than the {EDGES_MAX:,}" in said
    assert detector.calls.graph_overflowed > count * count - GRAPH_EDGES_MAX
    assert f"{detector.calls.graph_overflowed:,} calls were between more pairs of services than the {GRAPH_EDGES_MAX:,}" in said
    assert detector.shapes.overflowed > 0
    assert f"{detector.shapes.overflowed:,} times a part of a trace was not looked at" in said
