"""Keys change under audit, and a change is known everywhere within seconds."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from driftlock.accounts.access import Access
from driftlock.accounts.actor import Actor, ActorKind
from driftlock.accounts.keys import KeyKind, MintedKey, Scope, mint
from driftlock.errors import Conflict, InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from driftlock.storage import keys as keys_module
from driftlock.storage.audit import AuditLog
from driftlock.storage.key_directory import CachedKeyDirectory, KeyUse
from driftlock.storage.keys import FORGOTTEN_AFTER, OVERLAP_MAX, Keys, forget_keys
from driftlock.storage.pool import Database
from driftlock.storage.tenants import Tenants

ACTOR = Actor(ActorKind.USER, "u-1", "Ada", "r-1", "192.0.2.0/24")
DAY = timedelta(days=1)


def minted(number: int) -> MintedKey:
    return mint(KeyKind.LIVE, bytes([number]) * 30)


async def made(database: Database, tenant: UUID, number: int, *scopes: Scope, **more: object) -> MintedKey:
    key = minted(number)
    wanted = {"kind": KeyKind.LIVE, "name": f"key {number}", "scopes": scopes or (Scope.READ,), "actor": ACTOR, **more}
    await Keys(database).insert(tenant, key, **wanted)  # type: ignore[arg-type]
    return key


async def recognised(directory: CachedKeyDirectory, key: MintedKey, now: datetime) -> bool:
    access = Access(directory, anonymous=None)
    try:
        await access.principal([key.text], peer="192.0.2.1", host="x", origin="", now=now)
    except Unauthenticated:
        return False
    return True


async def test_a_rotated_key_has_the_same_rights_and_the_old_one_lives_on(database: Database, tenant: UUID) -> None:
    old_key = await made(database, tenant, 1, Scope.INGEST, stream="checkout", requests_per_minute=7)
    new_key = minted(2)
    new, old = await Keys(database).rotate(tenant, old_key.key_id, new_key, overlap=timedelta(hours=1), actor=ACTOR)
    rights = ("kind", "name", "scopes", "stream", "requests_per_minute")
    assert [getattr(new, name) for name in rights] == [getattr(old, name) for name in rights]
    assert (new.replaces, new.expires_at, new.created_by) == (old_key.key_id, None, "user:u-1")
    now = datetime.now(UTC)
    assert old.expires_at is not None
    assert timedelta(minutes=59) < old.expires_at - now < timedelta(minutes=61)
    directory = CachedKeyDirectory(database)
    assert [await recognised(directory, key, now) for key in (old_key, new_key)] == [True, True]
    later = now + timedelta(hours=2)
    assert [await recognised(directory, key, later) for key in (old_key, new_key)] == [False, True]


async def test_a_rotation_without_overlap_ends_the_old_key(database: Database, tenant: UUID) -> None:
    old_key = await made(database, tenant, 1)
    await Keys(database).rotate(tenant, old_key.key_id, minted(2), overlap=timedelta(0))
    assert not await recognised(CachedKeyDirectory(database), old_key, datetime.now(UTC))
    with pytest.raises(Conflict, match="expired"):
        await Keys(database).rotate(tenant, old_key.key_id, minted(3), overlap=DAY)


async def test_a_key_that_expires_is_followed_by_one_that_lives_as_long(database: Database, tenant: UUID) -> None:
    before = datetime.now(UTC)
    old_key = await made(database, tenant, 1, expires_at=before + 10 * DAY)
    new, old = await Keys(database).rotate(tenant, old_key.key_id, minted(2), overlap=30 * DAY)
    assert old.expires_at == before + 10 * DAY, "an overlap makes no key live longer"
    assert new.expires_at is not None
    assert abs(new.expires_at - datetime.now(UTC) - 10 * DAY) < timedelta(minutes=1)


async def test_what_can_not_be_rotated(database: Database, tenant: UUID) -> None:
    keys, key = Keys(database), await made(database, tenant, 1, Scope.READ, Scope.INGEST)
    other = (await Tenants(database).create("other")).tenant_id
    with pytest.raises(NotFound):
        await keys.rotate(other, key.key_id, minted(2), overlap=DAY)
    with pytest.raises(PermissionDenied, match="scopes"):
        await keys.rotate(tenant, key.key_id, minted(2), overlap=DAY, at_most=[Scope.ADMIN, Scope.READ])
    for overlap in (OVERLAP_MAX + timedelta(seconds=1), -timedelta(seconds=1)):
        with pytest.raises(InvalidArgument, match="30 days"):
            await keys.rotate(tenant, key.key_id, minted(2), overlap=overlap)
    await keys.revoke(tenant, key.key_id)
    with pytest.raises(Conflict, match="revoked"):
        await keys.rotate(tenant, key.key_id, minted(2), overlap=DAY)
    assert len(await keys.list(tenant)) == 1


async def test_every_change_of_a_key_is_in_the_audit_log(database: Database, tenant: UUID) -> None:
    keys, key = Keys(database), await made(database, tenant, 1)
    await keys.rotate(tenant, key.key_id, minted(2), overlap=DAY, actor=ACTOR)
    await keys.revoke(tenant, key.key_id, ACTOR)
    await keys.revoke(tenant, key.key_id, ACTOR)
    rows = await AuditLog(database).list(tenant, limit=10)
    assert [(row.action, row.target) for row in rows] == [
        ("key.revoked", key.key_id),
        ("key.rotated", minted(2).key_id),
        ("key.created", key.key_id),
    ]
    assert all(row.actor == ACTOR for row in rows)
    assert key.text not in str(rows)
    assert rows[1].detail["replaces"] == key.key_id


async def test_a_revoked_key_stops_within_five_seconds_in_every_directory(database: Database, tenant: UUID) -> None:
    key, now = await made(database, tenant, 1), datetime.now(UTC)
    here, there = CachedKeyDirectory(database), CachedKeyDirectory(database)
    assert [await recognised(each, key, now) for each in (here, there)] == [True, True]
    await Keys(database).revoke(tenant, key.key_id)
    late = now + timedelta(seconds=5, microseconds=1)
    assert [await recognised(each, key, late) for each in (here, there)] == [False, False]


async def test_an_id_that_nobody_has_is_asked_for_once(database: Database, tenant: UUID) -> None:
    directory, now = CachedKeyDirectory(database), datetime.now(UTC)
    assert await directory.lookup("a" * 16, now) is None
    await made(database, tenant, 1)
    await database.__aexit__(None, None, None)  # whoever asks the database now gets an error
    assert await directory.lookup("a" * 16, now + timedelta(seconds=5)) is None
    await database.__aenter__()


async def test_a_directory_knows_the_plan_and_the_limit_of_a_key(database: Database) -> None:
    tenant = (await Tenants(database).create("team", plan="team")).tenant_id
    key = await made(database, tenant, 1, requests_per_minute=5)
    record = await CachedKeyDirectory(database).lookup(key.key_id, datetime.now(UTC))
    assert record is not None
    assert (record.plan, record.requests_per_minute, record.name) == ("team", 5, "key 1")


async def test_the_number_of_keys_is_bounded(database: Database, tenant: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "KEYS_MAX", 2)
    monkeypatch.setattr(keys_module, "KEY_ROWS_MAX", 3)
    first = await made(database, tenant, 1)
    await made(database, tenant, 2)
    with pytest.raises(Conflict, match="at most"):
        await made(database, tenant, 3)
    await Keys(database).revoke(tenant, first.key_id)
    await made(database, tenant, 3)
    await Keys(database).revoke(tenant, minted(3).key_id)
    with pytest.raises(Conflict, match="at most"):
        await made(database, tenant, 4)


async def test_keys_that_are_long_over_are_forgotten(database: Database, tenant: UUID, owner: asyncpg.Connection) -> None:
    revoked, expired, kept = [await made(database, tenant, number) for number in (1, 2, 3)]
    long_ago = datetime.now(UTC) - FORGOTTEN_AFTER - DAY
    await owner.execute("update driftlock.api_keys set revoked_at = $1 where id = $2", long_ago, revoked.key_id)
    await owner.execute("update driftlock.api_keys set expires_at = $1 where id = $2", long_ago, expired.key_id)
    await made(database, tenant, 4, expires_at=datetime.now(UTC) - DAY)
    assert await forget_keys(database) == 2
    assert {row.key_id for row in await Keys(database).list(tenant)} == {kept.key_id, minted(4).key_id}


async def test_uses_of_a_key_are_written_together(database: Database, tenant: UUID) -> None:
    keys, use, now = Keys(database), KeyUse(database, keys_max=2), datetime.now(UTC)
    one, two, three = [(await made(database, tenant, number)).key_id for number in (1, 2, 3)]
    for second in range(50):
        use.note(one, now + timedelta(seconds=second))
    use.note(two, now)
    use.note(three, now)
    assert len(use) == 2, "there is no room for a third one this time"
    assert await use.write() == 2
    assert (len(use), await use.write()) == (0, 0)
    used = {row.key_id: row.last_used_at for row in await keys.list(tenant)}
    assert used == {one: now + timedelta(seconds=49), two: now, three: None}
    use.note(one, now)
    await use.write()
    assert {row.key_id: row.last_used_at for row in await keys.list(tenant)}[one] == now + timedelta(seconds=49)


async def test_uses_that_can_not_be_written_are_not_lost(database: Database, tenant: UUID) -> None:
    use, now = KeyUse(Database("postgresql://nobody@127.0.0.1:1/none")), datetime.now(UTC)
    use.note("a" * 16, now)
    with pytest.raises(Exception, match="retry"):
        await use.write()
    assert len(use) == 1


async def test_a_key_in_use_is_asked_for_again_before_its_answer_is_too_old(database: Database, tenant: UUID) -> None:
    key, now = await made(database, tenant, 1), datetime.now(UTC)
    directory = CachedKeyDirectory(database)
    assert await recognised(directory, key, now)
    await Keys(database).revoke(tenant, key.key_id)
    assert await recognised(directory, key, now + timedelta(seconds=2.5))  # young enough: nothing is asked
    assert directory.asking == 0
    assert await recognised(directory, key, now + timedelta(seconds=3))  # nobody waits for the next answer
    assert directory.asking == 1
    for _ in range(1000):
        if not directory.asking:
            break
        await asyncio.sleep(0.01)
    assert not await recognised(directory, key, now + timedelta(seconds=3))
