"""Incidents across services: by the suspects of traces, and by the traces that lines name."""

import random
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.correlation.correlator import Flag
from driftlock.engine.correlation.stories import JOIN_NS
from driftlock.engine.state import pack, unpack
from driftlock.engine.verdict import IncidentState
from driftlock.v1 import state_pb2
from tests.engine.correlation.shop import (
    CART_SERVICE,
    LOGS,
    MAIL,
    MAIL_SERVICE,
    METRICS,
    MINUTE_NS,
    PAY,
    PAY_SERVICE,
    SOME_DAY_NS,
    SPANS,
    START_NS,
    STRANGER,
    TEXTS,
    Tenant,
    blame,
    flag,
)
from tests.engine.streams import SECOND_NS

CLOSED, OPEN = IncidentState.CLOSED, IncidentState.OPEN
ONE, TWO, THREE = ("a" * 32, "b" * 32, "c" * 32)


def told(*flags: Flag, restart: bool = False) -> Tenant:
    """What becomes of flags when all streams have gone on for an hour since."""
    tenant = Tenant()
    tenant.everybody(0)
    for stream in TEXTS:
        tenant.moves(stream, 3600, *(it for it in flags if it.stream_id == stream))
        if restart:
            tenant.restart()
    tenant.everybody(7200)
    tenant.everybody(7201)
    return tenant


def groups(tenant: Tenant, *flags: Flag) -> list[int]:
    """The incident of each flag, counted from 0 in the order in which the flags name them."""
    order = list(dict.fromkeys(tenant.joined[it.finding_id] for it in flags))
    return [order.index(tenant.joined[it.finding_id]) for it in flags]


def test_streams_of_the_suspects_join_the_incident_of_a_trace() -> None:
    tenant = told(
        blame(600, PAY_SERVICE, CART_SERVICE, bits=50.0, traces=(ONE,)),
        flag(LOGS, 720, surprise=1000.0),
        flag(PAY, 780, surprise=2.0),
        flag(MAIL, 780, surprise=2.0),
        restart=True,
    )
    assert tenant.incidents == [((SPANS, LOGS, PAY), 3, CLOSED), ((MAIL,), 1, CLOSED)]
    [incident] = [row.incident for row in tenant.rows.values() if SPANS in row.incident.stream_ids]
    assert [it.service for it in incident.suspects] == [PAY_SERVICE, CART_SERVICE]
    assert incident.title == f"{PAY_SERVICE}: calls of {PAY_SERVICE},{CART_SERVICE} 600"
    assert incident.trace_ids == (ONE,)
    assert incident.surprise_max == 1000.0


def test_a_trace_joins_what_a_suspect_has_begun() -> None:
    flags = flag(LOGS, 600), blame(800, PAY_SERVICE, CART_SERVICE)
    assert groups(told(*flags), *flags) == [0, 0]


def test_in_one_minute_traces_come_first_so_that_one_fault_is_one_incident() -> None:
    flags = flag(LOGS, 600), flag(PAY, 610), blame(615, PAY_SERVICE, CART_SERVICE)
    assert groups(told(*flags), *flags) == [0, 0, 0]


def test_lines_that_name_its_traces_join_whatever_their_service() -> None:
    flags = flag(MAIL, 600, traces=(ONE, TWO)), flag(LOGS, 660, traces=(TWO, THREE)), flag(PAY, 660)
    tenant = told(*flags, restart=True)
    assert groups(tenant, *flags) == [0, 0, 1]
    [incident] = [row.incident for row in tenant.rows.values() if MAIL in row.incident.stream_ids]
    assert incident.trace_ids == (ONE, TWO, THREE)
    assert {it.service for it in incident.suspects} == {MAIL_SERVICE, CART_SERVICE}


@pytest.mark.parametrize(("late_minutes", "count"), [(JOIN_NS // MINUTE_NS, 1), (JOIN_NS // MINUTE_NS + 1, 2)])
@pytest.mark.parametrize("other", [PAY, SPANS])
def test_what_is_farther_apart_is_another_incident(late_minutes: int, count: int, other: UUID) -> None:
    seconds = 600 + 60 * late_minutes
    last = blame(seconds, PAY_SERVICE, traces=(ONE,)) if other == SPANS else flag(PAY, seconds, traces=(ONE,))
    flags = blame(600, PAY_SERVICE, CART_SERVICE, traces=(ONE,)), last
    assert len(set(groups(told(*flags), *flags))) == count


def test_findings_about_different_services_in_one_stream_of_traces_stay_apart() -> None:
    flags = blame(600, PAY_SERVICE), blame(600, MAIL_SERVICE), blame(660, MAIL_SERVICE), blame(720, PAY_SERVICE)
    tenant = told(*flags, restart=True)
    assert groups(tenant, *flags) == [0, 1, 1, 0]
    assert [row.incident.stream_ids for row in tenant.rows.values()] == [(SPANS,), (SPANS,)]


def test_shared_traces_count_more_than_shared_services() -> None:
    flags = blame(600, PAY_SERVICE), blame(601, MAIL_SERVICE, traces=(ONE,)), flag(PAY, 660, traces=(ONE,))
    assert groups(told(*flags), *flags) == [0, 1, 1]


def test_then_the_stronger_suspicion_counts() -> None:
    flags = blame(600, CART_SERVICE, PAY_SERVICE), blame(601, MAIL_SERVICE), blame(660, MAIL_SERVICE, PAY_SERVICE)
    assert groups(told(*flags), *flags) == [0, 1, 1]
    flags = blame(600, CART_SERVICE, PAY_SERVICE), blame(601, MAIL_SERVICE), blame(660, PAY_SERVICE, CART_SERVICE, MAIL_SERVICE)
    assert groups(told(*flags), *flags) == [0, 1, 0]


def test_of_equals_the_older_one_is_joined() -> None:
    flags = blame(600, CART_SERVICE), blame(601, MAIL_SERVICE), blame(660, CART_SERVICE, MAIL_SERVICE)
    even = replace(flags[2], suspects=tuple(replace(it, bits=10.0, share=0.5) for it in flags[2].suspects))
    assert groups(told(*flags[:2], even), *flags[:2], even) == [0, 1, 0]


def test_a_hub_that_is_suspected_everywhere_brings_nothing_together() -> None:
    """Every 12 minutes another service is the culprit; each finding suspects the same one beside it."""
    faults = [f"shop/s{number}@prod" for number in range(8)]
    flags = [blame(600 + 60 * (12 * at + 4 * step), name, CART_SERVICE) for at, name in enumerate(faults) for step in range(3)]
    tenant = Tenant()
    tenant.everybody(0)
    tenant.moves(SPANS, 4 * 3600, *flags)
    tenant.everybody(4 * 3600 + 60)
    assert groups(tenant, *flags) == [number for number in range(8) for _ in range(3)]
    assert all(row.incident.alerted for row in tenant.rows.values())
    assert [row.incident.suspects[0].service for row in tenant.rows.values()] == faults


def test_a_new_outage_is_not_part_of_what_has_gone_on_for_long() -> None:
    noise = [flag(METRICS, 600 + 240 * number, surprise=3.0) for number in range(8)]
    early, late = blame(700, PAY_SERVICE, CART_SERVICE), blame(600 + 240 * 6, MAIL_SERVICE, CART_SERVICE)
    assert groups(told(*noise, early, late), *noise, early, late) == [0] * 9 + [1]


def test_lines_of_a_weak_suspect_are_another_incident_unless_a_trace_tells_otherwise() -> None:
    cause = blame(600, PAY_SERVICE, CART_SERVICE, MAIL_SERVICE, traces=(ONE,))
    apart = cause, flag(LOGS, 660), flag(MAIL, 660)
    assert groups(told(*apart), *apart) == [0, 0, 1]
    together = cause, flag(LOGS, 660), flag(MAIL, 660, traces=(ONE,))
    assert groups(told(*together), *together) == [0, 0, 0]


def test_a_noisy_service_spends_its_own_budget_only() -> None:
    noisy = [replace(blame(60 * 20 * number, PAY_SERVICE), alerts_per_day_max=2) for number in range(1, 9)]
    other = replace(blame(60 * 170, MAIL_SERVICE, bits=10.0), alerts_per_day_max=2)
    tenant = Tenant()
    tenant.everybody(0)
    tenant.moves(SPANS, 5 * 3600, *noisy, other)
    tenant.everybody(5 * 3600 + 60)
    alerted = {row.incident.suspects[0].service: 0 for row in tenant.rows.values()}
    for row in tenant.rows.values():
        alerted[row.incident.suspects[0].service] += row.incident.alerted
    assert len(tenant.rows) == 9
    assert alerted[PAY_SERVICE] <= 2
    assert alerted[MAIL_SERVICE] == 1


def test_two_open_incidents_never_become_one() -> None:
    flags = flag(LOGS, 600, traces=(ONE,)), flag(MAIL, 600, traces=(TWO,)), flag(PAY, 660, traces=(ONE, TWO))
    tenant = told(*flags)
    assert groups(tenant, *flags) == [0, 1, 0]
    assert len(tenant.rows) == 2


def test_a_stream_keeps_to_its_incident_by_its_windows() -> None:
    flags = flag(LOGS, 600), blame(610, PAY_SERVICE, traces=(ONE,)), flag(LOGS, 640, traces=(ONE,))
    assert groups(told(*flags), *flags) == [0, 1, 0]


def test_an_incident_waits_for_the_traces_of_its_service() -> None:
    tenant = Tenant()
    tenant.moves(SPANS, 500)
    tenant.moves(STRANGER, 500)
    tenant.moves(LOGS, 1500, flag(LOGS, 400))
    assert tenant.incidents == [((LOGS,), 1, OPEN)], "a finding about traces may blame its service"
    tenant.moves(SPANS, 1500)
    assert tenant.incidents == [((LOGS,), 1, CLOSED)]


def test_an_incident_with_traces_waits_for_everybody() -> None:
    tenant = Tenant()
    tenant.moves(MAIL, 500)
    tenant.moves(LOGS, 1500, flag(LOGS, 400, traces=(ONE,)))
    assert tenant.incidents == [((LOGS,), 1, OPEN)], "lines of any service may name its traces"
    tenant.moves(MAIL, 700, flag(MAIL, 590, traces=(ONE,)))
    tenant.moves(MAIL, 1500)
    assert tenant.incidents == [((LOGS, MAIL), 2, CLOSED)]


def test_an_incident_of_a_stream_of_traces_waits_for_that_stream_itself() -> None:
    tenant = Tenant()
    tenant.moves(SPANS, 700, blame(600, PAY_SERVICE))
    assert tenant.incidents == [((SPANS,), 1, OPEN)]
    tenant.restart()
    tenant.moves(SPANS, 960, blame(890, PAY_SERVICE))
    assert tenant.incidents == [((SPANS,), 2, OPEN)]
    tenant.moves(SPANS, 1400)
    assert tenant.incidents == [((SPANS,), 2, CLOSED)]


def test_the_clock_ends_it_when_nothing_comes_any_more() -> None:
    tenant = Tenant()
    tenant.moves(MAIL, 650)
    tenant.moves(SPANS, 700, blame(600, PAY_SERVICE, traces=(ONE,)))
    tenant.clock(700)
    assert tenant.incidents == [((SPANS,), 1, OPEN)]
    assert tenant.fold.waiting_at(SOME_DAY_NS)
    tenant.clock(1100)
    assert tenant.incidents == [((SPANS,), 1, CLOSED)]
    assert not tenant.fold.waiting_at(SOME_DAY_NS)


def test_a_replay_of_the_past_is_not_ended_by_the_clock() -> None:
    tenant = Tenant()
    tenant.moves(SPANS, 700, replace(blame(600, PAY_SERVICE), historical=True), historical=True)
    tenant.clock(800)
    tenant.clock(20_000)
    assert tenant.incidents == [((SPANS,), 1, OPEN)]
    tenant.moves(SPANS, 1400, historical=True)
    assert tenant.incidents == [((SPANS,), 1, CLOSED)]


def test_an_open_incident_of_an_earlier_version_goes_on() -> None:
    tenant = Tenant()
    tenant.everybody(0)
    tenant.moves(LOGS, 3600, flag(LOGS, 600, surprise=5.0))
    for stream in set(TEXTS) - {LOGS}:
        tenant.moves(stream, 670)
    state = unpack(state_pb2.TenantState(), tenant.fold.to_bytes())
    [incident] = state.incident
    assert [it.service for it in incident.involved] == [CART_SERVICE]
    incident.ClearField("involved")
    incident.ClearField("opened")
    incident.ClearField("own_bucket")
    incident.service = CART_SERVICE
    tenant.fold.restore(pack(state))
    tenant.moves(METRICS, 3600, flag(METRICS, 720))
    tenant.everybody(7200)
    tenant.everybody(7201)
    assert tenant.incidents == [((LOGS, METRICS), 2, CLOSED)]
    [row] = tenant.rows.values()
    [suspect] = row.incident.suspects
    assert (suspect.service, suspect.share) == (CART_SERVICE, 1.0)


def test_involved_services_of_a_version_in_which_nothing_faded_have_their_bits() -> None:
    tenant = Tenant()
    tenant.everybody(0)
    tenant.moves(SPANS, 700, blame(600, PAY_SERVICE, CART_SERVICE))
    tenant.everybody(670)
    state = unpack(state_pb2.TenantState(), tenant.fold.to_bytes())
    [incident] = state.incident
    incident.ClearField("opened")
    incident.ClearField("calls_bucket")
    for involved in incident.involved:
        involved.ClearField("recent")
    tenant.fold.restore(pack(state))
    tenant.everybody(700)
    tenant.moves(LOGS, 3600, flag(LOGS, 780))
    tenant.everybody(7200)
    assert tenant.incidents == [((SPANS, LOGS), 2, CLOSED)]


SERVICES = (CART_SERVICE, PAY_SERVICE, MAIL_SERVICE)
SOME_TRACES = st.sets(st.sampled_from((ONE, TWO, THREE)), max_size=2).map(lambda chosen: tuple(sorted(chosen)))
BLAMES = st.builds(
    lambda minute, services, bits, traces: blame(60 * minute, *services, bits=bits, traces=traces),
    st.integers(1, 60),
    st.lists(st.sampled_from(SERVICES), min_size=1, max_size=3, unique=True),
    st.sampled_from((10.0, 40.0)),
    SOME_TRACES,
)
LINES = st.builds(
    lambda stream, minute, surprise, traces: flag(stream, 60 * minute, surprise=surprise, traces=traces),
    st.sampled_from((LOGS, PAY, MAIL, METRICS)),
    st.integers(1, 60),
    st.sampled_from((0.0, 5.0, 900.0)),
    SOME_TRACES,
)
STREAMS = LOGS, PAY, MAIL, METRICS, SPANS


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.one_of(BLAMES, LINES), max_size=30, unique_by=lambda it: it.finding_id),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_arrival_order_and_restarts_change_no_incident(flags: list[Flag], seed: int, restart: bool) -> None:
    rng = random.Random(seed)
    flags = sorted(flags, key=lambda it: (it.window, it.end_ns, it.finding_id))

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
            part = [it for it in flags if it.stream_id == stream and begin < it.end_ns <= end]
            tenant.moves(stream, (end - START_NS) // SECOND_NS, *part)
            if restart and shuffled:
                tenant.restart()
        for seconds in (3 * 3600, 3 * 3600 + 1):
            for stream in STREAMS:
                tenant.moves(stream, seconds)
        incidents = {key: row.incident for key, row in tenant.rows.items()}
        assert all(incident.state is CLOSED for incident in incidents.values())
        assert all(incident.suspects and sum(it.share for it in incident.suspects) < 1.001 for incident in incidents.values())
        return incidents, tenant.joined

    whole = run(1, shuffled=False)
    assert run(12, shuffled=True) == whole
    assert run(5, shuffled=True) == whole
