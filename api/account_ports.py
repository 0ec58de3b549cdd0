"""What the endpoints of the account need from the other rooms."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Protocol
from uuid import UUID

from driftlock.accounts.actor import Actor
from driftlock.storage.accounts import AccountChange, AccountRow, UsageRow
from driftlock.storage.audit import AuditRow

__all__ = ["AccountChange", "AccountRepository", "AccountRow", "AuditRepository", "AuditRow", "UsageRow"]


class AccountRepository(Protocol):
    """One account at a time (`driftlock.storage.accounts.Accounts`)."""

    async def get(self, tenant_id: UUID) -> AccountRow | None:
        """The account; None when it is being deleted."""
        ...

    async def change(self, tenant_id: UUID, change: AccountChange, actor: Actor) -> AccountRow | None:
        """The account with `change`; None when it is being deleted. Raises `Conflict`, `InvalidArgument`."""
        ...

    async def close(self, tenant_id: UUID, name: str, actor: Actor) -> bool:
        """Begin to delete the account; False when that has begun. Raises `InvalidArgument` for a wrong name, `Conflict`."""
        ...

    async def usage(self, tenant_id: UUID, *, limit: int, after: date | None) -> Sequence[UsageRow]:
        """One page of days with records, descending."""
        ...


class AuditRepository(Protocol):
    """The audit log of one account by (time, id)."""

    async def list(
        self, tenant_id: UUID, *, limit: int, action: str | None, after: tuple[datetime, UUID] | None
    ) -> Sequence[AuditRow]:
        """One page, descending."""
        ...
