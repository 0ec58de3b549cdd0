"""The live feed: events once and in order over any reconnect, what was missed is said, and connections end when they must."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.live import LiveHub, LiveLimits
from api.live_models import LiveReady
from api.live_session import LiveFilter, LiveSession, comment, event
from driftlock.engine.event import Signal, StreamKey
from driftlock.errors import RateLimited, Unauthenticated, Unavailable
from driftlock.storage.live import LiveKind
from tests.api.conftest import Service
from tests.api.fakes import (
    OTHER_TENANT,
    TENANT,
    FakeAnomalies,
    FakeHouse,
    FakeIncidents,
    key,
    make_finding,
    make_incident,
    make_stream,
    stream_id_of,
)
from tests.api.view_fakes import FakeFeed

FAST = LiveLimits(heartbeat_ms=40, poll_ms=10, check_ms=10, age_ms_max=2_000)
KEY = StreamKey(Signal.LOGS, "shop")


@dataclass
class Sent:
    """A server-sent event, or a comment (`name` None)."""

    name: str | None
    id: int | None
    data: Any


def parse(raw: bytes) -> list[Sent]:
    """What a client makes of it (HTML Standard, section 9.2.6), comments included."""
    found = []
    for block in raw.decode().split("\n\n"):
        fields = [line.partition(": ") for line in block.split("\n") if line]
        named = {name: value for name, _, value in fields if name}
        for name, _, value in fields:
            if not name:
                found.append(Sent(None, None, value))
        if named and "retry" not in named:
            data = json.loads(named["data"]) if "data" in named else None
            found.append(Sent(named.get("event", ""), int(named["id"]), data))
    return found


class Rooms:
    """A session's rooms, with one stream."""

    def __init__(self, limits: LiveLimits = FAST) -> None:
        self.house, self.feed = FakeHouse(), FakeFeed()
        self.hub = LiveHub(self.feed, asyncio.Event(), limits)
        self.stream = make_stream(stream_id_of(TENANT, KEY), "shop", KEY)
        self.allowed = True

    def found(self, window: int, **changes: object) -> int:
        row = self.house.add_anomaly(TENANT, self.stream, make_finding(window=window, **changes))
        number = self.feed.add(TENANT, LiveKind.ANOMALY, anomaly=row.anomaly_id)
        self.hub.wake([TENANT])
        return number

    def session(self, after: int | None = None, wanted: LiveFilter | None = None) -> LiveSession:
        async def still_allowed() -> None:
            if not self.allowed:
                raise Unauthenticated("no valid API key")

        anomalies, incidents = FakeAnomalies(self.house), FakeIncidents(self.house)
        return LiveSession(self.hub, anomalies, incidents, TENANT, wanted or LiveFilter(), after, still_allowed)

    async def take(self, session: LiveSession, until: Callable[[list[Sent]], bool]) -> list[Sent]:
        """What a client gets until it leaves, which is when `until` says so."""
        got: list[Sent] = []
        pieces = session.pieces()
        try:
            async with asyncio.timeout(5):
                async for piece in pieces:
                    got += parse(piece)
                    if until(got):
                        break
        finally:
            await pieces.aclose()
        return got


def events(got: list[Sent]) -> list[int | None]:
    return [it.id for it in got if it.name not in (None, "", "ready", "reset")]


async def test_events_come_from_now_on_and_a_reconnect_goes_on_after_the_last_one() -> None:
    rooms = Rooms()
    rooms.found(1)
    client = asyncio.create_task(rooms.take(rooms.session(), lambda got: len(events(got)) == 2))
    await asyncio.sleep(0.02)
    rooms.found(2)
    await asyncio.sleep(0.02)
    rooms.found(3)
    got = await client
    assert (got[0].name, got[0].data) == ("ready", {"id": 1})
    assert events(got) == [2, 3]
    assert got[-1].data["anomaly"]["window"] == 3
    rooms.found(4)
    rooms.found(5)
    again = await rooms.take(rooms.session(after=3), lambda got: len(events(got)) == 2)
    assert events(again) == [4, 5]
    assert len(rooms.hub) == 0


async def test_many_reconnects_under_load_lose_nothing_and_double_nothing() -> None:
    rooms = Rooms(replace(FAST, events_at_once_max=3))

    async def load() -> None:
        for window in range(200):
            rooms.found(window)
            if window % 7 == 0:
                await asyncio.sleep(0.001)

    loading = asyncio.create_task(load())
    seen: list[int | None] = []
    while len(seen) < 200:
        last = seen[-1] if seen else 0
        want = 1 + len(seen) % 11
        seen += events(await rooms.take(rooms.session(after=last), lambda got, want=want: len(events(got)) >= want))  # type: ignore[misc]
    await loading
    assert seen == list(range(1, 201))


async def test_what_has_left_the_feed_is_said() -> None:
    rooms = Rooms()
    for window in range(5):
        rooms.found(window)
    rooms.feed.gone[TENANT] = 3
    got = await rooms.take(rooms.session(after=1), lambda got: len(events(got)) == 2)
    assert (got[0].name, got[0].data) == ("reset", {"id": 3, "missed_from": 2})
    assert events(got) == [4, 5]
    assert (await rooms.take(rooms.session(after=3), bool))[0].name == "ready"
    beyond = await rooms.take(rooms.session(after=99), bool)
    assert (beyond[0].name, beyond[0].data["id"]) == ("reset", 5)


async def test_filters_pass_what_is_wanted_and_move_the_client_on_all_the_same() -> None:
    rooms = Rooms()
    other = make_stream(UUID(int=8), "other", KEY)
    rooms.found(1, surprise=3.0)
    row = make_incident(1, rooms.stream, surprise_max=20.0)
    rooms.house.incident_rows[TENANT].append(row)
    rooms.feed.add(TENANT, LiveKind.OPENED, incident=row.incident.incident_id)
    rooms.found(2, surprise=30.0)
    strong = await rooms.take(rooms.session(0, LiveFilter(surprise_min=10)), lambda got: len(events(got)) == 2)
    assert [(it.name, it.id) for it in strong[1:]] == [("incident.opened", 2), ("anomaly", 3)]
    assert strong[1].data["incident"]["status"] == "open"
    none = await rooms.take(rooms.session(0, LiveFilter(stream_id=other.stream_id)), lambda got: bool(got) and got[-1].id == 3)
    assert [(it.name, it.id) for it in none] == [("ready", 0), ("", 3)]
    mine = await rooms.take(rooms.session(0, LiveFilter(stream_id=rooms.stream.stream_id)), lambda got: len(events(got)) == 3)
    assert events(mine) == [1, 2, 3]


async def test_another_process_is_noticed_by_the_poll() -> None:
    rooms = Rooms()
    client = asyncio.create_task(rooms.take(rooms.session(), lambda got: bool(events(got))))
    await asyncio.sleep(0.02)
    row = rooms.house.add_anomaly(TENANT, rooms.stream, make_finding(window=1))
    rooms.feed.add(TENANT, LiveKind.ANOMALY, anomaly=row.anomaly_id)  # nobody wakes the listener
    assert events(await client) == [1]


async def test_heartbeats_come_while_nothing_happens_and_while_the_database_is_away() -> None:
    rooms = Rooms()
    got = await rooms.take(rooms.session(), lambda got: sum(it.data == "heartbeat" for it in got) == 2)
    assert [it.name for it in got] == ["ready", None, None]
    rooms.feed.failure = Unavailable("the database is away")
    client = asyncio.create_task(rooms.take(rooms.session(after=0), lambda got: bool(events(got))))
    await asyncio.sleep(0.1)
    rooms.feed.failure = None
    rooms.found(1)
    got = await client
    assert any(it.data == "heartbeat" for it in got)
    assert events(got) == [1]


@pytest.mark.parametrize("why", ["key", "stop", "age"])
async def test_connections_end_with_a_reason_and_can_be_resumed(why: str) -> None:
    rooms = Rooms(replace(FAST, age_ms_max=50) if why == "age" else FAST)
    client = asyncio.create_task(rooms.take(rooms.session(), lambda _: False))
    await asyncio.sleep(0.02)
    if why == "key":
        rooms.allowed = False
    elif why == "stop":
        rooms.hub.stopping.set()
        rooms.hub.wake_all()
    last = (await client)[-1]
    assert last.name is None
    assert {"key": "no valid API key", "stop": "is stopping", "age": "after a while"}[why] in last.data
    assert "Last-Event-ID" in last.data
    assert len(rooms.hub) == 0


async def test_listeners_are_bounded() -> None:
    hub = LiveHub(FakeFeed(), asyncio.Event(), LiveLimits(tenant_listeners_max=2, listeners_max=3))
    async with hub.listening(TENANT), hub.listening(TENANT):
        with pytest.raises(RateLimited, match="tenant_listeners_max"):
            hub.check_room(TENANT)
        async with hub.listening(OTHER_TENANT):
            with pytest.raises(Unavailable, match="listeners_max"):
                hub.check_room(OTHER_TENANT)
    hub.check_room(TENANT)
    hub.stopping.set()
    with pytest.raises(Unavailable, match="stopping"):
        hub.check_room(TENANT)


@pytest.mark.parametrize("name", ["listeners_max", "tenant_listeners_max", "heartbeat_ms", "age_ms_max", "events_at_once_max"])
def test_limits_limit_something(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        LiveLimits(**{name: 0})


def test_data_is_one_line_and_comments_can_not_break_out() -> None:
    sent = event("ready", 3, LiveReady(id=3))
    assert sent == b'id: 3\nevent: ready\ndata: {"id": 3}\n\n'
    assert comment("a\nb\r\ndata: x") == b": a b data: x\n\n"


async def pieces_of(response: httpx.Response) -> AsyncIterator[Sent]:
    async for piece in response.aiter_bytes():
        for sent in parse(piece):
            yield sent


async def test_over_http(service: Service) -> None:
    """The transport of tests gathers an answer, so the server stops for it to end."""
    service.deps.views.live.stopping.clear()
    asyncio.get_running_loop().call_later(0.05, service.deps.views.live.stopping.set)
    asyncio.get_running_loop().call_later(0.06, service.deps.views.live.wake_all)
    response = await service.client.get("/v1/events/live", headers={"Last-Event-ID": "0"})
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.text.startswith("retry: 2000\n\n")
    assert parse(response.content)[0].name == "ready"


@pytest.mark.parametrize("value", ["x", "-1", "1.5", str(2**63), "٣"])
async def test_a_wrong_last_event_id_is_refused(service: Service, value: str) -> None:
    response = await service.client.get("/v1/events/live", headers={"Last-Event-ID": value.encode()})
    assert response.status_code == 400
    assert response.json()["errors"][0]["parameter"] == "Last-Event-ID"


async def test_a_key_in_the_address_is_no_key_and_foreign_streams_are_not_found(service: Service) -> None:
    response = await service.client.get(f"/v1/events/live?api_key={key('good')}")
    assert response.status_code == 400
    assert (await service.client.get("/v1/events/live?stream=nobody")).status_code == 404
    assert (await service.client.get("/v1/events/live", headers={"X-Api-Key": key("writer")})).status_code == 403
