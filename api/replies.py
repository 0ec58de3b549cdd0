"""What a handler answers, and how it becomes an HTTP response: only what the endpoint has declared is sent."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.headers import promised
from driftlock.errors import Internal

JSON_MEDIA_TYPE = "application/json"
STREAM_STALL_S_MAX = 60.0
"""A reader of a stream that takes nothing for so long is gone."""

Declared: TypeAlias = type[BaseModel] | str | tuple[str, ...] | None
"""What a status answers: a model as JSON, bytes of a media type (or of one of several), or nothing at all."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler answers: a model as JSON, bytes or a stream of bytes of a declared media type, or None: no body.

    `media_type` says which one where the endpoint declares several. `kept` is what an Idempotency-Key replays in place of
    `body`: for answers that hold a secret, which are not kept. A stream is closed (`aclose`) when its reader leaves.
    """

    body: BaseModel | bytes | AsyncIterator[bytes] | None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str | None = None
    kept: BaseModel | None = None


def response_of(name: str, responses: Mapping[int, Declared], reply: Reply, *, etag: bool = False) -> Response:
    """The HTTP response of a reply of the endpoint `name`; raise `Internal` for one that it does not declare.

    It has the headers that `api.headers.promised` names.
    """
    told = dict(reply.headers)
    for header in promised(reply.status, etag=etag):
        if header.name not in told:
            raise Internal(f"{name} answered {reply.status} without {header.name}")
    if reply.status in responses:
        response = _declared(responses[reply.status], reply, told)
        if response is not None:
            return response
    raise Internal(f"{name} answered {reply.status} with {type(reply.body).__name__}, which it does not declare")


def media_types(declared: Declared) -> tuple[str, ...]:
    """The media types of a declared answer; () for one without a body."""
    if declared is None:
        return ()
    if isinstance(declared, tuple):
        return declared
    return (declared,) if isinstance(declared, str) else (JSON_MEDIA_TYPE,)


def _declared(declared: Declared, reply: Reply, headers: dict[str, str]) -> Response | None:
    """The response, None for a reply of another sort than `declared`."""
    body = reply.body
    if declared is None:
        return Response(status_code=reply.status, headers=headers) if body is None else None
    if isinstance(body, BaseModel):
        if declared is not type(body):
            return None
        return Response(body.model_dump_json(), reply.status, headers, media_type=JSON_MEDIA_TYPE)
    if body is None or not isinstance(declared, str | tuple):
        return None
    media_type = _media_type(declared, reply.media_type)
    if media_type is None:
        return None
    if isinstance(body, bytes):
        return Response(body, reply.status, headers, media_type=media_type)
    return Streamed(body, reply.status, headers, media_type)


def _media_type(declared: str | tuple[str, ...], chosen: str | None) -> str | None:
    if isinstance(declared, str):
        return declared if chosen in (None, declared) else None
    return chosen if chosen in declared else None


class Streamed(Response):
    """A response that is sent piece by piece, as its reader takes it. HEAD gets its headers only."""

    def __init__(self, pieces: AsyncIterator[bytes], status: int, headers: Mapping[str, str], media_type: str) -> None:
        self.pieces = pieces
        self.status_code = status
        self.media_type = media_type
        self.background = None
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it until it ends or its reader leaves; then, and for whatever else happens, close `pieces`."""
        sending = asyncio.ensure_future(self._send(send, headers_only=scope["method"] == "HEAD"))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            if isinstance(self.pieces, AsyncGenerator):
                await self.pieces.aclose()

    async def _send(self, send: Send, *, headers_only: bool) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if not headers_only:
            async for piece in self.pieces:
                try:
                    async with asyncio.timeout(STREAM_STALL_S_MAX):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                except TimeoutError:
                    raise ClientDisconnect from None
        await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
