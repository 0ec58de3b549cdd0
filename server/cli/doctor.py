"""`driftlock doctor`."""

import asyncio
import sys

import click

from server.checkup import State, check_up
from server.cli.options import load_settings
from server.settings import Settings
from server.terminal import visible

COLOURS = {State.OK: "green", State.WARN: "yellow", State.FAIL: "red"}


@click.command()
def doctor() -> None:
    """Check this machine, the settings and the database; each line says what to do. Exits with 1 if anything fails."""
    if asyncio.run(_report(load_settings())):
        sys.exit(1)


async def _report(settings: Settings) -> int:
    """Print every check; returns how many failed."""
    failed = 0
    async for check in check_up(settings):
        state = click.style(f"{check.state:<5}", fg=COLOURS[check.state])
        click.echo(f"{state} {check.name}: {visible(check.detail)}")
        failed += check.state is State.FAIL
    return failed
