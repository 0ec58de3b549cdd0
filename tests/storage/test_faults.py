"""Every error of the database has a meaning of ours, and none of its words get out."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
from asyncpg import exceptions

from driftlock.engine.ports import Receipt
from driftlock.errors import Conflict, DriftlockError, Internal, InvalidArgument, NotFound, Unavailable
from driftlock.storage.faults import is_damage, is_outage, is_poison, sqlstate_of, translate
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import TRIES_MAX, Connection, Database
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import submission

SECRET = "s3cret row contents"
ALL = sorted(
    {
        value
        for value in vars(exceptions).values()
        if isinstance(value, type) and issubclass(value, asyncpg.PostgresError) and value.sqlstate
    },
    key=lambda value: value.__name__,
)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_is_translated_and_keeps_its_words(kind: type[asyncpg.PostgresError]) -> None:
    translated = translate(kind(SECRET))
    assert isinstance(translated, DriftlockError)
    assert SECRET not in str(translated)
    assert isinstance(translated, Unavailable) == (translated.retry_after_ms is not None)


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        ("08003", Unavailable),
        ("08006", Unavailable),
        ("25006", Unavailable),
        ("40001", Unavailable),
        ("40P01", Unavailable),
        ("53100", Unavailable),
        ("53200", Unavailable),
        ("53300", Unavailable),
        ("55P03", Unavailable),
        ("57014", Unavailable),
        ("57P01", Unavailable),
        ("57P02", Unavailable),
        ("57P03", Unavailable),
        ("58030", Unavailable),
        ("28P01", Unavailable),
        ("3D000", Unavailable),
        ("ZD001", Conflict),
        ("ZD002", Unavailable),
        ("ZD003", Internal),
        ("ZD404", NotFound),
        ("22021", InvalidArgument),
        ("22P02", InvalidArgument),
        ("22P05", InvalidArgument),
        ("23502", Internal),
        ("23503", NotFound),
        ("23505", Conflict),
        ("23514", InvalidArgument),
        ("54000", InvalidArgument),
        ("54001", InvalidArgument),
        ("42501", Internal),
        ("42P01", Internal),
        ("XX001", Unavailable),
        ("XX002", Unavailable),
        ("0A000", Internal),
    ],
)
def test_meanings(sqlstate: str, expected: type[DriftlockError]) -> None:
    error = asyncpg.PostgresError.new({"C": sqlstate, "M": SECRET})
    assert type(translate(error)) is expected
    assert is_poison(error) == (sqlstate[:2] in {"22", "23", "54"})
    assert is_outage(error) == (sqlstate[:2] == "08" or sqlstate in {"57P01", "57P02", "57P03"})


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, SECRET),
        ConnectionResetError(),
        TimeoutError(),
        OSError(SECRET),
        asyncpg.InterfaceError(SECRET),
        asyncpg.InternalClientError(SECRET),
        asyncpg.ConnectionDoesNotExistError(SECRET),
    ],
)
def test_a_lost_connection_is_unavailable(error: Exception) -> None:
    translated = translate(error)
    assert isinstance(translated, Unavailable)
    assert SECRET not in str(translated)
    assert not is_poison(error)
    assert is_outage(error)


def test_what_the_driver_can_not_encode_is_poison() -> None:
    error = exceptions._base.DataError(SECRET)
    assert is_poison(error)
    assert not is_outage(error)
    assert isinstance(translate(error), InvalidArgument)


def test_our_own_errors_pass_and_foreign_ones_are_not_ours() -> None:
    own = NotFound("x")
    assert translate(own) is own
    assert translate(KeyError("x")) is None
    assert translate(ValueError("x")) is None


DEEP, LONG = "[" * 100_000, "".join(secrets.token_hex(16) for _ in range(400))
PROVOKED = [
    ("25006", "set transaction read only; delete from driftlock.journal", Unavailable),
    ("57014", "set local statement_timeout = 20; select pg_sleep(5)", Unavailable),
    ("55P03", "set local lock_timeout = 20; select 1 from driftlock.streams", Unavailable),
    ("22021", "select convert_from('\\xff'::bytea, 'utf8')", InvalidArgument),
    ("22P02", "select '{\"a\": NaN}'::jsonb", InvalidArgument),
    ("22P05", "select '\"\\u0000\"'::jsonb ->> 0", InvalidArgument),
    ("22003", "select 9223372036854775807 + 1", InvalidArgument),
    ("23505", "create temp table t (a int unique); insert into t values (1), (1)", Conflict),
    ("23514", "create temp table t (a int check (a > 0)); insert into t values (0)", InvalidArgument),
    ("54001", f"select '{DEEP}'::json", InvalidArgument),
    ("54000", f"create temp table t (a text unique); insert into t values ('{LONG}')", InvalidArgument),  # noqa: S608
    ("53100", "do $$ begin raise exception 'x' using errcode = '53100'; end $$", Unavailable),
    ("53200", "do $$ begin raise exception 'x' using errcode = '53200'; end $$", Unavailable),
    ("58030", "do $$ begin raise exception 'x' using errcode = '58030'; end $$", Unavailable),
]


@pytest.mark.parametrize(("sqlstate", "sql", "expected"), PROVOKED, ids=[row[0] for row in PROVOKED])
async def test_a_real_server_says_so(
    database: Database, owner: asyncpg.Connection, sqlstate: str, sql: str, expected: type[DriftlockError]
) -> None:
    async with owner.transaction():
        if sqlstate == "55P03":
            await owner.execute("lock table driftlock.streams in access exclusive mode")

        async def work(connection: Connection) -> None:
            async with connection.transaction():
                await connection.execute(sql)

        with pytest.raises(expected) as raised:
            await database.node(work)
    cause = raised.value.__cause__
    assert cause is not None
    assert sqlstate_of(cause) == sqlstate
    await database.ping()


async def test_an_administrator_ends_our_connection(database: Database, owner: asyncpg.Connection) -> None:
    working = asyncio.create_task(database.node(lambda connection: connection.execute("select pg_sleep(60)")))
    busy = "from pg_stat_activity where application_name = 'driftlock-node' and state = 'active' and query like '%pg_sleep%'"
    async with asyncio.timeout(30):
        while not await owner.fetchval(f"select count(pg_terminate_backend(pid)) {busy}"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    with pytest.raises(Unavailable) as raised:
        await working
    assert raised.value.__cause__ is not None
    assert is_outage(raised.value.__cause__)  # the driver says 57P01, or only that the connection was closed


async def test_a_deadlock_is_tried_again(database: Database, owner: asyncpg.Connection, tenant: UUID) -> None:
    """40P01 from the server, whose victim is whoever waits longer than `deadlock_timeout`: ours, told to be impatient."""
    other = (await Tenants(database).create("other")).tenant_id
    lock = "select 1 from driftlock.tenants where id = $1 for update"
    tries: list[str] = []

    async def work(connection: Connection) -> None:
        async with connection.transaction():
            tries.append("begun")
            await connection.execute(lock, other)
            if len(tries) == 1:
                crossing.set()
                await asyncio.sleep(0.1)
            await connection.execute(lock, tenant)

    crossing = asyncio.Event()
    async with asyncio.timeout(10):
        async with owner.transaction():
            await owner.execute("set local deadlock_timeout = '60s'")
            await owner.execute(lock, tenant)
            working = asyncio.create_task(database.node(work))
            await crossing.wait()
            await owner.execute(lock, other)  # until ours is given up
        await working
    assert len(tries) >= 2


@contextlib.asynccontextmanager
async def failing_rows(owner: asyncpg.Connection, sqlstate: str, times: int) -> AsyncIterator[None]:
    """Rows of 7 records can not be journaled for the first `times` times, as a trigger says."""
    await owner.execute(
        f"""
        create sequence driftlock.tries; grant usage on sequence driftlock.tries to driftlock_node;
        create function driftlock.fail() returns trigger language plpgsql as $$
        begin
          if new.records = 7 and nextval('driftlock.tries') <= {times} then
            raise exception 'x' using errcode = '{sqlstate}';
          end if;
          return new;
        end $$;
        create trigger fail before insert on driftlock.journal for each row execute function driftlock.fail();
        grant execute on function driftlock.fail() to driftlock_node;
        """  # no text from outside
    )
    try:
        yield
    finally:
        await owner.execute(
            "drop trigger fail on driftlock.journal; drop function driftlock.fail(); drop sequence driftlock.tries"
        )


async def sixteen(journal: Journal, tenants: tuple[UUID, UUID]) -> list[object]:
    """16 requests of two tenants at once, the sixth with 7 records; a first one makes their streams known."""
    for each in tenants:
        await journal.submit(submission(each, "known"))
    requests = [submission(tenants[n % 2], *(f"{n} {line}" for line in range(7 if n == 5 else 1))) for n in range(16)]
    return list(await asyncio.gather(*map(journal.submit, requests), return_exceptions=True))


@pytest.mark.parametrize("sqlstate", ["22P02", "22021", "23514", "54000", "54001"])
async def test_a_poisoned_request_is_refused_alone_and_for_good(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection, sqlstate: str
) -> None:
    other = (await Tenants(database).create("other")).tenant_id
    async with failing_rows(owner, sqlstate, 1000):
        outcomes = await sixteen(journal, (tenant, other))
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, InvalidArgument)] == [5]
    assert sum(isinstance(outcome, Receipt) for outcome in outcomes) == 15
    assert await JournalRows(database).last_seq() == 17
    assert await owner.fetchval("select sum(records) from driftlock.meter") == 17


@pytest.mark.parametrize("sqlstate", ["53100", "53200", "58030", "25006", "55P03"])
async def test_what_may_pass_is_retryable_for_the_whole_group(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection, sqlstate: str
) -> None:
    other = (await Tenants(database).create("other")).tenant_id
    async with failing_rows(owner, sqlstate, 1000):
        outcomes = await sixteen(journal, (tenant, other))
        tries = await owner.fetchval("select last_value from driftlock.tries")
    refused = [outcome for outcome in outcomes if isinstance(outcome, Unavailable)]
    assert all(error.retry_after_ms for error in refused)
    assert tries == 1  # neither halved nor tried again
    assert len(refused) + sum(isinstance(outcome, Receipt) for outcome in outcomes) == 16
    assert await JournalRows(database).last_seq() == 2 + 16 - len(refused)
    again = [outcome for outcome in await sixteen(journal, (tenant, other)) if isinstance(outcome, Receipt)]
    assert len(again) == 16
    assert await owner.fetchval("select sum(records) from driftlock.meter") == 2 + 15 + 7


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
@pytest.mark.parametrize("failures", [TRIES_MAX - 1, TRIES_MAX])
async def test_conflicts_of_a_group_are_tried_three_times_more(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection, sqlstate: str, failures: int
) -> None:
    other = (await Tenants(database).create("other")).tenant_id
    async with failing_rows(owner, sqlstate, failures):
        outcomes = await sixteen(journal, (tenant, other))
        tries = await owner.fetchval("select last_value from driftlock.tries")
    assert tries == TRIES_MAX
    assert any(isinstance(outcome, Unavailable) for outcome in outcomes) == (failures == TRIES_MAX)
    assert not any(isinstance(outcome, InvalidArgument) for outcome in outcomes)


@pytest.mark.parametrize(
    ("sqlstate", "message", "damage"),
    [
        ("XX001", "invalid page in block 2", True),
        ("XX002", "index is corrupted", True),
        ("XX000", "missing chunk number 0 for toast value 16401", True),
        ("XX000", "unexpected chunk size 3 in final chunk", True),
        ("XX000", "cache lookup failed", False),
        ("58030", "could not read block", False),
    ],
)
def test_damage_is_told_from_bugs(sqlstate: str, message: str, damage: bool) -> None:
    error = asyncpg.PostgresError.new({"C": sqlstate, "M": message})
    assert is_damage(error) is damage
    assert ("restore the whole database from a backup" in str(translate(error))) is damage
