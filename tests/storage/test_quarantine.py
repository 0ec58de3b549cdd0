"""Rows that can not be read: kept once, told once, of no harm to their neighbours, and gone with their tenant only."""

from uuid import UUID

import asyncpg
import pytest

from driftlock.engine.ports import QuarantinedRow, RowKind, Step
from driftlock.storage import quarantine
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.journal import Journal
from driftlock.storage.pool import Database
from driftlock.storage.quarantine import Quarantine, save_quarantine
from driftlock.storage.retention import Retention
from driftlock.storage.shard import Shard
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import NOW_NS, submission


async def journaled(journal: Journal, tenant: UUID, count: int) -> UUID:
    """So many rows of one stream; returns it."""
    for number in range(count):
        receipt = await journal.submit(submission(tenant, f"line {number}"))
    return receipt.stream_ids[0]


def lost(seq: int, tenant: UUID | None, stream: UUID | None, reason: str = "checksum") -> QuarantinedRow:
    kind = RowKind.CLOCK if tenant is None else RowKind.RECORDS
    return QuarantinedRow(seq, kind, reason, tenant, stream, 0 if tenant is None else 1)


async def test_a_row_is_kept_with_its_body_in_the_step_that_passes_it(
    database: Database, shard: Shard, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    stream = await journaled(journal, tenant, 2)
    clock = await journal.append_clock(NOW_NS)
    stored = await owner.fetchval("select body from driftlock.journal where seq = 2")
    checkpoints = Checkpoints(database, shard)
    await checkpoints.commit(Step(0, 3, quarantined=(lost(2, tenant, stream), lost(clock, None, None))))
    kept = await Quarantine(database).list(limit=10)
    assert [(it.row, it.stream) for it in kept] == [(lost(3, None, None), ""), (lost(2, tenant, stream), "shop.checkout.prod")]
    assert (kept[1].body_bytes, await Quarantine(database).body(2)) == (len(stored), stored)
    assert await Quarantine(database).count() == (2, 1)
    assert await Quarantine(database).body(1) is None
    assert [it.row.seq for it in await Quarantine(database).list(limit=1, before=3)] == [2]


async def test_nothing_is_kept_of_a_step_that_does_not_count(
    database: Database, shard: Shard, journal: Journal, tenant: UUID
) -> None:
    stream = await journaled(journal, tenant, 1)
    checkpoints = Checkpoints(database, shard)
    await Shard(database).acquire()
    with pytest.raises(Exception, match="taken over"):
        await checkpoints.commit(Step(0, 1, quarantined=(lost(1, tenant, stream),)))
    assert await Quarantine(database).count() == (0, 0)


async def test_a_row_that_is_passed_again_counts_once(database: Database, shard: Shard, journal: Journal, tenant: UUID) -> None:
    stream = await journaled(journal, tenant, 2)
    checkpoints = Checkpoints(database, shard)
    await checkpoints.commit(Step(0, 1, quarantined=(lost(1, tenant, stream),)))
    await checkpoints.commit(Step(1, 2, quarantined=(lost(1, tenant, stream, "again"), lost(2, tenant, stream))))
    assert [it.row.reason for it in await Quarantine(database).list(limit=9)] == ["checksum", "checksum"]


async def test_it_outlives_the_journal_and_leaves_with_its_tenant(
    database: Database, shard: Shard, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    stream = await journaled(journal, tenant, 1)
    await Checkpoints(database, shard).commit(Step(0, 1, quarantined=(lost(1, tenant, stream),)))
    await owner.execute("delete from driftlock.stream_checkpoints")
    await owner.execute("insert into driftlock.stream_checkpoints values ($1, 1, $2, 0, '')", stream, tenant)
    await owner.execute("insert into driftlock.tenant_checkpoints values ($1, 1, 0, '')", tenant)
    await owner.execute("insert into driftlock.stream_checkpoints values ($1, 2, $2, 0, '')", stream, tenant)
    await owner.execute("insert into driftlock.tenant_checkpoints values ($1, 2, 0, '')", tenant)
    await Retention(database, shard, dedup_window_ms=1, bytes_kept=0).truncate(2**63 - 1)
    assert await owner.fetchval("select count(*) from driftlock.journal") == 0
    assert await Quarantine(database).body(1) is not None
    await Tenants(database).delete(tenant)
    assert await Quarantine(database).count() == (0, 0)


async def test_there_is_a_limit_to_each_body_to_all_and_to_rows(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    stream = await journaled(journal, tenant, 5)
    size = await owner.fetchval("select octet_length(body) from driftlock.journal where seq = 1")
    limits = {"body_bytes_max": size - 1, "bodies_bytes_max": 3 * (size - 1), "rows_max": 4}

    async def put(*seqs: int) -> None:
        rows = [lost(seq, tenant, stream) for seq in seqs]
        await database.node(lambda connection: save_quarantine(connection, 0, rows, **limits))

    await put(1, 2)
    await put(3, 4)
    kept = await Quarantine(database).list(limit=9)
    assert [(it.row.seq, it.body_bytes) for it in kept] == [(4, size), (3, size), (2, size), (1, size)]
    bodies = [await Quarantine(database).body(seq) for seq in (1, 2, 3, 4)]
    assert [None if body is None else len(body) for body in bodies] == [size - 1, size - 1, size - 1, None]
    await put(5)
    assert [it.row.seq for it in await Quarantine(database).list(limit=9)] == [5, 4, 3, 2]


async def test_a_row_of_a_deleted_tenant_leaves_nothing(
    database: Database, shard: Shard, journal: Journal, tenant: UUID
) -> None:
    stream = await journaled(journal, tenant, 1)
    await Tenants(database).delete(tenant)
    await Checkpoints(database, shard).commit(Step(0, 1, quarantined=(lost(1, tenant, stream),)))
    assert await Quarantine(database).count() == (0, 0)


def test_the_limits_are_those_that_are_documented() -> None:
    assert (quarantine.BODY_BYTES_MAX, quarantine.BODIES_BYTES_MAX, quarantine.ROWS_MAX) == (1 << 20, 64 << 20, 100_000)
