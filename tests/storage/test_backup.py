"""Backups of a database that runs, and restores of them up to a moment: exactly what was acknowledged before is there."""

import asyncio
import json
import os
import re
import secrets
import shutil
import stat
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from driftlock.engine import records
from driftlock.engine.ports import RowKind
from driftlock.storage import binaries as programs
from driftlock.storage.archive import SEGMENT, SEGMENT_BYTES, lsn_bytes, segment_name, segment_number
from driftlock.storage.archive_line import first_gap
from driftlock.storage.archive_note import read_note
from driftlock.storage.backup import take_backup
from driftlock.storage.backup_folder import Backup, read_backup, run_tool, verify
from driftlock.storage.checks import check_role
from driftlock.storage.datafolder import APP_ROLE, DataFolder
from driftlock.storage.embedded import EmbeddedPostgres
from driftlock.storage.journal_reader import JournalRows
from driftlock.storage.ledger import Ledgers
from driftlock.storage.migrate import migrate
from driftlock.storage.pool import Database
from driftlock.storage.restore import Restored, open_source, restore
from driftlock.storage.startup import StartupRefused
from driftlock.storage.tenants import Tenants
from tests.conftest import with_database
from tests.storage.helpers import open_journal, submission

FOUND = programs.find(programs.candidates())
IDENTITY = programs.identity(FOUND)
ODD = 'it\'s 100% "mine" $(touch hacked) %p'  # what a shell and PostgreSQL would like to read as their own


def embedded(folder: Path, archive: Path | None = None) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder, token_bytes=secrets.token_bytes, binaries=FOUND, identity=IDENTITY, archive=archive)


async def clock(dsn: str) -> datetime:
    connection = await asyncpg.connect(dsn)
    try:
        now: datetime = await connection.fetchval("select clock_timestamp()")
        return now
    finally:
        await connection.close()


async def submit(postgres: EmbeddedPostgres, *lines: str) -> None:
    """Acknowledged when it returns."""
    async with Database(postgres.app_dsn) as database, await open_journal(database) as journal:
        tenant_id = (await Tenants(database).ensure_local()).tenant_id
        await journal.submit(submission(tenant_id, *lines))


async def journaled(app_dsn: str) -> list[str]:
    """The lines in the journal, in order; the ledger's laws hold."""
    async with Database(app_dsn) as database:
        rows = await JournalRows(database).read(0, 1 << 20)
        ledger = await Ledgers(database).read()
    assert ledger
    assert [row.differences for row in ledger] == [{} for _ in ledger]
    return [records.decode(row.body).text.decode() for row in rows if row.kind is RowKind.RECORDS]


async def restored_lines(folder: Path, archive: Path | None = None) -> list[str]:
    async with embedded(folder, archive) as postgres:
        return await journaled(postgres.app_dsn)


async def recover(
    history: "History", target: Path, archive: bool, until: datetime | None = None, timeline: int | None = None
) -> Restored:
    source = open_source(history.backup, history.archive if archive else None, until, timeline)
    return await restore(source, target, FOUND, IDENTITY, secrets.token_bytes)


@dataclass(frozen=True)
class History:
    """A database that took a, was backed up, took b, c and d, and stopped; the times lie after b and after c."""

    data: Path
    backup: Path
    archive: Path
    described: Backup
    after_b: datetime
    after_c: datetime

    @property
    def segments(self) -> Path:
        return self.archive / self.described.archive


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def history(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[History]:
    root = tmp_path_factory.mktemp("history") / ODD
    data, backup, archive = root / "data", root / "backup", root / "archive"
    archive.mkdir(parents=True)
    async with embedded(data, archive) as postgres:
        await migrate(postgres.owner_dsn, APP_ROLE)
        (data / "api-key").write_text("dl_local_x")
        await submit(postgres, "a")
        described = await take_backup(backup, DataFolder(data), postgres.owner_dsn, FOUND, version="test")
        await submit(postgres, "b")
        after_b = await clock(postgres.owner_dsn)
        await submit(postgres, "c")
        after_c = await clock(postgres.owner_dsn)
        await submit(postgres, "d")
    yield History(data, backup, archive, described, after_b, after_c)


def copy_of(history: History, root: Path, *, with_data: bool = False) -> History:
    """The backup and the archive to damage, and the data folder to go on with."""
    shutil.copytree(history.backup, root / "backup")
    shutil.copytree(history.archive, root / "archive")
    if with_data:
        subprocess.run(["cp", "-a", str(history.data), str(root / "production")], check=True)
    return replace(history, data=root / "production", backup=root / "backup", archive=root / "archive")


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_backup_describes_itself_and_is_for_its_owner_alone(history: History) -> None:
    assert read_backup(history.backup) == history.described
    await verify(history.backup / "cluster", FOUND)
    assert not history.backup.with_name("backup.partial").exists()
    assert stat.S_IMODE(history.backup.stat().st_mode) == 0o700
    secret = sorted((history.backup / "secrets").iterdir())
    assert [path.name for path in secret] == ["api-key", "app.password", "backup.password", "owner.password"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (*secret, history.backup / "backup.json")} == {0o600}


async def test_a_backup_alone_holds_what_was_acknowledged_before_it(history: History, tmp_path: Path) -> None:
    restored = await recover(history, tmp_path / "data", archive=False)
    assert restored.last_seq == 1
    assert await restored_lines(tmp_path / "data") == ["a"]


async def test_with_the_archive_everything_is_there(history: History, tmp_path: Path) -> None:
    restored = await recover(history, tmp_path / "data", archive=True)
    assert restored.last_seq == 4
    assert restored.newest_at is not None
    assert restored.newest_at > history.after_c
    assert await restored_lines(tmp_path / "data") == ["a", "b", "c", "d"]


async def test_a_moment_between_two_acknowledgements_and_on_from_there(history: History, tmp_path: Path) -> None:
    """The second restore follows the database that went on, and not the one that was given up."""
    kept = copy_of(history, tmp_path)
    first, second = tmp_path / "first", tmp_path / "second"
    assert (await recover(kept, first, archive=True, until=history.after_b)).last_seq == 2
    for name in ("app.password", "owner.password", "backup.password"):
        assert (first / "postgres" / name).read_text() == (history.data / "postgres" / name).read_text()
    assert (first / "api-key").read_text() == "dl_local_x"
    assert stat.S_IMODE((first / "api-key").stat().st_mode) == stat.S_IMODE(
        (first / "postgres" / "app.password").stat().st_mode
    )
    assert stat.S_IMODE((first / "api-key").stat().st_mode) == 0o600
    assert read_note(first / "postgres") != read_note(history.data / "postgres")
    async with embedded(first, kept.archive) as postgres:
        assert await journaled(postgres.app_dsn) == ["a", "b"]
        await submit(postgres, "c")  # its sender sends it again, and it is no duplicate any more
        own = await take_backup(tmp_path / "of-first", DataFolder(first), postgres.owner_dsn, FOUND, version="test")
        await submit(postgres, "e")
        assert await journaled(postgres.app_dsn) == ["a", "b", "c", "e"]
    assert (kept.archive / own.archive / "00000002.history").exists()
    assert {path.name for path in kept.segments.iterdir()} == {path.name for path in history.segments.iterdir()}
    [other] = open_source(kept.backup, kept.archive, None).others
    assert re.fullmatch(rf"{own.archive} \(timeline 2, forked from 1 at 0/[0-9A-F]+\)", other)
    await recover(replace(kept, backup=tmp_path / "of-first"), second, archive=True)
    assert await restored_lines(second) == ["a", "b", "c", "e"]
    await recover(kept, tmp_path / "third", archive=True)
    assert await restored_lines(tmp_path / "third") == ["a", "b", "c", "d"]

    # One folder for both, as an archive may have been filled by other means.
    for path in (kept.archive / own.archive).iterdir():
        if path.name.startswith("00000002"):
            shutil.copy2(path, kept.segments / path.name)
    with pytest.raises(StartupRefused, match=r"more than one way.*timeline 2, forked from 1 at .*--timeline"):
        open_source(kept.backup, kept.archive, None)
    with pytest.raises(StartupRefused, match=r"no timeline 3 that this backup leads to, only: \[1, 2\]"):
        open_source(kept.backup, kept.archive, None, 3)
    for name, until, timeline, lines in (
        ("moment", kept.after_c, None, ["a", "b", "c"]),
        ("own end", None, 1, ["a", "b", "c", "d"]),
        ("other end", None, 2, ["a", "b", "c", "e"]),
    ):
        await recover(kept, tmp_path / name, archive=True, until=until, timeline=timeline)
        assert await restored_lines(tmp_path / name) == lines, name


async def test_a_drill_does_not_touch_the_archive_of_production(history: History, tmp_path: Path) -> None:
    kept = copy_of(history, tmp_path, with_data=True)
    await recover(kept, tmp_path / "drill", archive=True, until=kept.after_b)
    async with embedded(tmp_path / "drill", kept.archive) as postgres:
        await submit(postgres, "of the drill")
    async with embedded(kept.data, kept.archive) as postgres:
        await submit(postgres, "e")
        await take_backup(tmp_path / "later", DataFolder(kept.data), postgres.owner_dsn, FOUND, version="test")
        await submit(postgres, "f")
    for backup in (kept.backup, tmp_path / "later"):
        await recover(replace(kept, backup=backup), tmp_path / f"of-{backup.name}", archive=True)
        assert await restored_lines(tmp_path / f"of-{backup.name}") == ["a", "b", "c", "d", "e", "f"]


async def switched(postgres: EmbeddedPostgres, line: str) -> str:
    """Acknowledge a line and close its segment; `archive_mode`."""
    await submit(postgres, line)
    connection = await asyncpg.connect(postgres.owner_dsn)
    try:
        await connection.execute("select pg_switch_wal()")
        mode: str = await connection.fetchval("select current_setting('archive_mode')")
        return mode
    finally:
        await connection.close()


async def test_a_start_without_the_archive_makes_no_hole(
    history: History, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = copy_of(history, tmp_path, with_data=True)
    async with embedded(kept.data, kept.archive):
        pass
    assert not caplog.messages
    held = set(kept.segments.iterdir())
    for line in ("e", "f"):
        caplog.clear()
        async with embedded(kept.data) as postgres:
            assert await switched(postgres, line) == "on"
            connection = await asyncpg.connect(postgres.owner_dsn)
            await connection.execute("checkpoint")  # which removes what nobody waits for
            await connection.close()
        [message] = caplog.messages
        assert f"set DRIFTLOCK_ARCHIVE_DIR={kept.archive}, or remove" in message
    assert set(kept.segments.iterdir()) == held
    waiting = list((kept.data / "postgres" / "cluster" / "pg_wal" / "archive_status").glob("*.ready"))
    assert len(waiting) >= 2
    async with embedded(kept.data, kept.archive) as postgres:
        assert await switched(postgres, "g") == "on"
    assert first_gap(kept.segments) is None
    await recover(kept, tmp_path / "restored", archive=True)
    assert await restored_lines(tmp_path / "restored") == ["a", "b", "c", "d", "e", "f", "g"]

    kept.segments.rename(tmp_path / "away")
    with pytest.raises(StartupRefused, match=f"lacks the folder {kept.described.archive}"):
        async with embedded(kept.data, kept.archive):
            pass
    assert not kept.segments.exists()
    (kept.data / "postgres" / "archive.json").unlink()  # archiving stops
    async with embedded(kept.data) as postgres:
        assert await switched(postgres, "h") == "off"


async def test_the_shell_took_nothing_of_the_path_for_its_own(history: History) -> None:
    assert any(SEGMENT.fullmatch(path.name) for path in history.segments.iterdir())
    assert not list(history.data.parent.rglob("hacked"))


@pytest.mark.parametrize(
    ("until", "complaint"),
    [(-timedelta(seconds=1), "after the moment asked for: use an older backup"), (timedelta(days=1), "leave --to away")],
    ids=["too early", "too late"],
)
async def test_a_moment_that_can_not_be_reached(history: History, tmp_path: Path, until: timedelta, complaint: str) -> None:
    with pytest.raises(StartupRefused, match=complaint):
        await recover(history, tmp_path / "data", archive=True, until=history.described.complete_at + until)
    with pytest.raises(StartupRefused, match="add --archive"):
        await recover(history, tmp_path / "data", archive=False, until=history.after_b)


def lose_a_segment(history: History) -> None:
    names = sorted(path.name for path in history.segments.iterdir())
    first = next(name for name in names if SEGMENT.fullmatch(name) and segment_number(name) == history.described.next_segment)
    (history.segments / first).unlink()
    last = history.segments / segment_name(1, history.described.next_segment + 1)
    last.write_bytes(b"")  # there are later ones


def damage_a_segment(history: History) -> None:
    folder = history.segments
    path = folder / segment_name(1, history.described.next_segment)
    content = bytearray(path.read_bytes())
    content[5000:200_000] = bytes(195_000)
    path.write_bytes(content)
    (folder / segment_name(1, history.described.next_segment + 1)).write_bytes(content)


def lose_the_description(history: History) -> None:
    (history.backup / "backup.json").unlink()


def swap_a_password(history: History) -> None:
    (history.backup / "secrets" / "owner.password").write_text("0" * 48)


def damage_a_file(history: History) -> None:
    path = max((history.backup / "cluster" / "base").rglob("[0-9]*"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def take_a_file(history: History) -> None:
    (history.backup / "cluster" / "global" / "pg_control").unlink()


def another_cluster(history: History) -> None:
    history.segments.rename(history.archive / "1")


def an_archive_elsewhere(history: History) -> None:
    path = history.backup / "backup.json"
    path.write_text(path.read_text().replace(history.described.archive, f"../archive/{history.described.archive}"))


def a_later_format(history: History) -> None:
    path = history.backup / "backup.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 3'))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lose_a_segment, "lacks 0000000100000000.* but has later files"),
        (damage_a_segment, "could be read up to .* only"),
        (lose_the_description, "not a complete backup"),
        (swap_a_password, "are not those that were backed up"),
        (damage_a_file, "is damaged: .*checksum mismatch"),
        (take_a_file, "is damaged: .*pg_control"),
        (another_cluster, "holds no log of this backup's database"),
        (an_archive_elsewhere, "is no folder of an archive"),
        (a_later_format, "has format 3"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_damage_is_refused_and_nothing_looks_restored(
    history: History, tmp_path: Path, damage: Callable[[History], None], complaint: str
) -> None:
    damaged = copy_of(history, tmp_path)
    damage(damaged)
    with pytest.raises(StartupRefused, match=complaint):
        await recover(damaged, tmp_path / "data", archive=True)
    assert not (tmp_path / "data" / "postgres").exists()


async def test_moments_before_a_missing_file_can_be_reached(history: History, tmp_path: Path) -> None:
    kept = copy_of(history, tmp_path)
    missing, later = (segment_name(1, kept.described.next_segment + further) for further in (1, 2))
    (kept.segments / missing).unlink(missing_ok=True)
    (kept.segments / later).write_bytes(b"")
    with pytest.raises(StartupRefused, match=f"lacks {missing} but has later files"):
        await recover(kept, tmp_path / "end", archive=True)
    with pytest.raises(StartupRefused, match=rf"lacks {missing}, without which .*newest transaction that can be read is of 20"):
        await recover(kept, tmp_path / "later", archive=True, until=datetime.now(UTC) + timedelta(days=1))
    await recover(kept, tmp_path / "before", archive=True, until=kept.after_c)
    assert await restored_lines(tmp_path / "before") == ["a", "b", "c"]


async def test_a_backup_that_died_before_it_had_its_name_is_none(history: History, tmp_path: Path) -> None:
    shutil.copytree(history.backup, tmp_path / "backup.partial")
    with pytest.raises(StartupRefused, match=r"not a complete backup.*did not finish"):
        await recover(replace(history, backup=tmp_path / "backup.partial"), tmp_path / "data", archive=False)


async def test_a_backup_of_the_first_format(history: History, tmp_path: Path) -> None:
    kept = copy_of(history, tmp_path)
    kept.segments.rename(kept.archive / kept.described.system_identifier)
    path = kept.backup / "backup.json"
    known = json.loads(path.read_text())
    del known["archive"]
    path.write_text(json.dumps({**known, "format": 1}))
    assert (await recover(kept, tmp_path / "data", archive=True)).last_seq == 4


async def test_a_restore_removes_nothing_that_is_not_its_own(history: History, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "cluster").write_text("mine")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "postgres.restore").symlink_to(mine)
    with pytest.raises(StartupRefused, match="is not a folder that a restore left"):
        await recover(history, tmp_path / "link", archive=False)
    (tmp_path / "full" / "postgres.restore").mkdir(parents=True)
    (tmp_path / "full" / "postgres.restore" / "letters").write_text("mine")
    with pytest.raises(StartupRefused, match=r"holds files that no restore left \(letters\)"):
        await recover(history, tmp_path / "full", archive=False)
    (tmp_path / "lock").mkdir()
    (tmp_path / "lock" / "postgres.lock").symlink_to(mine / "cluster")
    with pytest.raises(StartupRefused, match="can not be written"):
        await recover(history, tmp_path / "lock", archive=False)
    assert (mine / "cluster").read_text() == "mine"
    assert (tmp_path / "full" / "postgres.restore" / "letters").read_text() == "mine"


async def test_an_unfinished_restore_is_no_database_and_can_be_repeated(history: History, tmp_path: Path) -> None:
    target = tmp_path / "data"
    with pytest.raises(StartupRefused, match="the archive ends before"):
        await recover(history, target, archive=True, until=datetime.now(UTC) + timedelta(days=1))
    with pytest.raises(StartupRefused, match="did not finish: run `driftlock restore` again"):
        async with embedded(target):
            pass
    await recover(history, target, archive=False)
    assert await restored_lines(target) == ["a"]
    with pytest.raises(StartupRefused, match="is not empty"):
        await recover(history, target, archive=False)


async def test_targets_that_are_refused(history: History, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").touch()
    with pytest.raises(StartupRefused, match="is not empty"):
        await recover(history, full, archive=False)
    assert [path.name for path in full.iterdir()] == ["mine"]
    async with embedded(history.data, history.archive) as postgres:

        def take(target: Path) -> Awaitable[Backup]:
            return take_backup(target, DataFolder(history.data), postgres.owner_dsn, FOUND, version="test")

        for target, complaint in (
            (full, "exists already"),
            (tmp_path / "none" / "backup", "is not a folder"),
            (tmp_path / "x.partial", "unfinished backup"),
            (history.data / "postgres" / "backup", "inside the database"),
        ):
            with pytest.raises(StartupRefused, match=complaint):
                await take(target)
        stranger = tmp_path / "backup.partial"
        stranger.mkdir()
        (stranger / "mine").touch()
        with pytest.raises(StartupRefused, match="holds files that are none of a backup"):
            await take(tmp_path / "backup")
        (stranger / "mine").rename(stranger / "backup.json")
        stranger.chmod(0o777)
        link = tmp_path / "linked.partial"
        link.symlink_to(full)
        with pytest.raises(StartupRefused, match="can not be used"):
            await take(tmp_path / "linked")
        if os.geteuid() == 0:
            os.chown(stranger, 65534, 65534)
            with pytest.raises(StartupRefused, match="belongs to another user"):
                await take(tmp_path / "backup")
            assert (stranger / "backup.json").exists()
            os.chown(stranger, 0, 0)
        both = await asyncio.gather(take(tmp_path / "backup"), take(tmp_path / "backup"), return_exceptions=True)
        assert sorted(type(result).__name__ for result in both) == ["Backup", "StartupRefused"]
        assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700


async def test_a_dump_can_be_served_from(history: History, tmp_path: Path) -> None:
    """The recipe for another PostgreSQL: a new database, `pg_restore`, `driftlock migrate`."""
    dump = tmp_path / "driftlock.dump"
    async with embedded(history.data, history.archive) as postgres:
        before = await journaled(postgres.app_dsn)
        connection = await asyncpg.connect(postgres.owner_dsn)
        await connection.execute("create database copied owner driftlock_owner")
        await connection.close()
        owner, app = with_database(postgres.owner_dsn, "copied"), with_database(postgres.app_dsn, "copied")
        await run_tool(FOUND, "pg_dump", "-Fc", f"--file={dump}", postgres.owner_dsn, what="no dump")
        await run_tool(FOUND, "pg_restore", "--exit-on-error", f"--dbname={owner}", str(dump), what="no restore")
        assert (await migrate(owner, APP_ROLE)).applied == ()
        connection = await asyncpg.connect(owner)
        await connection.execute(f"grant connect on database copied to {APP_ROLE}")
        await connection.close()
        assert await check_role(app) == ()
        assert await journaled(app) == before == ["a", "b", "c", "d"]


async def test_an_archive_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused, match=r"DRIFTLOCK_ARCHIVE_DIR=.*none is not a folder"):
        async with embedded(tmp_path / "data", tmp_path / "none"):
            pass
    with pytest.raises(StartupRefused, match="is inside the database"):
        async with embedded(tmp_path / "data", tmp_path / "data" / "postgres" / "cluster"):
            pass


async def test_places_in_the_log() -> None:
    for number in (0, 1, 255, 256, 70_000):
        assert segment_number(segment_name(7, number)) == number
    assert lsn_bytes("1/2000000") == (1 << 32) + 2 * SEGMENT_BYTES


@pytest.mark.parametrize("known", [False, True], ids=["no role", "role without its password"])
async def test_a_cluster_from_before_there_were_backups_can_be_backed_up(tmp_path: Path, known: bool) -> None:
    before = {"wal_level": "minimal", "max_wal_senders": "0"}
    data = tmp_path / "data"
    async with EmbeddedPostgres(data, token_bytes=secrets.token_bytes, settings=before) as postgres:
        with pytest.raises(StartupRefused, match=r"the backup failed: .*max_wal_senders"):
            await take_backup(tmp_path / "refused", DataFolder(data), postgres.owner_dsn, FOUND, version="test")
        if not known:
            connection = await asyncpg.connect(postgres.owner_dsn)
            await connection.execute("drop role driftlock_backup")
            await connection.close()
    assert not list(tmp_path.glob("refused*"))  # noqa: ASYNC240
    (data / "postgres" / "backup.password").unlink()
    async with embedded(data) as postgres:
        await take_backup(tmp_path / "backup", DataFolder(data), postgres.owner_dsn, FOUND, version="test")
    assert read_backup(tmp_path / "backup").postgresql == FOUND.major
