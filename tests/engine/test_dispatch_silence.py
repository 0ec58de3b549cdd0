"""A stream that says nothing is told by clock records: once, in memory or not, and the same on every replay."""

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from driftlock.engine.detector import Detector
from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.fold import StreamFold
from driftlock.engine.limits import MINUTE_NS, SECOND_NS, DispatchLimits
from driftlock.engine.numbers.detector import NumberDetector
from driftlock.engine.ports import Checkpoint, RowKind, StreamBatch, Submission
from driftlock.engine.testing import MemoryJournal
from driftlock.engine.verdict import Finding, IncidentState, Question
from tests.engine.dispatching import TENANT, applier

BASE_NS = 1_700_000_000 * SECOND_NS
TALKER, SLEEPER = StreamKey(Signal.LOGS, "talker"), StreamKey(Signal.METRICS, "sleeper")
ROWS = 200
LIMITS = DispatchLimits(threads=2, inline_bytes=0)
Silence = Callable[[Any, int], Finding | None]


@asynccontextmanager
async def dispatcher(
    journal: MemoryJournal,
    residents: int,
    now_ns: int = BASE_NS,
    limits: DispatchLimits = LIMITS,
    on_fault: Callable[[str], None] = pytest.fail,
) -> AsyncIterator[Dispatcher]:
    running = applier(
        journal, replace(limits, resident_streams_max=residents, checkpoint_bytes=1), now_ns=now_ns, on_fault=on_fault
    )
    async with running:
        await running.scored(len(journal.rows))
        yield running


async def say(journal: MemoryJournal, key: StreamKey, at_ns: int) -> None:
    """Three records of the last ten seconds, received a second late."""
    times = array("Q", (at_ns - (3 - number) * 3 * SECOND_NS for number in range(3)))
    batch = RecordBatch(b"ping " * 3, array("I", [5, 5, 5]), times)
    if key.signal is Signal.METRICS:
        batch.series, batch.series_index = ("up{}",), array("I", [1, 1, 1])
        batch.values = array("d", [1.0, 2.0, 1.0])
    await journal.submit(Submission(TENANT, key.signal, at_ns + SECOND_NS, (StreamBatch(key, batch),)))


async def spoken() -> MemoryJournal:
    """Both streams speak every ten seconds; then one stops."""
    journal = MemoryJournal()
    for number in range(2 * ROWS):
        at_ns = BASE_NS + number * 10 * SECOND_NS
        await say(journal, TALKER, at_ns)
        if number < ROWS:
            await say(journal, SLEEPER, at_ns)
        if number % 6 == 0:
            await journal.append_clock(at_ns + SECOND_NS)
    return journal


def silences(journal: MemoryJournal) -> list[bytes]:
    return [row.finding.canonical() for row in journal.findings.values() if row.finding.question is Question.SILENCE]


async def test_a_stream_that_stopped_is_told_once_and_its_neighbour_is_not() -> None:
    journal = await spoken()
    async with dispatcher(journal, 10):
        pass
    [told] = [row for row in journal.findings.values() if row.finding.question is Question.SILENCE]
    assert told.finding.stream == SLEEPER.text
    stopped_ns = BASE_NS + (ROWS - 1) * 10 * SECOND_NS
    assert stopped_ns + 2 * MINUTE_NS <= told.finding.end_ns <= stopped_ns + 30 * MINUTE_NS
    [incident] = [row.incident for row in journal.incidents.values() if told.finding_id in row.joined]
    assert incident.state is IncidentState.OPEN
    assert incident.findings == 1


@pytest.mark.parametrize("cut", [1, 330, 420, 600])
async def test_restarts_and_eviction_tell_the_same(cut: int) -> None:
    whole, pieces = await spoken(), await spoken()
    async with dispatcher(whole, 10):
        pass
    rows, pieces.rows = pieces.rows, []
    for part in (rows[:cut], rows[cut:]):
        pieces.rows.extend(part)
        async with dispatcher(pieces, 1):
            pass
    assert silences(whole)
    assert silences(pieces) == silences(whole)
    assert {known: row.incident for known, row in pieces.incidents.items()} == {
        known: row.incident for known, row in whole.incidents.items()
    }


async def test_a_stream_that_comes_back_ends_its_incident_and_may_be_told_again() -> None:
    journal = await spoken()
    for number in range(2 * ROWS, 4 * ROWS):
        at_ns = BASE_NS + number * 10 * SECOND_NS
        await say(journal, TALKER, at_ns)
        if number < 3 * ROWS:
            await say(journal, SLEEPER, at_ns)
        if number % 6 == 0:
            await journal.append_clock(at_ns + SECOND_NS)
    async with dispatcher(journal, 10):
        pass
    assert len(silences(journal)) == 2
    states = sorted(row.incident.state.value for row in journal.incidents.values())
    assert states == ["closed", "open"]


@pytest.mark.parametrize(("settle_ns", "told"), [(10**15, set()), (0, {TALKER.text, SLEEPER.text})])
async def test_after_a_start_senders_may_find_their_way_back_first(settle_ns: int, told: set[str]) -> None:
    journal = await spoken()
    journal.rows = [row for row in journal.rows if row.kind is not RowKind.CLOCK]
    journal.rows = [replace(row, seq=number) for number, row in enumerate(journal.rows, 1)]
    limits = DispatchLimits(clock_period_ns=5_000_000, settle_ns=settle_ns)
    async with dispatcher(journal, 10, BASE_NS + 100 * 60 * MINUTE_NS, limits) as running:
        journal.on_commit = running.wake
        await asyncio.sleep(0.2)
        journal.on_commit = lambda: None
    assert {row.finding.stream for row in journal.findings.values() if row.finding.question is Question.SILENCE} == told


async def test_nobody_waits_for_a_stream_that_lost_its_state() -> None:
    journal, faults = await spoken(), list[str]()
    rows, journal.rows = journal.rows, []
    journal.rows.extend(rows[: 2 * ROWS])
    async with dispatcher(journal, 10):
        pass
    journal.stream_checkpoints = {known: Checkpoint(saved.seq, b"") for known, saved in journal.stream_checkpoints.items()}
    await journal.append_clock(BASE_NS + 100 * 60 * MINUTE_NS)
    async with dispatcher(journal, 10, on_fault=faults.append) as running:
        assert not running._tenants.waiting_at(BASE_NS + 200 * 60 * MINUTE_NS)
    assert silences(journal) == []


async def test_a_row_without_records_is_no_return() -> None:
    journal = await spoken()
    async with dispatcher(journal, 10):
        pass
    told = len(silences(journal))
    await journal.submit(Submission(TENANT, Signal.METRICS, BASE_NS, (StreamBatch(SLEEPER, RecordBatch()),)))
    await journal.append_clock(BASE_NS + 2 * ROWS * 10 * SECOND_NS + 10 * SECOND_NS)
    async with dispatcher(journal, 10):
        pass
    assert len(silences(journal)) == told
    assert {row.incident.findings for row in journal.incidents.values()} == {1}


async def test_a_silent_stream_is_asked_once_however_many_clock_records_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for kind in (Detector, NumberDetector):
        silence = kind.silence

        def counted(fold: StreamFold, now_ns: int, silence: Silence = silence) -> Finding | None:
            asked.append(fold.key.text)
            return silence(fold, now_ns)

        monkeypatch.setattr(kind, "silence", counted)
    journal = await spoken()
    for number in range(5000):
        await journal.append_clock(BASE_NS + 2 * ROWS * 10 * SECOND_NS + number * SECOND_NS)
    async with dispatcher(journal, 10):
        pass
    assert sorted(asked) == sorted([TALKER.text, SLEEPER.text])  # by now the talker has stopped as well
    assert len(silences(journal)) == 2
