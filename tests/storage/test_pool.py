"""A database that goes away: calls fail at once, in our words, and the first call after its return works."""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from driftlock.engine import records
from driftlock.errors import InvalidArgument, Unavailable
from driftlock.storage.datafolder import APP_ROLE
from driftlock.storage.embedded import EmbeddedPostgres
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.migrate import migrate
from driftlock.storage.pool import Connection, Database, PoolLimits
from driftlock.storage.tenants import Tenants
from tests.conftest import Urls
from tests.storage.helpers import open_journal, submission
from tests.storage.proxy import Proxy


@pytest_asyncio.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server of one's own, to be killed."""
    async with EmbeddedPostgres(tmp_path, token_bytes=secrets.token_bytes) as running:
        await migrate(running.owner_dsn, APP_ROLE)
        yield running


async def until_it_works(database: Database, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await database.ping()
            except Unavailable:
                await asyncio.sleep(0.02)


async def test_a_killed_server_loses_nothing_acknowledged_and_comes_back(postgres: EmbeddedPostgres) -> None:
    async with Database(postgres.app_dsn) as database:
        tenant = (await Tenants(database).ensure_local()).tenant_id
        acknowledged: list[str] = []
        refused = 0
        stop = asyncio.Event()

        async with await open_journal(database) as journal:

            async def client(number: int) -> None:
                nonlocal refused
                turn = 0
                while not stop.is_set():
                    line = f"client {number} line {turn}"
                    try:
                        await asyncio.wait_for(journal.submit(submission(tenant, line)), 2)
                    except Unavailable:
                        refused += 1
                        await asyncio.sleep(0.01)
                        continue  # the same line again, as an exporter would
                    acknowledged.append(line)
                    turn += 1

            async with asyncio.TaskGroup() as clients:
                for number in range(8):
                    clients.create_task(client(number))
                for _ in range(3):
                    await asyncio.sleep(0.3)
                    killed = postgres.pid
                    os.kill(killed, signal.SIGKILL)
                    while postgres.pid == killed:  # noqa: ASYNC110  # nobody announces it
                        await asyncio.sleep(0.01)
                    await until_it_works(database)
                await asyncio.sleep(0.2)
                stop.set()

        stored: list[str] = []
        position = 0
        while rows := await JournalRows(database).read(position, 1 << 20):
            stored += [records.decode(row.body).text.decode() for row in rows]
            position = rows[-1].seq
        assert len(acknowledged) > 30
        assert refused > 0
        assert sorted(stored) == sorted(set(stored))  # nothing twice
        assert set(acknowledged) <= set(stored)  # nothing lost
        assert len(stored) - len(acknowledged) <= 8  # at most one line a client was stored and never acknowledged


async def test_calls_to_an_absent_database_fail_within_a_second() -> None:
    async with Database("postgresql://app:x@127.0.0.1:1/none") as database:
        async with asyncio.timeout(1):
            with pytest.raises(Unavailable, match="away") as refused:
                await database.ping()
        assert refused.value.retry_after_ms
        async with asyncio.timeout(1):
            with pytest.raises(Unavailable):
                async with database.tenant(UUID(int=1)):
                    pass


async def test_a_silent_database_is_not_waited_for(unused_tcp_port: int) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", unused_tcp_port)
    limits = PoolLimits(acquire_timeout_ms=50, waiters_max=3)
    async with server, Database(f"postgresql://app:x@127.0.0.1:{unused_tcp_port}/none", limits=limits) as database:
        outcomes = await asyncio.gather(*(database.ping() for _ in range(10)), return_exceptions=True)
        assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
        assert sum("too many calls wait" in str(outcome) for outcome in outcomes) == 7


async def test_a_slow_way_is_not_an_outage(database_urls: Urls) -> None:
    async with Proxy(database_urls.app) as proxy:
        proxy.delay_s = 0.08  # for each message: a login takes longer than a caller waits
        async with Database(proxy.dsn, limits=PoolLimits(acquire_timeout_ms=100)) as database:
            with pytest.raises(Unavailable):
                await database.ping()
            await until_it_works(database)


async def test_a_resend_after_a_lost_answer_is_a_duplicate(database_urls: Urls, database: Database, tenant: UUID) -> None:
    async with Proxy(database_urls.app) as proxy, Database(proxy.dsn) as shaky, await open_journal(shaky) as journal:
        await journal.submit(submission(tenant, "first"))
        proxy.lose_answer_to(b"line")
        with pytest.raises(Unavailable):
            await journal.submit(submission(tenant, "\x00line" * 3, hashed=True))
        assert not proxy.armed
        assert await JournalRows(database).last_seq() == 2
        again = await journal.submit(submission(tenant, "\x00line" * 3))
        assert (again.duplicate, again.seq) == (True, 2)


async def test_backends_that_are_killed_do_not_shrink_the_pool(database: Database, owner: asyncpg.Connection) -> None:
    for _ in range(10):
        outcomes = await asyncio.gather(
            *(database.ping() for _ in range(6)),
            owner.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'driftlock-node'"),
            return_exceptions=True,
        )
        assert all(outcome is None or isinstance(outcome, Unavailable | str) for outcome in outcomes)
    await until_it_works(database)
    limit = PoolLimits().node_connections_max
    barrier = asyncio.Barrier(limit)

    async def work(connection: Connection) -> None:
        await connection.execute("select 1")
        await barrier.wait()

    async with asyncio.timeout(5):
        for _ in range(3):  # a connection that was killed while idle may still be handed out once
            outcomes = await asyncio.gather(*(database.node(work) for _ in range(limit)), return_exceptions=True)
            if outcomes == [None] * limit:
                break
            await barrier.reset()
    assert outcomes == [None] * limit


async def test_conflicts_are_tried_again_and_then_given_up(database: Database) -> None:
    tries = 0

    async def work(connection: Connection, failures: int) -> int:
        nonlocal tries
        tries += 1
        if tries <= failures:
            await connection.execute("do $$ begin raise exception 'x' using errcode = '40001'; end $$")
        return tries

    assert await database.node(lambda connection: work(connection, 3)) == 4
    tries = 0
    with pytest.raises(Unavailable, match="conflict"):
        await database.node(lambda connection: work(connection, 4))
    assert tries == 4


async def test_other_failures_are_not_tried_again(database: Database) -> None:
    tries = 0

    async def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        await connection.execute("select 1 / 0")

    with pytest.raises(InvalidArgument):
        await database.node(work)
    assert tries == 1


async def test_statements_end_at_their_timeout(database_urls: Urls, tenant: UUID) -> None:
    limits = PoolLimits(api_statement_timeout_ms=50, node_statement_timeout_ms=50)
    async with Database(database_urls.app, limits=limits) as database:
        with pytest.raises(Unavailable, match="longer than allowed"):
            async with database.tenant(tenant) as connection:
                await connection.execute("select pg_sleep(2)")
        with pytest.raises(Unavailable, match="longer than allowed"):
            await database.node(lambda connection: connection.execute("select pg_sleep(2)"))


def test_the_api_role_has_two_seconds() -> None:
    assert PoolLimits().api_statement_timeout_ms == 2000


async def test_a_callers_own_error_passes_and_rolls_back(database: Database, tenant: UUID, owner: asyncpg.Connection) -> None:
    async def write_and_fail() -> None:
        async with database.tenant(tenant, read_only=False) as connection:
            await connection.execute(
                "insert into driftlock.api_keys (id, tenant_id, kind, digest, name, scopes) "
                "values ('aaaaaaaaaaaaaaaa', $1, 'live', $2, '', '{read}')",
                tenant,
                bytes(32),
            )
            raise KeyError("x")

    with pytest.raises(KeyError):
        await write_and_fail()
    assert await owner.fetchval("select count(*) from driftlock.api_keys") == 0


async def test_a_cancelled_waiter_gives_its_connection_back(database_urls: Urls) -> None:
    async with Database(database_urls.app, limits=PoolLimits(node_connections_max=1)) as database:
        await database.ping()
        release = asyncio.Event()

        async def hold(_: Connection) -> None:
            await release.wait()

        holder = asyncio.create_task(database.node(hold))
        await asyncio.sleep(0.01)
        waiter = asyncio.create_task(database.ping())
        await asyncio.sleep(0.01)
        waiter.cancel()
        release.set()
        await holder
        with pytest.raises(asyncio.CancelledError):
            await waiter
        await asyncio.sleep(0.01)
        await database.ping()


async def test_a_closed_database_is_unavailable(database_urls: Urls) -> None:
    database = Database(database_urls.app)
    with pytest.raises(Unavailable, match="not open"):
        await database.ping()
    async with database:
        await database.ping()
    with pytest.raises(Unavailable, match="not open"):
        await database.ping()
