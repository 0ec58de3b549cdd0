import asyncio
import os
import signal

import pytest

from driftlock.errors import Conflict
from server.process import Ending, Stopped, StopSignals, until


async def forever() -> None:
    await asyncio.Event().wait()


async def test_stops_when_asked() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, stop.set)
    assert await asyncio.wait_for(until(stop, {"a": forever, "b": forever}), 5) is Ending.STOPPED


async def test_a_part_that_fails_is_named_with_its_reason() -> None:
    async def fails() -> None:
        raise ValueError("disk on fire")

    with pytest.raises(Stopped, match="detection stopped: disk on fire") as caught:
        await until(asyncio.Event(), {"detection": fails, "other": forever})
    assert isinstance(caught.value.__cause__, ValueError)


async def test_being_fenced_is_a_hand_over() -> None:
    fenced = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, fenced.set)
    assert await asyncio.wait_for(until(asyncio.Event(), {"a": forever}, fenced), 5) is Ending.HANDED_OVER


async def test_what_fails_because_of_a_hand_over_belongs_to_it() -> None:
    fenced = asyncio.Event()

    async def fails() -> None:
        fenced.set()
        raise Conflict("another process has taken over")

    assert await until(asyncio.Event(), {"detection": fails}, fenced) is Ending.HANDED_OVER
    with pytest.raises(Stopped, match="detection stopped: another process"):
        await until(asyncio.Event(), {"detection": fails}, asyncio.Event())


async def test_a_part_that_just_ends_is_an_error_too() -> None:
    async def ends() -> None:
        return

    with pytest.raises(Stopped, match="retention stopped: without a reason"):
        await until(asyncio.Event(), {"retention": ends})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_asks_to_stop(number: signal.Signals) -> None:
    said: list[str] = []
    with StopSignals(said.append) as signals:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(signals.requested.wait(), 5)
    assert len(said) == 1
