"""A stream that is deleted: gone at once, emptied in bites, its key free, and the ledger still true."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from driftlock.accounts.actor import SYSTEM, Actor, ActorKind
from driftlock.engine.ports import Checkpoint, FindingRow, IncidentRow, Step, StreamStatus
from driftlock.engine.profile import PROFILES, custom
from driftlock.engine.verdict import Incident, IncidentState
from driftlock.errors import Conflict, NotFound, PreconditionFailed
from driftlock.storage.audit import AuditLog
from driftlock.storage.budgets import Budgets
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.deletion import DeletionLimits
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.stream_deletion import StreamDeletions
from driftlock.storage.stream_ids import StreamIds
from driftlock.storage.stream_settings import SettingsSeen, StreamSettings, settings_of
from driftlock.storage.streams import Streams
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import CHECKOUT, NOW_NS, finding, submission
from tests.storage.test_deletion import bytes_agree

SMALL = DeletionLimits(bite_rows_max=2, look_rows_max=3)
OF_STREAMS = """
select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'stream_id'
 where c.relnamespace = 'driftlock'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition order by 1
"""


@pytest.fixture
def settings(database: Database, journal: Journal) -> StreamSettings:
    return StreamSettings(database, journal)


async def furnish(database: Database, shard: Shard, journal: Journal, tenant: UUID) -> UUID:
    """A stream with rows in two slots, findings, an incident and a checkpoint."""
    stream = (await journal.submit(submission(tenant, "a", "b"))).stream_ids[0]
    await database.node(lambda connection: connection.fetchval("select driftlock.journal_roll(0)"))
    await journal.configure(tenant, stream, PROFILES["strict"])
    for number in range(4):
        await journal.submit(submission(tenant, f"more {number}"))
    last = await JournalRows(database).last_seq()
    await Checkpoints(database, shard).commit(step(tenant, stream, 0, last, range(5)))
    return stream


def step(tenant: UUID, stream: UUID, since: int, until: int, windows: range) -> Step:
    incident = Incident(UUID(int=70 + windows.start), (stream,), IncidentState.OPEN, 1, 2, 1, 0.5, 0.01, "x")
    ids = {window: UUID(int=5000 + window) for window in windows}
    return Step(
        since,
        until,
        findings=tuple(FindingRow(tenant, stream, ids[window], finding(window)) for window in windows),
        incidents=(IncidentRow(tenant, incident, (ids[windows.start],)),),
        streams=(StreamStatus(tenant, stream, 1, 1, NOW_NS, NOW_NS, "ok", 0),),
        stream_checkpoints={(tenant, stream): Checkpoint(until, b"s")},
    )


async def left_of(owner: asyncpg.Connection, stream: UUID) -> dict[str, int]:
    counts = {"streams": await owner.fetchval("select count(*) from driftlock.streams where id = $1", stream)}
    for row in await owner.fetch(OF_STREAMS):
        sql = f"select count(*) from driftlock.{row['relname']} where stream_id = $1"  # noqa: S608  # from the catalog
        counts[row["relname"]] = await owner.fetchval(sql, stream)
    counts["incidents"] = await owner.fetchval("select count(*) from driftlock.incidents where $1 = any (stream_ids)", stream)
    return {table: count for table, count in counts.items() if count}


async def test_a_deleted_stream_is_emptied_and_its_key_begins_anew(
    database: Database, shard: Shard, journal: Journal, settings: StreamSettings, tenant: UUID, owner: asyncpg.Connection
) -> None:
    stream = await furnish(database, shard, journal, tenant)
    other = (await journal.submit(submission(tenant, "kept", key=replace(CHECKOUT, service="other")))).stream_ids[0]
    assert {"anomalies", "incidents", "journal", "stream_checkpoints", "streams"} <= (await left_of(owner, stream)).keys()

    await settings.delete(tenant, stream, SYSTEM)

    assert [row.stream_id for row in await Streams(database).list(tenant, limit=9)] == [other]
    assert await Streams(database).get(tenant, stream) is None
    assert await Streams(database).get(tenant, f"_deleted-{stream}") is None
    fresh = (await journal.submit(submission(tenant, "new"))).stream_ids[0]
    assert fresh not in (stream, other)
    assert await owner.fetchval("select streams from driftlock.tenants where id = $1", tenant) == 2
    deletions = StreamDeletions(database, SMALL, grace=timedelta(0))
    assert await deletions.closed() == [stream]
    assert await deletions.empty(stream) is True
    assert await left_of(owner, stream) == {}
    assert await deletions.closed() == []
    assert await bytes_agree(owner)
    assert await owner.fetchval("select count(*) from driftlock.journal where stream_id = any ($1)", [fresh, other]) == 2
    held = await owner.fetchval(
        "select (select sum(records) from driftlock.journal) + (select sum(records) from driftlock.journal_removed)"
    )
    assert held == await owner.fetchval("select sum(journaled)::bigint from driftlock.ledger") == 8
    assert [entry.action for entry in await AuditLog(database).list(tenant, limit=9)] == ["stream.deleted"]
    rows = await JournalRows(database).read(0, 1 << 20)  # nothing is missing for who reads on
    assert [row.seq for row in rows] == list(range(1, await JournalRows(database).last_seq() + 1))


async def test_a_step_on_its_way_does_no_harm(
    database: Database, shard: Shard, journal: Journal, settings: StreamSettings, tenant: UUID, owner: asyncpg.Connection
) -> None:
    stream = await furnish(database, shard, journal, tenant)
    applied = await JournalRows(database).applied_seq()
    await journal.submit(submission(tenant, "unscored"))
    await settings.delete(tenant, stream, SYSTEM)
    waiting = StreamDeletions(database, SMALL)
    assert await waiting.empty(stream) is False  # a request that has found it may still come
    last = await JournalRows(database).last_seq()
    await Checkpoints(database, shard).commit(step(tenant, stream, applied, last, range(10, 12)))
    assert await StreamDeletions(database, SMALL, grace=timedelta(0)).empty(stream) is True
    assert await left_of(owner, stream) == {}
    await journal.submit(submission(tenant, "again"))
    after = await JournalRows(database).last_seq()
    late = step(tenant, stream, last, after, range(20, 22))  # of a stream that is gone
    over = tuple(replace(row, incident=replace(row.incident, state=IncidentState.CLOSED)) for row in late.incidents)
    await Checkpoints(database, shard).commit(replace(late, incidents=over))
    assert await left_of(owner, stream) == {}, "an incident that was open then does not come back when it ends"


async def test_what_was_being_looked_for_meanwhile_is_not_remembered(
    database: Database, journal: Journal, settings: StreamSettings, tenant: UUID
) -> None:
    """The answer to a look-up that began before the stream went must not send later records to it."""
    stream = (await journal.submit(submission(tenant, "a"))).stream_ids[0]
    ids = StreamIds(database, entries_max=9)
    asked, go_on, ask = asyncio.Event(), asyncio.Event(), ids._ask

    async def slow(tenant_id: UUID, keys: list) -> list:  # type: ignore[type-arg]
        found = await ask(tenant_id, keys)
        asked.set()
        await go_on.wait()
        return found

    ids._ask = slow  # type: ignore[method-assign]
    looking = asyncio.create_task(ids.resolve(tenant, [CHECKOUT]))
    await asked.wait()
    await settings.delete(tenant, stream, SYSTEM)
    ids.forget(tenant)
    go_on.set()
    assert (await looking)[0].stream_id == stream
    assert len(ids) == 0
    assert (await ids.resolve(tenant, [CHECKOUT]))[0].stream_id != stream


async def test_only_ones_own_stream_and_only_once(
    database: Database, journal: Journal, settings: StreamSettings, tenant: UUID
) -> None:
    other = (await Tenants(database).create("other")).tenant_id
    stream = (await journal.submit(submission(tenant, "a"))).stream_ids[0]
    with pytest.raises(NotFound):
        await settings.delete(other, stream, SYSTEM)
    await settings.delete(tenant, stream, SYSTEM)
    with pytest.raises(NotFound):
        await settings.delete(tenant, stream, SYSTEM)
    with pytest.raises(NotFound):
        await settings.change(tenant, stream, {"display_name": "x"}, SYSTEM)


SEEN = SettingsSeen("", None, PROFILES["balanced"].alerts_per_day_max)
STRICT = PROFILES["strict"]


async def test_of_changes_based_on_the_same_state_one_is_made(
    database: Database, journal: Journal, settings: StreamSettings, tenant: UUID
) -> None:
    """Whatever they change, and in whichever order they come."""
    assert STRICT.alerts_per_day_max == SEEN.alerts_per_day_max
    few = custom(PROFILES["balanced"], {"alerts_per_day_max": 3})
    for number in range(4):
        key = replace(CHECKOUT, service=f"s{number}")
        stream = (await journal.submit(submission(tenant, "a", key=key))).stream_ids[0]
        found = await asyncio.gather(
            settings.change(tenant, stream, {"display_name": "one"}, SYSTEM, SEEN),
            settings.change(tenant, stream, {"retention_days": 3}, SYSTEM, SEEN),
            settings.configure(tenant, stream, few, PROFILES["balanced"], SYSTEM, changes={"display_name": "two"}, seen=SEEN),
            settings.delete(tenant, stream, SYSTEM, SEEN),
            return_exceptions=True,
        )
        assert found.count(None) == 1, found
        assert all(isinstance(it, PreconditionFailed | NotFound | Conflict) for it in found if it is not None), found
        noted = await AuditLog(database).list(tenant, limit=99)
        assert [entry.target for entry in noted].count(str(stream)) == 1


async def test_a_stream_that_was_changed_since_it_was_read_stays(
    database: Database, journal: Journal, settings: StreamSettings, tenant: UUID
) -> None:
    stream = (await journal.submit(submission(tenant, "a"))).stream_ids[0]
    await settings.configure(tenant, stream, STRICT, PROFILES["balanced"], SYSTEM)  # no setting of it
    await settings.change(tenant, stream, {"display_name": "theirs"}, SYSTEM, SEEN)
    with pytest.raises(PreconditionFailed):
        await settings.delete(tenant, stream, SYSTEM, SEEN)
    with pytest.raises(PreconditionFailed):
        await settings.change(tenant, stream, {"display_name": "mine"}, SYSTEM, SEEN)
    few = custom(STRICT, {"alerts_per_day_max": 3})
    with pytest.raises(PreconditionFailed):
        await settings.configure(tenant, stream, few, STRICT, SYSTEM, changes={"display_name": "mine"}, seen=SEEN)
    row = await Streams(database).get(tenant, stream)
    assert row is not None
    assert (row.profile, settings_of(row)) == (STRICT, replace(SEEN, display_name="theirs"))
    await settings.configure(tenant, stream, few, STRICT, SYSTEM, changes={"display_name": "mine"}, seen=settings_of(row))
    row = await Streams(database).get(tenant, stream)
    assert row is not None
    assert settings_of(row) == SettingsSeen("mine", None, 3)
    [entry] = await AuditLog(database).list(tenant, limit=1)
    assert entry.detail == {"alerts_per_day_max": 3, "display_name": "mine", "name": "custom"}
    await settings.delete(tenant, stream, SYSTEM, settings_of(row))


async def test_of_budgets_based_on_the_same_one_one_is_set(
    database: Database, journal: Journal, settings: StreamSettings, tenant: UUID
) -> None:
    found = await asyncio.gather(
        *(settings.set_budget(tenant, most, SYSTEM, (None,)) for most in (5, 6, 7)), return_exceptions=True
    )
    assert sorted(map(str, map(type, found))) == sorted(map(str, [bool, PreconditionFailed, PreconditionFailed])), found
    row = await Budgets(database).get(tenant)
    assert row is not None
    assert row.alerts_per_day_max in (5, 6, 7)
    assert not await settings.set_budget(tenant, row.alerts_per_day_max, SYSTEM, (row.alerts_per_day_max,))
    assert await settings.set_budget(tenant, 9, SYSTEM)
    assert [entry.action for entry in await AuditLog(database).list(tenant, limit=9)] == ["budget.changed"] * 2
    assert (await journal.submit(submission(tenant, "a"))).records == 1, "nobody has taken the journal over"


async def test_a_stream_is_created_by_one(database: Database, journal: Journal, settings: StreamSettings, tenant: UUID) -> None:
    stream = (await journal.submit(submission(tenant, "a"))).stream_ids[0]
    actors = [Actor(ActorKind.KEY, str(number), "k") for number in range(3)]
    await asyncio.gather(*(settings.note_created(tenant, stream, actor) for actor in actors))
    [entry] = await AuditLog(database).list(tenant, limit=9)
    assert (entry.action, entry.target) == ("stream.created", str(stream))
    assert entry.actor in actors


async def test_a_stream_that_nobody_deletes_is_not_emptied(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    stream = (await journal.submit(submission(tenant, "a"))).stream_ids[0]
    assert await StreamDeletions(database, grace=timedelta(0)).empty(stream) is False
    assert await left_of(owner, stream) == {"journal": 1, "streams": 1}


async def test_settings_are_kept_and_noted(
    database: Database, journal: Journal, settings: StreamSettings, tenant: UUID
) -> None:
    stream = (await journal.submit(submission(tenant, "a"))).stream_ids[0]
    await settings.change(tenant, stream, {"display_name": "Till\0", "retention_days": 7}, SYSTEM)
    row = await Streams(database).get(tenant, stream)
    assert row is not None
    assert (row.display_name, row.retention_days) == ("Till␀", 7)
    await settings.change(tenant, stream, {"retention_days": None}, SYSTEM)
    row = await Streams(database).get(tenant, stream)
    assert row is not None
    assert (row.display_name, row.retention_days) == ("Till␀", None)
    await settings.change(tenant, stream, {}, SYSTEM)
    assert [entry.detail for entry in await AuditLog(database).list(tenant, limit=9)] == [
        {"retention_days": None},
        {"display_name": "Till␀", "retention_days": 7},
    ]
    plans = {"free": 14, "enterprise": 3650, "pro": 180}
    for plan, days in plans.items():
        made = await Tenants(database).create(f"of {plan}", plan=plan)
        assert await settings.retention_days_max(made.tenant_id) == days
