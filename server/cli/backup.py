"""`driftlock backup` and `driftlock restore`, of the embedded database."""

import asyncio
import secrets
from collections.abc import Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click

import driftlock
from driftlock.errors import DriftlockError
from driftlock.storage import binaries as programs
from driftlock.storage.backup import take_backup
from driftlock.storage.backup_folder import Backup
from driftlock.storage.datafolder import DataFolder, running
from driftlock.storage.embedded import EmbeddedPostgres
from driftlock.storage.restore import Restored, Source, open_source, restore
from driftlock.storage.startup import StartupRefused
from server.cli.options import load_settings
from server.settings import Settings
from server.terminal import visible

Result = TypeVar("Result")
_folder = click.Path(path_type=Path)


@click.command("backup")
@click.argument("target", metavar="DIR", type=_folder)
def backup_command(target: Path) -> None:
    """Back up the embedded database to the new folder DIR, while a server runs on it or without one.

    The backup holds passwords and keys: keep it as secret as the data folder.
    """
    settings = load_settings()
    made = _run(_backup(settings, target.absolute()))
    click.echo(f"backed up to {visible(str(target))}, verified; it holds what was acknowledged before {made.started_at}")
    click.echo(f"a restore can reach any moment after {made.ended_at} that the archive holds")


@click.command("restore")
@click.argument("source", metavar="BACKUP", type=_folder)
@click.option("--data-dir", required=True, type=_folder, help="New folder to restore into.")
@click.option("--archive", type=_folder, help="Archive of the log (DRIFTLOCK_ARCHIVE_DIR of the server). Default: none.")
@click.option(
    "--to",
    "until",
    callback=lambda _context, _option, text: _moment(text),
    help="Moment to restore: ISO 8601 with a zone. Default: the end.",
)
@click.option("--timeline", type=click.IntRange(min=1), help="Timeline of the archive to follow. Default: the backup's.")
def restore_command(source: Path, data_dir: Path, archive: Path | None, until: datetime | None, timeline: int | None) -> None:
    """Restore BACKUP, and what the archive holds after it, into a new data folder.

    Then start the server with DRIFTLOCK_DATA_DIR set to that folder.
    """
    opened, restored = _run(_restore(source.absolute(), data_dir.absolute(), archive, until, timeline))
    newest = "" if restored.newest_at is None else f", newest transaction of {restored.newest_at.astimezone(UTC).isoformat()}"
    position = "" if restored.last_seq is None else f", journal position {restored.last_seq}"
    click.echo(f"restored to {visible(str(data_dir))}, from timeline {opened.line.number}{position}{newest}")
    for other in opened.others:
        click.echo(f"not restored, but goes on from the same database: {visible(other)}")
    click.echo(f"start it with: DRIFTLOCK_DATA_DIR={visible(str(data_dir))} driftlock serve")
    click.echo("then take a backup of it: its log gets a folder of its own in an archive, which earlier backups do not lead to")


async def _backup(settings: Settings, target: Path) -> Backup:
    if not settings.embedded:
        raise StartupRefused("DATABASE_URL is set: back that server up with its own tools (docs/operations.md, Backup)")
    folder = DataFolder(settings.data_dir.absolute())
    found = programs.find(programs.candidates())
    live = running(folder.root)
    if live is not None:
        return await take_backup(target, folder, live.owner_dsn, found, version=driftlock.__version__)
    if not folder.home.exists():
        raise StartupRefused(f"{folder.root} holds no database: set DRIFTLOCK_DATA_DIR to the folder of one")
    archive = settings.archive_dir
    async with EmbeddedPostgres(folder.root, token_bytes=secrets.token_bytes, binaries=found, archive=archive) as postgres:
        return await take_backup(target, folder, postgres.owner_dsn, found, version=driftlock.__version__)


async def _restore(
    source: Path, data_dir: Path, archive: Path | None, until: datetime | None, timeline: int | None
) -> tuple[Source, Restored]:
    found = programs.find(programs.candidates())
    opened = open_source(source, archive, until, timeline)
    return opened, await restore(opened, data_dir, found, programs.identity(found), secrets.token_bytes)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise click.BadParameter("use a time with its zone, such as 2026-11-23T12:00:00Z", param_hint="--to")
    return found


def _run(work: Awaitable[Result]) -> Result:
    async def run() -> Result:
        return await work

    try:
        return asyncio.run(run())
    except DriftlockError as error:
        raise click.ClickException(visible(error.message)) from None
    except OSError as error:
        raise click.ClickException(visible(str(error))) from None
