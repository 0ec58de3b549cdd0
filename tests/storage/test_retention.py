"""What may leave the journal: never anything that is not applied, or that a fold still needs."""

import asyncio
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.profile import PROFILES
from driftlock.errors import Conflict, Internal, Unavailable
from driftlock.storage.journal import Journal, JournalLimits
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.ledger import Ledgers
from driftlock.storage.pool import Database
from driftlock.storage.retention import Retention
from driftlock.storage.shard import Shard
from driftlock.storage.tenants import Tenants
from tests.conftest import Urls
from tests.storage.helpers import NOW_NS, SECOND_NS, submission
from tests.storage.house import House

WINDOW_MS = JournalLimits().dedup_window_ms
LATER_NS = NOW_NS + WINDOW_MS * 1_000_000 + SECOND_NS
ROLL = "select driftlock.journal_roll(0)"
EMPTY = "select driftlock.journal_empty(0, $1, $2::smallint, $3, '{}', '{}', '{}')"
SEQS = "select seq, slot from driftlock.journal order by seq"


@pytest_asyncio.fixture
async def house(database: Database, shard: Shard, journal: Journal, tenant: UUID, owner: asyncpg.Connection) -> House:
    """Rows 1 A, 2 B, 3 A, 4 A, 5 B, 6 clock, each in a partition of its own."""
    streams = {}
    for number, name in enumerate("ABAAB"):
        sent = submission(tenant, f"line {number}", key=StreamKey(Signal.LOGS, name), received_ns=NOW_NS + number)
        streams[name] = (await journal.submit(sent)).stream_ids[0]
        assert await owner.fetchval(ROLL)
    await journal.append_clock(NOW_NS + 5)
    assert await owner.fetchval(ROLL)
    return House(database, shard, tenant, streams)


@pytest_asyncio.fixture
async def retention(database: Database, shard: Shard) -> Retention:
    return Retention(database, shard, dedup_window_ms=WINDOW_MS, bytes_kept=1 << 40)


async def kept(retention: Retention, owner: asyncpg.Connection, now_ns: int = LATER_NS) -> list[int]:
    await retention.truncate(now_ns)
    return [row["seq"] for row in await owner.fetch(SEQS)]


async def test_applied_rows_in_all_folds_leave(house: House, retention: Retention, owner: asyncpg.Connection) -> None:
    await house.apply(6, tenant_seq=6, A=6, B=6)
    assert await retention.truncate(LATER_NS) == 6
    assert await owner.fetch(SEQS) == []
    reader = JournalRows(house.database)
    assert await reader.size_bytes() == 0
    assert (await reader.last_seq(), await reader.applied_seq()) == (6, 6)
    assert await reader.read(6, 1) == []
    assert await house.position() == 6
    (row,) = await Ledgers(house.database).read()
    assert (row.journaled, row.in_journal, row.removed, row.differences) == (5, 0, 5, {})


async def test_rows_not_applied_never_leave(house: House, retention: Retention, owner: asyncpg.Connection) -> None:
    assert await kept(retention, owner) == [1, 2, 3, 4, 5, 6]
    await house.apply(2, tenant_seq=2, A=2, B=2)
    assert await kept(retention, owner) == [3, 4, 5, 6]
    with pytest.raises(Internal, match="row 2 is gone"):
        await JournalRows(house.database).read(1, 1 << 20)


async def test_rows_that_a_fold_lacks_stay(house: House, retention: Retention, owner: asyncpg.Connection) -> None:
    await house.apply(6, tenant_seq=6, A=6)
    assert await kept(retention, owner) == [2, 3, 4, 5, 6]  # B has no checkpoint


async def test_rows_that_the_fold_of_the_tenant_lacks_stay(
    house: House, retention: Retention, owner: asyncpg.Connection
) -> None:
    await house.apply(3, tenant_seq=2, A=3, B=3)
    await house.apply(6, tenant_seq=4, A=6, B=6)
    assert await kept(retention, owner) == [3, 4, 5, 6]  # row 5 is newer than its checkpoint, so the one before counts
    await house.apply(6, tenant_seq=6)
    assert await kept(retention, owner) == []


async def test_a_budget_that_the_fold_of_the_tenant_lacks_stays(
    house: House, journal: Journal, retention: Retention, owner: asyncpg.Connection
) -> None:
    await house.apply(5, tenant_seq=5, A=5, B=5)
    await house.apply(6, tenant_seq=6, A=6, B=6)
    assert await journal.set_budget(house.tenant, 3)
    await house.apply(7)
    far_ns = 4 * LATER_NS  # budgets carry the time of the database
    assert await kept(retention, owner, far_ns) == [7]
    await house.apply(7, tenant_seq=7)
    assert await kept(retention, owner, far_ns) == []


async def test_a_configuration_that_a_fold_lacks_stays(
    house: House, journal: Journal, retention: Retention, owner: asyncpg.Connection
) -> None:
    await house.apply(5, tenant_seq=5, A=5, B=5)
    await house.apply(6, tenant_seq=6, A=6, B=6)
    assert await journal.configure(house.tenant, house.streams["A"], PROFILES["strict"]) == 7
    await house.apply(7, tenant_seq=7)
    assert await house.position() == 6
    far_ns = 4 * LATER_NS
    assert await kept(retention, owner, far_ns) == [7]
    await house.apply(7, A=7)
    assert await house.position() == 7
    assert await kept(retention, owner, far_ns) == []


async def test_rows_behind_the_older_checkpoint_of_a_lagging_fold_stay(
    house: House, retention: Retention, owner: asyncpg.Connection
) -> None:
    await house.apply(3, tenant_seq=3, A=1, B=3)
    await house.apply(6, tenant_seq=6, A=3, B=6)
    assert await kept(retention, owner) == [3, 4, 5, 6]


async def test_rows_within_the_window_stay(house: House, retention: Retention, owner: asyncpg.Connection) -> None:
    await house.apply(6, tenant_seq=6, A=6, B=6)
    assert await kept(retention, owner, NOW_NS + 2 + WINDOW_MS * 1_000_000) == [3, 4, 5, 6]


async def test_they_give_way_where_there_is_little_room(house: House, shard: Shard, owner: asyncpg.Connection) -> None:
    await house.apply(5, tenant_seq=5, A=5, B=5)
    requests = await owner.fetchval("select count(*) from driftlock.journal_request")
    room = await owner.fetchval("select bytes from driftlock.journal_shard") - 1
    full = Retention(house.database, shard, dedup_window_ms=WINDOW_MS, bytes_kept=room)
    assert await full.truncate(NOW_NS) == 1
    assert await full.truncate(NOW_NS) == 0  # there is room again
    empty = Retention(house.database, shard, dedup_window_ms=WINDOW_MS, bytes_kept=0)
    assert await empty.truncate(NOW_NS) == 4  # the sixth is not applied
    # Resends are recognised all the same.
    assert await owner.fetchval("select count(*) from driftlock.journal_request") == requests > 0


async def test_an_old_partition_is_closed_and_a_young_one_is_not(
    journal: Journal, house: House, retention: Retention, tenant: UUID, owner: asyncpg.Connection
) -> None:
    await house.apply(6, tenant_seq=6, A=6, B=6)
    receipt = await journal.submit(submission(tenant, "young", key=StreamKey(Signal.LOGS, "A"), received_ns=LATER_NS))
    await house.apply(7, tenant_seq=7, A=7)
    assert await kept(retention, owner) == [receipt.seq]
    assert await owner.fetchval("select count(*) from driftlock.journal_slot") == 0
    assert await kept(retention, owner, 2 * LATER_NS) == []


async def test_a_full_partition_is_closed_by_the_append_that_finds_it_full(
    database: Database, shard: Shard, tenant: UUID, owner: asyncpg.Connection
) -> None:
    limits = JournalLimits(journal_bytes_max=16 * 1000)
    async with Journal(database, shard, node="n", on_commit=lambda _: None, limits=limits) as journal:
        for number in range(12):
            await journal.submit(submission(tenant, f"{number} " + "x" * 400))
    slots = {row["seq"]: row["slot"] for row in await owner.fetch(SEQS)}
    assert sorted(slots) == list(range(1, 13))
    assert len(set(slots.values())) > 2
    assert list(slots.values()) == sorted(slots.values())
    bytes_ = await owner.fetchrow(
        "select s.bytes, s.slot_bytes + (select sum(t.bytes) from driftlock.journal_slot t) as summed "
        "from driftlock.journal_shard s"
    )
    assert bytes_["bytes"] == bytes_["summed"]


async def test_with_all_partitions_taken_the_last_one_grows(
    house: House, journal: Journal, tenant: UUID, retention: Retention, owner: asyncpg.Connection
) -> None:
    for number in range(20):
        await journal.submit(submission(tenant, f"more {number}", key=StreamKey(Signal.LOGS, "A")))
        await owner.fetchval(ROLL)
    assert await owner.fetchval("select count(*) from driftlock.journal_slot") == 15
    assert [row.seq for row in await JournalRows(house.database).read(0, 1 << 20)] == list(range(1, 27))
    await house.apply(26, tenant_seq=26, A=26, B=26)
    assert await kept(retention, owner, 4 * LATER_NS) == list(range(16, 27))  # it is closed now that there is room to go on
    assert await kept(retention, owner, 4 * LATER_NS) == []
    receipt = await journal.submit(submission(tenant, "goes on", key=StreamKey(Signal.LOGS, "A")))
    assert receipt.seq == 27


async def test_a_partition_that_is_being_read_is_left_for_the_next_time(
    house: House, retention: Retention, owner: asyncpg.Connection
) -> None:
    await house.apply(6, tenant_seq=6, A=6, B=6)
    async with owner.transaction():
        await owner.execute("lock table driftlock.journal_02 in access share mode")
        assert await retention.truncate(LATER_NS) == 2
    assert await retention.truncate(LATER_NS) == 4
    (row,) = await Ledgers(house.database).read()
    assert (row.removed, row.differences) == (5, {})


async def test_what_a_deleted_tenant_leaves_takes_no_room(
    house: House, tenant: UUID, retention: Retention, owner: asyncpg.Connection
) -> None:
    await Tenants(house.database).delete(tenant)
    await house.apply(6)
    assert await kept(retention, owner) == []
    assert await owner.fetchval("select bytes from driftlock.journal_shard") == 0


async def test_each_partition_leaves_by_itself_however_long_it_takes_to_look(
    house: House, shard: Shard, owner: asyncpg.Connection
) -> None:
    """What was emptied stays so when the next look takes too long."""
    await house.apply(6, tenant_seq=6, A=6, B=6)
    definition = await owner.fetchval("select pg_get_functiondef('driftlock.journal_needed'::regproc)")
    arguments = "p_shard integer, p_slot smallint, p_applied bigint"
    head = f"create or replace function driftlock.journal_needed({arguments}) returns boolean"
    await owner.execute(
        f"{head} language sql volatile as $$ select pg_sleep(case when p_slot = 3 then 5 else 0 end) is null $$"
    )
    try:
        impatient = Retention(house.database, shard, dedup_window_ms=WINDOW_MS, bytes_kept=1 << 40, look_timeout_ms=300)
        with pytest.raises(Unavailable, match="longer than allowed"):
            await impatient.truncate(LATER_NS)
        assert [row["seq"] for row in await owner.fetch(SEQS)] == [4, 5, 6]
    finally:
        await owner.execute(definition)


async def test_a_tenant_that_goes_meanwhile_is_no_obstacle(
    house: House, tenant: UUID, retention: Retention, owner: asyncpg.Connection, database_urls: Urls
) -> None:
    await house.apply(6, tenant_seq=6, A=6, B=6)
    deleting = await asyncpg.connect(database_urls.owner)
    try:
        async with deleting.transaction():
            await deleting.fetchval("select driftlock.tenant_delete($1)", tenant)
            leaving = asyncio.create_task(retention.truncate(LATER_NS))
            await asyncio.sleep(0.3)
            assert not leaving.done()
        assert await leaving == 6
    finally:
        await deleting.close()
    assert await owner.fetchval("select bytes from driftlock.journal_shard") == 0


async def test_requests_are_forgotten_when_their_time_is_over(house: House, shard: Shard, owner: asyncpg.Connection) -> None:
    bites = Retention(house.database, shard, dedup_window_ms=WINDOW_MS, bytes_kept=1, requests_max=2)
    end_ns = NOW_NS + WINDOW_MS * 1_000_000
    assert await bites.forget(end_ns) == 0  # the first one's last moment
    assert await bites.forget(end_ns + 3) == 3
    assert await owner.fetchval("select count(*) from driftlock.journal_request") == 2


async def test_the_database_itself_refuses_to_empty_what_is_not_applied(house: House, owner: asyncpg.Connection) -> None:
    await house.apply(2, tenant_seq=2, A=2, B=2)
    epoch = await owner.fetchval("select epoch from driftlock.journal_shard")
    with pytest.raises(asyncpg.PostgresError, match="not applied yet") as raised:
        await owner.fetchval(EMPTY, epoch, 2, 3)
    assert raised.value.sqlstate == "ZD003"
    assert [row["seq"] for row in await owner.fetch(SEQS)] == [1, 2, 3, 4, 5, 6]
    assert await owner.fetchval(EMPTY, epoch, 1, 1) == 0  # another one has been there since
    assert await owner.fetchval(EMPTY, epoch, 1, 2) == 1
    assert [row["seq"] for row in await owner.fetch(SEQS)] == [1, 3, 4, 5, 6]


async def test_a_stale_owner_removes_nothing(house: House, retention: Retention, owner: asyncpg.Connection) -> None:
    await house.apply(6, tenant_seq=6, A=6, B=6)
    await Shard(house.database).acquire()
    with pytest.raises(Conflict):
        await retention.truncate(LATER_NS)
    assert len(await owner.fetch(SEQS)) == 6
