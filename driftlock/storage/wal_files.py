"""Bring one file of the write-ahead log into an archive, or out of it again: `wal_files.py put|get ARCHIVE NAME PATH`.

PostgreSQL runs this through a shell as its `archive_command` and `restore_command` and believes the exit status alone:

put  0    the archive holds the file, on disk
     1    it does not; PostgreSQL keeps the file and asks again, for ever
get  0    the file is at PATH
     1    the archive has no such file, which ends a recovery
     200   the file can not be read; a recovery stops instead of taking this for the end (PostgreSQL does so above 125)

A file of another content is never overwritten: two servers that write into one archive must be seen. Standard library
only, so that it starts in a few hundredths of a second.
See https://www.postgresql.org/docs/current/continuous-archiving.html.
"""

import fcntl
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MISSING, UNREADABLE = 1, 200
BLOCK_BYTES = 1 << 16
LOCK, PARTIAL = ".lock", ".partial"
# Segments, segments that a change of timeline cut short, labels of backups, histories of timelines.
NAME = re.compile(r"[0-9A-F]{24}(\.partial|\.[0-9A-F]{8}\.backup)?|[0-9A-F]{8}\.history")


def put(archive: Path, name: str, source: Path) -> None:
    """Copy `source` into the archive as `name`, complete and on disk. Raises OSError, ValueError."""
    _check(name)
    with _locked(archive):
        target = archive / name
        if target.exists():
            if not _equal(source, target):
                raise ValueError(f"{target} holds another file of this name: two servers write into one archive")
        else:
            _copy(source, archive / PARTIAL)
            (archive / PARTIAL).rename(target)
        # Also for a file that was there: who wrote it may have died before this.
        _sync(target)
        _sync(archive)


def get(archive: Path, name: str, target: Path) -> None:
    """Copy the archive's `name` to `target`. Raises FileNotFoundError, OSError, ValueError."""
    _check(name)
    if not archive.is_dir():
        raise NotADirectoryError(f"the archive {archive} is not a folder")
    _copy(archive / name, target)


def _check(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a file of the write-ahead log")


@contextmanager
def _locked(archive: Path) -> Iterator[None]:
    """One writer at a time; the kernel frees the lock of one that dies, so its half file can be written anew."""
    descriptor = os.open(archive / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _copy(source: Path, target: Path) -> None:
    """Copy, and leave blocks of zeros out: a segment that was closed early is mostly empty, and takes no room then."""
    with source.open("rb") as read:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as written:
                while block := read.read(BLOCK_BYTES):
                    if block.count(0) == len(block):
                        written.seek(len(block), os.SEEK_CUR)
                    else:
                        written.write(block)
                written.truncate()
                written.flush()
                os.fsync(written.fileno())
        except BaseException:
            target.unlink(missing_ok=True)  # a full disk gets its room back
            raise


def _equal(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while True:
            block = left.read(BLOCK_BYTES)
            if block != right.read(BLOCK_BYTES):
                return False
            if not block:
                return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main(arguments: list[str]) -> int:
    """Do what the command line says; a failure is one line on stderr, which PostgreSQL writes into its log."""
    verb, archive, name, path = arguments[1], Path(arguments[2]), arguments[3], Path(arguments[4])
    try:
        if verb == "put":
            put(archive, name, path)
        else:
            get(archive, name, path)
    except FileNotFoundError as error:
        print(f"archive: {error.filename}: no such file", file=sys.stderr)  # noqa: T201  # its output is PostgreSQL's log
        return MISSING
    except (OSError, ValueError) as error:
        print(f"archive: {error}", file=sys.stderr)  # noqa: T201
        return MISSING if verb == "put" else UNREADABLE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
