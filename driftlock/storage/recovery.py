"""Where to begin reading the journal after a stop of any kind, so that every fold comes back as it was."""

from collections.abc import Iterable, Mapping
from uuid import UUID

import asyncpg

from driftlock.engine.ports import Checkpoint
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Connection, Database
from driftlock.storage.shard import ONLY_SHARD

VERIFY_FOLDS_MAX = 64  # states in memory at a time
FOLDS_TIMEOUT_MS = 300_000
"""So long may a statement take that looks at all folds: one that fails at every start would keep detection off for ever."""
GRACE_S = 1.0  # the server is the first to give up
SET_TIMEOUT = "select set_config('statement_timeout', $1, true)"
STREAM_FOLDS = """
select stream_id as id, newest_seq, after_newest, after_previous from driftlock.stream_folds($1) where after_newest is not null
"""
TENANT_FOLDS = """
select tenant_id as id, newest_seq, after_newest, after_previous from driftlock.tenant_folds($1) where after_newest is not null
"""
TENANTS = """
select c.tenant_id from driftlock.tenant_checkpoints c join driftlock.tenants t on t.id = c.tenant_id
 where coalesce(t.shard, 0) = $1
union select c.tenant_id from driftlock.relay_checkpoints c where c.shard = $1
 order by tenant_id
"""


async def recovery_position(
    database: Database, checkpoints: Checkpoints, shard: int = ONLY_SHARD, *, folds_timeout_ms: int = FOLDS_TIMEOUT_MS
) -> int:
    """The position after which rows have to be read again, at most the applied one.

    A fold needs rows again when the journal holds applied rows of it that are newer than its newest readable checkpoint.
    The reader starts at the earliest such row; each fold then skips rows up to its own checkpoint. Raises `Unavailable`, also
    where finding those of all streams, or of all tenants, takes longer than `folds_timeout_ms`.
    """
    applied = await JournalRows(database, shard).applied_seq()

    first_needed = applied + 1
    for sql, load in ((STREAM_FOLDS, checkpoints.load_streams), (TENANT_FOLDS, checkpoints.load_tenants)):
        for chunk in _chunks(await _all(database, folds_timeout_ms, sql, shard)):
            readable = await load([row["id"] for row in chunk])
            for row in chunk:
                # A damaged newest checkpoint: the fold begins at the one before it, which needs more rows.
                intact = row["newest_seq"] == 0 or _seq(readable, row["id"]) == row["newest_seq"]
                first_needed = min(first_needed, row["after_newest"] if intact else row["after_previous"])
    return first_needed - 1


async def tenants_with_state(database: Database, shard: int = ONLY_SHARD, *, timeout_ms: int = FOLDS_TIMEOUT_MS) -> list[UUID]:
    """Tenants whose folds have a past in a shard: what waits there must go on as time passes, even if no record comes.

    Raises `Unavailable`.
    """
    return [row["tenant_id"] for row in await _all(database, timeout_ms, TENANTS, shard)]


async def _all(database: Database, timeout_ms: int, sql: str, *arguments: object) -> list[asyncpg.Record]:
    """What a statement finds that may take longer than others of its lane."""

    async def work(connection: Connection) -> list[asyncpg.Record]:
        async with connection.transaction(readonly=True):
            await connection.execute(SET_TIMEOUT, str(timeout_ms))
            return await connection.fetch(sql, *arguments, timeout=timeout_ms / 1000 + GRACE_S)

    return await database.node(work)


def _chunks(rows: list[asyncpg.Record]) -> Iterable[list[asyncpg.Record]]:
    for start in range(0, len(rows), VERIFY_FOLDS_MAX):
        yield rows[start : start + VERIFY_FOLDS_MAX]


def _seq(readable: Mapping[UUID, Checkpoint], fold: UUID) -> int:
    checkpoint = readable.get(fold)
    return checkpoint.seq if checkpoint is not None else 0
