"""`driftlock quarantine`: journal rows that could not be read."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from driftlock.errors import DriftlockError
from driftlock.storage.pool import Database
from driftlock.storage.quarantine import Quarantine, StoredQuarantine
from server.cli.options import load_settings
from server.database import database_urls, prepare
from server.terminal import visible

Result = TypeVar("Result")
PAGE_ROWS = 200


@click.group()
def quarantine() -> None:
    """Journal rows that could not be read, and what is kept of them."""


@quarantine.command("list")
def quarantine_list() -> None:
    """List the rows, newest first: position, kind, stream, records, what was wrong, when it was found."""

    async def work(database: Database) -> None:
        rows, before = Quarantine(database), None
        while page := await rows.list(limit=PAGE_ROWS, before=before):
            for found in page:
                click.echo(_line(found))
            before = page[-1].row.seq

    run_on_database(work)


@quarantine.command("body")
@click.argument("position", type=click.IntRange(1))
def quarantine_body(position: int) -> None:
    """Write what is kept of the body of the row at POSITION to standard output, as it is."""

    async def work(database: Database) -> None:
        body = await Quarantine(database).body(position)
        if body is None:
            raise click.ClickException(f"no body is kept of a row at position {position}; see: driftlock quarantine list")
        sys.stdout.buffer.write(body)

    run_on_database(work)


def _line(found: StoredQuarantine) -> str:
    row = found.row
    stream = visible(found.stream) or "-"
    kind = row.kind.name.lower()
    held = f"{row.records} records in {found.body_bytes} bytes"
    return f"{row.seq} {kind} {stream} {held}, found {found.found_at:%Y-%m-%dT%H:%M:%SZ}: {visible(row.reason)}"


def run_on_database(work: Callable[[Database], Awaitable[Result]]) -> Result:
    """Do it on the database of the settings; our own errors end the command with their line."""

    async def run() -> Result:
        settings = load_settings()
        async with database_urls(settings, share=True) as urls:
            await prepare(urls, settings.unsafe_database, lambda danger: click.echo(f"Warning: {visible(danger)}", err=True))
            async with Database(urls.app) as database:
                return await work(database)

    try:
        return asyncio.run(run())
    except DriftlockError as error:
        raise click.ClickException(visible(error.message)) from None
    except OSError as error:
        raise click.ClickException(visible(error.strerror or str(error))) from None
