"""`driftlock score`: JSON lines in, JSON lines out."""

import sys
from collections.abc import Iterator, Sequence

import click
from click.core import ParameterSource

from driftlock.engine.canonical import CanonicalLimits
from driftlock.engine.event import Signal
from driftlock.engine.profile import Profile
from server.cli.engine_options import MASK, OVERRIDES, chosen_profile, engine_options
from server.cli.json_input import BadLines, write_out
from server.cli.options import plot_option
from server.cli.score_metrics import score_metrics
from server.cli.score_spans import score_spans
from server.logfile.lines import split_lines
from server.logfile.source import Input, LogFileError
from server.offline.events import LINE_BYTES_MAX, BadLine, Event, EventReader, TooManyStreams
from server.offline.scorer import Scorer
from server.report.picture import Picture
from server.terminal import visible

LOGS, METRICS, SPANS = Signal.LOGS.value, Signal.METRICS.value, "spans"
# Numbers are judged by the profile and its p-value alone; these are about lines.
OF_LINES = {member: option for option, member, _, _ in OVERRIDES if option != "--p-value"} | {"masks": MASK, "seed": "--seed"}


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option(
    "--signal",
    default=LOGS,
    show_default=True,
    type=click.Choice([LOGS, METRICS, SPANS]),
    help="What the lines are: events that are text, points of numeric series, or spans of traces.",
)
@engine_options
@click.option("--events/--no-events", default=True, show_default=True, help="Tell the score of each event, point or span, too.")
@click.option(
    "--budget",
    type=click.IntRange(0, 1_000_000),
    help="Mark incidents beyond so many a UTC day as over_budget. Default: no marks.",
)
@click.option("--skip-bad", is_flag=True, help="Leave out lines that are no events, points or spans, and say how many.")
@plot_option("Draw the numbers, what was expected, and the alarms (--signal metrics).")
def score(
    files: Sequence[str],
    signal: str,
    profile: str,
    seed: int,
    events: bool,
    budget: int | None,
    skip_bad: bool,
    picture: Picture | None,
    **overrides: object,
) -> None:
    """Score events, numbers or spans offline: JSON lines from FILEs (default: standard input) in, JSON lines out, as they come.

    A line is {"time": Unix seconds or RFC 3339, "text": ..., "stream": ..., "key": ..., any attribute: ...}; with --signal
    metrics {"time": ..., "value": a number or null, "series": ...}; with --signal spans {"time": ..., "trace": ...,
    "span": ..., "parent": ..., "service": ..., "name": ..., "kind": ..., "status": ..., "dur_us": ..., "attributes": ...}.
    Out come objects of the types event, window, finding and incident; of metrics point, finding and incident; of spans span,
    trace, finding and incident (docs/offline.md). Nothing is stored, and no server is needed.
    """
    if signal == METRICS:
        _refuse_options_of_lines(click.get_current_context())
    elif picture is not None:
        raise click.UsageError("--plot draws numbers, --signal metrics; driftlock detect --plot draws the scores of lines")
    chosen, bad = chosen_profile(profile, overrides), BadLines(skip_bad)
    try:
        if signal == METRICS:
            score_metrics(files, chosen, bad, points=events, alerts_per_day=budget, picture=picture)
        elif signal == SPANS:
            score_spans(files, chosen, bad, seed=seed, events=events, alerts_per_day=budget)
        else:
            _score_lines(files, chosen, bad, seed=seed, events=events, alerts_per_day=budget)
    except LogFileError as error:
        raise click.ClickException(visible(str(error))) from None
    except KeyboardInterrupt:
        sys.exit(130)
    bad.note()


def _refuse_options_of_lines(context: click.Context) -> None:
    for member, option in OF_LINES.items():
        if context.get_parameter_source(member) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{option} is about lines of text: leave it out, or use --signal logs or spans")


def _score_lines(
    files: Sequence[str], profile: Profile, bad: BadLines, *, seed: int, events: bool, alerts_per_day: int | None
) -> None:
    scorer = Scorer(profile, seed=seed, events=events, alerts_per_day=alerts_per_day)
    reader = EventReader(CanonicalLimits())
    for name in files or ("-",):
        for portion in _portions(Input(name), reader, bad):
            write_out(scorer.take(portion))
            bad.check()
    write_out(scorer.finish())


def _portions(source: Input, reader: EventReader, bad: BadLines) -> Iterator[list[Event]]:
    """Events in lists of those that could be read without waiting for more; those before a line that stops the run."""
    source.check()
    number = 0
    for lines in split_lines(source.portions(), LINE_BYTES_MAX):
        events: list[Event] = []
        for line in lines:
            number += 1
            if line and not line.isspace():
                try:
                    events.append(reader.event(line))
                except TooManyStreams as error:
                    bad.stop(f"{source.shown}, line {number}", error)
                except BadLine as error:
                    bad.bad(f"{source.shown}, line {number}", error)
                if bad.refused:
                    break
        yield events
