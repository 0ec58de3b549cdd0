"""The archive of the log: complete or not there, never another file in its place, exit codes that PostgreSQL understands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from driftlock.storage import wal_files

SEGMENT = "000000010000000000000001"
SEGMENT_BYTES = 16 << 20


def run(verb: str, archive: Path, name: str, path: Path, *, file_bytes_max: int | None = None) -> tuple[int, str]:
    """The script as PostgreSQL runs it. `file_bytes_max`: no file may become larger, as on a full disk."""
    limited = [] if file_bytes_max is None else ["prlimit", f"--fsize={file_bytes_max}"]
    command = [*limited, sys.executable, "-I", "-S", wal_files.__file__, verb, str(archive), name, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()
    return tmp_path / "archive"


def files(archive: Path) -> list[str]:
    return sorted(path.name for path in archive.iterdir() if not path.name.startswith("."))


def segment(tmp_path: Path, content: bytes = b"log", size: int = SEGMENT_BYTES) -> Path:
    path = tmp_path / SEGMENT
    path.write_bytes(content.ljust(size, b"\0"))
    return path


def test_there_and_back(tmp_path: Path, archive: Path) -> None:
    source = segment(tmp_path, os.urandom(200_000) + bytes(400_000) + b"end")
    assert run("put", archive, SEGMENT, source) == (0, "")
    assert run("put", archive, SEGMENT, source) == (0, "")  # PostgreSQL asks again after a crash
    assert run("get", archive, SEGMENT, tmp_path / "back") == (0, "")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert files(archive) == [SEGMENT]
    assert (archive / SEGMENT).stat().st_blocks * 512 < SEGMENT_BYTES // 8  # what is empty takes no room


@pytest.mark.parametrize("content", [b"other", b""], ids=["other", "shorter"])
def test_another_file_is_never_overwritten(tmp_path: Path, archive: Path, content: bytes) -> None:
    assert run("put", archive, SEGMENT, segment(tmp_path))[0] == 0
    before = (archive / SEGMENT).read_bytes()
    status, said = run("put", archive, SEGMENT, segment(tmp_path, content, SEGMENT_BYTES if content else 0))
    assert (status, (archive / SEGMENT).read_bytes()) == (1, before)
    assert "two servers write into one archive" in said


def test_a_full_archive_refuses_and_gets_its_room_back(tmp_path: Path, archive: Path) -> None:
    source = segment(tmp_path, os.urandom(1 << 20))
    status, said = run("put", archive, SEGMENT, source, file_bytes_max=1 << 19)
    assert status == 1
    assert "archive: " in said
    assert [path.name for path in archive.iterdir()] == [".lock"]
    assert run("put", archive, SEGMENT, source)[0] == 0


def test_what_a_killed_writer_left_is_written_anew(tmp_path: Path, archive: Path) -> None:
    (archive / wal_files.PARTIAL).write_bytes(b"half" * SEGMENT_BYTES)
    source = segment(tmp_path)
    assert run("put", archive, SEGMENT, source)[0] == 0
    assert (archive / SEGMENT).read_bytes() == source.read_bytes()


def test_only_a_missing_file_ends_a_recovery(tmp_path: Path, archive: Path) -> None:
    (archive / "00000002.history").mkdir()
    for folder, name, status in (
        (archive, SEGMENT, 1),
        (archive, "00000002.history", 200),
        (tmp_path / "not mounted", SEGMENT, 200),
        (archive, "../secret", 200),
    ):
        assert run("get", folder, name, tmp_path / "back")[0] == status, name
        assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("name", ["../etc", "", "00000001000000000000000", ".lock", f"{SEGMENT}.gz", f"{SEGMENT}\n"])
def test_other_names_are_refused(tmp_path: Path, archive: Path, name: str) -> None:
    assert run("put", archive, name, segment(tmp_path))[0] == 1
    assert files(archive) == []


@pytest.mark.parametrize("name", [f"{SEGMENT}.partial", f"{SEGMENT}.00000028.backup", "00000002.history"])
def test_all_kinds_of_files_are_kept(tmp_path: Path, archive: Path, name: str) -> None:
    assert run("put", archive, name, segment(tmp_path))[0] == 0
    assert files(archive) == [name]
