"""Requests on their way into the journal are bounded, whatever they wait for."""

import asyncio
from collections import Counter
from uuid import UUID

import asyncpg
import pytest

from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import Receipt
from driftlock.errors import Unavailable
from driftlock.storage.journal import Journal, JournalLimits
from driftlock.storage.pool import Database, PoolLimits
from driftlock.storage.room import Room
from driftlock.storage.shard import Shard
from driftlock.storage.tenants import Tenants
from tests.conftest import Urls
from tests.storage.helpers import submission


def test_requests_max() -> None:
    room = Room(requests_max=2, bytes_max=100)
    with room.hold(1), room.hold(1):
        with pytest.raises(Unavailable) as refused, room.hold(1):
            pass
        assert refused.value.retry_after_ms
    assert (room.requests, room.bytes) == (0, 0)


def test_bytes_max() -> None:
    room = Room(requests_max=9, bytes_max=100)
    # The only one is let in whatever its size: it must not be refused for ever.
    with room.hold(500), pytest.raises(Unavailable), room.hold(1):
        pass
    with room.hold(60), room.hold(40):
        with pytest.raises(Unavailable), room.hold(1):
            pass
        assert room.bytes == 100


def test_what_fails_inside_leaves() -> None:
    room = Room(requests_max=1, bytes_max=1)
    with pytest.raises(KeyError), room.hold(1):
        raise KeyError
    assert (room.requests, room.bytes) == (0, 0)


async def test_thousands_that_wait_for_streams_take_bounded_memory(
    database_urls: Urls, database: Database, owner: asyncpg.Connection, tenant: UUID
) -> None:
    """New streams of a tenant wait for a lock: what waits is bounded in requests and bytes, and the rest is refused at once."""
    other = (await Tenants(database).create("other")).tenant_id
    limits = JournalLimits(arriving_requests_max=40, arriving_bytes_max=1 << 20)
    line = "x" * 100_000
    async with Database(database_urls.app, limits=PoolLimits(node_statement_timeout_ms=1500)) as slow:
        shard = Shard(slow)
        await shard.acquire()
        async with Journal(slow, shard, node="n", on_commit=lambda _: None, limits=limits) as journal:
            await journal.submit(submission(other, "known"))
            async with owner.transaction():
                await owner.execute("select 1 from driftlock.tenants where id = $1 for update", tenant)
                tasks = [
                    asyncio.create_task(
                        journal.submit(submission(tenant, f"{number} {line}", key=StreamKey(Signal.LOGS, f"new-{number}")))
                    )
                    for number in range(3000)
                ]
                await asyncio.sleep(0.3)
                waiting = [task for task in tasks if not task.done()]
                assert 2 <= len(waiting) <= 10  # of 100 kB each, under 1 MiB
                # The others go on: with their streams known, and with new ones, which have connections left.
                for key in ("checkout", "another"):
                    sent = submission(other, f"more of {key}", key=StreamKey(Signal.LOGS, key))
                    assert (await journal.submit(sent)).records == 1
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            kinds = Counter(type(outcome) for outcome in outcomes)
            assert set(kinds) <= {Unavailable, Receipt}
            assert kinds[Unavailable] > 2900
            assert (await journal.submit(submission(tenant, "later"))).records == 1


BLOCKED = """
select count(*) from pg_stat_activity where application_name = 'driftlock-node' and wait_event_type = 'Lock'
"""


async def blocked_by(owner: asyncpg.Connection) -> int:
    """Calls that wait for a lock, now: within a transaction PostgreSQL would tell what it told before."""
    await owner.execute("select pg_stat_clear_snapshot()")
    found: int = await owner.fetchval(BLOCKED)
    return found


async def test_one_tenant_takes_two_connections_for_its_streams(
    database_urls: Urls, owner: asyncpg.Connection, tenant: UUID
) -> None:
    async with Database(database_urls.app) as slow:
        shard = Shard(slow)
        await shard.acquire()
        async with Journal(slow, shard, node="n", on_commit=lambda _: None) as journal, owner.transaction():
            await owner.execute("select 1 from driftlock.tenants where id = $1 for update", tenant)
            tasks = [
                asyncio.create_task(
                    journal.submit(submission(tenant, f"{number}", key=StreamKey(Signal.LOGS, f"new-{number}")))
                )
                for number in range(20)
            ]
            async with asyncio.timeout(30):
                while await blocked_by(owner) < 2:  # noqa: ASYNC110  # logins take a while
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.5)  # for a third one, which is not to come
            blocked = await blocked_by(owner)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert blocked == 2
