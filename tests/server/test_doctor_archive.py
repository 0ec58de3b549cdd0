"""What the doctor says of the archive of the embedded database's log."""

from pathlib import Path

from driftlock.storage.archive_note import ArchiveNote, write_note
from server.checkup import Check, State, check_up
from server.settings import parse_settings


async def looked_at(data: Path, archive: Path | None) -> list[Check]:
    values = {"DRIFTLOCK_DATA_DIR": str(data), **({} if archive is None else {"DRIFTLOCK_ARCHIVE_DIR": str(archive)})}
    return [check async for check in check_up(parse_settings(values)) if check.name == "archive"]


async def test_an_archive_with_a_gap_or_without_its_variable_is_told(tmp_path: Path) -> None:
    home, archive = tmp_path / "data" / "postgres", tmp_path / "archive"
    folder = archive / "7-0123456789abcdef"
    home.mkdir(parents=True)
    assert await looked_at(tmp_path / "data", None) == []
    write_note(home, ArchiveNote(folder.name, None))
    assert await looked_at(tmp_path / "data", None) == []
    write_note(home, ArchiveNote(folder.name, str(archive)))
    [check] = await looked_at(tmp_path / "data", archive)
    assert check.state is State.FAIL
    folder.mkdir(parents=True)
    names = [f"0000000100000000000000{number:02X}" for number in (3, 4, 5)]
    for name in names:
        (folder / name).touch()
    [check] = await looked_at(tmp_path / "data", archive)
    assert check.state is State.OK
    [check] = await looked_at(tmp_path / "data", None)
    assert check.state is State.WARN
    assert "a start without DRIFTLOCK_ARCHIVE_DIR only keeps the log" in check.detail
    (folder / names[1]).unlink()
    [check] = await looked_at(tmp_path / "data", archive)
    assert check.state is State.FAIL
    assert f"lacks {names[1]} but has later files" in check.detail
    (home / "archive.json").write_text('{"folder": "../etc", "archive": null}')
    [check] = await looked_at(tmp_path / "data", archive)
    assert check.state is State.FAIL
    assert "bring it back, or remove it" in check.detail
