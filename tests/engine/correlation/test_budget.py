"""The false-alarm budget: what it promises, for whatever comes."""

import random
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.correlation.budget import DAY_NS, PEAKS_MAX, SPANS_MAX, Budget, Ledger, Peak, Strength, joined
from driftlock.engine.correlation.budget_state import budget_from, budget_message
from driftlock.engine.limits import Limits
from driftlock.engine.verdict import content_id

HOUR_NS = DAY_NS // 24
STREAM, OTHER = UUID(int=1), UUID(int=2)
LIMITS = Limits()
# Times from the beginning of time on, in steps of hours, that go forth and back; and evidence in few values, so that many tie.
TIMES = st.integers(0, 24 * 9).map(lambda hours: hours * HOUR_NS)
STRENGTHS = st.builds(Strength, st.sampled_from([0.0, 1.0, 2.5]), st.sampled_from([-0.05, -0.01]), st.sampled_from([0.4, 0.9]))
FLAGS = st.lists(st.tuples(st.sampled_from([STREAM, OTHER]), st.integers(0, 60), TIMES, STRENGTHS), max_size=150)


def incident(number: int) -> UUID:
    return content_id(number.to_bytes(4, "little"))


def strength(surprise: float) -> Strength:
    return Strength(surprise, -0.01, 0.5)


def peak(number: int, time_ns: int, surprise: float) -> Peak:
    return Peak(time_ns, strength(surprise), incident(number))


def most_in_a_day(times: list[int]) -> int:
    """Most of the times that lie in one half-open span of 24 hours."""
    return max((sum(first <= time < first + DAY_NS for time in times) for first in times), default=0)


def run(
    flags: list[tuple[UUID, int, int, Strength]],
    stream_max: int,
    tenant_max: int,
    limits: Limits = LIMITS,
    *,
    restart: bool = False,
) -> list[tuple[UUID, int]]:
    """Streams and times of the alerts that a budget allows to flags in this order; an incident alerts once."""
    budget = Budget(limits)
    budget.alerts_per_day_max = tenant_max
    alerts, alerted = [], set()
    for stream, number, time_ns, evidence in flags:
        if (stream, number) in alerted:
            budget.grew(stream, Peak(time_ns, evidence, incident(number)))
        elif budget.decide(stream, Peak(time_ns, evidence, incident(number)), stream_max):
            alerts.append((stream, time_ns))
            alerted.add((stream, number))
        if restart:
            message = budget_message(budget)
            again = budget_from(message, limits)
            assert budget_message(again) == message
            budget = again
    return alerts


@settings(deadline=None)
@given(FLAGS, st.integers(0, 6), st.integers(0, 8))
def test_no_24_hours_hold_more_alerts_than_the_budget(
    flags: list[tuple[UUID, int, int, Strength]], stream_max: int, tenant_max: int
) -> None:
    alerts = run(flags, stream_max, tenant_max)
    assert most_in_a_day([time_ns for _, time_ns in alerts]) <= tenant_max
    for stream in (STREAM, OTHER):
        assert most_in_a_day([time_ns for each, time_ns in alerts if each == stream]) <= stream_max


@settings(deadline=None)
@given(FLAGS, st.integers(0, 3), st.integers(0, 8))
def test_the_promise_holds_where_memory_is_short(
    flags: list[tuple[UUID, int, int, Strength]], stream_max: int, tenant_max: int
) -> None:
    short = replace(LIMITS, budget_entries_max=3)
    alerts = run(flags, stream_max, tenant_max, short)
    assert most_in_a_day([time_ns for _, time_ns in alerts]) <= tenant_max
    for stream in (STREAM, OTHER):
        assert most_in_a_day([time_ns for each, time_ns in alerts if each == stream]) <= stream_max


@settings(deadline=None)
@given(FLAGS, st.integers(0, 6), st.integers(0, 8))
def test_a_budget_goes_on_from_its_bytes(
    flags: list[tuple[UUID, int, int, Strength]], stream_max: int, tenant_max: int
) -> None:
    assert run(flags, stream_max, tenant_max, restart=True) == run(flags, stream_max, tenant_max)


def test_the_promise_holds_through_years_of_many_alerts_and_a_second_pass() -> None:
    """What no longer fits into memory stays spent: the same months again get what is left of each day, which is nothing."""
    flags = [(STREAM, number, number * HOUR_NS, strength(random.Random(number).random())) for number in range(24 * 60)]
    alerts = run([*flags, *((stream, number + 10_000, at, evidence) for stream, number, at, evidence in flags)], 2, 100)
    times = [time_ns for _, time_ns in alerts]
    assert most_in_a_day(times) == 2
    assert len([time for time in times if time < 50 * DAY_NS]) <= 2 * 51


def test_a_budget_of_nothing_allows_nothing() -> None:
    flags = [(STREAM, number, number * DAY_NS, strength(99)) for number in range(5)]
    assert run(flags, 0, 9) == []
    assert run(flags, 9, 0) == []
    silent = Budget(LIMITS)
    silent.alerts_per_day_max = 0
    assert silent.spent_share(0) == 0.0


def test_a_stream_with_few_incidents_alerts_with_each() -> None:
    flags = [(STREAM, number, number * 2 * HOUR_NS, strength(5 - number % 5)) for number in range(120)]
    assert len(run(flags, 24, 100)) == 120


def test_a_storm_of_equals_spends_half_and_leaves_most_of_the_rest_to_stronger_ones() -> None:
    budget = Budget(LIMITS)
    storm = [budget.decide(STREAM, peak(number, number * HOUR_NS // 50, 1), 24) for number in range(1000)]
    assert sum(storm[:12]) == 12
    assert 0 < sum(storm[12:]) <= 9  # 4.4 on average
    stronger = [budget.decide(STREAM, peak(2000 + number, 20 * HOUR_NS, 2 + number), 24) for number in range(30)]
    assert stronger == [True] * (24 - sum(storm)) + [False] * (6 + sum(storm))


def test_a_storm_that_goes_on_for_days_is_told_each_day() -> None:
    rng = random.Random(7)
    flags = [(STREAM, number, number * HOUR_NS // 10, strength(rng.random())) for number in range(240 * 10)]
    equal = [(STREAM, number, at, strength(1)) for _, number, at, _ in flags]
    for storm in (flags, equal):
        days = [time_ns // DAY_NS for _, time_ns in run(storm, 24, 100)]
        by_day = [days.count(day) for day in range(10)]
        assert all(11 <= count <= 24 for count in by_day), by_day


def test_what_is_required_grows_with_what_is_spent() -> None:
    ledger = Ledger()
    for number in range(100):
        ledger.note(peak(number, number, number % 50))
    required = []
    for _ in range(6):
        required.append(min(level for level in range(101) if ledger.allows(peak(999, 100, level - 0.5), 6)))
        ledger.spend(100, 6)
    assert required == [0, 0, 0, 50, 50, 50]
    assert not ledger.allows(peak(999, 100, 1e9), 6)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, PEAKS_MAX), TIMES, st.integers(0, 9)), max_size=80))
def test_peaks_say_what_all_incidents_of_the_day_would(notes: list[tuple[int, int, int]]) -> None:
    """Comparing with the peaks is comparing with every incident of the last 24 hours, where times go on."""
    ledger = Ledger()
    newest: dict[int, Peak] = {}
    for number, time_ns, surprise in sorted(notes, key=lambda note: note[1]):
        now = Peak(
            time_ns, max(strength(surprise), newest[number].strength if number in newest else strength(0)), incident(number)
        )
        others = [known for other, known in newest.items() if other != number and time_ns - known.time_ns < DAY_NS]
        ledger.alerts = [time_ns]
        assert ledger.allows(now, 2) == all(known.order < now.order for known in others)
        ledger.note(now)
        newest[number] = now
        assert ledger.peaks == sorted(ledger.peaks)
        assert [each.order for each in ledger.peaks] == sorted((each.order for each in ledger.peaks), reverse=True)


@pytest.mark.parametrize(
    ("weaker", "stronger"),
    [
        (Strength(1, -0.01, 0.9), Strength(2, -0.05, 0.1)),
        (Strength(1, -0.05, 0.9), Strength(1, -0.01, 0.1)),
        (Strength(1, -0.01, 0.1), Strength(1, -0.01, 0.2)),
    ],
    ids=["surprise", "rarity", "distance"],
)
def test_strength_is_surprise_then_rarity_then_distance(weaker: Strength, stronger: Strength) -> None:
    for first, second, allowed in ((weaker, stronger, True), (stronger, weaker, False)):
        ledger = Ledger()
        ledger.spend(0, 2)
        ledger.note(Peak(0, first, incident(1)))
        assert ledger.allows(Peak(1, second, incident(2)), 2) is allowed


def test_a_muted_incident_that_gets_stronger_alerts_once() -> None:
    budget = Budget(LIMITS)
    assert budget.decide(STREAM, peak(0, 0, 5), 2)
    assert not budget.decide(STREAM, peak(7, 10, 1), 2)
    assert not budget.decide(STREAM, peak(7, 11, 2), 2)
    assert budget.decide(STREAM, peak(7, 12, 9), 2)


def test_streams_do_not_spend_each_others_budget_but_the_tenants() -> None:
    budget = Budget(LIMITS)
    budget.alerts_per_day_max = 3
    assert budget.decide(STREAM, peak(1, 0, 1), 1)
    assert not budget.decide(STREAM, peak(2, 1, 2), 1)
    assert budget.decide(OTHER, peak(3, 2, 3), 1)
    assert budget.decide(UUID(int=3), peak(4, 3, 4), 1)
    assert not budget.decide(UUID(int=4), peak(5, 4, 5), 1)
    assert budget.spent_share(5) == 1.0
    assert budget.spent_share(3 * DAY_NS) == 0.0


def test_a_lower_budget_holds_from_the_next_incident_on() -> None:
    budget = Budget(LIMITS)
    assert all(budget.decide(STREAM, peak(number, number * HOUR_NS, number), 9) for number in range(5))
    budget.alerts_per_day_max = 3
    assert not budget.decide(STREAM, peak(50, 5 * HOUR_NS, 99), 9)
    assert budget.decide(STREAM, peak(51, DAY_NS + 2 * HOUR_NS, 99), 9)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 5)), max_size=60))
def test_spans_cover_what_they_join_and_are_few(parts: list[tuple[int, int]]) -> None:
    spans = [(first * DAY_NS, (first + length) * DAY_NS) for first, length in parts]
    found = joined(spans)
    assert len(found) <= SPANS_MAX
    assert found == sorted(found)
    assert all(any(low <= first and last <= high for low, high in found) for first, last in spans)
    if len(joined([(first, first) for first, _ in spans])) < SPANS_MAX:  # nothing had to give way: no other time is lost
        near = [low for low, _ in found] + [high for _, high in found]
        assert set(near) <= {edge for span in spans for edge in span}


def test_what_a_budget_remembers_is_bounded() -> None:
    limits = replace(LIMITS, budget_entries_max=200)
    budget = Budget(limits)
    for number in range(3000):
        stream = UUID(int=number % 40)
        budget.decide(stream, peak(number, number * HOUR_NS, number % 7), 24)
        assert sum(map(len, budget.streams.values())) <= 200 + len(budget.streams[stream])
        assert len(budget.tenant.peaks) <= PEAKS_MAX
        assert len(budget.tenant.alerts) <= 2 * budget.alerts_per_day_max + 16
    assert budget_message(budget).ByteSize() < 20_000


def test_more_peaks_than_memory_has_room_for_require_more_and_never_less() -> None:
    ledger = Ledger()
    for number in range(3 * PEAKS_MAX):
        ledger.note(peak(number, number * HOUR_NS // 10, 100 - number))
        assert len(ledger.peaks) <= PEAKS_MAX
    ledger.spend(0, 2)
    ledger.alerts = [5 * HOUR_NS]
    assert not ledger.allows(peak(999, 5 * HOUR_NS, 99.5), 2)
    assert ledger.allows(peak(999, 5 * HOUR_NS, 100.5), 2)


def test_streams_that_were_forgotten_do_not_begin_anew() -> None:
    """Two things are remembered of a stream that alerted: when, and how strong it was."""
    budget = Budget(replace(LIMITS, budget_entries_max=4))
    allowed = [budget.decide(UUID(int=number), peak(number, number, number), 1) for number in range(9)]
    assert allowed == [True] * 3 + [False] * 6
    assert not budget.decide(UUID(int=0), peak(99, 10, 99), 1)
    assert budget.decide(UUID(int=0), peak(99, 3 * DAY_NS, 99), 1)
