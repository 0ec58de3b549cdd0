"""Redaction rules as they are stored, journaled and known to who decodes."""

from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from driftlock.accounts.actor import SYSTEM
from driftlock.engine import records
from driftlock.engine.ports import RowKind
from driftlock.engine.redaction import KEY_BYTES, Rule
from driftlock.errors import NotFound, PreconditionFailed, Unavailable
from driftlock.storage.audit import AuditLog
from driftlock.storage.controls import Controls
from driftlock.storage.deletion import Deletions
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.redaction import AGE_MAX_S, RedactionRules, RedactionTable, RuleSet
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import CHECKOUT, submission

MAIL, USER = Rule("mail", kind="email", action="hash"), Rule("user", "attribute:user", action="drop")


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(database: Database, clock: Clock) -> RedactionTable:
    return RedactionTable(database, clock)


@pytest.fixture
def rules(database: Database, journal: Journal, table: RedactionTable) -> RedactionRules:
    return RedactionRules(database, Controls(journal), table, lambda size: bytes(range(size)))


async def test_rules_hold_at_once_where_they_are_changed_and_are_journaled(
    database: Database, journal: Journal, rules: RedactionRules, tenant: UUID
) -> None:
    assert await rules.rules(tenant) is None
    assert await rules.get(tenant, None) == RuleSet()
    await journal.submit(submission(tenant, "a"))
    changed = await rules.put(tenant, None, [MAIL, USER], SYSTEM)
    assert changed.rules == (MAIL, USER)
    found = await rules.rules(tenant)
    assert found is not None
    redactor = found.of(CHECKOUT)
    assert redactor is not None
    assert "x@y.de" not in redactor.text("hi x@y.de user=7")
    last = (await JournalRows(database).read(changed.seq - 1, 1 << 20))[-1]
    assert (last.seq, last.kind) == (changed.seq, RowKind.REDACTION)
    assert records.decode_redaction(last.body) == (MAIL, USER)
    (entry,) = await AuditLog(database).list(tenant, limit=9)
    assert entry.action == "redaction.changed"
    assert entry.detail == {"rules": ["mail", "user"], "before": [], "seq": changed.seq}
    assert await rules.put(tenant, None, [MAIL, USER], SYSTEM) == changed  # nothing new: no row
    assert await JournalRows(database).last_seq() == changed.seq


async def test_rules_of_a_stream_are_added_to_the_tenants(journal: Journal, rules: RedactionRules, tenant: UUID) -> None:
    stream = (await journal.submit(submission(tenant, "a"))).stream_ids[0]
    await rules.put(tenant, None, [MAIL], SYSTEM)
    await rules.put(tenant, stream, [USER], SYSTEM)
    found = await rules.rules(tenant)
    assert found is not None
    here, elsewhere = found.of(CHECKOUT), found.of(replace(CHECKOUT, service="other"))
    assert here is not None
    assert elsewhere is not None
    assert here.rules == (MAIL, USER)
    assert elsewhere.rules == (MAIL,)
    await rules.put(tenant, stream, [], SYSTEM)
    found = await rules.rules(tenant)
    assert found is not None
    assert found.of(CHECKOUT).rules == (MAIL,)  # type: ignore[union-attr]


async def test_the_key_of_a_tenant_never_changes_and_is_shown_to_nobody(
    database: Database, rules: RedactionRules, tenant: UUID, owner: asyncpg.Connection
) -> None:
    await rules.put(tenant, None, [MAIL], SYSTEM)
    first = (await rules.preview(tenant, [MAIL])).text("x@y.de")
    later = RedactionRules(database, rules._controls, rules._table, lambda size: b"\7" * size)
    await later.put(tenant, None, [MAIL, USER], SYSTEM)
    assert (await later.preview(tenant, [MAIL])).text("x@y.de") == first
    assert await owner.fetchval("select octet_length(key) from driftlock.redaction_keys") == KEY_BYTES
    with pytest.raises(Exception, match="bug"):  # the API's role may not even ask
        async with database.tenant(tenant) as connection:
            await connection.fetch("select key from driftlock.redaction_keys")


async def test_another_process_knows_within_the_age(
    database: Database, clock: Clock, table: RedactionTable, rules: RedactionRules, tenant: UUID
) -> None:
    other = RedactionTable(database, clock)
    assert await other.rules(tenant) is None
    await rules.put(tenant, None, [MAIL], SYSTEM)
    assert await other.rules(tenant) is None
    clock.now_s += AGE_MAX_S + 0.1
    assert await other.rules(tenant) is not None
    await rules.put(tenant, None, [], SYSTEM)
    await other.refresh()  # as the task that asks all the time does
    assert await other.rules(tenant) is None


async def test_rules_that_nobody_can_know_let_nothing_through(database: Database, clock: Clock, tenant: UUID) -> None:
    closed = RedactionTable(Database("postgresql://127.0.0.1:1/none"), clock)
    with pytest.raises(Unavailable):
        await closed.rules(tenant)
    table = RedactionTable(database, clock)
    await table.refresh()
    table._database = closed._database
    assert await table.rules(tenant) is None
    clock.now_s += AGE_MAX_S + 0.1
    with pytest.raises(Unavailable):
        await table.rules(tenant)


async def test_who_has_read_other_rules_changes_nothing(rules: RedactionRules, tenant: UUID, database: Database) -> None:
    first = await rules.put(tenant, None, [MAIL], SYSTEM)
    await rules.put(tenant, None, [USER], SYSTEM, expected=first)
    before = await JournalRows(database).last_seq()
    with pytest.raises(PreconditionFailed):
        await rules.put(tenant, None, [MAIL, USER], SYSTEM, expected=first)
    assert (await rules.get(tenant, None)).rules == (USER,)
    assert await JournalRows(database).last_seq() == before


async def test_a_foreign_stream_is_not_found(
    database: Database, journal: Journal, rules: RedactionRules, tenant: UUID, owner: asyncpg.Connection
) -> None:
    other = (await Tenants(database).create("other")).tenant_id
    stream = (await journal.submit(submission(tenant, "a"))).stream_ids[0]
    with pytest.raises(NotFound):
        await rules.put(other, stream, [MAIL], SYSTEM)
    assert await owner.fetchval("select count(*) from driftlock.redaction_rules") == 0
    assert await owner.fetchval("select count(*) from driftlock.redaction_keys") == 0


async def test_a_deleted_tenant_leaves_no_rules(database: Database, rules: RedactionRules, owner: asyncpg.Connection) -> None:
    gone = (await Tenants(database).create("gone")).tenant_id
    await rules.put(gone, None, [MAIL], SYSTEM)
    deletions = Deletions(database)
    await deletions.close(gone)
    await deletions.empty(gone)
    for name in ("tenants", "redaction_rules", "redaction_keys"):
        assert await owner.fetchval(f"select count(*) from driftlock.{name}") == 0  # noqa: S608
    assert await owner.fetchval("select count(*) from driftlock.journal where tenant_id = $1", gone) == 0
