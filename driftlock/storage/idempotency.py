"""What a request with an Idempotency-Key has answered, kept to answer it again.

A request claims its key before it does anything, and its answer is kept after it is done. In between, the change itself marks
the claim as `happened`, in its own transaction: so it is known even after a crash whether there is something to repeat. A claim
that nobody finishes is taken over after `LEASE`, and what its first run tries to change after that fails.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import asyncpg

from driftlock.errors import Conflict, KeyReused
from driftlock.storage.pool import Connection, Database

KEPT = timedelta(hours=24)
LEASE = timedelta(seconds=60)
ANSWER_BYTES_MAX = 65_536

CLAIM = """
insert into driftlock.idempotent_requests (tenant_id, route, key_hash, content_hash, claim, expires_at)
values ($1, $2, $3, $4, $5, clock_timestamp() + $6)
on conflict do nothing
returning claim
"""
LOOK = """
select content_hash, happened, status, headers, body,
       expires_at <= clock_timestamp() as expired, claimed_at + $4::interval - clock_timestamp() as lease_left
  from driftlock.idempotent_requests
 where tenant_id = $1 and route = $2 and key_hash = $3
   for update
"""
TAKE = """
update driftlock.idempotent_requests
   set content_hash = $4, claim = $5, claimed_at = clock_timestamp(), expires_at = clock_timestamp() + $6,
       happened = false, status = null, headers = null, body = null
 where tenant_id = $1 and route = $2 and key_hash = $3
"""
HAPPENED = """
update driftlock.idempotent_requests set happened = true where tenant_id = $1 and claim = $2 and status is null returning 1
"""
KEEP = """
update driftlock.idempotent_requests set happened = true, status = $3, headers = $4, body = $5
 where tenant_id = $1 and claim = $2
"""
RELEASE = "delete from driftlock.idempotent_requests where tenant_id = $1 and claim = $2 and not happened"
FORGET = """
delete from driftlock.idempotent_requests where ctid = any (array(
  select ctid from driftlock.idempotent_requests where expires_at <= clock_timestamp() order by expires_at limit $1))
returning 1
"""
LOST = (
    "this request was done before, but its answer is not there any more: look at what it has changed, and use a new "
    "Idempotency-Key for another change"
)


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request with an Idempotency-Key: the route's name, and BLAKE2b-128 hashes of the key and of what is asked."""

    route: str
    key_hash: bytes
    content_hash: bytes


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer to give again; `body` is JSON, None for an answer without one. Without any secret."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


class IdempotentRequests:
    """The keyed requests of one tenant at a time. Every method raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def claim(self, tenant_id: UUID, request: KeyedRequest, claim: UUID) -> KeptAnswer | None:
        """The kept answer of this request; None when there is none and it is to be done now, as `claim`.

        Raises `KeyReused` when the key stands for another request, and `Conflict` while the request is being done, or when it
        was done without an answer that could be kept.
        """
        who = (tenant_id, request.route, request.key_hash)
        async with self._database.tenant(tenant_id, read_only=False) as connection:
            if await connection.fetchval(CLAIM, *who, request.content_hash, claim, KEPT) is not None:
                return None
            row = await connection.fetchrow(LOOK, *who, LEASE)
            if row is None:  # forgotten in this very moment
                raise _under_way(timedelta(0))
            if not row["expired"]:
                answer = _known(row, request.content_hash)
                if answer is not None:
                    return answer
            await connection.execute(TAKE, *who, request.content_hash, claim, KEPT)
        return None

    async def keep(self, tenant_id: UUID, claim: UUID, answer: KeptAnswer) -> None:
        """Keep the answer of what was done. One of more than `ANSWER_BYTES_MAX` is not kept, only that it was given."""
        fits = answer.body is None or len(answer.body) <= ANSWER_BYTES_MAX
        async with self._database.tenant(tenant_id, read_only=False) as connection:
            if fits:
                await connection.execute(KEEP, tenant_id, claim, answer.status, json.dumps(dict(answer.headers)), answer.body)
            else:
                await connection.execute(HAPPENED, tenant_id, claim)

    async def release(self, tenant_id: UUID, claim: UUID) -> None:
        """Let the key be used again, unless something was changed under it."""
        async with self._database.tenant(tenant_id, read_only=False) as connection:
            await connection.execute(RELEASE, tenant_id, claim)


async def mark_happened(connection: Connection, tenant_id: UUID, claim: UUID) -> None:
    """Write down, in the transaction of a change, that a keyed request has changed something.

    Raises `Conflict` when another run has taken the request over meanwhile: then the change must not be made.
    """
    if await connection.fetchval(HAPPENED, tenant_id, claim) is None:
        raise Conflict("this request took so long that its repetition has taken over: ask again with the same Idempotency-Key")


async def forget_requests(database: Database, rows_max: int = 1_000) -> int:
    """Forget keyed requests that are over, in bites of `rows_max`; returns how many. Raises `Unavailable`."""

    async def work(connection: Connection) -> int:
        return len(await connection.fetch(FORGET, rows_max))

    forgotten = 0
    while True:
        forgotten += (bite := await database.node(work))
        if bite < rows_max:
            return forgotten


def _known(row: asyncpg.Record, content_hash: bytes) -> KeptAnswer | None:
    """The answer of a row; None when its run is to be taken over."""
    if row["content_hash"] != content_hash:
        raise KeyReused("this Idempotency-Key came with another request before; use a new one")
    if row["status"] is not None:
        return KeptAnswer(row["status"], json.loads(row["headers"]), row["body"])
    if row["lease_left"] > timedelta(0):
        raise _under_way(row["lease_left"])
    if row["happened"]:
        raise Conflict(LOST)
    return None


def _under_way(lease_left: timedelta) -> Conflict:
    """With the time after which this is not the answer any more: of a process that has died nobody knows before."""
    text = "a request with this Idempotency-Key is under way, or ended with its server: ask again after Retry-After"
    return Conflict(text, retry_after_ms=max(1_000, min(lease_left, LEASE) // timedelta(milliseconds=1)))
