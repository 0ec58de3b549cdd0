"""Incidents: consecutive flags of a stream, in an order that arrival can not change."""

import random
from dataclasses import replace
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.correlation.budget import DAY_NS
from driftlock.engine.correlation.correlator import ALERTS_PER_DAY_MAX, Correlator, Flag, Progress
from driftlock.engine.detector import finding_id
from driftlock.engine.limits import Limits
from driftlock.engine.ports import IncidentRow
from driftlock.engine.state import pack, unpack
from driftlock.engine.verdict import IncidentState
from driftlock.v1 import state_pb2
from tests.engine.streams import BASE_NS, SECOND_NS

TENANT = UUID(int=1)
ONE, OTHER = UUID(int=2), UUID(int=3)
MINUTE = 60 * SECOND_NS
SOME_DAY_NS = 2**63


def flag(stream: UUID, window: int, ncd: float = 0.5) -> Flag:
    end = BASE_NS + window * 10 * SECOND_NS
    return Flag(
        stream, str(stream), window, window, end - 50 * SECOND_NS, end, ncd, 0.01, finding_id(stream, window), f"w{window}"
    )


class Tenant:
    """A correlator and the incidents it has reported so far."""

    def __init__(self) -> None:
        self.fold = Correlator(TENANT, Limits())
        self.rows: dict[UUID, IncidentRow] = {}
        self.joined: dict[UUID, UUID] = {}
        self.told: list[UUID] = []

    def take(self, rows: list[IncidentRow]) -> None:
        for row in rows:
            self.rows[row.incident.incident_id] = row
            self.joined.update(dict.fromkeys(row.joined, row.incident.incident_id))
            self.told.extend([row.incident.incident_id] * row.told)
            assert row.incident.alerted == (row.alerted_ns is not None)

    def restart(self) -> None:
        body = self.fold.to_bytes()
        self.fold = Correlator(TENANT, Limits())
        self.fold.restore(body)
        assert self.fold.to_bytes() == body

    def windows(
        self, stream: UUID, until: int, flagged: list[int], *, historical: bool = False, budget: int = ALERTS_PER_DAY_MAX
    ) -> None:
        flags = [replace(flag(stream, window), historical=historical, alerts_per_day_max=budget) for window in flagged]
        progress = Progress(BASE_NS + until * 10 * SECOND_NS, until, BASE_NS, historical)
        self.take(self.fold.derived(stream, progress, flags))

    def states(self) -> list[tuple[str, int]]:
        return sorted((str(row.incident.state), row.incident.findings) for row in self.rows.values())


def test_consecutive_flags_are_one_incident_and_it_ends() -> None:
    tenant = Tenant()
    tenant.windows(ONE, 13, [10, 11, 12])
    tenant.windows(ONE, 100, [])
    [row] = tenant.rows.values()
    assert (row.incident.state, row.incident.findings) == (IncidentState.CLOSED, 3)
    assert row.incident.start_ns == BASE_NS + (100 - 50) * SECOND_NS
    assert row.incident.end_ns == BASE_NS + 120 * SECOND_NS
    assert set(tenant.joined) == {finding_id(ONE, window) for window in (10, 11, 12)}


def test_a_gap_makes_two() -> None:
    tenant = Tenant()
    tenant.windows(ONE, 100, [10, 15, 21])
    assert tenant.states() == [("closed", 1), ("closed", 2)]


def test_flags_wait_until_their_minute_is_over_for_every_moving_stream() -> None:
    tenant = Tenant()
    tenant.windows(OTHER, 1, [])
    tenant.windows(ONE, 50, [10])
    assert tenant.rows == {}
    assert tenant.fold.waiting_at(SOME_DAY_NS)
    tenant.windows(OTHER, 50, [])
    assert tenant.states() == [("closed", 1)]
    assert not tenant.fold.waiting_at(SOME_DAY_NS)


def test_a_clock_record_closes_buckets_and_quiet_incidents() -> None:
    limits = Limits()
    tenant = Tenant()
    tenant.windows(ONE, 11, [10])
    assert tenant.rows == {}
    tenant.take(tenant.fold.clock(BASE_NS + 10 * MINUTE))
    assert tenant.states() == [("open", 1)]
    tenant.take(tenant.fold.clock(BASE_NS + limits.incident_idle_ns + 1))
    assert tenant.states() == [("closed", 1)]
    assert not tenant.fold.waiting_at(SOME_DAY_NS)


def test_the_title_is_of_the_strongest_finding() -> None:
    tenant = Tenant()
    flags = [flag(ONE, 10, 0.4), flag(ONE, 11, 0.9), flag(ONE, 12, 0.5)]
    tenant.take(tenant.fold.derived(ONE, Progress(BASE_NS + 9000 * SECOND_NS, 900, BASE_NS), flags))
    [row] = tenant.rows.values()
    assert (row.incident.title, row.incident.ncd_max) == ("w11", 0.9)


@settings(deadline=None)
@given(st.sets(st.integers(0, 200)), st.sets(st.integers(0, 200)), st.integers(0, 10**6))
def test_arrival_order_restarts_and_chunks_do_not_change_incidents(one: set[int], other: set[int], seed: int) -> None:
    rng = random.Random(seed)

    def run(*, chunk: int, restart: bool) -> dict[UUID, tuple[object, ...]]:
        tenant = Tenant()
        parts = [(ONE, one, begin) for begin in range(0, 201, chunk)], [(OTHER, other, begin) for begin in range(0, 201, chunk)]
        queue = [list(part) for part in parts]
        while any(queue):
            stream, flagged, begin = rng.choice([part for part in queue if part]).pop(0)
            part = sorted(window for window in flagged if begin <= window < begin + chunk)
            tenant.windows(stream, begin + chunk, part, budget=5)
            if restart:
                tenant.restart()
        tenant.windows(ONE, 500, [])
        tenant.windows(OTHER, 500, [])
        assert sorted(tenant.told) == sorted(key for key, row in tenant.rows.items() if row.incident.alerted)
        return {
            key: (row.incident, *sorted(k for k, v in tenant.joined.items() if v == key)) for key, row in tenant.rows.items()
        }

    expected = run(chunk=1, restart=False)
    assert sum(len(entry) - 1 for entry in expected.values()) == len(one) + len(other)
    assert run(chunk=7, restart=True) == expected
    assert run(chunk=50, restart=False) == expected


def test_the_wall_clock_does_not_end_an_incident_of_the_past() -> None:
    tenant = Tenant()
    tenant.windows(ONE, 11, [10], historical=True)
    tenant.take(tenant.fold.clock(BASE_NS + 2 * Limits().incident_idle_ns))
    assert tenant.states() == [("open", 1)]
    assert not tenant.fold.waiting_at(SOME_DAY_NS)
    body = tenant.fold.to_bytes()
    tenant.fold = Correlator(TENANT, Limits())
    tenant.fold.restore(body)
    tenant.take(tenant.fold.clock(BASE_NS + 4 * Limits().incident_idle_ns))
    tenant.windows(ONE, 12, [11], historical=True)
    tenant.windows(ONE, 100, [], historical=True)
    assert tenant.states() == [("closed", 2)]


@settings(deadline=None)
@given(st.lists(st.integers(0, 600), min_size=1, max_size=40), st.integers(1, 40), st.booleans())
def test_event_times_that_step_back_do_not_change_incidents(ends: list[int], chunk: int, ticking: bool) -> None:
    """Windows are numbered in order; their times jump about within a few minutes."""

    def run(size: int, *, ticks: bool) -> list[tuple[int, int]]:
        tenant = Tenant()
        for start in range(0, len(ends), size):
            part = range(start, min(start + size, len(ends)))
            flags = [replace(flag(ONE, 3 * window), end_ns=BASE_NS + ends[window] * SECOND_NS) for window in part]
            watermark = BASE_NS + max(ends[: part.stop]) * SECOND_NS
            tenant.take(tenant.fold.derived(ONE, Progress(watermark, 3 * part.stop, BASE_NS), flags))
            if ticks:
                tenant.take(tenant.fold.clock(BASE_NS + ends[start] * SECOND_NS))
        tenant.windows(ONE, 10_000, [])
        return sorted((row.incident.findings, row.incident.end_ns) for row in tenant.rows.values())

    assert run(chunk, ticks=ticking) == run(1, ticks=False)


def incidents_of(tenant: Tenant, stream: UUID) -> list[IncidentRow]:
    return sorted(
        (row for row in tenant.rows.values() if row.incident.stream_ids == (stream,)), key=lambda row: row.incident.start_ns
    )


def test_incidents_over_the_budget_are_kept_and_quiet() -> None:
    tenant = Tenant()
    tenant.windows(ONE, 1000, [10, 30, 50, 70, 90, 110], budget=2)
    rows = incidents_of(tenant, ONE)
    assert [row.incident.alerted for row in rows].count(True) <= 2
    assert rows[0].incident.alerted
    assert rows[0].alerted_ns == BASE_NS + 100 * SECOND_NS
    assert {row.incident.state for row in rows} == {IncidentState.CLOSED}
    assert len(rows) == 6


def test_an_alert_is_spent_per_incident_and_told_once() -> None:
    tenant = Tenant()
    tenant.windows(ONE, 300, list(range(10, 200)), budget=1)
    [row] = tenant.rows.values()
    assert (row.incident.findings, row.incident.alerted) == (190, True)
    assert tenant.told == [row.incident.incident_id]


def test_an_incident_that_gets_stronger_alerts_when_it_does() -> None:
    tenant = Tenant()
    tenant.windows(ONE, 30, [10], budget=2)
    weak, strong = replace(flag(ONE, 40, 0.4), alerts_per_day_max=2), replace(flag(ONE, 42, 0.9), alerts_per_day_max=2)
    later = [weak, replace(weak, window=41, finding_id=finding_id(ONE, 41)), strong]
    tenant.take(tenant.fold.derived(ONE, Progress(BASE_NS + 900 * SECOND_NS, 43, BASE_NS), later[:2]))
    first, second = incidents_of(tenant, ONE)
    assert (first.incident.alerted, second.incident.alerted, second.incident.findings) == (True, False, 2)
    tenant.restart()
    tenant.take(tenant.fold.derived(ONE, Progress(BASE_NS + 9000 * SECOND_NS, 900, BASE_NS), later[2:]))
    first, second = incidents_of(tenant, ONE)
    assert (second.incident.alerted, second.alerted_ns, second.incident.findings) == (True, strong.end_ns, 3)
    assert tenant.told == [first.incident.incident_id, second.incident.incident_id]


def test_the_tenants_budget_bounds_all_streams_together_and_may_change() -> None:
    tenant = Tenant()
    tenant.fold.set_budget(1)
    tenant.windows(ONE, 1000, [10])
    tenant.restart()
    tenant.windows(OTHER, 1000, [500])
    assert [row.incident.alerted for row in incidents_of(tenant, ONE) + incidents_of(tenant, OTHER)] == [True, False]
    tenant.fold.set_budget(4)
    tenant.windows(OTHER, 2000, [1500])
    tenant.windows(ONE, 2000, [])
    assert [row.incident.alerted for row in incidents_of(tenant, OTHER)] == [False, True]
    assert tenant.fold.budget_spent_share(BASE_NS) == 0.5


def test_the_strongest_finding_is_that_of_most_surprise() -> None:
    tenant = Tenant()
    flags = [replace(flag(ONE, 10, 0.4), surprise=9.0), flag(ONE, 11, 0.9), replace(flag(ONE, 12, 0.5), surprise=3.0)]
    tenant.take(tenant.fold.derived(ONE, Progress(BASE_NS + 9000 * SECOND_NS, 900, BASE_NS), flags))
    [row] = tenant.rows.values()
    assert (row.incident.title, row.incident.ncd_max, row.incident.surprise_max) == ("w10", 0.9, 9.0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 400), max_size=60), st.integers(0, 5), st.integers(0, 5), st.booleans())
def test_no_24_hours_hold_more_alerted_incidents_than_the_budget(
    steps: list[int], stream_max: int, tenant_max: int, restart: bool
) -> None:
    """Streams whose windows are 10 s apart for days, with flags wherever a stream likes."""
    tenant = Tenant()
    tenant.fold.set_budget(tenant_max)
    windows = dict.fromkeys((ONE, OTHER), 0)
    for number, step in enumerate(steps):
        stream = (ONE, OTHER)[number % 2]
        windows[stream] += 10 + 10 * step
        tenant.windows(stream, windows[stream] + 1, [windows[stream]], budget=stream_max)
        if restart:
            tenant.restart()
    tenant.windows(ONE, 10**6, [])
    tenant.windows(OTHER, 10**6, [])
    for streams, most in (((ONE,), stream_max), ((OTHER,), stream_max), ((ONE, OTHER), tenant_max)):
        times = [row.alerted_ns for row in tenant.rows.values() if row.incident.stream_ids[0] in streams]
        alerts = [time_ns for time_ns in times if time_ns is not None]
        assert all(sum(first <= time_ns < first + DAY_NS for time_ns in alerts) <= most for first in alerts)


def test_a_state_of_a_version_without_budgets_begins_with_the_default() -> None:
    tenant = Tenant()
    tenant.windows(ONE, 11, [10])
    tenant.take(tenant.fold.clock(BASE_NS + 10 * MINUTE))
    state = unpack(state_pb2.TenantState(), tenant.fold.to_bytes())
    state.ClearField("budget")
    for message in state.incident:
        for name in ("strongest", "alerted_ns"):
            message.ClearField(name)
    tenant.fold = Correlator(TENANT, Limits())
    tenant.fold.restore(pack(state))
    tenant.windows(ONE, 900, [12])
    [row] = tenant.rows.values()
    assert (row.incident.findings, row.incident.alerted, row.incident.ncd_max) == (2, True, 0.5)
    assert tenant.fold.budget_spent_share(BASE_NS) == 1 / Limits().tenant_alerts_per_day_max
