"""Deleting a tenant in bites: others go on between them, whoever comes next finishes it, and nothing of it is left."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

import asyncpg
import pytest

from driftlock.accounts.keys import KeyKind, Scope, mint
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import Checkpoint, FindingRow, RowKind, Step
from driftlock.engine.profile import PROFILES
from driftlock.errors import InvalidArgument, NotFound, Unavailable
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.deletion import DeletionLimits, Deletions
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.keys import Keys
from driftlock.storage.ledger import Ledgers, Unjournaled
from driftlock.storage.pool import Connection, Database, PoolLimits
from driftlock.storage.shard import Shard
from driftlock.storage.stream_ids import StreamIds
from driftlock.storage.tenants import Tenants
from tests.conftest import Urls
from tests.storage.helpers import NOW_NS, finding, submission

Result = TypeVar("Result")
SMALL = DeletionLimits(bite_rows_max=2, bite_streams_max=1, look_rows_max=5)
OF_TENANTS = """
select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
 where c.relnamespace = 'driftlock'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition order by 1
"""
# A journal of that many rows of one tenant, as appends would have left it, without their time.
FILL = """
with shard as (select * from driftlock.journal_shard where shard = 0), rows as (
  insert into driftlock.journal (shard, seq, slot, kind, tenant_id, stream_id, received_ns, records, raw_bytes, crc, body)
  select 0, s.next_seq - 1 + n, s.slot, 0, $1, $2, $3, 1, 1, 0, '\\x61'::bytea from shard s, generate_series(1, $4::bigint) n
  returning 1
), entry as (
  insert into driftlock.ledger as l (tenant_id, node, signal, received, journaled) values ($1, 'filled', 'logs', $4, $4)
), meter as (
  insert into driftlock.meter (tenant_id, node, hour, signal, records, bytes) values ($1, 'filled', now(), 'logs', $4, $4)
)
select driftlock.journal_grow(0, $4, $4 * driftlock.journal_row_bytes('\\x61'), $3)
"""


class Watched(Database):
    """Runs `between` after each call of the node: what others do between two bites."""

    between: Callable[[], Awaitable[None]] | None = None
    calls = 0

    async def node(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        value = await super().node(work)
        self.calls += 1
        if self.between is not None:
            await self.between()
        return value


async def left_of(owner: asyncpg.Connection, tenant: UUID) -> dict[str, int]:
    """Rows of the tenant by table."""
    counts = {"tenants": await owner.fetchval("select count(*) from driftlock.tenants where id = $1", tenant)}
    for row in await owner.fetch(OF_TENANTS):
        sql = f"select count(*) from driftlock.{row['relname']} where tenant_id = $1"  # noqa: S608  # from the catalog
        counts[row["relname"]] = await owner.fetchval(sql, tenant)
    return {table: count for table, count in counts.items() if count}


async def furnish(database: Database, shard: Shard, journal: Journal, tenant: UUID) -> UUID:
    """Rows of all kinds, in two slots, with what was said of them; the stream of the first."""
    await Keys(database).insert(tenant, mint(KeyKind.LIVE, bytes(30)), kind=KeyKind.LIVE, name="k", scopes=frozenset(Scope))
    stream = (await journal.submit(submission(tenant, "a", "b"))).stream_ids[0]
    await journal.configure(tenant, stream, PROFILES["strict"])
    await database.node(lambda connection: connection.fetchval("select driftlock.journal_roll(0)"))
    for number in range(3):
        await journal.submit(submission(tenant, f"more {number}", key=StreamKey(Signal.LOGS, f"s{number}")))
    await journal.set_budget(tenant, 7)
    last = await JournalRows(database).last_seq()
    await Checkpoints(database, shard).commit(
        Step(
            await JournalRows(database).applied_seq(),
            last,
            findings=tuple(FindingRow(tenant, stream, UUID(int=50 + n), finding(n)) for n in range(5)),
            stream_checkpoints={(tenant, stream): Checkpoint(last, b"s")},
            tenant_checkpoints={tenant: Checkpoint(last, b"t")},
        )
    )
    return stream


async def bytes_agree(owner: asyncpg.Connection) -> bool:
    """Whether the journal and its slots count what is in them; an emptied row counts without its body."""
    held = await owner.fetch(
        "select slot::integer, sum(driftlock.journal_row_bytes(body))::bigint as bytes from driftlock.journal group by 1"
    )
    counted = await owner.fetch(
        "select slot::integer, bytes from driftlock.journal_slot union all "
        "select slot, slot_bytes from driftlock.journal_shard where slot_bytes > 0"
    )
    total = await owner.fetchval("select bytes from driftlock.journal_shard")
    return sorted(map(tuple, held)) == sorted(map(tuple, counted)) and sum(row["bytes"] for row in held) == total


async def test_bites_are_small_and_others_append_between_them(
    database_urls: Urls, owner: asyncpg.Connection, shard: Shard, journal: Journal, tenant: UUID
) -> None:
    """3,000 rows in bites of 500, on a server that cuts off what rewrites them all at once."""
    gone, rows = (await Tenants(journal._database).create("gone")).tenant_id, 3000
    stream = (await journal.submit(submission(gone, "first"))).stream_ids[0]
    await owner.execute(FILL, gone, stream, NOW_NS, rows)
    # A statement that rewrites more than a bite takes longer than the limit on any machine, and no other one does.
    await owner.execute(
        "create function driftlock.slow() returns trigger language plpgsql as "
        "$$ begin perform pg_sleep(60) where (select count(*) from written) > 500; return null; end $$;"
        "create trigger slow after update on driftlock.journal referencing new table as written "
        "for each statement execute function driftlock.slow()"
    )
    try:
        limits = PoolLimits(node_statement_timeout_ms=1_200)
        async with Watched(database_urls.app, limits=limits) as database:
            with pytest.raises(Unavailable, match="longer than allowed"):
                await database.node(lambda connection: connection.fetchval("select driftlock.tenant_delete($1)", gone))
            deletions = Deletions(database, DeletionLimits(bite_rows_max=500, look_rows_max=1200))
            assert await deletions.close(gone)
            left: list[int] = []

            async def append() -> None:
                await journal.submit(submission(tenant, f"{len(left)}"))
                left.append(await owner.fetchval("select count(*) from driftlock.journal where tenant_id = $1", gone))

            database.between = append
            await deletions.empty(gone)
    finally:
        await owner.execute("drop trigger slow on driftlock.journal; drop function driftlock.slow()")
    bites = [before - after for before, after in zip([rows + 1, *left], left, strict=False) if before != after]
    assert bites == [500, 500, 200, 500, 500, 200, 500, 101]
    assert await left_of(owner, gone) == {}
    (row,) = await Ledgers(journal._database).read()
    assert (row.tenant_id, row.in_journal, row.differences) == (tenant, len(left), {})
    assert await bytes_agree(owner)


@pytest.mark.parametrize("calls", [1, 2, 4, 6, 9, 12, 14])
async def test_what_is_killed_between_bites_is_finished_by_the_next(
    database_urls: Urls, owner: asyncpg.Connection, shard: Shard, journal: Journal, tenant: UUID, calls: int
) -> None:
    await journal.submit(submission(tenant, "mine"))
    async with Watched(database_urls.app) as database:
        gone = (await Tenants(database).create("gone")).tenant_id
        await furnish(database, shard, journal, gone)
        deletions = Deletions(database, SMALL)
        assert await deletions.close(gone)
        seen = database.calls

        async def kill() -> None:
            if database.calls - seen == calls:
                raise asyncio.CancelledError

        database.between = kill
        with pytest.raises(asyncio.CancelledError):
            await deletions.empty(gone)
        database.between = None
        assert await left_of(owner, gone) != {}
        assert await bytes_agree(owner)
        assert [row.differences for row in await Ledgers(database).read()] == [{}]
        assert await deletions.closed() == [gone]
        assert await Tenants(database).find_closed(f"deleted-{gone}") == gone
        await asyncio.gather(deletions.empty(gone), Deletions(database, SMALL).empty(gone))  # both at once
        assert await deletions.closed() == []
    assert await left_of(owner, gone) == {}
    assert await bytes_agree(owner)
    assert [row.kind for row in await JournalRows(journal._database).read(0, 1 << 20)] == [RowKind.RECORDS] + 6 * [
        RowKind.CLOCK
    ]


async def test_a_closed_tenant_is_nowhere_and_takes_nothing(
    database: Database, shard: Shard, journal: Journal, owner: asyncpg.Connection, tenant: UUID
) -> None:
    tenants = Tenants(database)
    gone = (await tenants.create("gone")).tenant_id
    await furnish(database, shard, journal, gone)
    assert await Deletions(database).close(gone)
    assert await Deletions(database).close(gone)
    assert await tenants.find("gone") is None
    assert await tenants.find(f"deleted-{gone}") is None
    assert await tenants.get(gone) is None
    assert [found.tenant_id for found in await tenants.list()] == [tenant]
    assert not await tenants.set_dedup_window(gone, 0)
    assert await Keys(database).list(gone) == []
    again = await tenants.create("gone")
    assert again.tenant_id != gone

    last = await JournalRows(database).last_seq()
    sent = await asyncio.gather(  # of one group: the others are taken
        journal.submit(submission(gone, "late", key=StreamKey(Signal.LOGS, "s1"))),
        journal.submit(submission(gone, "a", "b")),  # a resend
        journal.submit(submission(tenant, "mine")),
        return_exceptions=True,
    )
    assert [type(each) for each in sent[:2]] == [NotFound, NotFound]
    with pytest.raises(NotFound):
        await StreamIds(database, entries_max=9).resolve(gone, [StreamKey(Signal.LOGS, "new")])
    await Ledgers(database).add("n", [Unjournaled(gone, "traces", 1, 0, 1), Unjournaled(tenant, "logs", 1, 0, 1)])
    assert await JournalRows(database).last_seq() == last + 1
    assert [(row.tenant_id, row.received) for row in await Ledgers(database).read()] == [(tenant, 2)]
    assert await owner.fetchval("select count(*) from driftlock.ledger where signal = 'traces'") == 0


async def test_steps_go_on_for_a_tenant_that_is_half_gone(
    database_urls: Urls, shard: Shard, journal: Journal, owner: asyncpg.Connection, tenant: UUID
) -> None:
    """A step between any two bites says what was found before; it neither fails nor leaves anything behind."""
    async with Watched(database_urls.app) as database:
        gone = (await Tenants(database).create("gone")).tenant_id
        stream = await furnish(database, shard, journal, gone)
        checkpoints = Checkpoints(journal._database, shard)
        last = await JournalRows(journal._database).last_seq()
        steps = 0

        async def step() -> None:
            nonlocal steps
            steps += 1
            await journal.append_clock(NOW_NS)
            if steps % 7 == 0:  # not as many as a round has statements, or each would find one more
                await journal.append_time(gone, stream, NOW_NS)
            now = await JournalRows(journal._database).last_seq()
            await checkpoints.commit(
                Step(
                    await JournalRows(journal._database).applied_seq(),
                    now,
                    findings=(FindingRow(gone, stream, UUID(int=1000 + steps), finding(steps + 10)),),
                    stream_checkpoints={(gone, stream): Checkpoint(now, b"s")},
                    tenant_checkpoints={gone: Checkpoint(now, b"t")},
                )
            )

        database.between = step
        deletions = Deletions(database, DeletionLimits(bite_rows_max=100, bite_streams_max=1, look_rows_max=5))
        assert await deletions.close(gone)
        async with asyncio.timeout(60):
            await deletions.empty(gone)
    assert steps > 10
    assert await left_of(owner, gone) == {}
    assert await bytes_agree(owner)
    assert all(row.kind is RowKind.CLOCK for row in await JournalRows(journal._database).read(last, 1 << 20))


async def test_rows_leave_in_bites_of_so_many_bytes(
    database: Database, journal: Journal, owner: asyncpg.Connection, tenant: UUID
) -> None:
    for number in range(4):
        await journal.submit(submission(tenant, f"line {number}"))
    deletions = Deletions(database, DeletionLimits(bite_body_bytes_max=1))
    await deletions.close(tenant)
    await owner.execute(
        "create table driftlock.bites (rows bigint);"
        "create function driftlock.note() returns trigger language plpgsql as "
        "$$ begin insert into driftlock.bites select count(*) from emptied; return null; end $$;"
        "grant insert on driftlock.bites to driftlock_node; grant execute on function driftlock.note() to driftlock_node;"
        "create trigger note after update on driftlock.journal referencing new table as emptied "
        "for each statement execute function driftlock.note()"
    )
    try:
        await deletions.empty(tenant)
        assert [row["rows"] for row in await owner.fetch("select * from driftlock.bites")] == [1, 1, 1, 1]
    finally:
        await owner.execute(
            "drop trigger note on driftlock.journal; drop function driftlock.note(); drop table driftlock.bites"
        )


async def test_an_open_tenant_is_never_emptied(
    database: Database, shard: Shard, journal: Journal, owner: asyncpg.Connection, tenant: UUID
) -> None:
    await furnish(database, shard, journal, tenant)
    before = await left_of(owner, tenant)
    await Deletions(database).empty(tenant)
    seqs = [row["seq"] for row in await owner.fetch("select seq from driftlock.journal where slot = 1")]
    for sql, *arguments in [
        ("select driftlock.tenant_purge($1, 0, 1::smallint, $2)", tenant, seqs),
        ("select driftlock.tenant_shed($1, 1000)", tenant),
        ("select driftlock.tenant_finish($1, 1000)", tenant),
    ]:
        assert await database.node(lambda connection, sql=sql, arguments=arguments: connection.fetchval(sql, *arguments)) == 0  # type: ignore[misc]
    assert await left_of(owner, tenant) == before
    assert await Deletions(database).closed() == []


async def test_names_of_closed_tenants_can_not_be_taken(database: Database) -> None:
    with pytest.raises(InvalidArgument, match="being deleted"):
        await Tenants(database).create("deleted-x")


async def test_every_table_of_tenants_is_emptied_in_bites(
    database: Database, shard: Shard, journal: Journal, owner: asyncpg.Connection, tenant: UUID
) -> None:
    """A table that a later migration brings would else go at once with the tenant's row, however large it is."""
    await owner.execute(
        "create table driftlock.of_later (tenant_id uuid references driftlock.tenants on delete cascade);"
        "grant select, delete on driftlock.of_later to driftlock_node"
    )
    try:
        await owner.execute("insert into driftlock.of_later select $1::uuid from generate_series(1, 5)", tenant)
        await Deletions(database).close(tenant)
        shed = await database.node(lambda it: it.fetchval("select driftlock.tenant_shed($1, 1000)", tenant))
        assert shed >= 5
        assert await owner.fetchval("select count(*) from driftlock.of_later") == 0
    finally:
        await owner.execute("drop table driftlock.of_later")
