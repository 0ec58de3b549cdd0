"""`driftlock config`: the configuration of an account as a file, out of a server and into it."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from server.cli.options import client_settings, server_options
from server.client import ClientError, Conflicting, RestClient, find_endpoints
from server.config_file import ConfigError, parse, render
from server.config_plan import Change, exported, planned
from server.terminal import visible


@click.group()
def config() -> None:
    """Streams, profiles, masks, budgets, redaction rules and anchors as one file (docs/config-file.md)."""


@config.command("export")
@click.argument("file", required=False, metavar="[FILE]")
@server_options
def export(file: str | None, endpoint: str | None, api_key: str | None) -> None:
    """Write the configuration to FILE, or to standard output. Applying it to the same server changes nothing."""
    with _client(endpoint, api_key) as client:
        text = render(exported(client))
    if file is None or file == "-":
        click.echo(text, nl=False)
        return
    Path(file).write_text(text, "utf-8")


@config.command("apply")
@click.argument("file", metavar="FILE")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def apply(file: str, dry_run: bool, yes: bool, endpoint: str | None, api_key: str | None) -> None:
    """Make the server as FILE (- is standard input) says; what it does not speak of stays. Shows what changes first.

    Ends with 0 when all is as FILE says, but for anchors that wait for a baseline, which are named; else with 1.
    """
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        wanted = parse(text)
    except ConfigError as error:
        raise click.ClickException(f"{visible(file)}: {visible(str(error))}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{visible(file)} can not be read: {visible(str(error))}") from None
    with _client(endpoint, api_key) as client:
        changes = planned(client, wanted)
        if not changes:
            click.echo("nothing to change")
            return
        _show(changes)
        if dry_run:
            return
        if not yes:
            if file == "-":
                raise click.ClickException("standard input is the file, so nobody can be asked: add --yes")
            click.confirm("Apply?", abort=True)
        _apply(client, changes)


def _apply(client: RestClient, changes: list[Change]) -> None:
    """Ask for one change after the other; raise `ClientError` at the first refusal of what does not wait for anything."""
    done = 0
    for change in changes:
        try:
            change.answered(client.change(change.method, change.path(), change.body))
            done += 1
        except ClientError as error:
            if change.waits is None or not isinstance(error, Conflicting):
                raise ClientError(f"{error} ({done} of {len(changes)} changes are made; apply the file again)") from None
            click.echo(visible(f"{change.where}: {change.waits} not yet: {error.detail}; apply the file again then"))
    click.echo(f"{_changes(done)} applied")


def _changes(count: int) -> str:
    return f"{count} change" if count == 1 else f"{count} changes"


def _show(changes: list[Change]) -> None:
    where = ""
    for change in changes:
        if change.where != where:
            where = change.where
            click.echo(visible(where))
        for line in change.lines:
            click.echo(f"  {visible(line)}")


@contextmanager
def _client(endpoint: str | None, api_key: str | None) -> Iterator[RestClient]:
    try:
        endpoints = find_endpoints(client_settings(endpoint, api_key))
        with closing(RestClient(endpoints.rest, endpoints.api_key)) as client:
            yield client
    except ClientError as error:
        raise click.ClickException(visible(str(error))) from None
