"""Who listens to the feed in this process, and what wakes them: its own steps at once, what others write within a poll.

Listeners hold no events: each reads the feed on from where it is when it has been woken and its client has taken what came
before. So a slow client costs no memory, and what it has missed is still there when it comes again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Protocol
from uuid import UUID

from driftlock.errors import DriftlockError, RateLimited, Unavailable
from driftlock.storage.live import LiveEvent, LiveRange

__all__ = ["Listener", "LiveEvent", "LiveFeed", "LiveHub", "LiveLimits", "LiveRange"]


class LiveFeed(Protocol):
    """Events of a tenant in the order in which they were committed. Raises `Unavailable`."""

    async def range(self, tenant_id: UUID) -> LiveRange:
        """Which events can be read."""
        ...

    async def after(self, tenant_id: UUID, seq: int, *, limit: int) -> Sequence[LiveEvent]:
        """The events after one, the oldest first."""
        ...

    async def heads(self, tenant_ids: Sequence[UUID]) -> Mapping[UUID, int]:
        """The number of the newest event of each of these tenants that has one."""
        ...


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """Of listeners: how many, how often something is sent to them, and how long a connection may last.

    `check_ms` apart it is looked whether the credential that opened a connection still opens one.
    """

    listeners_max: int = 256
    tenant_listeners_max: int = 20
    events_at_once_max: int = 100
    heartbeat_ms: int = 15_000
    poll_ms: int = 1_000
    check_ms: int = 2_000
    retry_ms: int = 2_000
    age_ms_max: int = 30 * 60_000

    def __post_init__(self) -> None:
        """Refuse limits that limit nothing."""
        for limit in fields(self):
            if getattr(self, limit.name) < 1:
                raise ValueError(f"{limit.name} must be at least 1")


class Listener:
    """One client that waits for events of a tenant."""

    def __init__(self, tenant_id: UUID) -> None:
        self.tenant_id = tenant_id
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There may be something new."""
        self._woken.set()

    def caught_up(self) -> None:
        """It is about to read: what comes from here on wakes it again."""
        self._woken.clear()

    async def wait(self, timeout_s: float) -> None:
        """Return when it is woken, or after `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, timeout_s)):
                await self._woken.wait()


class LiveHub:
    """The listeners of this process. `stopping` ends all of them when it is set and `wake_all` is called."""

    def __init__(self, feed: LiveFeed, stopping: asyncio.Event, limits: LiveLimits | None = None) -> None:
        self.feed = feed
        self.stopping = stopping
        self.limits = limits or LiveLimits()
        self._listeners: dict[UUID, set[Listener]] = {}
        self._count = 0
        self._polling: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Clients that listen."""
        return self._count

    def check_room(self, tenant_id: UUID) -> None:
        """Raise `RateLimited` when the tenant has too many listeners, `Unavailable` when the process has, or stops."""
        limits = self.limits
        if self.stopping.is_set():
            raise Unavailable("the server is stopping; connect again")
        if len(self._listeners.get(tenant_id, ())) >= limits.tenant_listeners_max:
            text = (
                f"{limits.tenant_listeners_max} clients of this account are listening already (tenant_listeners_max); close one"
            )
            raise RateLimited(text, retry_after_ms=limits.heartbeat_ms)
        if self._count >= limits.listeners_max:
            text = f"{limits.listeners_max} clients are listening already (listeners_max); try again later"
            raise Unavailable(text, retry_after_ms=limits.heartbeat_ms)

    @asynccontextmanager
    async def listening(self, tenant_id: UUID) -> AsyncIterator[Listener]:
        """A listener of the tenant as long as this lasts. Raises as `check_room` does."""
        self.check_room(tenant_id)
        listener = Listener(tenant_id)
        self._listeners.setdefault(tenant_id, set()).add(listener)
        self._count += 1
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll(), name="poll of the live feed")
        try:
            yield listener
        finally:
            self._count -= 1
            self._listeners[tenant_id].discard(listener)
            if not self._listeners[tenant_id]:
                del self._listeners[tenant_id]
            if not self._count and self._polling is not None:
                self._polling.cancel()
                self._polling = None

    def wake(self, tenant_ids: Iterable[UUID]) -> None:
        """Events of these tenants have been committed."""
        for tenant_id in tenant_ids:
            for listener in self._listeners.get(tenant_id, ()):
                listener.wake()

    def wake_all(self) -> None:
        """Let every listener look at once, whether the process stops."""
        self.wake(list(self._listeners))

    async def _poll(self) -> None:
        """Wake those whose feed another process has written to: one short query for all of them."""
        known: Mapping[UUID, int] = {}
        while True:
            await asyncio.sleep(self.limits.poll_ms / 1000)
            with contextlib.suppress(DriftlockError):  # who reads will be told so
                heads = await self.feed.heads(sorted(self._listeners))
                self.wake([tenant_id for tenant_id, head in heads.items() if known.get(tenant_id) != head])
                known = heads
