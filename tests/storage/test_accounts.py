"""Accounts: what changes is noted, what was used is told by day, and the end of one begins at once."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from driftlock.accounts.actor import Actor, ActorKind
from driftlock.accounts.keys import KeyKind, Scope, mint
from driftlock.errors import Conflict, InvalidArgument
from driftlock.storage.accounts import AccountChange, Accounts, UsageRow, month_of
from driftlock.storage.audit import AuditLog
from driftlock.storage.keys import CachedKeyDirectory, Keys
from driftlock.storage.pool import Database
from driftlock.storage.tenants import DEDUP_WINDOW_NS_MAX, Tenants

ACTOR = Actor(ActorKind.KEY, "id", "name")
DAY = timedelta(days=1)
METER = "insert into driftlock.meter (tenant_id, node, hour, signal, records, bytes) values ($1, $2, $3, $4, $5, 10)"


async def made(database: Database, name: str = "mine") -> UUID:
    return (await Tenants(database).create(name)).tenant_id


async def test_changes_are_noted_and_those_that_change_nothing_are_not(database: Database) -> None:
    tenant_id, accounts = await made(database), Accounts(database)
    row = await accounts.change(tenant_id, AccountChange(name="new", sets_window=True, dedup_window_ns=7), ACTOR)
    assert row is not None
    assert (row.name, row.dedup_window_ns) == ("new", 7)
    assert await accounts.change(tenant_id, AccountChange(name="new", sets_window=True, dedup_window_ns=7), ACTOR) == row
    assert await accounts.change(tenant_id, AccountChange(), ACTOR) == row
    cleared = await accounts.change(tenant_id, AccountChange(sets_window=True), ACTOR)
    assert cleared is not None
    assert (cleared.name, cleared.dedup_window_ns) == ("new", None)
    entries = await AuditLog(database).list(tenant_id, limit=9)
    assert [dict(entry.detail) for entry in reversed(entries)] == [
        {"name": {"before": "mine", "after": "new"}, "dedup_window_ns": {"before": None, "after": 7}},
        {"dedup_window_ns": {"before": 7, "after": None}},
    ]


@pytest.mark.parametrize("name", ["", "x" * 223, "a\x7fb", "deleted-1"])
async def test_names_that_can_not_be(database: Database, name: str) -> None:
    tenant_id = await made(database)
    with pytest.raises(InvalidArgument):
        await Accounts(database).change(tenant_id, AccountChange(name=name), ACTOR)


async def test_who_takes_the_name_of_another_is_not_told(database: Database, owner: asyncpg.Connection) -> None:
    """The answer is that of any name, so nobody can try out who has an account."""
    tenant_id, accounts = await made(database), Accounts(database)
    await made(database, "x" * 222)
    await made(database, "other")
    answers = [await accounts.change(tenant_id, AccountChange(name=name), ACTOR) for name in ("nobody", "other", "x" * 222)]
    assert [None if row is None else row.name for row in answers] == ["nobody", "other", "x" * 222]
    assert await accounts.get(tenant_id) == answers[-1]
    last, _, first = await AuditLog(database).list(tenant_id, limit=9)
    assert (dict(first.detail), last.detail["name"]) == (
        {"name": {"before": "mine", "after": "nobody"}},
        {"before": "other", "after": "x" * 222},
    )
    await accounts.change(tenant_id, AccountChange(name="other"), ACTOR)
    assert await owner.fetchval("select name from driftlock.tenants where id = $1", tenant_id) == f"other #{tenant_id.hex}"
    again = await accounts.change(tenant_id, AccountChange(name="other"), ACTOR)
    assert again is not None
    assert len(await AuditLog(database).list(tenant_id, limit=9)) == 4, "it is called so already"
    assert await accounts.close(tenant_id, "other", ACTOR)


async def test_the_local_name_is_not_to_be_had(database: Database) -> None:
    tenant_id, other, accounts = await made(database), await made(database, "other"), Accounts(database)
    with pytest.raises(Conflict):
        await accounts.change(tenant_id, AccountChange(name="local"), ACTOR)
    local = (await Tenants(database).ensure_local()).tenant_id
    with pytest.raises(Conflict, match="keeps the name 'local'"):
        await accounts.change(local, AccountChange(name="elsewhere"), ACTOR)
    with pytest.raises(Conflict, match="data folder"):
        await accounts.close(local, "local", ACTOR)
    found = await accounts.get(other)
    assert found is not None
    assert found.name == "other"
    assert await AuditLog(database).list(tenant_id, limit=9) == []


@pytest.mark.parametrize("window_ns", [-1, DEDUP_WINDOW_NS_MAX + 1])
async def test_windows_that_can_not_be(database: Database, window_ns: int) -> None:
    tenant_id = await made(database)
    with pytest.raises(InvalidArgument):
        await Accounts(database).change(tenant_id, AccountChange(sets_window=True, dedup_window_ns=window_ns), ACTOR)


async def test_an_account_ends_for_who_knows_its_name(database: Database, owner: asyncpg.Connection) -> None:
    tenant_id, other, accounts = await made(database), await made(database, "other"), Accounts(database)
    key = mint(KeyKind.LIVE, bytes(30))
    await Keys(database).insert(tenant_id, key, kind=KeyKind.LIVE, name="k", scopes=Scope)
    now = datetime.now(UTC)
    for name in ("", "Mine", "other"):
        with pytest.raises(InvalidArgument) as refused:
            await accounts.close(tenant_id, name, ACTOR)
        assert refused.value.pointer == "/name"
    directory = CachedKeyDirectory(database)
    assert await directory.lookup(key.key_id, now) is not None
    assert await accounts.close(tenant_id, "mine", ACTOR)
    assert await directory.lookup(key.key_id, now + timedelta(seconds=5.1)) is None
    assert not await accounts.close(tenant_id, "mine", ACTOR)
    assert await accounts.get(tenant_id) is None
    assert await accounts.change(tenant_id, AccountChange(name="x"), ACTOR) is None
    assert await owner.fetchval("select closed_at is not null from driftlock.tenants where id = $1", tenant_id)
    assert await accounts.get(other) is not None
    assert (await Tenants(database).create("mine")).tenant_id != tenant_id


async def test_usage_is_told_by_day_and_signal(database: Database, owner: asyncpg.Connection) -> None:
    tenant_id, other, accounts = await made(database), await made(database, "other"), Accounts(database)
    midnight = datetime(2027, 3, 1, tzinfo=UTC)
    for node, hour, signal, records in (
        ("a", midnight, "logs", 1),
        ("b", midnight, "logs", 2),
        ("a", midnight + DAY - timedelta(hours=1), "traces", 4),
        ("a", midnight - timedelta(hours=1), "metrics", 8),
        ("a", midnight - 3 * DAY, "logs", 16),
    ):
        await owner.execute(METER, tenant_id, node, hour, signal, records)
    await owner.execute(METER, other, "a", midnight, "logs", 1000)
    rows = await accounts.usage(tenant_id, limit=9)
    assert rows == [
        UsageRow(date(2027, 3, 1), 3, 0, 4, 30),
        UsageRow(date(2027, 2, 28), 0, 8, 0, 10),
        UsageRow(date(2027, 2, 26), 16, 0, 0, 10),
    ]
    paged = [await accounts.usage(tenant_id, limit=1, after=after) for after in (None, rows[0].day, rows[1].day, rows[2].day)]
    assert paged == [[rows[0]], [rows[1]], [rows[2]], []]


def test_months_begin_at_midnight_in_utc() -> None:
    assert month_of(datetime.fromisoformat("2027-03-01T01:30:00+02:00")) == datetime(2027, 2, 1, tzinfo=UTC)
