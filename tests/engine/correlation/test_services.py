"""Incidents of several streams of a service, and silence: told once, open while it lasts."""

import random
from dataclasses import replace
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.correlation.correlator import Flag
from driftlock.engine.correlation.stories import JOIN_NS
from driftlock.engine.verdict import IncidentState, Question
from tests.engine.correlation.shop import LOGS, METRICS, MINUTE_NS, SOME_DAY_NS, START_NS, STRANGER, TRACES, Tenant, flag
from tests.engine.streams import SECOND_NS

CLOSED, OPEN = IncidentState.CLOSED, IncidentState.OPEN
STREAMS = LOGS, METRICS, TRACES, STRANGER


def test_streams_of_a_service_tell_one_story_whatever_their_signals() -> None:
    tenant = Tenant()
    for stream in (LOGS, METRICS, TRACES, STRANGER):
        tenant.moves(stream, 0)
    tenant.moves(STRANGER, 2000, flag(STRANGER, 620))
    tenant.moves(LOGS, 2000, flag(LOGS, 600))
    tenant.restart()
    tenant.moves(METRICS, 2000, flag(METRICS, 780, surprise=9.0))
    tenant.moves(TRACES, 2000, flag(TRACES, 1010))
    assert tenant.incidents == [((LOGS, METRICS, TRACES), 3, CLOSED), ((STRANGER,), 1, CLOSED)]
    [first, _] = sorted(tenant.rows.values(), key=lambda row: row.incident.start_ns)
    assert (first.incident.title, first.incident.surprise_max) == ("metrics:shop/cart@prod 780", 9.0)
    assert (first.incident.start_ns, first.incident.end_ns) == (START_NS + 590 * SECOND_NS, START_NS + 1010 * SECOND_NS)


def test_what_is_farther_apart_is_another_story() -> None:
    apart = JOIN_NS // MINUTE_NS + 1
    for minutes, count in ((apart - 1, 1), (apart, 2)):
        tenant = Tenant()
        tenant.moves(LOGS, 0)
        tenant.moves(METRICS, 0)
        tenant.moves(LOGS, 3600, flag(LOGS, 600))
        tenant.moves(METRICS, 3600, flag(METRICS, 600 + 60 * minutes))
        assert [len(streams) for streams, *_ in tenant.incidents] == ([2] if count == 1 else [1, 1])


def test_an_incident_waits_for_the_other_streams_of_its_service_only() -> None:
    tenant = Tenant()
    tenant.moves(METRICS, 500)
    tenant.moves(STRANGER, 500)
    tenant.moves(LOGS, 1500, flag(LOGS, 400))
    assert tenant.incidents == [((LOGS,), 1, OPEN)]
    tenant.moves(METRICS, 1500)
    assert tenant.incidents == [((LOGS,), 1, CLOSED)]
    tenant.moves(STRANGER, 1500, flag(STRANGER, 1400))
    tenant.moves(LOGS, 1501)
    tenant.moves(METRICS, 1501)
    tenant.moves(STRANGER, 1501)
    assert tenant.incidents[-1] == ((STRANGER,), 1, CLOSED), "alone in its service it waits for no other"


def test_the_clock_ends_the_wait_for_a_stream_that_says_nothing() -> None:
    tenant = Tenant()
    tenant.moves(METRICS, 500)
    tenant.moves(LOGS, 1500, flag(LOGS, 400))
    assert tenant.incidents == [((LOGS,), 1, OPEN)]
    assert tenant.fold.waiting_at(SOME_DAY_NS)
    tenant.clock(1500)
    assert tenant.incidents == [((LOGS,), 1, CLOSED)]
    assert not tenant.fold.waiting_at(SOME_DAY_NS)


def test_an_alert_is_asked_of_the_stream_whose_flag_it_is() -> None:
    tenant = Tenant()
    tenant.moves(LOGS, 0)
    tenant.moves(METRICS, 0)
    tenant.moves(LOGS, 3600, replace(flag(LOGS, 600), alerts_per_day_max=0))
    tenant.moves(METRICS, 3600, flag(METRICS, 660))
    [row] = tenant.rows.values()
    assert (row.incident.alerted, row.alerted_ns) == (True, START_NS + 660 * SECOND_NS)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(STREAMS), st.integers(1, 60)), max_size=25),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_arrival_order_and_restarts_change_no_incident(flagged: list[tuple[UUID, int]], seed: int, restart: bool) -> None:
    rng = random.Random(seed)
    flags = {stream: [flag(stream, 60 * minute) for minute in range(61) if (stream, minute) in flagged] for stream in STREAMS}

    def run(steps: int, *, shuffled: bool) -> object:
        tenant = Tenant()
        for stream in STREAMS:
            tenant.moves(stream, 0)
        queue = {stream: list(range(0, 3600, 3600 // steps)) for stream in STREAMS}
        while any(queue.values()):
            ready = [stream for stream in STREAMS if queue[stream]]
            stream = rng.choice(ready) if shuffled else ready[0]
            begin = START_NS + queue[stream].pop(0) * SECOND_NS
            end = begin + 3600 // steps * SECOND_NS
            part = [it for it in flags[stream] if begin < it.end_ns <= end]
            tenant.moves(stream, (end - START_NS) // SECOND_NS, *part)
            if restart and shuffled:
                tenant.restart()
        for stream in STREAMS:
            tenant.moves(stream, 3 * 3600)
        for stream in STREAMS:
            tenant.moves(stream, 3 * 3600 + 1)
        incidents = {key: row.incident for key, row in tenant.rows.items()}
        return incidents, tenant.joined

    whole = run(1, shuffled=False)
    assert run(12, shuffled=True) == whole
    assert run(5, shuffled=True) == whole


def silence(stream: UUID, seconds: int) -> Flag:
    return replace(flag(stream, seconds), window=3600, finding_id=UUID(int=seconds), question=Question.SILENCE.value)


def test_silence_is_due_by_the_clock_and_told_once() -> None:
    tenant = Tenant()
    tenant.moves(LOGS, 100, due_s=400)
    tenant.moves(METRICS, 100)
    assert tenant.fold.waiting_at(SOME_DAY_NS)
    assert not tenant.fold.waiting_at(START_NS + 399 * SECOND_NS)
    assert tenant.fold.due(START_NS + 399 * SECOND_NS) == []
    assert tenant.fold.due(START_NS + 400 * SECOND_NS) == [LOGS]
    assert tenant.fold.waiting_at(START_NS + 400 * SECOND_NS)
    assert tenant.fold.silent(silence(METRICS, 400)) is None, "nothing is known of its silence"
    tenant.take(tenant.fold.silent(silence(LOGS, 400)))
    tenant.restart()
    assert tenant.fold.silent(silence(LOGS, 500)) is None
    assert tenant.fold.due(START_NS + 9000 * SECOND_NS) == []
    assert not tenant.fold.waiting_at(SOME_DAY_NS), "no clock ends it"
    assert tenant.incidents == [((LOGS,), 1, OPEN)]


def test_an_incident_of_silence_stays_open_until_the_stream_has_gone_on() -> None:
    tenant = Tenant()
    tenant.moves(LOGS, 36_000, due_s=36_400)
    tenant.take(tenant.fold.silent(silence(LOGS, 36_400)))
    for seconds in (37_000, 90_000, 200_000):
        tenant.clock(seconds)
        tenant.restart()
        assert tenant.incidents == [((LOGS,), 1, OPEN)]
    tenant.moves(LOGS, 36_020, due_s=210_000)
    assert tenant.incidents == [((LOGS,), 1, OPEN)]
    assert tenant.fold.due(START_NS + 210_000 * SECOND_NS) == [LOGS], "it may fall silent again"
    tenant.moves(LOGS, 36_100)
    assert tenant.incidents == [((LOGS,), 1, CLOSED)]
    assert tenant.fold.due(START_NS + 900_000 * SECOND_NS) == [], "its newest records say never"


def test_silence_joins_what_its_service_has_told_just_before() -> None:
    tenant = Tenant()
    tenant.moves(METRICS, 36_000)
    tenant.moves(LOGS, 36_000, due_s=36_200)
    tenant.moves(METRICS, 36_150, flag(METRICS, 36_060))
    tenant.clock(36_140)
    assert tenant.incidents == [((METRICS,), 1, OPEN)]
    tenant.take(tenant.fold.silent(silence(LOGS, 36_200)))
    assert tenant.incidents == [((METRICS, LOGS), 2, OPEN)]
    tenant.moves(METRICS, 50_000)
    tenant.clock(50_000)
    assert tenant.incidents == [((METRICS, LOGS), 2, OPEN)], "the silence lasts"
    tenant.moves(LOGS, 50_100)
    tenant.moves(METRICS, 50_100)
    assert tenant.incidents == [((METRICS, LOGS), 2, CLOSED)]


def test_a_stream_that_is_quiet_for_long_still_falls_due() -> None:
    tenant = Tenant()
    tenant.moves(LOGS, 100, due_s=7200)
    tenant.clock(5000)
    assert tenant.fold.due(START_NS + 7200 * SECOND_NS) == [LOGS]
    tenant.moves(LOGS, 7300, historical=True)
    assert tenant.fold.due(START_NS + 99_999 * SECOND_NS) == []
