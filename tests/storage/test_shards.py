"""Shards of the journal side by side in one database: each has its own order, owner and tables, and knows nothing of others."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from uuid import UUID

import asyncpg
import pytest

from driftlock.accounts.actor import SYSTEM
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import Checkpoint, RowKind, Step
from driftlock.engine.profile import PROFILES
from driftlock.engine.redaction import Rule
from driftlock.errors import Conflict, InvalidArgument, NotFound, Unavailable
from driftlock.storage.backlog import Backlog
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.controls import Controls
from driftlock.storage.datafolder import APP_ROLE
from driftlock.storage.excerpts import ExcerptRow, Excerpts, Reach
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.ledger import Ledgers
from driftlock.storage.migrate import add_shards, migrate, shipped
from driftlock.storage.placement import OneShard
from driftlock.storage.pool import Database, PoolLimits
from driftlock.storage.recovery import recovery_position, tenants_with_state
from driftlock.storage.redaction import RedactionRules, RedactionTable
from driftlock.storage.retention import Retention
from driftlock.storage.shard import Shard
from driftlock.storage.shared_journal import SharedJournal
from driftlock.storage.startup import StartupRefused
from driftlock.storage.stream_deletion import StreamDeletions
from driftlock.storage.stream_settings import StreamSettings
from driftlock.storage.streams import Streams
from driftlock.storage.tenants import Tenants
from tests.conftest import Urls
from tests.storage.conftest import SHARDS
from tests.storage.helpers import CHECKOUT, NOW_NS, submission

BYTES_MAX = 1 << 30
LATER_NS = NOW_NS + 3600 * 10**9
CART = StreamKey(Signal.LOGS, "cart")
ROWS = "select shard, seq, slot, tableoid::regclass::text as place from driftlock.journal order by shard, seq"


class Side:
    """An owner of one shard and a tenant whose records it takes."""

    def __init__(self, database: Database, shard: Shard, journal: Journal, tenant: UUID) -> None:
        self.database, self.shard, self.journal, self.tenant = database, shard, journal, tenant
        self.rows = JournalRows(database, shard.number, owner=shard)
        self.checkpoints = Checkpoints(database, shard)

    async def send(self, *lines: str) -> UUID:
        return (await self.journal.submit(submission(self.tenant, *lines))).stream_ids[0]

    async def apply(self, since: int, until: int, stream: UUID | None = None) -> None:
        saved = Checkpoint(until, b"s")
        streams = {} if stream is None else {(self.tenant, stream): saved}
        tenants = {} if stream is None else {self.tenant: saved}
        await self.checkpoints.commit(Step(since, until, stream_checkpoints=streams, tenant_checkpoints=tenants))

    async def recovery(self) -> int:
        return await recovery_position(self.database, self.checkpoints, self.shard.number)

    def retention(self) -> Retention:
        return Retention(self.database, self.shard, dedup_window_ms=1000, bytes_kept=1 << 40)


@pytest.fixture
async def sides(sharded: Database) -> AsyncIterator[list[Side]]:
    """Shards 0, 1 and 2, each with an owner and a tenant."""
    async with AsyncExitStack() as stack:
        made = []
        for number in range(3):
            tenant = (await Tenants(sharded).create(f"tenant {number}")).tenant_id
            shard = Shard(sharded, number)
            await shard.acquire()
            journal = Journal(sharded, shard, node=f"node {number}", on_commit=lambda _: None)
            await stack.enter_async_context(journal)
            made.append(Side(sharded, shard, journal, tenant))
        yield made


async def test_shards_are_made_once_and_only_by_the_owner(empty_database_urls: Urls) -> None:
    await migrate(empty_database_urls.owner, APP_ROLE)
    assert [await add_shards(empty_database_urls.owner, count) for count in (2, 3, 1, 0)] == [2, 1, 0, 0]
    with pytest.raises(StartupRefused, match="42501"):
        await add_shards(empty_database_urls.app, 1)
    connection = await asyncpg.connect(empty_database_urls.owner)
    try:
        shards = await connection.fetch("select shard, slots from driftlock.journal_shard order by shard")
        assert [tuple(row) for row in shards] == [(0, 16), (1, 4), (2, 4), (3, 4)]
    finally:
        await connection.close()


async def test_tables_of_shards_are_reached_through_the_journal_alone(sharded_owner: asyncpg.Connection) -> None:
    tables = await sharded_owner.fetch(
        "select c.relname, c.relrowsecurity and c.relforcerowsecurity as secured, c.relkind = 'r' as leaf from pg_class c "
        "where c.relnamespace = 'driftlock'::regnamespace and c.relispartition and c.relkind in ('r', 'p')"
    )
    assert len(tables) == 1 + 16 + SHARDS * 5
    assert all(row["secured"] for row in tables)
    names = [row["relname"] for row in tables]
    assert await sharded_owner.fetch("select * from pg_policies where tablename = any ($1)", names) == []
    granted = await sharded_owner.fetch(
        "select table_name, privilege_type from information_schema.table_privileges where table_schema = 'driftlock' "
        "and table_name = any ($1) and grantee in ('driftlock_api', 'driftlock_node')",
        names,
    )
    assert {tuple(row) for row in granted} == {(row["relname"], "TRUNCATE") for row in tables if row["leaf"]}


async def test_each_shard_has_its_own_order_and_tables(sides: list[Side], sharded_owner: asyncpg.Connection) -> None:
    for _ in range(2):
        await asyncio.gather(*(side.send("a", "b") for side in sides))  # the same again is a resend
    await asyncio.gather(*(side.send("c") for side in sides))
    rows = await sharded_owner.fetch(ROWS)
    assert [tuple(row)[:3] for row in rows] == [(shard, seq, 0) for shard in range(3) for seq in (1, 2)]
    assert {row["place"] for row in rows} == {"driftlock.journal_00", "driftlock.journal_s1_00", "driftlock.journal_s2_00"}
    for side in sides:
        read = await side.rows.read(0, 1 << 20)
        assert [(row.seq, row.tenant_id) for row in read] == [(1, side.tenant), (2, side.tenant)]
    assert not any(row.differences for row in await Ledgers(sides[0].database).read())


async def test_they_are_applied_by_different_owners_and_pending_records_are_counted_in_each(sides: list[Side]) -> None:
    streams = [await side.send("a", "b") for side in sides]
    for side in sides:
        await side.send("c")
    await sides[1].apply(0, 1, streams[1])
    await sides[2].apply(0, 2, streams[2])
    pending = [(await Streams(side.database).list(side.tenant, limit=9))[0].pending for side in sides]
    assert pending == [3, 1, 0]
    assert [await side.rows.applied_seq() for side in sides] == [0, 1, 2]
    assert [await side.recovery() for side in sides] == [0, 1, 2]
    with_state = [await tenants_with_state(side.database, side.shard.number) for side in sides]
    assert with_state == [[], [sides[1].tenant], [sides[2].tenant]]


async def test_recovery_of_one_does_not_look_at_the_streams_of_others(sides: list[Side]) -> None:
    for side in sides:
        await side.send("a")
    await sides[1].apply(0, 1, await sides[1].send("b"))
    await sides[2].apply(0, 1)  # its folds have no checkpoint
    assert [await side.recovery() for side in sides] == [0, 1, 0]


async def test_what_waits_is_counted_for_each(sides: list[Side]) -> None:
    await sides[1].send("a")
    waiting = []
    for side in sides:
        backlog = Backlog(bytes_max=1 << 20, seconds_max=60)
        await backlog.load(side.database, side.shard.number)
        waiting.append(backlog.bytes > 0)
    assert waiting == [False, True, False]


async def test_retention_of_one_leaves_the_others(sides: list[Side], sharded_owner: asyncpg.Connection) -> None:
    for side in sides:
        stream = await side.send("a")
        await side.apply(0, 1, stream)
    assert await sides[1].retention().truncate(LATER_NS) == 1
    assert [row["shard"] for row in await sharded_owner.fetch(ROWS)] == [0, 2]
    assert [await side.rows.size_bytes() > 0 for side in sides] == [True, False, True]
    assert not any(row.differences for row in await Ledgers(sides[0].database).read())


async def test_slots_go_round(sides: list[Side], sharded_owner: asyncpg.Connection) -> None:
    side, seen = sides[2], []
    for number in range(6):
        stream = await side.send(f"line {number}")
        (row,) = await sharded_owner.fetch(ROWS)
        seen.append(row["place"])
        await side.apply(number, number + 1, stream)
        await side.apply(number + 1, number + 1, stream)
        assert await side.retention().truncate(LATER_NS) == 1
    assert seen == [f"driftlock.journal_s2_0{number % 4}" for number in range(6)]


async def test_a_reader_of_one_holds_up_no_retention_of_another(sides: list[Side], sharded_urls: Urls) -> None:
    stream = await sides[1].send("a")
    await sides[1].apply(0, 1, stream)
    await sides[2].send("a")
    reader = await asyncpg.connect(sharded_urls.owner)
    try:
        await reader.execute("begin; select * from driftlock.journal where shard = 2")
        assert await sides[1].retention().truncate(LATER_NS) == 1
    finally:
        await reader.close()


@pytest.mark.parametrize(
    "look",
    [
        "select * from driftlock.stream_folds(3)",
        "select * from driftlock.tenant_folds(3)",
        "select * from driftlock.journal_due(3, 1, 1)",
        "select * from driftlock.journal where shard = 3 and seq > 1 and seq <= 9",
    ],
)
async def test_a_look_at_one_does_not_touch_the_tables_of_others(look: str, sharded_owner: asyncpg.Connection) -> None:
    plan = "\n".join(row[0] for row in await sharded_owner.fetch(f"explain {look}"))
    assert "journal_s3_0" in plan
    assert not any(other in plan for other in ("journal_s1", "journal_s2", "journal_0"))


async def test_whether_a_slot_is_needed_locks_no_tables_of_others(sharded_owner: asyncpg.Connection) -> None:
    async with sharded_owner.transaction():
        await sharded_owner.fetchval("select driftlock.journal_needed(3, 1::smallint, 5)")
        locked = await sharded_owner.fetch(
            "select c.relname from pg_locks l join pg_class c on c.oid = l.relation where c.relkind = 'r' and c.relispartition"
        )
    assert {row["relname"] for row in locked} == {f"journal_s3_0{slot}" for slot in range(4)}


async def test_a_take_over_fences_one_alone(sides: list[Side]) -> None:
    await Shard(sides[1].database, 1).acquire()
    with pytest.raises(Unavailable):
        await sides[1].send("a")
    with pytest.raises(Conflict):
        await sides[1].apply(0, 0)
    assert sides[1].shard.fenced.is_set()
    for side in (sides[0], sides[2]):
        await side.apply(0, 1, await side.send("a"))
        assert not side.shard.fenced.is_set()


async def test_who_is_frozen_with_one_is_put_out_and_the_owners_of_others_go_on(sharded_urls: Urls) -> None:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(sharded_urls.app, limits=PoolLimits(node_statement_timeout_ms=200)))
        holders = []
        for number in (1, 2):
            holders.append(await asyncpg.connect(sharded_urls.app, server_settings={"role": "driftlock_node"}))
            stack.push_async_callback(holders[-1].close, timeout=5)
            await holders[-1].execute(f"begin; select from driftlock.journal_shard where shard = {number} for update")
        shard = Shard(database, 1)
        with pytest.raises(Unavailable):
            await shard.acquire()
        assert await shard.put_out(held_s_min=0.01) == 1
        assert await shard.acquire() > 0
        assert await holders[1].fetchval("select 1") == 1


async def test_a_tenant_belongs_to_one(sides: list[Side]) -> None:
    await sides[1].send("a")
    for other in (sides[0], sides[2]):
        with pytest.raises(InvalidArgument, match="another shard"):
            await other.journal.submit(submission(sides[1].tenant, "b"))
        with pytest.raises(InvalidArgument, match="another shard"):
            await other.journal.submit(submission(sides[1].tenant, "b", key=CART))
        with pytest.raises(InvalidArgument, match="another shard"):
            await other.journal.set_budget(sides[1].tenant, 3)
    assert len(await Streams(sides[1].database).list(sides[1].tenant, limit=9)) == 1


async def test_the_owner_of_one_says_nothing_of_streams_of_others(sides: list[Side]) -> None:
    stream = await sides[1].send("a")
    with pytest.raises(InvalidArgument, match="another shard"):
        await sides[0].journal.configure(sides[1].tenant, stream, PROFILES["strict"])
    with pytest.raises(InvalidArgument, match="another shard"):
        await Controls(sides[0].journal).append(sides[1].tenant, stream, RowKind.LESSON, b"x")
    assert await sides[0].journal.append_time(sides[1].tenant, stream, NOW_NS) is None
    with pytest.raises(InvalidArgument, match="another shard"):
        await StreamSettings(sides[0].database, sides[0].journal).delete(sides[1].tenant, stream, SYSTEM)
    assert await sides[0].rows.last_seq() == 0


async def test_excerpts_are_read_from_the_shard_of_their_stream(sides: list[Side]) -> None:
    seen: list[ExcerptRow] = []

    def look(rows: Sequence[ExcerptRow]) -> bool:
        seen.extend(rows)
        return True

    stream = await sides[2].send("a", "b")
    with ThreadPoolExecutor(1) as executor:
        scan = await Excerpts(sides[2].database, executor).scan(sides[2].tenant, stream, Reach(since_ns=1), look)
    assert (scan.rows, scan.records, [row.seq for row in seen]) == (1, 2, [1])


async def test_a_tenant_goes_with_its_rows_of_another_shard(sides: list[Side], sharded_owner: asyncpg.Connection) -> None:
    for side in sides:
        stream = await side.send("a", "b")
        await side.journal.set_budget(side.tenant, 3)
        await side.apply(0, 2, stream)
    assert await Tenants(sides[2].database).delete(sides[2].tenant)
    left = await sharded_owner.fetch("select shard, kind from driftlock.journal order by shard, seq")
    assert [tuple(row) for row in left] == [(0, 0), (0, 4), (1, 0), (1, 4), (2, 2), (2, 2)]
    assert await sharded_owner.fetchval("select count(*) from driftlock.tenants") == 2
    assert [row.kind for row in await sides[2].rows.read(0, 1 << 20)] == [RowKind.CLOCK] * 2


async def test_deleting_a_tenant_waits_for_its_shard_alone(sides: list[Side], sharded_urls: Urls) -> None:
    await sides[1].send("a")
    busy = await asyncpg.connect(sharded_urls.owner)
    try:
        await busy.execute("begin; select from driftlock.journal_shard where shard = 2 for update")
        await busy.execute("select from driftlock.journal_position where shard = 2 for update")
        assert await Tenants(sides[1].database).delete(sides[1].tenant)
    finally:
        await busy.close()


# ---- What anybody says of streams of shards that others own ----


@pytest.fixture
def shared(sharded: Database) -> SharedJournal:
    return SharedJournal(sharded, journal_bytes_max=BYTES_MAX, placement=OneShard(3))


async def test_what_is_said_of_a_stream_goes_to_its_shard(sides: list[Side], shared: SharedJournal) -> None:
    side = sides[2]
    stream = await side.send("a")
    assert await shared.configure(side.tenant, stream, PROFILES["strict"]) == 2
    assert await Controls(shared).append(side.tenant, stream, RowKind.LESSON, b"x") == 3
    assert await shared.set_budget(side.tenant, 3)
    assert not await shared.set_budget(side.tenant, 3)
    await side.send("b")  # its owner goes on
    kinds = [RowKind.RECORDS, RowKind.CONFIG, RowKind.LESSON, RowKind.BUDGET, RowKind.RECORDS]
    assert [row.kind for row in await side.rows.read(0, 1 << 20)] == kinds
    assert await sides[0].rows.last_seq() == 0
    with pytest.raises(Conflict, match="changed meanwhile"):
        await shared.configure(side.tenant, stream, PROFILES["sensitive"], expected=PROFILES["balanced"])
    with pytest.raises(NotFound):
        await shared.configure(sides[1].tenant, stream, PROFILES["strict"])
    assert not side.shard.fenced.is_set()


async def test_a_tenant_that_belongs_to_none_begins_at_home(sides: list[Side], shared: SharedJournal) -> None:
    tenant = sides[1].tenant
    assert await shared.create_stream(tenant, CHECKOUT, PROFILES["strict"])
    assert not await shared.create_stream(tenant, CHECKOUT, PROFILES["strict"])
    assert [row.kind for row in await JournalRows(sides[1].database, 3).read(0, 1 << 20)] == [RowKind.CONFIG]
    with pytest.raises(InvalidArgument, match="another shard"):
        await sides[1].send("a")
    with pytest.raises(NotFound):
        await shared.create_stream(UUID(int=1), CHECKOUT, PROFILES["strict"])


async def test_a_shard_that_was_not_made_is_named(sides: list[Side]) -> None:
    shared = SharedJournal(sides[0].database, journal_bytes_max=BYTES_MAX, placement=OneShard(9))
    with pytest.raises(Unavailable, match="driftlock migrate --shards 9"):
        await shared.set_budget(sides[0].tenant, 3)


async def test_a_stream_of_another_shard_is_deleted(sides: list[Side], shared: SharedJournal) -> None:
    side = sides[2]
    stream = await side.send("a")
    await StreamSettings(side.database, shared).delete(side.tenant, stream, SYSTEM)
    await StreamDeletions(side.database).empty(stream)
    assert [row.kind for row in await side.rows.read(0, 1 << 20)] == [RowKind.CLOCK]


async def test_a_change_of_rules_in_any_shard_is_noticed(sides: list[Side], shared: SharedJournal) -> None:
    """Positions of one shard say nothing of what is newer in another."""
    table = RedactionTable(sides[0].database, lambda: 0.0)
    rules = RedactionRules(sides[0].database, Controls(shared), RedactionTable(sides[0].database, lambda: 0.0), bytes)
    for number in range(9):
        await sides[1].send(f"line {number}")
    await sides[2].send("a")
    mail, user = Rule("mail", kind="email", action="hash"), Rule("user", "attribute:user", action="drop")
    await rules.put(sides[1].tenant, None, [mail], SYSTEM)
    await rules.put(sides[2].tenant, None, [mail], SYSTEM)
    await table.refresh()
    before = await table.rules(sides[2].tenant)
    await rules.put(sides[2].tenant, None, [mail, user], SYSTEM)  # position 3, where the newest of all is 10
    await table.refresh()
    assert await table.rules(sides[2].tenant) != before


# ---- Upgrades ----


async def test_a_journal_with_rows_becomes_that_of_shard_0(empty_database_urls: Urls) -> None:
    await migrate(empty_database_urls.owner, APP_ROLE, migrations=shipped()[:23])
    connection = await asyncpg.connect(empty_database_urls.owner)
    try:
        tenant, idle = [
            await connection.fetchval("insert into driftlock.tenants (name) values ($1) returning id", name) for name in "ab"
        ]
        resolve = "select stream_id from driftlock.streams_resolve($1, '{logs}', '{s}', '{\"\"}', '{\"\"}', '{s}', '{s-1}')"
        stream = await connection.fetchval(resolve, tenant)
        for seq, slot in ((1, 0), (2, 0), (3, 1)):
            await connection.execute(
                "insert into driftlock.journal (shard, seq, slot, kind, tenant_id, stream_id, received_ns, records, raw_bytes, "
                "crc, body) values (0, $1, $2, 0, $3, $4, 1, 1, 1, 0, 'x')",
                seq,
                slot,
                tenant,
                stream,
            )
        await connection.execute("update driftlock.journal_shard set next_seq = 4, slot = 1, slot_first_seq = 3")
        await migrate(empty_database_urls.owner, APP_ROLE)
        await add_shards(empty_database_urls.owner, 1)
        rows = await connection.fetch(ROWS)
        assert [tuple(row) for row in rows] == [
            (0, 1, 0, "driftlock.journal_00"), (0, 2, 0, "driftlock.journal_00"), (0, 3, 1, "driftlock.journal_01"),
        ]  # fmt: skip
        shards = dict(await connection.fetch("select name, shard from driftlock.tenants"))
        assert shards == {"a": 0, "b": None}
        assert await connection.fetchval("select shard from driftlock.streams") == 0
        async with Database(empty_database_urls.app) as database:
            shard = Shard(database)
            await shard.acquire()
            async with Journal(database, shard, node="n", on_commit=lambda _: None) as journal:
                assert (await journal.submit(submission(tenant, "a"))).seq == 4
            moved = Shard(database, 1)
            await moved.acquire()
            async with Journal(database, moved, node="n", on_commit=lambda _: None) as journal:
                assert (await journal.submit(submission(idle, "a"))).seq == 1
    finally:
        await connection.close()
