"""`driftlock score --signal metrics`: numbers in, what was expected of them out."""

from collections.abc import Iterator, Sequence

import click

from driftlock.engine.limits import Limits
from driftlock.engine.profile import Profile
from server.cli.json_input import BadLines, write_out
from server.logfile.lines import split_lines
from server.logfile.source import Input
from server.offline.events import LINE_BYTES_MAX, BadLine
from server.offline.numbers import NumberScorer
from server.offline.points import PointReader, Points, TooManySeries, no_points
from server.report.number_plot import number_plot
from server.report.number_series import NumberCharts
from server.report.picture import Picture, PictureError
from server.terminal import visible


def score_metrics(
    files: Sequence[str],
    profile: Profile,
    bad: BadLines,
    *,
    points: bool,
    alerts_per_day: int | None,
    picture: Picture | None,
) -> None:
    """Score the points of files, of standard input without any; draws the picture at the end."""
    limits = Limits()
    reader = PointReader(limits)
    charts = None if picture is None else NumberCharts()
    scorer = NumberScorer(profile, reader.names, limits, points=points, alerts_per_day=alerts_per_day, charts=charts)
    for name in files or ("-",):
        for portion in _portions(Input(name), reader, bad):
            write_out(scorer.take(portion))
            bad.check()
    write_out(scorer.finish())
    if picture is not None and charts is not None:
        _draw(picture, charts)


def _portions(source: Input, reader: PointReader, bad: BadLines) -> Iterator[Points]:
    """Points in columns of those that could be read without waiting for more."""
    source.check()
    number = 0
    for lines in split_lines(source.portions(), LINE_BYTES_MAX):
        told = [line for line in lines if line and not line.isspace()]
        points = reader.points(told)
        if points is None:
            points = _one_by_one(lines, number, source.shown, reader, bad)
        number += len(lines)
        yield points


def _one_by_one(lines: Sequence[bytes], before: int, shown: str, reader: PointReader, bad: BadLines) -> Points:
    """The points of lines of which some are unusual; those before a line that stops the run."""
    points = no_points()
    for number, line in enumerate(lines, before + 1):
        if not line or line.isspace():
            continue
        try:
            points.add(*reader.point(line))
        except TooManySeries as error:
            bad.stop(f"{shown}, line {number}", error)
        except BadLine as error:
            bad.bad(f"{shown}, line {number}", error)
        if bad.refused:
            break
    return points


def _draw(picture: Picture, charts: NumberCharts) -> None:
    try:
        picture.write(number_plot(charts.drawn, charts.note))
    except PictureError as error:
        raise click.ClickException(visible(str(error))) from None
    if charts.note:
        click.echo(charts.note, err=True)
