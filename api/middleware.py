"""ASGI middleware: request ids, security headers, errors as problems, and the limits of a request's body.

Plain ASGI callables, outermost first: `RequestId`, `SecurityHeaders`, `Problems`, `UrlLimit`, `BodyLimit`. What is not HTTP
passes through.
"""

import asyncio
import re
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars
from structlog.typing import FilteringBoundLogger

from api import headers
from api.problems import problem_response
from api.trace_context import TRACEPARENT_HEADER, trace_id_of
from driftlock.errors import Code, DriftlockError, InvalidArgument, PayloadTooLarge

REQUEST_ID_HEADER = headers.REQUEST_ID.name
_REQUEST_ID_KEY = "driftlock.request_id"
_REQUEST_ID_BYTES = 16
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)

SECURITY_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


def request_id_of(scope: Scope) -> str:
    """The id that `RequestId` gave to this request."""
    request_id: str = scope[_REQUEST_ID_KEY]
    return request_id


class RequestId:
    """Echoes a well-formed X-Request-ID, else makes one: 128 random bits in hexadecimal.

    Log lines that are written meanwhile carry it, and the id of the trace that the request belongs to (`traceparent`).
    """

    def __init__(self, app: ASGIApp, randomness: Callable[[int], bytes]) -> None:
        """`randomness(n)` returns n unpredictable bytes."""
        self._app = app
        self._randomness = randomness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        came = Headers(scope=scope)
        sent = came.get(REQUEST_ID_HEADER, "")
        request_id = sent if _REQUEST_ID.fullmatch(sent) else self._randomness(_REQUEST_ID_BYTES).hex()
        scope[_REQUEST_ID_KEY] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        trace_id = trace_id_of(came.getlist(TRACEPARENT_HEADER))
        told = {"request_id": request_id} | ({} if trace_id is None else {"trace_id": trace_id})
        with bound_contextvars(**told):
            await self._app(scope, receive, send_with_id)


class SecurityHeaders:
    """Adds to every response what keeps a browser from treating data as a page, and caches from keeping it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS:
                    answered.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Problems:
    """Turns every exception into a problem; one that nobody foresaw is logged whole and sent without its text."""

    def __init__(self, app: ASGIApp, log: FilteringBoundLogger) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; an error after the response has begun can only break it off."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except ClientDisconnect:
            return
        except Exception as error:
            request_id = request_id_of(scope)
            if not isinstance(error, HTTPException | DriftlockError) or getattr(error, "code", None) is Code.INTERNAL:
                self._log.error(
                    "request failed", request_id=request_id, method=scope["method"], path=scope["path"], exc_info=error
                )
            if started:
                raise
            response = problem_response(error, instance=scope["path"], request_id=request_id)
            await response(scope, receive, send)


class UrlLimit:
    """Refuses a request whose path and query are longer than `bytes_max`, with HTTP 414."""

    def __init__(self, app: ASGIApp, bytes_max: int) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http":
            path = scope.get("raw_path") or scope["path"].encode()
            if len(path) + len(scope["query_string"]) > self._bytes_max:
                raise HTTPException(414, f"the path and the query are longer than {self._bytes_max} bytes (url_bytes_max)")
        await self._app(scope, receive, send)


class BodyLimit:
    """Refuses a body over `bytes_max` while it is read, or one that takes longer than `timeout_ms` from its first read."""

    def __init__(self, app: ASGIApp, bytes_max: int, timeout_ms: int, name: str = "request_bytes_max") -> None:
        """`name` is what `bytes_max` is called in the refusal."""
        self._app = app
        self._bytes_max = bytes_max
        self._timeout_ms = timeout_ms
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; raise `PayloadTooLarge`, or HTTP 408, out of the handler's own reading.

        So it is refused where it is known whose request it is, and a body that is declared to be too large before any of it.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("Content-Length")
        read_bytes = 0
        complete = False
        deadline: float | None = None

        async def receive_within_limits() -> Message:
            nonlocal read_bytes, complete, deadline
            if complete:  # what follows a body is the wait for a disconnect, which may take for ever
                return await receive()
            if deadline is None:
                self._check_declared(declared)
                deadline = asyncio.get_running_loop().time() + self._timeout_ms / 1000
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the body took longer than {self._timeout_ms} ms to arrive (body_ms_max)") from None
            if message["type"] == "http.request":
                read_bytes += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if read_bytes > self._bytes_max:
                    raise self._too_large()
            return message

        await self._app(scope, receive_within_limits, send)

    def _check_declared(self, content_length: str | None) -> None:
        if content_length is None:
            return
        if not (content_length.isascii() and content_length.isdigit()):
            raise InvalidArgument("Content-Length is not a number")
        if len(content_length) > 18 or int(content_length) > self._bytes_max:
            raise self._too_large()

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"the body is larger than {self._bytes_max} bytes ({self._name}); send it in parts")
