"""Redaction rules and settings of streams, in memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from driftlock.accounts.actor import Actor
from driftlock.engine.profile import Profile
from driftlock.engine.redaction import Redactor, Rule, TenantRules
from driftlock.errors import NotFound, PreconditionFailed
from driftlock.storage.redaction import RuleSet
from driftlock.storage.stream_settings import NOTHING, SettingsSeen, settings_of
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
    """Settings in the streams of the house. `meanwhile` is called when a change is about to be made."""

    house: FakeHouse
    days_max: int = 30
    noted: list[tuple[str, UUID, Actor]] = field(default_factory=list)
    meanwhile: Callable[[], None] | None = None

    async def retention_days_max(self, tenant_id: UUID) -> int:  # noqa: ARG002
        return self.days_max

    async def change(
        self,
        tenant_id: UUID,
        stream_id: UUID,
        changes: Mapping[str, str | int | None],
        actor: Actor,
        seen: SettingsSeen | None = None,
    ) -> None:
        self._check(tenant_id, stream_id, seen)
        rows = self.house.stream_rows[tenant_id]
        rows[stream_id] = replace(rows[stream_id], **changes)  # type: ignore[arg-type]
        if changes:
            self.noted.append(("changed", stream_id, actor))

    async def configure(
        self,
        tenant_id: UUID,
        stream_id: UUID,
        profile: Profile,
        expected: Profile,
        actor: Actor,
        *,
        changes: Mapping[str, str | int | None] = NOTHING,
        seen: SettingsSeen | None = None,
    ) -> None:
        self._check(tenant_id, stream_id, seen)
        rows = self.house.stream_rows[tenant_id]
        if stream_id in rows:
            rows[stream_id] = replace(rows[stream_id], **changes)  # type: ignore[arg-type]
        await self.house.configure(tenant_id, stream_id, profile, expected=expected)
        self.noted.append(("changed", stream_id, actor))

    async def set_budget(
        self, tenant_id: UUID, alerts_per_day_max: int, actor: Actor, expected: tuple[int | None] | None = None
    ) -> bool:
        if self.meanwhile is not None:
            self.meanwhile()
        row = self.house.budgets.get(tenant_id)
        if expected not in (None, (None if row is None else row.alerts_per_day_max,)):
            raise PreconditionFailed("the budget was changed since you read it")
        changed = await self.house.set_budget(tenant_id, alerts_per_day_max)
        if changed:
            self.noted.append(("budgeted", tenant_id, actor))
        return changed

    async def note_created(self, tenant_id: UUID, stream_id: UUID, actor: Actor) -> None:  # noqa: ARG002
        if not any((verb, target) == ("created", stream_id) for verb, target, _ in self.noted):
            self.noted.append(("created", stream_id, actor))

    async def delete(self, tenant_id: UUID, stream_id: UUID, actor: Actor, seen: SettingsSeen | None = None) -> None:
        self._check(tenant_id, stream_id, seen)
        del self.house.stream_rows[tenant_id][stream_id]
        self.noted.append(("deleted", stream_id, actor))

    def _check(self, tenant_id: UUID, stream_id: UUID, seen: SettingsSeen | None) -> None:
        """In the transaction of the change, as it were: what happens `meanwhile` has happened before."""
        if self.meanwhile is not None:
            self.meanwhile()
        row = self.house.stream_rows[tenant_id].get(stream_id)
        if row is None:
            raise NotFound("there is no such stream")
        if seen is not None and settings_of(row) != seen:
            raise PreconditionFailed("the stream was changed since you read it")
