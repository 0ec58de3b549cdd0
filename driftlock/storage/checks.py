"""Checks before serving: a role that row-level security binds, a server that keeps what it commits, the right schema."""

from dataclasses import dataclass
from enum import StrEnum

import asyncpg

from driftlock.storage.migrate import check_applied, check_server_version, open_connection, shipped
from driftlock.storage.pool import API_ROLE, NODE_ROLE, Connection, Database
from driftlock.storage.startup import StartupRefused


class UnsafeDatabase(StrEnum):
    """What an operator takes upon himself: it is warned of at each start instead of being refused."""

    NONE = "none"
    SETTINGS = "settings"
    ROLE = "role"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Danger:
    """A parameter of PostgreSQL, the value that breaks the promise "acknowledged means on disk", and how."""

    parameter: str
    unsafe: str
    safe: str
    why: str


# See https://www.postgresql.org/docs/current/runtime-config-wal.html and .../runtime-config-developer.html.
DANGERS = (
    Danger("fsync", "off", "on", "the server can forget what it acknowledged"),
    Danger("full_page_writes", "off", "on", "a crash can leave half-written pages"),
    Danger("synchronous_commit", "off", "on", "the server can forget what it acknowledged"),
    Danger("data_sync_retry", "on", "off", "after a failed fsync the server goes on without what the disk lost"),
    Danger("zero_damaged_pages", "on", "off", "damaged pages are emptied without a word"),
    Danger("ignore_checksum_failure", "on", "off", "damaged pages are read as if they were good"),
    Danger("ignore_invalid_pages", "on", "off", "a recovery goes on although pages are missing"),
)
PARAMETERS = "select name, setting, source, context from pg_settings where name = any ($1)"
WHO = "select session_user as rolname, current_database() as database"
ROLE = """
select r.rolname, r.rolsuper, r.rolbypassrls, current_database() as database,
       exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname = 'driftlock' and pg_has_role(r.oid, c.relowner, 'member')) as owns,
       exists (select from pg_roles g where g.rolname = any ($1) and pg_has_role(r.oid, g.oid, 'usage')) as inherits,
       (select count(*) from pg_roles g where g.rolname = any ($1) and pg_has_role(r.oid, g.oid, 'member')) as member_of,
       (select bool_or(g.rolsuper or g.rolbypassrls) from pg_roles g where g.rolname = any ($1)) as groups_bypass
  from pg_roles r where r.rolname = session_user
"""


async def check_role(
    app_dsn: str, *, connect_timeout_s: float = 10.0, unsafe: UnsafeDatabase = UnsafeDatabase.NONE
) -> tuple[str, ...]:
    """Raises `StartupRefused` when serving with `app_dsn` would break a promise; the text says which SQL puts it right.

    Returns the texts of what `unsafe` lets pass. The connection logs in as the server's own do, so that it sees what
    `ALTER ROLE`, `ALTER DATABASE` and the connection string make of a parameter.
    """
    connection = await open_connection(app_dsn, "DATABASE_URL", connect_timeout_s)
    try:
        check_server_version(connection)
        role = await connection.fetchrow(ROLE, [API_ROLE, NODE_ROLE])
        if role is None:
            raise StartupRefused("DATABASE_URL: its user is not a role of the server; create it and run `driftlock migrate`")
        mighty = _too_mighty(role)
        if mighty and unsafe not in (UnsafeDatabase.ROLE, UnsafeDatabase.ALL):
            raise StartupRefused(mighty[0])
        _check_member(role)
        forgetful = list((await _dangers(connection, role)).values())
        if forgetful and unsafe not in (UnsafeDatabase.SETTINGS, UnsafeDatabase.ALL):
            raise StartupRefused(forgetful[0])
        await _check_schema(connection)
        return (*mighty, *forgetful)
    except (asyncpg.PostgresError, OSError) as error:
        raise StartupRefused(f"DATABASE_URL: the checks could not run ({type(error).__name__}: {error})") from error
    finally:
        await connection.close()


def _check_member(role: asyncpg.Record) -> None:
    """Without its groups the role can not serve at all."""
    if role["member_of"] != 2:
        raise StartupRefused(
            f'the role "{role["rolname"]}" of DATABASE_URL lacks its group roles: GRANT {API_ROLE}, {NODE_ROLE} TO '
            f'"{role["rolname"]}", or run `driftlock migrate` with DRIFTLOCK_MIGRATE_DATABASE_URL set'
        )


def _too_mighty(role: asyncpg.Record) -> list[str]:
    """Ways in which the role passes row-level security by."""
    name = role["rolname"]
    if role["rolsuper"] or role["rolbypassrls"]:
        # Everything below follows from it.
        return [
            f'the role "{name}" of DATABASE_URL passes row-level security by: ALTER ROLE "{name}" NOSUPERUSER NOBYPASSRLS, '
            "or use another role and keep this one for DRIFTLOCK_MIGRATE_DATABASE_URL"
        ]
    found = []
    if role["owns"]:
        found.append(
            f'the role "{name}" of DATABASE_URL owns the schema and could switch row-level security off: '
            "use another role there and keep this one for DRIFTLOCK_MIGRATE_DATABASE_URL"
        )
    if role["inherits"] and role["member_of"] == 2:
        found.append(
            f'the role "{name}" of DATABASE_URL has the rights of all its groups at once: ALTER ROLE "{name}" NOINHERIT, '
            f'then REVOKE {API_ROLE}, {NODE_ROLE} FROM "{name}" and GRANT them again'
        )
    if role["groups_bypass"]:
        found.append(
            f"a group role passes row-level security by: ALTER ROLE {API_ROLE} NOSUPERUSER NOBYPASSRLS; "
            f"ALTER ROLE {NODE_ROLE} NOSUPERUSER NOBYPASSRLS"
        )
    return found


async def _dangers(connection: "asyncpg.Connection[asyncpg.Record] | Connection", role: asyncpg.Record) -> dict[str, str]:
    """Parameters that break the promise, as this session has them, with the SQL for where each was set."""
    rows = {row["name"]: row for row in await connection.fetch(PARAMETERS, [danger.parameter for danger in DANGERS])}
    return {
        danger.parameter: f"{danger.parameter} is {danger.unsafe}, so {danger.why}: "
        f"{_remedy(danger, rows[danger.parameter], role)}"
        for danger in DANGERS
        if danger.parameter in rows and rows[danger.parameter]["setting"] == danger.unsafe
    }


async def read_dangers(database: Database) -> dict[str, str]:
    """Parameters that break the promise now, as connections of the running server have them, with what to do about each.

    Raises `Unavailable`.
    """

    async def work(connection: Connection) -> dict[str, str]:
        [role] = await connection.fetch(WHO)
        return await _dangers(connection, role)

    return await database.node(work)


def _remedy(danger: Danger, row: asyncpg.Record, role: asyncpg.Record) -> str:
    name, database = role["rolname"], role["database"]
    by_source = {
        "user": f'ALTER ROLE "{name}" RESET {danger.parameter}',
        "database": f'ALTER DATABASE "{database}" RESET {danger.parameter}',
        "database user": f'ALTER ROLE "{name}" IN DATABASE "{database}" RESET {danger.parameter}',
        "client": f"take {danger.parameter} out of DATABASE_URL and PGOPTIONS",
        "command line": f"take {danger.parameter} from the command line of the server and start it again",
    }
    if row["source"] in by_source:
        return by_source[row["source"]]
    reload = "start the server again" if row["context"] == "postmaster" else "SELECT pg_reload_conf()"
    return f"ALTER SYSTEM SET {danger.parameter} = '{danger.safe}'; {reload}"


async def _check_schema(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    wanted = shipped()
    try:
        await connection.execute(f"set role {API_ROLE}")
        rows = await connection.fetch("select version, name, checksum from driftlock.schema_migrations order by version")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.InsufficientPrivilegeError) as error:
        raise StartupRefused(
            "the database has no schema of driftlock: run `driftlock migrate` with DRIFTLOCK_MIGRATE_DATABASE_URL set"
        ) from error
    check_applied([(row["version"], row["name"], row["checksum"]) for row in rows], wanted)
    if len(rows) < len(wanted):
        raise StartupRefused(
            f"the database is at schema {len(rows)} and this version needs {len(wanted)}: "
            "run `driftlock migrate` with DRIFTLOCK_MIGRATE_DATABASE_URL set"
        )
