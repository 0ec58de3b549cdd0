"""One connection to the live feed, as server-sent events (HTML Standard, section 9.2)."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic import BaseModel

from api import incident_views, live_models, views
from api.live import Listener, LiveEvent, LiveHub
from api.ports import AnomalyRepository, AnomalyRow, IncidentRepository, IncidentRow
from api.rfc3339 import ns_of_datetime, rfc3339
from driftlock.errors import DriftlockError, PermissionDenied, Unauthenticated, Unavailable


@dataclass(frozen=True, slots=True)
class LiveFilter:
    """Which events a client wants: those of a stream, those that surprise by so many bits at least. None = all."""

    stream_id: UUID | None = None
    surprise_min: float | None = None

    def wants_anomaly(self, row: AnomalyRow) -> bool:
        """Whether a finding passes."""
        return (self.stream_id is None or row.stream_id == self.stream_id) and self._strong(row.finding.surprise)

    def wants_incident(self, row: IncidentRow) -> bool:
        """Whether an incident passes, with what it is by now."""
        mine = self.stream_id is None or self.stream_id in row.incident.stream_ids
        return mine and self._strong(row.incident.surprise_max)

    def _strong(self, surprise: float) -> bool:
        return self.surprise_min is None or surprise >= self.surprise_min


@dataclass(frozen=True, slots=True)
class LiveSession:
    """Events of `tenant_id` after `after` (None = the newest there is), until the client leaves or has to come again.

    `still_allowed` raises `Unauthenticated` or `PermissionDenied` when what opened the connection opens none any more.
    """

    hub: LiveHub
    anomalies: AnomalyRepository
    incidents: IncidentRepository
    tenant_id: UUID
    wanted: LiveFilter
    after: int | None
    still_allowed: Callable[[], Awaitable[None]]

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """What is sent, a few events or a comment at a time."""
        limits, clock = self.hub.limits, asyncio.get_running_loop().time
        yield f"retry: {limits.retry_ms}\n\n".encode()
        end_s = clock() + limits.age_ms_max / 1000
        try:
            async with self.hub.listening(self.tenant_id) as listener:
                async for piece in self._events(listener, end_s):
                    yield piece
                reason = "the server is stopping" if self.hub.stopping.is_set() else "connections end after a while"
        except DriftlockError as error:
            reason = error.message
        yield comment(f"{reason}; connect again with Last-Event-ID")

    async def _events(self, listener: Listener, end_s: float) -> AsyncGenerator[bytes, None]:
        limits, clock = self.hub.limits, asyncio.get_running_loop().time
        at: int | None = None
        heartbeat_s = checked_s = clock()
        while not self.hub.stopping.is_set() and clock() < end_s:
            if clock() - checked_s >= limits.check_ms / 1000:
                await self._check()
                checked_s = clock()
            listener.caught_up()
            try:
                if at is None:
                    at, first = await self._begin()
                    yield first
                at, sent = await self._next(at)
            except Unavailable:  # it is tried again; the client hears that the connection lives
                sent = None
            if sent:
                yield sent
                heartbeat_s = clock()
                continue
            if clock() - heartbeat_s >= limits.heartbeat_ms / 1000:
                yield comment("heartbeat")
                heartbeat_s = clock()
            due_s = min(end_s, heartbeat_s + limits.heartbeat_ms / 1000, checked_s + limits.check_ms / 1000)
            await listener.wait(limits.poll_ms / 1000 if sent is None else due_s - clock())

    async def _check(self) -> None:
        """Raise when the credential is no good any more. While nobody can tell, it is as good as it was."""
        try:
            await self.still_allowed()
        except (Unauthenticated, PermissionDenied):
            raise
        except DriftlockError:
            return

    async def _begin(self) -> tuple[int, bytes]:
        """Where to go on, and what the client is told of that."""
        known = await self.hub.feed.range(self.tenant_id)
        if self.after is None:
            return known.head, event("ready", known.head, live_models.LiveReady(id=known.head))
        if self.after > known.head:  # of a database in whose place an older one was put
            return known.head, event("reset", known.head, live_models.LiveReset(id=known.head, missed_from=known.head + 1))
        if self.after + 1 < known.oldest:
            at = known.oldest - 1
            return at, event("reset", at, live_models.LiveReset(id=at, missed_from=self.after + 1))
        return self.after, event("ready", self.after, live_models.LiveReady(id=self.after))

    async def _next(self, at: int) -> tuple[int, bytes]:
        """The next events as they are sent, and where that ends; b"" when there is none."""
        rows = await self.hub.feed.after(self.tenant_id, at, limit=self.hub.limits.events_at_once_max)
        if not rows:
            return at, b""
        anomalies = await self._anomalies([row.anomaly_id for row in rows if row.anomaly_id is not None])
        incidents = await self._incidents(list({row.incident_id for row in rows if row.incident_id is not None}))
        sent = b"".join(self._told(row, anomalies, incidents) for row in rows)
        # A client that wants none of them is told how far it is all the same.
        return rows[-1].seq, sent or f"id: {rows[-1].seq}\n\n".encode()

    async def _anomalies(self, ids: Sequence[UUID]) -> Mapping[UUID, AnomalyRow]:
        return {row.anomaly_id: row for row in await self.anomalies.by_ids(self.tenant_id, ids)} if ids else {}

    async def _incidents(self, ids: Sequence[UUID]) -> Mapping[UUID, IncidentRow]:
        return {row.incident.incident_id: row for row in await self.incidents.by_ids(self.tenant_id, ids)} if ids else {}

    def _told(self, row: LiveEvent, anomalies: Mapping[UUID, AnomalyRow], incidents: Mapping[UUID, IncidentRow]) -> bytes:
        anomaly = None if row.anomaly_id is None else anomalies.get(row.anomaly_id)
        incident = None if row.incident_id is None else incidents.get(row.incident_id)
        if anomaly is not None and not self.wanted.wants_anomaly(anomaly):
            anomaly = None
        if incident is not None and not self.wanted.wants_incident(incident):
            incident = None
        if anomaly is None and incident is None:  # not wanted, or deleted meanwhile
            return b""
        body = live_models.LiveEvent(
            id=row.seq,
            kind=row.kind,
            at=rfc3339(ns_of_datetime(row.at)),
            anomaly=None if anomaly is None else views.anomaly_summary(anomaly),
            incident=None if incident is None else incident_views.incident(incident),
        )
        return event(row.kind.value, row.seq, body)


def event(name: str, number: int, body: BaseModel) -> bytes:
    """A server-sent event: JSON has no newline but in escapes, so the data is one line."""
    return f"id: {number}\nevent: {name}\ndata: {json.dumps(body.model_dump(mode='json'), ensure_ascii=False)}\n\n".encode()


def comment(text: str) -> bytes:
    """A line that clients ignore; it keeps the connection from idling, and says why it ends to whoever looks."""
    return f": {' '.join(text.split())}\n\n".encode()
