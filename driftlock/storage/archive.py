"""An archive of the write-ahead log: where it is, the parameters that fill and read it, and whether it is complete.

<archive>/<system identifier>/000000010000000000000001 ...

Each cluster has a folder of its own, called by the identifier that PostgreSQL gave it when it was made, so that two data
folders may share an archive. See https://www.postgresql.org/docs/current/continuous-archiving.html.
"""

import os
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from driftlock.storage import wal_files
from driftlock.storage.startup import StartupRefused

ARCHIVE_TIMEOUT_S = 60  # a segment is closed after this long, if anything happened: what a lost disk can cost
SEGMENT_BYTES = 16 * 1024 * 1024  # initdb's default, which our clusters have
SEGMENTS_PER_LOG = (1 << 32) // SEGMENT_BYTES
SEGMENT = re.compile(r"[0-9A-F]{24}")
OFF = {"archive_mode": "off"}


def system_identifier(cluster: Path) -> str:
    """What tells this cluster and its copies from all others; the first field of `global/pg_control`. Raises OSError."""
    return str(int.from_bytes((cluster / "global" / "pg_control").read_bytes()[:8], sys.byteorder))


def archive_folder(archive: Path, cluster: Path) -> Path:
    """The cluster's folder in the archive."""
    return archive / system_identifier(cluster)


def open_archive(archive: Path, cluster: Path, owner: tuple[int, int] | None) -> Path:
    """The cluster's folder in the archive, made if it is new. `owner`: user and group that PostgreSQL runs as, if not ours.

    Raises `StartupRefused`. The archive itself is not made: a disk that is not mounted must be noticed.
    """
    if not archive.is_dir():
        raise StartupRefused(f"DRIFTLOCK_ARCHIVE_DIR={archive} is not a folder: mount or make it, or unset the variable")
    if archive.resolve().is_relative_to(cluster.parent.resolve()):
        raise StartupRefused(f"DRIFTLOCK_ARCHIVE_DIR={archive} is inside the database: take a folder on another disk")
    folder = archive_folder(archive.absolute(), cluster)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if owner is not None:
            os.chown(folder, *owner)
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


def newest_segment(folder: Path, timeline: int) -> str | None:
    """The last whole segment of a timeline in the archive."""
    found = sorted(name for name in _segments(folder) if int(name[:8], 16) == timeline)
    return found[-1] if found else None


def missing_segment(folder: Path, timeline: int, number: int) -> str | None:
    """The first segment that a recovery from segment `number` of `timeline` on would miss although later ones are there.

    None when there is no such hole: PostgreSQL takes one for the end of the log and would open the database there.
    """
    timelines: dict[int, set[int]] = {}
    for name in _segments(folder):
        if int(name[:8], 16) >= timeline and segment_number(name) >= number:
            timelines.setdefault(int(name[:8], 16), set()).add(segment_number(name))
    for found, numbers in sorted(timelines.items()):
        for wanted in range(number if found == timeline else min(numbers), max(numbers)):
            if wanted not in numbers:
                return segment_name(found, wanted)
    return None


def _segments(folder: Path) -> Iterable[str]:
    return (entry.name for entry in folder.iterdir() if SEGMENT.fullmatch(entry.name))
