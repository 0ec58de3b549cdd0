"""What waits to be applied: never thought smaller than it is, never kept in more memory than allowed."""

import asyncio
from collections import deque
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.errors import Unavailable
from driftlock.storage import backlog as module
from driftlock.storage.backlog import ROW_BYTES, Backlog
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from tests.storage.helpers import NOW_NS, SECOND_NS, submission


def small(**limits: int) -> Backlog:
    return Backlog(**{"bytes_max": 1000, "seconds_max": 10, **limits})


def test_bytes_max() -> None:
    backlog = small()
    backlog.check(5000, NOW_NS)  # nothing waits: a large request must not be refused for ever
    backlog.committed(1, 600, NOW_NS)
    backlog.check(400, NOW_NS)
    with pytest.raises(Unavailable, match=r"over 1000 bytes, DRIFTLOCK_BACKLOG_BYTES_MAX") as refused:
        backlog.check(401, NOW_NS)
    assert refused.value.retry_after_ms
    backlog.committed(2, 500, NOW_NS)
    backlog.applied(1)  # below again, and at once
    backlog.check(500, NOW_NS)
    assert backlog.bytes == 500


def test_seconds_max() -> None:
    backlog = small()
    backlog.committed(1, 1, NOW_NS)
    backlog.committed(2, 1, NOW_NS + 9 * SECOND_NS)
    backlog.check(0, NOW_NS + 10 * SECOND_NS)
    with pytest.raises(Unavailable, match=r"over 10 seconds \(DRIFTLOCK_BACKLOG_SECONDS_MAX\)"):
        backlog.check(0, NOW_NS + 10 * SECOND_NS + 1)
    backlog.applied(1)
    backlog.check(0, NOW_NS + 10 * SECOND_NS + 1)
    assert backlog.seconds(NOW_NS + 12 * SECOND_NS) == 3
    assert backlog.seconds(NOW_NS) == 0  # a clock that was set back


def test_what_is_applied_before_its_answer_comes_does_not_wait() -> None:
    backlog = small()
    backlog.applied(7)
    backlog.committed(7, 100, NOW_NS)
    assert (backlog.bytes, len(backlog), backlog.seconds(NOW_NS + SECOND_NS)) == (0, 0, 0)


def test_spans_max() -> None:
    backlog = small(spans_max=64)
    for seq in range(1, 10_001):
        backlog.committed(seq, 3, NOW_NS + seq)
        assert len(backlog) <= 64
    assert backlog.bytes == 30_000
    backlog.applied(5000)
    assert 15_000 <= backlog.bytes <= 15_000 + 3 * 10_000 // 16
    backlog.applied(10_000)
    assert (backlog.bytes, len(backlog)) == (0, 0)


@pytest.mark.parametrize("limits", [{"bytes_max": 0}, {"seconds_max": 0}, {"spans_max": 1}])
def test_limits_allow_something(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        small(**limits)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5), st.integers(1, 1000)), max_size=300), st.integers(2, 40))
def test_it_is_exact_until_spans_are_merged_and_never_too_small(events: list[tuple[bool, int, int]], spans_max: int) -> None:
    backlog = Backlog(bytes_max=1, seconds_max=1, spans_max=spans_max)
    waits: deque[tuple[int, int, int]] = deque()
    last_seq, applied_seq, merged = 0, 0, False
    for commits, count, size in events:
        if commits:
            last_seq += count
            waits.append((last_seq, size, last_seq * SECOND_NS))
            merged |= len(backlog) == spans_max
            backlog.committed(last_seq, size, last_seq * SECOND_NS)
        else:
            applied_seq = min(last_seq, applied_seq + count)
            backlog.applied(applied_seq)
            while waits and waits[0][0] <= applied_seq:
                waits.popleft()
        exact_bytes = sum(size for _, size, _ in waits)
        exact_seconds = last_seq - waits[0][2] // SECOND_NS if waits else 0
        assert backlog.bytes >= exact_bytes
        assert backlog.seconds(last_seq * SECOND_NS) >= exact_seconds
        if not merged or not waits:
            assert (backlog.bytes, backlog.seconds(last_seq * SECOND_NS)) == (exact_bytes, exact_seconds)
        assert len(backlog) <= spans_max


async def test_the_journal_refuses_and_takes_again(database: Database, shard: Shard, tenant: UUID) -> None:
    backlog = Backlog(bytes_max=3 * ROW_BYTES, seconds_max=60)
    async with Journal(database, shard, node="n", on_commit=lambda _: None, backlog=backlog) as journal:
        await journal.submit(submission(tenant, "line 1"))
        last = await journal.submit(submission(tenant, "line 2"))
        assert 2 * ROW_BYTES < backlog.bytes < 3 * ROW_BYTES
        await journal.submit(submission(tenant, "line 3"))  # it fits, as far as is known before it is compressed
        with pytest.raises(Unavailable, match="BACKLOG_BYTES_MAX"):
            await journal.submit(submission(tenant, "line 4"))
        backlog.applied(last.seq)
        await journal.submit(submission(tenant, "fits again"))
        with pytest.raises(Unavailable, match="BACKLOG_SECONDS_MAX"):
            await journal.submit(submission(tenant, "later", received_ns=NOW_NS + 61 * SECOND_NS))


async def test_a_duplicate_does_not_wait_twice(database: Database, shard: Shard, tenant: UUID) -> None:
    backlog = Backlog(bytes_max=1 << 20, seconds_max=60)
    async with Journal(database, shard, node="n", on_commit=lambda _: None, backlog=backlog) as journal:
        await journal.submit(submission(tenant, "one"))
        before = backlog.bytes
        assert (await journal.submit(submission(tenant, "one"))).duplicate
        assert backlog.bytes == before > ROW_BYTES


async def test_a_caller_that_left_counts(database: Database, shard: Shard, tenant: UUID) -> None:
    backlog = Backlog(bytes_max=1 << 20, seconds_max=60)
    async with Journal(database, shard, node="n", on_commit=lambda _: None, backlog=backlog) as journal:
        await journal.submit(submission(tenant, "known stream"))
        before = backlog.bytes
        caller = asyncio.create_task(journal.submit(submission(tenant, "left alone")))
        await asyncio.sleep(0)
        caller.cancel()
        await journal.submit(submission(tenant, "after it"))
        assert backlog.bytes > before + ROW_BYTES


async def test_it_is_read_from_the_database_at_the_start(
    database: Database, shard: Shard, tenant: UUID, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Backlog(bytes_max=1 << 30, seconds_max=60)
    async with Journal(database, shard, node="n", on_commit=lambda _: None, backlog=known) as journal:
        for number in range(25):
            await journal.submit(submission(tenant, f"line {number}", received_ns=NOW_NS + number * SECOND_NS))
    await owner.execute("update driftlock.journal_position set applied_seq = 5")
    known.applied(5)
    monkeypatch.setattr(module, "RANGE_ROWS", 8)
    monkeypatch.setattr(module, "RANGE_SPANS", 4)
    read = Backlog(bytes_max=1 << 30, seconds_max=60)
    await read.load(database)
    assert read.bytes == known.bytes > 20 * ROW_BYTES
    now_ns = NOW_NS + 100 * SECOND_NS
    assert read.seconds(now_ns) == known.seconds(now_ns) == 95
    assert len(read) == 10
    last_seq = await JournalRows(database).last_seq()
    read.applied(last_seq)
    assert (read.bytes, len(read)) == (0, 0)
