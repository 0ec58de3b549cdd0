"""Which versions judged last, and in which database: noted by each start, and an era where it is not as it was."""

import json
from uuid import UUID

import asyncpg
import pytest

from driftlock.engine.era import Change, Era
from driftlock.engine.ports import RowKind, Step
from driftlock.engine.records import decode_era
from driftlock.errors import Conflict
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.eras import EraJournal, database_changed, read_eras
from driftlock.storage.identity import check_not_replaced, database_identity, told_apart
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from tests.storage.helpers import NOW_NS, submission

OLD, NEW = {"algorithm": "1", "zstd": "1.5.4"}, {"algorithm": "1", "zstd": "1.5.7"}


async def opened(database: Database, versions: dict[str, str]) -> Era | None:
    shard = Shard(database)
    await shard.acquire()
    return await EraJournal(database, shard).open(versions, NOW_NS)


async def test_the_first_start_notes_what_it_finds_and_writes_no_row(database: Database) -> None:
    assert await opened(database, OLD) is None
    assert await opened(database, OLD) is None
    assert (await JournalRows(database).last_seq(), await read_eras(database)) == (0, [])


async def test_other_versions_begin_an_era_after_what_is_applied_and_once(
    database: Database, shard: Shard, journal: Journal, tenant: UUID
) -> None:
    await opened(database, OLD)
    await shard.acquire()
    for number in range(3):
        await journal.submit(submission(tenant, f"line {number}"))
    await Checkpoints(database, shard).commit(Step(0, 2))
    era = Era(2, (Change("zstd", "1.5.4", "1.5.7"),))
    assert await opened(database, NEW) == era
    assert await opened(database, NEW) is None
    rows = await JournalRows(database).read(0, 1 << 20)
    assert [row.kind for row in rows] == [RowKind.RECORDS] * 3 + [RowKind.ERA]
    assert decode_era(rows[3].body) == era
    assert (rows[3].received_ns, rows[3].tenant_id, rows[3].stream_id) == (NOW_NS, None, None)
    assert await read_eras(database) == [era]


async def test_who_does_not_own_the_journal_begins_nothing(database: Database, shard: Shard) -> None:
    await opened(database, OLD)
    with pytest.raises(Conflict):
        await EraJournal(database, shard).open(NEW, NOW_NS)
    assert await read_eras(database) == []
    assert await opened(database, OLD) is None


async def test_a_database_is_known_by_its_cluster_its_timeline_and_its_number(
    database: Database, owner: asyncpg.Connection
) -> None:
    identity = await database.node(database_identity)
    assert identity == {
        "cluster": str(await owner.fetchval("select system_identifier from pg_control_system()")),
        "timeline": "00000001",
        "database": str(await owner.fetchval("select oid from pg_database where datname = current_database()")),
    }


@pytest.mark.parametrize(
    ("name", "why"), [("cluster", "another PostgreSQL cluster"), ("timeline", "point in time"), ("database", "copied")]
)
async def test_another_database_is_an_era_that_changes_no_verdict(
    database: Database, owner: asyncpg.Connection, name: str, why: str
) -> None:
    await opened(database, OLD)
    assert await database_changed(database) == ""
    change = json.dumps({name: "7"})
    await owner.execute("update driftlock.journal_identity set database = database || $1::jsonb", change)
    assert why in await database_changed(database)
    begun = await opened(database, OLD)
    assert begun is not None
    assert (begun.changes, why in begun.database) == ((), True)
    assert await database_changed(database) == ""
    assert await opened(database, OLD) is None


def test_what_can_not_be_read_tells_nothing_apart() -> None:
    assert told_apart({"cluster": "1"}, {"timeline": "2"}) == ""
    assert told_apart({"cluster": "1", "timeline": "1"}, {"timeline": "1"}) == ""


# ---- an older state in its place -----------------------------------------------------------------------------------

COPIED = ("journal_shard", "journal_position", "journal", "journal_slot", "stream_checkpoints", "streams", "journal_request")


async def snapshot(owner: asyncpg.Connection) -> None:
    """Keep what these tables hold now, as a dump does."""
    await owner.execute("create schema if not exists kept")
    for table in COPIED:
        await owner.execute(f"drop table if exists kept.{table}")
        await owner.execute(f"create table kept.{table} as select * from driftlock.{table}")  # noqa: S608  # names of ours


async def restore(owner: asyncpg.Connection) -> None:
    """Put it back."""
    async with owner.transaction():
        await owner.execute("set local session_replication_role = replica")  # order of tables does not matter
        for table in COPIED:
            await owner.execute(f"delete from driftlock.{table}")  # noqa: S608  # names of ours
            rows = await owner.fetch(
                "select column_name from information_schema.columns where table_schema = 'driftlock' and table_name = $1 "
                "and is_generated = 'NEVER'",
                table,
            )
            names = ", ".join(row["column_name"] for row in rows)
            await owner.execute(f"insert into driftlock.{table} ({names}) select {names} from kept.{table}")  # noqa: S608  # names of ours


async def test_a_process_notices_that_an_older_state_took_the_place_of_its_database(
    database: Database, shard: Shard, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    await journal.submit(submission(tenant, "before"))
    await snapshot(owner)
    await journal.submit(submission(tenant, "after"))
    checkpoints, reader = Checkpoints(database, shard), JournalRows(database)
    await checkpoints.commit(Step(0, 2))
    await check_not_replaced(database, shard, 2, 2)
    await restore(owner)
    with pytest.raises(Conflict, match="an older state of the database"):
        await check_not_replaced(database, shard, 2, 2)
    with pytest.raises(Conflict, match=r"ends at position 1, but position 2 was read.*restore the whole database"):
        await reader.read(2, 1 << 20)
    with pytest.raises(Conflict, match="an older state of the database"):
        await checkpoints.commit(Step(2, 2))


async def test_an_older_owner_in_the_database_is_an_older_state(
    database: Database, shard: Shard, owner: asyncpg.Connection
) -> None:
    await snapshot(owner)
    await shard.acquire()
    await check_not_replaced(database, shard, 0, 0)
    await restore(owner)
    with pytest.raises(Conflict, match="an older state of the database"):
        await check_not_replaced(database, shard, 0, 0)
    with pytest.raises(Conflict, match="an older state of the database"):
        await Checkpoints(database, shard).commit(Step(0, 0))


async def test_a_zombie_from_before_the_restore_is_fenced_for_good(
    database: Database, shard: Shard, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    await journal.submit(submission(tenant, "before"))
    await snapshot(owner)
    zombie = Shard(database)
    await zombie.acquire()  # its epoch is not in the backup
    await restore(owner)
    successor = Shard(database)
    assert await successor.acquire() > zombie.epoch
    with pytest.raises(Conflict, match="taken over"):
        await Checkpoints(database, zombie).commit(Step(0, 1))
    await Checkpoints(database, successor).commit(Step(0, 1))
    rows = await JournalRows(database).read(0, 1 << 20)
    assert [row.seq for row in rows] == [1]
