"""The applier: every row folded once, whatever breaks, and equal results however often it starts again."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import zstandard

from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.limits import DispatchLimits
from driftlock.engine.ports import Checkpoint, StreamBatch, Submission
from driftlock.engine.testing import MemoryJournal, memory_stream_id
from driftlock.errors import Conflict, Internal, Unavailable
from driftlock.v1 import state_pb2
from tests.engine.dispatching import TENANT, applier
from tests.engine.streams import BASE_NS, batches, iid, take
from tests.engine.test_detector import with_burst

KEYS = [StreamKey(Signal.LOGS, name) for name in ("checkout", "cart", "stock")]
FAST = DispatchLimits(threads=2, inline_bytes=0, retry_delay_s=0.001, read_bytes_max=20_000)


def submission(key: StreamKey, batch: RecordBatch) -> Submission:
    return Submission(TENANT, Signal.LOGS, BASE_NS + 10**15, (StreamBatch(key, batch),))


@asynccontextmanager
async def dispatcher(
    journal: MemoryJournal,
    limits: DispatchLimits = FAST,
    now_ns: int = BASE_NS,
    on_fault: Callable[[str], None] = pytest.fail,
    on_wait: Callable[[str], None] = pytest.fail,
) -> AsyncIterator[Dispatcher]:
    running = applier(journal, limits, now_ns=now_ns, on_fault=on_fault, on_wait=on_wait)
    journal.on_commit = running.wake
    async with running:
        yield running
    journal.on_commit = lambda: None


def results(journal: MemoryJournal) -> tuple[object, ...]:
    """Everything that users see, without what depends on receive times."""
    findings = {
        (row.stream_id, row.finding.window): (row.finding_id, row.finding.canonical()) for row in journal.findings.values()
    }
    return findings, {key: row.incident for key, row in journal.incidents.items()}, journal.statuses


async def fill(journal: MemoryJournal, size: int = 100) -> None:
    """Three streams, interleaved in a fixed order; each has a burst of new lines."""
    parts = [batches(with_burst(3000 + 100 * number, 3600), size) for number in range(len(KEYS))]
    for row in zip(*parts, strict=True):
        for key, batch in zip(KEYS, row, strict=True):
            await journal.submit(submission(key, batch))


async def reference() -> tuple[object, ...]:
    journal = MemoryJournal()
    await fill(journal)
    async with dispatcher(journal) as running:
        await running.scored(len(journal.rows))
    return results(journal)


async def test_findings_incidents_and_status_come_out() -> None:
    findings, incidents, statuses = await reference()
    assert {stream for stream, _ in findings} == {memory_stream_id(TENANT, key) for key in KEYS}
    assert len(incidents) >= 3
    assert {status.events for status in statuses.values()} == {3600}


@pytest.mark.parametrize(("threads", "inline_bytes"), [(1, 0), (2, 0), (8, 0), (2, 1 << 30)])
async def test_threads_and_step_sizes_do_not_change_results(threads: int, inline_bytes: int) -> None:
    journal = MemoryJournal()
    async with dispatcher(journal, DispatchLimits(threads=threads, inline_bytes=inline_bytes, read_bytes_max=1)) as running:
        await fill(journal)
        await running.scored(len(journal.rows))
    assert results(journal) == await reference()


@pytest.mark.parametrize("seed", range(16))
async def test_killed_anywhere_the_results_are_the_same(seed: int) -> None:
    """A kill loses what is in memory: abandon the dispatcher mid-way, without its stop."""
    rng = random.Random(seed)
    limits = DispatchLimits(
        threads=2,
        inline_bytes=rng.choice([0, 1000, 10**9]),
        read_bytes_max=8000,
        checkpoint_bytes=rng.choice([1, 9000, 10**9]),
        retry_delay_s=0.001,
    )
    journal = MemoryJournal()
    await fill(journal)
    while journal.applied_seq < len(journal.rows):
        target = min(len(journal.rows), journal.applied_seq + rng.randrange(1, 40))
        running = dispatcher(journal, limits)
        part = await running.__aenter__()
        await part.scored(target)
        for task in part._tasks:
            task.cancel()
        await asyncio.gather(*part._tasks, return_exceptions=True)
    async with dispatcher(journal, limits):
        pass
    assert results(journal) == await reference()


@pytest.mark.parametrize("seed", range(3))
async def test_a_database_that_comes_and_goes_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    journal, waits = MemoryJournal(), list[str]()
    await fill(journal)
    async with dispatcher(journal, on_wait=waits.append) as running:
        for target in range(10, len(journal.rows), 10):
            journal.fail_next(Unavailable("away"), rng.randrange(4))
            await running.scored(target)
        await running.scored(len(journal.rows))
    assert results(journal) == await reference()
    assert waits
    assert set(waits) == {"away"}


async def test_few_residents_change_nothing() -> None:
    journal = MemoryJournal()
    await fill(journal)
    limits = DispatchLimits(threads=2, read_bytes_max=1, resident_streams_max=1)
    async with dispatcher(journal, limits) as running:
        await running.scored(len(journal.rows))
        assert running.resident_streams == 1
    assert results(journal) == await reference()


async def test_stopping_saves_everything() -> None:
    journal = MemoryJournal()
    await fill(journal)
    async with dispatcher(journal):
        pass
    assert journal.applied_seq == len(journal.rows)
    assert journal.recovery_seq() == len(journal.rows)


async def test_scored_waits_for_its_position() -> None:
    journal = MemoryJournal()
    async with dispatcher(journal) as running:
        waiting = asyncio.create_task(running.scored(1))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await journal.submit(submission(KEYS[0], batches(take(iid(1), 10), 10)[0]))
        await asyncio.wait_for(waiting, 5)


async def test_another_owner_stops_the_applier() -> None:
    journal = MemoryJournal()
    running = dispatcher(journal)
    part = await running.__aenter__()
    journal.fail_next(Conflict("another process has taken over"))
    part.wake()
    waiting = asyncio.create_task(part.scored(10**9))
    with pytest.raises(Conflict):
        await asyncio.wait_for(part.failed(), 5)
    with pytest.raises(Unavailable, match="will be scored after a restart"):
        await asyncio.wait_for(waiting, 5)
    with pytest.raises(Unavailable):
        await part.scored(10**9)
    with pytest.raises(Conflict):
        await running.__aexit__(None, None, None)


async def test_the_clock_is_journaled_only_while_something_waits() -> None:
    journal = MemoryJournal()
    limits = DispatchLimits(threads=1, clock_period_ns=5_000_000)
    async with dispatcher(journal, limits, now_ns=BASE_NS) as running:
        await asyncio.sleep(0.05)
        assert journal.rows == []
        for batch in batches(with_burst(2550, 2600), 1000):
            await journal.submit(submission(KEYS[0], batch))
        await running.scored(3)
        await asyncio.sleep(0.05)
    assert len(journal.rows) > 3
    assert {row.kind.name for row in journal.rows[3:]} == {"CLOCK"}


async def test_a_damaged_row_costs_that_row_only() -> None:
    journal, faults = MemoryJournal(), list[str]()
    for batch in batches(take(iid(1), 300), 100):
        await journal.submit(submission(KEYS[0], batch))
    await journal.append_clock(BASE_NS)
    journal.rows[1] = replace(journal.rows[1], body=b"")
    journal.rows[3] = replace(journal.rows[3], body=b"")
    async with dispatcher(journal, on_fault=faults.append) as running:
        await running.scored(4)
    [status] = journal.statuses.values()
    assert status.events == 200
    assert {line.split(" is skipped")[0] for line in faults} == {"journal row 2 of stream logs:checkout", "clock row 4"}
    assert len(faults) == 2


async def test_after_a_lost_state_no_window_number_is_used_again() -> None:
    journal, faults = MemoryJournal(), list[str]()
    await fill(journal)
    async with dispatcher(journal):
        pass
    before = set(journal.findings)
    journal.stream_checkpoints = {known: Checkpoint(saved.seq, b"") for known, saved in journal.stream_checkpoints.items()}
    await fill(journal)
    async with dispatcher(journal, on_fault=faults.append):
        pass
    fresh = set(journal.findings) - before
    assert len(fresh) == len(before)
    assert len(faults) == len(KEYS)
    assert all("is lost, it calibrates anew" in line for line in faults)


async def test_a_state_of_a_newer_version_stops_the_process() -> None:
    journal = MemoryJournal()
    await fill(journal)
    async with dispatcher(journal):
        pass
    newer = zstandard.compress(state_pb2.StreamState(schema=99).SerializeToString())
    journal.stream_checkpoints = {known: Checkpoint(saved.seq, newer) for known, saved in journal.stream_checkpoints.items()}
    await fill(journal)
    with pytest.raises(Internal, match="upgrade driftlock"):
        async with dispatcher(journal):
            pass
