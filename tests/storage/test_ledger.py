"""What becomes of requests when they are appended: resends, keys that come again, and the ledger that adds up."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftlock.engine.ports import Submission
from driftlock.errors import KeyReused, Unavailable
from driftlock.storage.journal import Journal, JournalLimits
from driftlock.storage.ledger import LedgerRow, Ledgers, Unjournaled
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import NOW_NS, SECOND_NS, open_journal, submission

HOUR_NS = 3600 * SECOND_NS


async def row_of(database: Database, tenant_id: UUID) -> LedgerRow:
    (row,) = [row for row in await Ledgers(database).read() if row.tenant_id == tenant_id]
    assert row.differences == {}
    return row


def keyed(tenant: UUID, content: bytes, *lines: str, received_ns: int = NOW_NS) -> Submission:
    """A request whose sender chose the key."""
    made = submission(tenant, *lines, received_ns=received_ns)
    return dataclasses.replace(made, request_hash=b"k" * 16, content_hash=content * 16, dedup_window_ns=24 * HOUR_NS)


async def test_every_record_is_in_one_column(database: Database, journal: Journal, tenant: UUID) -> None:
    sent = dataclasses.replace(submission(tenant, "a", "b", "c"), received=5, rejected=2)
    assert (await journal.submit(sent)).records == 3
    assert (await journal.submit(sent)).duplicate
    await Ledgers(database).add("n", [Unjournaled(tenant, "logs", 7, 3, 4), Unjournaled(UUID(int=1), "logs", 1, 0, 1)])
    row = await row_of(database, tenant)
    assert dataclasses.astuple(row)[3:] == (17, 3, 2 + 2 + 3, 4, 3, 3, 3, 0)


async def test_what_was_counted_on_the_wire_must_be_journaled(database: Database, journal: Journal, tenant: UUID) -> None:
    """A decoder that drops a record without a word is seen."""
    await journal.submit(dataclasses.replace(submission(tenant, "a", "b"), received=3))
    (row,) = await Ledgers(database).read()
    assert row.differences == {"received": 1}


@pytest.mark.parametrize(
    ("law", "sql"),
    [
        ("metered", "update driftlock.meter set records = records + 1"),
        ("held", "delete from driftlock.journal where seq = 1"),
        ("received", "update driftlock.ledger set deduplicated = deduplicated + 1"),
    ],
)
async def test_each_law_can_be_broken(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection, law: str, sql: str
) -> None:
    await journal.submit(submission(tenant, "a"))
    await owner.execute(sql)
    (row,) = await Ledgers(database).read()
    assert set(row.differences) == {law}


async def test_signals_and_tenants_are_apart(database: Database, journal: Journal, tenant: UUID) -> None:
    other = (await Tenants(database).create("other")).tenant_id
    await journal.submit(submission(tenant, "a"))
    await journal.submit(submission(other, "a", "b"))
    assert [(row.name, row.journaled, row.differences) for row in await Ledgers(database).read()] == [
        ("local", 1, {}),
        ("other", 2, {}),
    ]


async def test_the_same_key_with_another_content_is_refused(database: Database, journal: Journal, tenant: UUID) -> None:
    first = await journal.submit(keyed(tenant, b"1", "a"))
    again = await journal.submit(keyed(tenant, b"1", "a"))
    assert (again.duplicate, again.seq) == (True, first.seq)
    with pytest.raises(KeyReused, match="use a new one"):
        await journal.submit(keyed(tenant, b"2", "b"))
    row = await row_of(database, tenant)
    assert (row.received, row.journaled, row.deduplicated) == (2, 1, 1)  # the refused one is counted at its door


async def test_also_within_one_group(database: Database, journal: Journal, tenant: UUID) -> None:
    sent = [keyed(tenant, content, "a") for content in (b"1", b"2", b"1", b"2")]
    done = await asyncio.gather(*map(journal.submit, sent), return_exceptions=True)
    kinds = [type(it).__name__ if isinstance(it, Exception) else it.duplicate for it in done]
    assert kinds == [False, "KeyReused", True, "KeyReused"]
    assert (await row_of(database, tenant)).journaled == 1


async def test_a_request_is_remembered_for_its_own_time(journal: Journal, tenant: UUID) -> None:
    await journal.submit(keyed(tenant, b"1", "a"))
    assert (await journal.submit(keyed(tenant, b"1", "a", received_ns=NOW_NS + 24 * HOUR_NS - 1))).duplicate
    assert not (await journal.submit(keyed(tenant, b"2", "b", received_ns=NOW_NS + 24 * HOUR_NS))).duplicate


async def test_a_tenant_may_have_a_window_of_its_own(database: Database, journal: Journal, tenant: UUID) -> None:
    window_ns = JournalLimits().dedup_window_ms * 1_000_000
    assert await Tenants(database).set_dedup_window(tenant, HOUR_NS)
    await journal.submit(submission(tenant, "a"))
    assert (await journal.submit(submission(tenant, "a", received_ns=NOW_NS + window_ns + 1))).duplicate
    assert not (await journal.submit(submission(tenant, "a", received_ns=NOW_NS + HOUR_NS))).duplicate


async def test_a_tenant_without_window_has_every_request_counted(database: Database, journal: Journal, tenant: UUID) -> None:
    await Tenants(database).set_dedup_window(tenant, 0)
    receipts = await asyncio.gather(*(journal.submit(submission(tenant, "a")) for _ in range(3)))
    assert [receipt.duplicate for receipt in receipts] == [False] * 3
    assert (await row_of(database, tenant)).journaled == 3


@pytest_asyncio.fixture
async def tiny(database: Database) -> AsyncIterator[Journal]:
    async with await open_journal(database, JournalLimits(journal_bytes_max=2000)) as journal:
        yield journal


async def test_what_a_full_journal_refuses_is_in_no_column(database: Database, tiny: Journal, tenant: UUID) -> None:
    await tiny.submit(submission(tenant, "a"))
    with pytest.raises(Unavailable, match="full"):
        await tiny.submit(submission(tenant, *(f"{n} {hash(n) ** 9}" for n in range(300))))
    assert (await row_of(database, tenant)).received == 1


async def test_the_version_before_keeps_the_laws(
    database: Database, shard: Shard, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    """Its function takes fewer arguments; it may serve until this version takes over."""
    stream = (await journal.submit(submission(tenant, "a"))).stream_ids[0]
    sql = (
        "select request, duplicate, seq from driftlock.journal_append(0, $1, 'old', 900000000000, 1 << 30, $2, $3, $4, $5, "
        "$6, $7, $8, $9, $10, $11)"
    )
    two = ([tenant, tenant], ["logs", "logs"], [b"h" * 16, b"h" * 16], [NOW_NS, NOW_NS])
    rows = ([1, 1, 2], [stream] * 3, [2, 3, 5], [10, 10, 10], [0, 0, 0], [b"x", b"y", b"z"])
    done = await owner.fetch(sql, shard.epoch, *two, *rows)
    assert [tuple(row) for row in done] == [(1, False, 3), (2, True, 3)]
    row = await row_of(database, tenant)
    assert (row.received, row.journaled, row.deduplicated) == (11, 6, 5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3), st.integers(0, 2), st.booleans()), min_size=1, max_size=12))
async def test_any_mix_of_requests_adds_up(
    database: Database, journal: Journal, tenant: UUID, mix: list[tuple[int, int, int, bool]]
) -> None:
    """Resends and rejected records are left to chance; earlier examples stay in the journal."""
    made = [
        dataclasses.replace(
            submission(tenant, *(f"{name} {line}" for line in range(lines)), hashed=hashed), received=lines + bad, rejected=bad
        )
        for name, lines, bad, hashed in mix
    ]
    before = {row.tenant_id: row for row in await Ledgers(database).read()}.get(tenant)
    receipts = await asyncio.gather(*map(journal.submit, made))
    after = await row_of(database, tenant)
    assert after.received - (before.received if before else 0) == sum(lines + bad for _, lines, bad, _ in mix)
    assert after.journaled - (before.journaled if before else 0) == sum(receipt.records for receipt in receipts)
