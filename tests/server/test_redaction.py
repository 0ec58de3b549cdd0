"""What goes on in the background for redaction and streams: it goes on after trouble, and says so."""

import asyncio
from collections.abc import Coroutine
from uuid import UUID

import pytest
from structlog.testing import CapturingLogger

from driftlock.errors import Unavailable
from server.redaction import DELETION_PERIOD_S, REFRESH_PERIOD_S, expire_findings, finish_streams, watch_rules

STREAM = UUID(int=7)


class Trouble:
    """Deletions, an expiry and a table of rules that fail once; the first stream has to be asked for twice."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.enough = asyncio.Event()

    def _called(self, what: str, count: int) -> None:
        self.calls.append(what)
        if len(self.calls) == 1:
            raise Unavailable("the database is away")
        if len(self.calls) >= count:
            self.enough.set()

    async def closed(self) -> list[UUID]:
        return [STREAM] if self.calls.count("empty") < 3 else []

    async def empty(self, stream_id: UUID) -> bool:
        assert stream_id == STREAM
        self._called("empty", 3)
        return False

    async def expire(self) -> int:
        self._called("expire", 3)
        return 5

    async def refresh(self) -> None:
        self._called("refresh", 3)


@pytest.mark.parametrize(
    ("what", "told"),
    [("streams", "a stream is not being deleted"), ("findings", "findings that are over stay"), ("rules", "")],
)
async def test_trouble_ends_nothing(what: str, told: str) -> None:
    trouble, log = Trouble(), CapturingLogger()
    works: dict[str, Coroutine[object, object, None]] = {
        "streams": finish_streams(trouble, log, 0.001),  # type: ignore[arg-type]
        "findings": expire_findings(trouble, log, 0.001),  # type: ignore[arg-type]
        "rules": watch_rules(trouble, 0.001),  # type: ignore[arg-type]
    }
    task = asyncio.create_task(works.pop(what))
    for other in works.values():
        other.close()
    async with asyncio.timeout(5):
        await trouble.enough.wait()
    assert not task.done()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    warned = [call.args[0] for call in log.calls if call.method_name == "warning"]
    assert warned == ([told] if told else [])


def test_rules_hold_everywhere_in_time() -> None:
    assert REFRESH_PERIOD_S < 5
    assert DELETION_PERIOD_S < 5
