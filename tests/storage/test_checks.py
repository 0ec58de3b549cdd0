"""What a server may not be started on: parameters that forget, however they were set, and roles that are too mighty."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from driftlock.storage.checks import DANGERS, Danger, UnsafeDatabase, check_role
from driftlock.storage.datafolder import APP_ROLE
from driftlock.storage.embedded import EmbeddedPostgres
from driftlock.storage.migrate import migrate
from driftlock.storage.startup import StartupRefused
from tests.conftest import Urls


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """The data folder of a migrated database that is stopped."""
    path = tmp_path_factory.mktemp("checks")
    async with EmbeddedPostgres(path, token_bytes=secrets.token_bytes) as postgres:
        await migrate(postgres.owner_dsn, APP_ROLE)
    yield path


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("danger", DANGERS, ids=lambda danger: danger.parameter)
async def test_a_server_that_can_forget_is_refused(folder: Path, danger: Danger) -> None:
    unsafe = {danger.parameter: danger.unsafe}
    async with EmbeddedPostgres(folder, token_bytes=secrets.token_bytes, settings=unsafe) as postgres:
        with pytest.raises(StartupRefused, match=f"{danger.parameter} is {danger.unsafe}, so .*command line"):
            await check_role(postgres.app_dsn)
        with pytest.raises(StartupRefused, match=danger.parameter):
            await check_role(postgres.app_dsn, unsafe=UnsafeDatabase.ROLE)
        for told in (UnsafeDatabase.SETTINGS, UnsafeDatabase.ALL):
            [warning] = await check_role(postgres.app_dsn, unsafe=told)
            assert danger.parameter in warning


@pytest.mark.asyncio(loop_scope="module")
async def test_a_file_of_the_server_is_named_with_its_remedy(folder: Path) -> None:
    for danger in (danger for danger in DANGERS if danger.parameter in ("data_sync_retry", "zero_damaged_pages")):
        async with EmbeddedPostgres(folder, token_bytes=secrets.token_bytes) as postgres:
            await run(postgres.owner_dsn, f"alter system set {danger.parameter} = '{danger.unsafe}'")
        async with EmbeddedPostgres(folder, token_bytes=secrets.token_bytes) as postgres:
            remedy = f"ALTER SYSTEM SET {danger.parameter} = '{danger.safe}'"
            with pytest.raises(StartupRefused, match=remedy):
                await check_role(postgres.app_dsn)
            await run(postgres.owner_dsn, remedy)
        async with EmbeddedPostgres(folder, token_bytes=secrets.token_bytes) as postgres:
            assert await check_role(postgres.app_dsn) == ()


@pytest.mark.parametrize("where", ["role {role}", "database {database}", "role {role} in database {database}"])
async def test_what_a_session_gets_is_seen_and_the_remedy_works(
    database_urls: Urls, owner: asyncpg.Connection, where: str
) -> None:
    place = where.format(role=APP_ROLE, database=urlsplit(database_urls.app).path[1:])
    await owner.execute(f"alter {place} set synchronous_commit = off")
    try:
        with pytest.raises(StartupRefused, match="synchronous_commit is off") as refused:
            await check_role(database_urls.app)
        await owner.execute(str(refused.value).partition(": ")[2])  # the SQL that the message ends with
        assert await check_role(database_urls.app) == ()
    finally:
        await owner.execute(f"alter {place} reset synchronous_commit")


async def test_the_connection_string_counts(database_urls: Urls) -> None:
    with pytest.raises(StartupRefused, match="take synchronous_commit out of DATABASE_URL"):
        await check_role(f"{database_urls.app}?synchronous_commit=off")


async def test_a_mighty_role_is_only_let_pass_when_told(database_urls: Urls) -> None:
    for told in (UnsafeDatabase.NONE, UnsafeDatabase.SETTINGS):
        with pytest.raises(StartupRefused, match="NOSUPERUSER"):
            await check_role(database_urls.owner, unsafe=told)
    for told in (UnsafeDatabase.ROLE, UnsafeDatabase.ALL):
        [warning] = await check_role(database_urls.owner, unsafe=told)
        assert "passes row-level security by" in warning


async def run(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(sql)
    await connection.close()
