"""What waits for what in the database: an append, a step, a take-over, retention and a deletion never pass each other."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from driftlock.storage import checkpoints, journal, retention
from driftlock.storage.lanes import NODE_ROLE
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.stream_ids import StreamIds
from tests.conftest import Urls
from tests.storage.helpers import CHECKOUT, NOW_NS, SECOND_NS

ACQUIRE, DELETE = "select driftlock.journal_acquire($1)", "select driftlock.tenant_delete($1)"
BYTES_MAX, WINDOW_NS, LATER_NS = 1 << 20, 60 * SECOND_NS, NOW_NS + 3600 * SECOND_NS
TAKEN_OVER = "ZD001"
WAIT_S = 10.0


@dataclass
class Two:
    """A journal of one closed slot (row 1, applied) and one open (row 2), and two connections of its node."""

    first: "asyncpg.Connection[Any]"
    second: "asyncpg.Connection[Any]"
    owner: "asyncpg.Connection[Any]"
    tenant: UUID
    stream: UUID
    epoch: int

    async def append(self, connection: "asyncpg.Connection[Any]", body: bytes) -> tuple[int, int]:
        """What became of a request of one row, and its position."""
        request = ([self.tenant], ["logs"], [body.ljust(16)], [None], [None], [NOW_NS], [1], [0])
        row = ([1], [self.stream], [1], [len(body)], [zlib.crc32(body)], [body])
        found = await connection.fetchrow(journal.APPEND, 0, self.epoch, "n", WINDOW_NS, BYTES_MAX, *request, *row)
        assert found is not None
        return found["outcome"], found["seq"]

    async def step(self, connection: "asyncpg.Connection[Any]") -> int | None:
        """The position from 1 to 2; None when it is not the owner's, or another by now."""
        found: int | None = await connection.fetchval(checkpoints.ADVANCE, 0, self.epoch, 1, 2)
        return found

    async def close(self, connection: "asyncpg.Connection[Any]") -> bool:
        closed: bool = await connection.fetchval(retention.CLOSE, 0, self.epoch, LATER_NS, BYTES_MAX)
        return closed

    async def empty(self, connection: "asyncpg.Connection[Any]") -> int | None:
        rows: int | None = await connection.fetchval(retention.EMPTY, 0, self.epoch, 0, 1, [self.tenant], ["logs"], [1])
        return rows

    async def last_seq(self) -> int:
        last: int = await self.owner.fetchval("select next_seq - 1 from driftlock.journal_shard")
        return last

    async def waits(self, work: Callable[["asyncpg.Connection[Any]"], Awaitable[Any]]) -> "asyncio.Task[Any]":
        """Let the second connection do this, which has to wait for the first one."""
        task = asyncio.ensure_future(work(self.second))
        pids = (self.first.get_server_pid(), self.second.get_server_pid())
        async with asyncio.timeout(WAIT_S):
            while pids[0] not in await self.owner.fetchval("select pg_blocking_pids($1)", pids[1]):
                assert not task.done(), f"it did not wait: {task.exception() or task.result()!r}"
                await asyncio.sleep(0.01)
        return task


@pytest_asyncio.fixture
async def two(
    database: Database, database_urls: Urls, owner: "asyncpg.Connection[Any]", shard: Shard, tenant: UUID
) -> AsyncIterator[Two]:
    (stream,) = await StreamIds(database, entries_max=9).resolve(tenant, [CHECKOUT])
    first, second = [await asyncpg.connect(database_urls.app, server_settings={"role": NODE_ROLE}) for _ in range(2)]
    made = Two(first, second, owner, tenant, stream.stream_id, shard.epoch)
    assert await made.append(first, b"one") == (0, 1)
    assert await made.close(first)
    assert await made.append(first, b"two") == (0, 2)
    await owner.execute("update driftlock.journal_position set applied_seq = 1")
    try:
        yield made
    finally:
        first.terminate()
        second.terminate()


CLOSE_TENANT = "select driftlock.tenant_close($1)"
OPEN = {"append": (b"three", 3), "resend": (b"two", 2)}


@pytest.mark.parametrize("name", OPEN)
class TestBehindAnOpenAppend:
    """A resend writes nothing to the shard's row, and keeps it all the same: what it read has to hold until it is answered."""

    async def begin(self, two: Two, name: str) -> int:
        """The journal's last position, once the append is committed."""
        body, last = OPEN[name]
        await two.first.execute("begin")
        assert (await two.append(two.first, body))[1] == last
        return last

    async def test_an_append_comes_after_it(self, two: Two, name: str) -> None:
        last = await self.begin(two, name)
        behind = await two.waits(lambda connection: two.append(connection, b"four"))
        await two.first.execute("commit")
        assert await behind == (0, last + 1)
        assert await two.last_seq() == last + 1

    async def test_a_resend_is_recognised_after_it(self, two: Two, name: str) -> None:
        last = await self.begin(two, name)
        behind = await two.waits(lambda connection: two.append(connection, OPEN[name][0]))
        await two.first.execute("commit")
        assert await behind == (1, last)
        assert await two.last_seq() == last

    async def test_a_take_over_begins_after_it(self, two: Two, name: str) -> None:
        last = await self.begin(two, name)
        behind = await two.waits(lambda connection: connection.fetchval(ACQUIRE, 0))
        await two.first.execute("commit")
        assert await behind > two.epoch
        with pytest.raises(asyncpg.PostgresError) as caught:
            await two.append(two.first, b"late")
        assert caught.value.sqlstate == TAKEN_OVER
        assert await two.last_seq() == last

    async def test_a_slot_is_closed_with_its_row(self, two: Two, name: str) -> None:
        last = await self.begin(two, name)
        behind = await two.waits(two.close)
        await two.first.execute("commit")
        assert await behind is True
        assert await two.owner.fetchval("select last_seq from driftlock.journal_slot where slot = 1") == last

    async def test_a_slot_is_emptied_after_it(self, two: Two, name: str) -> None:
        last = await self.begin(two, name)
        behind = await two.waits(two.empty)
        await two.first.execute("commit")
        assert await behind == 1
        assert await two.owner.fetchval("select array_agg(seq order by seq) from driftlock.journal") == [*range(2, last + 1)]

    async def test_a_deleted_tenant_takes_its_row_along(self, two: Two, name: str) -> None:
        last = await self.begin(two, name)
        behind = await two.waits(lambda connection: connection.fetchval(DELETE, two.tenant))
        await two.first.execute("commit")
        assert await behind is True
        rows = await two.owner.fetch("select kind, body from driftlock.journal")
        assert [tuple(row) for row in rows] == [(2, b"")] * last

    async def test_a_tenant_is_closed_after_it(self, two: Two, name: str) -> None:
        last = await self.begin(two, name)
        behind = await two.waits(lambda connection: connection.fetchval(CLOSE_TENANT, two.tenant))
        await two.first.execute("commit")
        assert await behind is True
        assert await two.last_seq() == last


BEHIND_A_TAKE_OVER: dict[str, Callable[[Two, "asyncpg.Connection[Any]"], Awaitable[Any]]] = {
    "append": lambda two, connection: two.append(connection, b"three"),
    "resend": lambda two, connection: two.append(connection, b"two"),
    "append-clock": lambda two, connection: connection.fetchval(journal.APPEND_CLOCK, 0, two.epoch, NOW_NS, 7, b"clock"),
    "append-time": lambda two, connection: connection.fetchval(
        journal.APPEND_TIME, 0, two.epoch, two.tenant, two.stream, NOW_NS, 7, b"time"
    ),
    "set-budget": lambda two, connection: connection.fetchval(
        journal.SET_BUDGET, 0, two.epoch, BYTES_MAX, two.tenant, 3, 7, b"budget"
    ),
    "configure": lambda two, connection: connection.fetchval(
        journal.CONFIGURE, 0, two.epoch, BYTES_MAX, two.tenant, two.stream, "{}", 7, b"config", False, None, False
    ),
    "empty": lambda two, connection: two.empty(connection),
}


@pytest.mark.parametrize("name", BEHIND_A_TAKE_OVER)
async def test_who_waited_for_a_take_over_is_told_of_it(two: Two, name: str) -> None:
    await two.first.execute("begin")
    await two.first.fetchval(ACQUIRE, 0)
    behind = await two.waits(lambda connection: BEHIND_A_TAKE_OVER[name](two, connection))
    await two.first.execute("commit")
    with pytest.raises(asyncpg.PostgresError) as caught:
        await behind
    assert caught.value.sqlstate == TAKEN_OVER
    assert await two.last_seq() == 2
    assert await two.owner.fetchval("select count(*) from driftlock.journal") == 2


@pytest.mark.parametrize(("name", "answer"), [("close", False), ("step", None)])
async def test_what_waited_for_a_take_over_changes_nothing(two: Two, name: str, answer: object) -> None:
    await two.first.execute("begin")
    await two.first.fetchval(ACQUIRE, 0)
    behind = await two.waits(getattr(two, name))
    await two.first.execute("commit")
    assert await behind is answer
    assert await two.owner.fetchval("select slot from driftlock.journal_shard") == 1
    assert await two.owner.fetchval("select applied_seq from driftlock.journal_position") == 1


async def test_a_take_over_that_is_rolled_back_leaves_the_owner(two: Two) -> None:
    await two.first.execute("begin")
    await two.first.fetchval(ACQUIRE, 0)
    behind = await two.waits(lambda connection: two.append(connection, b"three"))
    await two.first.execute("rollback")
    assert await behind == (0, 3)


@pytest.mark.parametrize("sql", [ACQUIRE, DELETE], ids=["take-over", "deletion"])
async def test_a_take_over_and_a_deletion_wait_for_a_step(two: Two, sql: str) -> None:
    await two.first.execute("begin")
    assert await two.step(two.first) is not None
    behind = await two.waits(lambda connection: connection.fetchval(sql, 0 if sql is ACQUIRE else two.tenant))
    await two.first.execute("commit")
    assert await behind
    assert await two.owner.fetchval("select applied_seq from driftlock.journal_position") == 2


async def test_a_step_that_waited_for_a_deletion_sees_it(two: Two) -> None:
    await two.first.execute("begin")
    assert await two.first.fetchval(DELETE, two.tenant)
    behind = await two.waits(two.step)
    await two.first.execute("commit")
    assert await behind is not None


@pytest.mark.parametrize("sql", [DELETE, CLOSE_TENANT], ids=["deletion", "closing"])
async def test_an_append_that_waited_for_a_deletion_is_refused(two: Two, sql: str) -> None:
    await two.first.execute("begin")
    assert await two.first.fetchval(sql, two.tenant)
    behind = await two.waits(lambda connection: two.append(connection, b"three"))
    await two.first.execute("commit")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await behind
    assert await two.last_seq() == 2
