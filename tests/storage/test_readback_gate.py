"""Turns to read the journal back."""

import asyncio
from uuid import UUID

import pytest

from driftlock.errors import RateLimited, Unavailable
from driftlock.storage.readback_gate import ReadbackGate

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


def gate(**limits: int) -> ReadbackGate:
    return ReadbackGate(**({"running_max": 1, "calls_max": 3, "tenant_calls_max": 2, "call_ms_max": 5000} | limits))


async def hold(turns: ReadbackGate, tenant: UUID, until: asyncio.Event, running: list[UUID]) -> None:
    async with turns.enter(tenant):
        running.append(tenant)
        await until.wait()


async def test_one_runs_others_wait_and_more_are_refused() -> None:
    turns, until, running = gate(), asyncio.Event(), list[UUID]()
    calls = [asyncio.create_task(hold(turns, tenant, until, running)) for tenant in (ONE, ONE, TWO)]
    await asyncio.sleep(0)
    assert (running, turns.calls) == ([ONE], 3)
    with pytest.raises(RateLimited, match="tenant_calls_max") as limited:
        await hold(turns, ONE, until, running)
    with pytest.raises(Unavailable, match="calls_max") as full:
        await hold(turns, THREE, until, running)
    assert limited.value.retry_after_ms
    assert full.value.retry_after_ms
    until.set()
    await asyncio.gather(*calls)
    assert (running, turns.calls) == ([ONE, ONE, TWO], 0)
    assert len(turns._tenants) == 0  # nothing is kept of tenants that have left


async def test_a_call_that_takes_too_long_gives_its_turn_back() -> None:
    turns = gate(call_ms_max=1)
    with pytest.raises(Unavailable, match="call_ms_max"):
        await hold(turns, ONE, asyncio.Event(), [])
    assert turns.calls == 0
    async with turns.enter(ONE):
        assert turns.calls == 1


async def test_a_failure_gives_the_turn_back() -> None:
    turns = gate()
    with pytest.raises(KeyError):
        async with turns.enter(ONE):
            raise KeyError
    assert turns.calls == 0


@pytest.mark.parametrize("name", ["running_max", "calls_max", "tenant_calls_max", "call_ms_max"])
async def test_limits_let_somebody_through(name: str) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        gate(**{name: 0})
