"""Make a data folder of a backup, and of an archive of the log if there is one, as of its end or of a moment before.

PostgreSQL recovers in `postgres.restore`, which is renamed when the database is open, whole and on disk. Until then
nothing else can use the folder, and what a kill leaves behind is thrown away by the next `restore`.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from driftlock.storage.archive import SEGMENT_BYTES, lsn_bytes, restore_command, segment_number
from driftlock.storage.archive_line import Timeline, forks, missing_segment, newest_segment, siblings, timelines
from driftlock.storage.archive_note import NOTE, new_note, write_note
from driftlock.storage.backup import PARTIAL, sync_tree
from driftlock.storage.backup_folder import CLUSTER, KEYS, PASSWORDS, SECRETS, Backup, read_backup, verify
from driftlock.storage.binaries import Binaries, Identity
from driftlock.storage.datafolder import DATABASE, HOST, OWNER_ROLE, DataFolder, sync_folder, write_private
from driftlock.storage.embedded import check_version, server_settings
from driftlock.storage.postmaster import Postmaster
from driftlock.storage.startup import StartupRefused

RECOVERY_TIMEOUT_S = 24 * 3600.0
STOP_TIMEOUT_S = 60.0
LOCK = "postgres.lock"
# What a restore that was killed may have left in its folder.
OURS = {CLUSTER, NOTE, "archive.tmp", "server.log", *PASSWORDS, *(Path(name).with_suffix(".tmp").name for name in PASSWORDS)}
NEWEST_READ = re.compile(r"last completed transaction was at log time ([^\n]+)")
REACHED = "select pg_last_xact_replay_timestamp()"
LAST_SEQ = "select max(next_seq) - 1 from driftlock.journal_shard"


@dataclass(frozen=True, slots=True)
class Restored:
    """How far it reaches: the time of the newest transaction, if the log that was read held one, and the journal's position."""

    newest_at: datetime | None
    last_seq: int | None


@dataclass(frozen=True, slots=True)
class Source:
    """What to restore: a backup; the archive's folder of its cluster, if there is one; up to which time (None = the end).

    `line` is the timeline to follow. `others`, for the reader: what else there is that goes on from this database.
    """

    folder: Path
    backup: Backup
    archive: Path | None
    until: datetime | None
    line: Timeline
    others: tuple[str, ...] = ()


def open_source(folder: Path, archive: Path | None, until: datetime | None, timeline: int | None = None) -> Source:
    """Look at what there is and refuse what can not be reached. Raises `StartupRefused`, OSError.

    `timeline` None: that of the backup; the end of it is refused where others parted from it, for it may be given up.
    """
    if folder.suffix == PARTIAL:  # it may look whole, but was not on disk when its backup died
        raise StartupRefused(f"{folder} is not a complete backup of driftlock: its backup did not finish; take another one")
    backup = read_backup(folder)
    if archive is None and (until is not None or timeline is not None):
        raise StartupRefused("a moment after the backup can only be reached with the archive of the log: add --archive")
    if until is not None and until < backup.complete_at:
        raise StartupRefused(f"{folder} was taken until {backup.ended_at}, after the moment asked for: use an older backup")
    if archive is None:
        return Source(folder, backup, None, until, Timeline(backup.timeline, ()))
    own = archive.absolute() / backup.archive_folder
    if not own.is_dir():
        raise StartupRefused(f"{archive} holds no log of this backup's database: there is no folder {own}")
    known = timelines(own)
    parted = forks(known, backup.timeline, backup.next_segment)
    texts = "; ".join(other.text for other in parted)
    if timeline is None and until is None and parted:
        raise StartupRefused(
            f"{own} goes on in more than one way, on timeline {backup.timeline} of the backup and on: {texts}. "
            "Say which with --timeline, or which moment with --to"
        )
    candidates = [found for found in known if found.number == backup.timeline] or [Timeline(backup.timeline, ())]
    lines = {line.number: line for line in (*candidates, *parted)}
    line = lines.get(backup.timeline if timeline is None else timeline)
    if line is None:
        raise StartupRefused(f"{own} holds no timeline {timeline} that this backup leads to, only: {sorted(lines)}")
    others = [other.text for number, other in lines.items() if number != line.number]
    source = Source(folder, backup, own, until, line, (*others, *siblings(archive.absolute(), own, backup.system_identifier)))
    missing = _missing(source)
    if missing is not None and until is None:  # else PostgreSQL tells whether the moment comes before it
        raise StartupRefused(
            f"{own} lacks {missing} but has later files: bring it back, restore to a moment before it with --to, "
            "or use a backup taken after it"
        )
    return source


def _missing(source: Source) -> str | None:
    return None if source.archive is None else missing_segment(source.archive, source.line, source.backup.next_segment)


async def restore(
    source: Source, data_dir: Path, binaries: Binaries, identity: Identity, token_bytes: Callable[[int], bytes]
) -> Restored:
    """Restore into the new or empty folder `data_dir` (absolute). Raises `StartupRefused`, OSError.

    `token_bytes(n)`: n unpredictable bytes, for the name of the copy's own folder in an archive.
    """
    target = DataFolder(data_dir)
    work = target.restoring
    _check_empty(target)
    descriptor = target.lock()
    try:
        postmaster = Postmaster(work, binaries, identity, start_timeout_s=RECOVERY_TIMEOUT_S, stop_timeout_s=STOP_TIMEOUT_S)
        await postmaster.wait_for_orphan()
        await asyncio.to_thread(_lay_out, source, work)
        write_note(work.home, new_note(source.backup.system_identifier, token_bytes))
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
    left = target.restoring.home
    if left.is_symlink() or (left.exists() and not left.is_dir()):
        raise StartupRefused(f"{left} is not a folder that a restore left: remove it, or name a new one with --data-dir")
    strangers = {path.name for path in left.iterdir()} - OURS if left.exists() else set()
    if strangers:
        raise StartupRefused(
            f"{left} holds files that no restore left ({min(strangers)}): move it away, or name a new folder with --data-dir"
        )


def _lay_out(source: Source, work: DataFolder) -> None:
    """Copy the backup. The folder itself is there from now on: it is what tells an unfinished restore."""
    work.home.mkdir(mode=0o700, exist_ok=True)
    for left in work.home.iterdir():
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
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
    on_own_line = source.line.number == source.backup.timeline
    settings = {
        **server_settings(binaries),
        "hot_standby": "off",
        "restore_command": restore_command(source.archive),
        # Never "latest": that may be a copy's, which lacks what this one had after they parted.
        "recovery_target_timeline": "current" if on_own_line else str(source.line.number),
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
            raise StartupRefused(_unreached(source, work)) from error
        raise
    finally:
        await postmaster.stop()
    return Restored(newest_at, last_seq)


def _unreached(source: Source, work: DataFolder) -> str:
    """Why the moment was not reached, and what can be."""
    read = NEWEST_READ.findall(work.log.read_text("utf-8", "replace")) if work.log.exists() else []
    newest = f" The newest transaction that can be read is of {read[-1]}." if read else ""
    others = f" Other lines: {'; '.join(source.others)}." if source.others else ""
    missing = _missing(source)
    if missing is None:
        return (
            f"the archive ends before {source.until} on timeline {source.line.number}: leave --to away to restore all that "
            f"there is.{newest}{others}"
        )
    return (
        f"{source.archive} lacks {missing}, without which {source.until} can not be reached: bring it back, use a backup taken "
        f"after it, or name a moment before it.{newest}{others}"
    )


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
