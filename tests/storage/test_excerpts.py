"""Reading the journal back: whole, in bounds, around damage, and one's own alone."""

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from driftlock.engine.event import Signal, StreamKey, trace_stream_key
from driftlock.storage.excerpts import ExcerptLimits, ExcerptRow, Excerpts, Reach, Scan
from driftlock.storage.journal import Journal
from driftlock.storage.pool import Database
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import NOW_NS, SECOND_NS, submission
from tests.storage.test_page_damage import Scene, scene, serving

__all__ = ["scene"]  # a fixture

ROWS = 12


@pytest_asyncio.fixture
async def stream(journal: Journal, tenant: UUID) -> UUID:
    """A stream of `ROWS` rows, a second apart, the n-th with n lines; rows of another stream lie between some."""
    other = StreamKey(Signal.LOGS, "other")
    found = UUID(int=0)
    for number in range(1, ROWS + 1):
        received_ns = NOW_NS + number * SECOND_NS
        lines = [f"row {number} line {line}" for line in range(number)]
        found = (await journal.submit(submission(tenant, *lines, received_ns=received_ns))).stream_ids[0]
        if number % 3 == 0:
            await journal.submit(submission(tenant, f"other {number}", key=other, received_ns=received_ns))
    return found


@pytest.fixture
async def threads() -> AsyncIterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def excerpts(database: Database, threads: ThreadPoolExecutor) -> Excerpts:
    return Excerpts(database, threads, ExcerptLimits(page_rows_max=5))


async def read(excerpts: Excerpts, tenant: UUID, stream: UUID, reach: Reach, rows_max: int = 10**6) -> tuple[list[int], Scan]:
    """How many lines the rows have that were shown, in order."""
    seen: list[int] = []

    def look(rows: Sequence[ExcerptRow]) -> bool:
        for row in rows:
            assert row.received_ns == NOW_NS + len(row.batch) * SECOND_NS
            assert row.batch.text.startswith(f"row {len(row.batch)} line 0".encode())
            seen.append(len(row.batch))
        return len(seen) < rows_max

    return seen, await excerpts.scan(tenant, stream, reach, look)


async def test_all_rows_in_both_orders(excerpts: Excerpts, tenant: UUID, stream: UUID) -> None:
    seen, scan = await read(excerpts, tenant, stream, Reach())
    assert seen == list(range(ROWS, 0, -1))
    first, last = NOW_NS + SECOND_NS, NOW_NS + ROWS * SECOND_NS
    assert scan == Scan(first, first, last, ROWS, ROWS * (ROWS + 1) // 2)
    seen, again = await read(excerpts, tenant, stream, Reach(newest_first=False))
    assert seen == list(range(1, ROWS + 1))
    assert again == scan


async def test_between_two_times(excerpts: Excerpts, tenant: UUID, stream: UUID) -> None:
    for since, before, expected in (
        (3, 6, [3, 4, 5]),
        (0, 2, [1]),
        (ROWS, None, [ROWS]),
        (None, 3, [1, 2]),
        (ROWS + 1, None, []),
        (None, 1, []),
        (5, 5, []),
    ):
        since_ns, before_ns = (None if it is None else NOW_NS + it * SECOND_NS for it in (since, before))
        seen, scan = await read(excerpts, tenant, stream, Reach(since_ns, before_ns, newest_first=False))
        assert seen == expected
        assert scan.held_since_ns == NOW_NS + SECOND_NS
        seen, _ = await read(excerpts, tenant, stream, Reach(since_ns, before_ns))
        assert seen == expected[::-1]


async def test_who_has_seen_enough_is_shown_no_further_page(excerpts: Excerpts, tenant: UUID, stream: UUID) -> None:
    seen, scan = await read(excerpts, tenant, stream, Reach(), rows_max=3)
    assert seen == [12, 11, 10, 9, 8]
    assert (scan.enough, scan.cut, scan.rows) == (True, False, 5)


async def test_excerpt_records_max(database: Database, threads: ThreadPoolExecutor, tenant: UUID, stream: UUID) -> None:
    excerpts = Excerpts(database, threads, ExcerptLimits(excerpt_records_max=20))
    seen, scan = await read(excerpts, tenant, stream, Reach())
    assert seen == [12, 11]
    assert (scan.cut, scan.enough, scan.records, scan.first_ns) == (True, False, 23, NOW_NS + 11 * SECOND_NS)


async def test_excerpt_bytes_max(database: Database, threads: ThreadPoolExecutor, tenant: UUID, stream: UUID) -> None:
    """Bodies are counted as they are when decoded, and none is decoded beyond the limit."""
    sizes: list[int] = []
    for limit in (1, 400, 1000, 10**6):
        excerpts = Excerpts(database, threads, ExcerptLimits(excerpt_bytes_max=limit))
        seen, scan = await read(excerpts, tenant, stream, Reach())
        assert scan.cut == (len(seen) < ROWS)
        sizes.append(len(seen))
    assert sizes[0] == 0
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == ROWS
    whole = Excerpts(database, threads)
    assert (await whole.scan(tenant, stream, Reach(), lambda _: True, bytes_max=400)).rows == sizes[1]


async def test_page_bytes_max(database: Database, threads: ThreadPoolExecutor, tenant: UUID, stream: UUID) -> None:
    """Pages that have room for less than a row have one."""
    excerpts = Excerpts(database, threads, ExcerptLimits(page_bytes_max=1))
    pages: list[int] = []

    def look(rows: Sequence[ExcerptRow]) -> bool:
        pages.append(len(rows))
        return True

    await excerpts.scan(tenant, stream, Reach(), look)
    assert pages == [1] * ROWS


async def test_another_tenants_stream_has_nothing_to_show(
    database: Database, excerpts: Excerpts, tenant: UUID, stream: UUID
) -> None:
    other = (await Tenants(database).create("other")).tenant_id
    assert await read(excerpts, other, stream, Reach()) == ([], Scan())
    assert await read(excerpts, tenant, uuid4(), Reach()) == ([], Scan())
    async with database.tenant(other) as connection:
        assert await connection.fetchval("select count(body) from driftlock.journal") == 0
    async with database.tenant(tenant) as connection:
        assert await connection.fetchval("select count(body) from driftlock.journal") == ROWS + ROWS // 3


async def test_damaged_rows_are_left_out_and_counted(
    excerpts: Excerpts, owner: asyncpg.Connection, tenant: UUID, stream: UUID
) -> None:
    await owner.execute(
        "update driftlock.journal set body = set_byte(body, 9, get_byte(body, 9) # 255) where stream_id = $1 and records = 4",
        stream,
    )
    await owner.execute("update driftlock.journal set crc = crc # 1 where stream_id = $1 and records = 9", stream)
    # The checksum is right, the body is not one.
    await owner.execute(
        "update driftlock.journal set body = 'x', crc = 2363233923 where stream_id = $1 and records = 7", stream
    )
    seen, scan = await read(excerpts, tenant, stream, Reach(newest_first=False))
    assert seen == [1, 2, 3, 5, 6, 8, 10, 11, 12]
    assert (scan.damaged_rows, scan.rows) == (3, 9)


async def test_what_lies_in_damaged_pages_is_left_out(scene: Scene, threads: ThreadPoolExecutor) -> None:
    scene.flip("bodies", value=scene.bodies[1])
    scene.flip("streams")
    texts: list[int] = []

    def look(rows: Sequence[ExcerptRow]) -> bool:
        texts.extend(row.seq for row in rows)
        return True

    async with serving(scene.folder) as database:
        excerpts = Excerpts(database, threads)
        scan = await excerpts.scan(scene.tenant, scene.stream, Reach(newest_first=False), look)
        assert texts[:3] == [1, 3, 4]
        assert (scan.damaged_rows, scan.rows) == (1, len(scene.bodies) - 1)
        assert await excerpts.state(scene.tenant, scene.stream) is not None


async def test_a_stream_whose_records_have_left_the_journal(
    excerpts: Excerpts, owner: asyncpg.Connection, tenant: UUID, stream: UUID
) -> None:
    await owner.execute("delete from driftlock.journal where stream_id = $1 and records < 10", stream)
    seen, scan = await read(excerpts, tenant, stream, Reach())
    assert (seen, scan.held_since_ns) == ([12, 11, 10], NOW_NS + 10 * SECOND_NS)
    await owner.execute("delete from driftlock.journal where stream_id = $1", stream)
    assert await read(excerpts, tenant, stream, Reach(since_ns=5)) == ([], Scan())


async def test_streams_of_traces_are_ones_own(database: Database, excerpts: Excerpts, journal: Journal, tenant: UUID) -> None:
    other = (await Tenants(database).create("other")).tenant_id
    prod = (await journal.submit(submission(tenant, "x", key=trace_stream_key("prod")))).stream_ids[0]
    await journal.submit(submission(tenant, "x", key=StreamKey(Signal.TRACES, "shop")))
    await journal.submit(submission(other, "x", key=trace_stream_key("dev")))
    assert await excerpts.trace_streams(tenant) == [(prod, "prod")]


async def test_states_are_ones_own_and_checked(
    database: Database, excerpts: Excerpts, owner: asyncpg.Connection, tenant: UUID, stream: UUID
) -> None:
    insert = "insert into driftlock.stream_checkpoints (stream_id, seq, tenant_id, crc, state) values ($1, $2, $3, $4, 'x')"
    assert await excerpts.state(tenant, stream) is None
    await owner.execute(insert, stream, 1, tenant, 2363233923)
    await owner.execute(insert, stream, 2, tenant, 5)
    assert await excerpts.state(tenant, stream) == b"x"
    other = (await Tenants(database).create("other")).tenant_id
    assert await excerpts.state(other, stream) is None


@pytest.mark.parametrize(
    "name", ["excerpt_bytes_max", "excerpt_records_max", "page_bytes_max", "page_rows_max", "trace_streams_max"]
)
def test_limits_let_something_be_read(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        ExcerptLimits(**{name: 0})
