"""An account that is there, without a past, for tests that are about other things."""

from datetime import date, datetime
from uuid import UUID

from api.account_ports import AccountChange, AccountRow, AuditRow, UsageRow
from driftlock.accounts.actor import Actor
from tests.api.fakes import EPOCH


class FakeAccounts:
    """Accounts of all tenants, as they are made."""

    async def get(self, tenant_id: UUID) -> AccountRow | None:
        return AccountRow(tenant_id, str(tenant_id), "free", 0, 10, EPOCH, None)

    async def change(self, tenant_id: UUID, change: AccountChange, actor: Actor) -> AccountRow | None:
        raise NotImplementedError("tests that change accounts use a real database")

    async def close(self, tenant_id: UUID, name: str, actor: Actor) -> bool:
        raise NotImplementedError("tests that delete accounts use a real database")

    async def usage(self, tenant_id: UUID, *, limit: int, after: date | None) -> list[UsageRow]:  # noqa: ARG002
        return []


class FakeAudit:
    """Logs without entries."""

    async def list(
        self,
        tenant_id: UUID,  # noqa: ARG002
        *,
        limit: int,  # noqa: ARG002
        action: str | None,  # noqa: ARG002
        after: tuple[datetime, UUID] | None,  # noqa: ARG002
    ) -> list[AuditRow]:
        return []
