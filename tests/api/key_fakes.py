"""In-memory rooms for API keys and for answers that are kept for an Idempotency-Key."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from api.rfc3339 import datetime_of_ns
from driftlock.accounts.actor import Actor
from driftlock.accounts.keys import KeyKind, KeyRecord, MintedKey, Scope
from driftlock.errors import Conflict, KeyReused, NotFound, PermissionDenied
from driftlock.storage.idempotency import KeptAnswer, KeyedRequest
from driftlock.storage.keys import StoredKey
from tests.api.fakes import EPOCH, NOW_NS, FakeDirectory


class FakeKeys:
    """Keys that work at once, in the directory that requests are checked against."""

    def __init__(self, directory: FakeDirectory) -> None:
        self.directory = directory
        self.rows: dict[UUID, list[StoredKey]] = defaultdict(list)
        self.actors: list[Actor] = []

    async def list(self, tenant_id: UUID, *, limit: int, after: tuple[datetime, str] | None) -> list[StoredKey]:
        rows = sorted(self.rows[tenant_id], key=lambda row: (row.created_at, row.key_id), reverse=True)
        return [row for row in rows if after is None or (row.created_at, row.key_id) < after][:limit]

    async def get(self, tenant_id: UUID, key_id: str) -> StoredKey | None:
        return next((row for row in self.rows[tenant_id] if row.key_id == key_id), None)

    async def insert(
        self,
        tenant_id: UUID,
        minted: MintedKey,
        *,
        kind: KeyKind,
        name: str,
        scopes: Collection[Scope],
        actor: Actor,
        **more: Any,
    ) -> StoredKey:
        self.actors.append(actor)
        made = StoredKey(
            key_id=minted.key_id,
            kind=kind,
            name=name,
            scopes=frozenset(scopes),
            created_at=EPOCH + timedelta(seconds=len(self.rows[tenant_id])),
            revoked_at=None,
            created_by=f"{actor.kind}:{actor.id}",
            **more,
        )
        self.rows[tenant_id].append(made)
        record = KeyRecord(minted.key_id, tenant_id, minted.digest, made.scopes, made.stream, made.expires_at)
        self.directory.records[minted.key_id] = record
        return made

    async def rotate(
        self,
        tenant_id: UUID,
        key_id: str,
        minted: MintedKey,
        *,
        overlap: timedelta,
        at_most: Collection[Scope],
        actor: Actor,
    ) -> tuple[StoredKey, StoredKey]:
        old = await self.get(tenant_id, key_id)
        if old is None:
            raise NotFound("there is no such API key")
        if not old.scopes <= frozenset(at_most):
            raise PermissionDenied("this API key has scopes that yours has not")
        if old.revoked_at is not None:
            raise Conflict("this API key was revoked or has expired")
        rights = {"stream": old.stream, "requests_per_minute": old.requests_per_minute, "expires_at": None, "replaces": key_id}
        made = await self.insert(tenant_id, minted, kind=old.kind, name=old.name, scopes=old.scopes, actor=actor, **rights)
        return made, self._change(tenant_id, replace(old, expires_at=datetime_of_ns(NOW_NS) + overlap))

    async def revoke(self, tenant_id: UUID, key_id: str, actor: Actor) -> bool:
        self.actors.append(actor)
        old = await self.get(tenant_id, key_id)
        if old is not None:
            self._change(tenant_id, replace(old, revoked_at=EPOCH))
        return old is not None

    def _change(self, tenant_id: UUID, row: StoredKey) -> StoredKey:
        self.rows[tenant_id] = [row if one.key_id == row.key_id else one for one in self.rows[tenant_id]]
        record = self.directory.records[row.key_id]
        changed = replace(record, expires_at=row.expires_at, revoked=row.revoked_at is not None)
        self.directory.records[row.key_id] = changed
        return row


@dataclass
class FakeIdempotency:
    """Answers in a dictionary. `happened` are the claims that a change has marked."""

    rows: dict[tuple[UUID, str, bytes], tuple[bytes, UUID, KeptAnswer | None]] = field(default_factory=dict)
    happened: set[UUID] = field(default_factory=set)

    async def claim(self, tenant_id: UUID, request: KeyedRequest, claim: UUID) -> KeptAnswer | None:
        place = tenant_id, request.route, request.key_hash
        if place not in self.rows:
            self.rows[place] = request.content_hash, claim, None
            return None
        content, before, answer = self.rows[place]
        if content != request.content_hash:
            raise KeyReused("this Idempotency-Key came with another request before; use a new one")
        if answer is None:
            raise Conflict("under way" if before not in self.happened else "done, without an answer", retry_after_ms=1000)
        return answer

    async def keep(self, tenant_id: UUID, claim: UUID, answer: KeptAnswer) -> None:  # noqa: ARG002
        for place, (content, owner, _) in list(self.rows.items()):
            if owner == claim:
                self.rows[place] = content, claim, answer

    async def release(self, tenant_id: UUID, claim: UUID) -> None:  # noqa: ARG002
        self.rows = {place: row for place, row in self.rows.items() if row[1] != claim or claim in self.happened}
