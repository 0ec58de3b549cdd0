"""The journal: acknowledged is durable, once, in one order, whatever its callers do."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
import pytest

from driftlock.engine import records
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import Receipt, RowKind, StreamBatch, Submission
from driftlock.engine.profile import PROFILES
from driftlock.errors import Conflict, InvalidArgument, NotFound, Unavailable
from driftlock.storage.appending import NS_MAX, RECEIVED_NS_MAX
from driftlock.storage.journal import Journal, JournalLimits
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.shard import Shard
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import CHECKOUT, NOW_NS, SECOND_NS, batch, open_journal, submission

WINDOW_NS = JournalLimits().dedup_window_ms * 1_000_000


def assert_idle(journal: Journal) -> None:
    """Nothing is counted as on its way; what stays counted by mistake would fill the queue for good."""
    assert (journal.queued_bytes, journal.queued_requests) == (0, 0)
    assert (journal._arriving.bytes, journal._arriving.requests) == (0, 0)


async def everything(database: Database) -> list[bytes]:
    rows = await JournalRows(database).read(0, 1 << 30)
    return [records.decode(row.body).text for row in rows if row.kind is RowKind.RECORDS]


async def test_what_was_acknowledged_is_read_back_in_order(database: Database, journal: Journal, tenant: UUID) -> None:
    first = await journal.submit(submission(tenant, "a", "b"))
    second = await journal.submit(submission(tenant, "c"))
    rows = await JournalRows(database).read(0, 1 << 20)
    assert [row.seq for row in rows] == [first.seq, second.seq] == [1, 2]
    assert await everything(database) == [b"ab", b"c"]
    assert {(row.tenant_id, row.stream_key, row.stream_id) for row in rows} == {(tenant, CHECKOUT, first.stream_ids[0])}
    assert (first.records, first.duplicate, first.overflowed) == (2, False, 0)


async def test_an_empty_submission_succeeds_and_leaves_no_row(database: Database, journal: Journal, tenant: UUID) -> None:
    empty = Submission(tenant, Signal.LOGS, NOW_NS, (StreamBatch(CHECKOUT, batch()),), bytes(16))
    assert await journal.submit(empty) == Receipt(seq=0, records=0)
    assert await JournalRows(database).last_seq() == 0


async def test_one_request_of_several_streams_gets_consecutive_rows(database: Database, journal: Journal, tenant: UUID) -> None:
    keys = [StreamKey(Signal.TRACES, name) for name in ("b", "a", "b")]
    parts = tuple(StreamBatch(key, batch(f"span {number}")) for number, key in enumerate(keys))
    receipt = await journal.submit(Submission(tenant, Signal.TRACES, NOW_NS, parts))
    assert (receipt.seq, receipt.records) == (3, 3)
    assert receipt.stream_ids[0] == receipt.stream_ids[2] != receipt.stream_ids[1]
    assert [row.stream_key for row in await JournalRows(database).read(0, 1 << 20)] == keys


async def test_a_resend_is_journaled_and_metered_once(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    first = await journal.submit(submission(tenant, "a", "b"))
    again = await journal.submit(submission(tenant, "a", "b", received_ns=NOW_NS + SECOND_NS))
    assert again == Receipt(first.seq, 0, duplicate=True, stream_ids=first.stream_ids)
    assert await everything(database) == [b"ab"]
    meter = await owner.fetch("select tenant_id, node, signal, records, bytes from driftlock.meter")
    assert [tuple(row) for row in meter] == [(tenant, "node-1", "logs", 2, 2)]


async def test_simultaneous_resends_are_journaled_once(database: Database, journal: Journal, tenant: UUID) -> None:
    receipts = await asyncio.gather(*(journal.submit(submission(tenant, "a")) for _ in range(20)))
    assert sum(receipt.records for receipt in receipts) == 1
    assert {receipt.seq for receipt in receipts} == {1}
    assert await everything(database) == [b"a"]


@pytest.mark.parametrize(("distance_ns", "rows"), [(WINDOW_NS - 1, 1), (WINDOW_NS, 2)])
async def test_the_deduplication_window_ends(
    database: Database, journal: Journal, tenant: UUID, distance_ns: int, rows: int
) -> None:
    await journal.submit(submission(tenant, "a"))
    await journal.submit(submission(tenant, "a", received_ns=NOW_NS + distance_ns))
    assert len(await everything(database)) == rows


async def test_without_a_hash_equal_requests_are_different(database: Database, journal: Journal, tenant: UUID) -> None:
    for _ in range(2):
        await journal.submit(submission(tenant, "a", hashed=False))
    assert await everything(database) == [b"a", b"a"]


async def test_equal_bytes_of_two_tenants_are_two_requests(database: Database, journal: Journal, tenant: UUID) -> None:
    other = (await Tenants(database).create("other")).tenant_id
    receipts = [await journal.submit(submission(each, "a")) for each in (tenant, other)]
    assert [receipt.duplicate for receipt in receipts] == [False, False]
    assert receipts[0].stream_ids != receipts[1].stream_ids


async def test_fifty_callers_share_commits_and_leave_no_gap(database: Database, shard: Shard, tenant: UUID) -> None:
    commits: list[int] = []
    async with Journal(database, shard, node="n", on_commit=commits.append) as journal:
        receipts = await asyncio.gather(*(journal.submit(submission(tenant, f"line {number}")) for number in range(50)))
    assert sorted(receipt.seq for receipt in receipts) == list(range(1, 51))
    assert [row.seq for row in await JournalRows(database).read(0, 1 << 20)] == list(range(1, 51))
    assert commits == sorted(commits)
    assert commits[-1] == 50
    assert len(commits) < 25


async def test_a_cancelled_caller_does_not_take_its_request_back(database: Database, journal: Journal, tenant: UUID) -> None:
    await journal.submit(submission(tenant, "first"))  # the stream is known now: the next one queues without waiting
    caller = asyncio.create_task(journal.submit(submission(tenant, "left")))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    retry = await journal.submit(submission(tenant, "left"))
    assert retry.duplicate
    assert await everything(database) == [b"first", b"left"]


async def test_leaving_commits_what_is_queued(database: Database, shard: Shard, tenant: UUID) -> None:
    async with Journal(database, shard, node="n", on_commit=lambda _: None) as journal:
        await journal.submit(submission(tenant, "first"))
        callers = [asyncio.create_task(journal.submit(submission(tenant, f"{number}"))) for number in range(10)]
        await asyncio.sleep(0)
    assert sorted(receipt.seq for receipt in await asyncio.gather(*callers)) == list(range(2, 12))
    with pytest.raises(Unavailable, match="stopping"):
        await journal.submit(submission(tenant, "late"))


async def test_what_can_not_be_committed_in_time_is_answered_when_leaving(
    database: Database, shard: Shard, tenant: UUID, owner: asyncpg.Connection
) -> None:
    """One request is in a statement that waits, two behind it in the queue: all callers are told."""
    limits = JournalLimits(group_requests_max=1, drain_timeout_ms=50)
    async with Journal(database, shard, node="n", on_commit=lambda _: None, limits=limits) as journal:
        await journal.submit(submission(tenant, "first"))
        blocked = owner.transaction()
        await blocked.start()
        await owner.execute("select from driftlock.journal_shard for update")
        callers = [asyncio.create_task(journal.submit(submission(tenant, f"{number}"))) for number in range(3)]
        async with asyncio.timeout(10):
            while journal.queued_requests != 2:  # noqa: ASYNC110  # nobody is told of it
                await asyncio.sleep(0.01)
    done, waiting = await asyncio.wait(callers, timeout=5)
    await blocked.rollback()
    for task in waiting:
        task.cancel()
    assert not waiting
    assert [(type(task.exception()), str(task.exception())) for task in callers] == [
        (Unavailable, "the server is stopping; retry")
    ] * 3
    assert len(done) == 3
    assert_idle(journal)


async def test_a_full_queue_refuses_and_recovers(database: Database, shard: Shard, tenant: UUID) -> None:
    limits = JournalLimits(queue_requests_max=5)
    async with Journal(database, shard, node="n", on_commit=lambda _: None, limits=limits) as journal:
        await journal.submit(submission(tenant, "first"))
        outcomes = await asyncio.gather(
            *(journal.submit(submission(tenant, f"{number}")) for number in range(20)), return_exceptions=True
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, Unavailable)]
        assert len(refused) == 15
        assert all(error.retry_after_ms for error in refused)
        assert (await journal.submit(submission(tenant, "later"))).records == 1
        assert_idle(journal)


async def test_queue_bytes_are_bounded(database: Database, shard: Shard, tenant: UUID) -> None:
    async with Journal(
        database, shard, node="n", on_commit=lambda _: None, limits=JournalLimits(queue_bytes_max=100)
    ) as journal:
        with pytest.raises(Unavailable, match="waits for the database"):
            await journal.submit(submission(tenant, "".join(map(str, range(500)))))
        assert (await journal.submit(submission(tenant, "small"))).records == 1


async def test_groups_are_bounded_in_requests_and_bytes(database: Database, shard: Shard, tenant: UUID) -> None:
    for limits in (JournalLimits(group_requests_max=3), JournalLimits(group_bytes_max=1)):
        commits: list[int] = []
        async with Journal(database, shard, node="n", on_commit=commits.append, limits=limits) as journal:
            first = await journal.submit(submission(tenant, "first", hashed=False))
            await asyncio.gather(*(journal.submit(submission(tenant, "x", hashed=False)) for _ in range(9)))
        steps = [after - before for before, after in zip([first.seq, *commits[1:]], commits[1:], strict=False)]
        assert max(steps) == min(limits.group_requests_max, 3 if limits.group_bytes_max > 1 else 1)


async def test_a_full_journal_refuses_and_stays_its_size(database: Database, shard: Shard, tenant: UUID) -> None:
    limits = JournalLimits(journal_bytes_max=1000)
    async with Journal(database, shard, node="n", on_commit=lambda _: None, limits=limits) as journal:
        sent = [
            await asyncio.gather(journal.submit(submission(tenant, f"line {n}")), return_exceptions=True) for n in range(10)
        ]
        refused = [outcome for (outcome,) in sent if isinstance(outcome, Unavailable)]
        assert 5 < len(refused) < 10
        assert all(error.retry_after_ms and "journal is full" in str(error) for error in refused)
        size = await JournalRows(database).size_bytes()
        assert 500 < size <= 1000
        assert_idle(journal)
        assert (await journal.submit(submission(tenant, "line 0"))).duplicate  # a resend needs no room
        assert await journal.append_clock(NOW_NS) == await JournalRows(database).last_seq()  # time may always pass


async def test_one_poisoned_request_fails_alone(
    database: Database, journal: Journal, tenant: UUID, owner: asyncpg.Connection
) -> None:
    gone = (await Tenants(database).create("gone")).tenant_id
    for each in (tenant, gone):
        await journal.submit(submission(each, "known"))
    # As another process would: the journal still remembers the streams of the tenant.
    await owner.execute("select driftlock.tenant_delete($1)", gone)
    lines = [(gone if number in (3, 11) else tenant, f"line {number}") for number in range(16)]
    outcomes = await asyncio.gather(*(journal.submit(submission(each, line)) for each, line in lines), return_exceptions=True)
    assert [number for number, outcome in enumerate(outcomes) if isinstance(outcome, NotFound)] == [3, 11]
    assert sum(isinstance(outcome, Receipt) for outcome in outcomes) == 14
    assert_idle(journal)
    seqs = [row.seq for row in await JournalRows(database).read(0, 1 << 20)]
    assert seqs == list(range(1, 17))


async def test_text_that_the_database_can_not_hold_fails_alone(database: Database, journal: Journal, tenant: UUID) -> None:
    good = StreamKey(Signal.LOGS, "good")
    outcomes = await asyncio.gather(
        *(
            journal.submit(submission(tenant, f"{n}", key=StreamKey(Signal.LOGS, "a\x00b") if n == 5 else good))
            for n in range(9)
        ),
        journal.submit(submission(tenant, "surrogate", key=StreamKey(Signal.LOGS, "\ud800"))),
        journal.submit(submission(tenant, "long", key=StreamKey(Signal.LOGS, "é" * 129))),
        journal.submit(submission(tenant, "empty", key=StreamKey(Signal.LOGS, ""))),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [Receipt] * 5 + [InvalidArgument] + [Receipt] * 3 + [InvalidArgument] * 3
    assert len(await everything(database)) == 8


async def test_times_beyond_the_database_are_clamped(database: Database, journal: Journal, tenant: UUID) -> None:
    await journal.submit(submission(tenant, "a", received_ns=2**64 - 1))
    await journal.append_clock(2**64 - 1)
    assert [row.received_ns for row in await JournalRows(database).read(0, 1 << 20)] == [RECEIVED_NS_MAX, NS_MAX]


async def test_a_new_owner_fences_the_old_one(database: Database, tenant: UUID) -> None:
    async with await open_journal(database) as old, await open_journal(database) as new:
        with pytest.raises(Unavailable, match="taken over"):
            await old.submit(submission(tenant, "stale"))
        with pytest.raises(Conflict, match="taken over"):
            await old.append_clock(NOW_NS)
        with pytest.raises(Unavailable, match="taken over"):
            await old.submit(submission(tenant, "stale"))
        assert (await new.submit(submission(tenant, "fresh"))).seq == 1
    assert await everything(database) == [b"fresh"]


OWNERS_WORK: dict[str, Callable[[Journal, UUID, UUID], Awaitable[object]]] = {
    "submit": lambda journal, tenant, _: journal.submit(submission(tenant, "stale")),
    "append_clock": lambda journal, *_: journal.append_clock(NOW_NS),
    "append_time": lambda journal, tenant, stream: journal.append_time(tenant, stream, NOW_NS),
    "configure": lambda journal, tenant, stream: journal.configure(tenant, stream, PROFILES["sensitive"]),
    "set_budget": lambda journal, tenant, _: journal.set_budget(tenant, 3),
}


@pytest.mark.parametrize("name", OWNERS_WORK)
async def test_a_fenced_owner_knows_it(database: Database, shard: Shard, journal: Journal, tenant: UUID, name: str) -> None:
    (stream,) = (await journal.submit(submission(tenant, "fresh"))).stream_ids
    await Shard(database).acquire()
    assert not shard.fenced.is_set()
    with pytest.raises((Unavailable, Conflict), match="taken over"):
        await OWNERS_WORK[name](journal, tenant, stream)
    assert shard.fenced.is_set()
    assert_idle(journal)
    await shard.acquire()
    assert not shard.fenced.is_set()


async def test_nobody_appends_without_acquiring(database: Database, tenant: UUID) -> None:
    async with Journal(database, Shard(database), node="n", on_commit=lambda _: None) as journal:
        with pytest.raises(Conflict):
            await journal.append_clock(NOW_NS)


async def test_a_restart_continues_the_order_and_the_deduplication(database: Database, tenant: UUID) -> None:
    for number in range(3):
        async with await open_journal(database) as journal:
            receipt = await journal.submit(submission(tenant, f"line {number}"))
            assert (receipt.seq, receipt.duplicate) == (number + 1, False)
            assert (await journal.submit(submission(tenant, "line 0"))).duplicate


async def test_large_requests_are_encoded_beside_the_event_loop(database: Database, shard: Shard, tenant: UUID) -> None:
    limits = JournalLimits(encode_inline_bytes_max=10)
    async with Journal(database, shard, node="n", on_commit=lambda _: None, limits=limits) as journal:
        await journal.submit(submission(tenant, "more than ten bytes"))
    assert await everything(database) == [b"more than ten bytes"]


async def test_clock_records_are_in_the_same_order(database: Database, journal: Journal, tenant: UUID) -> None:
    await journal.submit(submission(tenant, "a"))
    assert await journal.append_clock(NOW_NS) == 2
    rows = await JournalRows(database).read(1, 1)
    assert [(row.seq, row.kind, row.tenant_id, row.stream_key) for row in rows] == [(2, RowKind.CLOCK, None, None)]
    assert records.decode_clock(rows[0].body) == NOW_NS


@pytest.mark.parametrize(("gather_bytes_max", "commits"), [(1 << 20, 1), (1, 2)])
async def test_small_requests_of_many_senders_come_together(
    database: Database, tenant: UUID, shard: Shard, gather_bytes_max: int, commits: int
) -> None:
    seen: list[int] = []
    limits = JournalLimits(gather_ms=200, gather_bytes_max=gather_bytes_max)
    async with Journal(database, shard, node="n", on_commit=seen.append, limits=limits) as journal:
        await journal.submit(submission(tenant, "the stream is known now"))
        journal._crowded, before = True, len(seen)
        first = asyncio.create_task(journal.submit(submission(tenant, "first")))
        await asyncio.sleep(0.05)
        await asyncio.gather(first, journal.submit(submission(tenant, "second")))
        assert len(seen) - before == commits
        assert journal._crowded is (commits == 1)  # the last group was of two, or of one
