"""Reading the journal: in pages, verified, and never past a hole."""

from uuid import UUID

import asyncpg
import pytest

from driftlock.engine import records
from driftlock.engine.ports import RowKind
from driftlock.engine.profile import PROFILES
from driftlock.errors import Internal
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import NOW_NS, submission


async def fill(journal: Journal, tenant: UUID, rows: int) -> UUID:
    for number in range(rows):
        receipt = await journal.submit(submission(tenant, f"line {number}"))
    return receipt.stream_ids[0]


async def test_pages_hold_about_the_bytes_asked_for_and_at_least_one_row(
    database: Database, journal: Journal, tenant: UUID
) -> None:
    await fill(journal, tenant, 5)
    reader = JournalRows(database)
    sizes = [len(row.body) for row in await reader.read(0, 1 << 20)]
    assert [row.seq for row in await reader.read(0, 0)] == [1]
    assert [row.seq for row in await reader.read(2, sizes[2])] == [3]
    assert [row.seq for row in await reader.read(2, sizes[2] + 1)] == [3, 4]
    assert await reader.read(5, 1 << 20) == []


async def test_positions(database: Database, journal: Journal, tenant: UUID) -> None:
    reader = JournalRows(database)
    assert (await reader.applied_seq(), await reader.last_seq(), await reader.size_bytes()) == (0, 0, 0)
    await fill(journal, tenant, 2)
    assert (await reader.applied_seq(), await reader.last_seq()) == (0, 2)
    assert await reader.size_bytes() > 400


async def test_a_flipped_bit_costs_that_row_only(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    await fill(journal, tenant, 4)
    await owner.execute("update driftlock.journal set body = set_bit(body, 9, 1 - get_bit(body, 9)) where seq = 3")
    rows = await JournalRows(database).read(0, 1 << 20)
    assert [(row.seq, bool(row.body)) for row in rows] == [(1, True), (2, True), (3, False), (4, True)]
    with pytest.raises(Internal, match="damaged"):
        records.decode(rows[2].body)


async def test_a_hole_up_to_the_end_is_an_error_and_not_the_end(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    await fill(journal, tenant, 3)
    await owner.execute("delete from driftlock.journal where seq > 1")
    with pytest.raises(Internal, match="row 2 is gone"):
        await JournalRows(database).read(1, 1 << 20)
    assert await JournalRows(database).read(3, 1 << 20) == []


async def test_a_missing_row_is_an_error_and_not_skipped(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    await fill(journal, tenant, 3)
    await owner.execute("delete from driftlock.journal where seq = 1")
    with pytest.raises(Internal, match="row 1 is gone"):
        await JournalRows(database).read(0, 1 << 20)


async def test_a_deleted_tenant_leaves_its_places_but_no_record(database: Database, journal: Journal, tenant: UUID) -> None:
    gone = (await Tenants(database).create("gone")).tenant_id
    await fill(journal, gone, 2)
    await fill(journal, tenant, 1)
    before = await JournalRows(database).size_bytes()
    assert await Tenants(database).delete(gone)
    rows = await JournalRows(database).read(0, 1 << 20)
    assert [(row.seq, row.kind, row.tenant_id) for row in rows] == [
        (1, RowKind.CLOCK, None),
        (2, RowKind.CLOCK, None),
        (3, RowKind.RECORDS, tenant),
    ]
    assert records.decode_clock(rows[0].body) == NOW_NS
    assert await JournalRows(database).size_bytes() < before


async def test_what_a_stream_is_configured_with_comes_with_its_rows(database: Database, journal: Journal, tenant: UUID) -> None:
    stream_id = await fill(journal, tenant, 1)
    reader = JournalRows(database)
    assert [row.configured for row in await reader.read(0, 1 << 20)] == [None]
    await journal.configure(tenant, stream_id, PROFILES["strict"])
    await journal.append_clock(NOW_NS)
    assert [row.configured for row in await reader.read(0, 1 << 20)] == [PROFILES["strict"], PROFILES["strict"], None]


async def test_a_damaged_configuration_is_not_believed(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    await journal.configure(tenant, await fill(journal, tenant, 1), PROFILES["strict"])
    await owner.execute("update driftlock.journal set body = set_bit(body, 9, 1 - get_bit(body, 9)) where seq = 2")
    (row,) = await JournalRows(database).read(1, 1 << 20)
    assert (row.kind, row.body) == (RowKind.CONFIG, b"")
    with pytest.raises(records.Damaged):
        records.decode_config(row.body)


async def test_a_deleted_tenants_configuration_becomes_a_clock(database: Database, journal: Journal, tenant: UUID) -> None:
    gone = (await Tenants(database).create("gone")).tenant_id
    await journal.configure(gone, await fill(journal, gone, 1), PROFILES["strict"])
    await fill(journal, tenant, 1)
    assert await Tenants(database).delete(gone)
    rows = await JournalRows(database).read(0, 1 << 20)
    assert [row.kind for row in rows] == [RowKind.CLOCK, RowKind.CLOCK, RowKind.RECORDS]
    assert records.decode_clock(rows[1].body) == rows[1].received_ns > NOW_NS
