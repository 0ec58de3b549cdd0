"""Dead rows, old transactions and log that waits: counted by table, and told when a limit is passed."""

import asyncio
import secrets
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from driftlock.storage.archive import SEGMENT, segment_number
from driftlock.storage.datafolder import APP_ROLE
from driftlock.storage.debt import (
    ARCHIVE_WAITING_BYTES_WARN,
    DEAD_ROWS_WARN,
    TRANSACTION_AGE_WARN,
    ArchiveState,
    Debt,
    TableDebt,
    read_debt,
)
from driftlock.storage.embedded import EmbeddedPostgres
from driftlock.storage.migrate import migrate
from driftlock.storage.pool import Database

NOTHING = TableDebt("meter", live_rows=10, dead_rows=0, bytes=8192, transaction_age=100)
QUIET = ArchiveState(failing=False, failures=3, waiting_bytes=0, file=None)


async def test_dead_rows_are_counted_until_they_are_swept_up(database: Database, owner: asyncpg.Connection) -> None:
    await owner.execute("vacuum driftlock.schema_migrations")
    before = {table.name: table for table in (await read_debt(database)).tables}
    async with owner.transaction():
        for _ in range(30):
            await owner.execute("update driftlock.schema_migrations set name = name where version = 1")
    await owner.execute("select pg_stat_force_next_flush()")
    await owner.execute("select 1")
    after = {table.name: table for table in (await read_debt(database)).tables}
    assert after["schema_migrations"].dead_rows >= before["schema_migrations"].dead_rows + 30
    assert 0 < after["schema_migrations"].transaction_age < TRANSACTION_AGE_WARN
    assert after["schema_migrations"].bytes > 0
    await owner.execute("vacuum driftlock.schema_migrations")
    await owner.execute("select pg_stat_force_next_flush()")
    [swept] = [table for table in (await read_debt(database)).tables if table.name == "schema_migrations"]
    assert swept.dead_rows == 0


async def test_every_table_is_there_and_partitions_count_as_one(database: Database, owner: asyncpg.Connection) -> None:
    known = await owner.fetch(
        "select relname from pg_class where relnamespace = 'driftlock'::regnamespace and relkind in ('r', 'p') "
        "and not relispartition"
    )
    debt = await read_debt(database)
    assert {table.name for table in debt.tables} == {row["relname"] for row in known}
    assert debt.archive is None


@pytest.mark.parametrize(
    ("table", "archive", "told"),
    [
        (NOTHING, QUIET, []),
        (replace(NOTHING, dead_rows=DEAD_ROWS_WARN), None, []),
        (replace(NOTHING, dead_rows=DEAD_ROWS_WARN + 1), None, ["dead rows meter"]),
        (replace(NOTHING, dead_rows=DEAD_ROWS_WARN + 1, live_rows=DEAD_ROWS_WARN * 2), None, []),
        (replace(NOTHING, transaction_age=TRANSACTION_AGE_WARN), None, []),
        (replace(NOTHING, transaction_age=TRANSACTION_AGE_WARN + 1), None, ["transaction age meter"]),
        (NOTHING, replace(QUIET, failing=True), ["archive failing"]),
        (NOTHING, replace(QUIET, waiting_bytes=ARCHIVE_WAITING_BYTES_WARN), []),
        (NOTHING, replace(QUIET, waiting_bytes=ARCHIVE_WAITING_BYTES_WARN + 1), ["archive waiting"]),
    ],
    ids=["none", "at dead", "dead", "many live", "at age", "age", "failing", "at waiting", "waiting"],
)
def test_limits(table: TableDebt, archive: ArchiveState | None, told: list[str]) -> None:
    assert list(Debt((table,), archive).warnings()) == told


async def test_an_archive_that_fails_is_told_and_made_up_for(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    async with EmbeddedPostgres(tmp_path / "data", token_bytes=secrets.token_bytes, archive=archive) as postgres:
        await migrate(postgres.owner_dsn, APP_ROLE)
        [folder] = archive.iterdir()
        connection = await asyncpg.connect(postgres.owner_dsn)

        def segments() -> set[str]:
            return {path.name for path in archive.rglob("*") if SEGMENT.fullmatch(path.name)}

        async def switch(failing: bool) -> ArchiveState:
            """Close a segment and wait until the archiver has tried."""
            before = segments()
            await connection.execute("create table if not exists x (i int); insert into x values (1); select pg_switch_wal()")
            async with asyncio.timeout(30), Database(postgres.app_dsn) as database:
                while True:
                    state = (await read_debt(database)).archive
                    assert state is not None
                    if state.failing is failing and (failing or segments() > before):
                        return state
                    await asyncio.sleep(0.05)

        assert (await switch(failing=False)).failures == 0
        kept = segments()
        folder.rename(archive / "away")
        failed = await switch(failing=True)
        assert failed.failures > 0
        assert segments() == kept
        assert list(Debt((), failed).warnings()) == ["archive failing"]
        (archive / "away").rename(folder)
        await switch(failing=False)
        await connection.close()
    numbers = sorted(map(segment_number, segments()))
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))  # nothing was left out
    assert len(numbers) >= 3
