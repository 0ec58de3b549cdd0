"""The applier over the real journal: killed anywhere, it says what it says when nobody disturbs it."""

import asyncio
import random
from array import array
from uuid import UUID

import asyncpg
import pytest

from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.limits import DispatchLimits, Limits
from driftlock.engine.ports import StreamBatch, Submission
from driftlock.engine.profile import DEFAULT_CODEC, PROFILES, custom
from driftlock.storage.anomalies import Anomalies, AnomalyFilter
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.incidents import Incidents
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.recovery import recovery_position, tenants_with_state
from driftlock.storage.retention import Retention
from driftlock.storage.shard import Shard
from driftlock.storage.streams import Streams
from tests.conftest import EMPTY
from tests.engine.streams import BASE_NS, batches
from tests.engine.test_detector import with_burst
from tests.storage.helpers import open_journal

KEYS = [StreamKey(Signal.LOGS, name) for name in ("checkout", "cart")]
RECEIVED_NS = BASE_NS + 10**15


async def acquired(database: Database) -> Shard:
    shard = Shard(database)
    await shard.acquire()
    return shard


async def fill(database: Database, journal: Journal, tenant: UUID) -> None:
    """Two streams with something new in each: one with a profile of its own from the start, one whose profile changes."""
    await journal.create_stream(tenant, KEYS[1], custom(PROFILES["balanced"], {"window_size": 40, "codec": "lz4"}))
    for number, key in enumerate(KEYS):
        for index, batch in enumerate(batches(with_burst(2600 + 200 * number, 3200), 100)):
            receipt = await journal.submit(Submission(tenant, Signal.LOGS, RECEIVED_NS, (StreamBatch(key, batch),)))
            if index == 12:
                row = await Streams(database).get(tenant, receipt.stream_ids[0])
                assert row is not None
                await journal.configure(tenant, row.stream_id, custom(row.profile, {"ncd_threshold": 0.31}))
                await journal.set_budget(tenant, 1)


async def dispatcher(database: Database, limits: DispatchLimits) -> Dispatcher:
    shard = await acquired(database)
    return await applier(database, shard, Journal(database, shard, node="n", on_commit=lambda _: None), limits)


async def applier(database: Database, shard: Shard, journal: Journal, limits: DispatchLimits) -> Dispatcher:
    rows, checkpoints = JournalRows(database, recent=journal.recent), Checkpoints(database, shard)
    return Dispatcher(
        reader=rows,
        states=checkpoints,
        committer=checkpoints,
        clock_journal=journal,
        recovery_seq=await recovery_position(database, checkpoints),
        applied_seq=await rows.applied_seq(),
        tenant_ids=await tenants_with_state(database),
        now_ns=lambda: BASE_NS,
        seed=7,
        limits=Limits(),
        dispatch_limits=limits,
        on_step=lambda _: None,
        on_fault=lambda line: pytest.fail(line),
    )


async def scored(running: Dispatcher, seq: int) -> None:
    """Wait for a position, or raise what stopped the applier on the way."""
    waits = [asyncio.ensure_future(running.scored(seq)), asyncio.ensure_future(running.failed())]
    async with asyncio.timeout(20):
        done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in pending:
        wait.cancel()
    for wait in done:
        wait.result()


async def results(database: Database, tenant: UUID) -> tuple[object, ...]:
    """Everything that users see but for ids and times of detection."""
    found = [row.finding.canonical() for row in await Anomalies(database).list(tenant, AnomalyFilter(), limit=200)]
    groups = [
        (row.slugs, row.incident.start_ns, row.incident.end_ns, row.incident.findings, row.incident.title, row.alerted_ns)
        for row in await Incidents(database).list(tenant, limit=200)
    ]
    streams = [
        (row.slug, row.events, row.windows, row.pending, row.calibration, row.profile)
        for row in await Streams(database).list(tenant, limit=9)
    ]
    return sorted(found), sorted(groups), streams


@pytest.mark.parametrize("seed", range(6))
async def test_kills_and_truncation_change_nothing(
    database: Database, tenant: UUID, owner: asyncpg.Connection, seed: int
) -> None:
    async with await open_journal(database) as journal:
        await fill(database, journal, tenant)
    last = await JournalRows(database).last_seq()
    calm = DispatchLimits(threads=2)
    running = await dispatcher(database, calm)
    async with running:
        await scored(running, last)
    undisturbed = await results(database, tenant)
    alerts = [row.incident.alerted for row in await Incidents(database).list(tenant, limit=200)]
    assert (alerts.count(True), alerts.count(False) > 0) == (1, True)  # the tenant's budget is one in a day
    findings = [row.finding for row in await Anomalies(database).list(tenant, AnomalyFilter(), limit=200)]
    assert {(it.stream, it.codec, it.ncd_threshold) for it in findings} == {
        (KEYS[0].text, DEFAULT_CODEC, 0.31),
        (KEYS[1].text, "lz4", 0.31),
    }
    assert await recovery_position(database, Checkpoints(database, await acquired(database))) == last

    await owner.execute(EMPTY)
    await owner.execute("insert into driftlock.tenants (id, name) values ($1, 'local')", tenant)
    async with await open_journal(database) as journal:
        await fill(database, journal, tenant)
    rng = random.Random(seed)
    while (applied := await JournalRows(database).applied_seq()) < last:
        # Small steps and frequent checkpoints, then a kill: what is in memory is gone, without a stop.
        limits = DispatchLimits(threads=2, read_bytes_max=1, checkpoint_bytes=rng.choice([1, 6000, 10**9]))
        part = await (await dispatcher(database, limits)).__aenter__()
        await scored(part, min(last, applied + rng.randrange(3, 15)))
        for task in part._tasks:
            task.cancel()
        await asyncio.gather(*part._tasks, return_exceptions=True)
        await Retention(database, await acquired(database), dedup_window_ms=1, bytes_kept=1 << 40).truncate(2**63 - 1)
    async with await dispatcher(database, calm):
        pass
    assert await results(database, tenant) == undisturbed
    await Retention(database, await acquired(database), dedup_window_ms=1, bytes_kept=1 << 40).truncate(2**63 - 1)
    assert await JournalRows(database).size_bytes() == 0


def points(first: int, count: int) -> RecordBatch:
    """So many points of one series, a second apart."""
    return RecordBatch(
        lengths=array("I", bytes(4 * count)),
        times_ns=array("Q", [BASE_NS + (first + number) * 10**9 for number in range(count)]),
        series=("cpu",),
        series_index=array("I", [1] * count),
        values=array("d", [50 + (first + number) * 7919 % 11 for number in range(count)]),
    )


async def test_series_come_back_for_rows_that_are_still_in_memory(database: Database, tenant: UUID) -> None:
    key, health = StreamKey(Signal.METRICS, "shop"), []
    for first, count in ((0, 700), (700, 1)):
        shard = await acquired(database)
        async with Journal(database, shard, node="n", on_commit=lambda _: None) as journal:
            receipt = await journal.submit(
                Submission(tenant, Signal.METRICS, RECEIVED_NS, (StreamBatch(key, points(first, count)),))
            )
            assert journal.recent.bytes > 0
            async with await applier(database, shard, journal, DispatchLimits(threads=1)) as running:
                await scored(running, receipt.seq)
        row = await Streams(database).get(tenant, receipt.stream_ids[0])
        assert row is not None
        health.append((row.calibration, row.events))
    assert health == [(health[0][0], 700), (health[0][0], 701)]
    assert health[0][0] != "calibrating"
