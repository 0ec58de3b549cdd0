"""`driftlock score`: JSON lines in, JSON lines out."""

import sys
from collections.abc import Iterator, Sequence

import click

from driftlock.engine.canonical import CanonicalLimits
from server.cli.engine_options import chosen_profile, engine_options
from server.logfile.lines import split_lines
from server.logfile.source import Input, LogFileError
from server.offline.events import LINE_BYTES_MAX, BadLine, Event, EventReader, TooManyStreams
from server.offline.scorer import Scorer
from server.terminal import visible


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@engine_options
@click.option("--events/--no-events", default=True, show_default=True, help="Tell the score of each event, too.")
@click.option(
    "--budget",
    type=click.IntRange(0, 1_000_000),
    help="Mark incidents beyond so many a UTC day as over_budget. Default: no marks.",
)
@click.option("--skip-bad", is_flag=True, help="Leave out lines that are no events, and say how many.")
def score(
    files: Sequence[str], profile: str, seed: int, events: bool, budget: int | None, skip_bad: bool, **overrides: object
) -> None:
    """Score events offline: JSON lines from FILEs (default: standard input) in, JSON lines out, as they come.

    A line is {"time": Unix seconds or RFC 3339, "text": ..., "stream": ..., "key": ..., any attribute: ...}. Out come objects
    of the types event, window, finding and incident (docs/offline.md). Nothing is stored, and no server is needed.
    """
    scorer = Scorer(chosen_profile(profile, overrides), seed=seed, events=events, alerts_per_day=budget)
    reader = _Reader(skip_bad)
    try:
        for name in files or ("-",):
            for portion in reader.portions(Input(name)):
                _write(scorer.take(portion))
                if reader.refused:
                    raise click.ClickException(reader.refused)
        _write(scorer.finish())
    except LogFileError as error:
        raise click.ClickException(visible(str(error))) from None
    except KeyboardInterrupt:
        sys.exit(130)
    if reader.skipped:
        click.echo(f"{reader.skipped:,} lines skipped; the first: {reader.first_skipped}", err=True)


class _Reader:
    """The events of several inputs. After a line that stops the run, the events before it are given and `refused` says why."""

    def __init__(self, skip_bad: bool) -> None:
        self._reader = EventReader(CanonicalLimits())
        self._skip_bad = skip_bad
        self.refused = ""
        self.skipped = 0
        self.first_skipped = ""

    def portions(self, source: Input) -> Iterator[list[Event]]:
        """Events in lists of those that could be read without waiting for more."""
        source.check()
        number = 0
        for lines in split_lines(source.portions(), LINE_BYTES_MAX):
            events: list[Event] = []
            for line in lines:
                number += 1
                if line and not line.isspace() and not self._take(line, events, f"{source.shown}, line {number}"):
                    break
            yield events

    def _take(self, line: bytes, events: list[Event], where: str) -> bool:
        """Add the event of a line; False when the run has to stop."""
        try:
            events.append(self._reader.event(line))
        except TooManyStreams as error:
            self.refused = visible(f"{where}: {error}")
        except BadLine as error:
            told = visible(f"{where} {error}")
            if not self._skip_bad:
                self.refused = f"{told}; correct it, or leave such lines out with --skip-bad"
            self.skipped += 1
            self.first_skipped = self.first_skipped or told
        return not self.refused


def _write(text: str) -> None:
    """Hand over what is complete: whoever reads a live pipe waits for it."""
    if text:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
