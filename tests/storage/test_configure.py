"""Profiles in the journal: among the records they hold for, shown at once, and never between two owners."""

import asyncio
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from driftlock.engine import records
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import RowKind, Step, StreamStatus
from driftlock.engine.profile import PROFILES, Profile, custom
from driftlock.errors import Conflict, NotFound, Unavailable
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.journal import Journal, JournalLimits
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.streams import Streams
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import CHECKOUT, NOW_NS, open_journal, submission

CUSTOM = custom(PROFILES["balanced"], {"window_size": 25, "p_value_threshold": 0.02, "codec": "lz4"})


async def configured(database: Database, tenant: UUID, stream_id: UUID) -> Profile:
    row = await Streams(database).get(tenant, stream_id)
    assert row is not None
    return row.profile


async def test_a_configuration_stands_between_the_records_before_and_after_it(
    database: Database, journal: Journal, tenant: UUID
) -> None:
    first = await journal.submit(submission(tenant, "a"))
    seq = await journal.configure(tenant, first.stream_ids[0], CUSTOM)
    last = await journal.submit(submission(tenant, "b"))
    assert (first.seq, seq, last.seq) == (1, 2, 3)
    rows = await JournalRows(database).read(0, 1 << 20)
    assert [row.kind for row in rows] == [RowKind.RECORDS, RowKind.CONFIG, RowKind.RECORDS]
    assert (rows[1].tenant_id, rows[1].stream_id, rows[1].stream_key) == (tenant, first.stream_ids[0], CHECKOUT)
    assert records.decode_config(rows[1].body) == CUSTOM == rows[1].configured
    assert rows[1].received_ns > NOW_NS


async def test_a_configuration_is_shown_at_once(database: Database, journal: Journal, tenant: UUID) -> None:
    (stream_id,) = (await journal.submit(submission(tenant, "a"))).stream_ids
    assert await configured(database, tenant, stream_id) == PROFILES["balanced"]
    await journal.configure(tenant, stream_id, CUSTOM)
    assert await configured(database, tenant, stream_id) == CUSTOM
    await journal.configure(tenant, stream_id, PROFILES["strict"])
    assert await configured(database, tenant, stream_id) == PROFILES["strict"]
    assert (await Streams(database).list(tenant, limit=1))[0].profile == PROFILES["strict"]


async def test_the_same_configuration_again_leaves_no_row(database: Database, journal: Journal, tenant: UUID) -> None:
    (stream_id,) = (await journal.submit(submission(tenant, "a"))).stream_ids
    assert await journal.configure(tenant, stream_id, CUSTOM) == 2
    await journal.submit(submission(tenant, "b"))
    assert await journal.configure(tenant, stream_id, CUSTOM) == 3
    assert await JournalRows(database).last_seq() == 3


async def test_a_configuration_is_neither_metered_nor_pending(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    (stream_id,) = (await journal.submit(submission(tenant, "a"))).stream_ids
    before = await owner.fetch("select records, bytes from driftlock.meter")
    size = await JournalRows(database).size_bytes()
    await journal.configure(tenant, stream_id, CUSTOM)
    assert await owner.fetch("select records, bytes from driftlock.meter") == before
    row = await Streams(database).get(tenant, stream_id)
    assert row is not None
    assert row.pending == 1
    assert await JournalRows(database).size_bytes() > size  # it is on disk all the same


async def test_only_its_tenant_configures_a_stream(database: Database, journal: Journal, tenant: UUID) -> None:
    other = (await Tenants(database).create("other")).tenant_id
    (stream_id,) = (await journal.submit(submission(tenant, "a"))).stream_ids
    for tenant_id, unknown in ((other, stream_id), (tenant, UUID(int=5)), (UUID(int=6), stream_id)):
        with pytest.raises(NotFound, match="stream"):
            await journal.configure(tenant_id, unknown, CUSTOM)
    assert await JournalRows(database).last_seq() == 1
    assert await configured(database, tenant, stream_id) == PROFILES["balanced"]


async def test_a_stream_is_created_with_its_profile_once(database: Database, journal: Journal, tenant: UUID) -> None:
    assert await journal.create_stream(tenant, CHECKOUT, CUSTOM)
    assert not await journal.create_stream(tenant, CHECKOUT, PROFILES["strict"])
    receipt = await journal.submit(submission(tenant, "a"))
    rows = await JournalRows(database).read(0, 1 << 20)
    assert [(row.seq, row.kind) for row in rows] == [(1, RowKind.CONFIG), (2, RowKind.RECORDS)]
    assert await configured(database, tenant, receipt.stream_ids[0]) == CUSTOM


async def test_a_stream_with_a_past_is_not_created(
    database: Database, journal: Journal, shard: Shard, tenant: UUID, owner: asyncpg.Connection
) -> None:
    (stream_id,) = (await journal.submit(submission(tenant, "a"))).stream_ids
    assert not await journal.create_stream(tenant, CHECKOUT, CUSTOM)
    status = StreamStatus(tenant, stream_id, 1, 0, 0, 0, "calibrating", 449)
    await Checkpoints(database, shard).commit(Step(0, 1, streams=(status,)))
    await owner.execute("delete from driftlock.journal")  # as retention does
    assert not await journal.create_stream(tenant, CHECKOUT, CUSTOM)
    assert await configured(database, tenant, stream_id) == PROFILES["balanced"]


async def test_of_many_creators_one_wins_and_no_record_comes_before_its_profile(
    database: Database, journal: Journal, tenant: UUID
) -> None:
    profiles = [replace(CUSTOM, ncd_threshold=0.1 + number / 100) for number in range(8)]
    outcomes = await asyncio.gather(
        *(journal.create_stream(tenant, CHECKOUT, profile) for profile in profiles),
        *(journal.submit(submission(tenant, f"line {number}")) for number in range(4)),
    )
    won = [profile for profile, outcome in zip(profiles, outcomes, strict=False) if outcome]
    rows = await JournalRows(database).read(0, 1 << 20)
    found = [(row.seq, records.decode_config(row.body)) for row in rows if row.kind is RowKind.CONFIG]
    assert found == [(1, profile) for profile in won]
    assert [row.seq for row in rows] == list(range(1, 5 + len(won)))


async def test_the_shared_stream_of_a_full_tenant_is_not_configured_by_creating(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    await owner.execute("update driftlock.tenants set streams_max = 1")
    await journal.submit(submission(tenant, "a", key=StreamKey(Signal.LOGS, "first")))
    assert not await journal.create_stream(tenant, CHECKOUT, CUSTOM)
    assert [row.profile.name for row in await Streams(database).list(tenant, limit=9)] == ["balanced", "balanced"]
    assert await JournalRows(database).last_seq() == 1


async def test_a_full_journal_refuses_configurations(database: Database, shard: Shard, tenant: UUID) -> None:
    limits = JournalLimits(journal_bytes_max=300)
    async with Journal(database, shard, node="n", on_commit=lambda _: None, limits=limits) as journal:
        (stream_id,) = (await journal.submit(submission(tenant, "a"))).stream_ids
        with pytest.raises(Unavailable, match="journal is full"):
            await journal.configure(tenant, stream_id, CUSTOM)
    assert await configured(database, tenant, stream_id) == PROFILES["balanced"]


async def test_a_new_owner_fences_configurations(database: Database, tenant: UUID) -> None:
    async with await open_journal(database) as old:
        (stream_id,) = (await old.submit(submission(tenant, "a"))).stream_ids
        async with await open_journal(database) as new:
            for _ in range(2):
                with pytest.raises(Unavailable, match="taken over"):
                    await old.configure(tenant, stream_id, CUSTOM)
            assert await configured(database, tenant, stream_id) == PROFILES["balanced"]
            assert await new.configure(tenant, stream_id, CUSTOM) == 2


async def test_a_stopped_journal_takes_no_configurations(database: Database, journal: Journal, tenant: UUID) -> None:
    (stream_id,) = (await journal.submit(submission(tenant, "a"))).stream_ids
    await journal.__aexit__(None, None, None)
    with pytest.raises(Unavailable, match="stopping"):
        await journal.configure(tenant, stream_id, CUSTOM)
    with pytest.raises(Unavailable, match="stopping"):
        await journal.create_stream(tenant, CHECKOUT, CUSTOM)


async def test_who_waits_for_rows_is_told_of_a_configuration(database: Database, shard: Shard, tenant: UUID) -> None:
    told: list[int] = []
    async with Journal(database, shard, node="n", on_commit=told.append) as journal:
        (stream_id,) = (await journal.submit(submission(tenant, "a"))).stream_ids
        await journal.configure(tenant, stream_id, CUSTOM)
    assert told == [1, 2]


async def test_a_profile_that_was_changed_meanwhile_is_not_overwritten(
    database: Database, journal: Journal, tenant: UUID
) -> None:
    (stream_id,) = (await journal.submit(submission(tenant, "a"))).stream_ids
    balanced, strict = PROFILES["balanced"], PROFILES["strict"]
    assert await journal.configure(tenant, stream_id, CUSTOM, expected=balanced) == 2  # none configured is the default
    with pytest.raises(Conflict, match="read it and try again"):
        await journal.configure(tenant, stream_id, strict, expected=balanced)
    assert await configured(database, tenant, stream_id) == CUSTOM
    assert await journal.configure(tenant, stream_id, strict, expected=CUSTOM) == 3
    await journal.submit(submission(tenant, "b"))  # a conflict about a profile is none about the journal
