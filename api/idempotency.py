"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a POST that comes again is answered again, not done again.

Answers of success are kept for 24 hours for each tenant, route and key. An error before anything was changed lets the key go,
so that the request can be repeated; after a change the key stays, and a repetition is told that it was done.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Protocol
from uuid import UUID

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from api import headers
from api.problems import BadMembers, ProblemMember
from api.replies import JSON_MEDIA_TYPE, Reply
from driftlock.errors import DriftlockError, Unavailable
from driftlock.storage.idempotency import KeptAnswer, KeyedRequest

IDEMPOTENCY_KEY_HEADER = headers.IDEMPOTENCY_KEY.name
REPLAYED_HEADER = headers.REPLAYED.name
HASH_BYTES = 16
KEPT_HEADERS = frozenset({headers.LOCATION.name, headers.ETAG.name})


class IdempotencyStore(Protocol):
    """Where answers are kept (`driftlock.storage.idempotency.IdempotentRequests`)."""

    async def claim(self, tenant_id: UUID, request: KeyedRequest, claim: UUID) -> KeptAnswer | None:
        """The kept answer, or None: do it now, as `claim`. Raises `KeyReused`, `Conflict`, `Unavailable`."""
        ...

    async def keep(self, tenant_id: UUID, claim: UUID, answer: KeptAnswer) -> None:
        """Keep an answer."""
        ...

    async def release(self, tenant_id: UUID, claim: UUID) -> None:
        """Let the key go, unless something was changed under it."""
        ...


def idempotency_key(request: Request, chars_max: int) -> str | None:
    """The Idempotency-Key; None without that header. Raises `BadMembers`."""
    values = request.headers.getlist(IDEMPOTENCY_KEY_HEADER)
    if not values:
        return None
    if len(values) > 1 or not values[0] or len(values[0]) > chars_max or not values[0].isascii() or not values[0].isprintable():
        detail = f"must be given once, with 1 to {chars_max} printable ASCII characters (idempotency_key_chars_max)"
        raise BadMembers([ProblemMember(detail=detail, parameter=IDEMPOTENCY_KEY_HEADER)])
    return values[0]


def keyed_request(route: str, key: str, request: Request, body: BaseModel | None) -> KeyedRequest:
    """What a key stands for: the path, the query and the members of the body that were given, however the JSON was written."""
    said = b"" if body is None else body.model_dump_json(exclude_unset=True).encode()
    place = f"{request.method} {request.url.path}?{request.url.query}".encode()
    return KeyedRequest(
        route,
        hashlib.blake2b(key.encode(), digest_size=HASH_BYTES).digest(),
        hashlib.blake2b(place + b"\0" + said, digest_size=HASH_BYTES).digest(),
    )


async def once(
    store: IdempotencyStore,
    tenant_id: UUID,
    request: KeyedRequest,
    claim: UUID,
    work: Callable[[], Awaitable[Reply]],
) -> Reply | Response:
    """The reply of `work`, done now, or the answer that was kept of it.

    An answer that can not be kept is given all the same: what it says was done. Its repetition is told so, without the answer.
    """
    kept = await store.claim(tenant_id, request, claim)
    if kept is not None:
        told = {**kept.headers, REPLAYED_HEADER: "true"}
        return Response(kept.body, kept.status, told, media_type=JSON_MEDIA_TYPE if kept.body is not None else None)
    try:
        reply = await work()
    except DriftlockError:
        await _quietly(store.release(tenant_id, claim))
        raise
    await _quietly(store.keep(tenant_id, claim, _answer(reply)))
    return reply


def _answer(reply: Reply) -> KeptAnswer:
    said = reply.body if reply.kept is None else reply.kept
    told = {name: value for name, value in reply.headers.items() if name in KEPT_HEADERS}
    return KeptAnswer(reply.status, told, said.model_dump_json().encode() if isinstance(said, BaseModel) else None)


async def _quietly(work: Awaitable[None]) -> None:
    """Without the database the claim stays as it is, and ends by itself."""
    try:
        await work
    except Unavailable:
        return
