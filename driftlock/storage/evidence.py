"""Evidence as it is stored: for its tenant to have, and a chain that only grows."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import asyncpg

from driftlock.engine.evidence_bundle import Link
from driftlock.storage.columns import text
from driftlock.storage.pool import Connection, Database

KEYS_MAX = 1000
REASON_CHARS_MAX = 300
STATUS = """
select a.id as anomaly_id, e.state, e.reason, e.number, e.digest, e.key_id, e.made_at, e.bundle_bytes
  from driftlock.anomalies a left join driftlock.evidence e on e.anomaly_id = a.id where a.id = $1
"""
BUNDLE = "select number, digest, bundle from driftlock.evidence where anomaly_id = $1 and state = 'ready'"
KEYS = "select key_id, public_key, since from driftlock.evidence_keys order by since desc, key_id limit $1"
ADD_KEY = "insert into driftlock.evidence_keys (key_id, public_key) values ($1, $2) on conflict do nothing"
BEGIN_CHAIN = """
insert into driftlock.evidence_chain (tenant_id) select id from driftlock.tenants where id = $1 and closed_at is null
on conflict do nothing
"""
HEAD = "select number, digest from driftlock.evidence_chain where tenant_id = $1 for update"
STORE = """
update driftlock.evidence
   set state = 'ready', reason = '', number = $3, digest = $4, key_id = $5, made_at = now(), bundle = $6::bytea,
       bundle_bytes = octet_length($6::bytea)
 where anomaly_id = $1 and tenant_id = $2 and state in ('waiting', 'skipped') returning 1
"""
ADVANCE = "update driftlock.evidence_chain set number = $2, digest = $3 where tenant_id = $1"
# The oldest go first; of the newest one nothing goes, or there would never be any.
EVICT = """
update driftlock.evidence e set state = 'expired', reason = $3, bundle = null
  from (
    select r.anomaly_id, sum(r.bundle_bytes) over (order by r.number desc) as bytes, max(r.number) over () as newest, r.number
      from driftlock.evidence r where r.tenant_id = $1 and r.state = 'ready'
  ) k
 where k.anomaly_id = e.anomaly_id and k.bytes > $2 and k.number < k.newest
"""
EXPIRE = """
update driftlock.evidence set state = 'expired', reason = $2 where anomaly_id = $1 and state in ('waiting', 'skipped')
"""


@dataclass(frozen=True, slots=True)
class EvidenceStatus:
    """Whether there is evidence of a finding: `state` is `ready`, `waiting`, `skipped`, `expired` or `none`.

    `none`: nothing was noted of it, because a tenant's fold has made it, or a version before there was evidence.
    """

    state: str
    reason: str = ""
    number: int | None = None
    digest: bytes | None = None
    key_id: str | None = None
    made_at: datetime | None = None
    bundle_bytes: int = 0


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """A file of evidence, its number in the tenant's chain and the digest of its content."""

    number: int
    digest: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class EvidenceKey:
    """A public Ed25519 key that has signed evidence since a time."""

    key_id: str
    public_key: bytes
    since: datetime


@dataclass(frozen=True, slots=True)
class Signed:
    """A bundle that was made for a place in a chain: its digest, the key that signed it, and its file."""

    digest: bytes
    key_id: str
    data: bytes


Seal: TypeAlias = Callable[[Link], Awaitable[Signed]]


class EvidenceStore:
    """Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def status(self, tenant_id: UUID, anomaly_id: UUID) -> EvidenceStatus | None:
        """Whether there is evidence of a finding of the tenant; None when there is no such finding."""
        async with self._database.tenant(tenant_id) as connection:
            row = await connection.fetchrow(STATUS, anomaly_id)
        if row is None:
            return None
        return _status(row)

    async def bundle(self, tenant_id: UUID, anomaly_id: UUID) -> StoredBundle | None:
        """The evidence of a finding of the tenant, if it is there."""
        async with self._database.tenant(tenant_id) as connection:
            row = await connection.fetchrow(BUNDLE, anomaly_id)
        return None if row is None else StoredBundle(row["number"], row["digest"], row["bundle"])

    async def keys(self) -> list[EvidenceKey]:
        """Every key that has signed, the newest first."""
        rows = await self._database.node(lambda connection: connection.fetch(KEYS, KEYS_MAX))
        return [EvidenceKey(row["key_id"], row["public_key"], row["since"]) for row in rows]

    async def add_key(self, key_id: str, public_key: bytes) -> None:
        """Note a key before it signs. To note it again is nothing."""
        await self._database.node(lambda connection: connection.execute(ADD_KEY, key_id, public_key))

    async def append(self, tenant_id: UUID, anomaly_id: UUID, made_ns: int, seal: Seal, bytes_max: int) -> bool:
        """Store what `seal` makes of the next place in the tenant's chain; older bundles go beyond `bytes_max`.

        False when somebody was faster, or the finding is gone: then nothing has changed.
        """

        async def work(connection: Connection) -> bool:
            async with connection.transaction():
                return await _append(connection, tenant_id, anomaly_id, made_ns, seal, bytes_max)

        return await self._database.node(work)

    async def expire(self, anomaly_id: UUID, reason: str) -> None:
        """There will be no evidence of a finding that waits; `reason` is shown to its tenant."""
        shown = text(reason[:REASON_CHARS_MAX])
        await self._database.node(lambda connection: connection.execute(EXPIRE, anomaly_id, shown))


async def _append(
    connection: Connection,
    tenant_id: UUID,
    anomaly_id: UUID,
    made_ns: int,
    seal: Seal,
    bytes_max: int,
) -> bool:
    await connection.execute(BEGIN_CHAIN, tenant_id)
    head = await connection.fetchrow(HEAD, tenant_id)
    if head is None:
        return False
    link = Link(head["number"] + 1, head["digest"], made_ns)
    made = await seal(link)
    if not await connection.fetchval(STORE, anomaly_id, tenant_id, link.number, made.digest, made.key_id, made.data):
        return False
    await connection.execute(ADVANCE, tenant_id, link.number, made.digest)
    await connection.execute(EVICT, tenant_id, bytes_max, "newer evidence has taken its room (DRIFTLOCK_EVIDENCE_BYTES_MAX)")
    return True


def _status(row: asyncpg.Record) -> EvidenceStatus:
    if row["state"] is None:
        return EvidenceStatus("none")
    names = ("state", "reason", "number", "digest", "key_id", "made_at", "bundle_bytes")
    return EvidenceStatus(*(row[name] for name in names))
