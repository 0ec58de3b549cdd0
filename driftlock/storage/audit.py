"""The audit log: who has changed what, written in the transaction of the change."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from driftlock.accounts.actor import Actor, ActorKind
from driftlock.storage.columns import text
from driftlock.storage.idempotency import mark_happened
from driftlock.storage.paging import IN_ORDER, check_limit
from driftlock.storage.pool import Connection, Database

NOTE = """
insert into driftlock.audit (tenant_id, actor_kind, actor_id, actor_name, action, target, detail, request_id, network)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
LIST = """
select a.id, a.at, a.actor_kind, a.actor_id, a.actor_name, a.action, a.target, a.detail, a.request_id, a.network
  from driftlock.audit a
 where ($2::text is null or a.action = $2) and ($3::timestamptz is null or (a.at, a.id) < ($3, $4::uuid))
 order by a.at desc, a.id desc limit $1
"""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One change. `action` is `resource.verb` such as `key.created`, `target` the id of what changed, `detail` the rest."""

    audit_id: UUID
    at: datetime
    actor: Actor
    action: str
    target: str
    detail: Mapping[str, object]


async def note(
    connection: Connection,
    tenant_id: UUID,
    actor: Actor,
    action: str,
    target: str = "",
    detail: Mapping[str, object] | None = None,
) -> None:
    """Write down a change, in the transaction that makes it. Never a secret: `detail` is shown to the tenant.

    Raises `Conflict` for a request whose repetition has taken over; nothing is changed then.
    """
    if actor.claim is not None:
        await mark_happened(connection, tenant_id, actor.claim)
    told = json.dumps(detail or {}, allow_nan=False, sort_keys=True, default=str)
    who = (actor.kind.value, text(actor.id), text(actor.name))
    await connection.execute(NOTE, tenant_id, *who, action, text(target), text(told), actor.request_id, actor.network)


class AuditLog:
    """The log of one tenant at a time, by (time, id). Raises `Unavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        """`database` must be entered before use."""
        self._database = database

    async def list(
        self, tenant_id: UUID, *, limit: int, action: str | None = None, after: tuple[datetime, UUID] | None = None
    ) -> list[AuditRow]:
        """One page, the newest first; `after` is the position of the last entry of the page before."""
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(IN_ORDER)
            rows = await connection.fetch(LIST, check_limit(limit), action, *(after or (None, None)))
        return [_row(row) for row in rows]


def _row(row: asyncpg.Record) -> AuditRow:
    kind = ActorKind(row["actor_kind"])
    actor = Actor(kind, row["actor_id"], row["actor_name"], row["request_id"], row["network"])
    return AuditRow(row["id"], row["at"], actor, row["action"], row["target"], json.loads(row["detail"]))
