"""Batches at hand: what the applier gets without their bodies is what the bodies say."""

from array import array
from dataclasses import replace
from uuid import UUID

from driftlock.engine.event import RecordBatch, Signal
from driftlock.engine.ports import StreamBatch, Submission
from driftlock.engine.records import decode
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.recent import BATCH_BYTES, RecentBatches
from tests.storage.helpers import CHECKOUT, NOW_NS, batch, submission


def made(text: bytes) -> RecordBatch:
    return RecordBatch(text, array("I", [len(text)]), array("Q", [1]))


def test_what_lies_before_the_position_is_let_go() -> None:
    recent = RecentBatches(1 << 20)
    batches = {seq: made(b"x" * seq) for seq in (3, 4, 7, 9)}
    for seq, each in batches.items():
        recent.add(seq, each)
    assert recent.after(0, 2000) == batches
    assert recent.after(3, 4) == {4: batches[4], 7: batches[7]}
    assert recent.bytes == sum(BATCH_BYTES + batches[seq].size_bytes for seq in (4, 7, 9))
    assert (recent.after(9, 2000), recent.bytes) == ({}, 0)


def test_recent_bytes_max() -> None:
    one = made(b"x" * 100)
    recent = RecentBatches(2 * (BATCH_BYTES + one.size_bytes))
    for seq in range(1, 6):
        recent.add(seq, one)
    assert list(recent.after(0, 2000)) == [1, 2]  # the oldest: they are read first
    recent.add(6, one)
    assert list(recent.after(1, 2000)) == [2]
    recent.add(7, one)
    assert list(recent.after(1, 2000)) == [2, 7]
    assert not RecentBatches(0).after(0, 2000)


async def test_rows_without_bodies_say_what_their_bodies_say(database: Database, journal: Journal, tenant: UUID) -> None:
    await journal.submit(submission(tenant, "a", "b"))
    await journal.submit(submission(tenant, "a", "b"))  # a resend has no rows
    two = (StreamBatch(CHECKOUT, batch("c")), StreamBatch(CHECKOUT, batch("d", "e")))
    await journal.submit(Submission(tenant, Signal.LOGS, NOW_NS, two))
    await journal.append_clock(NOW_NS)
    await journal.submit(submission(tenant, "f"))
    stored = await JournalRows(database).read(0, 1 << 20)
    at_hand = await JournalRows(database, recent=journal.recent).read(0, 1 << 20)
    assert [row.batch for row in at_hand if row.stream_id] == [decode(row.body) for row in stored if row.stream_id]
    assert [replace(row, body=b"", batch=None) for row in at_hand if row.stream_id] == [
        replace(row, body=b"") for row in stored if row.stream_id
    ]
    assert [row.body_bytes for row in stored if row.stream_id] == [len(row.body) for row in stored if row.stream_id]
    assert [row for row in at_hand if not row.stream_id] == [row for row in stored if not row.stream_id]
