"""The task that lets thresholds follow feedback: at once where somebody judges, in their turn everywhere else."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest
from structlog.testing import CapturingLogger

from driftlock.engine.profile import PROFILES
from driftlock.engine.tuning import Proposal
from driftlock.errors import Unavailable
from server import tuning as tuning_module
from server.tuning import Tuner

TENANT = UUID(int=1)
STREAMS = [UUID(int=number) for number in (2, 3, 4)]
STEP = Proposal(PROFILES["strict"], "ncd_threshold", 0.3, 0.33, "most were false alarms")


class Tuned:
    """Streams that follow feedback; one of them takes a step, once."""

    def __init__(self) -> None:
        self.looked: list[tuple[UUID, UUID, int]] = []
        self.seen = asyncio.Event()
        self.failures = 0

    async def tuned(self, after: UUID, limit: int) -> Sequence[tuple[UUID, UUID]]:
        return [(TENANT, it) for it in STREAMS if it > after][:limit]

    async def step(self, tenant_id: UUID, stream_id: UUID, now_ns: int) -> Proposal | None:
        self.looked.append((tenant_id, stream_id, now_ns))
        self.seen.set()
        if self.failures:
            self.failures -= 1
            raise Unavailable("not now")
        return STEP if stream_id == STREAMS[1] else None


def tuner_of(tuned: Tuned, log: CapturingLogger) -> Tuner:
    return Tuner(tuned, log, lambda: 7)  # type: ignore[arg-type]  # the part of `Tuning` that is used


async def test_all_are_looked_at_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning_module, "STREAMS_A_PAGE", 2)
    tuned, log = Tuned(), CapturingLogger()
    await tuner_of(tuned, log).look_at_all()
    assert tuned.looked == [(TENANT, it, 7) for it in STREAMS]
    [call] = log.calls
    assert (call.method_name, call.kwargs["why"], call.kwargs["stream_id"]) == ("info", STEP.reason, str(STREAMS[1]))


async def test_who_is_judged_is_looked_at_at_once_and_a_failure_ends_nothing() -> None:
    tuned, log = Tuned(), CapturingLogger()
    tuner = tuner_of(tuned, log)
    running = asyncio.create_task(tuner.run(period_s=3600))
    for failures in (1, 0):
        tuned.failures = failures
        tuner.judged(TENANT, STREAMS[0])
        await asyncio.wait_for(tuned.seen.wait(), 5)
        tuned.seen.clear()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert tuned.looked == [(TENANT, STREAMS[0], 7)] * 2
    assert [call.method_name for call in log.calls] == ["warning"]


async def test_without_feedback_all_are_looked_at_in_their_turn() -> None:
    tuned = Tuned()
    running = asyncio.create_task(tuner_of(tuned, CapturingLogger()).run(period_s=0.001))
    await asyncio.wait_for(tuned.seen.wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert tuned.looked[0] == (TENANT, STREAMS[0], 7)


def test_what_waits_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning_module, "WAITING_MAX", 2)
    tuner = tuner_of(Tuned(), CapturingLogger())
    for stream in STREAMS:
        tuner.judged(TENANT, stream)
    assert set(tuner._judged) == set(STREAMS[:2])
