"""Migrations: each once, in order, never changed, by one process at a time."""

import asyncio
import dataclasses

import asyncpg
import pytest

from driftlock.storage.checks import check_role
from driftlock.storage.datafolder import APP_ROLE
from driftlock.storage.migrate import LOCK_KEY, Migration, MigrationLimits, migrate, shipped
from driftlock.storage.startup import StartupRefused
from tests.conftest import Urls

ONE = Migration(1, "0001_one.sql", "create table driftlock.one (x integer)")
TWO = Migration(2, "0002_two.sql", "create table driftlock.two (x integer)")


async def test_all_migrations_are_applied_once(empty_database_urls: Urls) -> None:
    first = await migrate(empty_database_urls.owner, APP_ROLE)
    assert first.applied == tuple(migration.name for migration in shipped())
    second = await migrate(empty_database_urls.owner, APP_ROLE)
    assert (second.version, second.applied) == (first.version, ())
    await check_role(empty_database_urls.app)


async def test_simultaneous_migrations_do_the_work_once(empty_database_urls: Urls) -> None:
    done = await asyncio.gather(*(migrate(empty_database_urls.owner, APP_ROLE) for _ in range(4)))
    assert sorted(len(each.applied) for each in done) == [0, 0, 0, len(shipped())]


async def test_a_later_version_applies_what_is_missing(empty_database_urls: Urls) -> None:
    await migrate(empty_database_urls.owner, APP_ROLE, migrations=[ONE])
    assert (await migrate(empty_database_urls.owner, APP_ROLE, migrations=[ONE, TWO])).applied == ("0002_two.sql",)


async def test_profiles_come_to_a_journal_with_rows(empty_database_urls: Urls) -> None:
    await migrate(empty_database_urls.owner, APP_ROLE, migrations=shipped()[:4])
    connection = await asyncpg.connect(empty_database_urls.owner)
    try:
        tenant = await connection.fetchval("insert into driftlock.tenants (name) values ('t') returning id")
        stream = await connection.fetchval(
            "insert into driftlock.streams (tenant_id, signal, service, slug) values ($1, 'logs', 's', 's') returning id",
            tenant,
        )
        insert = "insert into driftlock.journal values (0, $1, $2, $3, $4, 0, 0, 0, 0, '')"
        for seq, (kind, *owners) in enumerate([(0, tenant, stream), (1, None, None), (2, None, None)], 1):
            await connection.execute(insert, seq, kind, *owners)
        await migrate(empty_database_urls.owner, APP_ROLE)
        assert await connection.fetchval("select profile from driftlock.streams") is None
        await connection.execute(insert, 4, 3, tenant, stream)
        for kind, *owners in [(3, None, None), (0, tenant, None), (1, tenant, stream), (4, None, None)]:
            with pytest.raises(asyncpg.CheckViolationError):
                await connection.execute(insert, 5, kind, *owners)
    finally:
        await connection.close()


async def test_a_failed_migration_leaves_nothing(empty_database_urls: Urls) -> None:
    broken = dataclasses.replace(TWO, sql=TWO.sql + "; select 1 / 0")
    with pytest.raises(StartupRefused, match=r"rolled back.*22012"):
        await migrate(empty_database_urls.owner, APP_ROLE, migrations=[ONE, broken])
    assert (await migrate(empty_database_urls.owner, APP_ROLE, migrations=[ONE, TWO])).applied == ("0002_two.sql",)


async def test_a_changed_file_is_refused(empty_database_urls: Urls) -> None:
    await migrate(empty_database_urls.owner, APP_ROLE, migrations=[ONE])
    with pytest.raises(StartupRefused, match=r"0001_one\.sql was applied with other contents"):
        await migrate(empty_database_urls.owner, APP_ROLE, migrations=[dataclasses.replace(ONE, sql="select 1")])


async def test_a_newer_database_is_refused(empty_database_urls: Urls) -> None:
    await migrate(empty_database_urls.owner, APP_ROLE, migrations=[ONE, TWO])
    with pytest.raises(StartupRefused, match=r"0002_two\.sql.*upgrade driftlock"):
        await migrate(empty_database_urls.owner, APP_ROLE, migrations=[ONE])


async def test_a_missing_application_role_is_named(empty_database_urls: Urls) -> None:
    with pytest.raises(StartupRefused, match='CREATE ROLE "nobody_here" LOGIN NOINHERIT'):
        await migrate(empty_database_urls.owner, "nobody_here")
    with pytest.raises(StartupRefused, match="letters, digits"):
        await migrate(empty_database_urls.owner, 'x"; drop table y; --')


async def test_an_unreachable_database_is_named_without_its_password() -> None:
    with pytest.raises(StartupRefused, match="DRIFTLOCK_MIGRATE_DATABASE_URL: can not connect") as refused:
        await migrate("postgresql://owner:hunter2@127.0.0.1:1/driftlock", APP_ROLE)
    assert "hunter2" not in str(refused.value)


async def test_a_stuck_migration_is_not_waited_for_for_ever(empty_database_urls: Urls) -> None:
    holder = await asyncpg.connect(empty_database_urls.owner)
    try:
        await holder.execute("select pg_advisory_lock($1)", LOCK_KEY)
        with pytest.raises(StartupRefused, match="another migration"):
            await migrate(empty_database_urls.owner, APP_ROLE, limits=MigrationLimits(turn_timeout_s=0.1))
    finally:
        await holder.close()


class TestBesideServers:
    """A migration wants a table that others are using."""

    LIMITS = MigrationLimits(lock_timeout_s=0.05, retry_pause_s=0.05, busy_timeout_s=0.5)
    CHANGE = dataclasses.replace(TWO, sql="alter table driftlock.one add column y integer")

    async def test_it_waits_for_its_turn_without_holding_others_up(self, empty_database_urls: Urls) -> None:
        await migrate(empty_database_urls.owner, APP_ROLE, migrations=[ONE])
        holder, other = [await asyncpg.connect(empty_database_urls.owner) for _ in range(2)]
        try:
            await holder.execute("begin; select from driftlock.one")
            limits = dataclasses.replace(self.LIMITS, busy_timeout_s=30)
            migrating = asyncio.create_task(
                migrate(empty_database_urls.owner, APP_ROLE, migrations=[ONE, self.CHANGE], limits=limits)
            )
            for _ in range(20):
                await other.execute("set lock_timeout = '5s'; insert into driftlock.one values (1)")
                await asyncio.sleep(0.02)
            assert not migrating.done()
            await holder.execute("commit")
            assert (await migrating).applied == (TWO.name,)
            assert await other.fetchval("select count(*) from driftlock.one where y is null") == 20
        finally:
            await holder.close()
            await other.close()

    async def test_a_table_that_stays_in_use_is_named(self, empty_database_urls: Urls) -> None:
        await migrate(empty_database_urls.owner, APP_ROLE, migrations=[ONE])
        holder = await asyncpg.connect(empty_database_urls.owner)
        try:
            await holder.execute("begin; select from driftlock.one")
            with pytest.raises(StartupRefused, match=r"0002_two\.sql could not have the tables .*pg_stat_activity"):
                await migrate(empty_database_urls.owner, APP_ROLE, migrations=[ONE, self.CHANGE], limits=self.LIMITS)
        finally:
            await holder.close()

    async def test_it_does_not_meet_an_append_half_way(self, empty_database_urls: Urls) -> None:
        """An append has its shard and wants the journal; this migration changes the journal first, then the shard."""
        await migrate(empty_database_urls.owner, APP_ROLE)
        sql = "alter table driftlock.journal add x integer; alter table driftlock.journal_shard add x integer"
        change = Migration(len(shipped()) + 1, "9999_change.sql", sql)
        append = await asyncpg.connect(empty_database_urls.owner)
        try:
            await append.execute("begin; select from driftlock.journal_shard for update; set local lock_timeout = '100ms'")
            limits = MigrationLimits(lock_timeout_s=30)
            migrating = asyncio.create_task(
                migrate(empty_database_urls.owner, APP_ROLE, migrations=[*shipped(), change], limits=limits)
            )
            await asyncio.sleep(0.3)
            await append.execute("select from driftlock.journal; commit")
            assert (await migrating).applied == (change.name,)
        finally:
            await append.close()


def test_files_are_numbered_without_gaps() -> None:
    assert [migration.version for migration in shipped()] == list(range(1, len(shipped()) + 1))


class TestCheckRole:
    """Roles and servers that would break a promise are refused with the SQL that puts it right."""

    async def test_the_owner_may_not_serve(self, database_urls: Urls) -> None:
        with pytest.raises(StartupRefused, match="NOSUPERUSER NOBYPASSRLS"):
            await check_role(database_urls.owner)

    @pytest.mark.parametrize(
        ("attributes", "memberships", "complaint"),
        [
            ("login noinherit bypassrls", "driftlock_api, driftlock_node", "NOBYPASSRLS"),
            ("login noinherit", "driftlock_api", "GRANT driftlock_api, driftlock_node"),
            ("login inherit", "driftlock_api, driftlock_node", "NOINHERIT"),
        ],
    )
    async def test_roles(
        self,
        database_urls: Urls,
        owner: asyncpg.Connection,
        attributes: str,
        memberships: str,
        complaint: str,
    ) -> None:
        await owner.execute(f"create role odd {attributes} password 'odd'")
        await owner.execute(f"grant {memberships} to odd")
        await owner.execute("grant connect on database shared to odd")
        try:
            with pytest.raises(StartupRefused, match=complaint):
                await check_role(
                    database_urls.app.replace("driftlock_app:", "odd:").replace(_password(database_urls.app), "odd")
                )
        finally:
            await owner.execute(f"revoke {memberships} from odd; revoke connect on database shared from odd; drop role odd")

    async def test_a_schema_owner_may_not_serve(self, database_urls: Urls, owner: asyncpg.Connection) -> None:
        await owner.execute(f"alter table driftlock.meter owner to {APP_ROLE}")
        try:
            with pytest.raises(StartupRefused, match="owns the schema"):
                await check_role(database_urls.app)
        finally:
            await owner.execute("alter table driftlock.meter owner to driftlock_owner")
        await check_role(database_urls.app)

    async def test_a_forgetful_server_is_refused(self, database_urls: Urls, owner: asyncpg.Connection) -> None:
        await owner.execute(f"alter role {APP_ROLE} set synchronous_commit = off")
        try:
            with pytest.raises(StartupRefused, match=r"ALTER ROLE .* RESET synchronous_commit"):
                await check_role(database_urls.app)
        finally:
            await owner.execute(f"alter role {APP_ROLE} reset synchronous_commit")

    async def test_a_database_without_the_schema_is_refused(self, empty_database_urls: Urls) -> None:
        with pytest.raises(StartupRefused, match="run `driftlock migrate`"):
            await check_role(empty_database_urls.app)

    async def test_an_older_schema_is_refused(self, empty_database_urls: Urls) -> None:
        await migrate(empty_database_urls.owner, APP_ROLE, migrations=shipped()[:1])
        with pytest.raises(StartupRefused, match="is at schema 1 and this version needs"):
            await check_role(empty_database_urls.app)


def _password(dsn: str) -> str:
    return dsn.split("@")[0].rpartition(":")[2]
