"""A keyed request is done once, whatever ends in between: the change and the word that it happened are one transaction."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from driftlock.accounts.actor import Actor, ActorKind
from driftlock.errors import Conflict, KeyReused
from driftlock.storage import idempotency
from driftlock.storage.audit import AuditLog, note
from driftlock.storage.idempotency import ANSWER_BYTES_MAX, IdempotentRequests, KeptAnswer, KeyedRequest, forget_requests
from driftlock.storage.pool import Database
from driftlock.storage.tenants import Tenants

ASKED = KeyedRequest("createApiKey", b"k" * 16, b"c" * 16)
ANSWER = KeptAnswer(201, {"Location": "/v1/x/1"}, b'{"id":1}')
FIRST, SECOND = UUID(int=1), UUID(int=2)


@pytest.fixture
def requests(database: Database) -> IdempotentRequests:
    return IdempotentRequests(database)


async def change(database: Database, tenant: UUID, claim: UUID) -> None:
    """A change as repositories make it: noted, in its transaction."""
    async with database.tenant(tenant, read_only=False) as connection:
        await note(connection, tenant, Actor(ActorKind.LOCAL, claim=claim), "thing.made", "1")


async def age(owner: asyncpg.Connection, by: timedelta) -> None:
    await owner.execute(
        "update driftlock.idempotent_requests "
        "set claimed_at = claimed_at - $1::interval, expires_at = expires_at - $1::interval",
        by,
    )


async def test_the_kept_answer_comes_again(requests: IdempotentRequests, database: Database, tenant: UUID) -> None:
    assert await requests.claim(tenant, ASKED, FIRST) is None
    await change(database, tenant, FIRST)
    await requests.keep(tenant, FIRST, ANSWER)
    assert await requests.claim(tenant, ASKED, SECOND) == ANSWER
    with pytest.raises(KeyReused):
        await requests.claim(tenant, replace(ASKED, content_hash=b"d" * 16), SECOND)
    other = (await Tenants(database).create("other")).tenant_id
    assert await requests.claim(other, ASKED, SECOND) is None, "a key is one tenant's"
    assert await requests.claim(tenant, replace(ASKED, route="rotateApiKey"), UUID(int=3)) is None, "and one route's"


async def test_an_answer_without_a_body_and_one_that_is_too_large(requests: IdempotentRequests, tenant: UUID) -> None:
    assert await requests.claim(tenant, ASKED, FIRST) is None
    await requests.keep(tenant, FIRST, KeptAnswer(204, {}, None))
    assert await requests.claim(tenant, ASKED, SECOND) == KeptAnswer(204, {}, None)
    large = replace(ASKED, key_hash=b"l" * 16)
    assert await requests.claim(tenant, large, SECOND) is None
    await requests.keep(tenant, SECOND, KeptAnswer(200, {}, b"x" * (ANSWER_BYTES_MAX + 1)))
    with pytest.raises(Conflict, match="under way"):
        await requests.claim(tenant, large, UUID(int=3))


async def test_of_two_at_the_same_moment_one_is_done(requests: IdempotentRequests, tenant: UUID) -> None:
    found = await asyncio.gather(*(requests.claim(tenant, ASKED, UUID(int=n)) for n in range(1, 6)), return_exceptions=True)
    assert sum(it is None for it in found) == 1
    refused = [it for it in found if it is not None]
    assert all(isinstance(it, Conflict) and it.retry_after_ms for it in refused), found


async def test_a_key_that_is_let_go_can_be_used_again(requests: IdempotentRequests, database: Database, tenant: UUID) -> None:
    assert await requests.claim(tenant, ASKED, FIRST) is None
    await requests.release(tenant, FIRST)
    assert await requests.claim(tenant, replace(ASKED, content_hash=b"d" * 16), SECOND) is None
    await change(database, tenant, SECOND)
    await requests.release(tenant, SECOND)
    with pytest.raises(KeyReused):
        await requests.claim(tenant, ASKED, FIRST)


async def test_a_change_that_was_made_before_a_crash_is_not_made_again(
    requests: IdempotentRequests, database: Database, tenant: UUID, owner: asyncpg.Connection
) -> None:
    assert await requests.claim(tenant, ASKED, FIRST) is None
    await change(database, tenant, FIRST)
    await age(owner, idempotency.LEASE)
    with pytest.raises(Conflict, match="was done before"):
        await requests.claim(tenant, ASKED, SECOND)


async def test_a_run_that_was_given_up_is_taken_over_and_changes_nothing_any_more(
    requests: IdempotentRequests, database: Database, tenant: UUID, owner: asyncpg.Connection
) -> None:
    assert await requests.claim(tenant, ASKED, FIRST) is None
    await age(owner, idempotency.LEASE)
    assert await requests.claim(tenant, ASKED, SECOND) is None
    with pytest.raises(Conflict, match="taken over"):
        await change(database, tenant, FIRST)
    assert await AuditLog(database).list(tenant, limit=10) == []
    await change(database, tenant, SECOND)
    await requests.keep(tenant, FIRST, ANSWER)
    with pytest.raises(Conflict, match="under way"):
        await requests.claim(tenant, ASKED, FIRST)
    await requests.keep(tenant, SECOND, ANSWER)
    assert await requests.claim(tenant, ASKED, FIRST) == ANSWER


async def test_answers_are_kept_for_a_day_and_then_forgotten_in_bites(
    requests: IdempotentRequests, database: Database, tenant: UUID, owner: asyncpg.Connection
) -> None:
    for number in range(5):
        assert await requests.claim(tenant, replace(ASKED, key_hash=bytes([number]) * 16), UUID(int=number)) is None
        await requests.keep(tenant, UUID(int=number), ANSWER)
    await age(owner, timedelta(hours=23, minutes=59))
    assert await forget_requests(database) == 0
    assert await requests.claim(tenant, replace(ASKED, key_hash=bytes(16)), FIRST) == ANSWER
    await age(owner, timedelta(minutes=2))
    assert await requests.claim(tenant, replace(ASKED, key_hash=bytes(16)), UUID(int=9)) is None, "not forgotten yet, but over"
    assert await forget_requests(database, rows_max=2) == 4
    assert await owner.fetchval("select count(*) from driftlock.idempotent_requests") == 1


async def test_who_has_to_wait_is_told_how_long_at_most(
    requests: IdempotentRequests, tenant: UUID, owner: asyncpg.Connection
) -> None:
    """A claim whose process has died stands until its lease is over."""
    assert await requests.claim(tenant, ASKED, FIRST) is None
    waits = []
    for by in (timedelta(0), idempotency.LEASE / 2, idempotency.LEASE / 2 - timedelta(milliseconds=500)):
        await age(owner, by)
        with pytest.raises(Conflict, match="under way") as refused:
            await requests.claim(tenant, ASKED, SECOND)
        assert refused.value.retry_after_ms is not None
        waits.append(-(-refused.value.retry_after_ms // 1000))
    assert waits == [60, 30, 1]
