"""What a handler may answer: what its endpoint declares, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from api import replies
from api.endpoint import Endpoint, Reply
from api.headers import RATES
from api.models import Liveness
from api.openapi import document
from api.replies import Declared, Streamed, response_of
from driftlock.errors import Internal
from tests.api.conftest import Service
from tests.api.serving import answering, client_of

ALIVE = Liveness(status="ok")
CSV, LINES = "text/csv; charset=utf-8", "application/x-ndjson"


async def pieces(*texts: bytes) -> AsyncIterator[bytes]:
    for text in texts:
        yield text


@pytest.mark.parametrize(
    ("responses", "reply"),
    [
        ({201: Liveness}, Reply(ALIVE, 201)),
        ({204: None}, Reply(ALIVE, 204)),
        ({204: None}, Reply(b"", 204)),
        ({200: Liveness}, Reply(None)),
        ({200: CSV}, Reply(None)),
        ({200: CSV}, Reply(b"", media_type=LINES)),
        ({200: (CSV, LINES)}, Reply(b"")),
        ({200: (CSV, LINES)}, Reply(b"", media_type="text/html")),
        ({200: Liveness}, Reply(ALIVE, 202)),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_not_declared_is_our_error(responses: Mapping[int, Declared], reply: Reply) -> None:
    with pytest.raises(Internal, match="x answered"):
        response_of("x", responses, reply)


def test_what_is_declared_is_sent() -> None:
    made = response_of("x", {201: Liveness}, Reply(ALIVE, 201, {"Location": "/v1/x/1"}))
    assert (made.status_code, made.body, made.headers["location"]) == (201, b'{"status":"ok"}', "/v1/x/1")
    gone = response_of("x", {204: None}, Reply(None, 204))
    assert (gone.status_code, gone.body, gone.headers.get("content-type")) == (204, b"", None)
    chosen = response_of("x", {200: (CSV, LINES)}, Reply(b"{}\n", media_type=LINES))
    assert chosen.headers["content-type"] == LINES


def test_an_entity_tag_that_is_declared_is_sent() -> None:
    with pytest.raises(Internal, match="ETag"):
        response_of("x", {200: Liveness}, Reply(ALIVE), etag=True)
    assert response_of("x", {200: Liveness}, Reply(ALIVE, headers={"ETag": '"1"'}), etag=True).headers["etag"] == '"1"'


async def test_a_stream_is_sent_piece_by_piece_and_head_gets_its_headers(service: Service) -> None:
    endpoint = Endpoint("GET", "/x", "x", "x", "x", answering(lambda _: Reply(pieces(b"a,b\n", b"1,2\n"))), {200: CSV})
    async with client_of(service.deps, endpoint) as client:
        assert (await client.get("/x")).text == "a,b\n1,2\n"
        head = await client.head("/x")
        assert (head.status_code, head.content, head.headers["content-type"]) == (200, b"", CSV)


async def run(stream: Streamed, receive: Any, send: Any, method: str = "GET") -> None:
    async with asyncio.timeout(5):
        await stream({"type": "http", "method": method}, receive, send)


class Pieces:
    """A stream that never ends by itself, and notes that it was closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def __call__(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0)
        finally:
            self.closed.set()


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_stream_ends_when_its_reader_leaves() -> None:
    source, sent, left = Pieces(), [], asyncio.Event()

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if len(sent) == 5:
            left.set()

    await run(Streamed(source(), 200, {}, CSV), receive, send)
    assert source.closed.is_set()
    assert sent[0]["type"] == "http.response.start"
    assert all(message["more_body"] for message in sent[1:])


@pytest.mark.parametrize("error", [ValueError("no"), OSError("gone")])
async def test_a_stream_that_fails_is_closed_and_its_error_known(error: Exception) -> None:
    source = Pieces()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise error

    with pytest.raises(type(error)):
        await run(Streamed(source(), 200, {}, CSV), never, send)
    assert source.closed.is_set()


async def test_a_reader_who_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "STREAM_STALL_S_MAX", 0.01)
    source = Pieces()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    with pytest.raises(ClientDisconnect):
        await run(Streamed(source(), 200, {}, CSV), never, send)
    assert source.closed.is_set()


def test_the_document_says_what_is_answered() -> None:
    handler = answering(lambda _: Reply(None, 204))
    responses: dict[int, Declared] = {200: (CSV, LINES), 201: Liveness, 204: None}
    table = document([Endpoint("POST", "/x", "x", "x", "x", handler, responses, etag=True)], "1")
    found = table["paths"]["/x"]["post"]
    assert set(found["responses"]["200"]["content"]) == {"text/csv", LINES}
    everywhere = {"X-Request-ID", *(it.name for it in RATES)}
    assert set(found["responses"]["200"]["headers"]) == {"ETag", *everywhere}
    assert set(found["responses"]["201"]["headers"]) == {"Location", *everywhere}
    assert "content" not in found["responses"]["204"]
    assert "412" in found["responses"]
    assert found["parameters"] == [{"$ref": "#/components/parameters/If-Match"}]
