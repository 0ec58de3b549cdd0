"""OTLP/HTTP: POST /v1/logs, /v1/metrics and /v1/traces with bodies in protobuf or JSON, as an ASGI application.

Errors are `google.rpc.Status` in the encoding of the request, as the protocol wants them, not problem+json.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from google.rpc.status_pb2 import Status
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from collector.admission import Slot
from collector.auth import CLIENT_CERTIFICATE, Credentials, presented_keys
from collector.otlp.compression import ACCEPTED_CODINGS, unpacker
from collector.otlp.cors import cors
from collector.otlp.encodings import JSON, PROTOBUF, PROTOBUF_ENCODING, Encoding, encodings
from collector.otlp.export import Exporter
from collector.otlp.status import ANSWERS, retry_after_ms, rpc_status
from driftlock.accounts.metering import Refusal
from driftlock.engine.event import Signal
from driftlock.errors import DriftlockError, InvalidArgument, NotFound, PayloadTooLarge, Unavailable, UnsupportedEncoding

_UNIMPLEMENTED = 12  # google.rpc.Code
_Endpoint = Callable[[Request], Awaitable[Response]]
_Encodings = Mapping[str, Encoding]


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """How long bodies may take to arrive, and requests to be answered.

    After `body_grace_ms` a body must have come with `body_rate_min_bytes_per_s` on average, and after `body_timeout_ms` be
    whole. Else its sender is told to try again, on a new connection: it may be the network that is slow today. (408 would
    say the same to a browser, but makes OTLP exporters drop the data.) `request_timeout_ms`: how long a whole request may wait
    for its records to be journaled, as the deadline of a gRPC call.
    """

    body_timeout_ms: int = 30_000
    body_grace_ms: int = 10_000
    body_rate_min_bytes_per_s: int = 1024
    request_timeout_ms: int = 30_000

    def __post_init__(self) -> None:
        """Refuse a limit that limits nothing."""
        for name in self.__dataclass_fields__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")


def create_app(exporter: Exporter, limits: HttpLimits, cors_origins: Sequence[str] = ()) -> Starlette:
    """The application. Draining is the exporter's admission: a draining process answers 503 with Retry-After.

    `cors_origins`: of the web pages whose scripts may read the answers, as `parse_origins` gives them.
    """
    known = encodings(exporter.limits)
    routes = [Route(f"/v1/{signal}", _endpoint(exporter, limits, known, signal), methods=["POST"]) for signal in Signal]
    app = Starlette(
        routes=routes, middleware=cors(cors_origins), exception_handlers={HTTPException: _unrouted(exporter, known)}
    )
    app.router.redirect_slashes = False  # a redirect would lead to whatever Host the sender named
    return app


def _endpoint(exporter: Exporter, limits: HttpLimits, known: _Encodings, signal: Signal) -> _Endpoint:
    bytes_max = exporter.limits.request_bytes_max

    async def export(request: Request) -> Response:
        encoding = known.get(_media_type(request), PROTOBUF_ENCODING)
        try:
            sender = await exporter.authenticate(signal, _credentials(request))
        except DriftlockError as error:
            return _failure(encoding, error)
        try:
            _check_type(request, known)
            declared = _declared_bytes(request, bytes_max)
            unpack = unpacker(request.headers.getlist("content-encoding"), bytes_max)
        except DriftlockError as error:
            return _failure(encoding, exporter.refusal(signal, error, sender), **_codings(request, known, error))
        try:
            slot = exporter.admit(signal, declared, sender)
        except DriftlockError as error:
            return _failure(encoding, error, **({"connection": "close"} if exporter.admission.draining else {}))
        try:
            body = await _body(request, slot, declared, bytes_max, limits)
        except Exception as error:
            slot.close()
            return _failure(encoding, exporter.refusal(signal, error, sender), connection="close")
        except asyncio.CancelledError:
            slot.close()
            raise
        try:
            async with asyncio.timeout(limits.request_timeout_ms / 1000):
                answer = await exporter.export(signal, sender, body, slot, unpack, encoding.transcoders.get(signal))
        except DriftlockError as error:
            return _failure(encoding, error)
        except TimeoutError:  # the request goes on, and is counted by what becomes of it
            text = f"the records were not journaled within {limits.request_timeout_ms} ms; send the same bytes again"
            return _failure(encoding, Unavailable(text, retry_after_ms=exporter.admission.retry_hint_ms()))
        return Response(encoding.response(signal, answer), media_type=encoding.media_type)

    return export


def _credentials(request: Request) -> Credentials:
    return Credentials(
        presented=presented_keys(request.headers.items()),
        peer=request.client.host if request.client else "",
        host=request.headers.get("host", ""),
        origin=request.headers.get("origin", ""),
        certificate=request.scope.get("extensions", {}).get(CLIENT_CERTIFICATE),
    )


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _check_type(request: Request, known: _Encodings) -> None:
    if _media_type(request) not in known:
        text = f"send Content-Type {PROTOBUF} or {JSON}; other encodings of OTLP are not read here"
        raise UnsupportedEncoding(text, reason=Refusal.UNSUPPORTED_TYPE)


def _codings(request: Request, known: _Encodings, error: DriftlockError) -> dict[str, str]:
    """Which codings are read, where the request had another; with a wrong media type this would mislead (RFC 9110, 15.5.16)."""
    unread = isinstance(error, UnsupportedEncoding) and _media_type(request) in known
    return {"accept_encoding": ACCEPTED_CODINGS} if unread else {}


def _declared_bytes(request: Request, bytes_max: int) -> int:
    """The Content-Length, 0 without one; raises `PayloadTooLarge` before a byte of the body is read."""
    text = request.headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise InvalidArgument("Content-Length is not a number", reason=Refusal.BAD_LENGTH)
    if len(text) > 18 or int(text) > bytes_max:
        raise PayloadTooLarge(f"the body is larger than {bytes_max} bytes; send smaller batches")
    return int(text)


async def _body(request: Request, slot: Slot, reserved: int, bytes_max: int, limits: HttpLimits) -> bytes:
    """The body as sent; what goes beyond the bytes already reserved is reserved as it comes."""
    body = bytearray()
    begun = asyncio.get_running_loop().time()
    grace_ends, ends = begun + limits.body_grace_ms / 1000, begun + limits.body_timeout_ms / 1000
    try:
        async with asyncio.timeout_at(min(grace_ends, ends)) as patience:
            async for chunk in request.stream():
                body += chunk
                if len(body) > bytes_max:
                    raise PayloadTooLarge(f"the body is larger than {bytes_max} bytes; send smaller batches")
                if len(body) > reserved:
                    slot.grow(len(body) - reserved)
                    reserved = len(body)
                patience.reschedule(min(grace_ends + len(body) / limits.body_rate_min_bytes_per_s, ends))
    except TimeoutError:
        raise Unavailable(
            f"the body came too slowly: it must be whole within {limits.body_timeout_ms} ms, and after "
            f"{limits.body_grace_ms} ms have come with {limits.body_rate_min_bytes_per_s} bytes/s; send it again",
            reason=Refusal.TOO_SLOW,
        ) from None
    except ClientDisconnect:
        raise InvalidArgument("the connection ended before the body", reason=Refusal.DISCONNECTED) from None
    return bytes(body)


def _failure(encoding: Encoding, error: DriftlockError, **headers: str) -> Response:
    wait_ms = retry_after_ms(error)
    if wait_ms is not None:
        headers["retry_after"] = str(math.ceil(wait_ms / 1000))
    answer = ANSWERS[error.code]
    if answer.http is HTTPStatus.UNAUTHORIZED:
        headers["www_authenticate"] = "Bearer"
    return _status_response(encoding, answer.http, rpc_status(error), headers)


def _status_response(encoding: Encoding, http: int, status: Status, headers: Mapping[str, str]) -> Response:
    """Headers are written with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(encoding.write(status), http, named, media_type=encoding.media_type)


def _unrouted(exporter: Exporter, known: _Encodings) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        """Paths and methods that are not there."""
        encoding = known.get(_media_type(request), PROTOBUF_ENCODING)
        if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            signal = Signal(request.url.path.removeprefix("/v1/"))
            exporter.refusal(signal, InvalidArgument("send POST", reason=Refusal.WRONG_METHOD))
            status = Status(code=_UNIMPLEMENTED, message="send POST")
            return _status_response(encoding, error.status_code, status, error.headers or {})
        unknown = NotFound("there are /v1/logs, /v1/metrics and /v1/traces here", reason=Refusal.UNKNOWN_PATH)
        return _failure(encoding, exporter.refusal(None, unknown))

    return answer
