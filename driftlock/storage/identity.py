"""Whether this is the database that it was: told apart from copies, dumps that were restored, and older states of itself.

Sources: PostgreSQL documentation, "System Information Functions" (pg_control_system) and "Continuous Archiving and
Point-in-Time Recovery", timelines: each recovery to a point in time, and each promotion, begins a new one.
"""

import logging
from collections.abc import Mapping

import asyncpg

from driftlock.errors import Conflict
from driftlock.storage.pool import Connection, Database
from driftlock.storage.shard import Shard

log = logging.getLogger(__name__)

REPLACED = (
    "an older state of the database was put in the place of the one that this process wrote to, as a restore from a backup "
    "does: this process must stop, for what it knows is not in there. Start it again to go on from the restored state; what "
    "was acknowledged after the backup is there again only if its senders send it again (docs/reliability.md, Recovery)"
)
CLUSTER, TIMELINE, DATABASE = "cluster", "timeline", "database"
# A timeline is the first eight hexadecimal digits of the name of a WAL file; a standby has none of its own to write.
TIMELINE_NOW = "select left(pg_walfile_name(pg_current_wal_lsn()), 8) where not pg_is_in_recovery()"
READS = {
    CLUSTER: "select system_identifier::text from pg_control_system()",
    TIMELINE: TIMELINE_NOW,
    DATABASE: "select oid::text from pg_database where datname = current_database()",
}
MEANINGS = {
    CLUSTER: "it is in another PostgreSQL cluster: restored from a dump, copied, or moved",
    DATABASE: "it is another database of the same PostgreSQL cluster: restored from a dump, or copied",
    TIMELINE: "its timeline changed from {old} to {new}: restored to a point in time, or a standby took over",
}
POSITIONS = """
select s.epoch, s.next_seq - 1 as last_seq, p.applied_seq
  from driftlock.journal_shard s join driftlock.journal_position p using (shard) where s.shard = $1
"""


async def database_identity(connection: Connection) -> dict[str, str]:
    """What tells this database from copies of it; what may not be read here is left out."""
    found = {}
    for name, sql in READS.items():
        try:
            value = await connection.fetchval(sql)
        except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedFunctionError, asyncpg.FeatureNotSupportedError):
            continue  # some providers of databases hide it
        if value is not None:
            found[name] = str(value)
    return found


def told_apart(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Why the database with the identity `new` is not the one that `old` is of; "" when it is, as far as is known.

    >>> told_apart({"timeline": "00000001"}, {"timeline": "00000002"})
    'its timeline changed from 00000001 to 00000002: restored to a point in time, or a standby took over'
    """
    for name, meaning in MEANINGS.items():
        if name in old and name in new and old[name] != new[name]:
            return meaning.format(old=old[name], new=new[name])
    return ""


async def check_not_replaced(database: Database, shard: Shard, last_seq: int, applied_seq: int) -> None:
    """Raise `Conflict` when the database knows less than this process, which wrote it: nothing in it ever goes back.

    `last_seq` and `applied_seq` are what the process has seen committed. Raises `Unavailable`.
    """
    row = await database.node(lambda connection: connection.fetchrow(POSITIONS, shard.number))
    if row is None or row["epoch"] < shard.epoch or row["last_seq"] < last_seq or row["applied_seq"] < applied_seq:
        raise Conflict(REPLACED)
