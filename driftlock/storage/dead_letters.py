"""Messages of a source that could not become rows of the journal, kept for people: to look at, and to send again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from driftlock.storage.columns import columns, text
from driftlock.storage.paging import check_limit
from driftlock.storage.pool import Connection, Database

BODY_BYTES_MAX = 1024 * 1024
"""So much of a body is kept."""
KEY_BYTES_MAX = 1024
HEADERS_BYTES_MAX = 32 * 1024
"""Headers that are longer together are not kept."""
REASON_CHARS_MAX = 250
KEPT = timedelta(days=30)
EXPIRE_ROWS_MAX = 500

# Of a tenant that is gone nothing is kept but that a message was there.
SAVE = """
with open as materialized (
  select t.id from driftlock.tenants t where t.id = any ($1::uuid[]) and t.closed_at is null order by t.id for key share
)
insert into driftlock.dead_letters (tenant_id, topic, partition, "offset", key, body, body_bytes, headers, reason)
select open.id, d.topic, d.partition, d.at, case when known.kept then d.key end, case when known.kept then d.body end,
       d.body_bytes, case when known.kept then d.headers::jsonb else '[]' end, d.reason
  from unnest($1::uuid[], $2::text[], $3::integer[], $4::bigint[], $5::bytea[], $6::bytea[], $7::bigint[], $8::text[],
              $9::text[]) as d (tenant_id, topic, partition, at, key, body, body_bytes, headers, reason)
  left join open on open.id = d.tenant_id
 cross join lateral (select d.tenant_id is null or open.id is not null as kept) known
on conflict (topic, partition, "offset") do update set
  tenant_id = excluded.tenant_id, key = excluded.key, body = excluded.body, body_bytes = excluded.body_bytes,
  headers = excluded.headers, reason = excluded.reason, state = 'dead', at = excluded.at
"""
SELECT = """
select d.id, d.tenant_id, d.topic, d.partition, d."offset", d.key, d.body, d.body_bytes, d.headers, d.reason, d.state, d.at
  from driftlock.dead_letters d
"""
LIST = f"""{SELECT}
 where ($2::uuid is null or d.id < $2) and ($3::text is null or d.state = $3) order by d.id desc limit $1
"""
OF_TENANT = f"{SELECT} where d.tenant_id = $3 and ($2::uuid is null or d.id < $2) order by d.id desc limit $1"
GET = f"{SELECT} where d.id = $1"
RETRIED = "update driftlock.dead_letters set state = 'retried' where id = any ($1::uuid[]) and state = 'dead' returning id"
# A tenant that is there, and the shard that it belongs to; null = to whichever its first records come.
HOME = "select t.shard from driftlock.tenants t where t.id = $1 and t.closed_at is null"
COUNT = "select count(*) from driftlock.dead_letters where state = 'dead'"
EXPIRE = """
delete from driftlock.dead_letters where id = any (array(
  select d.id from driftlock.dead_letters d where d.at < clock_timestamp() - $1::interval order by d.at limit $2
  for update skip locked))
"""
DEAD, AGAIN = "dead", "retried"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message and why it could not be journaled. `tenant_id` is None where it does not say whose it is."""

    topic: str
    partition: int
    offset: int
    reason: str
    key: bytes | None = None
    body: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    tenant_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A dead letter as it is kept. `state` is `dead` or `retried`; `whole`: key, body and headers are as they came."""

    letter_id: UUID
    letter: DeadLetter
    state: str
    body_bytes: int
    at: datetime

    @property
    def whole(self) -> bool:
        """Whether it can be sent again."""
        return len(self.letter.body or b"") == self.body_bytes and bool(self.letter.headers)


class DeadLetters:
    """Dead letters of all tenants. Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def list(self, *, limit: int, before: UUID | None = None, state: str | None = None) -> list[StoredDeadLetter]:
        """One page, the newest first; `before` is the id of the last one of the page before. `state` None: of any."""
        rows = await self._database.node(lambda connection: connection.fetch(LIST, check_limit(limit), before, state))
        return [_stored(row) for row in rows]

    async def of_tenant(self, tenant_id: UUID, *, limit: int, before: UUID | None = None) -> Sequence[StoredDeadLetter]:
        """One page of a tenant's own, the newest first."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.fetch(OF_TENANT, check_limit(limit), before, tenant_id)
        return [_stored(row) for row in rows]

    async def get(self, letter_id: UUID) -> StoredDeadLetter | None:
        """One by its id."""
        row = await self._database.node(lambda connection: connection.fetchrow(GET, letter_id))
        return None if row is None else _stored(row)

    async def keep(self, letters: Sequence[DeadLetter]) -> None:
        """Keep some that nobody journals; those that are kept already stay."""
        await self._database.node(lambda connection: save_dead_letters(connection, letters))

    async def retried(self, letter_ids: Sequence[UUID]) -> int:
        """Note that they were sent again; how many were dead until now."""
        return len(await self._database.node(lambda connection: connection.fetch(RETRIED, list(letter_ids))))

    async def home_of(self, tenant_id: UUID) -> tuple[bool, int | None]:
        """Whether a tenant is there, and to which shard it belongs; None: to none yet."""
        row = await self._database.node(lambda connection: connection.fetchrow(HOME, tenant_id))
        return (False, None) if row is None else (True, row["shard"])

    async def count(self) -> int:
        """How many are dead and were not sent again."""

        async def work(connection: Connection) -> int:
            found: int = await connection.fetchval(COUNT)
            return found

        return await self._database.node(work)

    async def expire(self, kept: timedelta = KEPT, rows_max: int = EXPIRE_ROWS_MAX) -> int:
        """Delete those that are older than `kept`, in bites of `rows_max`; how many went."""
        gone = 0
        while True:
            status = await self._database.node(lambda connection: connection.execute(EXPIRE, kept, rows_max))
            gone += (bite := int(status.rpartition(" ")[2]))
            if bite < rows_max:
                return gone


async def save_dead_letters(connection: Connection, letters: Sequence[DeadLetter]) -> None:
    """Keep them, in the transaction that passes them; the newest of a place counts, where a topic was begun anew."""
    if letters:
        newest = {(it.topic, it.partition, it.offset): it for it in letters}
        await connection.execute(SAVE, *columns([_cells(it) for it in newest.values()]))


def _cells(it: DeadLetter) -> tuple[object, ...]:
    body = None if it.body is None else it.body[:BODY_BYTES_MAX]
    key = None if it.key is None else it.key[:KEY_BYTES_MAX]
    headers = json.dumps([[text(name), None if value is None else value.hex()] for name, value in it.headers])
    if len(headers) > HEADERS_BYTES_MAX or len(it.key or b"") > KEY_BYTES_MAX:
        headers = "[]"  # it is not whole: nobody sends it again
    reason = text(it.reason[:REASON_CHARS_MAX]) or "no reason was given"
    size = len(it.body or b"")
    return (it.tenant_id, it.topic, it.partition, it.offset, key, body, size, headers, reason)


def _stored(row: asyncpg.Record) -> StoredDeadLetter:
    headers = tuple((name, None if value is None else bytes.fromhex(value)) for name, value in json.loads(row["headers"]))
    letter = DeadLetter(
        row["topic"], row["partition"], row["offset"], row["reason"], row["key"], row["body"], headers, row["tenant_id"]
    )
    return StoredDeadLetter(row["id"], letter, row["state"], row["body_bytes"], row["at"])
