"""Where reading begins after a stop: never beyond anything that a fold still needs."""

from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import Checkpoint, Step
from driftlock.errors import Unavailable
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.datafolder import APP_ROLE
from driftlock.storage.journal import Journal
from driftlock.storage.migrate import migrate
from driftlock.storage.pool import Database, PoolLimits
from driftlock.storage.recovery import recovery_position, tenants_with_state
from driftlock.storage.shard import Shard
from tests.conftest import Urls
from tests.storage.helpers import NOW_NS, submission
from tests.storage.house import House


@pytest_asyncio.fixture
async def house(database: Database, shard: Shard, journal: Journal, tenant: UUID) -> House:
    streams = {}
    for number, name in enumerate("ABAAB"):
        sent = submission(tenant, f"line {number}", key=StreamKey(Signal.LOGS, name), received_ns=NOW_NS + number)
        streams[name] = (await journal.submit(sent)).stream_ids[0]
    await journal.append_clock(NOW_NS + 5)
    return House(database, shard, tenant, streams)


async def test_before_anything_is_applied_reading_begins_at_the_beginning(house: House) -> None:
    assert await house.position() == 0


async def test_folds_without_checkpoints_need_all_their_rows(house: House) -> None:
    await house.apply(4)
    assert await house.position() == 0


async def test_reading_begins_at_the_first_row_that_a_fold_lacks(house: House) -> None:
    await house.apply(5, tenant_seq=5, A=3, B=2)
    assert await house.position() == 3  # row 4 of A
    await house.apply(5, A=5)
    assert await house.position() == 4  # row 5 of B
    await house.apply(5, B=5)
    assert await house.position() == 5


async def test_a_tenant_fold_behind_its_streams_needs_their_rows(house: House) -> None:
    await house.apply(5, tenant_seq=2, A=5, B=5)
    assert await house.position() == 2
    await house.apply(5, tenant_seq=5)
    assert await house.position() == 5


async def test_rows_that_are_not_applied_yet_make_no_fold_lag(house: House) -> None:
    await house.apply(2, tenant_seq=2, A=2, B=2)
    assert await house.position() == 2


async def test_a_damaged_checkpoint_moves_the_beginning_back(house: House, owner: asyncpg.Connection) -> None:
    await house.apply(3, tenant_seq=3, A=1, B=3)
    await house.apply(5, tenant_seq=5, A=3, B=5)
    assert await house.position() == 3
    await owner.execute(
        "update driftlock.stream_checkpoints set state = '' where stream_id = $1 and seq = 3", house.streams["A"]
    )
    assert await house.position() == 2  # row 3 is the first that the checkpoint at 1 lacks
    await owner.execute("update driftlock.stream_checkpoints set state = '' where stream_id = $1", house.streams["A"])
    assert await house.position() == 3  # all of its past is lost: it begins anew after the newest checkpoint


async def test_tenants_with_a_past_are_known(house: House) -> None:
    assert await tenants_with_state(house.database) == []
    await house.checkpoints.commit(Step(0, 1, tenant_checkpoints={house.tenant: Checkpoint(1, b"x")}))
    assert await tenants_with_state(house.database) == [house.tenant]


SLOW_MS, TINY_MS = 600, 100  # SLOW_MS is what the statement below takes


async def test_looking_at_all_folds_has_a_limit_of_its_own(empty_database_urls: Urls) -> None:
    await migrate(empty_database_urls.owner, APP_ROLE)
    owner = await asyncpg.connect(empty_database_urls.owner)
    try:
        # So many tenants that looking at all of them takes longer than statements of this lane may.
        await owner.execute(
            """
            alter function driftlock.tenant_folds(integer) rename to folds;
            create function driftlock.tenant_folds(p_shard integer)
              returns table (tenant_id uuid, newest_seq bigint, after_newest bigint, after_previous bigint) language sql
              as $$ select null::uuid, 0::bigint, null::bigint, null::bigint from pg_sleep(0.6) $$;
            """
        )
    finally:
        await owner.close()
    async with Database(empty_database_urls.app, limits=PoolLimits(node_statement_timeout_ms=SLOW_MS // 2)) as database:
        checkpoints = Checkpoints(database, Shard(database))
        assert await recovery_position(database, checkpoints) == 0
        with pytest.raises(Unavailable, match="took longer than allowed"):
            await recovery_position(database, checkpoints, folds_timeout_ms=TINY_MS)
        await database.ping()  # and nobody else has it
        with pytest.raises(Unavailable, match="took longer than allowed"):
            await database.node(lambda connection: connection.execute(f"select pg_sleep({SLOW_MS / 1000})"))
