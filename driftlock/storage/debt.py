"""What the database owes: dead rows that are not swept up, the age of the oldest transaction, log that waits for its archive.

PostgreSQL pays the first two with VACUUM, by itself, unless something holds it up: a forgotten transaction or replication
slot, or autovacuum switched off. See https://www.postgresql.org/docs/current/routine-vacuuming.html.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from driftlock.storage.archive import SEGMENT, segment_number
from driftlock.storage.pool import Connection, Database

DEAD_ROWS_WARN = 100_000  # of one table, if they are also more than the live ones
# Autovacuum begins to freeze at 200 million by itself; PostgreSQL refuses to write 3 million before 2^31.
TRANSACTION_AGE_WARN = 500_000_000
ARCHIVE_WAITING_BYTES_WARN = 256 * 1024 * 1024

TABLES = """
select coalesce(parent.relname, c.relname) as name,
       sum(pg_stat_get_live_tuples(c.oid))::bigint as live_rows, sum(pg_stat_get_dead_tuples(c.oid))::bigint as dead_rows,
       sum(pg_total_relation_size(c.oid))::bigint as bytes,
       max(greatest(age(c.relfrozenxid), coalesce(age(toast.relfrozenxid), 0))) as transaction_age
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'driftlock'
  left join pg_class toast on toast.oid = c.reltoastrelid
  left join pg_class parent on parent.oid = pg_partition_root(c.oid)
 where c.relkind = 'r'
 group by 1 order by 1
"""
ARCHIVER = """
select current_setting('archive_mode') <> 'off' as is_on, a.last_archived_wal, a.failed_count, a.last_failed_wal,
       coalesce(a.last_failed_time > coalesce(a.last_archived_time, '-infinity'), false) as failing,
       pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint as written_bytes,
       pg_size_bytes(current_setting('wal_segment_size')) as segment_bytes
  from pg_stat_archiver a
"""


@dataclass(frozen=True, slots=True)
class TableDebt:
    """One table, a partitioned one as a whole. `transaction_age` in transactions; rows are PostgreSQL's own estimates."""

    name: str
    live_rows: int
    dead_rows: int
    bytes: int
    transaction_age: int


@dataclass(frozen=True, slots=True)
class ArchiveState:
    """How the archive of the log goes. `failing`: the last try failed. `waiting_bytes`: 0 where it can not be told."""

    failing: bool
    failures: int
    waiting_bytes: int
    file: str | None

    def warnings(self) -> dict[str, str]:
        """As `Debt.warnings`."""
        found = {}
        if self.failing:
            found["archive failing"] = (
                f"the log can not be archived (file {self.file}, failure {self.failures}) and is kept until it can: "
                "free some space in the archive, or see the log of PostgreSQL"
            )
        if self.waiting_bytes > ARCHIVE_WAITING_BYTES_WARN:
            found["archive waiting"] = (
                f"{self.waiting_bytes} bytes of the log wait for the archive: free some space there, or make it faster"
            )
        return found


@dataclass(frozen=True, slots=True)
class Debt:
    """What is owed. `archive` is None where there is none."""

    tables: tuple[TableDebt, ...]
    archive: ArchiveState | None

    def warnings(self) -> dict[str, str]:
        """What has passed a limit: the text says what to do; the key is the same as long as it lasts."""
        found = {}
        for table in self.tables:
            if table.dead_rows > max(DEAD_ROWS_WARN, table.live_rows):
                found[f"dead rows {table.name}"] = (
                    f"table {table.name} has {table.dead_rows} dead rows: look for old transactions in pg_stat_activity and "
                    f"for slots in pg_replication_slots, see that autovacuum is on, or VACUUM driftlock.{table.name}"
                )
            if table.transaction_age > TRANSACTION_AGE_WARN:
                found[f"transaction age {table.name}"] = (
                    f"table {table.name} holds transactions {table.transaction_age} old, and PostgreSQL stops at 2147483648: "
                    f"VACUUM FREEZE driftlock.{table.name}"
                )
        return {**found, **({} if self.archive is None else self.archive.warnings())}


async def read_debt(database: Database) -> Debt:
    """Ask the statistics. Raises `Unavailable`."""

    async def ask(connection: Connection) -> tuple[Sequence[asyncpg.Record], asyncpg.Record]:
        tables, archiver = await connection.fetch(TABLES), await connection.fetchrow(ARCHIVER)
        assert archiver is not None  # noqa: S101  # pg_stat_archiver has one row
        return tables, archiver

    tables, archiver = await database.node(ask)
    return Debt(tuple(TableDebt(**row) for row in tables), _archive(archiver) if archiver["is_on"] else None)


def _archive(row: asyncpg.Record) -> ArchiveState:
    waiting = 0
    segment = SEGMENT.match(row["last_archived_wal"] or "")
    if segment:
        per_log = (1 << 32) // row["segment_bytes"]
        number = segment_number(segment[0], per_log)
        waiting = max(0, row["written_bytes"] - (number + 1) * row["segment_bytes"])
    return ArchiveState(row["failing"], row["failed_count"], waiting, row["last_failed_wal"])
