"""Take a backup of an embedded database while it runs: complete by itself, verified, and never half of one."""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from driftlock.storage.archive import SEGMENT_BYTES, lsn_bytes, system_identifier
from driftlock.storage.archive_note import read_note
from driftlock.storage.backup_folder import (
    CLUSTER,
    DESCRIPTION,
    FORMAT,
    SECRETS,
    Backup,
    checksums,
    describe,
    run_tool,
    secret_sources,
    verify,
)
from driftlock.storage.binaries import Binaries
from driftlock.storage.datafolder import BACKUP_ROLE, HOST, DataFolder, sync_folder, write_private
from driftlock.storage.migrate import open_connection
from driftlock.storage.startup import StartupRefused

CONNECT_TIMEOUT_S = 10.0
PARTIAL = ".partial"


async def take_backup(target: Path, source: DataFolder, owner_dsn: str, binaries: Binaries, *, version: str) -> Backup:
    """Back up the database that runs on `source` to the new folder `target`. Raises `StartupRefused`, OSError.

    `target` is absolute. `owner_dsn`: how to reach it. `version`: of driftlock, for the description. `pg_basebackup` copies
    the files over two replication connections while records come in; what a kill leaves behind is `<target>.partial`.
    """
    _check_target(target, source)
    with _claimed(target.with_name(f"{target.name}{PARTIAL}")) as partial:
        started_at = await _now(owner_dsn)
        await _copy_cluster(partial / CLUSTER, source, urlsplit(owner_dsn).port or 0, binaries)
        ended_at = await _now(owner_dsn)
        (partial / SECRETS).mkdir(mode=0o700)
        for path in secret_sources(source):
            write_private(partial / SECRETS / path.name, path.read_text("ascii"))
        await verify(partial / CLUSTER, binaries)
        backup = _description(partial, source, binaries, version, started_at, ended_at)
        describe(partial, backup)
        await asyncio.to_thread(sync_tree, partial)
        partial.rename(target)
        sync_folder(target.parent)
    return backup


def sync_tree(folder: Path) -> None:
    """fsync every file and folder in it, and itself."""
    for path in (*folder.rglob("*"), folder):
        if not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _check_target(target: Path, source: DataFolder) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StartupRefused(f"{target} exists already: name a new folder for each backup")
    if target.suffix == PARTIAL:
        raise StartupRefused(f"{target} is what an unfinished backup is called: take a name that does not end in {PARTIAL}")
    if not target.parent.is_dir():
        raise StartupRefused(f"{target.parent} is not a folder: mount or make it first")
    if target.resolve().is_relative_to(source.home.resolve()):
        raise StartupRefused(f"{target} is inside the database: take a folder on another disk")


@contextlib.contextmanager
def _claimed(partial: Path) -> Iterator[Path]:
    """An empty folder to work in, held by a lock; what another backup left there when it died is thrown away.

    It is removed again when the backup fails.
    """
    try:
        partial.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise StartupRefused(f"{partial} can not be used ({error.strerror}): move it away, or see its permissions") from error
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise StartupRefused(f"{partial} belongs to another user: remove it, and back up into a folder of your own")
        os.fchmod(descriptor, 0o700)  # whoever made it before
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartupRefused(f"another backup to {partial} is under way: wait for it") from error
        strangers = {path.name for path in partial.iterdir()} - {CLUSTER, SECRETS, DESCRIPTION}
        if strangers:
            raise StartupRefused(f"{partial} holds files that are none of a backup ({min(strangers)}): move it away")
        for path in partial.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        try:
            yield partial
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    finally:
        os.close(descriptor)


async def _now(owner_dsn: str) -> datetime:
    """The database's clock."""
    connection = await open_connection(owner_dsn, "the running server", CONNECT_TIMEOUT_S)
    try:
        now: datetime = await connection.fetchval("select clock_timestamp()")
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartupRefused(f"the database does not answer: {error}") from error
    finally:
        await connection.close()
    return now


async def _copy_cluster(target: Path, source: DataFolder, port: int, binaries: Binaries) -> None:
    await run_tool(
        binaries,
        "pg_basebackup",
        f"--pgdata={target}",
        f"--host={HOST}",
        f"--port={port}",
        f"--username={BACKUP_ROLE}",
        "--no-password",
        "--checkpoint=fast",
        "--wal-method=stream",
        "--manifest-checksums=CRC32C",
        what="the backup failed",
        environment={"PGPASSWORD": source.password(BACKUP_ROLE)},
    )


def _description(
    partial: Path, source: DataFolder, binaries: Binaries, version: str, started_at: datetime, ended_at: datetime
) -> Backup:
    manifest = json.loads((partial / CLUSTER / "backup_manifest").read_text("utf-8"))
    last = manifest["WAL-Ranges"][-1]
    note = read_note(source.home)
    identifier = system_identifier(source.cluster)
    return Backup(
        format=FORMAT,
        driftlock=version,
        postgresql=binaries.major,
        system_identifier=identifier,
        timeline=last["Timeline"],
        next_segment=-(-lsn_bytes(last["End-LSN"]) // SEGMENT_BYTES),
        started_at=started_at.isoformat(),
        ended_at=ended_at.isoformat(),
        sha256=checksums(partial),
        archive=identifier if note is None else note.folder,
    )
