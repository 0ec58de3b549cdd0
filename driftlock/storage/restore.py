"""Make a data folder of a backup, and of an archive of the log if there is one, as of its end or of a moment before.

PostgreSQL recovers in `postgres.restore`, which is renamed when the database is open, whole and on disk. Until then
nothing else can use the folder, and what a kill leaves behind is thrown away by the next `restore`.
"""

import asyncio
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from driftlock.storage.archive import (
    SEGMENT_BYTES,
    lsn_bytes,
    missing_segment,
    newest_segment,
    restore_command,
    segment_number,
)
from driftlock.storage.backup import sync_tree
from driftlock.storage.backup_folder import CLUSTER, KEYS, PASSWORDS, SECRETS, Backup, read_backup, verify
from driftlock.storage.binaries import Binaries, Identity
from driftlock.storage.datafolder import DATABASE, HOST, OWNER_ROLE, DataFolder, sync_folder, write_private
from driftlock.storage.embedded import check_version, server_settings
from driftlock.storage.postmaster import Postmaster
from driftlock.storage.startup import StartupRefused

RECOVERY_TIMEOUT_S = 24 * 3600.0
STOP_TIMEOUT_S = 60.0
LOCK = "postgres.lock"
REACHED = "select pg_last_xact_replay_timestamp()"
LAST_SEQ = "select max(next_seq) - 1 from driftlock.journal_shard"


@dataclass(frozen=True, slots=True)
class Restored:
    """How far it reaches: the time of the newest transaction, if the log that was read held one, and the journal's position."""

    newest_at: datetime | None
    last_seq: int | None


@dataclass(frozen=True, slots=True)
class Source:
    """What to restore: a backup; the archive's folder of its cluster, if there is one; up to which time (None = the end)."""

    folder: Path
    backup: Backup
    archive: Path | None
    until: datetime | None


def open_source(folder: Path, archive: Path | None, until: datetime | None) -> Source:
    """Look at what there is and refuse what can not be reached. Raises `StartupRefused`, OSError."""
    backup = read_backup(folder)
    if until is not None and archive is None:
        raise StartupRefused("a moment after the backup can only be reached with the archive of the log: add --archive")
    if until is not None and until < backup.complete_at:
        raise StartupRefused(f"{folder} was taken until {backup.ended_at}, after the moment asked for: use an older backup")
    if archive is None:
        return Source(folder, backup, None, until)
    own = archive.absolute() / backup.system_identifier
    if not own.is_dir():
        raise StartupRefused(f"{archive} holds no log of this backup's database: there is no folder {own}")
    missing = missing_segment(own, backup.timeline, backup.next_segment)
    if missing is not None:
        raise StartupRefused(f"{own} lacks {missing} but has later files: bring it back, or use a backup taken after it")
    return Source(folder, backup, own, until)


async def restore(source: Source, data_dir: Path, binaries: Binaries, identity: Identity) -> Restored:
    """Restore into the new or empty folder `data_dir` (absolute). Raises `StartupRefused`, OSError."""
    target = DataFolder(data_dir)
    work = target.restoring
    _check_empty(target)
    descriptor = target.lock()
    try:
        postmaster = Postmaster(work, binaries, identity, start_timeout_s=RECOVERY_TIMEOUT_S, stop_timeout_s=STOP_TIMEOUT_S)
        await postmaster.wait_for_orphan()
        await asyncio.to_thread(_lay_out, source, work)
        check_version(work, binaries)
        await verify(work.cluster, binaries)
        (work.cluster / "recovery.signal").touch(mode=0o600)
        if identity.owner is not None:
            target.root.chmod(target.root.stat().st_mode | 0o011)
            await asyncio.to_thread(_give, work.home, identity.owner)
        restored = await _recover(source, work, postmaster, binaries)
        for name in KEYS:
            if name in source.backup.sha256:
                write_private(target.root / name, (source.folder / SECRETS / name).read_text("ascii"))
        await asyncio.to_thread(sync_tree, work.home)
        work.home.rename(target.home)
        sync_folder(target.root)
        return restored
    finally:
        os.close(descriptor)


def _check_empty(target: DataFolder) -> None:
    """What an earlier restore left may be there, and nothing else."""
    ours = {LOCK, target.restoring.name}
    if target.root.exists():
        if not target.root.is_dir():
            raise StartupRefused(f"{target.root} is not a folder: name a new one with --data-dir")
        found = {path.name for path in target.root.iterdir()}
        unfinished = target.restoring.name in found
        if found - ours - ({*KEYS, *(f"{name}.tmp" for name in KEYS)} if unfinished else set()):
            raise StartupRefused(f"{target.root} is not empty: name a new folder with --data-dir")


def _lay_out(source: Source, work: DataFolder) -> None:
    """Copy the backup. The folder itself is there from now on: it is what tells an unfinished restore."""
    work.home.mkdir(mode=0o700, exist_ok=True)
    for left in work.home.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    for name in PASSWORDS:
        write_private(work.home / name, (source.folder / SECRETS / name).read_text("ascii"))
    shutil.copytree(source.folder / CLUSTER, work.cluster, symlinks=True)
    for path in (work.cluster, *work.cluster.rglob("*")):  # a backup may have been on a disk without permissions
        path.chmod(0o700 if path.is_dir() else 0o600)


def _give(folder: Path, owner: tuple[int, int]) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, *owner)


async def _recover(source: Source, work: DataFolder, postmaster: Postmaster, binaries: Binaries) -> Restored:
    """Run PostgreSQL until it has opened the database on a new timeline, ask how far it came, stop it."""
    settings = {
        **server_settings(binaries),
        "hot_standby": "off",
        "restore_command": restore_command(source.archive),
        "recovery_target_timeline": "latest",
        "recovery_target_action": "promote",
        # The history of the new timeline waits for the archive of the server that goes on from here.
        "archive_mode": "on",
        "archive_command": "",
    }
    if source.until is not None:
        settings["recovery_target_time"] = source.until.astimezone(UTC).isoformat(" ")
    try:
        await postmaster.start_on_free_port(settings)
        _check_end(source, work)
        connection = await asyncpg.connect(
            host=HOST, port=postmaster.port, user=OWNER_ROLE, password=work.password(OWNER_ROLE), database=DATABASE
        )
        try:
            newest_at = await connection.fetchval(REACHED)
            known = await connection.fetchval("select to_regclass('driftlock.journal_shard') is not null")
            last_seq = await connection.fetchval(LAST_SEQ) if known else None
        finally:
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartupRefused(f"the restored database does not answer: {error}; see {work.log}") from error
    except StartupRefused as error:
        if "before configured recovery target was reached" in str(error):
            raise StartupRefused(
                f"the archive ends before {source.until}: leave --to away to restore all that there is"
            ) from error
        raise
    finally:
        await postmaster.stop()
    return Restored(newest_at, last_seq)


def _check_end(source: Source, work: DataFolder) -> None:
    """Raises `StartupRefused` when the recovery ended early: PostgreSQL takes a damaged segment for the end of the log."""
    if source.archive is None or source.until is not None:
        return  # a moment that is not reached is an error of PostgreSQL's own
    history = max((work.cluster / "pg_wal").glob("*.history"))
    timeline, lsn = history.read_text("ascii").splitlines()[-1].split()[:2]
    newest = newest_segment(source.archive, int(timeline))
    if newest is not None and lsn_bytes(lsn) // SEGMENT_BYTES < segment_number(newest):
        raise StartupRefused(
            f"the log could be read up to {lsn} only, but {source.archive} goes on to {newest}: a file between them is "
            "damaged; bring it back, or restore to a moment before with --to"
        )
