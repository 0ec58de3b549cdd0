"""An archive of the write-ahead log: where it is, and the parameters that fill and read it.

<archive>/<system identifier>-<random>/000000010000000000000001 ...

Each data folder has a folder of its own, so that many may share an archive, copies of one database among them
(`driftlock.storage.archive_note`). See https://www.postgresql.org/docs/current/continuous-archiving.html.
"""

import logging
import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from driftlock.storage import wal_files
from driftlock.storage.archive_note import NOTE, new_note, read_note, write_note
from driftlock.storage.datafolder import DataFolder, sync_folder
from driftlock.storage.startup import StartupRefused

log = logging.getLogger(__name__)

ARCHIVE_TIMEOUT_S = 60  # a segment is closed after this long, if anything happened: what a lost disk can cost
SEGMENT_BYTES = 16 * 1024 * 1024  # initdb's default, which our clusters have
SEGMENTS_PER_LOG = (1 << 32) // SEGMENT_BYTES
SEGMENT = re.compile(r"[0-9A-F]{24}")
OFF = {"archive_mode": "off"}
KEEP = {"archive_mode": "on", "archive_command": ""}  # segments stay until there is a command


def system_identifier(cluster: Path) -> str:
    """What tells this cluster and its copies from all others; the first field of `global/pg_control`. Raises OSError."""
    return str(int.from_bytes((cluster / "global" / "pg_control").read_bytes()[:8], sys.byteorder))


def archive_settings(
    folder: DataFolder, archive: Path | None, owner: tuple[int, int] | None, token_bytes: Callable[[int], bytes]
) -> dict[str, str]:
    """Parameters of the server that runs on `folder`; its note is made or brought up to date. The lock must be held.

    `archive` None: the log is not archived, or, where it was before, kept, with a warning. `owner`: user and group that
    PostgreSQL runs as, if not ours. Raises `StartupRefused`, OSError.
    """
    note = read_note(folder.home)
    if note is None:
        note = new_note(system_identifier(folder.cluster), token_bytes)
        write_note(folder.home, note)
    if archive is None:
        if note.archive is None:
            return OFF
        log.warning(
            "the log is not archived now, but kept, since it went to %s: set DRIFTLOCK_ARCHIVE_DIR=%s, or remove %s to stop "
            "archiving",
            f"{note.archive}/{note.folder}",
            note.archive,
            folder.home / NOTE,
        )
        return KEEP
    known = note.archive is not None
    own = _open_archive(archive.absolute(), note.folder, folder, owner, known=known)
    if note.archive != str(archive.absolute()):
        write_note(folder.home, replace(note, archive=str(archive.absolute())))
    return archiving(own)


def _open_archive(archive: Path, name: str, source: DataFolder, owner: tuple[int, int] | None, *, known: bool) -> Path:
    """The folder `name` in the archive, made unless it is `known`: a disk that is not mounted must be noticed."""
    if not archive.is_dir():
        raise StartupRefused(f"DRIFTLOCK_ARCHIVE_DIR={archive} is not a folder: mount or make it, or unset the variable")
    if archive.resolve().is_relative_to(source.home.resolve()):
        raise StartupRefused(f"DRIFTLOCK_ARCHIVE_DIR={archive} is inside the database: take a folder on another disk")
    folder = archive / name
    if known and not folder.is_dir():
        raise StartupRefused(
            f"DRIFTLOCK_ARCHIVE_DIR={archive} lacks the folder {name}, to which the log of this database went: mount or move "
            f"it there; or remove {source.home / NOTE} to begin a new one, and take a backup then"
        )
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if owner is not None:
            os.chown(folder, *owner)
        sync_folder(archive)
    except OSError as error:
        raise StartupRefused(f"DRIFTLOCK_ARCHIVE_DIR={archive} can not be written: {error.strerror}") from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StartupRefused(f"DRIFTLOCK_ARCHIVE_DIR: {folder} can not be written by this user: chown or chmod it")
    return folder


def archiving(folder: Path) -> dict[str, str]:
    """Parameters of a server that fills the archive."""
    return {
        "archive_mode": "on",
        "archive_command": _shell("put", folder, "%f", "%p"),
        "archive_timeout": str(ARCHIVE_TIMEOUT_S),
    }


def restore_command(folder: Path | None) -> str:
    """The parameter of a server that reads it. None: there is no archive, what stands in `pg_wal` is all."""
    return "exit 1" if folder is None else _shell("get", folder, "%f", "%p")


def _shell(verb: str, folder: Path, name: str, path: str) -> str:
    """A line for /bin/sh. PostgreSQL replaces %f and %p, which hold nothing that a shell takes for its own, and `%%`."""
    words = (sys.executable, "-I", "-S", wal_files.__file__, verb, str(folder))
    quoted = " ".join(shlex.quote(word).replace("%", "%%") for word in words)
    return f"{quoted} {name} {path}"


def segment_number(name: str, segments_per_log: int = SEGMENTS_PER_LOG) -> int:
    """The place of a segment in the log, from its file's name; a log is 4 GiB.

    >>> segment_number("000000010000000200000003")
    515
    """
    return int(name[8:16], 16) * segments_per_log + int(name[16:24], 16)


def segment_name(timeline: int, number: int) -> str:
    """The inverse of `segment_number`.

    >>> segment_name(1, 515)
    '000000010000000200000003'
    """
    return f"{timeline:08X}{number // SEGMENTS_PER_LOG:08X}{number % SEGMENTS_PER_LOG:08X}"


def lsn_bytes(lsn: str) -> int:
    """A position of the log in bytes, from PostgreSQL's text.

    >>> lsn_bytes("1/10")
    4294967312
    """
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)
