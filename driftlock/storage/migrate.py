"""Bring a database to the schema of this code: numbered SQL files, each applied once, in order, in its own transaction.

    migrations/0001_tenants.sql, 0002_..., recorded with their checksum in driftlock.schema_migrations

A file that was applied never changes again: what it says is on disk somewhere. Run as the owner of the schema; the role
that serves must not be it, because an owner could switch row-level security off.

The version before goes on serving meanwhile, and must be able to: CONTRIBUTING.md says what a migration may do. Whoever waits
for a lock on a table makes everybody wait who comes later, so a migration waits a moment, gives up, and tries again.
"""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from driftlock.storage.faults import sqlstate_of
from driftlock.storage.pool import API_ROLE, NODE_ROLE
from driftlock.storage.startup import StartupRefused

SERVER_VERSION_MIN = 150_000
LOCK_KEY = 0x6472_6966_746C_6F63  # "driftloc": one migration of a database at a time
LOCK_POLL_S = 0.05
BUSY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
ROLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")

# An append and a step each begin with their row of these tables and go on to others. Whoever begins elsewhere, as a file may
# that changes the journal first, meets them half way, each waiting for the other, again and again as long as there is load.
HOLD = """
do $$
begin
  if to_regclass('driftlock.journal_shard') is not null then
    lock table driftlock.journal_shard, driftlock.journal_position in access exclusive mode;
  end if;
end
$$
"""
SHARDS_MAX = 1024
ADD_SHARDS = "select driftlock.journal_add_shards($1)"
BOOTSTRAP = """
create schema if not exists driftlock;
create table if not exists driftlock.schema_migrations (
  version integer primary key, name text not null, checksum text not null, applied_at timestamptz not null default now()
);
"""


@dataclass(frozen=True, slots=True)
class MigrationLimits:
    """Times in seconds.

    `turn_timeout_s`: for another migration of the database to end. `lock_timeout_s`: how long a file waits for a table that is
    in use, and how long others wait behind it, before it is rolled back and tried again after `retry_pause_s`; in all it is
    tried for `busy_timeout_s`.
    """

    connect_timeout_s: float = 10.0
    turn_timeout_s: float = 120.0
    lock_timeout_s: float = 0.3
    retry_pause_s: float = 0.7
    busy_timeout_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file, hex."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a run did: the version that the database has now, and the files applied to get there."""

    version: int
    applied: tuple[str, ...]


def shipped() -> tuple[Migration, ...]:
    """The files of this code, in order; their numbers are 1, 2, 3, ..."""
    folder = files("driftlock.storage.migrations")
    found = sorted(entry.name for entry in folder.iterdir() if re.fullmatch(r"\d{4}_\w+\.sql", entry.name))
    migrations = tuple(Migration(int(name[:4]), name, (folder / name).read_text("utf-8")) for name in found)
    if [migration.version for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise StartupRefused(f"migrations are not numbered 1, 2, 3, ...: {', '.join(found)}; install driftlock again")
    return migrations


async def migrate(
    owner_dsn: str,
    app_role: str,
    *,
    migrations: Sequence[Migration] | None = None,
    limits: MigrationLimits | None = None,
) -> Migrated:
    """Apply what is missing and let `app_role` (the login role of the application) take on the group roles.

    Several processes may call it at once: one works, the others wait and find nothing to do. Raises `StartupRefused`.
    """
    wanted = shipped() if migrations is None else tuple(migrations)
    limits = limits or MigrationLimits()
    connection = await open_connection(owner_dsn, "DRIFTLOCK_MIGRATE_DATABASE_URL", limits.connect_timeout_s)
    try:
        check_server_version(connection)
        try:
            await _lock(connection, limits.turn_timeout_s)
            await _ensure_roles(connection, app_role)
            await connection.execute(BOOTSTRAP)
            return await _apply(connection, wanted, limits)
        except (asyncpg.PostgresError, OSError) as error:
            raise StartupRefused(
                f"the migration failed and was rolled back ({type(error).__name__}, SQLSTATE {sqlstate_of(error)}: {error}); "
                "check that DRIFTLOCK_MIGRATE_DATABASE_URL names the owner of the database"
            ) from error
    finally:
        await connection.close()


async def add_shards(owner_dsn: str, count: int, *, limits: MigrationLimits | None = None) -> int:
    """Let the journal have the shards 1 to `count` beside shard 0; returns how many were made. Those that are there stay.

    Each is made in a transaction of its own, beside servers that use the others. Raises `StartupRefused`.
    """
    limits = limits or MigrationLimits()
    connection = await open_connection(owner_dsn, "DRIFTLOCK_MIGRATE_DATABASE_URL", limits.connect_timeout_s)
    try:
        await connection.execute(f"set lock_timeout = {round(limits.turn_timeout_s * 1000)}")
        made = 0
        for shard in range(1, count + 1):
            made += await connection.fetchval(ADD_SHARDS, shard)
        return made
    except (asyncpg.PostgresError, OSError) as error:
        raise StartupRefused(
            f"shards of the journal could not be made ({type(error).__name__}, SQLSTATE {sqlstate_of(error)}: {error}); "
            "check that DRIFTLOCK_MIGRATE_DATABASE_URL names the owner of the database"
        ) from error
    finally:
        await connection.close()


async def open_connection(dsn: str, variable: str, timeout_s: float) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection for start-up work; its failure names the environment variable to look at, never the password."""
    try:
        return await asyncpg.connect(dsn, timeout=timeout_s)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
        raise StartupRefused(
            f"{variable}: can not connect ({type(error).__name__}: {str(error) or 'timed out'}); "
            "check its host, port, user, password and database"
        ) from error


def check_server_version(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Raises `StartupRefused` for a server older than PostgreSQL 15."""
    version = connection.get_server_version()
    if version.major * 10_000 < SERVER_VERSION_MIN:
        raise StartupRefused(f"PostgreSQL {version.major} is too old: use {SERVER_VERSION_MIN // 10_000} or newer")


def check_applied(applied: Sequence[tuple[int, str, str]], wanted: Sequence[Migration]) -> None:
    """Raises `StartupRefused` when the database (version, name, checksum) is not an earlier state of this code's."""
    known = {migration.version: migration for migration in wanted}
    for version, name, checksum in applied:
        if version not in known:
            raise StartupRefused(
                f"the database has migration {name}, which this version of driftlock does not know: upgrade driftlock"
            )
        if known[version].checksum != checksum:
            raise StartupRefused(
                f"migration {name} was applied with other contents than {known[version].name} has now: "
                "install the version of driftlock that made this database, or restore the file"
            )


async def _lock(connection: "asyncpg.Connection[asyncpg.Record]", timeout_s: float) -> None:
    """Polled rather than awaited in the server: a waiting transaction would hold up what the other one does."""
    for _ in range(int(timeout_s / LOCK_POLL_S) + 1):
        if await connection.fetchval("select pg_try_advisory_lock($1)", LOCK_KEY):
            return
        await asyncio.sleep(LOCK_POLL_S)
    raise StartupRefused(f"another migration of this database has run for {timeout_s:.0f} s: wait for it or stop it")


async def _ensure_roles(connection: "asyncpg.Connection[asyncpg.Record]", app_role: str) -> None:
    """Group roles belong to the whole server, so another database's migration may create them at the same moment."""
    if not ROLE_NAME.fullmatch(app_role):
        raise StartupRefused(f"DATABASE_URL: use a user made of letters, digits, _ and -, not {app_role!r}")
    if not await connection.fetchval("select exists (select from pg_roles where rolname = $1)", app_role):
        raise StartupRefused(
            f'the role "{app_role}" of DATABASE_URL does not exist: CREATE ROLE "{app_role}" LOGIN NOINHERIT PASSWORD \'...\''
        )
    if connection.get_server_version().major < 16 and await connection.fetchval(
        "select rolinherit from pg_roles where rolname = $1", app_role
    ):
        raise StartupRefused(f'the role "{app_role}" must not inherit: ALTER ROLE "{app_role}" NOINHERIT')
    for role in (API_ROLE, NODE_ROLE):
        if not await connection.fetchval("select exists (select from pg_roles where rolname = $1)", role):
            try:
                await connection.execute(f"create role {role} nologin")
            except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
                pass
            except asyncpg.InsufficientPrivilegeError as error:
                raise StartupRefused(
                    f"the owner may not create roles; run as an administrator: CREATE ROLE {API_ROLE} NOLOGIN; "
                    f'CREATE ROLE {NODE_ROLE} NOLOGIN; GRANT {API_ROLE}, {NODE_ROLE} TO "{app_role}"'
                ) from error
        await _grant(connection, role, app_role)


async def _grant(connection: "asyncpg.Connection[asyncpg.Record]", role: str, app_role: str) -> None:
    member = """
        select exists (select from pg_auth_members m
          join pg_roles granted on granted.oid = m.roleid join pg_roles member on member.oid = m.member
         where granted.rolname = $1 and member.rolname = $2)"""
    if await connection.fetchval(member, role, app_role):
        return
    # NOINHERIT is the role's own property before PostgreSQL 16, and the grant's since.
    option = " with inherit false, set true" if connection.get_server_version().major >= 16 else ""
    try:
        await connection.execute(f'grant {role} to "{app_role}"{option}')
    except asyncpg.InsufficientPrivilegeError as error:
        raise StartupRefused(
            f'the owner may not grant {role}; run as an administrator: GRANT {API_ROLE}, {NODE_ROLE} TO "{app_role}"'
        ) from error
    except (asyncpg.UniqueViolationError, asyncpg.InternalServerError):
        # Granted by another database's migration at the same moment ("tuple concurrently updated"): look again.
        if not await connection.fetchval(member, role, app_role):
            raise


async def _apply(
    connection: "asyncpg.Connection[asyncpg.Record]", wanted: Sequence[Migration], limits: MigrationLimits
) -> Migrated:
    rows = await connection.fetch("select version, name, checksum from driftlock.schema_migrations order by version")
    check_applied([(row["version"], row["name"], row["checksum"]) for row in rows], wanted)
    done = {row["version"] for row in rows}
    applied = []
    for migration in wanted:
        if migration.version in done:
            continue
        await _apply_one(connection, migration, limits)
        applied.append(migration.name)
    return Migrated(wanted[-1].version if wanted else 0, tuple(applied))


async def _apply_one(connection: "asyncpg.Connection[asyncpg.Record]", migration: Migration, limits: MigrationLimits) -> None:
    """Apply a file beside servers that use the tables. A table that stays in use is named by the error."""
    ends_at = asyncio.get_running_loop().time() + limits.busy_timeout_s
    while True:
        try:
            async with connection.transaction():
                await connection.execute(f"set local lock_timeout = {round(limits.lock_timeout_s * 1000)}")
                await connection.execute(HOLD)
                await connection.execute(migration.sql)
                await connection.execute(
                    "insert into driftlock.schema_migrations (version, name, checksum) values ($1, $2, $3)",
                    migration.version,
                    migration.name,
                    migration.checksum,
                )
            return
        except BUSY as error:
            if asyncio.get_running_loop().time() + limits.retry_pause_s > ends_at:
                raise StartupRefused(
                    f"migration {migration.name} could not have the tables it changes for {limits.busy_timeout_s:.0f} s "
                    f"({error}): end long transactions (see pg_stat_activity), then start it again; nothing has changed"
                ) from error
            await asyncio.sleep(limits.retry_pause_s)
