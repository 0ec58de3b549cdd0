import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import CapturingLogger

from api.middleware import SECURITY_HEADERS, BodyLimit, Problems, RequestId, SecurityHeaders, request_id_of
from driftlock.errors import Internal, NotFound
from tests.api.fakes import Randomness


def stack(app: ASGIApp, log: CapturingLogger, *, bytes_max: int = 100, timeout_ms: int = 1000) -> ASGIApp:
    return RequestId(SecurityHeaders(Problems(BodyLimit(app, bytes_max, timeout_ms), log)), Randomness())


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await Response(body)(scope, receive, send)


async def call(app: ASGIApp, **request: object) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        return await client.request("POST", "/x", **request)  # type: ignore[arg-type]


def failing(error: Exception) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    return app


@pytest.fixture
def log() -> CapturingLogger:
    return CapturingLogger()


async def test_a_request_id_is_echoed(log: CapturingLogger) -> None:
    response = await call(stack(echo, log), headers={"X-Request-ID": "req_1.a:b/c+d=-"})
    assert response.headers.get_list("X-Request-ID") == ["req_1.a:b/c+d=-"]


@pytest.mark.parametrize("sent", [None, "", "a b", "x" * 129, "é", "<script>", "a\tb"])
async def test_a_missing_or_odd_request_id_is_replaced(log: CapturingLogger, sent: str | None) -> None:
    app = stack(echo, log)
    headers = {} if sent is None else {"X-Request-ID": sent.encode()}
    first = (await call(app, headers=headers)).headers["X-Request-ID"]
    second = (await call(app, headers=headers)).headers["X-Request-ID"]
    assert len(first) == len(second) == 32
    assert int(first, 16) != int(second, 16)


@pytest.mark.parametrize("app", [echo, failing(NotFound("no")), failing(KeyError("bug"))])
async def test_every_response_has_the_security_headers(log: CapturingLogger, app: ASGIApp) -> None:
    response = await call(stack(app, log))
    for name, value in SECURITY_HEADERS:
        assert response.headers.get_list(name) == [value]


async def test_a_known_error_is_a_problem_and_no_log_line(log: CapturingLogger) -> None:
    response = await call(stack(failing(NotFound("no such thing")), log), headers={"X-Request-ID": "r-9"})
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert (body["detail"], body["request_id"], body["instance"], body["code"]) == ("no such thing", "r-9", "/x", "not_found")
    assert log.calls == []


@pytest.mark.parametrize("error", [KeyError("secret"), Internal("secret"), RecursionError("secret"), MemoryError("secret")])
async def test_a_bug_is_logged_and_kept_inside(log: CapturingLogger, error: Exception) -> None:
    response = await call(stack(failing(error), log), headers={"X-Request-ID": "r-9"})
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.json()["request_id"] == "r-9"
    (line,) = log.calls
    assert (line.method_name, line.kwargs["request_id"], line.kwargs["exc_info"]) == ("error", "r-9", error)


async def test_an_error_after_the_start_breaks_the_response_off(log: CapturingLogger) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await call(stack(app, log))
    assert len(log.calls) == 1


async def test_a_client_that_went_away_is_nobody_to_answer(log: CapturingLogger) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": "/x", "headers": [], "query_string": b""}
    await stack(echo, log)(scope, receive, send)
    assert sent == []
    assert log.calls == []


@pytest.mark.parametrize("size", [0, 99, 100])
async def test_a_body_within_the_limit_arrives_whole(log: CapturingLogger, size: int) -> None:
    assert (await call(stack(echo, log), content=b"x" * size)).content == b"x" * size


async def chunks(count: int, size: int, pause_s: float = 0) -> AsyncIterator[bytes]:
    for _ in range(count):
        await asyncio.sleep(pause_s)
        yield b"x" * size


@pytest.mark.parametrize("content", [b"x" * 101, chunks(101, 1), chunks(2, 100)])
async def test_a_body_over_the_limit_is_refused(log: CapturingLogger, content: object) -> None:
    response = await call(stack(echo, log), content=content)
    assert response.status_code == 413
    assert "request_bytes_max" in response.json()["detail"]


async def test_a_declared_size_over_the_limit_is_refused_unread(log: CapturingLogger) -> None:
    async def untouched() -> AsyncIterator[bytes]:
        raise AssertionError("the body was to be refused before")
        yield b""

    for declared in ("101", "9" * 30):
        assert (await call(stack(echo, log), headers={"Content-Length": declared}, content=untouched())).status_code == 413


@pytest.mark.parametrize("value", ["x", "-1", "", "1.5", "٣".encode().decode("latin-1")])
async def test_a_content_length_that_is_no_number_is_refused(log: CapturingLogger, value: str) -> None:
    headers = [("Content-Length", value.encode("latin-1"))]
    assert (await call(stack(echo, log), headers=headers, content=chunks(1, 1))).status_code == 400


async def test_a_body_that_trickles_is_refused(log: CapturingLogger) -> None:
    response = await call(stack(echo, log, timeout_ms=50), content=chunks(30, 1, 0.01))
    assert response.status_code == 408
    assert response.headers["Connection"] == "close"
    assert "body_ms_max" in response.json()["detail"]


async def test_waiting_for_a_disconnect_has_no_deadline(log: CapturingLogger) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        message = await receive()
        await PlainTextResponse(message["type"])(scope, receive, send)

    messages: Iterator[tuple[float, Message]] = iter(
        [(0.0, {"type": "http.request", "body": b"", "more_body": False}), (0.08, {"type": "http.disconnect"})]
    )
    sent: list[Message] = []

    async def receive() -> Message:
        pause, message = next(messages)
        await asyncio.sleep(pause)
        return message

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/x", "headers": [], "query_string": b""}
    await stack(app, log, timeout_ms=20)(scope, receive, send)
    assert sent[-1]["body"] == b"http.disconnect"


async def test_what_is_not_http_passes_through(log: CapturingLogger) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def nothing(*_: object) -> Message:
        return {}

    await stack(app, log)({"type": "lifespan"}, nothing, nothing)  # type: ignore[arg-type]
    assert seen == [{"type": "lifespan"}]


async def test_handlers_can_ask_for_the_request_id(log: CapturingLogger) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(request_id_of(scope))(scope, receive, send)

    assert (await call(stack(app, log), headers={"X-Request-ID": "r-7"})).text == "r-7"
