"""Thresholds follow feedback: a task that looks at every stream that wants it, and at once at one that was judged."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from structlog.typing import FilteringBoundLogger

from driftlock.errors import DriftlockError
from driftlock.storage.control_journal import ControlJournal
from driftlock.storage.controls import Controls
from driftlock.storage.feedback import Feedbacks
from driftlock.storage.pool import Database
from driftlock.storage.tuning import Tuning

PERIOD_S = 600.0
"""Steps are a day apart, so it is enough to look this often for those that no feedback brings."""

STREAMS_A_PAGE = 500
WAITING_MAX = 10_000
"""Judged streams that wait to be looked at; beyond them all are looked at in their turn."""


class Tuner:
    """Looks at streams and lets each take the step that its feedback asks for. `now_ns` is the wall clock."""

    def __init__(self, tuning: Tuning, log: FilteringBoundLogger, now_ns: Callable[[], int]) -> None:
        """Nothing is looked at before it runs."""
        self._tuning = tuning
        self._log = log
        self._now_ns = now_ns
        self._judged: dict[UUID, UUID] = {}
        self._wake = asyncio.Event()

    def judged(self, tenant_id: UUID, stream_id: UUID) -> None:
        """Somebody has judged a finding of a stream."""
        if len(self._judged) < WAITING_MAX:
            self._judged[stream_id] = tenant_id
        self._wake.set()

    async def run(self, period_s: float = PERIOD_S) -> None:
        """Look for ever; what can not be done now is done the next time."""
        while True:
            try:
                async with asyncio.timeout(period_s):
                    await self._wake.wait()
            except TimeoutError:
                await self._guarded(self.look_at_all)
            self._wake.clear()
            while self._judged:
                stream_id, tenant_id = self._judged.popitem()
                await self._guarded(partial(self.look_at, tenant_id, stream_id))

    async def look_at_all(self) -> None:
        """Look at every stream whose thresholds follow feedback, once."""
        after = UUID(int=0)
        while streams := await self._tuning.tuned(after, STREAMS_A_PAGE):
            for tenant_id, stream_id in streams:
                await self.look_at(tenant_id, stream_id)
            after = streams[-1][1]

    async def look_at(self, tenant_id: UUID, stream_id: UUID) -> None:
        """Let one stream take its step, if it is time for one."""
        step = await self._tuning.step(tenant_id, stream_id, self._now_ns())
        if step is not None:
            self._log.info("a threshold was tuned", tenant_id=str(tenant_id), stream_id=str(stream_id), why=step.reason)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except DriftlockError as error:  # no reason to take no more records
            self._log.warning("thresholds are not being tuned", why=error.message)


@dataclass(frozen=True, slots=True)
class Teaching:
    """Feedback, tuning, and what follows one with the other; `watched` must not end while the process serves."""

    feedback: Feedbacks
    tuning: Tuning
    watched: Mapping[str, Callable[[], Awaitable[None]]]


def teach(database: Database, journal: ControlJournal, controls: Controls, log: FilteringBoundLogger) -> Teaching:
    """Both, joined."""
    tuning = Tuning(database, journal)
    tuner = Tuner(tuning, log, time.time_ns)
    return Teaching(Feedbacks(database, controls, tuner.judged), tuning, {"the tuning of thresholds": tuner.run})
