"""Alert budgets: journaled among the records they hold for, and shown with what incidents spent of them."""

import dataclasses
import json
from uuid import UUID

import asyncpg
import pytest

from driftlock.accounts.actor import Actor, ActorKind
from driftlock.engine import records
from driftlock.engine.correlation.budget import DAY_NS
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import Checkpoint, IncidentRow, RowKind, Step, StreamStatus
from driftlock.engine.profile import PROFILES, custom
from driftlock.engine.verdict import Incident, IncidentState
from driftlock.errors import Conflict, NotFound, Unavailable
from driftlock.storage.audit import AuditLog
from driftlock.storage.budgets import BudgetRow, Budgets
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.incidents import Incidents
from driftlock.storage.journal import Journal, JournalLimits
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Connection, Database
from driftlock.storage.recovery import recovery_position
from driftlock.storage.retention import Retention
from driftlock.storage.shard import Shard
from driftlock.storage.stream_settings import StreamSettings
from driftlock.storage.streams import Streams
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import NOW_NS, open_journal, submission

HOUR_NS = DAY_NS // 24


async def test_a_budget_stands_between_the_records_before_and_after_it(
    database: Database, journal: Journal, tenant: UUID
) -> None:
    await journal.submit(submission(tenant, "a"))
    assert await journal.set_budget(tenant, 5)
    await journal.submit(submission(tenant, "b"))
    rows = await JournalRows(database).read(0, 1 << 20)
    assert [(row.seq, row.kind) for row in rows] == [(1, RowKind.RECORDS), (2, RowKind.BUDGET), (3, RowKind.RECORDS)]
    assert (rows[1].tenant_id, rows[1].stream_id, rows[1].stream_key) == (tenant, None, None)
    assert records.decode_budget(rows[1].body) == 5
    assert [row.budget for row in rows] == [5, 5, 5]


async def test_the_same_budget_again_leaves_no_row(database: Database, journal: Journal, tenant: UUID) -> None:
    assert await journal.set_budget(tenant, 5)
    assert not await journal.set_budget(tenant, 5)
    assert await journal.set_budget(tenant, 0)
    assert await JournalRows(database).last_seq() == 2


async def test_who_sets_a_budget_is_noted_with_it_or_neither_is_written(
    database: Database, journal: Journal, tenant: UUID
) -> None:
    settings = StreamSettings(database, journal)
    actor = Actor(ActorKind.KEY, "k", "ops")
    assert await settings.set_budget(tenant, 5, actor)
    assert not await settings.set_budget(tenant, 5, actor)
    (entry,) = await AuditLog(database).list(tenant, limit=5)
    assert (entry.action, entry.target, entry.actor.name) == ("budget.changed", str(tenant), "ops")
    assert entry.detail == {"alerts_per_day_max": 5}

    async def fails(_connection: Connection, _seq: int) -> None:
        raise Conflict("somebody else was faster")

    with pytest.raises(Conflict, match="faster"):
        await journal.set_budget(tenant, 6, beside=fails)
    row = await Budgets(database).get(tenant)
    assert row is not None
    assert row.alerts_per_day_max == 5
    assert await JournalRows(database).last_seq() == 1


async def test_a_budget_of_nobody_is_not_set(database: Database, journal: Journal, tenant: UUID) -> None:
    with pytest.raises(NotFound, match="tenant"):
        await journal.set_budget(UUID(int=6), 5)
    assert await Budgets(database).get(UUID(int=6)) is None
    assert await JournalRows(database).last_seq() == 0


async def test_a_full_journal_refuses_budgets(database: Database, shard: Shard, tenant: UUID) -> None:
    limits = JournalLimits(journal_bytes_max=100)
    async with Journal(database, shard, node="n", on_commit=lambda _: None, limits=limits) as journal:
        with pytest.raises(Unavailable, match="journal is full"):
            await journal.set_budget(tenant, 5)
    assert await Budgets(database).get(tenant) == BudgetRow(None, 0, 0, 0)


async def test_an_owner_that_was_replaced_sets_no_budget(database: Database, tenant: UUID) -> None:
    async with await open_journal(database) as old, await open_journal(database) as new:
        with pytest.raises(Unavailable, match="taken over"):
            await old.set_budget(tenant, 5)
        assert await new.set_budget(tenant, 7)


async def test_a_damaged_budget_row_comes_without_its_body(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    await journal.set_budget(tenant, 5)
    await owner.execute("update driftlock.journal set body = '\\x00'")
    (row,) = await JournalRows(database).read(0, 1 << 20)
    assert (row.kind, row.body, row.budget) == (RowKind.BUDGET, b"", 5)


async def test_the_budget_of_a_deleted_tenant_leaves_a_clock_behind(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    other = (await Tenants(database).create("other")).tenant_id
    await journal.set_budget(other, 5)
    await journal.set_budget(tenant, 6)
    size = await JournalRows(database).size_bytes()
    assert await Tenants(database).delete(other)
    rows = await JournalRows(database).read(0, 1 << 20)
    assert [(row.kind, row.tenant_id, row.budget) for row in rows] == [(RowKind.CLOCK, None, None), (RowKind.BUDGET, tenant, 6)]
    assert records.decode_clock(rows[0].body) == rows[0].received_ns
    assert await JournalRows(database).size_bytes() < size
    assert await owner.fetchval("select count(*) from driftlock.journal where tenant_id = $1", other) == 0


async def test_a_budget_is_read_again_by_a_fold_that_has_not_kept_it(
    database: Database, journal: Journal, shard: Shard, tenant: UUID, owner: asyncpg.Connection
) -> None:
    checkpoints = Checkpoints(database, shard)
    await journal.set_budget(tenant, 5)
    await journal.set_budget(tenant, 6)
    await checkpoints.commit(Step(0, 1, tenant_checkpoints={tenant: Checkpoint(1, b"one")}))
    await checkpoints.commit(Step(1, 2))
    assert await recovery_position(database, checkpoints) == 1
    await checkpoints.commit(Step(2, 2, tenant_checkpoints={tenant: Checkpoint(2, b"two")}))
    assert await recovery_position(database, checkpoints) == 2
    await owner.execute("update driftlock.tenant_checkpoints set state = '\\x00' where seq = 2")
    assert await recovery_position(database, checkpoints) == 2  # nothing is newer than either of them


async def test_a_budget_that_a_fold_may_need_again_is_not_deleted(
    database: Database, journal: Journal, shard: Shard, tenant: UUID
) -> None:
    checkpoints, retention = Checkpoints(database, shard), Retention(database, shard, dedup_window_ms=1, bytes_kept=1 << 40)
    for alerts in (5, 6, 7):
        await journal.set_budget(tenant, alerts)
    await checkpoints.commit(Step(0, 3, tenant_checkpoints={tenant: Checkpoint(1, b"one")}))
    late_ns = 2**62
    assert await retention.truncate(late_ns) == 0
    for seq in (2, 3):
        await checkpoints.commit(Step(3, 3, tenant_checkpoints={tenant: Checkpoint(seq, b"s")}))
    assert await retention.truncate(late_ns) == 3


def incident(number: int, stream: UUID, end_ns: int, alerted_ns: int | None) -> Incident:
    return Incident(
        UUID(int=number), (stream,), IncidentState.OPEN, end_ns - 5, end_ns, 1, 0.5, 0.01, "x", 3.5, alerted_ns is not None
    )


async def test_spending_is_what_incidents_of_the_last_24_hours_say(
    database: Database, journal: Journal, shard: Shard, tenant: UUID
) -> None:
    streams = [
        (await journal.submit(submission(tenant, name, key=StreamKey(Signal.LOGS, name)))).stream_ids[0] for name in ("a", "b")
    ]
    now, old = NOW_NS + 3 * DAY_NS, NOW_NS + 2 * DAY_NS
    told = [
        (streams[0], now, now - HOUR_NS),  # goes on since its alert
        (streams[0], now - 2 * HOUR_NS, None),
        (streams[0], now - HOUR_NS, old),  # alerted just 24 hours ago
        (streams[0], old, None),
        (streams[1], now - HOUR_NS, now - HOUR_NS),
        (streams[1], now - 25 * HOUR_NS, now - 25 * HOUR_NS),
    ]
    rows = tuple(
        IncidentRow(tenant, incident(number, stream, end_ns, alerted_ns), (), alerted_ns)
        for number, (stream, end_ns, alerted_ns) in enumerate(told)
    )
    statuses = (
        StreamStatus(tenant, streams[0], 1, 1, NOW_NS, now, "degraded", 0, "bursts"),
        StreamStatus(tenant, streams[1], 1, 1, NOW_NS, now - 2 * HOUR_NS, "ok", 0),
    )
    await Checkpoints(database, shard).commit(Step(0, 2, incidents=rows, streams=statuses))
    await journal.set_budget(tenant, 9)
    assert await Budgets(database).get(tenant) == BudgetRow(9, 2, 1, now)
    first, second = await Streams(database).list(tenant, limit=2)
    assert (first.alerts_spent, first.alerts_muted, first.calibration_reason) == (1, 1, "bursts")
    assert (second.alerts_spent, second.alerts_muted, second.calibration_reason) == (2, 0, "")
    assert await Streams(database).get(tenant, streams[0]) == first
    other = (await Tenants(database).create("other")).tenant_id
    assert await Budgets(database).get(other) == BudgetRow(None, 0, 0, 0)


async def test_an_incident_may_alert_later_than_it_opens(
    database: Database, journal: Journal, shard: Shard, tenant: UUID
) -> None:
    (stream,) = (await journal.submit(submission(tenant, "a"))).stream_ids
    checkpoints, incidents = Checkpoints(database, shard), Incidents(database)
    quiet = incident(1, stream, NOW_NS, None)
    await checkpoints.commit(Step(0, 1, incidents=(IncidentRow(tenant, quiet, ()),)))
    found = await incidents.get(tenant, quiet.incident_id)
    assert found is not None
    assert (found.incident, found.alerted_ns) == (quiet, None)
    grown = dataclasses.replace(quiet, alerted=True, surprise_max=8.0)
    await checkpoints.commit(Step(1, 1, incidents=(IncidentRow(tenant, grown, (), 2**64 - 1, told=True),)))
    (found,) = await incidents.list(tenant, limit=9)
    assert (found.incident, found.alerted_ns) == (grown, 2**63 - 1)


async def test_a_profile_that_was_stored_before_it_had_all_its_values_can_be_changed(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    (stream_id,) = (await journal.submit(submission(tenant, "a"))).stream_ids
    before = custom(PROFILES["balanced"], {"window_size": 25})
    await journal.configure(tenant, stream_id, before)
    older = dataclasses.asdict(before)
    del older["alerts_per_day_max"]
    await owner.execute("update driftlock.streams set profile = $1", json.dumps(older))
    row = await Streams(database).get(tenant, stream_id)
    assert row is not None
    assert row.profile == before
    with pytest.raises(Conflict, match="meanwhile"):
        await journal.configure(tenant, stream_id, PROFILES["strict"], expected=custom(before, {"window_size": 26}))
    fewer = custom(before, {"alerts_per_day_max": 3})
    await journal.configure(tenant, stream_id, fewer, expected=row.profile)
    with pytest.raises(Conflict, match="meanwhile"):
        await journal.configure(tenant, stream_id, PROFILES["strict"], expected=before)
    row = await Streams(database).get(tenant, stream_id)
    assert row is not None
    assert row.profile == fewer
