"""Who was frozen while another process took over is told so, and not that the database has lost rows."""

from uuid import UUID

import pytest

from driftlock.engine.ports import Checkpoint, RowKind, Step
from driftlock.errors import Conflict, Internal
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.eras import EraJournal
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.retention import Retention
from driftlock.storage.shard import Shard
from tests.storage.helpers import NOW_NS, SECOND_NS, submission


async def test_rows_that_the_next_owner_has_let_go_of(database: Database, shard: Shard, journal: Journal, tenant: UUID) -> None:
    receipt = await journal.submit(submission(tenant, "a"))
    following = Shard(database)
    await following.acquire()
    saved = Checkpoint(receipt.seq, b"state")
    stream = (tenant, receipt.stream_ids[0])
    step = Step(0, receipt.seq, stream_checkpoints={stream: saved}, tenant_checkpoints={tenant: saved})
    await Checkpoints(database, following).commit(step)
    removed = await Retention(database, following, dedup_window_ms=0, bytes_kept=0).truncate(NOW_NS + SECOND_NS)
    assert removed == 1

    with pytest.raises(Conflict, match="taken over"):
        await JournalRows(database, owner=shard).read(0, 1 << 20)
    assert shard.fenced.is_set()
    with pytest.raises(Internal, match="gone"):
        await JournalRows(database, owner=following).read(0, 1 << 20)
    assert not following.fenced.is_set()


async def test_an_era_that_the_next_owner_begins(database: Database, shard: Shard, journal: Journal, tenant: UUID) -> None:
    await EraJournal(database, shard).open({"algorithm": "1"}, NOW_NS)
    await journal.submit(submission(tenant, "a"))
    following = Shard(database)
    await following.acquire()
    assert await EraJournal(database, following).open({"algorithm": "2"}, NOW_NS) is not None

    with pytest.raises(Conflict, match="taken over"):
        await JournalRows(database, owner=shard).read(0, 1 << 20)
    assert shard.fenced.is_set()
    rows = await JournalRows(database, owner=following).read(0, 1 << 20)
    assert [row.kind for row in rows] == [RowKind.RECORDS, RowKind.ERA]
    assert not following.fenced.is_set()
