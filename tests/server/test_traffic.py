"""What REST leaves behind is written down and forgotten by the server itself, also when it stops."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import CapturingLogger

from driftlock.accounts.keys import KeyKind, Scope, mint
from driftlock.errors import Unavailable
from driftlock.storage.idempotency import IdempotentRequests, KeyedRequest
from driftlock.storage.key_directory import KeyUse
from driftlock.storage.keys import Keys
from driftlock.storage.pool import Database
from driftlock.storage.tenants import Tenants
from server.traffic import keep_traffic

LEFT = """
select exists (select from driftlock.idempotent_requests) or exists (select from driftlock.api_keys where last_used_at is null)
"""
KEY = mint(KeyKind.LIVE, bytes(30))


@pytest.fixture
async def tenant(database: Database) -> UUID:
    return (await Tenants(database).ensure_local()).tenant_id


async def stopped(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def last_used(database: Database, tenant: UUID) -> datetime | None:
    [row] = await Keys(database).list(tenant)
    return row.last_used_at


async def test_uses_are_written_and_old_requests_forgotten(database: Database, tenant: UUID, owner: asyncpg.Connection) -> None:
    await Keys(database).insert(tenant, KEY, kind=KeyKind.LIVE, name="", scopes=[Scope.READ])
    await IdempotentRequests(database).claim(tenant, KeyedRequest("x", bytes(16), bytes(16)), UUID(int=1))
    await owner.execute("update driftlock.idempotent_requests set expires_at = now()")
    use, now = KeyUse(database), datetime.now(UTC)
    task = asyncio.create_task(keep_traffic(database, use, CapturingLogger(), period_s=0.01))
    use.note(KEY.key_id, now)
    async with asyncio.timeout(10):
        while await owner.fetchval(LEFT):  # noqa: ASYNC110 - tables have no events
            await asyncio.sleep(0.01)
    assert await last_used(database, tenant) == now
    await stopped(task)


async def test_a_stop_writes_what_is_left(database: Database, tenant: UUID) -> None:
    await Keys(database).insert(tenant, KEY, kind=KeyKind.LIVE, name="", scopes=[Scope.READ])
    use, now = KeyUse(database), datetime.now(UTC)
    task = asyncio.create_task(keep_traffic(database, use, CapturingLogger()))
    await asyncio.sleep(0)
    use.note(KEY.key_id, now)
    await stopped(task)
    assert await last_used(database, tenant) == now


async def test_without_the_database_it_goes_on_and_says_so() -> None:
    use, log = KeyUse(Database("postgresql://nobody@127.0.0.1:1/none")), CapturingLogger()
    use.note(KEY.key_id, datetime.now(UTC))
    with pytest.raises(Unavailable):
        await use.write()
    task = asyncio.create_task(keep_traffic(use._database, use, log, period_s=0.001))
    async with asyncio.timeout(10):
        while len(log.calls) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert not task.done()
    await stopped(task)
