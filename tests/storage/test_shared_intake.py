"""Records for shards that others own: one transaction a request, where the owner finds them."""

from dataclasses import replace
from uuid import UUID

import pytest

from driftlock.errors import KeyReused, NotFound, Unavailable
from driftlock.storage.journal import Journal
from driftlock.storage.journal_limits import JournalLimits
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.placement import OneShard
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.shared_intake import SharedIntake
from driftlock.storage.shared_secrets import shared_secret
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import submission

HOME = 2


@pytest.fixture
async def tenant(sharded: Database) -> UUID:
    return (await Tenants(sharded).create("acme")).tenant_id


def intake(database: Database, home: int = HOME) -> SharedIntake:
    return SharedIntake(database, node="api", limits=JournalLimits(), placement=OneShard(home))


async def test_the_owner_reads_what_another_process_has_appended(sharded: Database, tenant: UUID) -> None:
    shard = Shard(sharded, HOME)
    await shard.acquire()
    rows = JournalRows(sharded, HOME, owner=shard)
    first = await intake(sharded).submit(submission(tenant, "a", "b"))
    async with Journal(sharded, shard, node="owner", on_commit=lambda _: None) as journal:
        second = await journal.submit(submission(tenant, "c"))
    third = await intake(sharded).submit(submission(tenant, "d"))
    assert (first.seq, first.records, second.seq, third.seq) == (1, 2, 2, 3)
    assert {first.stream_ids, second.stream_ids, third.stream_ids} == {first.stream_ids}
    assert [len(row.body) > 0 for row in await rows.read(0, 1 << 20)] == [True] * 3


async def test_a_take_over_in_between_changes_nothing(sharded: Database, tenant: UUID) -> None:
    records = intake(sharded)
    await records.submit(submission(tenant, "a"))
    await Shard(sharded, HOME).acquire()
    assert (await records.submit(submission(tenant, "b"))).seq == 2


async def test_a_resend_is_recognised_whoever_took_it_first(sharded: Database, tenant: UUID) -> None:
    sent = replace(submission(tenant, "a"), request_hash=b"h" * 16, content_hash=b"c" * 16)
    first, again = await intake(sharded).submit(sent), await intake(sharded).submit(sent)
    assert (first.duplicate, again.duplicate, again.records, again.seq) == (False, True, 0, first.seq)
    with pytest.raises(KeyReused):
        await intake(sharded).submit(replace(sent, content_hash=b"d" * 16))


async def test_what_can_not_be_journaled_is_told(sharded: Database, tenant: UUID) -> None:
    with pytest.raises(NotFound, match="tenant"):
        await intake(sharded).submit(submission(UUID(int=7), "a"))
    with pytest.raises(Unavailable, match="driftlock migrate --shards 99"):
        await intake(sharded, 99).submit(submission(tenant, "a"))


async def test_nothing_is_nothing(sharded: Database, tenant: UUID) -> None:
    assert (await intake(sharded).submit(replace(submission(tenant, "a"), batches=()))).seq == 0


async def test_a_secret_is_the_first_one_that_anybody_made(sharded: Database) -> None:
    assert await shared_secret(sharded, "test of secrets", b"1" * 32) == b"1" * 32
    assert await shared_secret(sharded, "test of secrets", b"2" * 32) == b"1" * 32
