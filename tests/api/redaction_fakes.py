"""Redaction rules and settings of streams, in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from driftlock.accounts.actor import Actor
from driftlock.engine.profile import Profile
from driftlock.engine.redaction import Redactor, Rule, TenantRules
from driftlock.errors import NotFound, PreconditionFailed
from driftlock.storage.redaction import RuleSet
from tests.api.fakes import EPOCH, FakeHouse

KEY = bytes(range(32))


@dataclass
class FakeRedaction:
    """Rules by tenant and stream; each change is one position further."""

    house: FakeHouse
    kept: dict[tuple[UUID, UUID | None], RuleSet] = field(default_factory=dict)
    noted: list[tuple[UUID | None, Actor]] = field(default_factory=list)

    async def rules(self, tenant_id: UUID) -> TenantRules | None:
        own = [(stream_id, it.rules) for (tenant, stream_id), it in self.kept.items() if tenant == tenant_id and it.rules]
        streams = {self.house.stream_rows[tenant_id][stream_id].key: rules for stream_id, rules in own if stream_id is not None}
        everywhere = next((rules for stream_id, rules in own if stream_id is None), ())
        return TenantRules(everywhere, streams, KEY) if own else None

    async def get(self, tenant_id: UUID, stream_id: UUID | None) -> RuleSet:
        return self.kept.get((tenant_id, stream_id), RuleSet())

    async def put(
        self, tenant_id: UUID, stream_id: UUID | None, rules: Sequence[Rule], actor: Actor, expected: RuleSet | None = None
    ) -> RuleSet:
        if expected is not None and await self.get(tenant_id, stream_id) != expected:
            raise PreconditionFailed("the rules were changed since you read them")
        self.noted.append((stream_id, actor))
        self.kept[tenant_id, stream_id] = RuleSet(tuple(rules), len(self.noted), EPOCH)
        return self.kept[tenant_id, stream_id]

    async def preview(self, tenant_id: UUID, rules: Sequence[Rule]) -> Redactor:  # noqa: ARG002
        return Redactor(rules, KEY)


@dataclass
class FakeStreamSettings:
    """Settings in the streams of the house."""

    house: FakeHouse
    days_max: int = 30
    noted: list[tuple[str, UUID, Actor]] = field(default_factory=list)

    async def retention_days_max(self, tenant_id: UUID) -> int:  # noqa: ARG002
        return self.days_max

    async def change(self, tenant_id: UUID, stream_id: UUID, changes: Mapping[str, str | int | None], actor: Actor) -> None:
        rows = self.house.stream_rows[tenant_id]
        if stream_id not in rows:
            raise NotFound("there is no such stream")
        rows[stream_id] = replace(rows[stream_id], **changes)  # type: ignore[arg-type]
        if changes:
            self.noted.append(("changed", stream_id, actor))

    async def configure(self, tenant_id: UUID, stream_id: UUID, profile: Profile, expected: Profile, actor: Actor) -> None:
        await self.house.configure(tenant_id, stream_id, profile, expected=expected)
        self.noted.append(("changed", stream_id, actor))

    async def set_budget(self, tenant_id: UUID, alerts_per_day_max: int, actor: Actor) -> bool:
        changed = await self.house.set_budget(tenant_id, alerts_per_day_max)
        if changed:
            self.noted.append(("budgeted", tenant_id, actor))
        return changed

    async def note_created(self, tenant_id: UUID, stream_id: UUID, actor: Actor) -> None:  # noqa: ARG002
        self.noted.append(("created", stream_id, actor))

    async def delete(self, tenant_id: UUID, stream_id: UUID, actor: Actor) -> None:
        if self.house.stream_rows[tenant_id].pop(stream_id, None) is None:
            raise NotFound("there is no such stream")
        self.noted.append(("deleted", stream_id, actor))
