"""Bits that flip on the disk under PostgreSQL, whose own checksum notices: what can be left out is, and the rest is told."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from driftlock.engine.ports import Checkpoint, QuarantinedRow, RowKind, Step
from driftlock.errors import Internal, Unavailable
from driftlock.storage.checkpoints import Checkpoints
from driftlock.storage.datafolder import APP_ROLE
from driftlock.storage.embedded import EmbeddedPostgres
from driftlock.storage.journal import Journal
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.migrate import migrate
from driftlock.storage.pool import Database
from driftlock.storage.quarantine import Quarantine
from driftlock.storage.recovery import recovery_position
from driftlock.storage.shard import Shard
from driftlock.storage.tenants import Tenants
from tests.storage.helpers import submission

PAGE_BYTES = 8192
BIG = 6000  # does not compress, so it lies in pages of its own
SERIES = 7
ROWS = 150


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Database]:
    """The database in `folder`, its pages read anew."""
    async with EmbeddedPostgres(folder, token_bytes=secrets.token_bytes) as postgres, Database(postgres.app_dsn) as database:
        yield database


class Scene:
    """Three long rows of a stream and many short ones, two checkpoints of it and of its tenant, states of series.

    All of it is on the disk: the server has stopped.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: Mapping[str, Path] = {}
        self.tenant = self.stream = UUID(int=0)
        self.bodies: list[bytes] = []

    async def fill(self) -> None:
        async with EmbeddedPostgres(self.folder, token_bytes=secrets.token_bytes) as postgres:
            await migrate(postgres.owner_dsn, APP_ROLE)
            async with Database(postgres.app_dsn) as database:
                await self._fill(database)
            owner = await asyncpg.connect(postgres.owner_dsn)
            try:
                assert await owner.fetchval("show data_checksums") == "on"
                self.files = {
                    name: Path(await owner.fetchval("show data_directory"))
                    / await owner.fetchval("select pg_relation_filepath($1::regclass)", relation)
                    for name, relation in [
                        ("rows", "driftlock.journal_00"),
                        *[(name, await _long_values(owner, table)) for name, table in LONG.items()],
                    ]
                }
                self.bodies = [it["body"] for it in await owner.fetch("select body from driftlock.journal order by seq")]
            finally:
                await owner.close()

    async def _fill(self, database: Database) -> None:
        self.tenant = (await Tenants(database).ensure_local()).tenant_id
        shard = Shard(database)
        await shard.acquire()
        async with Journal(database, shard, node="n", on_commit=lambda _: None) as journal:
            for _ in range(3):
                receipt = await journal.submit(submission(self.tenant, secrets.token_hex(BIG)))
            await asyncio.gather(*(journal.submit(submission(self.tenant, f"line {n}")) for n in range(3, ROWS)))
        self.stream = receipt.stream_ids[0]
        checkpoints = Checkpoints(database, shard)
        for seq in (1, 2):  # the states of 2 lie after those of 1 in their files
            state = Checkpoint(seq, secrets.token_bytes(BIG))
            ids = (self.tenant, self.stream)
            await checkpoints.commit(
                Step(
                    seq - 1,
                    seq,
                    stream_checkpoints={ids: state},
                    tenant_checkpoints={self.tenant: state},
                    series_checkpoints={(*ids, SERIES): state, (*ids, SERIES + seq): state},
                )
            )
        await checkpoints.commit(Step(2, 3))

    def flip(self, name: str, *, page: int = -1, value: bytes = b"") -> None:
        """One bit of a page of a file; or of the one where `value` begins."""
        content = bytearray(self.files[name].read_bytes())
        assert len(content) >= 2 * PAGE_BYTES
        at = content.index(value[:500]) if value else (page * PAGE_BYTES) % len(content) + PAGE_BYTES - 100
        content[at] ^= 1
        self.files[name].write_bytes(content)


LONG = {
    "bodies": "driftlock.journal_00",
    "streams": "driftlock.stream_checkpoints",
    "tenants": "driftlock.tenant_checkpoints",
    "series": "driftlock.series_states",
}


async def _long_values(owner: asyncpg.Connection, table: str) -> str:
    found: str = await owner.fetchval("select reltoastrelid::regclass::text from pg_class where oid = $1::regclass", table)
    return found


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path / "pg")
    await made.fill()
    return made


async def test_what_lies_in_a_damaged_page_is_given_up_alone(scene: Scene) -> None:
    scene.flip("bodies", value=scene.bodies[1])
    for name in ("streams", "tenants", "series"):
        scene.flip(name)
    async with serving(scene.folder) as database:
        await _states_give_way_to_those_before(scene, database)
        await _a_body_goes_into_quarantine_without_its_content(scene, database)


async def _states_give_way_to_those_before(scene: Scene, database: Database) -> None:
    checkpoints = Checkpoints(database, Shard(database))
    for found in (await checkpoints.load_streams([scene.stream]), await checkpoints.load_tenants([scene.tenant])):
        (checkpoint,) = found.values()
        assert (checkpoint.seq, len(checkpoint.state), checkpoint.instead_of) == (1, BIG, 2)
    assert await recovery_position(database, checkpoints) == 1
    numbers = [SERIES, SERIES + 1, SERIES + 2]
    readable = await checkpoints.load_series(scene.stream, 2, numbers)
    assert set(readable) < set(numbers)
    assert SERIES + 1 in readable


async def _a_body_goes_into_quarantine_without_its_content(scene: Scene, database: Database) -> None:
    shard = Shard(database)
    await shard.acquire()
    rows = await JournalRows(database, owner=shard).read(0, 1 << 20)
    assert [row.body for row in rows] == [scene.bodies[0], b"", *scene.bodies[2:]]
    assert [row.seq for row in rows] == list(range(1, ROWS + 1))
    assert (rows[1].stream_id, rows[1].records, rows[1].body_bytes) == (scene.stream, 1, len(scene.bodies[1]))
    lost = [QuarantinedRow(seq, RowKind.RECORDS, "lost", scene.tenant, scene.stream, 1) for seq in (2, 3)]
    await Checkpoints(database, shard).commit(Step(3, 3, quarantined=tuple(lost)))
    quarantine = Quarantine(database)
    kept = {it.row.seq: it.body_bytes for it in await quarantine.list(limit=10)}
    assert kept == {2: len(scene.bodies[1]), 3: len(scene.bodies[2])}
    assert await quarantine.body(2) is None
    assert await quarantine.body(3) == scene.bodies[2]


async def test_damage_that_hides_rows_keeps_scoring_off_and_nothing_else(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.flip("rows", page=0)
    async with serving(scene.folder) as database:
        shard = Shard(database)
        await shard.acquire()
        rows = JournalRows(database, owner=shard)
        with caplog.at_level(logging.ERROR):
            for _ in range(2):
                with pytest.raises(Unavailable, match="restore the whole database from a backup"):
                    await rows.read(0, 1 << 20)
        told = [line for line in caplog.messages if "scoring has stopped" in line]
        assert len(told) == 1
        assert "a page of the database is damaged" in told[0]
        assert (await rows.applied_seq(), await rows.last_seq()) == (3, ROWS)
        async with Journal(database, shard, node="n", on_commit=lambda _: None) as journal:
            assert (await journal.submit(submission(scene.tenant, "still journaled"))).seq == ROWS + 1


async def test_other_errors_are_not_taken_for_damage(database: Database, owner: asyncpg.Connection) -> None:
    await owner.execute("alter table driftlock.series_states rename to elsewhere")
    try:
        with pytest.raises(Internal, match="42P01"):
            await Checkpoints(database, Shard(database)).load_series(UUID(int=1), 1, [1])
    finally:
        await owner.execute("alter table driftlock.elsewhere rename to series_states")
