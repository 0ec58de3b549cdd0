"""Where reading begins after a stop, and what may be deleted: never anything that a fold still needs."""

from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.ports import Checkpoint, Step
from driftlock.engine.profile import PROFILES
from driftlock.errors import Conflict, Internal
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.journal import Journal, JournalLimits
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.recovery import recovery_position, tenants_with_state
from driftlock.storage.retention import Retention
from driftlock.storage.shard import Shard
from tests.storage.helpers import NOW_NS, SECOND_NS, submission

WINDOW_MS = JournalLimits().dedup_window_ms
LATER_NS = NOW_NS + WINDOW_MS * 1_000_000 + SECOND_NS


class House:
    """Two streams A and B; rows 1 A, 2 B, 3 A, 4 A, 5 B, 6 clock."""

    def __init__(self, database: Database, shard: Shard, tenant: UUID, streams: dict[str, UUID]) -> None:
        self.database, self.tenant, self.streams = database, tenant, streams
        self.checkpoints = Checkpoints(database, shard)
        self.retention = Retention(database, shard, dedup_window_ms=WINDOW_MS, bytes_kept=1 << 40)
        self.applied = 0

    async def apply(self, to_seq: int, tenant_seq: int | None = None, **streams: int) -> None:
        await self.checkpoints.commit(
            Step(
                self.applied,
                to_seq,
                stream_checkpoints={
                    (self.tenant, self.streams[name]): Checkpoint(seq, f"{name}{seq}".encode()) for name, seq in streams.items()
                },
                tenant_checkpoints={} if tenant_seq is None else {self.tenant: Checkpoint(tenant_seq, b"t")},
            )
        )
        self.applied = to_seq

    async def position(self) -> int:
        return await recovery_position(self.database, self.checkpoints)

    async def kept(self, now_ns: int = LATER_NS) -> list[int]:
        await self.retention.truncate(now_ns)
        async with self.database._connection("driftlock_node") as connection:
            return [row["seq"] for row in await connection.fetch("select seq from driftlock.journal order by seq")]


@pytest_asyncio.fixture
async def house(database: Database, shard: Shard, journal: Journal, tenant: UUID) -> House:
    streams = {}
    for number, name in enumerate("ABAAB"):
        sent = submission(tenant, f"line {number}", key=StreamKey(Signal.LOGS, name), received_ns=NOW_NS + number)
        streams[name] = (await journal.submit(sent)).stream_ids[0]
    await journal.append_clock(NOW_NS + 5)
    return House(database, shard, tenant, streams)


async def test_before_anything_is_applied_reading_begins_at_the_beginning(house: House) -> None:
    assert await house.position() == 0


async def test_folds_without_checkpoints_need_all_their_rows(house: House) -> None:
    await house.apply(4)
    assert await house.position() == 0


async def test_reading_begins_at_the_first_row_that_a_fold_lacks(house: House) -> None:
    await house.apply(5, tenant_seq=5, A=3, B=2)
    assert await house.position() == 3  # row 4 of A
    await house.apply(5, A=5)
    assert await house.position() == 4  # row 5 of B
    await house.apply(5, B=5)
    assert await house.position() == 5


async def test_a_tenant_fold_behind_its_streams_needs_their_rows(house: House) -> None:
    await house.apply(5, tenant_seq=2, A=5, B=5)
    assert await house.position() == 2
    await house.apply(5, tenant_seq=5)
    assert await house.position() == 5


async def test_rows_that_are_not_applied_yet_make_no_fold_lag(house: House) -> None:
    await house.apply(2, tenant_seq=2, A=2, B=2)
    assert await house.position() == 2


async def test_a_damaged_checkpoint_moves_the_beginning_back(house: House, owner: asyncpg.Connection) -> None:
    await house.apply(3, tenant_seq=3, A=1, B=3)
    await house.apply(5, tenant_seq=5, A=3, B=5)
    assert await house.position() == 3
    await owner.execute(
        "update driftlock.stream_checkpoints set state = '' where stream_id = $1 and seq = 3", house.streams["A"]
    )
    assert await house.position() == 2  # row 3 is the first that the checkpoint at 1 lacks
    await owner.execute("update driftlock.stream_checkpoints set state = '' where stream_id = $1", house.streams["A"])
    assert await house.position() == 3  # all of its past is lost: it begins anew after the newest checkpoint


async def test_applied_rows_in_all_folds_are_deleted(house: House) -> None:
    await house.apply(6, tenant_seq=6, A=6, B=6)
    assert await house.kept() == []
    reader = JournalRows(house.database)
    assert await reader.size_bytes() == 0
    assert (await reader.last_seq(), await reader.applied_seq()) == (6, 6)
    assert await reader.read(6, 1) == []
    assert await house.position() == 6


async def test_rows_not_applied_are_never_deleted(house: House) -> None:
    assert await house.kept() == [1, 2, 3, 4, 5, 6]
    await house.apply(2, tenant_seq=2, A=2, B=2)
    assert await house.kept() == [3, 4, 5, 6]
    with pytest.raises(Internal, match="row 2 is gone"):
        await JournalRows(house.database).read(1, 1 << 20)


async def test_rows_that_a_fold_lacks_are_kept(house: House) -> None:
    await house.apply(6, tenant_seq=6, A=6)
    assert await house.kept() == [2, 3, 4, 5, 6]  # B has no checkpoint


async def test_a_configuration_that_a_fold_lacks_is_kept(house: House, journal: Journal) -> None:
    await house.apply(5, tenant_seq=5, A=5, B=5)
    await house.apply(6, tenant_seq=6, A=6, B=6)
    assert await journal.configure(house.tenant, house.streams["A"], PROFILES["strict"]) == 7
    await house.apply(7, tenant_seq=7)
    assert await house.position() == 6
    far_ns = 4 * LATER_NS  # configurations carry the time of the database
    assert await house.kept(far_ns) == [7]
    await house.apply(7, A=7)
    assert await house.position() == 7
    assert await house.kept(far_ns) == []


async def test_rows_behind_the_older_checkpoint_of_a_lagging_fold_are_kept(house: House) -> None:
    await house.apply(3, tenant_seq=3, A=1, B=3)
    await house.apply(6, tenant_seq=6, A=3, B=6)
    assert await house.kept() == [3, 4, 5, 6]


async def test_rows_within_the_deduplication_window_are_kept(house: House) -> None:
    await house.apply(6, tenant_seq=6, A=6, B=6)
    border_ns = NOW_NS + 2 + WINDOW_MS * 1_000_000
    assert await house.kept(border_ns) == [3, 4, 5, 6]


async def test_they_give_way_where_there_is_little_room(house: House, shard: Shard, owner: asyncpg.Connection) -> None:
    await house.apply(5, tenant_seq=5, A=5, B=5)
    requests = await owner.fetchval("select count(*) from driftlock.journal_request")
    kept = await owner.fetchval("select bytes from driftlock.journal_shard") - 1
    full = Retention(house.database, shard, dedup_window_ms=WINDOW_MS, bytes_kept=kept, rows_max=2)
    assert await full.truncate(NOW_NS) == 2
    assert await full.truncate(NOW_NS) == 0  # there is room again
    empty = Retention(house.database, shard, dedup_window_ms=WINDOW_MS, bytes_kept=0)
    assert await empty.truncate(NOW_NS) == 3  # the sixth is not applied
    # Resends are recognised all the same.
    assert await owner.fetchval("select count(*) from driftlock.journal_request") == requests > 0


async def test_deletion_goes_in_bites(house: House, shard: Shard) -> None:
    await house.apply(6, tenant_seq=6, A=6, B=6)
    retention = Retention(house.database, shard, dedup_window_ms=WINDOW_MS, bytes_kept=1 << 40, rows_max=4)
    assert [await retention.truncate(LATER_NS) for _ in range(3)] == [4, 2, 0]


async def test_old_requests_are_forgotten(house: House, owner: asyncpg.Connection) -> None:
    await house.kept(LATER_NS - SECOND_NS - 1)  # the cut is one ns before the first request
    assert await owner.fetchval("select count(*) from driftlock.journal_request") == 5
    await house.kept(LATER_NS - SECOND_NS + 3)
    assert await owner.fetchval("select count(*) from driftlock.journal_request") == 2


async def test_the_database_itself_refuses_to_delete_unapplied_rows(house: House, owner: asyncpg.Connection) -> None:
    source = await owner.fetchval("select prosrc from pg_proc where proname = 'journal_truncate'")
    assert "least(\n      v_applied," in source
    broken = source.replace("least(\n      v_applied,", "least(\n      v_applied + 3,")
    arguments = "p_shard integer, p_epoch bigint, p_before_ns bigint, p_bytes_kept bigint, p_rows_max integer"
    signature = f"driftlock.journal_truncate({arguments})"
    define = "create or replace function {} returns integer language plpgsql as $body${}$body$"
    await owner.execute(define.format(signature, broken))
    try:
        with pytest.raises(Internal, match="ZD003"):
            await house.kept()
    finally:
        await owner.execute(define.format(signature, source))
    assert await house.kept() == [1, 2, 3, 4, 5, 6]


async def test_a_stale_owner_deletes_nothing(house: House) -> None:
    await house.apply(6, tenant_seq=6, A=6, B=6)
    await Shard(house.database).acquire()
    with pytest.raises(Conflict):
        await house.retention.truncate(LATER_NS)


async def test_tenants_with_a_past_are_known(house: House) -> None:
    assert await tenants_with_state(house.database) == []
    await house.checkpoints.commit(Step(0, 1, tenant_checkpoints={house.tenant: Checkpoint(1, b"x")}))
    assert await tenants_with_state(house.database) == [house.tenant]
