"""Incidents: consecutive flags of a stream, in an order that arrival can not change."""

import random
from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.correlate import Correlator, Flag, Progress
from driftlock.engine.detector import finding_id
from driftlock.engine.limits import Limits
from driftlock.engine.ports import IncidentRow
from driftlock.engine.verdict import IncidentState
from tests.engine.streams import BASE_NS, SECOND_NS

TENANT = UUID(int=1)
ONE, OTHER = UUID(int=2), UUID(int=3)
MINUTE = 60 * SECOND_NS


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

    def take(self, rows: list[IncidentRow]) -> None:
        for row in rows:
            self.rows[row.incident.incident_id] = row
            self.joined.update(dict.fromkeys(row.joined, row.incident.incident_id))

    def windows(self, stream: UUID, until: int, flagged: list[int], *, historical: bool = False) -> None:
        flags = [replace(flag(stream, window), historical=historical) for window in flagged]
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
    assert tenant.fold.waiting
    tenant.windows(OTHER, 50, [])
    assert tenant.states() == [("closed", 1)]
    assert not tenant.fold.waiting


def test_a_clock_record_closes_buckets_and_quiet_incidents() -> None:
    limits = Limits()
    tenant = Tenant()
    tenant.windows(ONE, 11, [10])
    assert tenant.rows == {}
    tenant.take(tenant.fold.clock(BASE_NS + 10 * MINUTE))
    assert tenant.states() == [("open", 1)]
    tenant.take(tenant.fold.clock(BASE_NS + limits.incident_idle_ns + 1))
    assert tenant.states() == [("closed", 1)]
    assert not tenant.fold.waiting


def test_the_title_is_of_the_strongest_finding() -> None:
    tenant = Tenant()
    flags = [flag(ONE, 10, 0.4), flag(ONE, 11, 0.9), flag(ONE, 12, 0.5)]
    tenant.take(tenant.fold.derived(ONE, Progress(BASE_NS + 9000 * SECOND_NS, 900, BASE_NS), flags))
    [row] = tenant.rows.values()
    assert (row.incident.title, row.incident.ncd_max) == ("w11", 0.9)


@given(st.sets(st.integers(0, 200)), st.sets(st.integers(0, 200)), st.integers(0, 10**6))
def test_arrival_order_restarts_and_chunks_do_not_change_incidents(one: set[int], other: set[int], seed: int) -> None:
    rng = random.Random(seed)

    def run(*, chunk: int, restart: bool) -> dict[UUID, tuple[object, ...]]:
        tenant = Tenant()
        parts = [(ONE, one, begin) for begin in range(0, 201, chunk)], [(OTHER, other, begin) for begin in range(0, 201, chunk)]
        queue = [list(part) for part in parts]
        while any(queue):
            stream, flagged, begin = rng.choice([part for part in queue if part]).pop(0)
            tenant.windows(stream, begin + chunk, sorted(window for window in flagged if begin <= window < begin + chunk))
            if restart:
                body = tenant.fold.to_bytes()
                tenant.fold = Correlator(TENANT, Limits())
                tenant.fold.restore(body)
        tenant.windows(ONE, 500, [])
        tenant.windows(OTHER, 500, [])
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
    assert not tenant.fold.waiting
    body = tenant.fold.to_bytes()
    tenant.fold = Correlator(TENANT, Limits())
    tenant.fold.restore(body)
    tenant.take(tenant.fold.clock(BASE_NS + 4 * Limits().incident_idle_ns))
    tenant.windows(ONE, 12, [11], historical=True)
    tenant.windows(ONE, 100, [], historical=True)
    assert tenant.states() == [("closed", 2)]


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
