"""The live feed: reading server-sent events, and going on after connections that break."""

import itertools
import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock_client import AsyncClient, ConnectionFailed, Forbidden, Retry, UnexpectedAnswer
from driftlock_client.live import EVENT_BYTES_MAX, Feed, Lines
from tests.client.conftest import URL, Waits, client_of, world


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes in pieces, and may break off."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self.pieces, self.error = pieces, error

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        if self.error is not None:
            raise self.error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


def told(number: int, kind: str = "incident.closed", text: str = "") -> bytes:
    data = {"id": number, "kind": text or kind, "at": "2026-01-31T09:30:00.120Z", "anomaly": None, "incident": None}
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def ready(number: int) -> bytes:
    return f'id: {number}\nevent: ready\ndata: {{"id": {number}}}\n\n'.encode()


class Feeds:
    """A server whose connections are these, one after the other."""

    def __init__(self, *connections: Pieces | httpx.Response | Exception) -> None:
        self.connections, self.seen = list(connections), list[httpx.Request]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        connection = self.connections.pop(0)
        if isinstance(connection, Exception):
            raise connection
        return connection if isinstance(connection, httpx.Response) else httpx.Response(200, stream=connection)

    @property
    def after(self) -> list[str | None]:
        return [request.headers.get("Last-Event-ID") for request in self.seen]


def broken_connections() -> Feeds:
    return Feeds(
        httpx.Response(503, json={"code": "unavailable"}, headers={"Retry-After": "3"}),
        Pieces(b"retry: 4000\n\n", ready(41), told(42)[:-9], error=httpx.ReadError("reset")),
        Pieces(ready(41), told(42), b": heartbeat\n\n", b"id: 50\n\n"),
        httpx.ConnectError("refused"),
        Pieces(b'id: 60\nevent: reset\ndata: {"id": 60, "missed_from": 51}\n\n', told(61)),
    )


BROKEN = [(42, "incident.closed"), (60, "reset"), (61, "incident.closed")]


def test_a_reader_goes_on_where_it_was() -> None:
    feeds, waits = broken_connections(), Waits()
    events = client_of(httpx.MockTransport(feeds), waits).events_live(stream="checkout", min_surprise=1.5)
    assert [(event.id, event.kind) for event in itertools.islice(events, 3)] == BROKEN
    assert feeds.after == [None, None, "41", "50", "50"]
    assert feeds.seen[0].url.params == httpx.QueryParams({"stream": "checkout", "min_surprise": "1.5"})
    assert waits.seconds == [pytest.approx(wait_s) for wait_s in (1.5 + 3, 3.0, 3.0, 6.0)]


async def test_a_reader_in_a_loop_goes_on_where_it_was() -> None:
    feeds, waits = broken_connections(), Waits()
    async with AsyncClient(URL, transport=httpx.MockTransport(feeds), surroundings=world(), sleep=waits.later) as client:
        events = client.events_live(after=7)
        seen = []
        async for event in events:
            seen.append((event.id, event.kind))
            if len(seen) == 3:
                break
        await events.aclose()
    assert seen == BROKEN
    assert feeds.after == ["7", "7", "41", "50", "50"]
    assert len(waits.seconds) == 4


def test_who_may_not_is_told_so_at_once() -> None:
    feeds = Feeds(httpx.Response(403, json={"code": "forbidden", "detail": "no"}))
    with pytest.raises(Forbidden):
        next(client_of(httpx.MockTransport(feeds), Waits()).events_live())
    feeds = Feeds(Pieces(ready(1), told(2)), httpx.Response(403, json={"code": "forbidden"}))
    events = client_of(httpx.MockTransport(feeds), Waits()).events_live()
    assert next(events).id == 2
    with pytest.raises(Forbidden):  # the key was revoked meanwhile
        next(events)


def test_a_feed_that_was_never_there_is_given_up_and_one_that_was_is_not() -> None:
    feeds = Feeds(*[httpx.ConnectError("refused")] * 3)
    with pytest.raises(ConnectionFailed, match="after 3 attempts"):
        next(client_of(httpx.MockTransport(feeds), Waits(), Retry(attempts_max=3)).events_live())
    waits = Waits()
    feeds = Feeds(Pieces(ready(1)), *[httpx.ConnectError("refused")] * 50, Pieces(told(2)))
    assert next(client_of(httpx.MockTransport(feeds), waits, Retry(attempts_max=3)).events_live()).id == 2
    assert max(waits.seconds) <= 30


def test_another_server_is_noticed() -> None:
    with pytest.raises(UnexpectedAnswer, match="302"):
        next(client_of(httpx.MockTransport(Feeds(httpx.Response(302))), Waits()).events_live())
    for body in (b"data: x\n\n", b"data: []\n\n", b"event: anomaly\ndata: {}\n\n"):
        with pytest.raises(UnexpectedAnswer):
            next(client_of(httpx.MockTransport(Feeds(Pieces(body))), Waits()).events_live())
    with pytest.raises(UnexpectedAnswer, match="a line of more than"):
        list(Lines().feed(b"x" * (EVENT_BYTES_MAX + 1)))
    feed = Feed(None, None, None)
    half = b"data: " + b"x" * (EVENT_BYTES_MAX // 2) + b"\n"
    with pytest.raises(UnexpectedAnswer, match="an event of more than"):
        [list(feed.read(half)) for _ in range(3)]


@given(
    text=st.text(st.characters(codec="utf-8") | st.sampled_from("\u2028\u2029\x85\x0b\x0c\x1c\r\n")),
    cuts=st.lists(st.integers(0, 400)),
)
def test_events_are_the_same_however_they_are_cut(text: str, cuts: list[int]) -> None:
    body = ready(1) + told(2, text=text) + told(3)
    places = sorted({0, len(body), *(cut % len(body) for cut in cuts)})
    feed = Feed(None, None, None)
    events = [event for start, end in itertools.pairwise(places) for event in feed.read(body[start:end])]
    assert [(event.id, event.kind) for event in events] == [(2, text or "incident.closed"), (3, "incident.closed")]
    assert feed.after == 3
