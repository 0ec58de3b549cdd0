"""Bytes of the database that are not what was written: the applier comes up, all else is scored, and what was lost is told."""

import asyncio
import random
import zlib
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import asyncpg
import pytest
import zstandard

from driftlock.engine.dispatch import Dispatcher
from driftlock.engine.event import RecordBatch, Signal, StreamKey
from driftlock.engine.limits import DispatchLimits, Limits
from driftlock.engine.ports import RowKind, StreamBatch, Submission
from driftlock.engine.profile import PROFILES
from driftlock.errors import Internal
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.eras import read_eras
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.pool import Database
from driftlock.storage.quarantine import Quarantine
from driftlock.storage.recovery import recovery_position, tenants_with_state
from driftlock.storage.shard import Shard
from driftlock.storage.stream_events import StreamEvents
from driftlock.v1 import state_pb2
from tests.engine.streams import BASE_NS, batches, iid, take
from tests.storage.helpers import open_journal
from tests.storage.test_engine_seams import points, scored

KEYS = [StreamKey(Signal.LOGS, name) for name in ("checkout", "cart")]
HOST = StreamKey(Signal.METRICS, "host")
RECEIVED_NS = BASE_NS + 10**15
SIZE = 20
OFTEN = DispatchLimits(threads=2, read_bytes_max=2500, checkpoint_bytes=1)
SELDOM = DispatchLimits(threads=2, checkpoint_bytes=10**9, checkpoint_period_ns=10**18)

Damage = Callable[[bytes, random.Random], bytes]


def flipped(body: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(body))
    return body[:at] + bytes((body[at] ^ 1 << rng.randrange(8),)) + body[at + 1 :]


def cut(body: bytes, rng: random.Random) -> bytes:
    return body[: rng.randrange(len(body))]


def noise(body: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(len(body))


class Scene:
    """Three streams of a tenant; what is applied, and what of it is spoiled."""

    def __init__(self, database: Database, owner: asyncpg.Connection, tenant: UUID) -> None:
        self.database, self.owner, self.tenant = database, owner, tenant
        self.streams: dict[str, UUID] = {}
        self.sent = Counter[UUID]()
        self.faults: list[str] = []

    async def send(self, journal: Journal, first: int, last: int) -> None:
        """Batches first..last-1 of each stream, then a clock record."""
        lines = [batches(take(iid(seed), last * SIZE), SIZE)[first:last] for seed in (1, 2)]
        for number in range(first, last):
            for key, batch in ((KEYS[0], lines[0][number - first]), (KEYS[1], lines[1][number - first])):
                await self._submit(journal, key, batch)
            await self._submit(journal, HOST, points(number * SIZE, SIZE))
        await journal.append_clock(RECEIVED_NS)

    async def _submit(self, journal: Journal, key: StreamKey, batch: RecordBatch) -> None:
        receipt = await journal.submit(Submission(self.tenant, key.signal, RECEIVED_NS, (StreamBatch(key, batch),)))
        self.streams[key.service] = receipt.stream_ids[0]
        self.sent[receipt.stream_ids[0]] += SIZE

    async def applier(self, limits: DispatchLimits) -> Dispatcher:
        shard = Shard(self.database)
        await shard.acquire()
        rows, checkpoints = JournalRows(self.database), Checkpoints(self.database, shard)
        return Dispatcher(
            reader=rows,
            states=checkpoints,
            committer=checkpoints,
            clock_journal=Journal(self.database, shard, node="n", on_commit=lambda _: None),
            recovery_seq=await recovery_position(self.database, checkpoints),
            applied_seq=await rows.applied_seq(),
            tenant_ids=await tenants_with_state(self.database),
            now_ns=lambda: BASE_NS,
            seed=7,
            limits=Limits(),
            dispatch_limits=limits,
            on_step=lambda _: None,
            on_fault=self.faults.append,
            eras=await read_eras(self.database),
        )

    async def apply(self, limits: DispatchLimits = OFTEN, until: int | None = None) -> None:
        """Score all there is, then die without a stop."""
        running = await self.applier(limits)
        await running.__aenter__()
        await scored(running, until or await JournalRows(self.database).last_seq())
        for task in running._tasks:
            task.cancel()
        await asyncio.gather(*running._tasks, return_exceptions=True)
        running._residents.close()

    async def spoil(self, table: str, where: str, damage: Damage, rng: random.Random) -> None:
        column = "body" if table == "journal" else "state"
        place = "seq" if table == "journal" else "ctid"
        for row in await self.owner.fetch(f"select {place} as place, {column} as body from driftlock.{table} where {where}"):  # noqa: S608
            sql = f"update driftlock.{table} set {column} = $2 where {place} = $1"  # noqa: S608
            await self.owner.execute(sql, row["place"], damage(row["body"], rng))

    async def told(self) -> list[tuple[str, str]]:
        """Losses that the streams tell: (stream, kind)."""
        names = {stream_id: name for name, stream_id in self.streams.items()}
        found = []
        for stream_id in self.streams.values():
            for it in await StreamEvents(self.database).list(self.tenant, stream_id, limit=200):
                if it.event.kind.value in ("records_lost", "state_lost"):
                    found.append((names[stream_id], it.event.kind.value))
        return sorted(found)

    async def after_checkpoint(self, name: str) -> int:
        """Records of a stream that came after its newest checkpoint, readable or not."""
        count: int = await self.owner.fetchval(
            "select sum(j.records)::bigint from driftlock.journal j where j.stream_id = $1 "
            "and j.seq > (select max(c.seq) from driftlock.stream_checkpoints c where c.stream_id = $1)",
            self.streams[name],
        )
        return count

    async def events(self) -> dict[str, int]:
        """Events that each stream has folded."""
        rows = await self.owner.fetch("select stream_id, events from driftlock.stream_status")
        found = {row["stream_id"]: row["events"] for row in rows}
        return {name: found[stream_id] for name, stream_id in self.streams.items()}


@pytest.fixture
async def scene(database: Database, owner: asyncpg.Connection, tenant: UUID) -> Scene:
    """Eight batches of each stream, applied, with two checkpoints; four more are journaled."""
    made = Scene(database, owner, tenant)
    for first in (0, 4, 8):
        async with await open_journal(database) as journal:
            await made.send(journal, first, first + 4)
        if first < 8:
            async with await made.applier(SELDOM) as running:
                await scored(running, await JournalRows(database).last_seq())
    return made


@pytest.mark.parametrize("damage", [flipped, cut, noise], ids=lambda it: it.__name__)
async def test_a_damaged_row_is_told_kept_once_and_costs_its_records_only(scene: Scene, damage: Damage) -> None:
    rng = random.Random(1)
    applied = await JournalRows(scene.database).applied_seq()
    first = await scene.owner.fetchval(
        "select min(seq) from driftlock.journal where stream_id = $1 and seq > $2", scene.streams["cart"], applied
    )
    await scene.spoil("journal", f"seq in ({first}, {await JournalRows(scene.database).last_seq()})", damage, rng)
    for _ in range(3):
        await scene.apply()
    kept = await Quarantine(scene.database).list(limit=9)
    clock, records = [(it.row.kind, it.row.records, it.stream) for it in kept]
    assert (clock, records) == ((RowKind.CLOCK, 0, ""), (RowKind.RECORDS, SIZE, "cart"))
    assert await scene.told() == [("cart", "records_lost")]
    assert await scene.events() == {"checkout": 12 * SIZE, "cart": 11 * SIZE, "host": 12 * SIZE}


NEWEST = "(select c.stream_id, max(c.seq) from driftlock.stream_checkpoints c group by 1)"


@pytest.mark.parametrize("damage", [flipped, cut, noise], ids=lambda it: it.__name__)
async def test_the_newest_checkpoint_gives_way_to_the_one_before_and_nothing_is_lost(scene: Scene, damage: Damage) -> None:
    await scene.apply(SELDOM)  # rows after it are applied, so they are read again
    await scene.spoil("stream_checkpoints", f"(stream_id, seq) in {NEWEST}", damage, random.Random(2))
    async with await open_journal(scene.database) as journal:
        await scene.send(journal, 12, 13)
    await scene.apply(SELDOM)
    assert await scene.told() == []
    assert await scene.events() == dict.fromkeys(scene.streams, 13 * SIZE)


async def test_both_lost_is_told_once_and_by_that_stream_alone(scene: Scene) -> None:
    left = await scene.after_checkpoint("cart")
    await scene.spoil("stream_checkpoints", f"stream_id = '{scene.streams['cart']}'", flipped, random.Random(3))
    await scene.apply(SELDOM)
    await scene.apply(SELDOM)  # no checkpoint was written: the state is lost again, and told already
    assert await scene.told() == [("cart", "state_lost")]
    assert await scene.events() == {"checkout": 12 * SIZE, "cart": left, "host": 12 * SIZE}
    await scene.apply()
    await scene.apply()
    assert await scene.told() == [("cart", "state_lost")]


async def test_a_tenants_state_falls_back_or_begins_anew(scene: Scene) -> None:
    newest = "seq = (select max(c.seq) from driftlock.tenant_checkpoints c)"
    await scene.spoil("tenant_checkpoints", newest, flipped, random.Random(4))
    await scene.apply()
    assert scene.faults == []
    await scene.spoil("tenant_checkpoints", "true", cut, random.Random(5))
    await scene.apply()
    assert any("incident state of tenant" in fault for fault in scene.faults)
    assert await scene.told() == []
    assert await scene.events() == dict.fromkeys(scene.streams, 12 * SIZE)


async def test_a_lost_series_is_told_and_the_stream_goes_on(scene: Scene) -> None:
    await scene.spoil("series_states", "true", flipped, random.Random(6))
    await scene.apply(SELDOM)
    await scene.apply(SELDOM)
    assert await scene.told() == [("host", "state_lost")]
    [event] = await StreamEvents(scene.database).list(scene.tenant, scene.streams["host"], limit=9)
    assert "`cpu`" in event.event.reason
    assert await scene.events() == dict.fromkeys(scene.streams, 12 * SIZE)


async def test_damage_while_it_is_in_memory_does_no_harm_before_a_restart(scene: Scene) -> None:
    async with await scene.applier(SELDOM) as running:
        await scored(running, await JournalRows(scene.database).last_seq())
        await scene.spoil("stream_checkpoints", "true", noise, random.Random(7))
    assert await scene.told() == []  # its stop wrote new ones
    await scene.apply()
    assert await scene.told() == []
    assert await scene.events() == dict.fromkeys(scene.streams, 12 * SIZE)


async def test_where_nothing_came_since_it_goes_on_from_the_one_before_and_says_so(scene: Scene) -> None:
    """Streams that are idle do not hold the journal, so the rows between the two may be gone."""
    await scene.spoil("stream_checkpoints", f"(stream_id, seq) in {NEWEST}", flipped, random.Random(9))
    await scene.apply(SELDOM)
    await scene.apply(SELDOM)
    assert await scene.told() == [(name, "state_lost") for name in sorted(scene.streams)]
    assert await scene.events() == dict.fromkeys(scene.streams, 8 * SIZE)  # 4 before, 4 that are new
    windows = await scene.owner.fetch("select windows from driftlock.stream_status")
    assert all(row["windows"] >= 1 << 17 for row in windows)  # numbers that were given out are not given out again


async def test_a_state_of_a_newer_version_stops_the_applier_with_advice(scene: Scene) -> None:
    newer = zstandard.compress(state_pb2.StreamState(schema=99, stream="logs:cart").SerializeToString())
    await scene.owner.execute(
        "update driftlock.stream_checkpoints set state = $2, crc = $3 where stream_id = $1",
        scene.streams["cart"],
        newer,
        zlib.crc32(newer),
    )
    running = await scene.applier(OFTEN)
    with pytest.raises(Internal, match="upgrade driftlock"):
        async with running:
            await running.failed()


async def test_a_damaged_configuration_and_a_damaged_budget_are_kept_too(scene: Scene) -> None:
    async with await open_journal(scene.database) as journal:
        config = await journal.configure(scene.tenant, scene.streams["cart"], PROFILES["strict"])
        await journal.set_budget(scene.tenant, 3)
        time = await journal.append_time(scene.tenant, scene.streams["cart"], RECEIVED_NS)
    await scene.spoil("journal", f"seq >= {config}", flipped, random.Random(8))
    await scene.apply()
    kept = await Quarantine(scene.database).list(limit=9)
    assert [(it.row.seq, it.row.kind) for it in reversed(kept)] == [
        (config, RowKind.CONFIG),
        (config + 1, RowKind.BUDGET),
        (time, RowKind.TIME),
    ]
    assert await scene.told() == []


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_damaged_the_rest_is_scored_and_losses_are_told(scene: Scene, seed: int) -> None:
    """Any bytes of any rows of the journal and of the states, while it is down."""
    rng = random.Random(seed)
    applied = await JournalRows(scene.database).applied_seq()
    rows = await scene.owner.fetch("select seq, stream_id, records from driftlock.journal where seq > $1", applied)
    hit = rng.sample(rows, 4)
    for row in hit:
        await scene.spoil("journal", f"seq = {row['seq']}", rng.choice([flipped, cut, noise]), rng)
    for table in ("stream_checkpoints", "tenant_checkpoints", "series_states"):
        for place in await scene.owner.fetch(f"select ctid::text as place from driftlock.{table}"):  # noqa: S608
            if rng.random() < 0.4:
                await scene.spoil(table, f"ctid = '{place['place']}'", rng.choice([flipped, cut, noise]), rng)
    newest, known = dict[UUID, int](), dict[UUID, int]()  # positions of the newest state, and of the newest readable one
    for row in await scene.owner.fetch("select stream_id, seq, state, crc from driftlock.stream_checkpoints order by seq"):
        newest[row["stream_id"]] = row["seq"]
        if zlib.crc32(row["state"]) == row["crc"]:
            known[row["stream_id"]] = row["seq"]
    count = "select coalesce(sum(records), 0)::bigint from driftlock.journal where stream_id = $1 and (seq <= $2 or seq > $3)"
    left = {it: await scene.owner.fetchval(count, it, known.get(it, 0), newest[it]) for it in newest}
    await scene.apply(rng.choice([OFTEN, SELDOM]))
    lost = Counter[UUID]()
    for row in hit:
        lost[row["stream_id"]] += row["records"]
    for name, events in (await scene.events()).items():
        stream_id = scene.streams[name]
        assert events == left[stream_id] - lost[stream_id], name
    assert {it.row.seq for it in await Quarantine(scene.database).list(limit=99)} == {row["seq"] for row in hit}
    told = await scene.told()
    for name, stream_id in scene.streams.items():
        assert told.count((name, "records_lost")) == sum(row["stream_id"] == stream_id for row in hit)
        if name != "host":  # its series tell of themselves
            assert told.count((name, "state_lost")) == (known.get(stream_id) != newest[stream_id])
    await scene.apply()
    assert await scene.told() == told
