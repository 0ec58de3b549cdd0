"""What the API needs to be told of redaction and of streams' settings; the rows are those of `driftlock.storage`."""

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from driftlock.accounts.actor import Actor
from driftlock.engine.profile import Profile
from driftlock.engine.redaction import Redactor, Rule, TenantRules
from driftlock.storage.redaction import RuleSet
from driftlock.storage.stream_settings import NOTHING, SettingsSeen, settings_of

__all__ = ["NOTHING", "RedactionRepository", "RuleSet", "SettingsSeen", "StreamSettingsRepository", "settings_of"]


class RedactionRepository(Protocol):
    """Redaction rules of tenants and streams."""

    async def rules(self, tenant_id: UUID) -> TenantRules | None:
        """Those in force for what comes in now; None where there are none."""
        ...

    async def get(self, tenant_id: UUID, stream_id: UUID | None) -> RuleSet:
        """The rules of a stream, without the tenant's; None: the tenant's own."""
        ...

    async def put(
        self, tenant_id: UUID, stream_id: UUID | None, rules: Sequence[Rule], actor: Actor, expected: RuleSet | None = None
    ) -> RuleSet:
        """Let `rules` hold from now on; raise `PreconditionFailed` when others than `expected` hold by then."""
        ...

    async def preview(self, tenant_id: UUID, rules: Sequence[Rule]) -> Redactor:
        """`rules` as they would work for the tenant."""
        ...


class StreamSettingsRepository(Protocol):
    """Settings of streams that no fold heeds, and their end."""

    async def retention_days_max(self, tenant_id: UUID) -> int:
        """The most days that the tenant's plan keeps findings."""
        ...

    async def change(
        self,
        tenant_id: UUID,
        stream_id: UUID,
        changes: Mapping[str, str | int | None],
        actor: Actor,
        seen: SettingsSeen | None = None,
    ) -> None:
        """Set `display_name` and `retention_days`, as far as `changes` has them.

        Raise `NotFound`, or `PreconditionFailed` when there are other settings than those `seen`.
        """
        ...

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
        """Give the stream another profile, and what `changes` has with it, and note who did.

        Raise `NotFound`, `Conflict` when another profile is in force, or `PreconditionFailed` as `change` does.
        """
        ...

    async def set_budget(
        self, tenant_id: UUID, alerts_per_day_max: int, actor: Actor, expected: tuple[int | None] | None = None
    ) -> bool:
        """Give the tenant another alert budget and note who did; False when it has that one.

        Raise `NotFound`, or `PreconditionFailed` when another one than `expected` holds.
        """
        ...

    async def note_created(self, tenant_id: UUID, stream_id: UUID, actor: Actor) -> None:
        """Note who has created a stream; the first of several stays."""
        ...

    async def delete(self, tenant_id: UUID, stream_id: UUID, actor: Actor, seen: SettingsSeen | None = None) -> None:
        """Begin to delete a stream: nobody finds it from now on.

        Raise `NotFound`, or `PreconditionFailed` when it has other settings than those `seen`.
        """
        ...
