"""The `driftlock` command. Every failure is one line on stderr and an exit code that is not 0."""

import contextlib
import errno
import os
import sys
from importlib import import_module
from typing import Any

import click

COMMANDS = {
    "serve": "server.cli.serve:serve",
    "api": "server.cli.api:api_command",
    "gateway": "server.cli.gateway:gateway",
    "bridge": "server.cli.bridge:bridge",
    "worker": "server.cli.worker:worker",
    "detect": "server.cli.detect:detect",
    "score": "server.cli.score:score",
    "replay": "server.cli.replay:replay",
    "route": "server.cli.route:route",
    "migrate": "server.cli.database:migrate",
    "backup": "server.cli.backup:backup_command",
    "restore": "server.cli.backup:restore_command",
    "tenant": "server.cli.database:tenant",
    "key": "server.cli.database:key",
    "config": "server.cli.config:config",
    "quarantine": "server.cli.quarantine:quarantine",
    "dead-letters": "server.cli.dead_letters:dead_letters",
    "verify": "server.cli.verify:verify_command",
    "doctor": "server.cli.doctor:doctor",
    "version": "server.cli.version:version",
}


class _Commands(click.Group):
    """Commands are imported when they are used: a server need not load what draws pictures, nor a key's owner the server.

    Output that can not be written is one line as well; a pipe that nobody reads any more is no error worth words.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of all commands, in the order of the help; see `click.Group`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name; see `click.Group`."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line; see `click.Group`."""
        for name, stream in (("input", sys.stdin), ("output", sys.stdout), ("error", sys.stderr)):
            if stream is None:
                sys.exit(f"standard {name} is closed; give it a file, or /dev/null")
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG):
                raise
            with contextlib.suppress(OSError):
                click.echo(f"Error: the output can not be written: {error.strerror}", err=True)
            os._exit(1)  # what is buffered would fail once more, with a traceback


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Driftlock: be told what changed in your telemetry, and shown the very bytes that are new.

    Settings are environment variables (docs/configuration.md); `driftlock serve` works without any.
    """
