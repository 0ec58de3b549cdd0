"""A tenant moves to another shard: its rows, its positions, and what they are needed for."""

import re
from uuid import UUID

import asyncpg
import pytest

from driftlock.engine.ports import Checkpoint, FindingRow, RowKind, Step
from driftlock.errors import Conflict, Internal
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.evidence_material import EvidenceMaterial
from driftlock.storage.ledger import Ledgers
from driftlock.storage.migrate import shipped
from driftlock.storage.moving import TenantMoves, Unsettled
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import NOW_NS, finding, submission
from tests.storage.test_evidence import JUDGING
from tests.storage.test_shards import BYTES_MAX, LATER_NS, Side, sides

__all__ = ["sides"]
Owner = asyncpg.Connection
SHARD = "select next_seq, bytes, slot_bytes from driftlock.journal_shard where shard = $1"
HELD = """
select coalesce(sum(driftlock.journal_row_bytes(body)), 0)::bigint as bytes from driftlock.journal where shard = $1
"""


async def filled(side: Side, rows: int, first: int = 0) -> UUID:
    """So many rows of the side's tenant, applied, with two checkpoints."""
    for number in range(first, first + rows):
        stream = await side.send(f"line {number}")
    last, applied = await side.rows.last_seq(), await side.rows.applied_seq()
    await side.apply(applied, last - 1, stream)
    await side.apply(last - 1, last, stream)
    return stream


async def of_tenant(owner: Owner, tenant: UUID) -> list[tuple[int, int]]:
    rows = await owner.fetch("select shard, seq from driftlock.journal where tenant_id = $1 order by shard, seq", tenant)
    return [tuple(row) for row in rows]


async def check_bytes(owner: Owner, *shards: int) -> None:
    """A shard's room is what its rows take."""
    for shard in shards:
        assert (await owner.fetchrow(SHARD, shard))["bytes"] == await owner.fetchval(HELD, shard), shard


async def test_positions_stay_where_the_new_shard_is_empty(sides: list[Side], sharded_owner: Owner) -> None:
    moves = TenantMoves(sides[0].database)
    other = Side(sides[0].database, sides[0].shard, sides[0].journal, (await Tenants(sides[0].database).create("x")).tenant_id)
    await filled(sides[0], 3)
    stream = await filled(other, 2, first=10)
    assert await moves.move(other.tenant, sides[0].shard, sides[1].shard) == 2
    assert await of_tenant(sharded_owner, other.tenant) == [(1, 4), (1, 5)]
    assert await of_tenant(sharded_owner, sides[0].tenant) == [(0, 1), (0, 2), (0, 3)]
    saved = await Checkpoints(sides[1].database, sides[1].shard).load_streams([stream])
    assert saved[stream].seq == 5
    assert [row.kind for row in await sides[1].rows.read(5, BYTES_MAX)] == [RowKind.CLOCK]  # the seam
    await check_bytes(sharded_owner, 0, 1)
    assert not any(row.differences for row in await Ledgers(sides[0].database).read())
    moved = await sides[1].journal.submit(submission(other.tenant, "line 20"))
    assert (moved.seq, moved.stream_ids) == (7, (stream,))
    known = await sides[1].journal.submit(submission(other.tenant, "line 10"))
    assert (known.duplicate, known.seq) == (True, 4)


async def test_positions_all_go_the_same_way_on_where_it_is_in_use(sides: list[Side], sharded_owner: Owner) -> None:
    await filled(sides[1], 2)
    stream = await filled(sides[0], 5)
    await TenantMoves(sides[0].database).move(sides[0].tenant, sides[0].shard, sides[1].shard)
    assert await of_tenant(sharded_owner, sides[0].tenant) == [(1, seq + 5) for seq in range(1, 6)]
    saved = await Checkpoints(sides[1].database, sides[1].shard).load_streams([stream])
    assert saved[stream].seq == 10
    known = await sides[1].journal.submit(submission(sides[0].tenant, "line 0"))
    assert (known.duplicate, known.seq) == (True, 6)
    assert (await sides[1].rows.applied_seq(), await sides[1].rows.last_seq()) == (11, 11)
    await check_bytes(sharded_owner, 0, 1)


async def test_a_fold_that_needs_rows_again_finds_them_beyond_the_holes(sides: list[Side], sharded_owner: Owner) -> None:
    await filled(sides[1], 2)
    await sides[1].send("not in a checkpoint")
    await sides[1].apply(2, 3)
    await filled(sides[0], 4)
    other = (await Tenants(sides[0].database).create("first")).tenant_id
    await sides[0].journal.submit(submission(other, "a"))
    await sides[0].apply(4, 5)
    await TenantMoves(sides[0].database).move(sides[0].tenant, sides[0].shard, sides[1].shard)
    await sharded_owner.execute("update driftlock.stream_checkpoints set crc = crc + 1 where seq = 2")
    assert await sides[1].recovery() == 1
    read = await sides[1].rows.read(1, BYTES_MAX)
    assert [row.seq for row in read] == [2, 3, 6, 7, 8, 9, 11]
    assert [row.seq for row in await sides[0].rows.read(0, BYTES_MAX)] == [5, 6]


async def test_a_hole_may_be_longer_than_a_page(sides: list[Side], sharded_owner: Owner) -> None:
    await sharded_owner.execute("update driftlock.journal_shard set next_seq = 9001, slot_first_seq = 9001 where shard = 0")
    await sharded_owner.execute("update driftlock.journal_position set applied_seq = 9000 where shard = 0")
    await filled(sides[1], 1)
    await filled(sides[0], 1)
    await TenantMoves(sides[0].database).move(sides[0].tenant, sides[0].shard, sides[1].shard)
    assert [row.seq for row in await sides[1].rows.read(1, BYTES_MAX)] == [18_002, 18_003]
    await sharded_owner.execute("delete from driftlock.journal_moved where shard = 1")
    with pytest.raises(Internal, match="row 2 is gone"):
        await sides[1].rows.read(1, BYTES_MAX)


async def test_those_who_move_later_come_to_the_same_place(sides: list[Side], sharded_owner: Owner) -> None:
    moves, database = TenantMoves(sides[0].database), sides[0].database
    second = Side(database, sides[0].shard, sides[0].journal, (await Tenants(database).create("second")).tenant_id)
    await filled(sides[0], 2)
    await filled(second, 2, first=10)
    await moves.move(sides[0].tenant, sides[0].shard, sides[1].shard)
    # The command was ended here, and is begun again.
    await sides[0].shard.acquire()
    await sides[1].shard.acquire()
    await moves.move(second.tenant, sides[0].shard, sides[1].shard)
    assert await of_tenant(sharded_owner, second.tenant) == [(1, 3), (1, 4)]
    assert await moves.move(second.tenant, sides[0].shard, sides[1].shard) == 0  # and again: nothing
    assert await sides[1].rows.last_seq() == 5


async def test_a_server_may_go_on_in_between(sides: list[Side], sharded_owner: Owner) -> None:
    moves, database = TenantMoves(sides[0].database), sides[0].database
    second = Side(database, sides[0].shard, sides[0].journal, (await Tenants(database).create("second")).tenant_id)
    await filled(sides[0], 2)
    await filled(second, 2, first=10)
    await moves.move(sides[0].tenant, sides[0].shard, sides[1].shard)
    await filled(second, 2, first=20)
    await moves.move(second.tenant, sides[0].shard, sides[1].shard)
    assert await of_tenant(sharded_owner, second.tenant) == [(1, seq + 7) for seq in (3, 4, 6, 7)]
    await check_bytes(sharded_owner, 0, 1)


async def test_a_tenant_may_go_back(sides: list[Side], sharded_owner: Owner) -> None:
    moves = TenantMoves(sides[0].database)
    await filled(sides[0], 3)
    await moves.move(sides[0].tenant, sides[0].shard, sides[1].shard)
    await moves.move(sides[0].tenant, sides[1].shard, sides[0].shard)
    assert await of_tenant(sharded_owner, sides[0].tenant) == [(0, 5), (0, 6), (0, 7)]
    await check_bytes(sharded_owner, 0, 1)
    assert await sides[0].recovery() == await sides[0].rows.applied_seq()


async def test_nothing_moves_that_is_not_applied_or_not_ours(sides: list[Side]) -> None:
    moves = TenantMoves(sides[0].database)
    await filled(sides[0], 2)
    await sides[0].send("one more")
    with pytest.raises(Unsettled):
        await moves.move(sides[0].tenant, sides[0].shard, sides[1].shard)
    await sides[0].apply(2, 3)
    stale = sides[1].shard.epoch
    await sides[1].shard.acquire()
    sides[1].shard._epoch = stale
    with pytest.raises(Conflict):
        await moves.move(sides[0].tenant, sides[0].shard, sides[1].shard)
    assert [it.name for it in await moves.of_shards([0])] == ["tenant 0"]


async def test_evidence_that_waits_can_be_made_afterwards(sides: list[Side], sharded_owner: Owner) -> None:
    side, material = sides[0], EvidenceMaterial(sides[0].database, JUDGING)
    checkpoints = Checkpoints(side.database, side.shard, evidence=True)
    stream = await side.send("a")
    await checkpoints.commit(Step(0, 1, stream_checkpoints={(side.tenant, stream): Checkpoint(1, b"state")}))
    await side.send("b")
    clock = await side.journal.append_clock(NOW_NS)
    rows = [FindingRow(side.tenant, stream, UUID(int=seq), finding(seq), seq) for seq in (2, clock)]
    saved = {(side.tenant, stream): Checkpoint(3, b"later")}
    await checkpoints.commit(Step(1, 3, findings=tuple(rows), stream_checkpoints=saved))
    before = [await material.of(side.tenant, row.finding_id) for row in rows]
    await TenantMoves(side.database).move(side.tenant, side.shard, sides[1].shard)
    assert [await material.of(side.tenant, row.finding_id) for row in rows] == before
    await filled(sides[2], 1)
    await TenantMoves(side.database).move(side.tenant, sides[1].shard, sides[2].shard)
    moved = [await material.of(side.tenant, row.finding_id) for row in rows]
    assert [[row.seq for row in it.rows] for it in moved if it is not None] == [[6], [6, 7]]
    assert await sharded_owner.fetchval("select journal_seq from driftlock.anomalies where id = $1", rows[1].finding_id) == 7


async def test_streams_pass_their_eras_where_they_have_moved_to(sides: list[Side], sharded_owner: Owner) -> None:
    moves = TenantMoves(sides[0].database)
    await filled(sides[0], 2)
    await sharded_owner.execute("insert into driftlock.journal_identity values (0, '{\"zstd\": \"2\"}', '{}')")
    await sharded_owner.execute('insert into driftlock.journal_era values (0, 3, 2, \'[["zstd", "1", "2"]]\', \'\')')
    await moves.move(sides[0].tenant, sides[0].shard, sides[1].shard)
    eras = await sharded_owner.fetch("select shard, seq, since_seq from driftlock.journal_era order by shard")
    assert [tuple(row) for row in eras] == [(0, 3, 2), (1, 3, 2)]
    assert await sharded_owner.fetchval("select versions from driftlock.journal_identity where shard = 1") == '{"zstd": "2"}'
    await filled(sides[2], 1)
    with pytest.raises(Conflict, match="another version"):
        await moves.move(sides[0].tenant, sides[1].shard, sides[2].shard)
    assert [it.shard for it in await moves.of_shards([1, 2]) if it.tenant_id == sides[0].tenant] == [1]


async def test_rows_that_have_come_leave_with_the_others(sides: list[Side], sharded_owner: Owner) -> None:
    stream = await filled(sides[0], 3)
    await TenantMoves(sides[0].database).move(sides[0].tenant, sides[0].shard, sides[1].shard)
    retention = sides[1].retention()
    assert await retention.truncate(LATER_NS) == 0  # the slot is closed first, and the seam is of now
    await sharded_owner.execute("update driftlock.journal_slot set newest_ns = 0")
    assert await retention.truncate(LATER_NS) == 4
    assert await of_tenant(sharded_owner, sides[0].tenant) == []
    assert not any(row.differences for row in await Ledgers(sides[0].database).read())
    saved = await Checkpoints(sides[1].database, sides[1].shard).load_streams([stream])
    assert saved[stream].seq == 3
    await check_bytes(sharded_owner, 0, 1)


async def test_nobody_moves_whose_streams_lie_in_several_shards(sides: list[Side], sharded_owner: Owner) -> None:
    await filled(sides[0], 2)
    await sharded_owner.execute("insert into driftlock.spread (spread) values (2)")
    with pytest.raises(Conflict, match="DRIFTLOCK_KAFKA_TENANT_SPREAD"):
        await TenantMoves(sides[0].database).move(sides[0].tenant, sides[0].shard, sides[1].shard)
    assert await of_tenant(sharded_owner, sides[0].tenant) == [(0, 1), (0, 2)]


async def test_every_position_that_is_a_tenant_s_moves(sharded_owner: Owner) -> None:
    """Whoever adds a column with a position has to say here, or in the function that moves tenants, what becomes of it."""
    columns = await sharded_owner.fetch(
        "select c.table_name, c.column_name from information_schema.columns c "
        "join pg_class t on t.relname = c.table_name and t.relnamespace = 'driftlock'::regnamespace and not t.relispartition "
        "where c.table_schema = 'driftlock' and c.column_name ~ '(^|_)seq$' and t.relkind in ('r', 'p') and exists ("
        "select from information_schema.columns o where o.table_schema = 'driftlock' and o.table_name = c.table_name "
        "and o.column_name = 'tenant_id')"
    )
    apart = {("journal", "seq"), ("journal_quarantine", "seq")}  # they move with their shard
    only_in_several_shards = {("derived", "seq"), ("relay_checkpoints", "seq")}  # of which nobody moves
    counted_for_tenants = {("live_heads", "seq"), ("live_events", "seq")}
    text = "".join(migration.sql for migration in shipped() if "tenant_move" in migration.sql)
    moved = set(re.findall(r"\['(\w+)', '(\w+)'\]", text))
    assert {tuple(row) for row in columns} - apart - only_in_several_shards - counted_for_tenants == moved
