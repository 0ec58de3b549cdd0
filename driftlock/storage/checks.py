"""Checks before serving: a role that row-level security binds, a server that keeps what it commits, the right schema."""

import asyncpg

from driftlock.storage.migrate import check_applied, check_server_version, open_connection, shipped
from driftlock.storage.pool import API_ROLE, NODE_ROLE
from driftlock.storage.startup import StartupRefused

DURABILITY = ("fsync", "full_page_writes", "synchronous_commit")
ROLE = """
select r.rolname, r.rolsuper, r.rolbypassrls,
       exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname = 'driftlock' and pg_has_role(r.oid, c.relowner, 'member')) as owns,
       exists (select from pg_roles g where g.rolname = any ($1) and pg_has_role(r.oid, g.oid, 'usage')) as inherits,
       (select count(*) from pg_roles g where g.rolname = any ($1) and pg_has_role(r.oid, g.oid, 'member')) as member_of,
       (select bool_or(g.rolsuper or g.rolbypassrls) from pg_roles g where g.rolname = any ($1)) as groups_bypass
  from pg_roles r where r.rolname = session_user
"""


async def check_role(app_dsn: str, *, connect_timeout_s: float = 10.0, unsafe_durability: bool = False) -> None:
    """Raises `StartupRefused` when serving with `app_dsn` would break a promise; the text says which SQL puts it right.

    `unsafe_durability` accepts a server that may forget commits in a crash (never for records that matter).
    """
    connection = await open_connection(app_dsn, "DATABASE_URL", connect_timeout_s)
    try:
        check_server_version(connection)
        role = await connection.fetchrow(ROLE, [API_ROLE, NODE_ROLE])
        _check_role(role)
        if not unsafe_durability:
            await _check_durability(connection)
        await _check_schema(connection)
    except (asyncpg.PostgresError, OSError) as error:
        raise StartupRefused(f"DATABASE_URL: the checks could not run ({type(error).__name__}: {error})") from error
    finally:
        await connection.close()


def _check_role(role: asyncpg.Record | None) -> None:
    if role is None:
        raise StartupRefused("DATABASE_URL: its user is not a role of the server; create it and run `driftlock migrate`")
    name = role["rolname"]
    if role["rolsuper"] or role["rolbypassrls"]:
        raise StartupRefused(
            f'the role "{name}" of DATABASE_URL passes row-level security by: ALTER ROLE "{name}" NOSUPERUSER NOBYPASSRLS, '
            "or use another role and keep this one for DRIFTLOCK_MIGRATE_DATABASE_URL"
        )
    if role["owns"]:
        raise StartupRefused(
            f'the role "{name}" of DATABASE_URL owns the schema and could switch row-level security off: '
            "use another role there and keep this one for DRIFTLOCK_MIGRATE_DATABASE_URL"
        )
    if role["member_of"] != 2:
        raise StartupRefused(
            f'the role "{name}" of DATABASE_URL lacks its group roles: GRANT {API_ROLE}, {NODE_ROLE} TO "{name}", '
            "or run `driftlock migrate` with DRIFTLOCK_MIGRATE_DATABASE_URL set"
        )
    if role["inherits"]:
        raise StartupRefused(
            f'the role "{name}" of DATABASE_URL has the rights of all its groups at once: ALTER ROLE "{name}" NOINHERIT, '
            f'then REVOKE {API_ROLE}, {NODE_ROLE} FROM "{name}" and GRANT them again'
        )
    if role["groups_bypass"]:
        raise StartupRefused(
            f"a group role passes row-level security by: ALTER ROLE {API_ROLE} NOSUPERUSER NOBYPASSRLS; "
            f"ALTER ROLE {NODE_ROLE} NOSUPERUSER NOBYPASSRLS"
        )


async def _check_durability(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    for setting in DURABILITY:
        if await connection.fetchval("select current_setting($1)", setting) == "off":
            raise StartupRefused(
                f"{setting} is off, so the server can forget what it acknowledged: "
                f"ALTER SYSTEM SET {setting} = 'on'; SELECT pg_reload_conf()"
            )


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
