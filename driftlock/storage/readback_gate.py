"""How many calls may read the journal back at a time, so that looking back never crowds out what is coming in."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from driftlock.errors import RateLimited, Unavailable

RETRY_AFTER_MS = 2000


class ReadbackGate:
    """Lets `running_max` calls run at a time; of `calls_max` that are there at most `tenant_calls_max` are of one tenant.

    Not thread safe: event loop only.
    """

    def __init__(self, *, running_max: int, calls_max: int, tenant_calls_max: int, call_ms_max: int) -> None:
        """Raises ValueError for limits that let nobody through."""
        if min(running_max, calls_max, tenant_calls_max, call_ms_max) < 1:
            raise ValueError("running_max, calls_max, tenant_calls_max and call_ms_max must be at least 1")
        self._calls_max, self._tenant_calls_max, self._call_ms_max = calls_max, tenant_calls_max, call_ms_max
        self._running = asyncio.Semaphore(running_max)
        self._tenants: Counter[UUID] = Counter()

    @property
    def calls(self) -> int:
        """Calls that run or wait."""
        return self._tenants.total()

    @asynccontextmanager
    async def enter(self, tenant_id: UUID) -> AsyncIterator[None]:
        """Wait for a turn and take it; raise `RateLimited` or `Unavailable` at once where too many wait, or after the time."""
        if self._tenants[tenant_id] >= self._tenant_calls_max:
            text = f"{self._tenant_calls_max} calls of yours are reading the journal already (tenant_calls_max); retry"
            raise RateLimited(text, retry_after_ms=RETRY_AFTER_MS)
        if self.calls >= self._calls_max:
            text = f"{self._calls_max} calls are reading the journal already (calls_max); retry"
            raise Unavailable(text, retry_after_ms=RETRY_AFTER_MS)
        self._tenants[tenant_id] += 1
        try:
            async with asyncio.timeout(self._call_ms_max / 1000), self._running:
                yield
        except TimeoutError:
            text = f"reading took longer than {self._call_ms_max} ms (call_ms_max); narrow since and until, or retry"
            raise Unavailable(text, retry_after_ms=RETRY_AFTER_MS) from None
        finally:
            self._tenants[tenant_id] -= 1
            if not self._tenants[tenant_id]:
                del self._tenants[tenant_id]
