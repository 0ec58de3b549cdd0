"""OTLP/HTTP: POST /v1/logs, /v1/metrics and /v1/traces with protobuf bodies, as an ASGI application.

Errors are `google.rpc.Status` in the encoding of the request, as the protocol wants them, not problem+json.
"""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from google.rpc.status_pb2 import Status
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from collector.admission import Slot
from collector.auth import Credentials, presented_keys
from collector.otlp.compression import unpacker
from collector.otlp.export import Exporter
from collector.otlp.status import ANSWERS, retry_after_ms, rpc_status
from driftlock.engine.event import Signal
from driftlock.errors import DriftlockError, InvalidArgument, NotFound, PayloadTooLarge, Unavailable, UnsupportedEncoding

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
_UNIMPLEMENTED = 12  # google.rpc.Code
_Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """`body_timeout_ms`: how long a body may take to arrive."""

    body_timeout_ms: int = 30_000

    def __post_init__(self) -> None:
        """Refuse a limit that limits nothing."""
        if self.body_timeout_ms < 1:
            raise ValueError("body_timeout_ms must be at least 1")


def create_app(exporter: Exporter, limits: HttpLimits) -> Starlette:
    """The application. Draining is the exporter's admission: a draining process answers 503 with Retry-After."""
    routes = [Route(f"/v1/{signal}", _endpoint(exporter, limits, signal), methods=["POST"]) for signal in Signal]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _unrouted})
    app.router.redirect_slashes = False  # a redirect would lead to whatever Host the sender named
    return app


def _endpoint(exporter: Exporter, limits: HttpLimits, signal: Signal) -> _Endpoint:
    async def export(request: Request) -> Response:
        try:
            tenant_id = await exporter.authenticate(signal, _credentials(request))
        except DriftlockError as error:
            return _failure(request, error)
        try:
            _check_type(request)
            unpack = unpacker(request.headers.getlist("content-encoding"), exporter.limits.request_bytes_max)
            declared = _declared_bytes(request, exporter.limits.request_bytes_max)
        except DriftlockError as error:
            return _failure(request, exporter.refusal(signal, error))
        try:
            slot = exporter.admit(signal, declared)
        except DriftlockError as error:
            return _failure(request, error)
        try:
            body = await _body(request, slot, declared, exporter.limits.request_bytes_max, limits.body_timeout_ms)
        except Exception as error:
            slot.close()
            return _failure(request, exporter.refusal(signal, error))
        except asyncio.CancelledError:
            slot.close()
            raise
        try:
            return Response(await exporter.export(signal, tenant_id, body, slot, unpack), media_type=PROTOBUF)
        except DriftlockError as error:
            return _failure(request, error)

    return export


def _credentials(request: Request) -> Credentials:
    return Credentials(
        presented=presented_keys(request.headers.items()),
        peer=request.client.host if request.client else "",
        host=request.headers.get("host", ""),
        origin=request.headers.get("origin", ""),
    )


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _check_type(request: Request) -> None:
    if _media_type(request) != PROTOBUF:
        raise UnsupportedEncoding(f"send Content-Type {PROTOBUF}; other encodings of OTLP are not read here")


def _declared_bytes(request: Request, bytes_max: int) -> int:
    """The Content-Length, 0 without one; raises `PayloadTooLarge` before a byte of the body is read."""
    text = request.headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise InvalidArgument("Content-Length is not a number")
    if len(text) > 18 or int(text) > bytes_max:
        raise PayloadTooLarge(f"the body is larger than {bytes_max} bytes; send smaller batches")
    return int(text)


async def _body(request: Request, slot: Slot, reserved: int, bytes_max: int, timeout_ms: int) -> bytes:
    """The body as sent; what goes beyond the bytes already reserved is reserved as it comes."""
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            async for chunk in request.stream():
                body += chunk
                if len(body) > bytes_max:
                    raise PayloadTooLarge(f"the body is larger than {bytes_max} bytes; send smaller batches")
                if len(body) > reserved:
                    slot.grow(len(body) - reserved)
                    reserved = len(body)
    except TimeoutError:
        raise Unavailable(f"the body did not arrive within {timeout_ms} ms; send again") from None
    except ClientDisconnect:
        raise InvalidArgument("the connection ended before the body") from None
    return bytes(body)


def _failure(request: Request, error: DriftlockError) -> Response:
    headers = {}
    wait_ms = retry_after_ms(error)
    if wait_ms is not None:
        headers["retry-after"] = str(math.ceil(wait_ms / 1000))
    answer = ANSWERS[error.code]
    if answer.http is HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return _status_response(request, answer.http, rpc_status(error), headers)


def _status_response(request: Request, http: int, status: Status, headers: dict[str, str]) -> Response:
    if _media_type(request) == JSON:
        text = json.dumps({"code": status.code, "message": status.message})
        return Response(text, http, headers, media_type=JSON)
    return Response(status.SerializeToString(), http, headers, media_type=PROTOBUF)


async def _unrouted(request: Request, error: Exception) -> Response:
    """Paths and methods that are not there."""
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        status = Status(code=_UNIMPLEMENTED, message="send POST")
        return _status_response(request, error.status_code, status, dict(error.headers or {}))
    return _failure(request, NotFound("there are /v1/logs, /v1/metrics and /v1/traces here"))
