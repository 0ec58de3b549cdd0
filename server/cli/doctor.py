"""`driftlock doctor`."""

import asyncio
import sys
from collections.abc import Sequence

import click

from driftlock.errors import DriftlockError
from driftlock.storage.ledger import LedgerRow
from server.check import State
from server.checkup import check_up, read_ledger
from server.cli.options import load_settings
from server.settings import Settings
from server.terminal import visible

COLOURS = {State.OK: "green", State.WARN: "yellow", State.FAIL: "red"}
COLUMNS = ("received", "journaled", "rejected", "refused", "deduplicated", "metered", "in_journal", "removed")
LAWS = """\
received = journaled + rejected + refused + deduplicated (what was refused before it was decoded is in none of them)
journaled = metered = in_journal + removed"""


@click.command()
@click.option("--ledger", is_flag=True, help="Show what became of every record, by tenant and signal, and whether it adds up.")
def doctor(*, ledger: bool) -> None:
    """Check this machine, the settings and the database; each line says what to do. Exits with 1 if anything fails."""
    settings = load_settings()
    failed = _ledger(settings) if ledger else asyncio.run(_report(settings))
    if failed:
        sys.exit(1)


async def _report(settings: Settings) -> int:
    """Print every check; returns how many failed."""
    failed = 0
    async for check in check_up(settings):
        state = click.style(f"{check.state:<5}", fg=COLOURS[check.state])
        click.echo(f"{state} {check.name}: {visible(check.detail)}")
        failed += check.state is State.FAIL
    return failed


def _ledger(settings: Settings) -> int:
    """Print the ledger; returns in how many rows a law is broken."""
    try:
        rows = asyncio.run(read_ledger(settings))
    except DriftlockError as error:
        raise click.ClickException(visible(error.message)) from None
    if not rows:
        click.echo("nothing was ever received")
        return 0
    click.echo(_table(rows))
    click.echo(LAWS)
    broken = [row for row in rows if row.differences]
    for row in broken:
        told = ", ".join(f"{law} by {difference:+,}" for law, difference in row.differences.items())
        click.echo(click.style("fail  ", fg=COLOURS[State.FAIL]) + f"{visible(row.name)} {row.signal}: off in {told} records")
    if not broken:
        click.echo(click.style("ok    ", fg=COLOURS[State.OK]) + "every record is accounted for")
    return len(broken)


def _table(rows: Sequence[LedgerRow]) -> str:
    """The rows as text, as wide as it takes: a number that is cut off would be a wrong one."""
    lines = [("tenant", "signal", *(column.replace("_", " ") for column in COLUMNS), "difference")]
    for row in rows:
        numbers = [f"{getattr(row, column):,}" for column in COLUMNS]
        off = sum(map(abs, row.differences.values()))
        lines.append((visible(row.name), row.signal, *numbers, f"{off:,}"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    pads = (str.ljust, str.ljust, *[str.rjust] * (len(COLUMNS) + 1))
    return "\n".join("  ".join(pad(cell, width) for pad, cell, width in zip(pads, line, widths, strict=True)) for line in lines)
