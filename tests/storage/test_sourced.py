"""A shard whose records come from a partition of a topic: what is read again, by whomever, is journaled once."""

import asyncio
import dataclasses
import hashlib
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from driftlock.accounts.actor import SYSTEM
from driftlock.engine import records
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import RowKind, Submission
from driftlock.errors import Conflict, Unavailable
from driftlock.storage.backlog import Backlog
from driftlock.storage.dead_letters import BODY_BYTES_MAX, DeadLetter, DeadLetters, StoredDeadLetter
from driftlock.storage.deletion import Deletions
from driftlock.storage.journal_limits import JournalLimits
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.ledger import Ledgers
from driftlock.storage.pool import Database
from driftlock.storage.retention import Retention
from driftlock.storage.shard import Shard
from driftlock.storage.shared_journal import SharedJournal
from driftlock.storage.source_positions import SourceGap, SourcePositions
from driftlock.storage.sourced import SourceBatch, SourcedJournal, SourceMessage
from driftlock.storage.stream_deletion import StreamDeletions
from driftlock.storage.stream_settings import StreamSettings
from driftlock.storage.tenants import Tenants
from tests.conftest import Urls
from tests.storage.helpers import CHECKOUT, NOW_NS, submission
from tests.storage.proxy import Proxy

SHARD = 2
TOPIC, PARTITION = "driftlock.records", 1
CART = StreamKey(Signal.LOGS, "cart")
NOBODY = UUID(int=1)


def message(offset: int, sent: Submission) -> SourceMessage:
    (part,) = sent.batches
    value = records.encode(part.batch, records.body_compressor())
    return SourceMessage(offset, sent, value, b"key", (("dl-schema", b"1"), ("empty", None)))


def batch(*sent: Submission, at: int = 0, **changes: object) -> SourceBatch:
    """One message a submission, from the offset `at` on."""
    messages = [message(offset, it) for offset, it in enumerate(sent, at)]
    made = SourceBatch(TOPIC, PARTITION, at, at + len(sent), messages)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]  # a test names real fields


class Reader:
    """Whoever reads the partition: an owner of the shard."""

    def __init__(
        self, database: Database, *, limits: JournalLimits | None = None, now_ns: Callable[[], int] = lambda: NOW_NS
    ) -> None:
        self.database, self.shard = database, Shard(database, SHARD)
        self.commits: list[int] = []
        self.backlog = Backlog(bytes_max=1 << 30, seconds_max=1 << 30)
        self.journal = SourcedJournal(
            database,
            self.shard,
            node="worker",
            on_commit=self.commits.append,
            limits=limits,
            backlog=self.backlog,
            now_ns=now_ns,
        )
        self.rows = JournalRows(database, SHARD, recent=self.journal.recent, owner=self.shard)

    async def at(self) -> int | None:
        found = await self.journal.position()
        return None if found is None else found.next_offset

    async def held(self) -> list[bytes]:
        """The texts of all rows of records, in their order."""
        rows = await JournalRows(self.database, SHARD).read(0, 1 << 20)
        return [bytes(records.decode(row.body).text) for row in rows if row.kind is RowKind.RECORDS]


@pytest.fixture
async def reader(sharded: Database) -> Reader:
    made = Reader(sharded)
    await made.shard.acquire()
    return made


@pytest.fixture
async def tenant(sharded: Database) -> UUID:
    return (await Tenants(sharded).create("t")).tenant_id


async def letters(database: Database) -> list[StoredDeadLetter]:
    return (await DeadLetters(database).list(limit=50))[::-1]


async def balanced(database: Database) -> bool:
    return not any(row.differences for row in await Ledgers(database).read())


async def test_messages_become_rows_and_the_position_moves(reader: Reader, tenant: UUID) -> None:
    assert await reader.journal.position() is None
    receipts = await reader.journal.append_from(batch(submission(tenant, "a", "b"), submission(tenant, "c", key=CART), at=7))
    assert [receipt and (receipt.seq, receipt.records, receipt.duplicate) for receipt in receipts] == [
        (1, 2, False),
        (2, 1, False),
    ]
    position = await reader.journal.position()
    assert position is not None
    assert (position.topic, position.partition, position.next_offset) == (TOPIC, PARTITION, 9)
    assert await reader.held() == [b"ab", b"c"]
    assert (reader.commits, reader.backlog.bytes > 0) == ([2], True)
    assert [row.batch is not None for row in await reader.rows.read(0, 1 << 20)] == [True, True]
    assert await balanced(reader.database)
    shards = await SourcePositions(reader.database).all()
    assert {shard: found.next_offset for shard, found in shards.items()} == {SHARD: 9}


async def test_what_is_read_again_is_refused_and_journaled_once(reader: Reader, tenant: UUID) -> None:
    sent = batch(submission(tenant, "a", hashed=False), submission(tenant, "b", hashed=False))
    await reader.journal.append_from(sent)
    with pytest.raises(Conflict, match="read its position again"):
        await reader.journal.append_from(sent)
    assert not reader.shard.fenced.is_set()
    assert (await reader.at(), await reader.held()) == (2, [b"a", b"b"])


async def test_what_was_sent_twice_is_journaled_once(reader: Reader, tenant: UUID) -> None:
    twice = submission(tenant, "a")
    first = await reader.journal.append_from(batch(twice, twice))
    second = await reader.journal.append_from(batch(twice, at=2))
    assert [receipt and receipt.duplicate for receipt in (*first, *second)] == [False, True, True]
    assert (await reader.at(), await reader.held()) == (3, [b"a"])
    assert await balanced(reader.database)


async def test_what_was_sent_twice_and_read_late_is_journaled_once(sharded: Database, tenant: UUID) -> None:
    limits = JournalLimits(dedup_window_ms=60_000)
    late_ns = NOW_NS + 3600 * 10**9  # an hour in the source: longer than a request is remembered
    reader = Reader(sharded, limits=limits, now_ns=lambda: late_ns)
    await reader.shard.acquire()
    twice = submission(tenant, "a")
    await reader.journal.append_from(batch(twice))
    retention = Retention(sharded, reader.shard, dedup_window_ms=limits.dedup_window_ms, bytes_kept=1 << 30)
    assert await retention.forget(late_ns + 1) == 0
    [second] = await reader.journal.append_from(batch(twice, at=1))
    assert second is not None
    assert second.duplicate
    assert await retention.forget(late_ns + 60 * 10**9 + 1) == 1


async def test_who_was_taken_over_writes_nothing(reader: Reader, tenant: UUID) -> None:
    zombie, reader = reader, Reader(reader.database)
    await zombie.journal.append_from(batch(submission(tenant, "a")))
    await reader.shard.acquire()
    with pytest.raises(Conflict, match="taken over"):
        await zombie.journal.append_from(batch(submission(tenant, "b"), at=1))
    assert zombie.shard.fenced.is_set()
    await reader.journal.append_from(batch(submission(tenant, "c"), at=1))
    with pytest.raises(Conflict):
        await zombie.journal.append_clock(NOW_NS)
    assert (await reader.at(), await reader.held()) == (2, [b"a", b"c"])


async def test_another_source_is_refused(reader: Reader, tenant: UUID) -> None:
    await reader.journal.append_from(batch(submission(tenant, "a")))
    for changes in ({"topic": "other"}, {"partition": 5}, {"from_offset": 0}):
        with pytest.raises(Conflict, match="another one"):
            await reader.journal.append_from(batch(submission(tenant, "b"), at=1, **changes))
    assert await reader.held() == [b"a"]


async def test_what_can_not_be_journaled_is_a_dead_letter_and_the_rest_goes_on(reader: Reader, tenant: UUID) -> None:
    gone = (await Tenants(reader.database).create("gone")).tenant_id
    await reader.journal.append_from(batch(submission(gone, "before")))
    await Deletions(reader.database).close(gone)  # its stream is remembered
    poison = dataclasses.replace(submission(tenant, "poison"), request_hash=b"short")
    nameless = submission(tenant, "nameless", key=StreamKey(Signal.LOGS, ""))
    good = [submission(tenant, f"line {number}") for number in range(5)]
    bad = DeadLetter(TOPIC, PARTITION, 10, "its checksum is wrong", b"k", b"v", (("dl-schema", b"1"),))
    sent = [good[0], submission(NOBODY, "x"), good[1], poison, good[2], nameless, submission(gone, "y"), good[3], good[4]]
    receipts = await reader.journal.append_from(batch(*sent, at=1, dead=[bad], next_offset=11))
    assert [place for place, receipt in enumerate(receipts) if receipt is None] == [1, 3, 5, 6]
    assert (await reader.held())[1:] == [b"line 0", b"line 1", b"line 2", b"line 3", b"line 4"]
    found = {it.letter.offset: it for it in await letters(reader.database)}
    assert sorted(found) == [2, 4, 6, 7, 10]
    assert "no such tenant" in found[2].letter.reason
    assert "contradicts a constraint" in found[4].letter.reason
    assert "needs a service name" in found[6].letter.reason
    assert found[10].letter == bad
    assert found[4].letter.tenant_id == tenant
    assert (found[4].whole, found[4].state) == (True, "dead")
    # Of tenants that are gone nothing is kept.
    assert [(found[at].letter.tenant_id, found[at].letter.body, found[at].whole) for at in (2, 7)] == [(None, None, False)] * 2
    assert await reader.at() == 11
    assert await balanced(reader.database)


async def test_dead_letters_and_gaps_are_written_with_the_position_or_not_at_all(reader: Reader, tenant: UUID) -> None:
    gap = SourceGap(0, 40, "the topic holds nothing older")
    lost = batch(at=0, next_offset=40, gaps=[gap], dead=[DeadLetter(TOPIC, PARTITION, 39, "x")])
    await reader.journal.append_from(lost)
    with pytest.raises(Conflict):
        await reader.journal.append_from(dataclasses.replace(lost, dead=[DeadLetter(TOPIC, PARTITION, 3, "y")]))
    positions = SourcePositions(reader.database)
    (found,) = await positions.gaps(limit=9)
    assert (found.shard, found.gap) == (SHARD, gap)
    assert await positions.gaps(limit=9, before=found.gap_id) == []
    assert [it.letter.offset for it in await letters(reader.database)] == [39]
    assert reader.commits == []
    await reader.journal.append_from(batch(submission(tenant, "a"), at=40))
    assert await reader.at() == 41


async def test_a_full_journal_moves_nothing(sharded: Database, tenant: UUID) -> None:
    reader = Reader(sharded, limits=JournalLimits(journal_bytes_max=1))
    await reader.shard.acquire()
    with pytest.raises(Unavailable, match="journal is full"):
        await reader.journal.append_from(batch(submission(tenant, "a"), submission(NOBODY, "b")))
    assert (await reader.at(), await letters(sharded)) == (None, [])


async def test_many_messages_are_journaled_in_bounded_groups(sharded: Database, tenant: UUID) -> None:
    reader = Reader(sharded, limits=JournalLimits(group_requests_max=3))
    await reader.shard.acquire()
    receipts = await reader.journal.append_from(batch(*(submission(tenant, f"line {number}") for number in range(10))))
    assert [receipt and receipt.seq for receipt in receipts] == list(range(1, 11))


async def test_an_answer_that_is_lost_does_not_make_rows_twice(sharded_urls: Urls, tenant: UUID) -> None:
    sent = batch(submission(tenant, "a", hashed=False))
    async with Proxy(sharded_urls.app) as proxy, Database(proxy.dsn) as database:
        reader = Reader(database)
        await reader.shard.acquire()
        proxy.lose_answer_to(b"COMMIT")
        with pytest.raises(Unavailable):
            await reader.journal.append_from(sent)
        assert reader.commits == []
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await reader.at() == 1  # committed all the same
                    break
                except Unavailable:
                    await asyncio.sleep(0.05)  # a connection is made anew
        assert reader.commits == [1]  # whoever applies is told
        assert reader.backlog.bytes > 0
        await reader.journal.append_from(batch(submission(tenant, "b"), at=1))
        assert await reader.held() == [b"a", b"b"]


async def test_records_of_a_deleted_stream_begin_another(
    reader: Reader, tenant: UUID, sharded_owner: asyncpg.Connection
) -> None:
    (first,) = await reader.journal.append_from(batch(submission(tenant, "a")))
    assert first is not None
    shared = SharedJournal(reader.database, journal_bytes_max=1 << 30)
    await StreamSettings(reader.database, shared).delete(tenant, first.stream_ids[0], SYSTEM)
    assert await StreamDeletions(reader.database, grace=timedelta(0)).empty(first.stream_ids[0])
    (second,) = await reader.journal.append_from(batch(submission(tenant, "b"), at=1))
    assert second is not None
    assert second.stream_ids != first.stream_ids
    assert await sharded_owner.fetchval("select shard from driftlock.streams where id = $1", second.stream_ids[0]) == SHARD
    assert (await reader.at(), await reader.held()) == (2, [b"b"])


async def test_parts_of_a_request_are_counted_once(reader: Reader, tenant: UUID) -> None:
    """What was received is said by the first part alone; one that dies is refused."""

    def part(number: int, line: str, *, received: int) -> Submission:
        sent = submission(tenant, line)
        return dataclasses.replace(
            sent, request_hash=hashlib.sha256(b"request" + bytes([number])).digest()[:16], received=received, rejected=0
        )

    first, second, third = part(0, "a", received=3), part(1, "b", received=0), part(2, "c", received=0)
    dying = dataclasses.replace(third, request_hash=b"short")
    await reader.journal.append_from(batch(first, second, dying))
    await reader.journal.append_from(batch(first, at=3))
    (row,) = await Ledgers(reader.database).read()
    assert (row.received, row.journaled, row.refused, row.deduplicated, row.differences) == (6, 2, 1, 3, {})


async def test_clocks_are_told_as_in_any_journal(reader: Reader, tenant: UUID) -> None:
    (first,) = await reader.journal.append_from(batch(submission(tenant, "a")))
    assert first is not None
    assert await reader.journal.append_clock(NOW_NS) == 2
    assert await reader.journal.append_time(tenant, first.stream_ids[0], NOW_NS) == 3
    assert await reader.journal.append_time(tenant, NOBODY, NOW_NS) is None
    assert reader.commits == [1, 2, 3]


# ---- Dead letters ----


async def test_they_are_listed_in_pages_and_sent_again_once(reader: Reader) -> None:
    dead = [DeadLetter(TOPIC, PARTITION, offset, "x") for offset in range(5)]
    await reader.journal.append_from(batch(next_offset=5, dead=dead))
    store = DeadLetters(reader.database)
    page = await store.list(limit=3)
    assert [it.letter.offset for it in [*page, *await store.list(limit=3, before=page[-1].letter_id)]] == [4, 3, 2, 1, 0]
    assert [await store.retried([page[0].letter_id]) for _ in range(2)] == [1, 0]
    assert await store.count() == 4
    assert [it.letter.offset for it in await store.list(limit=9, state="retried")] == [4]
    again = await store.get(page[0].letter_id)
    assert again is not None
    assert again.state == "retried"
    assert await store.get(NOBODY) is None


async def test_a_tenant_sees_its_own(reader: Reader, tenant: UUID) -> None:
    other = (await Tenants(reader.database).create("other")).tenant_id
    dead = [DeadLetter(TOPIC, PARTITION, offset, "x", tenant_id=whose) for offset, whose in enumerate([tenant, other, None])]
    await reader.journal.append_from(batch(next_offset=3, dead=dead))
    assert [it.letter.offset for it in await DeadLetters(reader.database).of_tenant(tenant, limit=9)] == [0]


async def test_they_expire(reader: Reader, sharded_owner: asyncpg.Connection) -> None:
    dead = [DeadLetter(TOPIC, PARTITION, offset, "x") for offset in range(5)]
    await reader.journal.append_from(batch(next_offset=5, dead=dead))
    await sharded_owner.execute("update driftlock.dead_letters set at = at - interval '31 days' where \"offset\" < 3")
    assert await DeadLetters(reader.database).expire(rows_max=2) == 3
    assert [it.letter.offset for it in await letters(reader.database)] == [3, 4]


async def test_what_is_kept_of_one_is_bounded(reader: Reader) -> None:
    large = DeadLetter(
        TOPIC, PARTITION, 0, "\x00" + "r" * 5000, b"k" * 2000, b"v" * (BODY_BYTES_MAX + 1), (("h", b"1" * 40_000),)
    )
    await reader.journal.append_from(batch(next_offset=1, dead=[large]))
    (kept,) = await letters(reader.database)
    assert (len(kept.letter.body or b""), kept.body_bytes, kept.letter.headers) == (BODY_BYTES_MAX, BODY_BYTES_MAX + 1, ())
    assert not kept.whole


async def test_an_empty_message_is_passed(reader: Reader, tenant: UUID) -> None:
    (receipt,) = await reader.journal.append_from(batch(submission(tenant)))
    assert receipt is not None
    assert (receipt.seq, receipt.records, await reader.at()) == (0, 0, 1)
    with pytest.raises(ValueError, match="one stream"):
        await reader.journal.append_from(
            batch(
                at=1,
                messages=[
                    dataclasses.replace(
                        message(1, submission(tenant, "a", key=CHECKOUT)),
                        submission=dataclasses.replace(submission(tenant, "a"), batches=()),
                    )
                ],
            )
        )
