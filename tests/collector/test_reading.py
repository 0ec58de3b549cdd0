"""Whose turn it is to send a message."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from collector.otlp.grpc import GrpcLimits, OtlpGrpcServer
from collector.otlp.reading import Readers, ReadingLimits
from tests.collector.fakes import bench
from tests.collector.grpc_calls import HELLO, grpc_message, raw_connection

SHORT_S = 0.02


@asynccontextmanager
async def reading(readers: Readers, tenant: str, timeout_s: float = 5.0) -> AsyncIterator[None]:
    async with asyncio.timeout(timeout_s) as limit, readers.turn(tenant, limit):
        yield


async def begin(readers: Readers, tenant: str, done: asyncio.Event) -> "asyncio.Task[None]":
    """A reader that reads until `done`."""

    async def read() -> None:
        async with reading(readers, tenant):
            await done.wait()

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    return task


async def test_readers_max() -> None:
    readers, done = Readers(ReadingLimits(readers_max=2, tenant_share_max=1.0)), asyncio.Event()
    tasks = [await begin(readers, "a", done) for _ in range(5)]
    await asyncio.sleep(SHORT_S)
    assert (readers.reading, readers.waiting) == (2, 3)
    done.set()
    await asyncio.gather(*tasks)
    assert (readers.reading, readers.waiting) == (0, 0)


async def test_tenant_share_max_leaves_room_for_others() -> None:
    readers, done = Readers(ReadingLimits(readers_max=4, tenant_share_max=0.75)), asyncio.Event()
    tasks = [await begin(readers, "greedy", done) for _ in range(9)]
    await asyncio.sleep(SHORT_S)
    assert (readers.reading, readers.waiting) == (3, 6)
    async with asyncio.timeout(1), reading(readers, "other"):
        assert readers.reading == 4
    done.set()
    await asyncio.gather(*tasks)


async def test_who_leaves_while_waiting_takes_no_turn() -> None:
    readers, done = Readers(ReadingLimits(readers_max=1)), asyncio.Event()
    first, second, third = [await begin(readers, name, done) for name in "abc"]
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert (readers.reading, readers.waiting) == (1, 1)
    done.set()
    await asyncio.gather(first, third)
    assert readers.reading == 0


async def test_grace_ms_ends_a_slow_turn_when_somebody_waits() -> None:
    readers, never, done = Readers(ReadingLimits(readers_max=1, grace_ms=30)), asyncio.Event(), asyncio.Event()
    slow = await begin(readers, "slow", never)
    await asyncio.sleep(0.1)
    assert not slow.done()  # nobody minds
    done.set()
    async with asyncio.timeout(2):
        await (await begin(readers, "quick", done))
    with pytest.raises(TimeoutError):
        await slow


async def test_a_turn_within_its_grace_is_waited_for() -> None:
    readers, done = Readers(ReadingLimits(readers_max=1, grace_ms=5000)), asyncio.Event()
    first = await begin(readers, "a", done)
    second = await begin(readers, "b", done)
    await asyncio.sleep(SHORT_S)
    assert not first.done()
    assert readers.waiting == 1
    done.set()
    await asyncio.gather(first, second)


async def test_senders_that_stall_do_not_keep_the_others_out() -> None:
    """Two calls whose messages never end hold both turns; a third one is answered all the same, and they are told why."""
    limits = ReadingLimits(readers_max=2, tenant_share_max=1.0, grace_ms=100)
    async with bench() as parts:
        server = OtlpGrpcServer(parts.exporter, address="127.0.0.1:0", limits=GrpcLimits(), grace_s=0.1, reading=limits)
        async with server, raw_connection(server.port) as stalled, raw_connection(server.port) as well:
            for stream in (1, 3):
                stalled.open_call(stream)
                stalled.send(stream, grpc_message(HELLO)[:-1])
            await asyncio.sleep(SHORT_S)
            well.open_call(1)
            well.send(1, grpc_message(HELLO), ends=True)
            await well.until(b"grpc-status")
            await stalled.until(b"others waited")
        assert len(parts.intake.submissions) == 1


@pytest.mark.parametrize("wrong", [{"readers_max": 0}, {"grace_ms": 0}, {"tenant_share_max": 0.0}, {"tenant_share_max": 1.1}])
def test_limits_that_let_nobody_read_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at"):
        ReadingLimits(**wrong)  # type: ignore[arg-type]
