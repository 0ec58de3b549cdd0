"""A database that goes away: calls fail at once, in our words, and the first call after its return works."""

import asyncio
import contextlib
import os
import secrets
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from driftlock.engine import records
from driftlock.errors import InvalidArgument, Unavailable
from driftlock.storage.breaker import State
from driftlock.storage.datafolder import APP_ROLE
from driftlock.storage.embedded import EmbeddedPostgres
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.lanes import Lane
from driftlock.storage.migrate import migrate
from driftlock.storage.pool import Connection, Database, PoolLimits
from driftlock.storage.tenants import Tenants
from tests.conformance.site import Wire
from tests.conftest import Cluster, Urls
from tests.storage.helpers import open_journal, submission
from tests.storage.proxy import Proxy

PATIENCE_S = 30.0
"""A busy machine may be slow to log in, and PostgreSQL to recover."""


@pytest_asyncio.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server of one's own, to be killed."""
    async with EmbeddedPostgres(tmp_path, token_bytes=secrets.token_bytes) as running:
        await migrate(running.owner_dsn, APP_ROLE)
        yield running


async def until_it_works(database: Database, seconds: float = PATIENCE_S) -> None:
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
                        await asyncio.wait_for(journal.submit(submission(tenant, line)), PATIENCE_S)
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
                    await until_it_works(database.reserved(Lane.APPEND))
                async with asyncio.timeout(PATIENCE_S):
                    while len(acknowledged) <= 30:  # noqa: ASYNC110  # clients tell nobody
                        await asyncio.sleep(0.02)
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


class Changes:
    """What breakers tell."""

    def __init__(self) -> None:
        self.seen: list[tuple[Lane, State]] = []

    def __call__(self, lane: Lane, state: State) -> None:
        self.seen.append((lane, state))

    async def until(self, lane: Lane, state: State, seconds: float = PATIENCE_S) -> None:
        async with asyncio.timeout(seconds):
            while (lane, state) not in self.seen:  # noqa: ASYNC110  # nobody announces it
                await asyncio.sleep(0.01)


async def refused(database: Database) -> Unavailable:
    with pytest.raises(Unavailable) as error:
        await database.ping()
    assert error.value.retry_after_ms
    return error.value


async def test_when_the_database_is_away_nobody_waits_and_its_return_is_noticed(database_urls: Urls) -> None:
    changes, limits = Changes(), PoolLimits(probe_ms=50)
    async with Wire(database_urls.app) as wire, Database(wire.dsn, limits=limits, on_change=changes) as database:
        await database.ping()
        wire.cut()
        for _ in range(limits.node_connections_max + 3):
            await refused(database)
        assert changes.seen[0] == (Lane.NODE, State.OPEN)
        waiting = [refused(database) for _ in range(5000)]  # far more than may wait for a connection
        errors = await asyncio.gather(*waiting)
        assert {str(error) for error in errors} == {"the database is away; retry"}
        wire.mend()
        changes.seen.clear()
        await changes.until(Lane.NODE, State.CLOSED)  # nobody has called meanwhile
        await database.ping()
        assert {lane for lane, _ in changes.seen} == {Lane.NODE}


class SilentWire(Wire):
    """Can take connections and say nothing on them, for ever."""

    silent = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.silent:
            self._writers.add(writer)
            await reader.read()
            return
        await super()._serve(reader, writer)


async def test_probes_that_hang_do_not_hide_the_return(database_urls: Urls) -> None:
    changes, limits = Changes(), PoolLimits(probe_ms=20)
    async with SilentWire(database_urls.app) as wire, Database(wire.dsn, limits=limits, on_change=changes) as database:
        wire.cut()
        while (Lane.NODE, State.OPEN) not in changes.seen:
            await refused(database)
        wire.silent = True
        wire.mend()
        await changes.until(Lane.NODE, State.HALF_OPEN)
        assert (Lane.NODE, State.CLOSED) not in changes.seen
        wire.silent = False
        await changes.until(Lane.NODE, State.CLOSED, 8)  # the probes before it hang for 10 s
        await database.ping()


async def test_a_slow_way_with_resets_does_not_open_the_breaker(database_urls: Urls) -> None:
    changes = Changes()
    limits = PoolLimits(acquire_timeout_ms=150)
    async with Proxy(database_urls.app) as proxy:
        proxy.delay_s = 0.05
        async with Database(proxy.dsn, limits=limits, on_change=changes) as database:
            answered = 0

            async def client(number: int) -> None:
                nonlocal answered
                for turn in range(10):
                    if number == 0 and turn % 3 == 0:
                        proxy.lose_answer_to(b"select 1")
                    try:
                        await database.ping()
                        answered += 1
                    except Unavailable:
                        await asyncio.sleep(0.01)

            await asyncio.gather(*(client(number) for number in range(8)))
    assert answered > 20
    assert changes.seen == []


async def test_losing_all_connections_at_once_is_no_outage(database_urls: Urls, owner: asyncpg.Connection) -> None:
    changes, limits = Changes(), PoolLimits(acquire_timeout_ms=20_000)  # what is refused was sent away, not slow to log in
    async with Database(database_urls.app, limits=limits, on_change=changes) as database:
        for _ in range(5):
            outcomes = await asyncio.gather(
                *(database.node(lambda connection: connection.execute("select pg_sleep(4)")) for _ in range(4)),
                _kill_later(owner),
                return_exceptions=True,
            )
            assert sum(isinstance(outcome, Unavailable) for outcome in outcomes) == 4
            await database.ping()
    assert changes.seen == []


async def _kill_later(owner: asyncpg.Connection) -> None:
    of_node = "from pg_stat_activity where application_name = 'driftlock-node' and query like '%pg_sleep%' and state = 'active'"
    while await owner.fetchval(f"select count(*) {of_node}") < 4:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    await owner.execute(f"select pg_terminate_backend(pid) {of_node}")


async def test_no_connections_left_for_one_lane_leave_the_others_theirs(
    database_urls: Urls, cluster: Cluster, tenant: UUID
) -> None:
    changes = Changes()
    async with Database(database_urls.app, on_change=changes) as database:
        await database.ping()
        await cluster.administer(f"alter role {APP_ROLE} connection limit 1")  # 53300 for whoever comes now
        try:
            for _ in range(2 * PoolLimits().api_connections_max):
                with pytest.raises(Unavailable, match="out of resources"):
                    async with database.tenant(tenant):
                        pass
            assert (Lane.API, State.OPEN) in changes.seen
            # Neither does it end what a lane still has: its one connection is busy, and no further one is to be had.
            busy = of_lane(database, Lane.NODE, tenant)
            await asyncio.sleep(0.05)
            for _ in range(2 * PoolLimits().node_connections_max):
                await refused(database)
            await busy
            await database.ping()
        finally:
            await cluster.administer(f"alter role {APP_ROLE} connection limit -1")
        await changes.until(Lane.API, State.CLOSED)
        async with database.tenant(tenant):
            pass
        assert {lane for lane, _ in changes.seen} == {Lane.API}


SLEEPS = {
    "sleep": "select pg_sleep(60)",
    "scan": "select count(*) from generate_series(1, 1000000000)",
    "lock": "select count(*) from driftlock.anomalies",
}


@contextlib.asynccontextmanager
async def locked(owner: asyncpg.Connection, sql: str) -> AsyncIterator[None]:
    """What `sql` waits for, if it waits for a lock."""
    async with owner.transaction():
        if sql == SLEEPS["lock"]:
            await owner.execute("lock table driftlock.anomalies in access exclusive mode")
        yield


async def ask(database: Database, tenant_id: UUID, sql: str) -> None:
    async with database.tenant(tenant_id) as connection:
        await connection.execute(sql)


@pytest.mark.parametrize("sql", SLEEPS.values(), ids=SLEEPS)
async def test_slow_questions_of_the_api_do_not_keep_records_out(
    database_urls: Urls, owner: asyncpg.Connection, tenant: UUID, sql: str
) -> None:
    limits = PoolLimits(acquire_timeout_ms=1000, api_statement_timeout_ms=60_000)
    async with (
        Database(database_urls.app, limits=limits) as database,
        await open_journal(database) as journal,
        locked(owner, sql),
    ):
        asking = [asyncio.create_task(ask(database, tenant, sql)) for _ in range(3 * limits.api_connections_max)]
        for _ in range(100):
            done, busy = await asyncio.wait(asking, timeout=0.2)
            if len(busy) == limits.api_connections_max:
                break
        assert len(busy) == limits.api_connections_max
        assert {str(task.exception()) for task in done} <= {
            "all connections to the database are busy; retry",
            "the database is away; retry",  # a login that took too long
        }
        for number in range(20):
            assert (await journal.submit(submission(tenant, f"line {number}"))).records == 1
        for lane in (Lane.NODE, Lane.KEYS, Lane.APPLY):
            await database.reserved(lane).ping()
        assert not any(task.done() for task in busy)
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


@pytest.mark.parametrize("sql", SLEEPS.values(), ids=SLEEPS)
async def test_slow_questions_are_refused_after_their_time(
    database_urls: Urls, owner: asyncpg.Connection, tenant: UUID, sql: str
) -> None:
    limits = PoolLimits(api_statement_timeout_ms=100)
    async with Database(database_urls.app, limits=limits) as database, locked(owner, sql):
        for _ in range(2):
            with pytest.raises(Unavailable) as slow:
                await ask(database, tenant, sql)
            assert str(slow.value) in {"the database took longer than allowed; retry", "the database is busy; retry"}
            assert slow.value.retry_after_ms


async def test_whoever_idles_in_a_transaction_is_cut_off(database_urls: Urls, tenant: UUID) -> None:
    limits = PoolLimits(api_connections_max=1, api_statement_timeout_ms=50, acquire_timeout_ms=1000)
    async with Database(database_urls.app, limits=limits) as database:

        async def idle() -> None:
            async with database.tenant(tenant) as connection:
                await asyncio.sleep(0.4)
                await connection.execute("select 1")

        with pytest.raises(Unavailable):
            await idle()
        async with database.tenant(tenant) as connection:
            assert await connection.fetchval("select 1") == 1


LANES = """
select pid, application_name from pg_stat_activity
 where application_name like 'driftlock-%' and datname = current_database()
"""


def of_lane(database: Database, lane: Lane, tenant_id: UUID) -> "asyncio.Task[object]":
    async def api() -> object:
        async with database.tenant(tenant_id) as connection:
            return await connection.execute("select pg_sleep(0.5)")

    if lane is Lane.API:
        return asyncio.create_task(api())
    return asyncio.create_task(database.reserved(lane).node(lambda connection: connection.execute("select pg_sleep(0.5)")))


async def test_each_lane_has_its_connections_and_no_more(database_urls: Urls, owner: asyncpg.Connection, tenant: UUID) -> None:
    limits = PoolLimits()
    wanted = {lane: limits.of(lane).connections_max for lane in Lane}
    known = {row["pid"] for row in await owner.fetch(LANES)}
    async with Database(database_urls.app, limits=limits) as database:
        tasks = [of_lane(database, lane, tenant) for lane in Lane for _ in range(wanted[lane] + 3)]
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(100):  # what was too slow for its caller is opened all the same, and nothing is closed so soon
            found = Counter(row["application_name"] for row in await owner.fetch(LANES) if row["pid"] not in known)
            if found.total() >= sum(wanted.values()):
                break
            await asyncio.sleep(0.1)
    assert found == {f"driftlock-{lane}": count for lane, count in wanted.items()}
    assert sum(wanted.values()) < 37  # of the embedded server's 40, three of which are for its administrator


async def test_waiters_of_one_lane_do_not_count_for_another(database_urls: Urls, tenant: UUID) -> None:
    limits = PoolLimits(api_connections_max=1, waiters_max=2, acquire_timeout_ms=300)
    async with Database(database_urls.app, limits=limits) as database:
        await until_it_works(database)  # a login may take longer
        tasks = [of_lane(database, Lane.API, tenant) for _ in range(9)]
        await asyncio.sleep(0.1)
        await database.ping()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum("too many calls wait" in str(outcome) for outcome in outcomes) >= 6


async def test_a_spare_goes_on_while_another_connection_logs_in_again(
    database: Database, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Without it the next append would wait for a login, which far from the database takes seconds."""
    appending = database.reserved(Lane.APPEND)

    async def pid(connection: Connection) -> int:
        found: int = await connection.fetchval("select pg_backend_pid() from pg_sleep(0.05)")
        return found

    async def ended(connection: Connection) -> None:
        await owner.execute("select pg_terminate_backend($1)", await pid(connection))
        await connection.execute("select 1")

    async def sessions() -> set[int]:
        sql = "select pid from pg_stat_activity where application_name = 'driftlock-append' and datname = current_database()"
        return {row["pid"] for row in await owner.fetch(sql)}

    count = PoolLimits().append_connections_max
    before = set(await asyncio.gather(*(appending.node(pid) for _ in range(count))))
    assert len(before) == count
    with pytest.raises(Unavailable):
        await appending.node(ended)
    assert await appending.node(pid) in before
    for _ in range(1000):  # nobody asks for another one
        if len(found := await sessions()) == count:
            break
        await asyncio.sleep(0.01)
    assert len(found) == count
    assert found != before
