"""The `driftlock` command. Every failure is one line on stderr and an exit code that is not 0."""

import contextlib
import errno
import os
import sys
from typing import Any

import click

from server.cli.backup import backup_command, restore_command
from server.cli.database import key, migrate, tenant
from server.cli.detect import detect
from server.cli.doctor import doctor
from server.cli.quarantine import quarantine
from server.cli.replay import replay
from server.cli.route import route
from server.cli.score import score
from server.cli.serve import serve
from server.cli.version import version


class _Commands(click.Group):
    """Output that can not be written is one line as well; a pipe that nobody reads any more is no error worth words."""

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


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    commands=[
        serve,
        detect,
        score,
        replay,
        route,
        migrate,
        backup_command,
        restore_command,
        tenant,
        key,
        quarantine,
        doctor,
        version,
    ],
)
def main() -> None:
    """Driftlock: be told what changed in your telemetry, and shown the very bytes that are new.

    Settings are environment variables (docs/configuration.md); `driftlock serve` works without any.
    """
