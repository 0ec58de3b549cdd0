"""Whose turn it is to send a message: gRPC shows no size before a whole message has been read, so few are read at a time.

A call whose turn has not come holds what fits into its window of flow control and no more. Most messages fit, and are read at
once when it comes.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """`readers_max` messages are read at a time, at most `tenant_share_max` of them of one tenant.

    Who has not sent its message after `grace_ms` is cut off as soon as somebody waits for its turn.
    """

    readers_max: int = 32
    tenant_share_max: float = 0.75
    grace_ms: int = 10_000

    def __post_init__(self) -> None:
        """Refuse limits that let nobody read."""
        if self.readers_max < 1 or self.grace_ms < 1:
            raise ValueError("readers_max and grace_ms must be at least 1")
        if not 0 < self.tenant_share_max <= 1:
            raise ValueError("tenant_share_max must be above 0 and at most 1")


class Readers:
    """Counts who reads. Not thread-safe: event loop only."""

    def __init__(self, limits: ReadingLimits) -> None:
        self._limits = limits
        self._own_max = max(1, int(limits.readers_max * limits.tenant_share_max))
        self._reading: OrderedDict[asyncio.Timeout, float] = OrderedDict()  # since when, the longest first
        self._tenants: Counter[Hashable] = Counter()
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def reading(self) -> int:
        """Messages that are being read."""
        return len(self._reading)

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(self, tenant: Hashable, limit: asyncio.Timeout) -> AsyncIterator[None]:
        """A turn to read within the timeout `limit`, which ends early if the reader is slow and others wait."""
        while len(self._reading) >= self._limits.readers_max or self._tenants[tenant] >= self._own_max:
            await self._wait()
        self._reading[limit] = asyncio.get_running_loop().time()
        self._tenants[tenant] += 1
        try:
            yield
        finally:
            del self._reading[limit]
            self._tenants[tenant] -= 1
            if not self._tenants[tenant]:
                del self._tenants[tenant]
            for waiter in self._waiting:
                _wake(waiter)

    async def _wait(self) -> None:
        """Until somebody has read, or the slowest reader has had its time, which ends its turn."""
        loop = asyncio.get_running_loop()
        slowest, since_s = next(iter(self._reading.items()))
        ends_s = since_s + self._limits.grace_ms / 1000
        if loop.time() >= ends_s:
            if not slowest.expired():
                slowest.reschedule(loop.time())
            ends_s = loop.time() + self._limits.grace_ms / 1000
        waiter = loop.create_future()
        timer = loop.call_at(ends_s, _wake, waiter)
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiting.remove(waiter)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
