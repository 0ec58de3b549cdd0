"""What the endpoints need that show what happens: the feed, scores, what people say of incidents, and who waits for us."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from api.live import LiveHub
from api.ratelimit import RateLimiter
from driftlock.accounts.actor import Actor
from driftlock.engine.scores import MinuteScore
from driftlock.storage.incident_actions import Said
from driftlock.storage.scores import Sparkline

__all__ = ["IncidentActionRepository", "ScoreRepository", "Sparkline", "ViewDeps", "WaitlistRepository"]


class ScoreRepository(Protocol):
    """Scores of streams by the minute of event time."""

    async def list(
        self, tenant_id: UUID, stream_id: UUID, *, since_minute: int, until_minute: int, step_minutes: int = 1
    ) -> Sequence[MinuteScore]:
        """Minutes since 1970 from one on and before another, so many together, ascending; without empty ones."""
        ...

    async def sparklines(
        self, tenant_id: UUID, stream_ids: Sequence[UUID], *, since_minute: int, parts: int, part_minutes: int
    ) -> Mapping[UUID, Sparkline]:
        """One line for each of these streams; streams without events have none."""
        ...


class IncidentActionRepository(Protocol):
    """Where people say what becomes of an incident."""

    async def act(self, tenant_id: UUID, incident_id: UUID, said: Said, actor: Actor, *, version: int) -> None:
        """Note what is said after the `version`-th action; raise `Conflict` when there is a later one already."""
        ...


class WaitlistRepository(Protocol):
    """Who waits."""

    async def add(self, email: str) -> None:
        """Note an address, whether or not it is known."""
        ...


@dataclass(frozen=True, slots=True)
class ViewDeps:
    """`waitlist_limiter` limits how often a client network may ask to be put on the list, by `monotonic_ns`."""

    live: LiveHub
    scores: ScoreRepository
    incident_actions: IncidentActionRepository
    waitlist: WaitlistRepository
    waitlist_limiter: RateLimiter
    monotonic_ns: Callable[[], int] = field(repr=False)
