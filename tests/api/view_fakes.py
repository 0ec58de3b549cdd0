"""In-memory rooms of what is shown of what happens."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from api.live import LiveHub, LiveLimits
from api.ratelimit import RateLimiter
from api.view_deps import Sparkline, ViewDeps
from driftlock.accounts.actor import Actor
from driftlock.engine.scores import MinuteScore
from driftlock.errors import Conflict, DriftlockError
from driftlock.storage.incident_actions import IncidentAction, IncidentStatus, Said
from driftlock.storage.live import LiveEvent, LiveKind, LiveRange
from tests.api.fakes import FakeHouse

AT = datetime(2027, 1, 1, tzinfo=UTC)


@dataclass
class FakeFeed:
    """The feed as lists; `gone` are the numbers up to which events have left. `failure` is raised while it is set."""

    events: dict[UUID, list[LiveEvent]] = field(default_factory=lambda: defaultdict(list))
    gone: dict[UUID, int] = field(default_factory=dict)
    failure: DriftlockError | None = None

    def add(self, tenant_id: UUID, kind: LiveKind, *, anomaly: UUID | None = None, incident: UUID | None = None) -> int:
        rows = self.events[tenant_id]
        rows.append(LiveEvent(len(rows) + 1, AT, kind, anomaly, incident))
        return len(rows)

    async def range(self, tenant_id: UUID) -> LiveRange:
        self._fail()
        return LiveRange(self.gone.get(tenant_id, 0) + 1, len(self.events[tenant_id]))

    async def after(self, tenant_id: UUID, seq: int, *, limit: int) -> list[LiveEvent]:
        self._fail()
        first = self.gone.get(tenant_id, 0)
        return [row for row in self.events[tenant_id] if row.seq > max(seq, first)][:limit]

    async def heads(self, tenant_ids: Sequence[UUID]) -> dict[UUID, int]:
        self._fail()
        return {tenant_id: len(self.events[tenant_id]) for tenant_id in tenant_ids if self.events[tenant_id]}

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


@dataclass
class FakeScores:
    """Minutes by stream."""

    house: FakeHouse
    minutes: dict[UUID, list[MinuteScore]] = field(default_factory=lambda: defaultdict(list))

    async def list(
        self, tenant_id: UUID, stream_id: UUID, *, since_minute: int, until_minute: int, step_minutes: int = 1
    ) -> list[MinuteScore]:
        parts: dict[int, MinuteScore] = {}
        for score in self.minutes[stream_id] if stream_id in self.house.stream_rows[tenant_id] else []:
            if since_minute <= score.minute < until_minute:
                first = score.minute // step_minutes * step_minutes
                parts[first] = parts.get(first, MinuteScore(first)).with_more(score)
        return [parts[minute] for minute in sorted(parts)]

    async def sparklines(
        self, tenant_id: UUID, stream_ids: Sequence[UUID], *, since_minute: int, parts: int, part_minutes: int
    ) -> Mapping[UUID, Sparkline]:
        raise NotImplementedError


@dataclass
class FakeIncidentActions:
    """Writes into the house's incidents, and into the feed."""

    house: FakeHouse
    feed: FakeFeed
    actors: list[Actor] = field(default_factory=list)

    async def act(self, tenant_id: UUID, incident_id: UUID, said: Said, actor: Actor, *, version: int) -> None:
        rows = self.house.incident_rows[tenant_id]
        [place] = [place for place, row in enumerate(rows) if row.incident.incident_id == incident_id]
        before = rows[place].action
        if version != (0 if before is None else before.version):
            raise Conflict("somebody has said something of this incident meanwhile; read it and try again")
        who = (actor.kind.value, actor.id, actor.name)
        old = before or IncidentAction(0, IncidentStatus.OPEN, rows[place].incident.findings, "", *who, AT)
        findings = old.findings if said.status is None else rows[place].incident.findings
        note = old.note if said.note is None else said.note
        action = IncidentAction(version + 1, said.status or old.status, findings, note, *who, AT)
        rows[place] = replace(rows[place], action=action)
        self.actors.append(actor)
        self.feed.add(tenant_id, LiveKind.ACKNOWLEDGED, incident=incident_id)


@dataclass
class FakeWaitlist:
    emails: list[str] = field(default_factory=list)

    async def add(self, email: str) -> None:
        if email not in self.emails:
            self.emails.append(email)


def make_views(house: FakeHouse, limits: LiveLimits | None = None) -> ViewDeps:
    feed = FakeFeed()
    return ViewDeps(
        live=LiveHub(feed, asyncio.Event(), limits),
        scores=FakeScores(house),
        incident_actions=FakeIncidentActions(house, feed),
        waitlist=FakeWaitlist(),
        waitlist_limiter=RateLimiter(calls_per_minute=5, global_calls_per_minute=50, networks_max=10),
        monotonic_ns=lambda: 0,
    )
