"""`driftlock detect`: log files in, findings out, without a server."""

import sys
from collections.abc import Sequence

import click
from rich.console import Console

from driftlock.engine.profile import Profile
from driftlock.engine.verdict import Finding
from driftlock.errors import InvalidArgument
from server.cli.engine_options import chosen_profile, engine_options
from server.cli.options import base_time_option, plot_option, result_console
from server.cli.progress import Advance, read_files
from server.logfile.reader import LogFile
from server.logfile.source import LogFileError
from server.offline.batches import stream_of
from server.offline.detection import Detection, StreamDetection
from server.offline.short import ShortDetection
from server.report.episodes import StreamReport
from server.report.picture import Picture, PictureError
from server.report.table import print_report
from server.terminal import visible


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@engine_options
@click.option("--service", help="Name of the lines' stream. Default: each file's name without its endings.")
@base_time_option
@click.option("--show", default=20, show_default=True, type=click.IntRange(1, 1000), help="Most incidents in the table.")
@click.option("--json", "as_json", is_flag=True, help="Print every finding as a line of JSON instead of a table.")
@click.option("--quick", is_flag=True, help="Judge a short input by its own beginning.")
@plot_option("Draw the scores of all windows.")
def detect(
    files: Sequence[str],
    profile: str,
    seed: int,
    service: str | None,
    base_ns: int,
    show: int,
    as_json: bool,
    quick: bool,
    picture: Picture | None,
    **overrides: object,
) -> None:
    """Find what is new in log FILEs (plain, JSON lines, .gz, .zst, .lz4; - is standard input), without a server.

    The same lines give the same findings as `driftlock replay` into a server with the same seed. Ctrl-C ends the
    input early and shows what was found so far.
    """
    chosen = chosen_profile(profile, overrides)
    on_finding = _print_json if as_json else _ignore
    detection: Detection
    if quick:
        if picture is not None:
            raise click.UsageError("--plot draws the scores of a stream's windows; --quick has none")
        detection = ShortDetection(chosen, seed=seed, incidents_max=show, on_finding=on_finding)
    else:
        scores = picture is not None
        detection = StreamDetection(chosen, seed=seed, incidents_max=show, scores=scores, on_finding=on_finding)
    failure, interrupted = "", False
    try:
        _read_all([LogFile(name, base_ns) for name in files], service, detection, bar=not (as_json and sys.stdout.isatty()))
    except KeyboardInterrupt:
        interrupted = True
    except (LogFileError, InvalidArgument) as error:
        failure = str(error)
    try:
        detection.finish()
    except InvalidArgument as error:
        failure = failure or error.message
    except KeyboardInterrupt:
        sys.exit(130)
    if not as_json:
        _show(detection.reports(), found_only=bool(failure), quick=quick)
    if failure:
        raise click.ClickException(visible(failure))
    _note(detection.notes(), Console(stderr=True, highlight=False) if as_json else result_console())
    if picture is not None:
        _draw(picture, detection, chosen)
    if interrupted:
        sys.exit(130)


def _read_all(files: Sequence[LogFile], service: str | None, detection: Detection, *, bar: bool) -> None:
    def read(file: LogFile, advance: Advance) -> None:
        key = stream_of(service or file.input.stem)
        for lines in file.portions():
            detection.take(key, lines)
            advance(len(lines))

    for file in files:
        file.check()
    read_files(files, read, done="read", notes=Console(stderr=True, highlight=False), bar=bar)


def _print_json(finding: Finding) -> None:
    click.echo(finding.canonical().decode())


def _ignore(_finding: Finding) -> None:
    """The table at the end tells it."""


def _show(reports: Sequence[StreamReport], *, found_only: bool, quick: bool) -> None:
    console = result_console()
    for report in reports:
        if report.findings or not found_only:
            print_report(console, report, quick=quick)


def _note(notes: Sequence[str], console: Console) -> None:
    for note in notes:
        console.print(visible(note), markup=False, soft_wrap=True)


def _draw(picture: Picture, detection: Detection, profile: Profile) -> None:
    try:
        picture.draw(detection.series(), profile)
    except PictureError as error:
        raise click.ClickException(visible(str(error))) from None
