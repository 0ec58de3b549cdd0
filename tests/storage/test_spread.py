"""The streams of a tenant in several shards: what one tells reaches the tenant's home once and in order."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import Checkpoint, RowKind, Step
from driftlock.errors import Conflict, InvalidArgument, Unavailable
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.deletion import Deletions
from driftlock.storage.derived import homes_waited_for, take_derived
from driftlock.storage.journal_limits import JournalLimits
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.recovery import recovery_position, tenants_with_state
from driftlock.storage.shard import Shard
from driftlock.storage.shard_clock import common_clock, write_clocks
from driftlock.storage.shared_intake import SharedIntake
from driftlock.storage.sourced import SourceBatch, SourcedJournal
from driftlock.storage.spread import settle_spread
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import CHECKOUT, submission
from tests.storage.test_deletion import left_of
from tests.storage.test_sourced import message

HOME, AWAY = 1, 2
BYTES_MAX = 1 << 30
CART = StreamKey(Signal.LOGS, "cart")
TOPIC = "driftlock.records"


class Side:
    """An owner of one shard of a database whose tenants are at home in shard 1."""

    def __init__(self, database: Database, number: int) -> None:
        self.database, self.shard = database, Shard(database, number)
        self.checkpoints = Checkpoints(database, self.shard)
        self.rows = JournalRows(database, number, owner=self.shard)
        self.offset = self.applied = 0

    async def begin(self) -> "Side":
        await self.shard.acquire()
        self.journal = SourcedJournal(self.database, self.shard, node="worker", on_commit=lambda _: None, home=lambda _: HOME)
        return self

    async def send(self, tenant: UUID, line: str, key: StreamKey = CHECKOUT) -> UUID | None:
        """The stream that took it; None when it became a dead letter."""
        it = message(self.offset, submission(tenant, line, key=key))
        partition = self.shard.number - 1
        [receipt] = await self.journal.append_from(SourceBatch(TOPIC, partition, self.offset, self.offset + 1, [it]))
        self.offset += 1
        return None if receipt is None else receipt.stream_ids[0]

    async def apply(self, to: int, derived: dict[UUID, bytes], states: dict[UUID, Checkpoint] | None = None) -> None:
        await self.checkpoints.elsewhere([*derived, *(states or {})])
        await self.checkpoints.commit(Step(self.applied, to, derived=derived, tenant_checkpoints=states or {}))
        self.applied = to

    async def take(self) -> int | None:
        return await take_derived(self.database, self.shard, journal_bytes_max=BYTES_MAX)

    async def told(self) -> list[tuple[UUID | None, bytes]]:
        return [(row.tenant_id, row.body) for row in await self.rows.read(0, 1 << 20) if row.kind is RowKind.DERIVED]


@pytest.fixture
async def tenant(sharded: Database) -> UUID:
    await settle_spread(sharded, 2)
    return (await Tenants(sharded).create("spread")).tenant_id


@pytest.fixture
async def home(sharded: Database, tenant: UUID) -> Side:
    return await Side(sharded, HOME).begin()


@pytest.fixture
async def away(sharded: Database, tenant: UUID) -> Side:
    return await Side(sharded, AWAY).begin()


async def test_the_spread_is_said_once(sharded: Database) -> None:
    assert [await settle_spread(sharded, wanted) for wanted in (4, 2, 1)] == [4, 4, 4]


async def test_streams_that_are_there_have_not_been_spread(sharded: Database) -> None:
    tenant = (await Tenants(sharded).create("early")).tenant_id
    await (await Side(sharded, HOME).begin()).send(tenant, "a")
    assert await settle_spread(sharded, 4) == 1


async def test_processes_that_say_it_at_once_agree(sharded: Database) -> None:
    assert len(set(await asyncio.gather(*(settle_spread(sharded, wanted) for wanted in (2, 3, 4))))) == 1


async def test_streams_of_a_tenant_lie_in_several_shards(home: Side, away: Side, tenant: UUID) -> None:
    streams = [await away.send(tenant, "a"), await home.send(tenant, "b", CART)]
    assert None not in streams
    assert await away.send(tenant, "c", CART) is None  # it lies in the other one


async def test_a_tenant_that_is_not_spread_takes_nothing_elsewhere(sharded: Database) -> None:
    tenant = (await Tenants(sharded).create("whole")).tenant_id
    await settle_spread(sharded, 1)
    assert await (await Side(sharded, AWAY).begin()).send(tenant, "a") is None


async def test_streams_beyond_the_cap_share_one_in_each_shard(
    home: Side, away: Side, tenant: UUID, sharded_owner: asyncpg.Connection
) -> None:
    await sharded_owner.execute("update driftlock.tenants set streams_max = 1")
    await home.send(tenant, "first", StreamKey(Signal.LOGS, "first"))
    for side in (home, away):
        assert await side.send(tenant, "a") == await side.send(tenant, "b", CART)
    rows = await sharded_owner.fetch("select shard, service, namespace from driftlock.streams where overflow order by shard")
    assert [tuple(row) for row in rows] == [(HOME, "_overflow", ""), (AWAY, "_overflow", "shard-2")]


async def test_what_a_step_tells_becomes_a_row_at_home_once(home: Side, away: Side, tenant: UUID) -> None:
    await away.send(tenant, "a")
    await away.send(tenant, "b")
    await away.apply(1, {tenant: b"first"})
    await away.apply(2, {tenant: b"second"})
    assert await homes_waited_for(home.database, [HOME, AWAY]) == {HOME}
    assert await home.take() == 2
    assert [await home.take(), await homes_waited_for(home.database, [HOME])] == [None, set()]
    assert await home.told() == [(tenant, b"first"), (tenant, b"second")]


async def test_a_step_that_is_tried_again_tells_it_once(home: Side, away: Side, tenant: UUID) -> None:
    await away.send(tenant, "a")
    await away.apply(1, {tenant: b"told"})
    away.applied = 0
    with pytest.raises(Conflict):
        await away.apply(1, {tenant: b"told"})
    await home.take()
    assert await home.told() == [(tenant, b"told")]


async def test_an_owner_before_takes_nothing(home: Side, away: Side, tenant: UUID) -> None:
    await away.send(tenant, "a")
    await away.apply(1, {tenant: b"told"})
    after = await Side(home.database, HOME).begin()
    with pytest.raises(Conflict):
        await home.take()
    assert home.shard.fenced.is_set()
    assert await after.take() == 1


async def test_a_full_journal_takes_it_later(home: Side, away: Side, tenant: UUID) -> None:
    await home.send(tenant, "x", CART)
    await away.send(tenant, "a")
    await away.apply(1, {tenant: b"told"})
    with pytest.raises(Unavailable, match="full"):
        await take_derived(home.database, home.shard, journal_bytes_max=1)
    assert await home.take() == 2


async def test_states_of_a_tenant_are_kept_by_shard(home: Side, away: Side, tenant: UUID) -> None:
    await away.send(tenant, "a")
    await home.send(tenant, "b", CART)
    await away.apply(1, {}, {tenant: Checkpoint(1, b"relay")})
    await home.apply(1, {}, {tenant: Checkpoint(1, b"fold")})
    assert (await away.checkpoints.load_tenants([tenant]))[tenant].state == b"relay"
    assert (await home.checkpoints.load_tenants([tenant]))[tenant].state == b"fold"
    assert [await tenants_with_state(home.database, shard) for shard in (0, HOME, AWAY)] == [[], [tenant], [tenant]]
    assert [await home.checkpoints.elsewhere([tenant]), await away.checkpoints.elsewhere([tenant])] == [set(), {tenant}]


async def test_only_the_newest_two_states_of_a_relay_stay(away: Side, tenant: UUID, sharded_owner: asyncpg.Connection) -> None:
    for number in range(1, 5):
        await away.send(tenant, f"line {number}")
        await away.apply(number, {}, {tenant: Checkpoint(number, b"relay")})
    kept = await sharded_owner.fetch("select seq from driftlock.relay_checkpoints order by seq")
    assert [row["seq"] for row in kept] == [3, 4]


async def test_a_damaged_relay_begins_at_the_one_before(away: Side, tenant: UUID, sharded_owner: asyncpg.Connection) -> None:
    for number in (1, 2, 3):
        await away.send(tenant, f"line {number}")
        await away.apply(number, {}, {tenant: Checkpoint(number, b"relay")} if number < 3 else None)
    await sharded_owner.execute("update driftlock.relay_checkpoints set crc = crc + 1 where seq = 2")
    found = (await away.checkpoints.load_tenants([tenant]))[tenant]
    assert (found.seq, found.instead_of) == (1, 2)


async def test_recovery_goes_back_to_what_was_told_after_the_newest_state(home: Side, away: Side, tenant: UUID) -> None:
    stream = await away.send(tenant, "a")
    assert stream is not None
    await away.checkpoints.elsewhere([tenant])
    saved = {(tenant, stream): Checkpoint(1, b"s")}
    await away.checkpoints.commit(
        Step(0, 1, derived={tenant: b"told"}, stream_checkpoints=saved, tenant_checkpoints={tenant: Checkpoint(1, b"r")})
    )
    await home.take()
    await home.apply(1, {})
    assert await recovery_position(home.database, home.checkpoints, HOME) == 0
    await home.apply(1, {}, {tenant: Checkpoint(1, b"fold")})
    assert await recovery_position(home.database, home.checkpoints, HOME) == 1
    assert await recovery_position(away.database, away.checkpoints, AWAY) == 1


async def test_a_deleted_tenant_leaves_nothing_in_any_shard(
    home: Side, away: Side, tenant: UUID, sharded_owner: asyncpg.Connection
) -> None:
    await away.send(tenant, "a")
    await home.send(tenant, "b", CART)
    await away.apply(1, {tenant: b"first"}, {tenant: Checkpoint(1, b"relay")})
    await home.take()
    await away.send(tenant, "c")
    await away.apply(2, {tenant: b"second"})
    deletions = Deletions(home.database)
    await deletions.close(tenant)
    await deletions.empty(tenant)
    assert await left_of(sharded_owner, tenant) == {}
    kinds = [row.kind for row in await home.rows.read(0, 1 << 20)]
    assert kinds == [RowKind.CLOCK, RowKind.CLOCK]


async def test_nothing_is_told_of_a_tenant_that_was_closed_meanwhile(home: Side, away: Side, tenant: UUID) -> None:
    await away.send(tenant, "a")
    await away.apply(1, {tenant: b"first"})
    await Deletions(home.database).close(tenant)
    assert [await home.take(), await homes_waited_for(home.database, [HOME])] == [None, set()]


async def test_rest_finds_the_shard_of_a_stream(home: Side, away: Side, tenant: UUID) -> None:
    class Placed:
        def home(self, _: UUID) -> int:
            return HOME

        def shard(self, _: UUID, key: StreamKey) -> int:
            return AWAY if key == CHECKOUT else HOME

    intake = SharedIntake(home.database, node="api", limits=JournalLimits(), placement=Placed())
    asked = await intake.submit(submission(tenant, "asked"))
    assert (asked.seq, asked.stream_ids) == (1, (await away.send(tenant, "sent"),))


async def test_a_clock_waits_for_the_slowest_shard_and_not_for_ever(sharded: Database) -> None:
    await write_clocks(sharded, {HOME: (1, 900), AWAY: (1, 700)})
    assert await common_clock(sharded, [HOME, AWAY], 1000, patience_ns=400) == 700
    assert await common_clock(sharded, [HOME, AWAY], 1000, patience_ns=200) == 800
    assert await common_clock(sharded, [HOME, AWAY], 650, patience_ns=400) == 650
    assert await common_clock(sharded, [HOME, 3], 1000, patience_ns=400) == 600  # of 3 nothing was heard


async def test_clocks_go_on_and_owners_before_say_nothing(sharded: Database) -> None:
    for epoch, clock_ns in ((2, 500), (2, 400), (1, 900), (3, 450)):
        await write_clocks(sharded, {HOME: (epoch, clock_ns)})
    assert await common_clock(sharded, [HOME], 1000, patience_ns=1000) == 450


async def test_a_stream_of_another_shard_is_named(home: Side, away: Side, tenant: UUID) -> None:
    await home.send(tenant, "a")
    with pytest.raises(InvalidArgument, match="shard"):
        await away.journal._stream_ids.resolve(tenant, [CHECKOUT])  # what a dead letter says
