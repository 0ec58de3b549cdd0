"""Traces through the applier: spans meet whatever rows they come in, time closes what waits, and a restart changes nothing."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import pytest

from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.event import Signal
from driftlock.engine.limits import MINUTE_NS, SECOND_NS, DispatchLimits, Limits
from driftlock.engine.ports import RowKind, StreamBatch, Submission
from driftlock.engine.testing import MemoryJournal, memory_stream_id
from driftlock.engine.verdict import TRACED, IncidentState
from tests.engine.dispatching import TENANT, applier
from tests.engine.traces.rows import CLIENT, KEY, MS, SERVER, START_NS, Span, batch_of

SECONDS, A_SECOND = 260, 10
FAULT_S = 240
LIMITS = DispatchLimits(threads=2, inline_bytes=0, checkpoint_bytes=1)
STREAM = memory_stream_id(TENANT, KEY)
END_NS = START_NS + SECONDS * SECOND_NS


def shop(second: int) -> tuple[list[Span], list[Span]]:
    """The traces of a second, as two services tell them: the front's spans, and those of the cart that it asks."""
    chance = random.Random(second)
    front, cart = [], []
    for number in range(A_SECOND):
        trace, start_ns = 1 + second * A_SECOND + number, START_NS + second * SECOND_NS + number * SECOND_NS // A_SECOND
        work = int(MS * chance.lognormvariate(2, 0.3)) + (400 * MS if second >= FAULT_S else 0)
        asked = work + int(MS * chance.lognormvariate(0, 0.2))
        whole = asked + int(MS * chance.lognormvariate(1, 0.2))
        front.append(Span(trace, 1, 0, "front", "GET /cart", SERVER, start_ns, whole))
        front.append(Span(trace, 2, 1, "front", "GET", CLIENT, start_ns + MS // 4, asked))
        cart.append(Span(trace, 3, 2, "cart", "GET /items", SERVER, start_ns + MS // 2, work, instance=f"cart-{number % 2}"))
    return front, cart


async def send(journal: MemoryJournal, spans: list[Span], received_ns: int) -> None:
    await journal.submit(Submission(TENANT, Signal.TRACES, received_ns, (StreamBatch(KEY, batch_of(spans)),)))


async def told(late_s: int = 0) -> MemoryJournal:
    """A row a second and service; those of the cart may be `late_s` seconds later. Then the time, when nothing comes."""
    journal = MemoryJournal()
    for second in range(SECONDS + late_s):
        now_ns = START_NS + (second + 1) * SECOND_NS
        if second < SECONDS:
            await send(journal, shop(second)[0], now_ns)
        if second >= late_s:
            await send(journal, shop(second - late_s)[1], now_ns)
    await journal.append_time(TENANT, STREAM, END_NS + 10 * MINUTE_NS)
    await journal.append_clock(END_NS + 40 * MINUTE_NS)
    return journal


@asynccontextmanager
async def running(
    journal: MemoryJournal,
    now_ns: int = START_NS,
    residents: int = 10,
    limits: DispatchLimits = LIMITS,
    on_fault: Callable[[str], None] = pytest.fail,
) -> AsyncIterator[Dispatcher]:
    async with applier(
        journal, replace(limits, resident_streams_max=residents), limits=Limits(), now_ns=now_ns, on_fault=on_fault
    ) as made:
        await made.scored(len(journal.rows))
        yield made


def findings(journal: MemoryJournal) -> list[bytes]:
    return sorted(row.finding.canonical() for row in journal.findings.values())


def incidents(journal: MemoryJournal) -> dict[UUID, object]:
    return {known: row.incident for known, row in journal.incidents.items()}


async def test_a_slow_service_is_found_named_and_its_calls_are_counted() -> None:
    journal = await told()
    async with running(journal):
        pass
    assert journal.findings
    assert {row.finding.question for row in journal.findings.values()} <= TRACED
    for row in journal.findings.values():
        assert row.finding.start_ns >= START_NS + FAULT_S * SECOND_NS - MINUTE_NS
        assert row.finding.suspects[0].service == "cart@prod"
    [incident] = [row.incident for row in journal.incidents.values()]
    assert incident.state is IncidentState.CLOSED
    assert incident.suspects[0].service == "cart@prod"
    made = {f"{1 + FAULT_S * A_SECOND + number:032x}" for number in range((SECONDS - FAULT_S) * A_SECOND)}
    assert incident.trace_ids
    assert set(incident.trace_ids) <= made
    graph = {(edge.caller, edge.callee): edge for edge in journal.graphs[STREAM].edges}
    assert graph["front@prod", "cart@prod"].calls == SECONDS * A_SECOND
    assert graph["front@prod", "cart@prod"].errors == 0


async def test_rows_that_come_later_or_in_other_order_meet_all_the_same() -> None:
    journal = await told(late_s=7)
    async with running(journal):
        pass
    assert {row.finding.suspects[0].service for row in journal.findings.values()} == {"cart@prod"}
    graph = {(edge.caller, edge.callee): edge.calls for edge in journal.graphs[STREAM].edges}
    assert graph["front@prod", "cart@prod"] == SECONDS * A_SECOND


@pytest.mark.parametrize("cut", [1, 480, 505, 520, 521])
async def test_restarts_change_nothing(cut: int) -> None:
    whole, pieces = await told(), await told()
    async with running(whole):
        pass
    rows, pieces.rows = pieces.rows, []
    for part in (rows[:cut], rows[cut:]):
        pieces.rows.extend(part)
        async with running(pieces, residents=1):
            pass
    assert findings(whole)
    assert findings(pieces) == findings(whole)
    assert incidents(pieces) == incidents(whole)
    assert pieces.graphs[STREAM].edges == whole.graphs[STREAM].edges


async def test_time_that_was_taken_is_not_taken_again_after_a_crash() -> None:
    """Checkpoints of before the row with the time: what it closed is closed by it again, into the same findings."""
    whole, crashed = await told(), await told()
    async with running(whole):
        pass
    rows, crashed.rows = crashed.rows, []
    crashed.rows.extend(rows[:-2])
    async with running(crashed):
        pass
    streams, tenants = dict(crashed.stream_checkpoints), dict(crashed.tenant_checkpoints)
    crashed.rows.extend(rows[-2:])
    async with running(crashed):
        pass
    crashed.stream_checkpoints, crashed.tenant_checkpoints = streams, tenants
    async with running(crashed):
        pass
    assert findings(crashed) == findings(whole)
    assert crashed.stream_checkpoints[STREAM].state == whole.stream_checkpoints[STREAM].state


async def test_the_applier_writes_the_time_down_while_a_trace_waits_for_it() -> None:
    journal = MemoryJournal()
    await send(journal, shop(0)[0], START_NS + SECOND_NS)
    quick = replace(LIMITS, clock_period_ns=SECOND_NS // 100, close_settle_ns=0)
    async with running(journal, now_ns=START_NS + 5 * MINUTE_NS, limits=quick) as dispatcher:
        for _ in range(200):
            if any(row.kind is RowKind.TIME for row in journal.rows):
                break
            await asyncio.sleep(0.01)
        [*_, last] = journal.rows
        assert (last.kind, last.stream_id) == (RowKind.TIME, STREAM)
        await dispatcher.scored(last.seq)
        known = len(journal.rows)
        await asyncio.sleep(0.1)
        assert len(journal.rows) == known  # nothing waits any more


@pytest.mark.parametrize("since_start_s", [1, 29, 30])
async def test_after_a_start_senders_may_deliver_first_what_they_kept(since_start_s: int) -> None:
    """The server was down for an hour: what was on its way then comes before the clock closes the traces that wait for it."""
    journal = MemoryJournal()
    await send(journal, shop(0)[0], START_NS + SECOND_NS)
    quick = replace(LIMITS, clock_period_ns=SECOND_NS // 100)
    now_ns = START_NS + 3600 * SECOND_NS
    async with applier(journal, quick, clock=lambda: now_ns) as dispatcher:
        await dispatcher.scored(len(journal.rows))
        now_ns += since_start_s * SECOND_NS
        await asyncio.sleep(0.2)
    told = any(row.kind is RowKind.TIME for row in journal.rows)
    assert told == (since_start_s * SECOND_NS >= LIMITS.close_settle_ns)


async def test_a_row_with_a_time_that_can_not_be_read_is_skipped() -> None:
    journal = await told()
    faults: list[str] = []
    journal.rows[-2] = replace(journal.rows[-2], body=b"")
    async with running(journal, on_fault=faults.append):
        pass
    assert [fault for fault in faults if "time" in fault and "is skipped" in fault]
    assert not journal.findings  # they waited for it
    await journal.append_time(TENANT, STREAM, END_NS + 10 * MINUTE_NS)
    async with running(journal, on_fault=faults.append):
        pass
    assert journal.findings
