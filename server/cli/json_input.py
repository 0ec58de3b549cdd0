"""Lines of JSON on their way in: which of them stopped the run or were left out, and JSON on its way out."""

import sys

import click

from server.terminal import visible


class BadLines:
    """What becomes of lines that can not be used: `refused` says why the run has to stop; with `skip_bad` they are counted."""

    def __init__(self, skip_bad: bool) -> None:
        self._skip_bad = skip_bad
        self.refused = ""
        self._skipped = 0
        self._first_skipped = ""

    def stop(self, where: str, error: Exception) -> None:
        """A line that stops the run, whatever was asked for."""
        self.refused = visible(f"{where}: {error}")

    def bad(self, where: str, error: Exception) -> bool:
        """A line that is not what was asked for; whether it stops the run."""
        told = visible(f"{where} {error}")
        if not self._skip_bad:
            self.refused = f"{told}; correct it, or leave such lines out with --skip-bad"
        self._skipped += 1
        self._first_skipped = self._first_skipped or told
        return not self._skip_bad

    def check(self) -> None:
        """End the command when a line stopped the run."""
        if self.refused:
            raise click.ClickException(self.refused)

    def note(self) -> None:
        """Tell what was left out."""
        if self._skipped:
            click.echo(f"{self._skipped:,} lines skipped; the first: {self._first_skipped}", err=True)


def write_out(text: str) -> None:
    """Hand over what is complete: whoever reads a live pipe waits for it."""
    if text:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
