"""Detection begins when it can; whoever waits for a position waits for that too."""

import asyncio

import pytest
import structlog

from driftlock.engine.dispatch import Dispatcher
from driftlock.errors import Conflict, Unavailable
from server import detection
from server.detection import Detection, quiet_when
from server.settings import SettingError, parse_settings


async def test_recovery_is_tried_again_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "RECOVERY_PAUSE_S", 0.01)
    tries = []

    async def start() -> Dispatcher:
        tries.append(1)
        if len(tries) < 3:
            raise Unavailable("the database is away")
        raise ValueError("a bug is not waited for")

    made = Detection(start, structlog.get_logger())
    made.found(7)
    waiting = asyncio.create_task(made.scored(8))
    with pytest.raises(ValueError, match="a bug"):
        await asyncio.wait_for(made.run(), 5)
    assert len(tries) == 3
    assert made.applied_seq == 7
    assert not waiting.done()
    waiting.cancel()


async def test_only_what_a_take_over_explains_is_expected() -> None:
    fenced = asyncio.Event()
    with pytest.raises(Conflict):
        async with quiet_when(fenced):
            raise Conflict("not ours")
    fenced.set()
    async with quiet_when(fenced):
        raise Conflict("not ours any more")


def test_sharing_ports_needs_a_database_that_can_be_shared() -> None:
    with pytest.raises(SettingError, match="DRIFTLOCK_REUSE_PORT is on but DATABASE_URL is not set"):
        parse_settings({"DRIFTLOCK_REUSE_PORT": "on"})
    assert parse_settings({"DRIFTLOCK_REUSE_PORT": "on", "DATABASE_URL": "postgresql://app@db/driftlock"}).reuse_port
